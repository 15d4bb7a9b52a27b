//! What goes through, goes through as it is.

use super::*;

async fn pair(stage: &Stage) -> (TcpStream, TcpStream) {
    let server = stage.server(SERVER, 443, Some("allowed.example")).await;
    let mut client = stage.client(MEANT, 443).await;
    let hello = hello("allowed.example");
    send(&mut client, &hello).await;
    let mut at_server = accept(&server).await;
    expect(&mut at_server, &hello).await;
    (client, at_server)
}

#[tokio::test]
async fn each_side_may_end_before_the_other() {
    let stage = Stage::new(names(&["allowed.example"])).await;
    for client_first in [true, false] {
        let (client, at_server) = pair(&stage).await;
        let (mut first, mut second) = match client_first {
            true => (client, at_server),
            false => (at_server, client),
        };
        send(&mut first, b"the question").await;
        first.shutdown().await.expect("open");
        assert_eq!(rest(&mut second).await.expect("in order"), b"the question");
        send(&mut second, b"the answer").await;
        drop(second);
        assert_eq!(rest(&mut first).await.expect("in order"), b"the answer");
    }
}

#[tokio::test]
async fn a_reset_of_either_side_reaches_the_other() {
    let stage = Stage::new(names(&["allowed.example"])).await;
    for client_first in [true, false] {
        let (client, at_server) = pair(&stage).await;
        let (first, mut second) = match client_first {
            true => (client, at_server),
            false => (at_server, client),
        };
        first.set_zero_linger().expect("TCP");
        drop(first);
        assert!(is_reset(&mut second).await);
    }
}

#[tokio::test]
async fn much_goes_through_both_ways_at_once() {
    const SIZE: usize = 8 << 20;
    let stage = Stage::new(names(&["allowed.example"])).await;
    let (client, at_server) = pair(&stage).await;
    let bytes: Vec<u8> = (0..SIZE).map(|n| ((n * 31) >> 7) as u8).collect();
    let through = |stream: TcpStream, bytes: Vec<u8>| async move {
        let (mut reader, mut writer) = stream.into_split();
        let write = async {
            writer.write_all(&bytes).await.expect("open");
            writer.shutdown().await.expect("open");
        };
        let mut came = Vec::new();
        let read = reader.read_to_end(&mut came);
        let ((), read) = tokio::join!(write, read);
        read.expect("in order");
        came
    };
    let other: Vec<u8> = bytes.iter().rev().copied().collect();
    let (at_client, at_server) = tokio::join!(
        through(client, bytes.clone()),
        through(at_server, other.clone())
    );
    assert!(at_client == other && at_server == bytes);
}

/// The clock goes on only when nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_sent_nothing_more() {
    let stage = Stage::new(names(&["allowed.example"])).await;
    let (_client, at_server) = pair(&stage).await;
    // A server that sends for ever to a client that does not read: what lies between is bounded by the kernel's buffers.
    let chunk = vec![0; 1 << 20];
    let mut sent = 0_usize;
    let full = async {
        loop {
            at_server.writable().await.expect("open");
            match at_server.try_write(&chunk) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            assert!(sent < 1 << 30, "nothing holds it up");
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(1), full).await;
    assert!(ended.is_err(), "waits");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let stage = Stage::new(names(&["allowed.example"])).await;
    let dead = Ipv4Addr::new(203, 0, 113, 79);
    let server = stage.server(SERVER, 443, None).await;
    // One that no policy opens is not even tried.
    stage.name(
        "allowed.example",
        &[Ipv4Addr::new(10, 0, 0, 1), dead, SERVER],
    );
    let mut client = stage.client(MEANT, 443).await;
    send(&mut client, &hello("allowed.example")).await;
    accept(&server).await;
    let tried = [dead, SERVER].map(|address| SocketAddrV4::new(address, 443));
    assert_eq!(stage.dialled(), tried);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_told_of() {
    let mut stage = Stage::new(names(&["*"])).await;
    stage.name("dead.example", &[SERVER]);
    stage.name(
        "inner.example",
        &[Ipv4Addr::new(192, 168, 0, 1), Ipv4Addr::LOCALHOST],
    );
    let ask = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (host, error) in [
        ("dead.example", "egress_unreachable"),
        ("inner.example", "egress_unresolved"),
        ("unknown.example", "egress_unresolved"),
    ] {
        let mut client = stage.client(MEANT, 80).await;
        send(&mut client, ask(host).as_bytes()).await;
        let answer = json(&rest(&mut client).await.expect("in order"), 502);
        assert_eq!(answer["error"], error, "{host}");
    }
    // Not reached is not refused.
    let told = stage.refused().await;
    assert_eq!(told, (Some("inner.example".into()), Why::Unresolved));
    let mut client = stage.client(MEANT, 443).await;
    send(&mut client, &hello("dead.example")).await;
    assert!(is_reset(&mut client).await);
}
