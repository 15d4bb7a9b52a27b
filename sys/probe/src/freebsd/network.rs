//! The network that a jail has and does not own: its interfaces, its routes, and sockets of every other kind.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::attempt::{Said, errno_name};

// sys/sockio.h. An ifreq has 32 bytes, an ifaliasreq 68: a name in 16, then what is asked.
const IFREQ: u64 = 32;
const ALIAS: u64 = 68;
const IN: u64 = 0x8000_0000;
const INOUT: u64 = 0xc000_0000;

const fn request(direction: u64, size: u64, number: u64) -> u64 {
    direction | size << 16 | (b'i' as u64) << 8 | number
}

/// What is asked of which interface. `lo0` is the jail's own; flags and MTU are what they are.
const REQUESTS: [(&str, &str, u64, u64); 13] = [
    ("create epair", "epair", INOUT, 122),
    ("create tap", "tap", INOUT, 122),
    ("create bridge", "bridge", INOUT, 122),
    ("create wg", "wg", INOUT, 122),
    ("destroy", "lo0", IN, 121),
    ("flags", "lo0", IN, 16),
    ("mtu", "lo0", IN, 52),
    ("rename", "lo0", IN, 40),
    ("describe", "lo0", IN, 41),
    ("remove an address", "lo0", IN, 25),
    ("give away", "lo0", INOUT, 90),
    ("take back", "vtnet0", INOUT, 91),
    ("fib", "lo0", IN, 93),
];

const REFUSED: &[i32] = &[libc::EPERM, libc::ENXIO, libc::EINVAL];

fn ioctl(socket: &OwnedFd, number: u64, bytes: &mut [u8; 128]) -> io::Result<()> {
    // SAFETY: every request above says a size of at most 68 bytes, and the buffer has more.
    match unsafe { libc::ioctl(socket.as_raw_fd(), number, bytes.as_mut_ptr()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn named(interface: &str) -> [u8; 128] {
    let mut bytes = [0; 128];
    bytes[..interface.len()].copy_from_slice(interface.as_bytes());
    bytes
}

/// ioctl(2) of every kind that changes an interface (netintro(4)).
pub(super) fn interfaces() -> Said {
    let socket = match rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None) {
        Ok(socket) => socket,
        Err(errno) => return Said::broke(errno.to_string()),
    };
    let mut seen = Vec::new();
    let mut tried = |what: &str, done: io::Result<()>| {
        let said = Said::of(done.map(|()| "done"), REFUSED);
        seen.push(format!("{what} {}", said.seen));
        said.holds
    };
    for (what, interface, direction, number) in REQUESTS {
        let mut bytes = named(interface);
        let done = ioctl(&socket, request(direction, IFREQ, number), &mut bytes);
        if !tried(what, done) {
            return Said::broke(seen.pop().unwrap_or_default());
        }
    }
    // SIOCAIFADDR: 203.0.113.77/32 (RFC 5737), as three socket addresses behind the name.
    let mut bytes = named("lo0");
    for (at, address) in [(16, [203, 0, 113, 77]), (48, [255, 255, 255, 255])] {
        bytes[at..at + 2].copy_from_slice(&[16, 2]);
        bytes[at + 4..at + 8].copy_from_slice(&address);
    }
    let done = ioctl(&socket, request(IN, ALIAS, 43), &mut bytes);
    if !tried("add an address", done) {
        return Said::broke(seen.pop().unwrap_or_default());
    }
    Said::held(seen.join(", "))
}

/// route(4): messages that add, change and remove a route, to a network for documentation (RFC 5737).
pub(super) fn routes() -> Said {
    // RTM_VERSION 5; an rt_msghdr has 152 bytes, socket addresses of IPv4 follow: destination, gateway, mask.
    const HEAD: usize = 152;
    let kind = AddressFamily::from_raw(17);
    let socket = match rustix::net::socket(kind, SocketType::RAW, None) {
        Ok(socket) => socket,
        Err(errno) => return Said::held(format!("no socket: {}", errno_name(&errno.into()))),
    };
    let mut seen = Vec::new();
    for (what, number) in [("add", 1_u8), ("remove", 2), ("change", 3)] {
        let mut message = vec![0; HEAD];
        for address in [[203, 0, 113, 0], [127, 0, 0, 1], [255, 255, 255, 0]] {
            let mut one = [0; 16];
            one[..2].copy_from_slice(&[16, 2]);
            one[4..8].copy_from_slice(&address);
            message.extend(one);
        }
        let length = u16::try_from(message.len()).unwrap_or(0);
        message[..2].copy_from_slice(&length.to_ne_bytes());
        message[2..4].copy_from_slice(&[5, number]);
        // RTF_UP, RTF_GATEWAY, RTF_STATIC; the three addresses.
        message[8..12].copy_from_slice(&0x803_i32.to_ne_bytes());
        message[12..16].copy_from_slice(&7_i32.to_ne_bytes());
        let sent = rustix::io::write(&socket, &message).map_err(io::Error::from);
        let said = Said::of(sent.map(|_| "done"), &[libc::EPERM, libc::EACCES]);
        if !said.holds {
            return Said::broke(format!("{what}: {}", said.seen));
        }
        seen.push(format!("{what} {}", said.seen));
    }
    Said::held(seen.join(", "))
}

/// Every protocol family but those that a jail has anyway (jail(8), allow.socket_af): unix(4), IPv4, route(4), netlink(4).
pub(super) fn families() -> Said {
    const USUAL: [u16; 4] = [1, 2, 17, 38];
    let mut refused = 0;
    for family in (0..64_u16).filter(|f| !USUAL.contains(f)) {
        for kind in [SocketType::STREAM, SocketType::DGRAM, SocketType::RAW] {
            let named = AddressFamily::from_raw(family);
            let made = rustix::net::socket_with(named, kind, SocketFlags::CLOEXEC, None);
            if made.is_ok() {
                return Said::broke(format!("a socket of family {family}"));
            }
            refused += 1;
        }
    }
    Said::held(format!("{refused} refused"))
}
