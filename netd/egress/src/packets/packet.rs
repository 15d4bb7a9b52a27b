//! A refused packet, and what of it can be read (RFC 791, RFC 9293, RFC 768): it is whatever a sandbox has sent.

use std::net::Ipv4Addr;

/// Why the rules have refused it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Word {
    /// For its address.
    Address,
    /// QUIC, while names are in use.
    Quic,
    /// There are as many flows as there may be.
    TooMany,
}

/// A refused packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Packet {
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
    /// IP protocol number.
    pub(crate) protocol: u8,
    /// The port it was for; zero where there is none, or the packet is a later fragment.
    pub(crate) port: u16,
    /// Why.
    pub(crate) word: Option<Word>,
}

pub(super) fn two(bytes: &[u8], at: usize) -> Option<[u8; 2]> {
    bytes.get(at..at + 2)?.try_into().ok()
}

pub(super) fn four(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at + 4)?.try_into().ok()
}

/// The beginning of a packet, as much of it as the log has.
pub(super) fn ipv4(packet: &[u8]) -> Option<Packet> {
    const FRAGMENT: u16 = 0x1fff;
    let first = *packet.first()?;
    let header = usize::from(first & 0xf) * 4;
    if first >> 4 != 4 || header < 20 {
        return None;
    }
    let protocol = *packet.get(9)?;
    let from = Ipv4Addr::from(four(packet, 12)?);
    let to = Ipv4Addr::from(four(packet, 16)?);
    let fragment = u16::from_be_bytes(two(packet, 6)?) & FRAGMENT != 0;
    // TCP, UDP, DCCP, SCTP and UDP-Lite have the port in the same place.
    let ports = matches!(protocol, 6 | 17 | 33 | 132 | 136) && !fragment;
    let port = two(packet, header + 2).filter(|_| ports);
    Some(Packet {
        from,
        to,
        protocol,
        port: port.map_or(0, u16::from_be_bytes),
        word: None,
    })
}
