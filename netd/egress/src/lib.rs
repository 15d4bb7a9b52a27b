//! Trust: zone 1 (user `_warder_egress`), no capability, an empty root, no way to open a path or make a socket.
//! Input: sandboxes (DNS, HTTP heads, TLS ClientHellos), DNS servers, what answers to dialled names; privd, netd.
//! May: ask netd (sockets to judged addresses), tell the gateway what was refused.
//! Unsafe: forbidden.
//!
//! What of a sandbox's traffic is judged by name: its DNS, and the connections whose addresses alone do not decide.
//!
//! Reads hostile bytes and has no authority: every socket that leaves the host is made by netd, which judges where to,
//! and the kernel judges each packet again. A library so that its decoders can be fuzzed; `egressd` is [`run`].
#![forbid(unsafe_code)]

mod accept;
mod connection;
mod dns;
mod egress;
mod events;
mod flow;
#[doc(hidden)]
pub mod fuzz;
mod netd;
mod pace;
mod packets;
mod resolve;
mod sandboxes;
mod start;
mod web;

pub use start::{StartError, run};
