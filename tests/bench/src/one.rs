//! One sandbox at a time: create, first output, command, kill.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::stats::Samples;
use crate::warder::{ECHO, Program, SHELL_ECHO, Server};

const ROUNDS: usize = 100;
const COMMANDS: usize = 250;

pub(crate) fn measure(server: &Server, samples: &mut Samples) -> Outcome {
    // Page cache, pools and the allocator of every daemon: not part of any budget.
    for _ in 0..10 {
        cycle(server, &mut Samples::default(), "warm-up", ECHO)?;
    }
    for _ in 0..ROUNDS {
        cycle(server, samples, "echo", ECHO)?;
    }
    for _ in 0..ROUNDS {
        cycle(server, samples, "shell", SHELL_ECHO)?;
    }
    commands(server, samples, "echo", ECHO)?;
    commands(server, samples, "shell", SHELL_ECHO)
}

/// What a host at rest has made ahead is there: who asks without a pause, and for many at once, is in `burst`.
const REST: Duration = Duration::from_millis(30);

fn cycle(server: &Server, samples: &mut Samples, name: &str, program: Program<'_>) -> Outcome {
    std::thread::sleep(REST);
    let took = create_run_kill(server, program)?;
    samples.time("warder create", took.created);
    samples.time(&format!("warder first output {name} at 1"), took.output);
    samples.time("warder kill", took.killed);
    Ok(())
}

/// What the steps took.
pub(crate) struct Took {
    /// Until the create was answered.
    pub(crate) created: Duration,
    /// From the same start to the program's first output.
    pub(crate) output: Duration,
    /// Until the kill was answered, by itself.
    pub(crate) killed: Duration,
}

/// The sandbox is reached over a connection of its own, as an SDK would.
pub(crate) fn create_run_kill(server: &Server, program: Program<'_>) -> Outcome<Took> {
    let mut api = server.connect()?;
    let start = Instant::now();
    let sandbox = server.create(&mut api)?;
    let created = start.elapsed();
    let mut edge = server.connect_edge()?;
    let connected = start.elapsed();
    let ran = sandbox.run(&mut edge, program)?;
    let start = Instant::now();
    server.kill(&mut api, &sandbox)?;
    Ok(Took {
        created,
        output: connected + ran.output,
        killed: start.elapsed(),
    })
}

fn commands(server: &Server, samples: &mut Samples, name: &str, program: Program<'_>) -> Outcome {
    let mut api = server.connect()?;
    let mut edge = server.connect_edge()?;
    let sandbox = server.create(&mut api)?;
    for _ in 0..20 {
        sandbox.run(&mut edge, program)?;
    }
    for _ in 0..COMMANDS {
        let ran = sandbox.run(&mut edge, program)?;
        samples.time(&format!("warder command {name}"), ran.end);
    }
    server.kill(&mut api, &sandbox)?;
    Ok(())
}
