//! Requests to change the network over netlink(7), netlink(4).

use std::io;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

use crate::attempt::Said;
use crate::system;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const RTM_NEWADDR: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const REFUSALS: [i32; 4] = [
    libc::EPERM,
    libc::EACCES,
    libc::EAFNOSUPPORT,
    libc::EPROTONOSUPPORT,
];

/// A request for address 203.0.113.77/32 on interface 1, the loopback of the sandbox itself.
pub(crate) fn add_address() -> Said {
    let mut body = vec![2, 32, 0, 0];
    body.extend(1_u32.to_ne_bytes());
    for kind in [1_u16, 2] {
        // IFA_ADDRESS and IFA_LOCAL.
        body.extend(8_u16.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend([203, 0, 113, 77]);
    }
    ask(0, RTM_NEWADDR, 0x400, &body)
}

/// What the kernel answers to one request of protocol family `family` of netlink.
pub(crate) fn ask(family: u32, kind: u16, flags: u16, body: &[u8]) -> Said {
    Said::of(tried(family, kind, flags, body).map(|()| "done"), &REFUSALS)
}

fn tried(family: u32, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let protocol = std::num::NonZeroU32::new(family).map(rustix::net::Protocol::from_raw);
    let netlink = AddressFamily::from_raw(system::NETLINK);
    let socket = rustix::net::socket(netlink, SocketType::RAW, protocol)?;
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 4096];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    let answer = &answer[..length];
    let word = |at: usize| answer.get(at..at + 4).and_then(|b| b.try_into().ok());
    let said = word(4).map(|b: [u8; 4]| u16::from_ne_bytes([b[0], b[1]]));
    let error = word(16).map_or(0, i32::from_ne_bytes);
    match (said, error) {
        (Some(NLMSG_ERROR), 0) => Ok(()),
        (Some(NLMSG_ERROR), error) => Err(io::Error::from_raw_os_error(error.abs())),
        _ => Ok(()),
    }
}
