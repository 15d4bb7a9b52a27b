//! Keystrokes through the gateway: how long a line takes to `cat` and back, alone and while the same sandbox
//! is sent and sends as much as it can.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Outcome;
use crate::http::{Connection, bad};
use crate::proxied::serve_inside;
use crate::stats::Samples;
use crate::warder::{Sandbox, Server, envelope, enveloped};

const SPELL: Duration = Duration::from_secs(3);

pub(crate) fn measure(server: &Server, samples: &mut Samples) -> Outcome {
    let mut api = server.connect()?;
    let sandbox = server.create(&mut api)?;
    serve_inside(server, &sandbox)?;
    lines(server, &sandbox, "echo idle", samples)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| -> Outcome {
        let bulk: Vec<_> = [("GET", "/endless"), ("POST", "/sink")]
            .map(|(method, path)| {
                let (sandbox, over) = (&sandbox, &over);
                scope.spawn(move || bulk(server, sandbox, method, path, over))
            })
            .into_iter()
            .collect();
        let result = lines(server, &sandbox, "echo under load", samples);
        over.store(true, Ordering::Relaxed);
        let mut moved = 0;
        for thread in bulk {
            moved += thread.join().map_err(|_| "a bulk client panicked")??;
        }
        samples.note(format!(
            "bulk traffic during the echo under load: {} MiB",
            moved >> 20
        ));
        Ok(result?)
    })?;
    let p50 = |series: &str| samples.figures(series).map_or(0.0, |f| f.p50);
    let ratio = p50("echo under load") / p50("echo idle");
    samples.value("echo ratio", ratio);
    server.kill(&mut api, &sandbox)?;
    Ok(())
}

/// Each line goes when the one before has come back.
fn lines(
    server: &Server,
    sandbox: &Sandbox,
    series: &str,
    samples: &mut Samples,
) -> io::Result<()> {
    let (mut output, mut input) = (server.connect_edge()?, server.connect_edge()?);
    let [id, port, token] = sandbox.headers("49983");
    let start = json!({ "process": { "cmd": "/bin/cat", "args": [] }, "stdin": true });
    let headers = [
        id,
        port,
        token,
        ("Content-Type", "application/connect+json"),
        ("Connect-Protocol-Version", "1"),
    ];
    let body = enveloped(&start.to_string())?;
    let mut head = output.send("POST", "/process.Process/Start", &headers, &body)?;
    let mut received = Vec::new();
    let mut next = |output: &mut Connection| loop {
        if let Some((_, message)) = envelope(&mut received)? {
            return Ok(message);
        }
        if !output.piece(&mut head, &mut received)? {
            return Err(bad("cat has ended".to_owned()));
        }
    };
    let pid = next(&mut output)?["event"]["start"]["pid"].clone();
    let line = json!({ "process": { "pid": pid }, "input": { "stdin": "aGVsbG8K" } }).to_string();
    let headers = [id, port, token, ("Content-Type", "application/json")];
    let end = Instant::now() + SPELL;
    while Instant::now() < end {
        let begin = Instant::now();
        let sent = input.send(
            "POST",
            "/process.Process/SendInput",
            &headers,
            line.as_bytes(),
        )?;
        input.body(sent)?;
        while next(&mut output)?["event"]["data"]["stdout"] != "aGVsbG8K" {}
        samples.time(series, begin.elapsed());
    }
    Ok(())
}

/// Moves bytes one way until it is over. How many.
fn bulk(
    server: &Server,
    sandbox: &Sandbox,
    method: &str,
    path: &str,
    over: &AtomicBool,
) -> io::Result<u64> {
    let mut connection = server.connect_edge()?;
    let headers = sandbox.headers("8000");
    let mut moved = 0;
    if method == "GET" {
        let mut head = connection.send(method, path, &headers[..2], b"")?;
        let mut bytes = Vec::new();
        while !over.load(Ordering::Relaxed) && connection.piece(&mut head, &mut bytes)? {
            moved += bytes.len() as u64;
            bytes.clear();
        }
    } else {
        let stream = connection.begin(method, path, &headers[..2], 1 << 40)?;
        let bytes = vec![0; 64 * 1024];
        while !over.load(Ordering::Relaxed) {
            stream.write_all(&bytes)?;
            moved += bytes.len() as u64;
        }
    }
    Ok(moved)
}
