//! What this program does inside a sandbox, or in a namespace of its own: sends, and asks.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::burst::at_once;
use crate::http::{Connection, bad};

/// Between two packets of a stream: what is measured by it is known no better.
const GAP: Duration = Duration::from_micros(50);
/// Between two writes to one flow.
const BEAT: Duration = Duration::from_millis(100);
/// The host of every request.
pub(crate) const HOST: &str = "bench.test";

/// Runs one of the jobs.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let done = match arguments {
        [job, to] if job == "stream" => with(to, stream),
        [job, to, count] if job == "flows" => with(to, |to| flows(to, count)),
        [job, to, kept, clients, seconds] if job == "load" => {
            with(to, |to| load(to, kept == "kept", clients, seconds))
        }
        [job, to, seconds] if job == "bulk" => with(to, |to| {
            println!("{:.0}", bulk(to, Duration::from_secs(number(seconds)?))?);
            Ok(())
        }),
        _ => Err(bad(format!("{arguments:?}: no such job"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inside: {error}");
            ExitCode::FAILURE
        }
    }
}

fn with(to: &str, job: impl FnOnce(SocketAddr) -> io::Result<()>) -> io::Result<()> {
    job(to.parse().map_err(|_| bad(format!("{to}: no address")))?)
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|_| bad(format!("{text}: no number")))
}

/// The wall clock, the same for every namespace of one machine, in nanoseconds.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(0))
}

/// Packets one after the other, each with the time it was sent, whether they arrive or not.
fn stream(to: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    loop {
        // A refusal is reported by the next call; it is no reason to stop.
        let _ = socket.send_to(&now().to_be_bytes(), to);
        thread::sleep(GAP);
    }
}

/// So many connections, each with the time now and then. One that ends is begun again.
fn flows(to: SocketAddr, count: &str) -> io::Result<()> {
    let count = number(count)?;
    let mut all: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
    let gap = BEAT / u32::try_from(count.max(1)).unwrap_or(1);
    loop {
        for flow in &mut all {
            if flow.is_none() {
                *flow = TcpStream::connect_timeout(&to, BEAT * 2).ok();
            }
            let alive = |mut stream: &TcpStream| {
                stream.set_nonblocking(true).is_ok()
                    && stream.write_all(&now().to_be_bytes()).is_ok()
            };
            if !flow.as_ref().is_some_and(alive) {
                *flow = None;
            }
            thread::sleep(gap);
        }
    }
}

/// Requests as fast as they are answered, on a kept connection or each on a new one. Prints the microseconds of each.
fn load(to: SocketAddr, kept: bool, clients: &str, seconds: &str) -> io::Result<()> {
    let clients = usize::try_from(number(clients)?).unwrap_or(1);
    let spell = Duration::from_secs(number(seconds)?);
    let results = at_once(clients, |gate| {
        requests(to, kept, spell, || gate.wait()).map_err(|e| e.to_string())
    });
    let mut out = io::stdout().lock();
    for times in results {
        for time in times.map_err(bad)? {
            writeln!(out, "{:.1}", time.as_secs_f64() * 1e6)?;
        }
    }
    out.flush()
}

fn requests(
    to: SocketAddr,
    kept: bool,
    spell: Duration,
    ready: impl FnOnce(),
) -> io::Result<Vec<Duration>> {
    let mut connection = Connection::open(to)?.host(HOST);
    ready();
    let (begin, mut times) = (Instant::now(), Vec::new());
    while begin.elapsed() < spell {
        let start = Instant::now();
        if !kept {
            connection = Connection::open(to)?.host(HOST);
        }
        let head = connection.send("GET", "/", &[], b"")?;
        let body = connection.body(head)?;
        if (head.status, body.as_slice()) != (200, b"hello\n".as_slice()) {
            let text = String::from_utf8_lossy(&body);
            return Err(bad(format!("status {}: {text}", head.status)));
        }
        times.push(start.elapsed());
    }
    Ok(times)
}

/// Zeros for a while; bytes a second.
pub(crate) fn bulk(to: SocketAddr, spell: Duration) -> io::Result<f64> {
    let mut stream = TcpStream::connect(to)?;
    let zeros = vec![0; 256 * 1024];
    let (begin, mut sent) = (Instant::now(), 0_u64);
    while begin.elapsed() < spell {
        stream.write_all(&zeros)?;
        sent += zeros.len() as u64;
    }
    Ok(sent as f64 / begin.elapsed().as_secs_f64())
}
