//! Sandbox traffic.

use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::fake::Fake;
use super::http::{Client, SOON};

fn id(sandbox: &Value) -> &str {
    sandbox["sandboxID"].as_str().expect("id")
}

#[test]
fn by_header_and_by_name() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let port = fake.guest(&made).open();
    assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 204);
    let answer = fake.inside(&made, port, "POST", "/x?y=z", b"12345");
    assert_eq!(answer.text(), "POST /x?y=z HTTP/1.1\n5");
    for host in [
        format!("{port}-{}.box.example", id(&made)),
        format!("{port}-{}.localhost:3000", id(&made)),
    ] {
        let answer = fake
            .client()
            .ask("GET", "/by-name", &[("Host", &host)], b"");
        assert_eq!(answer.text(), "GET /by-name HTTP/1.1\n0");
        let seen = fake.guest(&made).seen().pop().expect("seen");
        assert_eq!(seen.header("host"), Some(host.as_str()));
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    }
    let closed = fake.inside(&made, 1, "GET", "/", b"");
    assert_eq!(closed.status, 502);
    let expected = json!({"sandboxId": id(&made), "message": "The sandbox is running but port is not open", "port": 1, "code": 502});
    assert_eq!(closed.json(), expected);
    assert_eq!(closed.header("access-control-allow-origin"), Some("*"));
    fake.client()
        .ask("GET", "/", &[("Host", "junk.box.example")], b"")
        .is_error(400);
    fake.client()
        .ask("GET", "/", &[("E2b-Sandbox-Id", id(&made))], b"")
        .is_error(400);
    let page = fake.client().ask(
        "GET",
        "/",
        &[
            ("Host", &format!("1-{}.box.example", id(&made))),
            ("Accept", "text/html,*/*"),
            ("User-Agent", "Mozilla/5.0 Firefox/140.0"),
        ],
        b"",
    );
    assert!(page.status == 502 && page.text().starts_with("<!DOCTYPE html>"));
    let preflight = fake.client().ask(
        "OPTIONS",
        "/",
        &[
            ("Host", "1-i1234567890123456789012345678.box.example"),
            ("Origin", "https://app.example"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization"),
        ],
        b"",
    );
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-headers"),
        Some("authorization")
    );
}

#[test]
fn control_routes_are_not_there() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let before = fake.guest(&made).seen().len();
    for path in [
        "/init",
        "//init",
        "/%69nit",
        "/x/../init",
        "/freeze",
        "/upgrade",
        "/INIT",
    ] {
        assert_eq!(
            fake.inside(&made, 49983, "POST", path, b"{}").status,
            404,
            "{path}"
        );
    }
    assert_eq!(fake.guest(&made).seen().len(), before);
}

#[test]
fn the_traffic_token_guards_every_port_but_the_agents() {
    let fake = Fake::start();
    let made = fake.create(json!({"network": {"allowPublicTraffic": false}}));
    let port = fake.guest(&made).open().to_string();
    let token = made["trafficAccessToken"].as_str().expect("set");
    let ask = |token: Option<&str>| {
        let mut headers = vec![
            ("E2b-Sandbox-Id", id(&made)),
            ("E2b-Sandbox-Port", port.as_str()),
        ];
        headers.extend(token.map(|t| ("e2b-traffic-access-token", t)));
        fake.client().ask("GET", "/", &headers, b"")
    };
    ask(None).is_error(403);
    ask(Some("")).is_error(403);
    ask(Some(&token[1..])).is_error(403);
    assert_eq!(ask(Some(token)).status, 200);
    assert_eq!(
        fake.guest(&made)
            .seen()
            .pop()
            .expect("seen")
            .header("e2b-traffic-access-token"),
        None
    );
    assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 204);
    let open = fake.create(json!({}));
    let port = fake.guest(&open).open();
    assert_eq!(fake.inside(&open, port, "GET", "/", b"").status, 200);
}

