//! Interfaces (netintro(4), sys/sockio.h, net/if.h, netinet/in_var.h, netinet6/in6_var.h).

use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use rustix::io::{Errno, Result};

use super::request::{NAME, Plain, changes, last, name, reads, request, text};
use super::stack::Stack;

/// `struct ifreq`: a name and a union of 16 bytes.
#[repr(C)]
struct Request {
    name: [u8; NAME],
    value: [u8; 16],
}
/// The same, its union a pointer.
#[repr(C)]
struct Renamed {
    name: [u8; NAME],
    to: *const u8,
    rest: u64,
}
/// `struct in_aliasreq`.
#[repr(C)]
pub struct Alias {
    name: [u8; NAME],
    /// `ifra_addr`.
    pub address: [u8; 16],
    /// `ifra_broadaddr`.
    pub broadcast: [u8; 16],
    /// `ifra_mask`.
    pub mask: [u8; 16],
    /// `ifra_vhid`.
    pub vhid: i32,
}
/// `struct ifgroupreq`: the union is a name of a group or a pointer.
#[repr(C)]
pub struct Group {
    name: [u8; NAME],
    length: u32,
    pad: u32,
    /// `ifgr_group`.
    pub group: [u8; NAME],
}
/// The same, its union a pointer to names.
#[repr(C)]
pub struct Members {
    name: [u8; NAME],
    /// `ifgr_len`.
    pub length: u32,
    pad: u32,
    /// `ifgr_groups`.
    pub list: *mut [u8; NAME],
    rest: u64,
}
/// `struct in6_ndireq`: a name and a `struct nd_ifinfo`.
#[repr(C)]
pub struct Neighbours {
    name: [u8; NAME],
    numbers: [u32; 5],
    /// `ndi.flags`.
    pub flags: u32,
    rest: [u32; 8],
}

// SAFETY: bytes.
unsafe impl Plain for Request {}
// SAFETY: bytes, and a pointer that leads to a name of `NAME` bytes where it is used.
unsafe impl Plain for Renamed {}
// SAFETY: bytes and a number.
unsafe impl Plain for Alias {}
// SAFETY: bytes and numbers; the pointer is used by other requests than those here.
unsafe impl Plain for Group {}
// SAFETY: bytes and a number, and a pointer that leads to `length` bytes where it is used.
unsafe impl Plain for Members {}
// SAFETY: bytes and numbers.
unsafe impl Plain for Neighbours {}

const SIZE: usize = size_of::<Request>();
/// `SIOCSIFFLAGS`.
pub const SET_FLAGS: libc::c_ulong = reads(b'i', 16, SIZE);
/// `SIOCGIFFLAGS`.
pub const GET_FLAGS: libc::c_ulong = changes(b'i', 17, SIZE);
/// `SIOCSIFNAME`.
pub const RENAME: libc::c_ulong = reads(b'i', 40, SIZE);
/// `SIOCAIFADDR`.
pub const ADD_ADDRESS: libc::c_ulong = reads(b'i', 43, size_of::<Alias>());
/// `SIOCSIFCAP`.
pub const SET_CAPABILITIES: libc::c_ulong = reads(b'i', 30, SIZE);
/// `SIOCGIFCAP`.
pub const GET_CAPABILITIES: libc::c_ulong = changes(b'i', 31, SIZE);
/// `SIOCGIFMTU`.
pub const GET_MTU: libc::c_ulong = changes(b'i', 51, SIZE);
/// `SIOCSIFMTU`.
pub const SET_MTU: libc::c_ulong = reads(b'i', 52, SIZE);
/// `SIOCGIFINDEX`.
pub const GET_INDEX: libc::c_ulong = changes(b'i', 32, SIZE);
/// `SIOCSIFLLADDR`.
pub const SET_MAC: libc::c_ulong = reads(b'i', 60, SIZE);
/// `SIOCGIFINFO_IN6`.
pub const GET_IN6: libc::c_ulong = changes(b'i', 108, size_of::<Neighbours>());
/// `SIOCSIFINFO_FLAGS`.
pub const SET_IN6: libc::c_ulong = changes(b'i', 87, size_of::<Neighbours>());
/// `SIOCSIFVNET`.
pub const MOVE: libc::c_ulong = changes(b'i', 90, SIZE);
/// `SIOCIFCREATE2`.
pub const CREATE: libc::c_ulong = changes(b'i', 124, SIZE);
/// `SIOCIFDESTROY`.
pub const DESTROY: libc::c_ulong = reads(b'i', 121, SIZE);
/// `SIOCAIFGROUP`.
pub const ADD_GROUP: libc::c_ulong = reads(b'i', 135, size_of::<Group>());
/// `SIOCGIFGMEMB`.
pub const GET_MEMBERS: libc::c_ulong = changes(b'i', 138, size_of::<Members>());

