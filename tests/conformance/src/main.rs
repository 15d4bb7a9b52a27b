//! Trust: none; run by an operator as root, on a host that may have Warder.
//! Input: the stage it lies in, answers of the daemons that it starts, what its own probes say from inside sandboxes.
//! May: start and end a Warder of its own in a temporary directory, and a small internet beside it.
//! Unsafe: forbidden.
//!
//! `warder-conformance`: the whole contract of a backend, tried on this host. `docs/conformance.md` says what it tries.
#![forbid(unsafe_code)]

mod args;
mod backend;
mod chapters;
mod check;
mod parity;
mod probe;
mod remains;
mod report;
mod run;
mod scene;
mod stack;
mod world;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Hidden};

fn main() -> ExitCode {
    let args = Args::parse();
    match &args.hidden {
        Some(Hidden::Probe { words }) => return probe::main(words),
        Some(Hidden::Kit { plugin, name }) => return chapters::kit::main(plugin, name),
        Some(Hidden::World { log, addresses }) => return world::servers::main(log, addresses),
        None => {}
    }
    if !args.parity.is_empty() {
        return parity::main(&args.parity);
    }
    run::main(&args)
}
