//! Trust: the operator's own (runs as whoever typed it; `up`, `demo` as root, only to start privd).
//! Input: command line, answers of gatewayd over the administrator's socket, output of sandboxes.
//! May: start privd and pass it a bound listener; talk HTTP to gatewayd; read /proc for reports.
//! Unsafe: forbidden.
//!
//! `warder`: starts an instance (`up`), shows it at work (`demo`), and administers a running one.
//!
//! Exit codes are part of the interface; see [`error::Error::code`].
#![forbid(unsafe_code)]

mod api;
mod args;
mod cp;
mod demo;
mod doctor;
mod error;
mod events;
mod exec;
mod http;
mod key;
mod logs;
mod metrics;
mod network;
mod output;
mod place;
mod pool;
mod process;
mod reload;
mod sandbox;
mod shell;
mod snapshot;
mod template;
mod terminal;
mod up;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::args::{Args, Command};
use crate::error::Error;
use crate::output::Output;
use crate::place::Place;

fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output { json: args.json };
    let exec = matches!(args.command, Command::Exec(_) | Command::Shell(_));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(args, output));
            // A thread may still wait for the terminal: the process does not wait for it.
            runtime.shutdown_background();
            result
        }
        Err(source) => Err(Error::io("start the event loop", source)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output.error(&error);
            // The code of a command in a sandbox must not be mistaken for ours.
            ExitCode::from(if exec {
                error::EXEC_FAILED
            } else {
                error.code()
            })
        }
    }
}

async fn run(args: Args, output: Output) -> Result<u8, Error> {
    let place = Place::new(args.state_dir);
    match args.command {
        Command::Up(options) => up::run(&place, options, output).await,
        Command::Demo(options) => demo::run(options, output).await,
        Command::Create(options) => sandbox::create(&place, options, output).await,
        Command::List(options) => sandbox::list(&place, options, output).await,
        Command::Kill(options) => sandbox::kill(&place, options, output).await,
        Command::Pause(options) => sandbox::pause(&place, options, output).await,
        Command::Resume(options) => sandbox::resume(&place, options, output).await,
        Command::Fork(options) => snapshot::fork(&place, options, output).await,
        Command::Snapshot(command) => snapshot::run(&place, command, output).await,
        Command::Exec(options) => exec::run(&place, options, output).await,
        Command::Shell(options) => shell::run(&place, options, output).await,
        Command::Cp(options) => cp::run(&place, options, output).await,
        Command::Key(command) => key::run(&place, command, output).await,
        Command::Template(command) => template::run(&place, command, output).await,
        Command::Pool(command) => pool::run(&place, command, output).await,
        Command::Events(options) => events::run(&place, options, output).await,
        Command::Airgap(options) => network::airgap(&place, options, output).await,
        Command::Network(options) => network::show(&place, options, output).await,
        Command::Logs(options) => logs::run(&place, options, output).await,
        Command::Metrics(options) => metrics::run(&place, options, output).await,
        Command::Reload => reload::run(&place, output).await,
        Command::Doctor => doctor::run(&place, output).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "warder", &mut script);
            let written = std::io::stdout().write_all(&script);
            written.map(|()| 0).map_err(|e| Error::io("write", e))
        }
    }
}