/// `IFCAP_TXCSUM`, `IFCAP_TXCSUM_IPV6` (net/if.h).
pub const LATE_CHECKSUMS: u32 = 1 << 1 | 1 << 22;

/// `ND6_IFF_IFDISABLED` (netinet6/nd6.h).
pub const NO_INET6: u32 = 0x8;
/// `ND6_IFF_AUTO_LINKLOCAL`.
pub const LINK_LOCAL: u32 = 0x20;

/// An interface of the calling process's stack.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// Its IPv4 addresses.
    pub addresses: Vec<Ipv4Addr>,
}

/// All interfaces of the calling process's stack (getifaddrs(3)).
///
/// # Errors
/// Those of getifaddrs(3).
pub fn interfaces() -> Result<Vec<Interface>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: fills in one pointer.
    if unsafe { libc::getifaddrs(&raw mut first) } == -1 {
        return Err(last());
    }
    let mut all: Vec<Interface> = Vec::new();
    let mut next = first;
    // SAFETY: null, or an entry of the list, which is freed behind the loop.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: the name of an entry ends with a zero byte.
        let name = unsafe { std::ffi::CStr::from_ptr(entry.ifa_name) };
        let name = name.to_string_lossy().into_owned();
        let at = all.iter().position(|i| i.name == name).unwrap_or_else(|| {
            all.push(Interface {
                name,
                up: entry.ifa_flags & libc::IFF_UP.cast_unsigned() != 0,
                addresses: Vec::new(),
            });
            all.len() - 1
        });
        all[at].addresses.extend(inet(entry.ifa_addr));
    }
    // SAFETY: what getifaddrs gave, once.
    unsafe { libc::freeifaddrs(first) };
    Ok(all)
}

fn inet(address: *const libc::sockaddr) -> Option<Ipv4Addr> {
    // SAFETY: null, or an address of a list of getifaddrs(3).
    let family = unsafe { address.as_ref() }?.sa_family;
    if i32::from(family) != libc::AF_INET {
        return None;
    }
    // SAFETY: by its family it is one of IPv4.
    let address = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
    Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)))
}

impl Stack {
    fn ask(&self, command: libc::c_ulong, interface: &str, value: &[u8]) -> Result<[u8; 16]> {
        let mut request_ = Request {
            name: name(interface)?,
            value: [0; 16],
        };
        request_.value[..value.len()].copy_from_slice(value);
        request(self.as_fd(), command, &mut request_)?;
        Ok(request_.value)
    }

    /// Makes an interface of a kind (`epair`, `lo`, `pflog`), or the one of that number, and says its name; of a pair
    /// that of the end `a` (ifconfig(8), `create`; epair(4)).
    ///
    /// # Errors
    /// `EEXIST`; `EINVAL` where no such kind is loaded; `ENOMEM`, `ENOSPC` where there are as many as there can be.
    pub fn create(&self, kind: &str) -> Result<String> {
        let mut made = Request {
            name: name(kind)?,
            value: [0; 16],
        };
        request(self.as_fd(), CREATE, &mut made)?;
        Ok(text(&made.name))
    }

