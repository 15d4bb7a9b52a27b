//! Raw netlink (netlink(7)): messages built and taken apart as bytes, sockets of one network namespace.
//!
//! No tool and no library stands between netd and the kernel: what is sent is what is written here.

mod socket;

pub use socket::{NetlinkError, Protocol, Socket};
pub use warder_netlink::{Attrs, Message, attrs, attrs_after};

/// `NLM_F_REQUEST`: every message to the kernel has it.
pub const REQUEST: u16 = 0x01;
/// `NLM_F_ACK`: answer even when all went well.
pub const ACK: u16 = 0x04;
/// `NLM_F_EXCL` of a `NEW` request: fail if it exists.
pub const EXCL: u16 = 0x200;
/// `NLM_F_REPLACE` of a `NEW` request.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_CREATE` of a `NEW` request.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND` of a `NEW` request.
pub const APPEND: u16 = 0x800;
/// `NLM_F_DUMP` of a `GET` request: everything, not one.
pub const DUMP: u16 = 0x300;
