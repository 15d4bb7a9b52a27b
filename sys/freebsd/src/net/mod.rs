//! Interfaces, routes and sockets of network stacks (vnet(9)).
//!
//! A socket belongs to the stack it was made in, and so does what is asked through it, whoever asks (`ifioctl` in if.c and
//! `sosend` in uipc_socket.c take the socket's vnet). So a stack that is not the host's is configured from outside,
//! through sockets that a copy of the process has made inside ([`Stack::of_jail`]).
// What the kernel is handed is not printed.
#![allow(missing_debug_implementations)]

pub mod generic;
pub mod interfaces;
pub mod links;
pub mod request;
mod rights;
pub mod routes;
pub mod sockets;
mod stack;
pub mod tables;

pub use generic::{Generic, GenericError};
pub use interfaces::{Interface, interfaces};
pub use links::Links;
pub use sockets::{datagrams, listener, owned, packet_log, state_table};
pub use stack::Stack;
pub use tables::PfTables;
