//! Clients and guests that mean harm.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fake::Fake;
use super::guest::Manner;
use super::http::SOON;

fn id(sandbox: &Value) -> &str {
    sandbox["sandboxID"].as_str().expect("id")
}

/// Whatever one guest does, another sandbox is served at once and the gateway lives.
fn others_are_served(fake: &mut Fake, other: &Value) {
    let begun = Instant::now();
    assert_eq!(fake.inside(other, 49983, "GET", "/health", b"").status, 204);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "another sandbox had to wait"
    );
    assert!(fake.runs());
}

#[test]
fn descriptors_of_a_wrong_kind_end_the_link_and_nothing_else() {
    let mut fake = Fake::start();
    let other = fake.create(json!({}));
    for manner in [
        Manner::SendsFile,
        Manner::SendsListener,
        Manner::SendsMany,
        Manner::SendsOther,
        Manner::Unasked,
        Manner::Rubbish,
    ] {
        let made = fake.create(json!({}));
        let guest = fake.guest(&made);
        let port = guest.open();
        *guest.manner.lock().expect("lock") = manner;
        let answer = fake.inside(&made, port, "GET", "/", b"");
        assert_eq!(answer.status, 502, "{manner:?}: {}", answer.text());
        assert!(
            !answer.text().contains("was not found"),
            "{manner:?}: it still runs"
        );
        others_are_served(&mut fake, &other);
        // It behaves again: the next use makes a new link.
        *guest.manner.lock().expect("lock") = Manner::Good;
        assert_eq!(
            fake.inside(&made, port, "GET", "/", b"").status,
            200,
            "{manner:?}"
        );
    }
}

#[test]
fn a_guest_that_never_answers_holds_only_its_own_requests() {
    let mut fake = Fake::start();
    let (made, other) = (fake.create(json!({})), fake.create(json!({})));
    *fake.guest(&made).manner.lock().expect("lock") = Manner::NeverConnects;
    let waiting: Vec<_> = (0..300)
        .map(|_| {
            let mut client = fake.client();
            client.send(
                "GET",
                "/",
                &[("E2b-Sandbox-Id", id(&made)), ("E2b-Sandbox-Port", "8000")],
                b"",
            );
            client
        })
        .collect();
    others_are_served(&mut fake, &other);
    for mut client in waiting {
        assert_eq!(client.answer().status, 502);
    }
    assert_eq!(
        fake.api("DELETE", &format!("/sandboxes/{}", id(&made)), Value::Null)
            .status,
        204
    );
}

#[test]
fn a_request_without_a_host_is_refused() {
    let mut fake = Fake::start();
    let made = fake.create(json!({}));
    let port = fake.guest(&made).open();
    let lines = format!(
        "X-API-KEY: {}\r\nE2b-Sandbox-Id: {}\r\nE2b-Sandbox-Port: {port}\r\n",
        fake.key,
        id(&made)
    );
    for line in [
        "GET /x HTTP/1.1\r\n",
        "GET http://localhost/x HTTP/1.1\r\n",
        "POST /x HTTP/1.1\r\nContent-Length: 3\r\n",
    ] {
        let mut client = fake.client();
        client.raw(format!("{line}{lines}\r\n").as_bytes());
        let answer = client.answer();
        answer.is_error(400);
        assert!(answer.text().contains("Host"), "{}", answer.text());
        assert!(client.closed(), "{line:?}: the connection goes on");
    }
    let mut client = fake.operator_client();
    client.raw(b"GET /admin/instance HTTP/1.1\r\n\r\n");
    client.answer().is_error(400);
    // It can be empty, and HTTP/1.0 knew none.
    for line in ["GET /x HTTP/1.1\r\nHost:\r\n", "GET /x HTTP/1.0\r\n"] {
        let mut client = fake.client();
        client.raw(format!("{line}{lines}\r\n").as_bytes());
        assert_eq!(client.answer().status, 200, "{line:?}");
    }
    let of_x = |line: &str| line.contains("/x ");
    let seen = fake.guest(&made).seen();
    assert_eq!(seen.iter().filter(|seen| of_x(&seen.line)).count(), 2);
    others_are_served(&mut fake, &made);
}

#[test]
fn smuggled_requests_are_not_served() {
    let mut fake = Fake::start();
    let made = fake.create(json!({}));
    let port = fake.guest(&made).open();
    let head = format!(
        "POST /a HTTP/1.1\r\nHost: x\r\nE2b-Sandbox-Id: {}\r\nE2b-Sandbox-Port: {port}\r\n",
        id(&made)
    );
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    for lines in [
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
            smuggled.len() + 5
        ),
        format!(
            "Transfer-Encoding: chunked\r\nContent-Length: {}\r\n\r\n0\r\n\r\n{smuggled}",
            smuggled.len() + 5
        ),
        format!(
            "Content-Length: 5\r\nContent-Length: {}\r\n\r\nhello{smuggled}",
            smuggled.len() + 5
        ),
        format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Content-Length: +5\r\n\r\nhello{smuggled}"),
        format!("X: a\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{smuggled}"),
    ] {
        let mut client = fake.client();
        client.raw(format!("{head}{lines}").as_bytes());
        let answer = client.answer();
        assert!(answer.status >= 400, "{lines:?}: {}", answer.status);
        assert!(client.closed(), "{lines:?}: the connection goes on");
    }
    assert!(
        !fake
            .guest(&made)
            .seen()
            .iter()
            .any(|seen| seen.line.contains("/a") || seen.line.contains("smuggled"))
    );
    others_are_served(&mut fake, &made);
    // What is framed properly arrives framed properly.
    let mut client = fake.client();
    client
        .raw(format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").as_bytes());
    assert_eq!(client.answer().status, 200);
    let seen = fake.guest(&made).seen().pop().expect("seen");
    assert_eq!(seen.body, b"hello");
    assert!(seen.header("transfer-encoding").is_some() != seen.header("content-length").is_some());
}

