//! Bodies far larger than any buffer, with constant memory in whatever they pass through.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use warder_traffic::memory::{Watched, running};
use warder_traffic::{BLOCK, Site, answer, block, expect_blocks, send_blocks};

/// 1 GiB.
const BLOCKS: u64 = 16 * 1024;
/// What the gateway may need more than when idle, and what the agent may, in KiB: a hundredth of a body at most.
const MORE: u64 = 10 * 1024;

struct Peaks(Watched, Watched);

impl Peaks {
    fn begin(site: &Site) -> Self {
        let stage = std::env::var_os("WARDER_STAGE").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/stage")),
            PathBuf::from,
        );
        let gateway = site.instance.daemon_pid("gatewayd").expect("it runs");
        let agent = running(&stage.join("libexec/envd"), site.instance.privd_pid());
        Self(Watched::begin(gateway), Watched::begin(agent))
    }

    fn end(&self, what: &str) {
        let (gateway, agent) = (self.0.grown(), self.1.grown());
        println!("{what}: the gateway grew by {gateway} KiB, the agent by {agent} KiB");
        assert!(gateway < MORE && agent < MORE, "{what}: {gateway} {agent}");
    }
}

#[test]
fn a_gigabyte_passes_through_the_agent_and_through_a_port_in_constant_memory() {
    let site = Site::start();
    let length = BLOCKS * BLOCK as u64;

    let peaks = Peaks::begin(&site);
    let lines = format!("Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n");
    let target = "/files?path=/home/user/large&username=user";
    let mut stream = site.begin("POST", target, 49983, &lines);
    send_blocks(&mut stream, BLOCKS);
    assert_eq!(answer(&mut BufReader::new(stream)).0, 200);
    peaks.end("upload to a file");

    let peaks = Peaks::begin(&site);
    let mut stream = BufReader::new(site.begin("GET", target, 49983, ""));
    let (status, headers) = answer(&mut stream);
    assert_eq!(status, 200);
    assert!(headers.contains(&("content-length".to_owned(), length.to_string())));
    expect_blocks(&mut stream, BLOCKS);
    peaks.end("download of a file");
    let ran = site
        .instance
        .run(&site.sandbox, "user", "rm /home/user/large", 60_000);
    assert_eq!(ran.stderr, "");

    let peaks = Peaks::begin(&site);
    let lines = format!("Content-Length: {length}\r\n");
    let mut stream = site.ask("POST", "/sink", &lines);
    send_blocks(&mut stream, BLOCKS);
    let mut stream = BufReader::new(stream);
    assert_eq!(answer(&mut stream).0, 200);
    let mut said = String::new();
    let wanted = format!("{BLOCKS} blocks and 0 bytes");
    let _ = stream.take(wanted.len() as u64).read_to_string(&mut said);
    assert_eq!(said, wanted);
    peaks.end("upload to a port");

    let peaks = Peaks::begin(&site);
    let mut stream = BufReader::new(site.ask("GET", &format!("/source?{BLOCKS}"), ""));
    assert_eq!(answer(&mut stream).0, 200);
    expect_blocks(&mut stream, BLOCKS);
    peaks.end("download from a port");
    site.finish();
}

#[test]
fn bodies_pass_both_ways_at_once() {
    const BLOCKS: u64 = 1024;
    let site = Site::start();
    let stream = site.ask("POST", "/echo", "Transfer-Encoding: chunked\r\n");
    let mut sending = stream.try_clone().expect("a copy");
    let peaks = Peaks::begin(&site);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..BLOCKS {
                let mut bytes = block(number);
                bytes[..8].copy_from_slice(&number.to_be_bytes());
                sending
                    .write_all(&[b"10000\r\n", bytes.as_slice(), b"\r\n"].concat())
                    .expect("taken");
            }
            sending.write_all(b"0\r\n\r\n").expect("taken");
        });
        let mut stream = BufReader::new(stream);
        assert_eq!(answer(&mut stream).0, 200);
        expect_blocks(&mut Chunks::new(&mut stream), BLOCKS);
    });
    peaks.end("both ways");
    site.finish();
}

