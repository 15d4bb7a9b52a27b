//! Trust: zone 2 (one for each plugin, as a user of its own; shares its address space with the plugin).
//! Input: from privd the start and events, from the gateway requests, from the plugin whatever it likes.
//! May: ask privd for sandboxes of its backend, answer the gateway, write log lines; no files, no network.
//! Unsafe: `leave`, to end without the plugin's exit handlers; `setup`, for the plugin's one symbol.
//!
//! Loads one plugin and stands between it, the gateway and privd.
//!
//! `setup` has the order of starting, `serve` the loop of the main thread. What the plugin does happens on
//! worker threads (`pool`); a panic there ends the process, a hang ends it after a grace. privd starts
//! another one then.

use std::process::ExitCode;

mod calls;
mod convert;
mod hub;
mod leave;
mod log;
mod pool;
mod recent;
mod serve;
mod setup;

fn main() -> ExitCode {
    match setup::start() {
        Ok(server) => {
            let why = serve::run(server);
            log::line(format_args!("{why}"));
            leave::now(1)
        }
        Err(error) => {
            log::line(log::chain(&error));
            ExitCode::FAILURE
        }
    }
}
