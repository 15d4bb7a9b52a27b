//! Reads the netfilter log (`linux/netfilter/nfnetlink_log.h`) and the packets in it (RFC 791, RFC 9293, RFC 768).
//! The frame around is the kernel's, the packet is whatever a sandbox has sent.

use std::net::Ipv4Addr;

/// `NFNL_SUBSYS_ULOG` and `NFULNL_MSG_PACKET`: one packet.
const PACKET: u16 = 4 << 8;
/// `NFULA_PAYLOAD` and `NFULA_PREFIX`.
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;
/// Bits of an attribute's type that are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const FLAGS: u16 = 0xc000;
/// Length of a `nlmsghdr`, with the `nfgenmsg` behind it, and of an attribute's header.
const MESSAGE: usize = 16;
const GENERIC: usize = 4;
const ATTRIBUTE: usize = 4;

/// Why the rules have refused it, from the prefix that they log it with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Word {
    /// For its address.
    Address,
    /// QUIC, while names are in use.
    Quic,
    /// There are as many flows as there may be.
    TooMany,
}

impl Word {
    fn read(prefix: &[u8]) -> Option<Self> {
        match prefix.strip_suffix(b"\0").unwrap_or(prefix) {
            b"address" => Some(Self::Address),
            b"quic" => Some(Self::Quic),
            b"toomany" => Some(Self::TooMany),
            _ => None,
        }
    }
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

/// Calls `each` for every IPv4 packet in a piece of the log. What cannot be read is passed over.
pub(crate) fn packets(mut piece: &[u8], mut each: impl FnMut(Packet)) {
    while let Some((kind, body, rest)) = message(piece) {
        if kind == PACKET
            && let Some(attributes) = body.get(GENERIC..)
            && let Some(payload) = find(attributes, PAYLOAD)
            && let Some(packet) = ipv4(payload)
        {
            let word = find(attributes, PREFIX).and_then(Word::read);
            each(Packet { word, ..packet });
        }
        piece = rest;
    }
}

/// The next message: its type, what it holds, and what follows.
fn message(piece: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(four(piece, 0)?)).ok()?;
    let kind = u16::from_ne_bytes(two(piece, 4)?);
    let body = piece.get(MESSAGE..length)?;
    let rest = piece.get(aligned(length)..).unwrap_or_default();
    Some((kind, body, rest))
}

/// What the first attribute of this type holds.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(two(attributes, 0)?));
        let kind = u16::from_ne_bytes(two(attributes, 2)?) & !FLAGS;
        let value = attributes.get(ATTRIBUTE..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(aligned(length)..)?;
    }
}

/// netlink(7) aligns everything to four bytes.
fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn two(bytes: &[u8], at: usize) -> Option<[u8; 2]> {
    bytes.get(at..at + 2)?.try_into().ok()
}

fn four(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at + 4)?.try_into().ok()
}

/// The beginning of a packet, as much of it as the log has.
fn ipv4(packet: &[u8]) -> Option<Packet> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(ATTRIBUTE + value.len()).expect("short");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn logged(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
        let body = [vec![2, 0, 0, 7], attributes.concat()].concat();
        let length = u32::try_from(MESSAGE + body.len()).expect("short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(MESSAGE, 0);
        bytes.extend(body);
        bytes
    }

    fn packet(header: u8, fragment: u16, protocol: u8) -> Vec<u8> {
        let mut bytes = vec![0x40 | header, 0, 0, 60, 0, 0, 0, 0, 64, protocol, 0, 0];
        bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
        bytes.extend([10, 0, 0, 2, 192, 0, 2, 1]);
        bytes.resize(usize::from(header) * 4, 1);
        bytes.extend([0x30, 0x39, 0x01, 0xbb]);
        bytes
    }

    fn all(piece: &[u8]) -> Vec<(u8, u16)> {
        let mut list = Vec::new();
        packets(piece, |p| {
            assert_eq!(p.from, Ipv4Addr::new(10, 0, 0, 2));
            assert_eq!(p.to, Ipv4Addr::new(192, 0, 2, 1));
            list.push((p.protocol, p.port));
        });
        list
    }

    #[test]
    fn packets_are_found() {
        let one = |bytes: &[u8]| {
            logged(
                PACKET,
                &[
                    attribute(1, &[8, 0, 0, 0]),
                    attribute(10, b"x\0"),
                    attribute(PAYLOAD, bytes),
                ],
            )
        };
        let piece = [
            one(&packet(5, 0, 6)),
            // Options in the header, a first fragment, a later one, a protocol without ports, a packet cut short.
            one(&packet(15, 0, 17)),
            one(&packet(5, 0x2000, 17)),
            one(&packet(5, 0x2001, 17)),
            one(&packet(5, 0, 1)),
            one(&packet(5, 0, 6)[..22]),
            // Not a packet, no payload, IPv6, too short: passed over.
            logged(3, &[]),
            logged(PACKET, &[attribute(1, &[8, 0, 0, 0])]),
            one(&[0x60; 60]),
            one(&packet(5, 0, 6)[..19]),
            one(&packet(4, 0, 6)),
            one(&packet(5, 0, 6)),
        ]
        .concat();
        assert_eq!(
            all(&piece),
            [
                (6, 443),
                (17, 443),
                (17, 443),
                (17, 0),
                (1, 0),
                (6, 0),
                (6, 443)
            ]
        );
    }

    #[test]
    fn the_prefix_says_why() {
        for (prefix, word) in [
            (&b"address\0"[..], Some(Word::Address)),
            (b"quic\0", Some(Word::Quic)),
            (b"toomany", Some(Word::TooMany)),
            (b"", None),
            (b"addresses\0", None),
        ] {
            let attributes = [
                attribute(PREFIX, prefix),
                attribute(PAYLOAD, &packet(5, 0, 6)),
            ];
            let mut found = Vec::new();
            packets(&logged(PACKET, &attributes), |p| found.push(p.word));
            assert_eq!(found, [word]);
        }
    }

    #[test]
    fn lengths_that_lie_end_it() {
        let good = logged(PACKET, &[attribute(PAYLOAD, &packet(5, 0, 6))]);
        for (at, byte) in [(0, 0), (0, 15), (0, 255), (20, 0), (20, 3), (20, 255)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(all(&bad), [], "{at} {byte}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_go_on_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            packets(&bytes, |_| ());
            let wrapped = logged(PACKET, &[attribute(PAYLOAD, &bytes)]);
            packets(&wrapped, |_| ());
            packets(&logged(PACKET, &[bytes]), |_| ());
        }
    }
}
