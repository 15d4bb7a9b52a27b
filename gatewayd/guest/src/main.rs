//! Trust: zone 0 (first process of a sandbox, root only inside it).
//! Input: the gateway over the link, for clients; files, processes and signals of the sandbox.
//! May: everything the sandbox's root may, inside the sandbox; nothing outside it.
//! Unsafe: forbidden.
//!
//! `envd`, the agent inside each sandbox: E2B's envd API (behaviour of version 0.6.13) on streams that
//! the gateway hands over (in a virtual machine, `envd --console PATH`: on streams within that device's), and the duties of pid 1 (on FreeBSD, of the reaper of all that runs in the jail).
//!
//! One thread runs everything; file contents are read and written on a few short-lived helper threads.
//! All state is in memory: when the agent ends, so does the sandbox.
#![forbid(unsafe_code)]

mod agent;
mod files;
mod filesystem;
mod http;
mod link;
mod log;
mod paths;
mod process;
mod reaper;
mod settings;
mod users;
mod volume;
mod watch;

use std::io;
use std::time::Duration;

use agent::Agent;

/// Descriptor of the link.
const LINK: i32 = 3;
/// Helper threads for file contents; more requests than that wait.
const HELPERS: usize = 8;
/// A helper thread with nothing to do goes after this time.
const HELPER_IDLE: Duration = Duration::from_secs(2);
/// Helpers only read, write and walk.
const HELPER_STACK: usize = 256 * 1024;

fn main() {
    // Without waiting for helper threads: the sandbox ends with this process.
    std::process::exit(match run() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("envd: {error}");
            1
        }
    });
}

fn run() -> io::Result<()> {
    let link = warder_guest_sys::start::link(std::env::args_os(), LINK)?;
    warder_guest_sys::start::become_reaper()?;
    let signals = warder_guest_sys::signals::Signals::new()?;
    warder_guest_sys::start::tune();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(HELPERS)
        .thread_keep_alive(HELPER_IDLE)
        .thread_stack_size(HELPER_STACK)
        .build()?;
    let ended = tokio::task::LocalSet::new().block_on(&runtime, async {
        let agent = Agent::new();
        let links = tokio::task::spawn_local(link::serve(agent.clone(), link));
        tokio::select! {
            ended = reaper::watch(agent, signals) => ended,
            failed = links => failed.unwrap_or_else(|error| Err(io::Error::other(error))),
        }
    });
    runtime.shutdown_background();
    ended
}
