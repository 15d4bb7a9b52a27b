//! Trust: zone 3 (runs as root with two capabilities).
//! Input: the first frame from privd on descriptor 3.
//! May: start netd.
//! Unsafe: forbidden.
//!
//! netd's start-up order, and nothing else.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use netd::{log, reconcile, serve};
use warder_ipc::take_start;
use warder_wire::start::Ready;

fn main() -> ExitCode {
    let (channel, start, fds) = match take_start() {
        Ok(started) => started,
        Err(e) => return fail(&e),
    };
    // Still open when it is said why nothing started: privd ends whoever closes it, at once.
    let mut channel = Some(channel);
    let (mut daemon, confinement) = match reconcile::start(&mut channel, start, fds) {
        Ok(started) => started,
        Err(e) => return fail(&e),
    };
    let ready = Ready {
        version: warder_wire::VERSION,
        confinement,
    };
    if let Err(e) = daemon.announce(&ready) {
        return fail(&e);
    }
    let code = serve::serve(&mut daemon);
    // No destructors: closing a netfilter socket waits for the kernel, and ending does it anyway.
    std::process::exit(code)
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    log::line(error);
    ExitCode::FAILURE
}
