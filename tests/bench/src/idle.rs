//! Many sandboxes alive at the same time, and what a create costs among them.

use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::memory::{self, Reading};
use crate::stats::Samples;
use crate::warder::{ECHO, Sandbox, Server};

pub(crate) fn measure(server: &Server, samples: &mut Samples) -> Outcome {
    let full = std::env::var("BENCH_FULL").is_ok_and(|value| value == "1");
    let count = if full { 1000 } else { 200 };
    let mut made = Vec::new();
    let result = fill(server, samples, count, &mut made);
    let mut api = server.connect()?;
    for sandbox in &made {
        let start = Instant::now();
        server.kill(&mut api, sandbox)?;
        samples.time("warder kill among many", start.elapsed());
    }
    samples.note(format!("{} sandboxes were alive at once", made.len()));
    result
}

/// A tenth of them is the window for the figures at the beginning and at the end.
fn fill(server: &Server, samples: &mut Samples, count: usize, made: &mut Vec<Sandbox>) -> Outcome {
    let window = (count / 10).max(20);
    let mut api = server.connect()?;
    let before = Reading::now()?;
    let begin = Instant::now();
    for n in 0..count {
        let start = Instant::now();
        let sandbox = server.create(&mut api)?;
        let mut edge = server.connect_edge()?;
        let connected = start.elapsed();
        let output = connected + sandbox.run(&mut edge, ECHO)?.output;
        made.push(sandbox);
        samples.time("warder filling up", output);
        if n < window {
            samples.time("warder first of many", output);
        } else if n >= count - window {
            samples.time("warder last of many", output);
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    // Lets free pages settle on the lists that MemAvailable counts.
    thread::sleep(Duration::from_secs(1));
    memory::shared(samples, &before, &Reading::now()?, count)?;
    samples.note(format!(
        "{count} sandboxes, each with a first command, in {seconds:.2} s one after the other"
    ));
    let mut edge = server.connect_edge()?;
    for sandbox in made.iter() {
        let start = Instant::now();
        if !sandbox.healthy(&mut edge)? {
            return Err(format!("{} of {count} does not answer", sandbox.id).into());
        }
        samples.time("warder health among many", start.elapsed());
    }
    Ok(())
}
