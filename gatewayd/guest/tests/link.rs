//! The link and the plain HTTP part.

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use common::{Envd, WAIT, exchange, send};
use serde_json::json;
use warder_ipc::check;
use warder_wire::link::{Ask, Refusal, Reply, Role};

#[test]
fn one_stream_carries_many_requests() {
    let envd = Envd::start();
    let mut stream = envd.stream(Role::Client);
    for _ in 0..3 {
        let answer = exchange(&mut stream, "GET", "/health", &[], b"");
        assert_eq!((answer.status, answer.body.len()), (204, 0));
    }
    let metrics = exchange(&mut stream, "GET", "/metrics", &[], b"").json();
    for field in [
        "ts",
        "cpu_count",
        "mem_total",
        "mem_used",
        "mem_total_mib",
        "mem_used_mib",
        "disk_used",
        "disk_total",
    ] {
        assert!(
            metrics[field].as_u64().is_some_and(|value| value > 0),
            "{field}: {metrics}"
        );
    }
    assert!(metrics["cpu_used_pct"].is_number() && metrics["mem_cache"].is_number());
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("POST", "/nothing", 404),
        ("POST", "/health", 405),
        ("POST", "/a.B/C", 404),
    ] {
        let answer = envd.request(method, path, &[], b"");
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.json()["code"], status);
    }
}

#[test]
fn ports_are_connected_from_inside() {
    let envd = Envd::start();
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (reply, fds) = envd.dial(port);
    assert_eq!(reply, Reply::Connected { ticket: 7 });
    check::connected_tcp(fds[0].as_fd(), port).expect("a connection to that port");
    let (mut theirs, _) = listener.accept().expect("connected");
    theirs.write_all(b"hello").expect("sent");
    drop(theirs);
    let mut ours = std::net::TcpStream::from(fds.into_iter().next().expect("one"));
    ours.set_nonblocking(false).expect("blocking");
    let mut text = String::new();
    ours.read_to_string(&mut text).expect("read");
    assert_eq!(text, "hello");
    drop(listener);
    for port in [port, 0, 49983] {
        let (reply, fds) = envd.dial(port);
        assert_eq!(
            (reply, fds.len()),
            (
                Reply::Refused {
                    ticket: 7,
                    reason: Refusal::Closed
                },
                0
            )
        );
    }
}

#[test]
fn several_links_live_side_by_side_and_a_bad_one_ends_alone() {
    let envd = Envd::start();
    let mut good = envd.link();
    let mut odd = envd.link();
    // No descriptor, then one of the wrong kind.
    odd.send_timeout(&Ask::Serve { role: Role::Client }, vec![], WAIT)
        .expect("sent");
    assert!(odd.recv_timeout::<Reply>(WAIT).is_err());
    let mut odd = envd.link();
    let file: OwnedFd = std::fs::File::open("/dev/null").expect("null").into();
    odd.send_timeout(&Ask::Serve { role: Role::Client }, vec![file], WAIT)
        .expect("sent");
    assert!(odd.recv_timeout::<Reply>(WAIT).is_err());
    let mut odd = envd.link();
    odd.send_timeout(&"no ask at all, but a frame", vec![], WAIT)
        .expect("sent");
    assert!(odd.recv_timeout::<Reply>(WAIT).is_err());
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    good.send_timeout(
        &Ask::Serve { role: Role::Client },
        vec![theirs.into()],
        WAIT,
    )
    .expect("sent");
    assert_eq!(exchange(&mut ours, "GET", "/health", &[], b"").status, 204);
}

#[test]
fn init_is_the_gateways_alone() {
    let envd = Envd::bare();
    assert_eq!(envd.request("POST", "/init", &[], b"{}").status, 404);
    let init = |body: serde_json::Value| {
        envd.control("POST", "/init", &[], body.to_string().as_bytes())
            .status
    };
    assert_eq!(
        init(
            json!({"accessToken": "t1", "defaultUser": "root", "envVars": {"A": "1"}, "timestamp": "2026-01-01T00:00:02Z", "lifecycleID": "x"})
        ),
        204
    );
    assert_eq!(envd.get("/envs").status, 401);
    assert_eq!(
        envd.get("/envs").json(),
        json!({"code": 401, "message": "unauthorized access, please provide a valid access token or method signing if supported"})
    );
    assert_eq!(envd.get("/health").status, 204);
    assert_eq!(envd.unary("process.Process/List", &json!({})).status, 401);
    let envs = |token: &str| envd.request("GET", "/envs", &[("x-access-token", token)], b"");
    assert_eq!(envs("t2").status, 401);
    assert_eq!(envs("t1").json(), json!({"A": "1", "E2B_SANDBOX": "true"}));
    // An older one changes nothing; a newer one does, and keeps what it does not name.
    assert_eq!(
        init(json!({"accessToken": "old", "timestamp": "2026-01-01T00:00:01Z"})),
        204
    );
    assert_eq!(envs("t1").status, 200);
    assert_eq!(
        init(
            json!({"accessToken": "t3", "envVars": {"B": "2"}, "timestamp": "2026-01-01T00:00:03Z"})
        ),
        204
    );
    assert_eq!(envs("t1").status, 401);
    assert_eq!(
        envs("t3").json(),
        json!({"A": "1", "B": "2", "E2B_SANDBOX": "true"})
    );
    let limits = json!({"memory_mib": 64, "cpu_percent": 100, "pids": 64, "disk_mib": 64});
    let told = json!({"limits": limits, "timestamp": "2026-01-01T00:00:04Z"});
    assert_eq!(init(told), 204);
    let metrics = envd.request("GET", "/metrics", &[("x-access-token", "t3")], b"");
    assert_eq!(metrics.json()["mem_total_mib"], 64);
    for refused in [
        json!({"accessToken": ""}),
        json!({"limits": {"memory_mib": -1}}),
        json!({"volumeMounts": [{"name": "v"}]}),
        json!({"caBundle": "x"}),
        json!([1]),
    ] {
        assert_eq!(init(refused), 400);
    }
}

