//! Trust: none (a tool of development).
//! Input: nothing.
//! May: nothing; it makes text.
//! Unsafe: forbidden.
//!
//! Numbers, sizes and offsets that Warder relies on, and the C program that compares them with a FreeBSD
//! system's headers.
//!
//! Each stands here as a number. Built for FreeBSD, it is compared with what the code was compiled with; on a
//! FreeBSD host `make freebsd-headers` compiles `check.c`, which compares it with the headers there. So neither
//! needs the other's compiler.
#![forbid(unsafe_code)]

pub mod items;
mod program;

pub use program::{Item, What, program};