#[test]
fn streams_are_not_gathered() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let port = fake.guest(&made).open().to_string();
    let mut client = fake.client();
    let begun = Instant::now();
    client.send(
        "GET",
        "/stream",
        &[("E2b-Sandbox-Id", id(&made)), ("E2b-Sandbox-Port", &port)],
        b"",
    );
    assert_eq!(client.head().0, 200);
    assert_eq!(client.chunk(), b"first");
    assert!(
        begun.elapsed() < Duration::from_millis(550),
        "the first part waited for the second"
    );
    assert_eq!(client.chunk(), b"second");
    assert_eq!(client.chunk(), b"");
    // The connection serves on.
    assert_eq!(
        client
            .ask(
                "GET",
                "/",
                &[("E2b-Sandbox-Id", id(&made)), ("E2b-Sandbox-Port", &port)],
                b""
            )
            .status,
        200
    );
}

#[test]
fn what_breaks_off_inside_breaks_off_outside() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let port = fake.guest(&made).open().to_string();
    let mut client = fake.client();
    client.send(
        "GET",
        "/breaks",
        &[("E2b-Sandbox-Id", id(&made)), ("E2b-Sandbox-Port", &port)],
        b"",
    );
    let (status, headers) = client.head();
    assert!(status == 200 && headers.contains(&("content-length".into(), "100".into())));
    assert_eq!(client.exactly(4), b"half");
    assert!(client.closed());
}

/// As by other proxies. It cannot be told from one that closed its socket, and must not keep what it asked for going.
#[test]
fn a_client_that_ends_its_side_before_the_answer_is_gone() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let guest = fake.guest(&made);
    let port = guest.open().to_string();
    let stream = TcpStream::connect(fake.address).expect("listens");
    stream.set_read_timeout(Some(SOON)).expect("set");
    let mut client = Client::over(Box::new(stream.try_clone().expect("room")));
    client.send("GET", "/waits", &routed(&made, &port), b"");
    let soon = |what: &str, done: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < SOON, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    soon("it is asked inside", &|| {
        guest
            .seen()
            .iter()
            .any(|seen| seen.line.starts_with("GET /waits "))
    });
    stream.shutdown(Shutdown::Write).expect("open");
    assert!(client.closed(), "without an answer");
    soon("it is broken off inside", &|| {
        let ended = guest.ended.lock().expect("lock");
        ended.iter().any(|path| path == "/waits")
    });
}

#[test]
fn upgrades_pass_both_ways() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let port = fake.guest(&made).open();
    let host = format!("{port}-{}.box.example", id(&made));
    let mut client = fake.client();
    client.send(
        "GET",
        "/ws",
        &[
            ("Host", &host),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Key", "k"),
        ],
        b"",
    );
    let (status, headers) = client.head();
    assert_eq!(status, 101);
    assert!(
        headers.contains(&("upgrade".into(), "websocket".into())),
        "{headers:?}"
    );
    assert!(headers.contains(&("sec-websocket-accept".into(), "x".into())));
    for text in [&b"ping"[..], &[0x81, 0x00, 0xff]] {
        client.raw(text);
        assert_eq!(client.exactly(text.len()), text);
    }
    // Killed: the stream is dropped.
    assert_eq!(
        fake.api("DELETE", &format!("/sandboxes/{}", id(&made)), Value::Null)
            .status,
        204
    );
    assert!(client.closed());
}

#[test]
fn nothing_of_one_hop_reaches_the_next() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let port = fake.guest(&made).open().to_string();
    let headers = [
        ("E2b-Sandbox-Id", id(&made)),
        ("E2b-Sandbox-Port", port.as_str()),
        ("Connection", "X-Private"),
        ("X-Private", "1"),
        ("TE", "deflate;q=0.5, trailers"),
        ("Keep-Alive", "timeout=5"),
        ("X-API-KEY", fake.key.as_str()),
        ("X-Kept", "1"),
    ];
    let answer = fake.client().ask("GET", "/hops", &headers, b"");
    assert_eq!(
        (
            answer.status,
            answer.header("x-kept"),
            answer.header("x-secret"),
            answer.header("keep-alive")
        ),
        (200, Some("1"), None, None)
    );
    let seen = fake.guest(&made).seen().pop().expect("seen");
    for name in ["x-private", "keep-alive", "x-api-key", "connection"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    // Of this alone the gateway can do the same towards the sandbox.
    assert_eq!(seen.header("te"), Some("trailers"));
    assert_eq!(seen.header("x-kept"), Some("1"));
}

/// A request and its answer by header, on a connection that serves on.
fn routed<'a>(made: &'a Value, port: &'a str) -> [(&'a str, &'a str); 2] {
    [("E2b-Sandbox-Id", id(made)), ("E2b-Sandbox-Port", port)]
}