#[test]
fn browsers_may_ask() {
    let envd = Envd::start();
    let headers = [
        ("origin", "https://page.example"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,x-access-token",
        ),
    ];
    let answer = envd.request("OPTIONS", "/files", &headers, b"");
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("authorization,x-access-token")
    );
    let answer = envd.request("GET", "/health", &headers[..1], b"");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-expose-headers"), Some("*"));
}

#[test]
fn malformed_calls_are_refused_and_the_agent_lives() {
    let envd = Envd::start();
    let call = |content_type: &str, more: (&str, &str), body: &[u8]| {
        envd.request(
            "POST",
            "/process.Process/List",
            &[("content-type", content_type), more],
            body,
        )
    };
    assert_eq!(call("application/proto", ("x", "y"), b"").status, 415);
    assert_eq!(
        call("application/connect+json", ("x", "y"), b"").status,
        415
    );
    assert_eq!(
        call("application/json; charset=utf-8", ("x", "y"), b"{}").status,
        200
    );
    assert_eq!(
        call("application/json", ("x", "y"), b"{").code(),
        "invalid_argument"
    );
    assert_eq!(
        call("application/json", ("x", "y"), b"[[[[").code(),
        "invalid_argument"
    );
    assert_eq!(
        call("application/json", ("x", "y"), &b"[".repeat(200_000)).code(),
        "invalid_argument"
    );
    assert_eq!(
        call("application/json", ("content-encoding", "gzip"), b"{}").code(),
        "unimplemented"
    );
    assert_eq!(
        call("application/json", ("content-encoding", "identity"), b"{}").status,
        200
    );
    let stream = |body: &[u8]| {
        let headers = [("content-type", "application/connect+json")];
        let answer = envd.request("POST", "/process.Process/Start", &headers, body);
        assert_eq!(answer.status, 200);
        answer.text()
    };
    assert!(stream(b"").contains("invalid_argument"));
    assert!(stream(&[0, 0, 0, 0, 9, b'{']).contains("invalid_argument"));
    assert!(stream(&[1, 0, 0, 0, 2, b'{', b'}']).contains("unimplemented"));
    assert!(stream(&[0, 255, 255, 255, 255]).contains("resource_exhausted"));
    assert!(stream(&[0, 0, 0, 0, 1, b'x']).contains("invalid_argument"));
    // Not HTTP, cut HTTP, smuggled HTTP.
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"GET / HTTP/1.1\r\n",
        b"POST /files HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut stream = envd.stream(Role::Client);
        stream.write_all(bytes).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("shut");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    let mut stream = envd.stream(Role::Client);
    send(
        &mut stream,
        "GET",
        "/health",
        &[("x", &"y".repeat(200_000))],
        b"",
    );
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert_eq!(envd.get("/health").status, 204);
}

#[test]
fn descriptors_can_run_out_and_come_back() {
    let envd = Envd::with_few_descriptors();
    let idle: Vec<UnixStream> = (0..40)
        .map(|_| {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            if let Ok(mut link) = envd.try_link() {
                let _ = link.send_timeout(
                    &Ask::Serve { role: Role::Client },
                    vec![theirs.into()],
                    WAIT,
                );
            }
            ours
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(idle);
    let answered = (0..50).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_read_timeout(Some(std::time::Duration::from_secs(2)))
            .expect("a timeout");
        let Ok(mut link) = envd.try_link() else {
            return false;
        };
        let _ = link.send_timeout(
            &Ask::Serve { role: Role::Client },
            vec![theirs.into()],
            WAIT,
        );
        let _ = ours.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut head = [0; 12];
        ours.read_exact(&mut head).is_ok() && &head == b"HTTP/1.1 204"
    });
    assert!(answered);
}
