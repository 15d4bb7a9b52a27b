//! What is a claim about FreeBSD's own interface: capability mode.
#![cfg(target_os = "freebsd")]

mod traps;
