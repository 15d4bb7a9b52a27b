//! From a warm pool: creates that take a sandbox which is ready, one at a time.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;
use crate::one::create_run_kill;
use crate::stats::Samples;
use crate::warder::{ECHO, Program, SHELL_ECHO, Server};

/// Sandboxes in the pool, and creates between two fillings of it.
const SIZE: usize = 20;
const ROUNDS: usize = 6;
/// Longest wait for a full pool.
const PATIENCE: Duration = Duration::from_secs(60);

/// `warder ARGS` of the server that is measured.
fn warder(args: &[&str]) -> Result<Value, String> {
    let stage = std::env::var("BENCH_STAGE").map_err(|_| "BENCH_STAGE is not set")?;
    if std::env::var_os("WARDER_STATE_DIR").is_none() {
        return Err("WARDER_STATE_DIR is not set".to_owned());
    }
    let ran = Command::new(format!("{stage}/bin/warder"))
        .arg("--json")
        .args(args)
        .output()
        .map_err(|e| format!("warder: {e}"))?;
    if !ran.status.success() {
        return Err(String::from_utf8_lossy(&ran.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&ran.stdout).unwrap_or_default())
}

fn set(size: usize) -> Result<(), String> {
    warder(&["pool", "set", "base", &size.to_string()]).map(drop)
}

fn wait_until_full() -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let pools = warder(&["pool", "list"])?;
        if pools[0]["ready"] == SIZE && pools[0]["making"] == 0 {
            // What was just made has settled, as in a pool that waited.
            std::thread::sleep(Duration::from_millis(200));
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("the pool does not fill: {pools}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn measure(server: &Server, samples: &mut Samples) -> Outcome {
    set(SIZE)?;
    let measured = rounds(server, samples);
    // Nothing measured later may come from a pool.
    set(0)?;
    measured
}

fn rounds(server: &Server, samples: &mut Samples) -> Outcome {
    wait_until_full()?;
    for _ in 0..SIZE {
        cycle(server, &mut Samples::default(), "warm-up", ECHO)?;
    }
    for _ in 0..ROUNDS {
        for (name, program) in [("echo", ECHO), ("shell", SHELL_ECHO)] {
            wait_until_full()?;
            for _ in 0..SIZE {
                cycle(server, samples, name, program)?;
            }
        }
    }
    Ok(())
}

/// As for one that is made when asked for.
fn cycle(server: &Server, samples: &mut Samples, name: &str, program: Program<'_>) -> Outcome {
    let took = create_run_kill(server, program)?;
    samples.time("warder create warm", took.created);
    samples.time(&format!("warder first output {name} warm"), took.output);
    Ok(())
}
