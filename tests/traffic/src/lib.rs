//! Trust: tests only (who runs the tests).
//! Input: a running instance of its own; what comes back through its gateway.
//! May: start daemons, look at their memory.
//! Unsafe: forbidden.
//!
//! A server inside a sandbox, and clients that speak to it through the gateway exactly as they are told.
#![forbid(unsafe_code)]

pub mod memory;
pub mod ws;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use warder_harness::{Instance, http};

/// Where the server listens in its sandbox.
const PORT: u16 = 8000;
/// Length of the blocks that bulk data is made of.
pub const BLOCK: usize = 65_536;

/// An instance with one sandbox that serves.
#[derive(Debug)]
pub struct Site {
    /// The instance.
    pub instance: Instance,
    /// The sandbox.
    pub sandbox: Value,
}

impl Site {
    /// Starts it all.
    ///
    /// # Panics
    /// When something does not start.
    #[must_use]
    pub fn start() -> Self {
        let instance = Instance::builder().start();
        let sandbox = instance.create(&json!({}));
        let program = include_bytes!("server.py");
        let site = Self { instance, sandbox };
        let mut stream = site.begin(
            "POST",
            "/files?path=/tmp/server.py&username=user",
            49983,
            &format!(
                "Content-Type: application/octet-stream\r\nContent-Length: {}\r\n",
                program.len()
            ),
        );
        stream.write_all(program).expect("taken");
        assert_eq!(answer(&mut BufReader::new(stream)).0, 200);
        let start = format!(
            "setsid python3 /tmp/server.py {PORT} >/tmp/server.log 2>&1 </dev/null & \
             for n in $(seq 500); do curl -sf http://127.0.0.1:{PORT}/ && exit; sleep 0.02; done; cat /tmp/server.log"
        );
        let ran = site.instance.run(&site.sandbox, "user", &start, 60_000);
        assert_eq!(ran.stdout, "ready", "{ran:?}");
        site
    }

    /// A connection to the gateway on which the head of a request for a port was sent. `lines` end with CRLF each.
    ///
    /// # Panics
    /// When the gateway takes none.
    #[must_use]
    pub fn begin(&self, method: &str, target: &str, port: u16, lines: &str) -> TcpStream {
        let id = self.sandbox["sandboxID"].as_str().expect("an id");
        let token = self.sandbox["envdAccessToken"].as_str().expect("a token");
        let mut stream = http::tcp(self.instance.address()).expect("the gateway accepts");
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nE2b-Sandbox-Id: {id}\r\nE2b-Sandbox-Port: {port}\r\n\
             X-Access-Token: {token}\r\n{lines}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sends");
        stream
    }

    /// As [`Self::begin`], for the server.
    #[must_use]
    pub fn ask(&self, method: &str, target: &str, lines: &str) -> TcpStream {
        self.begin(method, target, PORT, lines)
    }

    /// The whole body of a GET from the server, as text.
    #[must_use]
    pub fn get(&self, target: &str) -> String {
        self.instance
            .sandbox(&self.sandbox, PORT, "GET", target, b"")
            .text()
    }

    /// Removes it all.
    pub fn finish(self) {
        self.instance.remove(&self.sandbox);
        self.instance.finish();
    }
}

/// Reads an answer's head: its status and header lines, names in lower case.
///
/// # Panics
/// When there is none.
pub fn answer(from: &mut impl BufRead) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    from.read_line(&mut line).expect("an answer");
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status: {line:?}"));
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).expect("an answer");
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return (status, lines);
        };
        lines.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Block number `number` of all bulk data.
#[must_use]
pub fn block(number: u64) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((0..BLOCK - 8).map(|n| u8::try_from((n * 7 + 3) % 251).unwrap_or_default()));
    bytes
}

/// Reads `blocks` blocks and compares each.
///
/// # Panics
/// At the first byte that is another.
pub fn expect_blocks(from: &mut impl Read, blocks: u64) {
    let mut expected = block(0);
    let mut got = vec![0; BLOCK];
    for number in 0..blocks {
        expected[..8].copy_from_slice(&number.to_be_bytes());
        from.read_exact(&mut got).expect("the whole of it");
        assert!(got == expected, "block {number} of {blocks} is another");
    }
}

/// Writes `blocks` blocks.
///
/// # Panics
/// When they are not taken.
pub fn send_blocks(to: &mut impl Write, blocks: u64) {
    let mut bytes = block(0);
    for number in 0..blocks {
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        to.write_all(&bytes).expect("taken");
    }
}
