//! What is a claim about Linux's own interface: system calls by number, /proc and /sys, netlink, namespaces. What holds on
//! every system is in the files beside this folder.
#![cfg(target_os = "linux")]

mod escape;
mod exhaust;
mod network;
