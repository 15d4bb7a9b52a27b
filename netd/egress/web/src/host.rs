//! Host names as clients write them: in HTTP's Host field, in a request's target, in TLS's server name.

use std::net::{Ipv4Addr, Ipv6Addr};

use warder_wire::HostName;

/// What stands where a name belongs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Host {
    /// A name.
    Name(HostName),
    /// An address, or nothing.
    NoName,
}

impl Host {
    /// The name.
    #[must_use]
    pub fn into_name(self) -> Option<HostName> {
        match self {
            Self::Name(name) => Some(name),
            Self::NoName => None,
        }
    }
}

/// Reads a host without a port, as TLS has it (RFC 6066, section 3). `None` for what is neither name nor address: odd
/// characters, other alphabets than ASCII, addresses in notations that only some resolvers know.
#[must_use]
pub fn bare(bytes: &[u8]) -> Option<Host> {
    let text = std::str::from_utf8(bytes).ok()?;
    if text.parse::<Ipv4Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok() {
        return Some(Host::NoName);
    }
    HostName::new(text).ok().map(Host::Name)
}

/// Reads a host and perhaps a port, as HTTP has it (RFC 9110, section 7.2; RFC 3986, section 3.2.2), without a user.
#[must_use]
pub fn with_port(bytes: &[u8]) -> Option<Host> {
    let text = std::str::from_utf8(bytes).ok()?;
    if text.is_empty() {
        return Some(Host::NoName);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        return (rest.is_empty() || is_port(rest.strip_prefix(':')?)).then_some(Host::NoName);
    }
    let (host, port) = text.split_once(':').unwrap_or((text, ""));
    if !is_port(port) {
        return None;
    }
    // IPv6 without brackets is no host here, and does not come so far: it has a second colon.
    bare(host.as_bytes())
}

/// Empty, or a number of 16 bits. Which one does not matter: the port dialled is the one that the client dialled.
fn is_port(text: &str) -> bool {
    text.is_empty()
        || (text.bytes().all(|b| b.is_ascii_digit())
            && text.len() <= 5
            && text.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<Host> {
        Some(Host::Name(HostName::new(text).expect("a name")))
    }

    #[test]
    fn hosts_are_read_as_http_writes_them() {
        for (text, wanted) in [
            ("example.com", name("example.com")),
            ("EXAMPLE.com.:80", name("example.com")),
            ("example.com:", name("example.com")),
            ("example.com:65535", name("example.com")),
            ("xn--bcher-kva.de", name("xn--bcher-kva.de")),
            ("localhost", name("localhost")),
            ("", Some(Host::NoName)),
            ("192.0.2.1", Some(Host::NoName)),
            ("192.0.2.1:80", Some(Host::NoName)),
            ("[2001:db8::1]", Some(Host::NoName)),
            ("[2001:db8::1]:80", Some(Host::NoName)),
        ] {
            assert_eq!(with_port(text.as_bytes()), wanted, "{text}");
        }
        let long = format!("{}com.example", "a.".repeat(122));
        assert_eq!(long.len(), 255);
        let label = "a".repeat(64);
        for bad in [
            "user@example.com",
            "user:pass@example.com",
            "example.com:65536",
            "example.com:+80",
            "example.com:80:80",
            "example.com..",
            ".example.com",
            "exa mple.com",
            "example.com\0",
            "example.com\t",
            "example.com,evil.example",
            "example.com/",
            "example.com?",
            "example.com#x",
            "ex%61mple.com",
            "bücher.de",
            "ｅxample.com",
            "example\u{3002}com",
            "-a.com",
            "*.example.com",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0300.0.2.1",
            "2001:db8::1",
            "[2001:db8::1",
            "[2001:db8::1]80",
            "[v1.x]",
            "[192.0.2.1]",
            "[fe80::1%25eth0]",
            &long,
            &label,
        ] {
            assert_eq!(with_port(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(with_port(b"ex\xffample.com"), None);
    }

    #[test]
    fn server_names_have_no_port() {
        assert_eq!(bare(b"Example.com"), name("example.com"));
        assert_eq!(bare(b"2001:db8::1"), Some(Host::NoName));
        assert_eq!(bare(b"192.0.2.1"), Some(Host::NoName));
        for bad in [&b"example.com:443"[..], b"", b".", b"a\0b", b"[::1]"] {
            assert_eq!(bare(bad), None, "{bad:?}");
        }
    }
}
