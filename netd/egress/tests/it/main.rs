//! The real egressd, with a netd, a gateway and a DNS server that are the test's, and guests in a network namespace of
//! their own whose packets are diverted as netd's rules do it.
#![cfg(target_os = "linux")]
#![allow(
    unreachable_pub,
    reason = "a test binary has no other crate to reach it"
)]

mod changes;
mod fake;
mod hostile;
mod limits;
mod message;
mod names;
mod process;
mod refused;
mod relay;
mod server;
mod web;
mod world;