    /// Removes an interface that was made; nothing if there is none. With either end a pair goes.
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn destroy(&self, interface: &str) -> Result<()> {
        match self.ask(DESTROY, interface, &[]) {
            Err(Errno::NXIO | Errno::NODEV) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// `EEXIST`.
    pub fn rename(&self, interface: &str, to: &str) -> Result<()> {
        let to = name(to)?;
        let mut renamed = Renamed {
            name: name(interface)?,
            to: to.as_ptr(),
            rest: 0,
        };
        request(self.as_fd(), RENAME, &mut renamed)
    }

    /// Adds it to a group, whose name must not end in a digit.
    ///
    /// # Errors
    /// Those of ioctl(2); being in it already is none.
    pub fn join(&self, interface: &str, group: &str) -> Result<()> {
        let mut joined = Group {
            name: name(interface)?,
            length: 0,
            pad: 0,
            group: name(group)?,
        };
        match request(self.as_fd(), ADD_GROUP, &mut joined) {
            Err(Errno::EXIST) => Ok(()),
            other => other,
        }
    }

    /// The interfaces in a group; none if there is no such group.
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn members(&self, group: &str) -> Result<Vec<String>> {
        let mut list: Vec<[u8; NAME]> = Vec::new();
        let mut asked = Members {
            name: name(group)?,
            length: 0,
            pad: 0,
            list: list.as_mut_ptr(),
            rest: 0,
        };
        match request(self.as_fd(), GET_MEMBERS, &mut asked) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            other => other?,
        }
        let bytes = usize::try_from(asked.length).unwrap_or(0);
        list.resize(bytes / NAME, [0; NAME]);
        asked.list = list.as_mut_ptr();
        request(self.as_fd(), GET_MEMBERS, &mut asked)?;
        Ok(list.iter().map(|name| text(name)).collect())
    }

    /// Sets its Ethernet address.
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn set_mac(&self, interface: &str, mac: [u8; 6]) -> Result<()> {
        // struct sockaddr: as many bytes as the address has, AF_LINK, the address.
        let mut value = [0; 8];
        value[0] = 6;
        value[1] = u8::try_from(libc::AF_LINK).unwrap_or(u8::MAX);
        value[2..].copy_from_slice(&mac);
        self.ask(SET_MAC, interface, &value).map(|_| ())
    }

    pub(super) fn index(&self, interface: &str) -> Result<u16> {
        let value = self.ask(GET_INDEX, interface, &[])?;
        Ok(u16::from_ne_bytes([value[0], value[1]]))
    }

    /// Bytes of the largest packet it carries.
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn mtu(&self, interface: &str) -> Result<u32> {
        let value = self.ask(GET_MTU, interface, &[])?;
        Ok(u32::from_ne_bytes([value[0], value[1], value[2], value[3]]))
    }

    /// Sets that.
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn set_mtu(&self, interface: &str, mtu: u32) -> Result<()> {
        self.ask(SET_MTU, interface, &mtu.to_ne_bytes()).map(|_| ())
    }

    /// Has checksums of what it sends computed before it sends (ifconfig(8), `-txcsum`); for both ends of a pair, as
    /// one follows the other. Where it never left them out nothing is to do.
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn with_checksums(&self, interface: &str) -> Result<()> {
        // What it can, and what it does of that, 32 bits each; the latter is set by the former's place.
        let [_, _, _, _, a, b, c, d, ..] = self.ask(GET_CAPABILITIES, interface, &[])?;
        let now = u32::from_ne_bytes([a, b, c, d]);
        let wanted = now & !LATE_CHECKSUMS;
        if wanted == now {
            return Ok(());
        }
        self.ask(SET_CAPABILITIES, interface, &wanted.to_ne_bytes())
            .map(|_| ())
    }

    /// Takes it up or down.
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn set_up(&self, interface: &str, up: bool) -> Result<()> {
        // ifr_flags and ifr_flagshigh, 16 bits each, are asked for and given back but for one.
        let mut value = self.ask(GET_FLAGS, interface, &[])?;
        let flag = libc::IFF_UP.cast_unsigned().to_ne_bytes();
        for (byte, flag) in value.iter_mut().zip(flag) {
            *byte = if up { *byte | flag } else { *byte & !flag };
        }
        self.ask(SET_FLAGS, interface, &value[..4]).map(|_| ())
    }

    /// Adds an address, or sets its mask.
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn add_address(&self, interface: &str, address: Ipv4Addr, prefix: u8) -> Result<()> {
        let host = u32::from(32_u8.saturating_sub(prefix));
        let mask = u32::MAX.checked_shl(host).unwrap_or(0);
        let mut alias = Alias {
            name: name(interface)?,
            address: sockaddr(address),
            broadcast: [0; 16],
            mask: sockaddr(mask.into()),
            vhid: 0,
        };
        match request(self.as_fd(), ADD_ADDRESS, &mut alias) {
            // It is there, and so is its route.
            Err(Errno::EXIST) => Ok(()),
            other => other,
        }
    }

    /// Switches IPv6 off on it: no address of its own, no packet (ifconfig(8), `ifdisabled`).
    ///
    /// # Errors
    /// Those of ioctl(2), none of a kernel without IPv6.
    pub fn without_inet6(&self, interface: &str) -> Result<()> {
        let mut info = Neighbours {
            name: name(interface)?,
            numbers: [0; 5],
            flags: 0,
            rest: [0; 8],
        };
        let Some(socket) = self.inet6() else {
            return Ok(());
        };
        request(socket, GET_IN6, &mut info)?;
        info.flags = info.flags & !LINK_LOCAL | NO_INET6;
        request(socket, SET_IN6, &mut info)
    }

    /// Moves it into a jail's stack. It keeps its name and its Ethernet address.
    ///
    /// # Errors
    /// `ENXIO` without the jail; `EEXIST` where an interface there has that name.
    pub fn move_to(&self, interface: &str, jid: i32) -> Result<()> {
        self.ask(MOVE, interface, &jid.to_ne_bytes()).map(|_| ())
    }
}

/// `struct sockaddr_in` without a port.
pub(super) fn sockaddr(address: Ipv4Addr) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0] = 16;
    bytes[1] = u8::try_from(libc::AF_INET).unwrap_or(u8::MAX);
    bytes[4..8].copy_from_slice(&address.octets());
    bytes
}