/// Who reads nothing holds up who sends to it, and nobody keeps what is not read.
#[test]
fn a_client_that_does_not_read_stops_the_server_and_not_the_gateway() {
    let site = Site::start();
    let peaks = Peaks::begin(&site);
    let stuck = site.ask("GET", "/endless", "");
    let sent = || -> u64 {
        let counts = site.get("/counts");
        counts
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number")
    };
    // Until it has stood still for a while.
    let (mut last, mut still) = (sent(), 0);
    while last == 0 || still < 100 {
        let now = sent();
        still = if now == last { still + 1 } else { 0 };
        last = now;
        assert!(
            now < 256 << 20,
            "{now} bytes are on their way to who does not read"
        );
    }
    peaks.end("a stuck client");
    // It has lost nothing.
    let mut stream = BufReader::new(stuck);
    assert_eq!(answer(&mut stream).0, 200);
    let mut chunks = Chunks::new(&mut stream);
    let expected = block(0);
    let mut got = vec![0; BLOCK];
    for _ in 0..last / BLOCK as u64 + 64 {
        chunks.read_exact(&mut got).expect("it goes on");
        assert!(got == expected);
    }
    drop(stream);
    site.finish();
}

/// A terminal whose client does not read for a while waits; every line arrives, once and in order.
#[test]
fn terminal_output_is_never_dropped() {
    const LINES: u32 = 400_000;
    let site = Site::start();
    let start = json!({
        "process": { "cmd": "/usr/bin/seq", "args": [LINES.to_string()] },
        "pty": { "size": { "cols": 80, "rows": 24 } },
    })
    .to_string();
    let length = u32::try_from(start.len()).expect("short");
    let body = [&[0], length.to_be_bytes().as_slice(), start.as_bytes()].concat();
    let lines = format!(
        "Content-Type: application/connect+json\r\nConnect-Protocol-Version: 1\r\nContent-Length: {}\r\n",
        body.len()
    );
    let mut stream = site.begin("POST", "/process.Process/Start", 49983, &lines);
    stream.write_all(&body).expect("taken");
    for _ in 0..100 {
        assert_eq!(site.get("/"), "ready");
    }
    let mut stream = BufReader::new(stream);
    assert_eq!(answer(&mut stream).0, 200);
    let mut chunks = BufReader::new(Chunks::new(&mut stream));
    let mut output = Vec::new();
    let end = loop {
        let mut head = [0; 5];
        chunks.read_exact(&mut head).expect("an envelope");
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut message = vec![0; length as usize];
        chunks.read_exact(&mut message).expect("whole");
        let message: Value = serde_json::from_slice(&message).expect("JSON");
        if let Some(data) = message["event"]["data"]["pty"].as_str() {
            output.extend(STANDARD.decode(data).expect("base64"));
        }
        if let Some(end) = message["event"].get("end") {
            break end.clone();
        }
    };
    assert_eq!(end["status"], "exit status 0", "{end}");
    let text = String::from_utf8(output).expect("digits");
    let mut numbers = text.lines();
    for number in 1..=LINES {
        assert_eq!(numbers.next(), Some(number.to_string().as_str()));
    }
    assert_eq!(numbers.next(), None);
    site.finish();
}

/// Server-sent events: each arrives before the next is sent.
#[test]
fn events_are_not_gathered() {
    let site = Site::start();
    assert_eq!(site.get("/seen?0"), "ok");
    let mut stream = BufReader::new(site.ask("GET", "/events", "Accept: text/event-stream\r\n"));
    let (status, headers) = answer(&mut stream);
    assert_eq!(status, 200);
    assert!(headers.contains(&("content-type".to_owned(), "text/event-stream".to_owned())));
    let mut chunks = BufReader::new(Chunks::new(&mut stream));
    for number in 0..3 {
        let mut event = String::new();
        for _ in 0..3 {
            chunks.read_line(&mut event).expect("an event");
        }
        assert_eq!(event, format!("id: {number}\ndata: x\n\n"));
        assert_eq!(site.get(&format!("/seen?{}", number + 1)), "ok");
    }
    assert_eq!(chunks.read(&mut [0]).expect("the end"), 0);
    site.finish();
}

/// The body of a chunked answer.
struct Chunks<'a, R> {
    from: &'a mut R,
    left: usize,
    begun: bool,
}

impl<'a, R: BufRead> Chunks<'a, R> {
    fn new(from: &'a mut R) -> Self {
        Self {
            from,
            left: 0,
            begun: false,
        }
    }
}

impl<R: BufRead> Read for Chunks<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            let mut line = String::new();
            if self.begun {
                self.from.read_line(&mut line)?;
                line.clear();
            }
            self.begun = true;
            self.from.read_line(&mut line)?;
            self.left = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        }
        let most = bytes.len().min(self.left);
        let n = self.from.read(&mut bytes[..most])?;
        self.left -= n;
        Ok(n)
    }
}
