//! The real agent and the real gateway with one stream between them, as a virtual machine's console would be.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::fake::Fake;

/// The agent of a machine; ended when dropped.
pub(crate) struct Agent(Child);

impl Agent {
    /// Starts the one that scripts/build made, with the stream as its link.
    pub(crate) fn start(stream: UnixStream) -> Self {
        let stage = std::env::var_os("WARDER_STAGE").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/stage")),
            PathBuf::from,
        );
        let program = stage.join("libexec/envd");
        assert!(
            program.exists(),
            "no {}: run scripts/build",
            program.display()
        );
        let child = Command::new("sh")
            .args(["-c", "exec \"$0\" 3<&0 </dev/null"])
            .arg(program)
            .stdin(OwnedFd::from(stream))
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("starts"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn machine() -> (Fake, Value) {
    let fake = Fake::start();
    fake.world().machines = true;
    let made = fake.create(json!({}));
    (fake, made)
}

#[test]
fn a_machine_is_a_sandbox_like_any_other() {
    let (fake, made) = machine();
    assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 204);
    let metrics = fake.inside(&made, 49983, "GET", "/metrics", b"").json();
    assert!(
        metrics["mem_total"].as_u64().is_some_and(|n| n > 0),
        "{metrics}"
    );
    // A port beside the agent, and one that nobody listens on.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("connected");
        let mut asked = [0; 4096];
        let length = stream.read(&mut asked).expect("a request");
        let body = "x".repeat(3_000_000);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).expect("taken");
        stream.write_all(body.as_bytes()).expect("taken");
        String::from_utf8_lossy(&asked[..length]).into_owned()
    });
    let answer = fake.inside(&made, port, "GET", "/large", b"");
    assert_eq!((answer.status, answer.text().len()), (200, 3_000_000));
    let asked = server.join().expect("no panic");
    assert!(asked.starts_with("GET /large HTTP/1.1\r\n"), "{asked}");
    assert_eq!(fake.inside(&made, port, "GET", "/", b"").status, 502);
}

#[test]
fn a_slow_reader_holds_up_no_other() {
    let (fake, made) = machine();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    // It is connected to, and then reads nothing.
    let server = std::thread::spawn(move || listener.accept().expect("connected"));
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| {
            let body = vec![b'x'; 8 << 20];
            fake.inside(&made, port, "POST", "/", &body).status
        });
        let connection = server.join().expect("no panic");
        for _ in 0..20 {
            assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 204);
            std::thread::sleep(Duration::from_millis(5));
        }
        // Without an answer.
        drop(connection);
        assert_eq!(stuck.join().expect("no panic"), 502);
    });
}