#[test]
fn answers_without_a_body_stay_what_they_are() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let port = fake.guest(&made).open().to_string();
    let headers = routed(&made, &port);
    let mut client = fake.client();
    client.send("HEAD", "/head", &headers, b"");
    let (status, lines) = client.head();
    assert_eq!(status, 200);
    assert!(
        lines.contains(&("content-length".into(), "1234".into())),
        "{lines:?}"
    );
    client.send("GET", "/same", &headers, b"");
    let (status, lines) = client.head();
    assert_eq!(status, 304);
    for line in [("etag", "\"x\""), ("content-length", "99")] {
        let line = (line.0.into(), line.1.into());
        assert!(lines.contains(&line), "{lines:?}");
    }
    // What is no length is no end of the connection either.
    for path in ["/same-odd", "/same-twice", "/same"] {
        for method in ["GET", "HEAD"] {
            client.send(method, path, &headers, b"");
            assert_eq!(client.head().0, 304, "{method} {path}");
        }
    }
    client.send("HEAD", "/head-odd", &headers, b"");
    assert_eq!(client.head().0, 200);
    client.send("GET", "/gone", &headers, b"");
    let (status, lines) = client.head();
    assert_eq!(status, 204);
    for (name, _) in &lines {
        assert!(
            !["content-length", "transfer-encoding"].contains(&name.as_str()),
            "{lines:?}"
        );
    }
    client.send("HEAD", "/stream", &headers, b"");
    assert_eq!(client.head().0, 200);
    // Nothing of any of them is left over on the connection.
    let answer = client.ask("GET", "/after", &headers, b"");
    assert_eq!(answer.text(), "GET /after HTTP/1.1\n0");
    // The body of a server of HTTP/1.0 ends with its connection.
    let answer = client.ask("GET", "/until-close", &headers, b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, "all of it"));
}

#[test]
fn what_an_application_says_of_itself_is_left_alone() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let port = fake.guest(&made).open().to_string();
    let headers = routed(&made, &port);
    let answer = fake.client().ask("GET", "/elsewhere", &headers, b"");
    assert_eq!(answer.status, 302);
    assert_eq!(
        answer.header("location"),
        Some("http://localhost:8000//a/?b=%2F#c")
    );
    assert_eq!(answer.header("set-cookie"), Some("a=1; Domain=localhost"));
    for path in [
        "/a/",
        "//a//",
        "/a/../b/./c",
        "/%2e%2e/%2F%41?x=%20+&y=//",
        "/a?",
        "/a;b=c/d|e",
        "/?q={}",
    ] {
        let answer = fake.client().ask("GET", path, &headers, b"");
        assert_eq!(answer.text(), format!("GET {path} HTTP/1.1\n0"));
    }
}

#[test]
fn trailers_pass_both_ways() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let port = fake.guest(&made).open().to_string();
    let mut client = fake.client();
    let [a, b] = routed(&made, &port);
    client.send("GET", "/trailers", &[a, b, ("TE", "trailers")], b"");
    assert_eq!(client.head().0, 200);
    assert_eq!(client.exactly(24), b"4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n");
    let lines = [a, b, ("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")];
    let body = b"4\r\nbody\r\n0\r\nX-Sum: 9\r\n\r\n";
    let answer = client.ask("POST", "/", &lines, body);
    assert_eq!(answer.text(), "POST / HTTP/1.1\n4");
    let seen = fake.guest(&made).seen().pop().expect("seen");
    assert_eq!(seen.header("trailer x-sum"), Some("9"), "{seen:?}");
    // Who has not asked for them gets none.
    let answer = client.ask("GET", "/trailers", &[a, b], b"");
    assert_eq!(answer.text(), "body");
}

#[test]
fn a_server_that_is_just_starting_is_waited_for() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let guest = fake.guest(&made);
    let port = guest.open();
    let refuse = |times: u32| {
        guest.not_yet.lock().expect("lock").insert(port, times);
    };
    refuse(4);
    assert_eq!(fake.inside(&made, port, "GET", "/", b"").status, 200);
    // Kept connections would be used; an upgrade's is not given back.
    let closed = guest.open();
    guest.not_yet.lock().expect("lock").insert(closed, 5);
    assert_eq!(fake.inside(&made, closed, "GET", "/", b"").status, 502);
    assert_eq!(fake.inside(&made, closed, "GET", "/", b"").status, 200);
}

