//! Flows as connection tracking has them, and the bits of marks that tell their kinds apart.

use std::net::Ipv4Addr;

use warder_desired::Payload;

/// Of what goes on to its destination.
pub const FORWARDED: u32 = 1 << 24;
/// Of what goes to egressd.
pub const INTERCEPTED: u32 = 1 << 25;
/// Of sockets that egressd reaches destinations by.
pub const DIALLED: u32 = 1 << 26;
/// Of sockets that it asks DNS servers by.
pub const ASKED: u32 = 1 << 27;
/// Of a packet whose address the sandbox's own list denies.
pub(crate) const DENIED: u32 = 1 << 28;
/// Of a packet towards a sandbox.
pub(crate) const BACKWARD: u32 = 1 << 29;

/// A live flow of a sandbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Flow {
    /// Its mark: the sandbox's, and one of [`FORWARDED`], [`INTERCEPTED`], [`DIALLED`] and [`ASKED`].
    pub mark: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Who began it: the sandbox, or for egressd's sockets the router.
    pub source: Ipv4Addr,
    /// Where it was for.
    pub destination: Ipv4Addr,
    /// Port of the source, zero where the protocol has none.
    pub source_port: u16,
    /// Port of the destination.
    pub destination_port: u16,
}

impl Flow {
    /// What it carries.
    #[must_use]
    pub fn payload(&self) -> Payload {
        match self.protocol {
            6 => Payload::Tcp(self.destination_port),
            17 => Payload::Udp(self.destination_port),
            other => Payload::Other(other),
        }
    }
}
