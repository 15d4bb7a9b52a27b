//! Trust: zone 1 (user `_warder`), no capability, an empty root, no way to open a path or name an address.
//! Input: anyone on the network (HTTP, WebSocket); sandboxes, through their links; privd, netd, plugin hosts.
//! May: ask privd (leases, links, templates), netd (policy) and its plugin host; write its state directory.
//! Unsafe: forbidden.
//!
//! `gatewayd`: E2B's control API, and the way in to every port of every sandbox.
//!
//! Reads hostile bytes and has no authority: what it may do is the list of questions in
//! `warder_wire::{gateway_priv, gateway_net, gateway_plugin}`, each judged again by who answers.
#![forbid(unsafe_code)]

mod admin;
mod api;
mod auth;
mod carriers;
mod client_body;
mod client_link;
mod clients;
mod clock;
mod error;
mod gateway;
mod http_io;
mod lifecycle;
mod limits;
mod link;
mod logs;
mod metrics;
mod network;
mod peers;
mod proxy;
mod random;
mod refusals;
mod registry;
mod sandbox;
mod serve;
mod shares;
mod start;
mod stats;
mod text;
mod tls;
mod turns;
mod volumes;
mod warm;

use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    match start::run() {
        // At once, without waiting for the threads: all that matters is written.
        Ok(()) => std::process::exit(0),
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            eprintln!("gatewayd: {text}");
            ExitCode::FAILURE
        }
    }
}
