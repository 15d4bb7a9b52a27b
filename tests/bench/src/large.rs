//! One large body each way through a port, and what the gateway needs for it.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::memory::daemon;
use crate::proxied::serve_inside;
use crate::stats::Samples;
use crate::warder::Server;

const PIECE: usize = 64 * 1024;

pub(crate) fn measure(server: &Server, samples: &mut Samples) -> Outcome {
    let full = std::env::var("BENCH_FULL").is_ok_and(|v| v == "1");
    let size: u64 = if full { 10 << 30 } else { 1 << 30 };
    let mut api = server.connect()?;
    let sandbox = server.create(&mut api)?;
    serve_inside(server, &sandbox)?;
    let gateway = daemon("gatewayd");
    let before = gateway.map(peak);
    let headers = sandbox.headers("8000");

    let begin = Instant::now();
    let mut connection = server.connect_edge()?;
    let stream = connection.begin("POST", "/sink", &headers[..2], size)?;
    let bytes = vec![0; PIECE];
    for _ in 0..size / PIECE as u64 {
        stream.write_all(&bytes)?;
    }
    connection.answer(200)?;
    rate(samples, "large upload", size, begin.elapsed());

    let begin = Instant::now();
    let mut connection = server.connect_edge()?;
    let mut head = connection.send("GET", &format!("/source/{size}"), &headers[..2], b"")?;
    let (mut bytes, mut got) = (Vec::new(), 0);
    while connection.piece(&mut head, &mut bytes)? {
        got += bytes.len() as u64;
        bytes.clear();
    }
    if got != size {
        return Err(format!("{got} bytes came of {size}").into());
    }
    rate(samples, "large download", size, begin.elapsed());
    if let (Some(pid), Some(before)) = (gateway, before) {
        samples.value("large memory", peak(pid) - before);
    }
    samples.note(format!("large bodies: {} GiB each way", size >> 30));
    server.kill(&mut api, &sandbox)?;
    Ok(())
}

fn rate(samples: &mut Samples, series: &str, size: u64, time: Duration) {
    let mebibytes = size as f64 / f64::from(1 << 20);
    samples.value(series, mebibytes / time.as_secs_f64());
}

/// The most memory a process has had, in KiB.
fn peak(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0)
}
