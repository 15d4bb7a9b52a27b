//! Several requests on one connection.

use super::*;

const FIRST: &[u8] = b"GET /1 HTTP/1.1\r\nHost: allowed.example\r\n\r\n";
const EVIL: &[u8] = b"GET /2 HTTP/1.1\r\nHost: evil.example\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

async fn stage() -> (Stage, TcpListener) {
    let stage = Stage::new(names(&["allowed.example", "other.example"])).await;
    let server = stage.server(SERVER, 80, Some("allowed.example")).await;
    stage.name("other.example", &[SERVER]);
    (stage, server)
}

#[tokio::test]
async fn a_second_host_is_refused_behind_the_answer_to_the_first() {
    let (mut stage, server) = stage().await;
    // In one segment, and later; for a name that is not allowed, and for one that is.
    for (pipelined, second, host) in [
        (true, EVIL, "evil.example"),
        (false, EVIL, "evil.example"),
        (
            true,
            b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n",
            "other.example",
        ),
    ] {
        let mut client = stage.client(MEANT, 80).await;
        send(&mut client, FIRST).await;
        if pipelined {
            send(&mut client, second).await;
        }
        let mut at_server = accept(&server).await;
        expect(&mut at_server, FIRST).await;
        send(&mut at_server, ANSWER).await;
        expect(&mut client, ANSWER).await;
        if !pipelined {
            send(&mut client, second).await;
        }
        let answer = json(&rest(&mut client).await.expect("in order"), 403);
        assert_eq!(answer["host"], host);
        // Nothing of it goes on.
        assert_eq!(rest(&mut at_server).await.expect("in order"), b"");
        assert_eq!(stage.refused().await, (Some(host.into()), Why::Name));
    }
}

/// As the first request, and as a further one.
#[tokio::test]
async fn a_refused_head_gets_no_body() {
    let (mut stage, server) = stage().await;
    let head = b"HEAD /2 HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    for first in [true, false] {
        let mut client = stage.client(MEANT, 80).await;
        // The server stays: one that closes ends the client's side as well.
        let mut at_server = None;
        if !first {
            send(&mut client, FIRST).await;
            let at_server = at_server.insert(accept(&server).await);
            expect(at_server, FIRST).await;
            send(at_server, ANSWER).await;
            expect(&mut client, ANSWER).await;
        }
        send(&mut client, head).await;
        let answer = rest(&mut client).await.expect("in order");
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
        assert!(text.ends_with("\r\n\r\n"), "{text}");
        let length = text.split_once("Content-Length: ").expect("a length").1;
        let (length, _) = length.split_once("\r\n").expect("a line");
        assert!(length.parse::<usize>().expect("a number") > 100);
        assert_eq!(
            stage.refused().await,
            (Some("evil.example".into()), Why::Name)
        );
    }
}

#[tokio::test]
async fn requests_for_the_same_name_go_on_as_they_are() {
    let (stage, server) = stage().await;
    let mut client = stage.client(MEANT, 80).await;
    let requests = b"POST / HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: 3\r\n\r\nabc\
        POST / HTTP/1.1\r\nHost: ALLOWED.example:80\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
        GET http://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n";
    for byte in requests {
        send(&mut client, &[*byte]).await;
        tokio::task::yield_now().await;
    }
    let mut at_server = accept(&server).await;
    expect(&mut at_server, requests).await;
    for _ in 0..3 {
        send(&mut at_server, ANSWER).await;
        expect(&mut client, ANSWER).await;
    }
    client.shutdown().await.expect("open");
    assert_eq!(rest(&mut at_server).await.expect("in order"), b"");
    drop(at_server);
    assert_eq!(rest(&mut client).await.expect("in order"), b"");
}

#[tokio::test]
async fn what_could_hide_a_second_request_is_not_sent_on() {
    let (mut stage, server) = stage().await;
    for fields in [
        "Content-Length: 3\r\nContent-Length: 44\r\n",
        "Content-Length: 44\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "X: y\nContent-Length: 44\r\n",
        "Content-Length: 44\r\n Content-Length: 0\r\n",
    ] {
        let smuggling = format!("POST / HTTP/1.1\r\nHost: allowed.example\r\n{fields}\r\n");
        let bytes = [smuggling.as_bytes(), EVIL].concat();
        // As the first request, and behind another one.
        let mut client = stage.client(MEANT, 80).await;
        send(&mut client, &bytes).await;
        json(&rest(&mut client).await.expect("in order"), 403);
        let mut client = stage.client(MEANT, 80).await;
        send(&mut client, &[FIRST, &bytes].concat()).await;
        let mut at_server = accept(&server).await;
        expect(&mut at_server, FIRST).await;
        send(&mut at_server, ANSWER).await;
        expect(&mut client, ANSWER).await;
        json(&rest(&mut client).await.expect("in order"), 403);
        assert_eq!(rest(&mut at_server).await.expect("in order"), b"");
    }
    assert_eq!(stage.refused().await, (None, Why::NotUnderstood));
}

