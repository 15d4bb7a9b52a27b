//! Trust: zone 1 (user `_warder_egress`), no capability, an empty root, no way to open a path or make a socket.
//! Input: sandboxes (DNS, HTTP heads, TLS ClientHellos), DNS servers, what answers to dialled names; privd, netd.
//! May: ask netd (sockets to judged addresses), tell the gateway what was refused.
//! Unsafe: forbidden.
//!
//! `egressd`: what of a sandbox's traffic is judged by name.
#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    match warder_egress::run() {
        // At once, without waiting for flows: they end with the process.
        Ok(()) => std::process::exit(0),
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            eprintln!("egressd: {text}");
            ExitCode::FAILURE
        }
    }
}
