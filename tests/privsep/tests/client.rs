//! Clients that mean harm, or are only wrong, against the whole server.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_harness::{Instance, http, wait};
use warder_privsep::guests::{MINUTE, id, promptly, serve};

/// Everything the server says to `bytes` until it closes the connection.
fn said_to(instance: &Instance, bytes: &[u8]) -> String {
    let mut stream = http::tcp(instance.address()).expect("the gateway accepts");
    // It may hang up before it has all of it.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_smuggled_request_reaches_nobody() {
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    serve(
        &instance,
        &sandbox,
        Path::new(env!("CARGO_BIN_EXE_hostile-guest")),
        ("127.0.0.1", 8000),
        ("ok", "/tmp/seen"),
    );
    let seen = |instance: &Instance| {
        instance
            .run(&sandbox, "user", "cat /tmp/seen; : > /tmp/seen", MINUTE)
            .stdout
    };
    seen(&instance);
    let head = format!(
        "POST /outer HTTP/1.1\r\nHost: x\r\nE2b-Sandbox-Id: {}\r\nE2b-Sandbox-Port: 8000\r\n",
        id(&sandbox)
    );
    let inner = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let length = inner.len() + 5;
    for tail in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{inner}"),
        format!("Content-Length: 5\r\nContent-Length: {length}\r\n\r\nhello{inner}"),
        format!("Content-Length: 5, {length}\r\n\r\nhello{inner}"),
        format!("Content-Length: +5\r\n\r\nhello{inner}"),
        format!("Content-Length: 0x5\r\n\r\nhello{inner}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{inner}"),
        format!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("X: a\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{inner}"),
        "X: a\rGET /smuggled HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned(),
        format!(" folded: {inner}\r\n\r\n"),
    ] {
        let said = said_to(&instance, format!("{head}{tail}").as_bytes());
        assert!(
            said.starts_with("HTTP/1.1 4") || said.is_empty(),
            "{tail:?}: {said}"
        );
        assert_eq!(
            said.matches("HTTP/1.1 ").count().min(2),
            usize::from(!said.is_empty())
        );
    }
    assert_eq!(seen(&instance), "", "nothing of it came through");
    // A chunk that lies about its length ends the request in the middle and nothing follows it.
    let broken = format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello!!{inner}");
    let _ = said_to(&instance, broken.as_bytes());
    assert!(!seen(&instance).contains("smuggled"));
    // What is framed properly arrives, and as one request.
    let plain = format!(
        "{head}Connection: close\r\nContent-Length: {}\r\n\r\n{inner}",
        inner.len()
    );
    assert!(said_to(&instance, plain.as_bytes()).starts_with("HTTP/1.1 200"));
    let came = seen(&instance);
    assert!(came.starts_with("POST /outer HTTP/1.1\r\n"), "{came}");
    assert!(
        came.contains(&format!("content-length: {}", inner.len()))
            || came.contains("Content-Length"),
        "{came}"
    );
    // No header of its own making gets a client to the routes that are the gateway's.
    for path in [
        "/init",
        "/init/",
        "//init",
        "/%69nit",
        "/x/../init",
        "/./init",
    ] {
        let answer = instance.sandbox(&sandbox, 49983, "POST", path, b"{\"accessToken\":\"mine\"}");
        assert!(answer.status >= 400, "{path}: {}", answer.status);
    }
    assert_eq!(
        instance
            .run(&sandbox, "user", "echo fine", MINUTE)
            .stdout
            .trim(),
        "fine"
    );
    instance.finish();
}

#[test]
fn slow_clients_wait_alone_and_not_for_ever() {
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let served = || {
        let at = Instant::now();
        let answer = instance.sandbox(&sandbox, 49983, "GET", "/health", b"");
        assert_eq!(answer.status, 204);
        assert_eq!(
            instance.api("GET", "/v2/sandboxes", &Value::Null).status,
            200
        );
        at.elapsed()
    };
    let prompt = promptly(Duration::from_secs(3), served());
    let address = instance.address();
    let slow = |first: String, then: &'static str| {
        let mut stream = connect(address);
        thread::spawn(move || {
            let begun = Instant::now();
            stream
                .set_read_timeout(Some(Duration::from_millis(500)))
                .expect("set");
            let _ = stream.write_all(first.as_bytes());
            let mut said = Vec::new();
            while begun.elapsed() < Duration::from_secs(60) {
                // A byte now and then, for as long as anybody listens.
                if stream.write_all(then.as_bytes()).is_err() {
                    break;
                }
                let mut some = [0; 4096];
                match stream.read(&mut some) {
                    Ok(0) => break,
                    Ok(n) => said.extend_from_slice(&some[..n]),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
            let _ = stream.shutdown(Shutdown::Both);
            (begun.elapsed(), String::from_utf8_lossy(&said).into_owned())
        })
    };
    let mut waiting = Vec::new();
    let key = instance.key();
    for _ in 0..100 {
        waiting.push(slow(
            "GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_owned(),
            "x",
        ));
        waiting.push(slow(String::new(), "G"));
    }
    for _ in 0..50 {
        let post = format!(
            "POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\nX-API-KEY: {key}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
        );
        waiting.push(slow(post, " "));
    }
    // Everybody else is served meanwhile.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        assert!(served() < prompt, "it had to wait");
    }
    for client in waiting {
        let (lasted, said) = client.join().expect("no panic");
        assert!(lasted < Duration::from_secs(55), "{lasted:?}: {said}");
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    let listed = instance.api("GET", "/v2/sandboxes", &Value::Null).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    instance.finish();
}

/// A connection, as soon as there is room for it among those that wait to be accepted: on FreeBSD one too many is reset
/// (listen(2)).
fn connect(address: SocketAddr) -> TcpStream {
    let connected = wait::until("a connection", || match TcpStream::connect(address) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        other => Some(other.expect("the gateway accepts")),
    });
    connected.expect("in time")
}

