//! `process.Process`: what clients run in the sandbox.

mod env;
mod events;
mod input;
mod pump;
mod rpc;
mod start;
mod table;

pub(crate) use rpc::call;
pub(crate) use table::Processes;
