//! One entry of `allowOut` or `denyOut`: an address, a network, or a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use warder_wire::policy::Cidr;

/// The literal that means every address, `ALL_TRAFFIC` in the SDKs.
pub(super) const ALL: &str = "0.0.0.0/0";

/// An address or network as written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Network {
    /// Of IPv4, also where it is written as an IPv6 address that maps one (RFC 4291, 2.5.5.2).
    V4(Cidr),
    /// Of IPv6.
    V6,
}

/// Whether the entry names a port, as in `192.0.2.1:80`, `:443` or `[2001:db8::1]:80`.
pub(super) fn has_port(entry: &str) -> bool {
    entry.starts_with('[') || entry.bytes().filter(|b| *b == b':').count() == 1
}

/// Reads an address or network; `None` for anything else. The second is whether the address written is all zeros.
pub(super) fn network(entry: &str) -> Option<(Network, bool)> {
    let (address, bits) = match entry.split_once('/') {
        Some((address, bits)) => (address, Some(prefix(bits)?)),
        None => (entry, None),
    };
    match address.parse().ok()? {
        IpAddr::V4(address) => v4(address, bits.unwrap_or(32)),
        IpAddr::V6(address) => v6(address, bits.unwrap_or(128)),
    }
}

fn v4(address: Ipv4Addr, bits: u8) -> Option<(Network, bool)> {
    let cidr = Cidr::new(address, bits)?;
    Some((Network::V4(cidr), address.is_unspecified()))
}

fn v6(address: Ipv6Addr, bits: u8) -> Option<(Network, bool)> {
    match (address.to_ipv4_mapped(), bits) {
        (Some(address), 96..=128) => v4(address, bits - 96),
        (_, 0..=128) => Some((Network::V6, address.is_unspecified())),
        _ => None,
    }
}

/// Length of a prefix in plain decimal.
fn prefix(text: &str) -> Option<u8> {
    let plain = matches!(text.as_bytes(), [b'0'..=b'9'] | [b'1'..=b'9', ..])
        && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// An entry for an answer, not longer than it can be needed to find it.
pub(super) fn quoted(entry: &str) -> String {
    const MOST: usize = 260;
    match entry.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &entry[..end]),
        None => entry.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_told_from_names_and_ports() {
        let v4 = |text: &str| Some((Network::V4(text.parse().expect("a network")), false));
        for (entry, wanted) in [
            ("8.8.8.8", v4("8.8.8.8/32")),
            ("8.8.8.8/24", v4("8.8.8.0/24")),
            ("::ffff:8.8.8.8", v4("8.8.8.8/32")),
            ("::ffff:8.8.8.0/120", v4("8.8.8.0/24")),
            ("2001:db8::/32", Some((Network::V6, false))),
            ("::", Some((Network::V6, true))),
            ("::/0", Some((Network::V6, true))),
            ("8.8.8.8/33", None),
            ("8.8.8.8/024", None),
            ("8.8.8.8/+8", None),
            ("8.8.8.8/", None),
            ("08.8.8.8", None),
            ("8.8.8", None),
            ("0x08.8.8.8", None),
            ("134744072", None),
            (" 8.8.8.8", None),
            ("2001:db8::/129", None),
            ("fe80::1%eth0", None),
            ("example.com", None),
            ("", None),
        ] {
            assert_eq!(network(entry), wanted, "{entry}");
            assert!(!has_port(entry), "{entry}");
        }
        for entry in ["0.0.0.0", "0.0.0.0/24", "0.0.0.0/0", "::ffff:0.0.0.0"] {
            assert!(network(entry).expect("a network").1, "{entry}");
        }
        for entry in [
            "8.8.8.8:80",
            "10.0.0.0/8:22",
            ":443",
            "a.example:8443",
            "8.8.8.8:80-443",
            "[::1]:80",
            "8.8.8.8:",
        ] {
            assert!(has_port(entry), "{entry}");
        }
    }
}
