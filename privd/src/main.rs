//! Trust: zone 3 (root).
//! Input: its configuration file; frames of the gateway, plugin hosts and netd; log lines of what it started.
//! May: every privileged operation of this host through `warder-host`; start the other daemons.
//! Unsafe: forbidden.
//!
//! Warder's root daemon: storage, cells, leases, supervision. One thread, one poll loop.
//! Read `table` first: it says who may ask for what.
#![forbid(unsafe_code)]

mod ahead;
mod bounds;
mod by_template;
mod claim;
mod config;
mod jobs;
mod leases;
mod ledger;
mod listeners;
mod logs;
mod net;
mod privd;
mod ranges;
mod rate;
mod reconcile;
mod reload;
mod setup;
mod sizes;
mod stop;
mod supervise;
mod table;
mod users;
mod verbs;

use std::process::ExitCode;

/// sysexits(3): the command line is wrong, the configuration is wrong.
const USAGE: u8 = 64;
const CONFIG: u8 = 78;

const HELP: &str = "usage: privd -f FILE      serve as FILE says\n       privd -t -f FILE   only check FILE\n       privd -p -f FILE   end every sandbox, remove what the instance has on this host\n";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (path, option) = match args[..] {
        ["-f", path] => (path, ""),
        [option @ ("-t" | "-p"), "-f", path] => (path, option),
        _ => return fail(USAGE, HELP.trim_end()),
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) => return fail(CONFIG, &format!("{path}: {e}")),
    };
    let mut config = match config::Config::parse(&text) {
        Ok(config) => config,
        Err(e) => return fail(CONFIG, &format!("{path}: {e}")),
    };
    if option == "-t" {
        return ExitCode::SUCCESS;
    }
    if option == "-p" {
        config = config.for_purge();
    }
    if !rustix::process::geteuid().is_root() {
        return fail(1, "must be started by root");
    }
    match setup::prepare(config, path) {
        Ok(mut privd) => ExitCode::from(privd.run()),
        Err(e) => fail(1, &supervise::chain(&e)),
    }
}

fn fail(status: u8, why: &str) -> ExitCode {
    let line = format!("privd: {why}\n");
    // Nobody is left to tell when standard error is closed.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    ExitCode::from(status)
}
