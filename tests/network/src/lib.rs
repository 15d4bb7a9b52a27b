//! Trust: none; test code, run as root on a machine for tests.
//! Input: answers of the daemons under test, packets between network namespaces of its own.
//! May: make network namespaces, play an internet in them, start and end its own processes.
//! Unsafe: forbidden.
//!
//! `make test-network`: a host with an internet of network namespaces around it. Commands run in sandboxes, through the
//! API, say what they could reach; captures of packets say what left. Each test holds a paragraph of
//! `docs/network-modes.md`.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod capture;
mod dns;
mod guest;
mod namespace;
mod servers;
mod socks;
mod stage;
mod tls;
mod world;

pub use capture::{Capture, Seen};
pub use dns::Question;
pub use guest::Flow;
pub use namespace::{inside, on_a_host, run};
pub use socks::{LOGIN, Relayed};
pub use stage::Stage;
pub use world::*;
