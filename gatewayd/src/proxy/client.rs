//! Who a client is: the peer of its connection, or whom the operator's own proxies in front say they saw.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

/// Where proxies write whom they saw, each at the end.
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address. Each of `trusted_hops` proxies has written one address at the end of `X-Forwarded-For`, all
/// its lines together; what stands before those is the client's own claim. Where there are fewer, the first of them
/// was seen by a proxy that is the operator's, so it counts. `None` when what counts is no address: an empty element
/// is not left out, or a claim would move into its place.
pub(crate) fn address(headers: &HeaderMap, peer: IpAddr, trusted_hops: u8) -> Option<IpAddr> {
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let elements = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    match elements.take(usize::from(trusted_hops)).last() {
        None => Some(peer.to_canonical()),
        Some(element) => read(element).map(|address| address.to_canonical()),
    }
}

/// An address, perhaps with the port some proxies add.
fn read(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim_matches([' ', '\t']);
    let with_port = || text.parse().ok().map(|at: SocketAddr| at.ip());
    text.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(lines: &[&[u8]], peer: &str, trusted_hops: u8) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let line = HeaderValue::from_bytes(line).expect("a value");
            headers.append(FORWARDED_FOR, line);
        }
        let peer = peer.parse().expect("an address");
        address(&headers, peer, trusted_hops).map(|address| address.to_string())
    }

    #[test]
    fn so_many_at_the_end_are_believed() {
        const PEER: &str = "192.0.2.1";
        let some = |text: &str| Some(text.to_owned());
        for (lines, hops, wanted) in [
            (&[][..], 0, some(PEER)),
            (&["203.0.113.1"], 0, some(PEER)),
            (&["203.0.113.1, 198.51.100.1"], 0, some(PEER)),
            (&[], 1, some(PEER)),
            (&["203.0.113.1"], 1, some("203.0.113.1")),
            (&["198.51.100.1, 203.0.113.1"], 1, some("203.0.113.1")),
            (&["198.51.100.1,203.0.113.1"], 1, some("203.0.113.1")),
            (&["198.51.100.1", "203.0.113.1"], 1, some("203.0.113.1")),
            // E2B's edge: the load balancer has appended the client, and then itself.
            (&["203.0.113.42, 0.0.0.0"], 2, some("203.0.113.42")),
            (
                &["198.51.100.1, 203.0.113.42, 0.0.0.0"],
                2,
                some("203.0.113.42"),
            ),
            (
                &["198.51.100.1, 203.0.113.42", "0.0.0.0"],
                2,
                some("203.0.113.42"),
            ),
            (
                &["198.51.100.1", "203.0.113.42", "0.0.0.0"],
                2,
                some("203.0.113.42"),
            ),
            (&["203.0.113.42"], 2, some("203.0.113.42")),
            (&[], 2, some(PEER)),
            (&["a", "b, 203.0.113.42,c"], 2, some("203.0.113.42")),
            (&["203.0.113.42:8080"], 1, some("203.0.113.42")),
            (&["::ffff:203.0.113.42"], 1, some("203.0.113.42")),
            (&["[::ffff:203.0.113.42]:80"], 1, some("203.0.113.42")),
            (&["2001:db8::1"], 1, some("2001:db8::1")),
            (&[" \t203.0.113.42\t "], 1, some("203.0.113.42")),
            (&["unknown"], 1, None),
            (&[""], 1, None),
            (&["203.0.113.42,"], 1, None),
            (&["203.0.113.42, ,0.0.0.0"], 2, None),
            (&["203.0.113.42 198.51.100.1"], 1, None),
            (&["\"203.0.113.42\""], 1, None),
            (&["203.0.113.042"], 1, None),
            (&["example.com"], 1, None),
        ] {
            let bytes: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            assert_eq!(of(&bytes, PEER, hops), wanted, "{lines:?} {hops}");
        }
        assert_eq!(of(&[b"203.0.113.42\xff"], PEER, 1), None);
        assert_eq!(of(&[], "::ffff:192.0.2.7", 0), some("192.0.2.7"));
    }

    proptest! {
        #[test]
        fn what_stands_before_the_believed_changes_nothing(
            claim in proptest::collection::vec("[ -~&&[^,]]{0,12}|203\\.0\\.113\\.9", 0..6),
            split in any::<u8>(), hops in 1_u8..5,
        ) {
            let believed: Vec<String> = (1..=hops).map(|n| format!("198.51.100.{n}")).collect();
            let whole: Vec<&str> = claim.iter().map(String::as_str).chain(believed.iter().map(String::as_str)).collect();
            // In one line or in two, wherever the border is.
            let at = usize::from(split) % (whole.len() + 1);
            let (one, two) = (whole[..at].join(","), whole[at..].join(", "));
            let lines: Vec<&[u8]> = [&one, &two]
                .into_iter()
                .zip([at > 0, at < whole.len()])
                .filter_map(|(line, there)| there.then_some(line.as_bytes()))
                .collect();
            prop_assert_eq!(of(&lines, "192.0.2.1", hops), Some("198.51.100.1".into()));
            prop_assert_eq!(of(&lines, "192.0.2.1", 0), Some("192.0.2.1".into()));
        }

        #[test]
        fn any_bytes_are_an_address_or_none(line in proptest::collection::vec(any::<u8>(), 0..40), hops in any::<u8>()) {
            if HeaderValue::from_bytes(&line).is_ok() {
                let _ = of(&[&line], "192.0.2.1", hops);
            }
        }
    }
}
