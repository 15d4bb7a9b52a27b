//! The sandbox's own addresses (getifaddrs(3)).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

struct List(*mut libc::ifaddrs);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the list came from getifaddrs and nothing refers to it any more.
        unsafe { libc::freeifaddrs(self.0) };
    }
}

/// Addresses of all interfaces, without link-local ones.
///
/// # Errors
/// The kernel's.
pub fn own() -> io::Result<Vec<IpAddr>> {
    let mut head = ptr::null_mut();
    // SAFETY: it stores the head of a new list, or fails and stores nothing.
    if unsafe { libc::getifaddrs(&raw mut head) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let list = List(head);
    let mut found = Vec::new();
    let mut next = list.0;
    // SAFETY: every element is valid until the list is freed, and the last one's `ifa_next` is null.
    while let Some(entry) = unsafe { next.as_ref() } {
        found.extend(address(entry.ifa_addr));
        next = entry.ifa_next;
    }
    Ok(found)
}

fn address(socket: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: null, or the address of a live list element.
    let family = i32::from(unsafe { socket.as_ref() }?.sa_family);
    if family == libc::AF_INET {
        // SAFETY: the family says that it is a sockaddr_in.
        let address = unsafe { ptr::read_unaligned(socket.cast::<libc::sockaddr_in>()) };
        let address = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
        return (!address.is_link_local()).then_some(IpAddr::V4(address));
    }
    if family == libc::AF_INET6 {
        // SAFETY: the family says that it is a sockaddr_in6.
        let address = unsafe { ptr::read_unaligned(socket.cast::<libc::sockaddr_in6>()) };
        let address = Ipv6Addr::from(address.sin6_addr.s6_addr);
        return (!address.is_unicast_link_local()).then_some(IpAddr::V6(address));
    }
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_listed_can_be_bound() {
        for address in super::own().expect("a list") {
            std::net::TcpListener::bind((address, 0)).expect("one of our own");
        }
    }
}
