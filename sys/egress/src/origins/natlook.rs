//! `DIOCNATLOOK` (pf(4)): a state of the packet filter, looked up by its addresses.
//!
//! `struct pfioc_natlook` (net/pfvar.h): four addresses of 16 bytes each, four ports in network order, then family,
//! protocol and direction, a byte each. Asked with `PF_OUT` the first two addresses are looked up as a socket sees them,
//! and the others are those of the packets on the wire (pf_ioctl_natlook, pf_ioctl.c).

#[cfg(target_os = "freebsd")]
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
#[cfg(target_os = "freebsd")]
use std::os::fd::{AsRawFd, OwnedFd};

/// Length of the structure, with the byte that pads it.
pub const LENGTH: usize = 76;
/// Where its parts are: `saddr`.
pub const SOURCE: usize = 0;
/// `daddr`.
pub const DESTINATION: usize = 16;
/// `rdaddr`.
pub const REAL_DESTINATION: usize = 48;
/// `sport`.
pub const SOURCE_PORT: usize = 64;
/// `dport`.
pub const DESTINATION_PORT: usize = 66;
/// `rdport`.
pub const REAL_DESTINATION_PORT: usize = 70;
/// `af`.
pub const FAMILY: usize = 72;
/// `proto`.
pub const PROTOCOL: usize = 73;
/// `direction`.
pub const DIRECTION: usize = 74;
/// `AF_INET`.
pub const INET: u8 = 2;
/// `PF_OUT` (netpfil/pf/pf.h).
pub const OUT: u8 = 2;

/// The structure, aligned as it is.
#[repr(C, align(4))]
#[derive(Clone, Debug)]
struct Look([u8; LENGTH]);

/// _IOWR('D', 23, struct pfioc_natlook) (sys/ioccom.h).
#[cfg(target_os = "freebsd")]
pub const DIOCNATLOOK: libc::c_ulong = 0xc000_0000 | (LENGTH as libc::c_ulong) << 16 | 0x4400 | 23;

impl Look {
    fn of(protocol: u8, from: SocketAddrV4, at: SocketAddrV4) -> Self {
        let mut look = Self([0; LENGTH]);
        look.put(SOURCE, &from.ip().octets());
        look.put(DESTINATION, &at.ip().octets());
        look.put(SOURCE_PORT, &from.port().to_be_bytes());
        look.put(DESTINATION_PORT, &at.port().to_be_bytes());
        look.0[FAMILY] = INET;
        look.0[PROTOCOL] = protocol;
        look.0[DIRECTION] = OUT;
        look
    }

    fn put(&mut self, place: usize, bytes: &[u8]) {
        self.0[place..place + bytes.len()].copy_from_slice(bytes);
    }

    fn get<const N: usize>(&self, place: usize) -> [u8; N] {
        std::array::from_fn(|n| self.0[place + n])
    }

    fn meant(&self) -> SocketAddrV4 {
        SocketAddrV4::new(
            Ipv4Addr::from(self.get::<4>(REAL_DESTINATION)),
            u16::from_be_bytes(self.get(REAL_DESTINATION_PORT)),
        )
    }
}

/// What the flow was for that a socket sees as from `from` to `at`.
///
/// # Errors
/// ENOENT when there is no such state, E2BIG when there are several.
#[cfg(target_os = "freebsd")]
pub(super) fn ask(
    filter: &OwnedFd,
    protocol: u8,
    from: SocketAddrV4,
    at: SocketAddrV4,
) -> io::Result<SocketAddrV4> {
    let mut look = Look::of(protocol, from, at);
    // SAFETY: the request reads and writes as many bytes as there are.
    let done = unsafe { libc::ioctl(filter.as_raw_fd(), DIOCNATLOOK, &raw mut look) };
    if done == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(look.meant())
}

/// Whether it can be asked: nothing is not a flow, and it says so.
///
/// # Errors
/// What it says otherwise.
#[cfg(target_os = "freebsd")]
pub(super) fn check(filter: &OwnedFd) -> io::Result<()> {
    let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    match ask(filter, 0, nobody, nobody) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_laid_out_as_the_header_says() {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 1, 2, 3), 0x1234);
        let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0x5678);
        let mut look = Look::of(17, from, at);
        let mut wanted = [0; LENGTH];
        wanted[..4].copy_from_slice(&[10, 1, 2, 3]);
        wanted[16..20].copy_from_slice(&[127, 0, 0, 1]);
        wanted[64..68].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
        wanted[72..75].copy_from_slice(&[2, 17, 2]);
        assert_eq!(look.0, wanted);
        assert_eq!(size_of::<Look>(), LENGTH);
        look.put(48, &[192, 0, 2, 9]);
        look.put(70, &[0, 53]);
        let meant = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 9), 53);
        assert_eq!(look.meant(), meant);
    }
}
