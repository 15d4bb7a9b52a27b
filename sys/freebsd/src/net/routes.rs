//! Routes and neighbours by routing messages (route(4), net/route.h; arp(4)). Of systems whose `long` has 64 bits.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::interfaces::sockaddr;
use super::request::last;
use super::stack::Stack;

/// `RTM_VERSION`.
pub const VERSION: u8 = 5;
/// `RTM_ADD`.
pub const ADD: u8 = 1;
/// `RTM_GET`.
pub const GET: u8 = 4;
/// `RTA_DST`.
pub const DESTINATION: i32 = 1;
/// `RTA_GATEWAY`.
pub const GATEWAY: i32 = 2;
/// `RTA_NETMASK`.
pub const NETMASK: i32 = 4;
/// `RTF_UP`.
pub const UP: i32 = 0x1;
/// `RTF_GATEWAY`.
pub const VIA: i32 = 0x2;
/// `RTF_HOST`.
pub const HOST: i32 = 0x4;
/// `RTF_LLDATA`.
pub const NEIGHBOUR: i32 = 0x400;
/// `RTF_STATIC`.
pub const STATIC: i32 = 0x800;
/// `struct rt_msghdr`: from the third byte on version, type and, with a byte between, the interface's index; then flags,
/// addresses, process, sequence number, error; then metrics. A zero `rmx_expire` is for ever.
pub const HEADER: usize = 152;
/// Answers that are no answers, before giving up: everything that happens to routes is told.
const ROUNDS: usize = 64;
/// `IFT_ETHER` (net/if_types.h).
pub const ETHERNET: u8 = 6;

/// A routing socket of the calling process's stack.
pub(super) fn socket() -> Result<OwnedFd> {
    let family = AddressFamily::from_raw(libc::PF_ROUTE as _);
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(
        &socket,
        sockopt::Timeout::Recv,
        Some(Duration::from_secs(2)),
    )?;
    Ok(socket)
}

fn message(kind: u8, flags: i32, addresses: i32, sequence: i32, body: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    for sockaddr in body {
        bytes.extend_from_slice(sockaddr);
        // SA_SIZE: each is padded to a long.
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    bytes[0..2].copy_from_slice(&length.to_ne_bytes());
    (bytes[2], bytes[3]) = (VERSION, kind);
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&addresses.to_ne_bytes());
    bytes[20..24].copy_from_slice(&sequence.to_ne_bytes());
    bytes
}

impl Stack {
    fn tell(&self, message: &[u8]) -> Result<()> {
        // An error comes back from write(2) itself.
        rustix::io::write(self.route(), message).map(|_| ())
    }

    /// Adds the default route.
    ///
    /// # Errors
    /// `ENETUNREACH` when the next hop is not reachable directly.
    pub fn add_default(&self, via: Ipv4Addr) -> Result<()> {
        let any = sockaddr(Ipv4Addr::UNSPECIFIED);
        let addresses = DESTINATION | GATEWAY | NETMASK;
        let body = [&any[..], &sockaddr(via), &any];
        match self.tell(&message(ADD, UP | VIA | STATIC, addresses, 1, &body)) {
            Err(Errno::EXIST) => Ok(()),
            other => other,
        }
    }

    /// A neighbour that is never asked for and never forgotten, in place of what there is (arp(8), `-s`).
    ///
    /// # Errors
    /// `ENXIO` without the interface.
    pub fn add_neighbour(&self, interface: &str, address: Ipv4Addr, mac: [u8; 6]) -> Result<()> {
        let [low, high] = self.index(interface)?.to_ne_bytes();
        let family = u8::try_from(libc::AF_LINK).unwrap_or(u8::MAX);
        // struct sockaddr_dl: length, family, index, type, lengths of name, address and selector, the address.
        let mut link = [0; 54];
        link[..8].copy_from_slice(&[54, family, low, high, ETHERNET, 0, 6, 0]);
        link[8..14].copy_from_slice(&mac);
        let flags = HOST | STATIC | NEIGHBOUR;
        let body = [&sockaddr(address)[..], &link];
        self.tell(&message(ADD, flags, DESTINATION | GATEWAY, 2, &body))
    }

    /// The interface of the default route; `None` without one.
    ///
    /// # Errors
    /// Those of the routing socket.
    pub fn default_interface(&self) -> Result<Option<String>> {
        const SEQUENCE: i32 = 3;
        // One of its own: the others' buffers are full of what nobody has read.
        let socket = socket()?;
        let any = sockaddr(Ipv4Addr::UNSPECIFIED);
        let asked = message(GET, 0, DESTINATION | NETMASK, SEQUENCE, &[&any, &any]);
        match rustix::io::write(&socket, &asked) {
            Err(Errno::SRCH) => return Ok(None),
            other => other?,
        };
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let mut buffer = [0; 2048];
        for _ in 0..ROUNDS {
            let length = rustix::io::read(&socket, &mut buffer)?;
            let Some(answer) = buffer[..length].first_chunk::<HEADER>() else {
                continue;
            };
            let int = |at: usize| {
                i32::from_ne_bytes([answer[at], answer[at + 1], answer[at + 2], answer[at + 3]])
            };
            if answer[3] == GET && int(16) == own && int(20) == SEQUENCE {
                let index = u16::from_ne_bytes([answer[4], answer[5]]);
                return name_of(index).map(Some);
            }
        }
        Err(Errno::TIMEDOUT)
    }
}

fn name_of(index: u16) -> Result<String> {
    let mut name = [0_u8; libc::IFNAMSIZ];
    // SAFETY: if_indextoname(3) writes at most IFNAMSIZ bytes, and there are as many.
    let found = unsafe { libc::if_indextoname(index.into(), name.as_mut_ptr().cast()) };
    if found.is_null() {
        return Err(last());
    }
    Ok(super::request::text(&name))
}