#[test]
fn a_request_into_a_closing_connection_is_asked_again_if_that_is_safe() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let port = fake.guest(&made).open();
    for _ in 0..5 {
        assert_eq!(fake.inside(&made, port, "GET", "/first", b"").status, 200);
        // Seen on the kept connection, which closes, and once more on one of its own.
        let answer = fake.inside(&made, port, "GET", "/stale", b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // The connection may not be kept yet when its answer has come: then the next request has one of its own.
    let refused = (0..50).any(|_| {
        assert_eq!(fake.inside(&made, port, "GET", "/first", b"").status, 200);
        let before = fake.guest(&made).seen().len();
        let answer = fake.inside(&made, port, "POST", "/stale", b"once");
        // Never asked twice, however it ended.
        assert_eq!(fake.guest(&made).seen().len(), before + 1);
        match answer.status {
            200 => false,
            502 => true,
            status => panic!("{status}: {}", answer.text()),
        }
    });
    assert!(refused, "the kept connection was never used");
}

#[test]
fn first_bytes_that_are_no_http_are_answered_in_words() {
    let fake = Fake::start();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let mut client = fake.client();
        client.raw(bytes);
        client.answer().is_error(400);
        assert!(client.closed());
    }
}

#[test]
fn connections_are_kept_and_not_mixed() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    for _ in 0..20 {
        assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 204);
    }
    // One link, however many requests.
    assert_eq!(
        fake.world()
            .log
            .iter()
            .filter(|line| *line == "LinkOpen")
            .count(),
        1
    );
    // A slow answer delays nobody else.
    let slow = std::thread::scope(|scope| {
        let slow = scope.spawn(|| fake.inside(&made, 49983, "GET", "/slow", b""));
        std::thread::sleep(Duration::from_millis(50));
        let begun = Instant::now();
        assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 204);
        assert!(begun.elapsed() < Duration::from_millis(250));
        slow.join().expect("no panic")
    });
    assert_eq!(slow.text(), "slow");
}

pub(crate) fn sign(path: &str, operation: &str, user: &str, token: &str) -> String {
    let hash = Sha256::digest(format!("{path}:{operation}:{user}:{token}"));
    let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(hash);
    format!("v1_{text}").replace('+', "%2B").replace('/', "%2F")
}

#[test]
fn signed_urls_find_their_sandbox() {
    let fake = Fake::start();
    let (one, two) = (fake.create(json!({})), fake.create(json!({})));
    let token = |s: &Value| s["envdAccessToken"].as_str().expect("token").to_owned();
    let seen = |s: &Value| {
        fake.guest(s)
            .seen()
            .iter()
            .filter(|seen| seen.line.contains("/files"))
            .count()
    };
    let get = |path: &str| fake.client().ask("GET", path, &[], b"");
    let url = format!(
        "/files?path=a.txt&username=user&signature={}",
        sign("a.txt", "read", "user", &token(&two))
    );
    assert_eq!(get(&url).status, 200);
    assert_eq!((seen(&one), seen(&two)), (0, 1));
    let url = format!(
        "/files?path=a.txt&signature={}",
        sign("a.txt", "write", "", &token(&one))
    );
    assert_eq!(fake.client().ask("POST", &url, &[], b"data").status, 200);
    assert_eq!((seen(&one), seen(&two)), (1, 1));
    // Made for writing, another path, another user, nobody's token, none at all.
    get(&url).is_error(401);
    get(&url.replace("a.txt", "b.txt")).is_error(401);
    get("/files?path=a.txt&signature=v1_x").is_error(401);
    get("/files?path=a.txt").is_error(401);
    // Over: its sandbox does not even hear of it.
    let over = |end: &str| {
        let signed = sign("a.txt", "read", "", &format!("{}:{end}", token(&one)));
        get(&format!(
            "/files?path=a.txt&signature={signed}&signature_expiration={end}"
        ))
    };
    over("1").is_error(401);
    assert_eq!(seen(&one), 1);
    assert_eq!(over("99999999999").status, 200);
    let mut client = Client::tcp(fake.address);
    assert_eq!(
        client
            .ask(
                "OPTIONS",
                "/files?path=a.txt",
                &[("Origin", "http://a")],
                b""
            )
            .status,
        204
    );
}
