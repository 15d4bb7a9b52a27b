//! What becomes of exchanges through the ports of a sandbox when new rules forbid them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};

use super::fake::Fake;
use super::http::{Client, SOON};
use super::ingress::{ALL, id, put, until};
use super::tls::Authority;

/// A client at this address that has asked for something.
fn asking(fake: &Fake, made: &Value, port: u16, client: &str, path: &str) -> Client {
    let (port, forwarded) = (port.to_string(), format!("{client}, 0.0.0.0"));
    let mut headers = vec![
        ("E2b-Sandbox-Id", id(made)),
        ("E2b-Sandbox-Port", &*port),
        ("X-Forwarded-For", &*forwarded),
    ];
    if path == "/ws" {
        headers.extend([("Connection", "Upgrade"), ("Upgrade", "websocket")]);
    }
    let mut asking = fake.client();
    asking.send("GET", path, &headers, b"");
    asking
}

pub(crate) fn websocket(fake: &Fake, made: &Value, port: u16, client: &str) -> Client {
    let mut socket = asking(fake, made, port, client, "/ws");
    assert_eq!(socket.head().0, 101);
    echoes(&mut socket);
    socket
}

pub(crate) fn echoes(socket: &mut Client) {
    socket.raw(b"ping");
    assert_eq!(socket.exactly(4), b"ping");
}

fn stream(fake: &Fake, made: &Value, port: u16, client: &str) -> Client {
    let mut stream = asking(fake, made, port, client, "/endless");
    assert_eq!(stream.head().0, 200);
    assert_eq!(stream.chunk(), b"first");
    stream
}

const BAD: &str = "203.0.113.99";
pub(crate) const GOOD: &str = "198.51.100.1";

#[test]
fn new_rules_end_what_they_forbid_and_nothing_else() {
    let fake = Fake::start().behind(2);
    let made = fake.create(json!({}));
    let other = fake.create(json!({}));
    let guest = fake.guest(&made);
    let (a, b) = (guest.open(), guest.open());
    let elsewhere = fake.guest(&other).open();
    let mut lives = vec![
        websocket(&fake, &made, a, GOOD),
        websocket(&fake, &made, b, BAD),
        websocket(&fake, &other, elsewhere, BAD),
    ];
    let mut streaming = stream(&fake, &made, a, GOOD);
    let mut dies = vec![
        websocket(&fake, &made, a, BAD),
        websocket(&fake, &made, a, "unknown"),
        stream(&fake, &made, a, BAD),
    ];
    // It reads nothing, so whoever sends to it is stuck.
    let mut stuck = asking(&fake, &made, a, BAD, "/flood");
    assert_eq!(stuck.head().0, 200);
    let mut waits = asking(&fake, &made, a, BAD, "/waits");
    let asked = |path: &str| {
        guest
            .seen()
            .iter()
            .filter(|seen| seen.line.contains(path))
            .count()
    };
    until("it waits", || asked("/waits") == 1);
    // Half of a body is there, and no answer yet.
    let upload = |client: &str| {
        let (port, forwarded) = (a.to_string(), format!("{client}, 0.0.0.0"));
        let mut upload = fake.client();
        let headers = [
            ("E2b-Sandbox-Id", id(&made)),
            ("E2b-Sandbox-Port", &*port),
            ("X-Forwarded-For", &*forwarded),
            ("Transfer-Encoding", "chunked"),
        ];
        upload.send("POST", "/up", &headers, b"4\r\nhalf\r\n");
        upload
    };
    let (mut half, mut whole) = (upload(BAD), upload(GOOD));

    put(
        &fake,
        &made,
        json!({"denyIn": [format!("203.0.113.0/24:{a}")]}),
    );

    // Closed when it was answered, so nothing more can have come from there.
    let ended = guest.ended.lock().expect("lock").clone();
    for client in &mut dies {
        assert!(client.cut());
    }
    assert!(stuck.cut());
    let answer = waits.answer();
    assert_eq!(
        (answer.status, &answer.json()["clientIp"]),
        (403, &json!(BAD))
    );
    assert_eq!(half.answer().status, 403);
    assert_eq!(asked("/up"), 0, "half a request is none");
    // So it is seen inside, a moment later.
    let gone = || guest.ended.lock().expect("lock").len();
    until("all are closed inside", || gone() == 5);
    assert!(ended.len() <= 5);
    for client in &mut lives {
        echoes(client);
    }
    whole.raw(b"4\r\nrest\r\n0\r\n\r\n");
    assert_eq!(whole.answer().text(), "POST /up HTTP/1.1\n8");
    let closed = asking(&fake, &made, a, BAD, "/").answer().status;
    assert_eq!(closed, 403);

    // The air gap is about what leaves.
    let airgap = format!("/sandboxes/{}/airgap", id(&made));
    assert_eq!(
        fake.api("PUT", &airgap, json!({"enabled": true})).status,
        204
    );
    for client in &mut lives {
        echoes(client);
    }
    // Looser rules, and the same ones again, end nothing.
    put(&fake, &made, json!({}));
    put(
        &fake,
        &made,
        json!({"denyIn": [format!("203.0.113.0/24:{a}")]}),
    );
    for client in &mut lives {
        echoes(client);
    }
    assert_eq!(gone(), 5);
    put(&fake, &made, json!({"denyIn": [ALL]}));
    assert!(streaming.cut());
    let last = lives.pop().expect("the other sandbox's");
    for mut client in lives {
        assert!(client.cut());
    }
    echoes(&mut { last });
}

