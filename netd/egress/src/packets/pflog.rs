//! Reads what bpf(4) collects from pflog(4): for each packet a `struct bpf_hdr` (net/bpf.h), a `struct pfloghdr`
//! (net/if_pflog.h) and the beginning of the packet. The frame around is the kernel's, of a system whose words have 64
//! bits; the packet is whatever a sandbox has sent.

use warder_egress_sys::pflog::{
    ACTION, BEFORE, DROP, KEPT, MAX_STATES, REASON, RULE, SOURCE_LIMIT, WORD,
};

use super::packet::{Packet, Word, four, ipv4, two};

/// The word by the rule's number (pf.conf(5), `ridentifier`), as netd's rules have them.
fn word(rule: u32, reason: u8) -> Option<Word> {
    match (rule, reason) {
        (_, MAX_STATES | SOURCE_LIMIT) | (3, _) => Some(Word::TooMany),
        (1, _) => Some(Word::Address),
        (2, _) => Some(Word::Quic),
        _ => None,
    }
}

/// Calls `each` for every IPv4 packet that was refused in a piece of the log. What cannot be read is passed over.
pub(crate) fn packets(mut piece: &[u8], mut each: impl FnMut(Packet)) {
    while let Some((logged, rest)) = next(piece) {
        each_of(logged, &mut each);
        piece = rest;
    }
}

fn each_of(logged: &[u8], each: &mut impl FnMut(Packet)) {
    // The length leaves out what pads the header to four bytes (`PFLOG_REAL_HDRLEN`).
    let length = logged
        .first()
        .map(|length| usize::from(*length).next_multiple_of(4));
    let (Some(length), Some([action, reason]), Some(rule)) =
        (length, two(logged, ACTION), four(logged, RULE))
    else {
        return;
    };
    if action != DROP || length < RULE + 4 {
        return;
    }
    debug_assert_eq!(REASON, ACTION + 1, "read together");
    if let Some(packet) = logged.get(length..).and_then(ipv4) {
        let word = word(u32::from_be_bytes(rule), reason);
        each(Packet { word, ..packet });
    }
}

/// The next of them, and what follows.
fn next(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    let kept = usize::try_from(u32::from_ne_bytes(four(piece, KEPT)?)).ok()?;
    let before = usize::from(u16::from_ne_bytes(two(piece, BEFORE)?));
    if before < BEFORE + 2 {
        return None;
    }
    let end = before.checked_add(kept)?;
    let logged = piece.get(before..end)?;
    let rest = piece.get(end.next_multiple_of(WORD)..).unwrap_or_default();
    Some((logged, rest))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    /// As the kernel writes it: 26 bytes of header padded so that what follows is aligned, and everything to a word.
    fn framed(logged: &[u8]) -> Vec<u8> {
        let kept = u32::try_from(logged.len()).expect("short").to_ne_bytes();
        let mut bytes = vec![7; 16];
        bytes.extend(kept);
        bytes.extend(kept);
        bytes.extend(32_u16.to_ne_bytes());
        bytes.resize(32, 0);
        bytes.extend(logged);
        bytes.resize(bytes.len().next_multiple_of(WORD), 0);
        bytes
    }

    fn logged(action: u8, reason: u8, rule: u32, packet: &[u8]) -> Vec<u8> {
        let mut header = vec![69, 2, action, reason];
        header.extend(b"epair0a\0\0\0\0\0\0\0\0\0");
        header.resize(RULE, 0);
        header.extend(rule.to_be_bytes());
        header.resize(72, 0);
        header.extend(packet);
        header
    }

    fn packet() -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0];
        bytes.extend([10, 0, 0, 2, 192, 0, 2, 1]);
        bytes.extend([0x30, 0x39, 0x01, 0xbb]);
        bytes
    }

    fn all(piece: &[u8]) -> Vec<(u16, Option<Word>)> {
        let mut list = Vec::new();
        packets(piece, |p| {
            assert_eq!(p.from, Ipv4Addr::new(10, 0, 0, 2));
            assert_eq!(p.to, Ipv4Addr::new(192, 0, 2, 1));
            list.push((p.port, p.word));
        });
        list
    }

    #[test]
    fn refused_packets_are_found() {
        let one = |action, reason, rule| framed(&logged(action, reason, rule, &packet()));
        let piece = [
            one(DROP, 0, 1),
            one(DROP, 0, 2),
            one(DROP, 0, 3),
            one(DROP, MAX_STATES, 0),
            one(DROP, SOURCE_LIMIT, 1),
            one(DROP, 0, 0),
            // Passed, IPv6, cut short, no header at all: passed over.
            one(0, 0, 1),
            framed(&logged(DROP, 0, 1, &[0x60; 60])),
            framed(&logged(DROP, 0, 1, &packet()[..19])),
            framed(&[]),
            framed(&logged(DROP, 0, 1, &packet()[..22])),
        ]
        .concat();
        assert_eq!(
            all(&piece),
            [
                (443, Some(Word::Address)),
                (443, Some(Word::Quic)),
                (443, Some(Word::TooMany)),
                (443, Some(Word::TooMany)),
                (443, Some(Word::TooMany)),
                (443, None),
                (0, Some(Word::Address)),
            ]
        );
    }

    #[test]
    fn lengths_that_lie_end_it() {
        let good = framed(&logged(DROP, 0, 1, &packet()));
        for (at, byte) in [
            (KEPT, 255),
            (KEPT + 3, 255),
            (BEFORE, 0),
            (BEFORE, 25),
            (BEFORE + 1, 9),
        ] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(all(&bad), [], "{at} {byte}");
        }
        let mut bad = good;
        bad[32] = 20;
        assert_eq!(all(&bad), [], "no such header");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_go_on_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            packets(&bytes, |_| ());
            packets(&framed(&bytes), |_| ());
            packets(&framed(&logged(DROP, 0, 1, &bytes)), |_| ());
        }
    }
}