#[test]
fn everything_too_large_is_refused() {
    let mut fake = Fake::start();
    let key = fake.key.clone();
    let long = "x".repeat(80 * 1024);
    let mut client = fake.client();
    client.send("GET", "/health", &[("X-Long", &long)], b"");
    assert_eq!(client.answer().status, 431);
    let many: Vec<(&str, &str)> = (0..200).map(|_| ("X-A", "b")).collect();
    let mut client = fake.client();
    client.send("GET", "/health", &many, b"");
    assert_eq!(client.answer().status, 431);
    let mut client = fake.client();
    client.raw(format!("POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\nX-API-KEY: {key}\r\nContent-Length: 99999999\r\n\r\n").as_bytes());
    client.answer().is_error(413);
    let mut client = fake.client();
    client.raw(b"CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n");
    assert!(client.answer().status >= 400);
    for junk in [
        "\x16\x03\x01\x02\x00",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = fake.client();
        client.raw(junk.as_bytes());
        let _ = client.closed();
    }
    assert!(fake.runs());
    assert_eq!(fake.client().ask("GET", "/health", &[], b"").status, 204);
}

#[test]
fn a_create_outlives_the_death_of_the_plugin_host() {
    let mut fake = Fake::start();
    let other = fake.create(json!({}));
    let creates = |fake: &Fake| {
        fake.world()
            .log
            .iter()
            .filter(|line| *line == "Create")
            .count()
    };
    fake.world().create_kills = true;
    let mut client = fake.client();
    client.send(
        "POST",
        "/v2/sandboxes",
        &[("X-API-KEY", &fake.key.clone())],
        br#"{"templateID":"base"}"#,
    );
    let begun = Instant::now();
    while creates(&fake) < 2 {
        assert!(begun.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(2));
    }
    others_are_served(&mut fake, &other);
    fake.plugin();
    assert_eq!(client.answer().status, 201);
    assert_eq!(
        creates(&fake),
        3,
        "asked once more, with the same operation"
    );
}

#[test]
fn a_client_that_leaves_leaves_nothing() {
    let fake = Fake::start();
    fake.world().create_kills = true;
    let mut client = fake.client();
    client.send(
        "POST",
        "/v2/sandboxes",
        &[("X-API-KEY", &fake.key.clone())],
        br#"{"templateID":"base"}"#,
    );
    let begun = Instant::now();
    while fake.world().held.is_empty() {
        assert!(begun.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(client);
    fake.plugin();
    while !fake.world().held.is_empty() {
        assert!(begun.elapsed() < SOON, "nobody knows its id and it lives");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(fake.world().log.contains(&"LeaseEnd".to_owned()));
}

/// A connection from an address of loopback that says nothing.
fn silent(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).expect("room");
    bind(&fd, &SocketAddr::from((from, 0))).expect("loopback");
    connect(&fd, &to).expect("listens");
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(SOON)).expect("set");
    stream
}

/// The same with a request on it. Whether it is answered.
fn asked(from: Ipv4Addr, to: SocketAddr) -> (TcpStream, bool) {
    let mut stream = silent(from, to);
    let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answered = stream.read(&mut [0; 1000]).is_ok_and(|n| n > 0);
    (stream, answered)
}

/// A third of its descriptors is for clients, and half of that for one of them.
#[test]
fn one_client_cannot_have_all_connections() {
    let mut fake = Fake::start();
    fake.kill();
    fake.files = Some(300);
    fake.spawn();
    let from = |n: u8| asked(Ipv4Addr::new(127, 0, 0, n), fake.address);
    let mut all: Vec<_> = (0..50).map(|_| from(1)).collect();
    assert!(all.iter().all(|(_, answered)| *answered));
    assert!(!from(1).1, "it has its share");
    assert!(from(2).1, "and others have theirs");
    all.pop();
    let begun = Instant::now();
    while !from(1).1 {
        assert!(begun.elapsed() < SOON, "its place is free again");
        std::thread::sleep(Duration::from_millis(5));
    }
    // A proxy in front brings everybody's.
    drop(all);
    let fake = fake.behind(1);
    let from = |n: u8| asked(Ipv4Addr::new(127, 0, 0, n), fake.address);
    let all: Vec<_> = (0..60).map(|_| from(1)).collect();
    assert!(all.iter().all(|(_, answered)| *answered));
}

/// From the moment it is accepted a connection is one of its client's, whether anything is said on it or not.
#[test]
fn silent_connections_count_as_all_others() {
    let mut fake = Fake::start();
    fake.kill();
    fake.files = Some(300);
    fake.spawn();
    let open = || {
        let text = fake.operator("GET", "/admin/metrics", b"").text();
        let name = "warder_connections_open{listener=\"network\"}";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.expect("shown").trim().to_owned()
    };
    let one = Ipv4Addr::new(127, 0, 0, 1);
    let mut all: Vec<_> = (0..60).map(|_| silent(one, fake.address)).collect();
    for beyond in &mut all[50..] {
        let closed = beyond.read(&mut [0]);
        assert!(matches!(closed, Ok(0)), "beyond its share: {closed:?}");
    }
    assert_eq!(open(), "50");
    assert!(!asked(one, fake.address).1, "it has its share");
    let (_other, answered) = asked(Ipv4Addr::new(127, 0, 0, 2), fake.address);
    assert!(answered, "and others have theirs");
    assert_eq!(open(), "51");
    all.remove(0);
    let begun = Instant::now();
    while !asked(one, fake.address).1 {
        assert!(begun.elapsed() < SOON, "its place is free again");
        std::thread::sleep(Duration::from_millis(5));
    }
}
