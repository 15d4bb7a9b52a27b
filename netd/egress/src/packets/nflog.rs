//! Reads the netfilter log (`linux/netfilter/nfnetlink_log.h`). The frame around is the kernel's, the packet is whatever
//! a sandbox has sent.

use super::packet::{Packet, Word, four, ipv4, two};

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

/// The word in the prefix that the rules log it with.
fn word(prefix: &[u8]) -> Option<Word> {
    match prefix.strip_suffix(b"\0").unwrap_or(prefix) {
        b"address" => Some(Word::Address),
        b"quic" => Some(Word::Quic),
        b"toomany" => Some(Word::TooMany),
        _ => None,
    }
}

/// Calls `each` for every IPv4 packet in a piece of the log. What cannot be read is passed over.
pub(crate) fn packets(mut piece: &[u8], mut each: impl FnMut(Packet)) {
    while let Some((kind, body, rest)) = message(piece) {
        if kind == PACKET
            && let Some(attributes) = body.get(GENERIC..)
            && let Some(payload) = find(attributes, PAYLOAD)
            && let Some(packet) = ipv4(payload)
        {
            let word = find(attributes, PREFIX).and_then(word);
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

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
        for (prefix, wanted) in [
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
            assert_eq!(found, [wanted]);
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