#[tokio::test]
async fn chunks_that_break_off_reset_both_sides() {
    let (mut stage, server) = stage().await;
    let mut client = stage.client(MEANT, 80).await;
    let request =
        b"POST / HTTP/1.1\r\nHost: allowed.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n";
    send(&mut client, request).await;
    let mut at_server = accept(&server).await;
    expect(&mut at_server, request).await;
    send(&mut client, b"abcGET / HTTP/1.1\r\n").await;
    assert!(is_reset(&mut client).await && is_reset(&mut at_server).await);
    assert_eq!(stage.refused().await, (None, Why::NotUnderstood));
}

#[tokio::test]
async fn an_upgrade_that_is_granted_makes_way_for_anything() {
    let (stage, server) = stage().await;
    let mut client = stage.client(MEANT, 80).await;
    let request = b"GET / HTTP/1.1\r\nHost: allowed.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    send(&mut client, &[&request[..], b"\x81\x05early"].concat()).await;
    let mut at_server = accept(&server).await;
    expect(&mut at_server, request).await;
    let granted = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    send(&mut at_server, granted).await;
    expect(&mut client, granted).await;
    expect(&mut at_server, b"\x81\x05early").await;
    send(&mut client, b"GET\0anything").await;
    expect(&mut at_server, b"GET\0anything").await;
    send(&mut at_server, b"\x82\x01x").await;
    expect(&mut client, b"\x82\x01x").await;
}

#[tokio::test]
async fn an_upgrade_that_is_not_granted_hides_no_second_host() {
    let (stage, server) = stage().await;
    let mut client = stage.client(MEANT, 80).await;
    let request = b"GET / HTTP/1.1\r\nHost: allowed.example\r\nUpgrade: x\r\n\r\n";
    send(&mut client, &[&request[..], EVIL].concat()).await;
    let mut at_server = accept(&server).await;
    expect(&mut at_server, request).await;
    send(&mut at_server, ANSWER).await;
    expect(&mut client, ANSWER).await;
    json(&rest(&mut client).await.expect("in order"), 403);
    assert_eq!(rest(&mut at_server).await.expect("in order"), b"");
}

#[tokio::test]
async fn an_upgrade_is_answered_behind_its_body() {
    let (stage, server) = stage().await;
    let mut client = stage.client(MEANT, 80).await;
    let request =
        b"POST / HTTP/1.1\r\nHost: allowed.example\r\nUpgrade: x\r\nContent-Length: 4\r\n\r\nbo";
    send(&mut client, request).await;
    let mut at_server = accept(&server).await;
    expect(&mut at_server, request).await;
    send(&mut client, &[b"dy", EVIL].concat()).await;
    expect(&mut at_server, b"dy").await;
    send(&mut at_server, ANSWER).await;
    expect(&mut client, ANSWER).await;
    json(&rest(&mut client).await.expect("in order"), 403);
    assert_eq!(rest(&mut at_server).await.expect("in order"), b"");
}

#[tokio::test]
async fn nobody_waits_for_a_server_that_has_ended() {
    let (stage, server) = stage().await;
    let mut client = stage.client(MEANT, 80).await;
    let request = b"GET / HTTP/1.1\r\nHost: allowed.example\r\nUpgrade: x\r\n\r\n";
    send(&mut client, request).await;
    let mut at_server = accept(&server).await;
    expect(&mut at_server, request).await;
    at_server.shutdown().await.expect("open");
    assert_eq!(rest(&mut client).await.expect("in order"), b"");
    assert_eq!(rest(&mut at_server).await.expect("in order"), b"");
}

#[tokio::test]
async fn an_upgrade_to_http2_is_asked_of_nobody() {
    let (stage, server) = stage().await;
    let mut client = stage.client(MEANT, 80).await;
    let asked = b"GET / HTTP/1.1\r\nHost: allowed.example\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\nA: b\r\n\r\n";
    send(&mut client, asked).await;
    let mut at_server = accept(&server).await;
    expect(
        &mut at_server,
        b"GET / HTTP/1.1\r\nHost: allowed.example\r\nA: b\r\n\r\n",
    )
    .await;
    send(&mut at_server, ANSWER).await;
    expect(&mut client, ANSWER).await;
}

#[tokio::test]
async fn more_requests_than_may_wait_wait_at_the_client() {
    let (stage, server) = stage().await;
    let mut client = stage.client(MEANT, 80).await;
    const MANY: usize = 500;
    send(&mut client, &FIRST.repeat(MANY)).await;
    let mut at_server = accept(&server).await;
    expect(&mut at_server, &FIRST.repeat(64)).await;
    let (mut up, mut down) = at_server.split();
    let answer = async {
        for _ in 0..MANY {
            down.write_all(ANSWER).await.expect("open");
        }
    };
    let rest = async {
        let mut bytes = vec![0; FIRST.len() * (MANY - 64)];
        up.read_exact(&mut bytes).await.expect("open");
        assert_eq!(bytes, FIRST.repeat(MANY - 64));
    };
    let answers = async {
        expect(&mut client, &ANSWER.repeat(MANY)).await;
    };
    tokio::join!(answer, rest, answers);
}
