//! Trust: none of its own; read by every zone, so a mistake here is a mistake everywhere.
//! Input: bytes from any process, through [`decode`].
//! May: nothing; no I/O, no clock, no allocation beyond what a frame can hold.
//! Unsafe: forbidden.
//!
//! Every message and newtype that crosses a process border of Warder.
//!
//! One module per border, named after the two sides. Message enums only grow at the end; a released
//! variant is never edited. All daemons ship together, so versions are compared, never negotiated.
#![forbid(unsafe_code)]

pub mod egress_gateway;
pub mod fault;
pub mod frame;
pub mod gateway_net;
pub mod gateway_plugin;
pub mod gateway_priv;
pub mod id;
pub mod limits;
pub mod link;
pub mod net_egress;
pub mod plugin_priv;
pub mod policy;
pub mod priv_egress;
pub mod priv_net;
pub mod start;

/// Where instances have their sockets, a directory each, named after its tag. Empty after a boot (hier(7)).
pub const RUN_DIR: &str = if cfg!(target_os = "freebsd") {
    "/var/run/warder"
} else {
    "/run/warder"
};

/// The state directory of an instance that names no other (hier(7)).
pub const STATE_DIR: &str = if cfg!(target_os = "freebsd") {
    "/var/db/warder"
} else {
    "/var/lib/warder"
};

pub use fault::{Fault, FaultCode};
pub use frame::{MAX_BODY, MAX_FRAME, Message, Request, VERSION, decode, encode};
pub use id::{
    BackendName, GuestPath, IdError, InstanceTag, OpId, SandboxId, TemplateName, VolumeId,
};
pub use limits::{LimitState, Limits, LimitsInForce};
pub use policy::{Bounds, Cidr, HostName, NamePattern, Policy, Proxy, ProxyHost, Rule};