/// A request, what is wrong with it, and the status it gets.
type Case = (&'static str, &'static str, Value, u16);

#[test]
fn what_is_wrong_is_refused_in_the_form_clients_know() {
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let there = id(&sandbox).to_owned();
    let at = |tail: &str| format!("/sandboxes/{there}{tail}");
    let error = |answer: &http::Answer, status: u16, what: &str| {
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        let body = answer.json();
        assert_eq!(body["code"], status, "{what}: {body}");
        assert!(
            body["message"].as_str().is_some_and(|m| m.len() > 5),
            "{what}: {body}"
        );
    };
    let create = |fields: Value| {
        let mut whole = json!({ "templateID": "base" });
        if let (Some(whole), Some(fields)) = (whole.as_object_mut(), fields.as_object()) {
            whole.extend(fields.clone());
        }
        whole
    };
    let cases: [Case; 14] = [
        ("POST", "/v2/sandboxes", json!({}), 400),
        ("POST", "/v2/sandboxes", json!([1]), 400),
        ("POST", "/v2/sandboxes", json!("base"), 400),
        (
            "POST",
            "/v2/sandboxes",
            create(json!({ "templateID": "nosuch" })),
            404,
        ),
        (
            "POST",
            "/v2/sandboxes",
            create(json!({ "templateID": "../../etc" })),
            404,
        ),
        (
            "POST",
            "/v2/sandboxes",
            create(json!({ "timeout": -1 })),
            400,
        ),
        (
            "POST",
            "/v2/sandboxes",
            create(json!({ "timeout": 1e18 })),
            400,
        ),
        (
            "POST",
            "/v2/sandboxes",
            create(json!({ "timeout": "soon" })),
            400,
        ),
        (
            "POST",
            "/v2/sandboxes",
            create(json!({ "metadata": { "a": 1 } })),
            400,
        ),
        (
            "POST",
            "/v2/sandboxes",
            create(json!({ "envVars": [1] })),
            400,
        ),
        (
            "POST",
            "/v2/sandboxes",
            create(json!({ "network": { "allowOut": ["example.com"] } })),
            400,
        ),
        (
            "POST",
            "/v2/sandboxes",
            create(json!({ "autoPauseMemory": false })),
            400,
        ),
        ("GET", "/v2/sandboxes?limit=nine", Value::Null, 400),
        ("GET", "/nowhere", Value::Null, 404),
    ];
    for (method, target, body, status) in &cases {
        let answer = instance.api(method, target, body);
        error(&answer, *status, &format!("{method} {target} {body}"));
    }
    for (method, target, body, status) in [
        ("GET", "/sandboxes/../../etc/passwd", Value::Null, 404),
        ("GET", "/sandboxes/iaaaaaaaaaaaaaaaaaaaa", Value::Null, 404),
        (
            "DELETE",
            "/sandboxes/iaaaaaaaaaaaaaaaaaaaa",
            Value::Null,
            404,
        ),
        ("POST", &at("/timeout"), json!({ "timeout": "x" }), 400),
        ("POST", &at("/timeout"), json!({}), 400),
    ] {
        error(&instance.api(method, target, &body), status, target);
    }
    // Bytes that are no JSON, or not text, or too many, or of no known kind.
    let key = ("X-API-KEY", instance.key());
    let json = ("Content-Type", "application/json");
    for (bytes, status) in [
        (b"{".to_vec(), 400),
        (vec![0xff; 100], 400),
        ([b"[".repeat(100_000), b"]".repeat(100_000)].concat(), 400),
    ] {
        let answer = instance.send("POST", "/v2/sandboxes", &[key, json], &bytes);
        error(&answer, status, "no JSON");
    }
    // Refused by what it says it will be, before it is.
    let long = format!(
        "POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\nX-API-KEY: {}\r\nContent-Length: 99999999\r\n\r\n",
        instance.key()
    );
    let mut stream = http::tcp(instance.address()).expect("the gateway accepts");
    stream.write_all(long.as_bytes()).expect("sends");
    error(&http::answer(&mut stream).expect("an answer"), 413, "long");
    // Who may not.
    let none: [&[(&str, &str)]; 4] = [
        &[],
        &[("X-API-KEY", "")],
        &[("X-API-KEY", "e2b_0000000000000000000000000000000000000000")],
        &[("Authorization", "Bearer x")],
    ];
    for headers in none {
        for (method, target) in [
            ("GET", "/v2/sandboxes"),
            ("POST", "/v2/sandboxes"),
            ("GET", &at("")),
            ("DELETE", &at("")),
            ("POST", &at("/timeout")),
            ("GET", "/templates"),
            ("GET", "/admin/keys"),
        ] {
            let answer = instance.send(method, target, headers, b"");
            error(&answer, 401, &format!("{method} {target} {headers:?}"));
        }
    }
    // A sandbox's own interface asks for its token, and a key is none.
    for token in ["", "mine", instance.key()] {
        let headers = [
            ("E2b-Sandbox-Id", there.as_str()),
            ("E2b-Sandbox-Port", "49983"),
            ("X-Access-Token", token),
            key,
        ];
        let answer = instance.send("GET", "/files?path=/etc/passwd", &headers, b"");
        assert_eq!(answer.status, 401, "{token:?}: {}", answer.text());
    }
    // Administration is nowhere on this side, with any key.
    error(
        &instance.api("GET", "/admin/keys", &Value::Null),
        404,
        "admin",
    );
    let listed = instance.api("GET", "/v2/sandboxes", &Value::Null).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    instance.finish();
}
