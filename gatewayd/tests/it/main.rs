//! The real gatewayd, confined, between a fake privd, netd, plugin host and agents. Needs root on Linux.
#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

mod api;
mod content;
mod events;
mod fake;
mod guest;
mod hostile;
mod http;
mod ingress;
mod ingress_live;
mod kept;
mod logs;
mod machine;
mod network;
mod operator;
mod pause;
mod pools;
mod proxy;
mod restart;
mod snapshots;
mod tls;
mod volumes;