/// What those who hammer at a port count.
#[derive(Default)]
struct Counts {
    /// How many updates there were; odd between the answer to one that forbids it and the next.
    updates: AtomicU64,
    over: AtomicBool,
    refused: AtomicU64,
    echoes: AtomicU64,
    /// What passed though it was asked for after the answer.
    late: AtomicU64,
}

/// Opens WebSockets and uses each until it is closed, over and over.
fn hammer(address: SocketAddr, head: &str, counts: &Counts) {
    let updates = || counts.updates.load(Ordering::SeqCst);
    let passed = |before: u64| {
        if before % 2 == 1 && updates() == before {
            counts.late.fetch_add(1, Ordering::SeqCst);
        }
    };
    while !counts.over.load(Ordering::SeqCst) {
        let before = updates();
        let mut stream = TcpStream::connect_timeout(&address, SOON).expect("listens");
        stream.set_read_timeout(Some(SOON)).expect("set");
        let mut answer = [0; 4096];
        let read = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.read(&mut answer));
        match read {
            Ok(n) if answer[..n].starts_with(b"HTTP/1.1 101") => passed(before),
            // Refused, or reset between the two.
            _ => {
                counts.refused.fetch_add(1, Ordering::SeqCst);
                continue;
            }
        }
        loop {
            let before = updates();
            let over = counts.over.load(Ordering::SeqCst);
            let echoed = stream
                .write_all(b"ping")
                .and_then(|()| stream.read_exact(&mut answer[..4]));
            if echoed.is_err() || over {
                break;
            }
            counts.echoes.fetch_add(1, Ordering::SeqCst);
            passed(before);
        }
    }
}

#[test]
fn nothing_forbidden_passes_after_the_answer_however_many_come() {
    let fake = Fake::start().behind(2);
    let made = fake.create(json!({}));
    let port = fake.guest(&made).open();
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {port}-{}.box.example\r\nX-Forwarded-For: {BAD}, 0.0.0.0\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        id(&made)
    );
    let counts = Counts::default();
    let (counts, head, address) = (&counts, &head, fake.address);
    let mut good = websocket(&fake, &made, port, GOOD);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(move || hammer(address, head, counts));
        }
        for _ in 0..20 {
            let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
            let before = of(&counts.echoes);
            until("it is open", || of(&counts.echoes) > before + 20);
            put(&fake, &made, json!({"denyIn": ["203.0.113.0/24"]}));
            counts.updates.fetch_add(1, Ordering::SeqCst);
            let before = of(&counts.refused);
            until("all have tried", || of(&counts.refused) > before + 20);
            echoes(&mut good);
            counts.updates.fetch_add(1, Ordering::SeqCst);
            put(&fake, &made, json!({}));
        }
        counts.over.store(true, Ordering::SeqCst);
    });
    assert_eq!(counts.late.load(Ordering::SeqCst), 0);
}

#[test]
fn new_rules_end_streams_of_http2_one_by_one() {
    let authority = Authority::new();
    let fake = Fake::with(vec![authority.signs("box.example")]);
    let made = fake.create(json!({}));
    let guest = fake.guest(&made);
    let (a, b) = (guest.open(), guest.open());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let connect = || async {
        let stream = tokio::net::TcpStream::connect(fake.tls.expect("TLS"));
        let connector = tokio_rustls::TlsConnector::from(authority.config(&["h2"]));
        let name = ServerName::try_from("api.box.example").expect("a name");
        let stream = stream.await.expect("connects");
        let stream = connector.connect(name, stream).await.expect("shakes hands");
        let (sender, connection) = hyper::client::conn::http2::handshake(
            hyper_util::rt::TokioExecutor::new(),
            hyper_util::rt::TokioIo::new(stream),
        )
        .await
        .expect("speaks HTTP/2");
        tokio::spawn(connection);
        sender
    };
    let request = |port: u16, path: &str| {
        let uri = format!("https://{port}-{}.box.example{path}", id(&made));
        http::Request::get(uri)
            .body(Empty::<Bytes>::new())
            .expect("a request")
    };
    runtime.block_on(async {
        let mut sender = connect().await;
        let mut ask = async |port, path: &str| {
            let answer = sender.send_request(request(port, path)).await;
            let mut body = answer.expect("an answer").into_body();
            let first = body.frame().await.expect("a part").expect("a part");
            (first, body)
        };
        let (_, mut dies) = ask(a, "/endless").await;
        let (_, mut lives) = ask(b, "/endless").await;
        // Nobody reads on, so its window closes.
        let (_, flood) = ask(b, "/flood").await;
        tokio::task::block_in_place(|| {
            put(&fake, &made, json!({"denyIn": [format!("{ALL}:{a}")]}));
        });
        let broken = dies.frame().await.expect("told so").expect_err("reset");
        assert!(!broken.is_timeout(), "{broken}");
        let wait = tokio::time::timeout(Duration::from_millis(50), lives.frame()).await;
        assert!(wait.is_err(), "it goes on");
        let answer = sender
            .send_request(request(b, "/"))
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200);
        let answer = sender
            .send_request(request(a, "/"))
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 403);
        // One that takes nothing cannot be told: its connection ends.
        tokio::task::block_in_place(|| put(&fake, &made, json!({"denyIn": [ALL]})));
        assert!(lives.frame().await.is_none_or(|frame| frame.is_err()));
        let mut flood = flood;
        while flood.frame().await.is_some_and(|frame| frame.is_ok()) {}
    });
    until("all are closed inside", || {
        guest.ended.lock().expect("lock").len() == 3
    });
}
