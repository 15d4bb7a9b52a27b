//! Trust: none; a client of the server it measures, run by whoever wants figures.
//! Input: answers of the server, output of the peers.
//! May: speak HTTP to the server, run bubblewrap, runc and a Python, read /proc.
//! Unsafe: forbidden.
//!
//! Measures a running Warder, bubblewrap and runc by one clock in one process, and prints one table with the
//! budgets beside the figures. `tests/bench/run` starts the server and this.
#![forbid(unsafe_code)]

mod arrival;
mod budget;
mod burst;
mod echo;
mod forked;
mod http;
mod idle;
mod inside;
mod internet;
mod large;
mod memory;
mod network;
mod one;
mod paused;
mod peers;
mod proxied;
mod rules;
mod sdk;
mod stats;
mod upstream;
mod warder;
mod warm;

use std::error::Error;
use std::process::ExitCode;

use crate::stats::Samples;
use crate::warder::Server;

/// What one part of the benchmark may fail with: whatever, it is printed and the next part runs.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        // Started inside a sandbox, where this very program is the server to be proxied to.
        Some("upstream") => upstream::serve(arguments.get(1)),
        Some("inside") => inside::run(&arguments[1..]),
        Some("--help" | "-h") => {
            let mut parts = PARTS.map(|p| p.0).to_vec();
            parts.sort_unstable();
            parts.dedup();
            println!("usage: warder-bench [PART...]   parts: {}", parts.join(" "));
            println!("E2B_API_URL, E2B_SANDBOX_URL and E2B_API_KEY name the server.");
            println!(
                "BENCH_FULL=1 goes to 1,000 sandboxes and bodies of 10 GiB; BENCH_OUT names the file of raw samples;"
            );
            println!(
                "WARDER_STATE_DIR is where it keeps its state, for what only its operator may do;"
            );
            println!(
                "BENCH_SERVER is the number of its first process, BENCH_STAGE where its files are;"
            );
            println!("BENCH_RULES names the output of the dependency tests of tests/rules;");
            println!(
                "BENCH_PYTHON and BENCH_SDK name a Python with e2b and the script that uses it."
            );
            ExitCode::SUCCESS
        }
        _ => measure(&arguments),
    }
}

/// The load averages: other work on the machine makes every figure worse.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

type Part = (&'static str, fn(&Server, &mut Samples) -> Outcome);

const PARTS: [Part; 21] = [
    // What is compared is measured by turns: other work on the machine comes and goes.
    ("one", one::measure),
    ("bubblewrap", peers::bubblewrap),
    ("burst", burst::measure),
    ("runc", peers::runc),
    ("warm", warm::measure),
    ("one", one::measure),
    ("bubblewrap", peers::bubblewrap),
    ("burst", burst::measure),
    ("runc", peers::runc),
    ("warm", warm::measure),
    ("paused", paused::measure),
    ("forked", forked::measure),
    ("memory", memory::measure),
    ("idle", idle::measure),
    ("proxied", proxied::measure),
    ("echo", echo::measure),
    ("large", large::measure),
    ("network", network::measure),
    ("sdk", sdk::measure),
    ("daemons", memory::daemons),
    ("rules", rules::measure),
];

fn measure(wanted: &[String]) -> ExitCode {
    if let Some(unknown) = wanted
        .iter()
        .find(|w| PARTS.iter().all(|(name, _)| name != w))
    {
        eprintln!("bench: no part {unknown}");
        return ExitCode::from(2);
    }
    let server = match Server::from_environment() {
        Ok(server) => server,
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut samples = Samples::default();
    samples.note(format!("load before: {}", load()));
    let mut failed = false;
    for (name, part) in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        eprintln!("bench: {name}");
        if let Err(error) = part(&server, &mut samples) {
            eprintln!("bench: {name}: {error}");
            samples.note(format!("{name}: not measured: {error}"));
            failed = true;
        }
    }
    samples.note(format!("load after: {}", load()));
    print!("{}", budget::table(&samples));
    if let Ok(path) = std::env::var("BENCH_OUT") {
        match samples.write(&path) {
            Ok(()) => println!("\nraw samples: {path}"),
            Err(error) => {
                eprintln!("bench: {path}: {error}");
                failed = true;
            }
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
