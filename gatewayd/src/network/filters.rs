//! Which clients may reach which ports of a sandbox: `allowIn` and `denyIn`.
//!
//! An entry is an address or a network, a port or a range of ports behind a colon, or both. What an allow entry
//! matches is let in; else what a deny entry matches is not; else everybody is. The agent's port is not asked about.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::entry::{ALL, quoted};

/// All there are.
const ALL_PORTS: (u16, u16) = (1, u16::MAX);

/// Entries of each list at most.
pub(crate) const MAX_ENTRIES: usize = 1000;

/// One entry. IPv4 is what IPv6 maps it to (RFC 4291, 2.5.5.2), so a network in that form means the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    network: u128,
    mask: u128,
    ports: (u16, u16),
}

/// Why an entry is none, as E2B words it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum EntryError {
    #[error("domains are not supported for ingress rules")]
    Domain,
    #[error("unspecified address")]
    Unspecified,
    #[error("invalid port \"{}\"", quoted(.0))]
    Port(String),
    #[error("port 0 is not valid")]
    Zero,
    #[error("port range {0}-{1}: start > end")]
    Range(u16, u16),
}

/// Who is refused, by what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Denied {
    /// By this entry of `denyIn`.
    Entry(Entry),
    /// There are filters, and it is not known which IPv4 address the client has.
    Unknown,
}

/// Both lists.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Filters {
    allow: Vec<Entry>,
    deny: Vec<Entry>,
}

impl Filters {
    /// From the lists as they were given.
    ///
    /// # Errors
    /// What the client is told, with status 400.
    pub(crate) fn parse(allow: &[String], deny: &[String]) -> Result<Self, String> {
        for (name, list) in [("denyIn", deny), ("allowIn", allow)] {
            if list.len() > MAX_ENTRIES {
                return Err(format!("{name} may have {MAX_ENTRIES} entries at most"));
            }
        }
        let all = |word: &str, list: &[String]| -> Result<Vec<Entry>, String> {
            let one = |text: &String| {
                Entry::parse(text).map_err(|error| {
                    format!("invalid {word} in entry \"{}\": {error}", quoted(text))
                })
            };
            list.iter().map(one).collect()
        };
        let filters = Self {
            deny: all("deny", deny)?,
            allow: all("allow", allow)?,
        };
        if !allow.is_empty() && !deny.iter().any(|text| text == ALL) {
            return Err(
                "When specifying allowed sources in allow in, you must include 'ALL_TRAFFIC' (0.0.0.0/0) in deny in \
                 to block all other traffic."
                    .into(),
            );
        }
        Ok(filters)
    }

    /// Lets nobody in.
    pub(crate) fn closed() -> Self {
        let all = Entry {
            network: 0,
            mask: 0,
            ports: ALL_PORTS,
        };
        Self {
            allow: Vec::new(),
            deny: vec![all],
        }
    }

    /// Whether an entry matches any client of IPv4: others are refused whatever it says.
    pub(crate) fn is_effective(entry: &str) -> bool {
        let first = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().to_bits();
        let shared = |entry: Entry| entry.mask & !u128::from(u32::MAX);
        Entry::parse(entry).is_ok_and(|entry| (entry.network ^ first) & shared(entry) == 0)
    }

    /// Whether there are any.
    pub(crate) fn are_on(&self) -> bool {
        !self.allow.is_empty() || !self.deny.is_empty()
    }

    /// Whether a client may reach a port that is not the agent's. `None` is a client of which nothing is known.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn judge(&self, client: Option<IpAddr>, port: u16) -> Result<(), Denied> {
        if !self.are_on() {
            return Ok(());
        }
        let Some(IpAddr::V4(client)) = client.map(|address| address.to_canonical()) else {
            return Err(Denied::Unknown);
        };
        let client = client.to_ipv6_mapped().to_bits();
        let of = |list: &[Entry]| {
            let mut all = list.iter().copied();
            all.find(|entry| entry.matches(client, port))
        };
        match of(&self.allow).is_none().then(|| of(&self.deny)).flatten() {
            Some(entry) => Err(Denied::Entry(entry)),
            None => Ok(()),
        }
    }
}

impl Entry {
    fn parse(text: &str) -> Result<Self, EntryError> {
        // A whole address first: the colons of IPv6 separate no port.
        let (host, ports) = match network(text) {
            Some(_) => (text, ""),
            None => text.rsplit_once(':').ok_or(EntryError::Domain)?,
        };
        let (address, bits) = match host {
            "" => (IpAddr::from(Ipv4Addr::UNSPECIFIED), 0),
            host => network(host).ok_or(EntryError::Domain)?,
        };
        if address.to_canonical().is_unspecified() && !matches!(host, "" | ALL) {
            return Err(EntryError::Unspecified);
        }
        let (address, bits) = match address {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped(), bits + 96),
            IpAddr::V6(v6) => (v6, bits),
        };
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        Ok(Self {
            network: address.to_bits() & mask,
            mask,
            ports: range(ports)?,
        })
    }

    fn matches(self, client: u128, port: u16) -> bool {
        client & self.mask == self.network && (self.ports.0..=self.ports.1).contains(&port)
    }
}

/// An address and the length of its prefix. IPv6 may stand in brackets.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = match address.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into(),
        None => address.parse().ok()?,
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) => u32::from(number(bits, 3).filter(|_| bits == "0" || !bits.starts_with('0'))?),
    };
    (bits <= most).then_some((address, bits))
}

fn range(text: &str) -> Result<(u16, u16), EntryError> {
    if text.is_empty() {
        return Ok(ALL_PORTS);
    }
    let port = |text: &str| match number(text, 5) {
        Some(0) => Err(EntryError::Zero),
        Some(port) => Ok(port),
        None => Err(EntryError::Port(text.into())),
    };
    let (low, high) = match text.split_once('-') {
        Some((low, high)) => (port(low)?, port(high)?),
        None => (port(text)?, port(text)?),
    };
    if low > high {
        return Err(EntryError::Range(low, high));
    }
    Ok((low, high))
}

/// Decimal digits and nothing else, at most so many.
fn number(text: &str, most: usize) -> Option<u16> {
    let digits = text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, bits) = (Ipv6Addr::from_bits(self.network), self.mask.count_ones());
        match (address.to_ipv4_mapped(), bits.checked_sub(96)) {
            (Some(v4), Some(bits)) => write!(f, "{v4}/{bits}")?,
            _ => write!(f, "[{address}]/{bits}")?,
        }
        match self.ports {
            ALL_PORTS => Ok(()),
            (low, high) if low == high => write!(f, ":{low}"),
            (low, high) => write!(f, ":{low}-{high}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    fn filters(allow: &[&str], deny: &[&str]) -> Result<Filters, String> {
        Filters::parse(&strings(allow), &strings(deny))
    }

    #[test]
    fn entries() {
        for (text, wanted) in [
            ("8.8.8.8", "8.8.8.8/32"),
            ("10.0.0.0/8:80", "10.0.0.0/8:80"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("8.8.8.8:80-443", "8.8.8.8/32:80-443"),
            ("8.8.8.8:", "8.8.8.8/32"),
            (":443", "0.0.0.0/0:443"),
            (":", "0.0.0.0/0"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("0.0.0.0/0:80", "0.0.0.0/0:80"),
            ("0.0.0.0/0:80-443", "0.0.0.0/0:80-443"),
            ("8.8.8.8:80-80", "8.8.8.8/32:80"),
            ("8.8.8.8:1-65535", "8.8.8.8/32"),
            ("2001:db8::1", "[2001:db8::1]/128"),
            ("2001:db8::/32:80", "[2001:db8::]/32:80"),
            ("[2001:db8::1]:80", "[2001:db8::1]/128:80"),
            ("[2001:db8::]/32:80-81", "[2001:db8::]/32:80-81"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ] {
            let entry = Entry::parse(text).map(|entry| entry.to_string());
            assert_eq!(entry.as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_entry() {
        let domain = "domains are not supported for ingress rules";
        let unspecified = "unspecified address";
        for (text, wanted) in [
            ("", domain),
            ("example.com", domain),
            ("example.com:80", domain),
            ("*.example.com", domain),
            ("not-a-cidr", domain),
            ("10.0.0.0/33", domain),
            ("10.0.0.0/", domain),
            ("10.0.0.0/+8", domain),
            ("10.0.0.0/08", domain),
            ("0.0.0.0/00", domain),
            ("10.0.0.0/8/8", domain),
            ("010.0.0.0/8", domain),
            (" 8.8.8.8", domain),
            ("8.8.8.8\0", domain),
            ("8.8.8.8:80:90", domain),
            ("[8.8.8.8]:80", domain),
            ("[::1", domain),
            ("8.8.8.８", domain),
            ("0.0.0.0", unspecified),
            ("0.0.0.0/24", unspecified),
            ("0.0.0.0/32", unspecified),
            ("::ffff:0.0.0.0", unspecified),
            ("::ffff:0:0/96", unspecified),
            ("0.0.0.0:80", unspecified),
            ("::", unspecified),
            ("::/0", unspecified),
            ("::/128", unspecified),
            ("[::]/0:80", unspecified),
            ("8.8.8.8:0", "port 0 is not valid"),
            ("8.8.8.8:0-80", "port 0 is not valid"),
            ("8.8.8.8:65536", "invalid port \"65536\""),
            ("8.8.8.8:80-65536", "invalid port \"65536\""),
            ("8.8.8.8:443-80", "port range 443-80: start > end"),
            ("8.8.8.8:abc", "invalid port \"abc\""),
            ("8.8.8.8:80-", "invalid port \"\""),
            ("8.8.8.8:-80", "invalid port \"\""),
            ("8.8.8.8:80-90-100", "invalid port \"90-100\""),
            ("8.8.8.8:+80", "invalid port \"+80\""),
            ("8.8.8.8: 80", "invalid port \" 80\""),
            (":0", "port 0 is not valid"),
            (":８０", "invalid port \"８０\""),
        ] {
            let error = filters(&[], &[text]).expect_err(text);
            assert_eq!(
                error,
                format!("invalid deny in entry \"{text}\": {wanted}"),
                "{text}"
            );
            let error = filters(&[text], &[ALL]).expect_err(text);
            assert_eq!(
                error,
                format!("invalid allow in entry \"{text}\": {wanted}")
            );
        }
    }

    #[test]
    fn lists() {
        const ALONE: &str = "When specifying allowed sources in allow in, you must include 'ALL_TRAFFIC' (0.0.0.0/0) in deny in to block all other traffic.";
        for (allow, deny) in [
            (&[][..], &[ALL][..]),
            (&[], &["10.0.0.0/8"]),
            (&[], &["8.8.8.8"]),
            (&[], &["0.0.0.0/0:80"]),
            (&[], &["0.0.0.0/0:80-443"]),
            (&["10.0.0.0/8"], &[ALL]),
            (&["8.8.8.8"], &[ALL]),
            (&["8.8.8.8", "8.8.8.8"], &[ALL, ALL, "8.8.8.8"]),
        ] {
            filters(allow, deny).expect("accepted");
        }
        for (allow, deny) in [
            (&["8.8.8.8"][..], &[][..]),
            (&["8.8.8.8"], &["10.0.0.0/8"]),
            (&["8.8.8.8"], &["0.0.0.0/0:80"]),
            (&["8.8.8.8"], &["0.0.0.0/0:"]),
            (&["8.8.8.8"], &[":"]),
        ] {
            assert_eq!(filters(allow, deny).expect_err("alone"), ALONE);
        }
        let error = filters(&[], &["example.com"]).expect_err("a domain");
        assert!(error.starts_with("invalid deny in entry \"example.com\": domains"));
        let error = filters(&["example.com"], &[ALL]).expect_err("a domain");
        assert!(error.starts_with("invalid allow in entry \"example.com\": domains"));
        let many = |n| strings(&vec!["8.8.8.8"; n]);
        assert!(Filters::parse(&[], &many(MAX_ENTRIES)).is_ok());
        for (allow, deny) in [(10_000, 1), (1, 10_000)] {
            let error = Filters::parse(&many(allow), &many(deny)).expect_err("too many");
            assert!(error.ends_with("may have 1000 entries at most"), "{error}");
        }
    }

    #[test]
    fn allow_comes_before_deny_and_nobody_is_refused_without_either() {
        let everybody = Filters::default();
        assert_eq!(everybody.judge(None, 80), Ok(()));
        assert_eq!(everybody.judge("::1".parse().ok(), 80), Ok(()));
        // The steps of E2B's own test, with who is let in and who is not.
        for (allow, deny, open, shut) in [
            (
                &[][..],
                &["0.0.0.0/0:8000"][..],
                &["203.0.113.99 8001"][..],
                &["203.0.113.99 8000"][..],
            ),
            (
                &["0.0.0.0/0:8000"],
                &[ALL],
                &["203.0.113.99 8000"],
                &["203.0.113.99 8001"],
            ),
            (&[], &[ALL], &[], &["203.0.113.99 8000", "203.0.113.99 1"]),
            (&[ALL], &[ALL], &["203.0.113.99 8000"], &[]),
            (
                &[],
                &["198.51.100.0/24"],
                &["203.0.113.99 8000"],
                &["198.51.100.255 8000"],
            ),
            (
                &[],
                &["0.0.0.0/0:8000-8001"],
                &["203.0.113.99 8002", "203.0.113.99 7999"],
                &["203.0.113.99 8000", "203.0.113.99 8001"],
            ),
            (
                &["0.0.0.0/0:8000-8001"],
                &[ALL],
                &["203.0.113.99 8000", "203.0.113.99 8001"],
                &["203.0.113.99 8002"],
            ),
            (
                &[],
                &["203.0.113.0/24"],
                &["198.51.100.1 8000"],
                &["203.0.113.42 8000"],
            ),
            (
                &["203.0.113.42"],
                &[ALL, "203.0.113.0/24"],
                &["203.0.113.42 8000", "::ffff:203.0.113.42 8000"],
                &["203.0.113.99 8000", "::ffff:203.0.113.99 8000"],
            ),
            // Nobody knows who they are, so it does not help that they are not denied.
            (
                &[],
                &["198.51.100.0/24"],
                &[],
                &["2001:db8::1 80", "::1 80", "? 80"],
            ),
            (
                &[ALL, "2001:db8::1"],
                &[ALL],
                &[],
                &["2001:db8::1 80", "? 80"],
            ),
        ] {
            let filters = filters(allow, deny).expect("accepted");
            for (asked, wanted) in [(open, true), (shut, false)] {
                for one in asked {
                    let (client, port) = one.split_once(' ').expect("two words");
                    let port = port.parse().expect("a port");
                    let verdict = filters.judge(client.parse().ok(), port);
                    assert_eq!(verdict.is_ok(), wanted, "{allow:?} {deny:?} {one}");
                }
            }
        }
    }

    #[test]
    fn entries_of_ipv6_have_no_effect() {
        for entry in ["8.8.8.8", ALL, ":443", "::ffff:8.8.8.8", "::1/0", "::1/80"] {
            assert!(Filters::is_effective(entry), "{entry}");
        }
        for entry in [
            "2001:db8::1",
            "2001:db8::/32:80",
            "8000::/1",
            "::1",
            "::1/96",
        ] {
            assert!(!Filters::is_effective(entry), "{entry}");
        }
        let client = "192.0.2.1".parse().ok();
        assert!(Filters::closed().judge(client, 80).is_err());
    }

    #[test]
    fn what_refused_is_told() {
        let filters = filters(&["8.8.8.8"], &[ALL, "10.0.0.0/8"]).expect("accepted");
        let client: IpAddr = "10.1.1.1".parse().expect("an address");
        let Err(Denied::Entry(entry)) = filters.judge(Some(client), 80) else {
            panic!("let in");
        };
        assert_eq!(entry.to_string(), ALL);
        assert_eq!(filters.judge(None, 80), Err(Denied::Unknown));
    }

    proptest! {
        #[test]
        fn any_text_is_an_entry_or_told_why(text in "\\PC{0,60}") {
            if let Err(error) = filters(&[], std::slice::from_ref(&text.as_str())) {
                prop_assert!(error.starts_with("invalid deny in entry "));
            }
        }

        #[test]
        fn what_looks_like_an_entry_means_what_it_says(
            address in any::<[u8; 4]>(), bits in 0_u32..=32, ports in (1_u16.., 1_u16..),
            client in any::<[u8; 4]>(), port in 1_u16.., near in any::<bool>(),
        ) {
            prop_assume!(address != [0; 4]);
            let (low, high) = (ports.0.min(ports.1), ports.0.max(ports.1));
            let [a, b, c, d] = address;
            let text = format!("{a}.{b}.{c}.{d}/{bits}:{low}-{high}");
            let parsed = filters(&[], &[&text]).expect("an entry");
            // One that differs from it in the last bits only, every other time.
            let client = if near {
                u32::from_be_bytes(address) ^ u32::from(client[3] & 7)
            } else {
                u32::from_be_bytes(client)
            };
            let different = (client ^ u32::from_be_bytes(address)).leading_zeros();
            let inside = different >= bits && (low..=high).contains(&port);
            let verdict = parsed.judge(Some(Ipv4Addr::from(client).into()), port);
            prop_assert_eq!(verdict.is_err(), inside);
            // What it is shown as is the same entry, unless it begins at zero.
            let shown = Entry::parse(&text).expect("an entry").to_string();
            prop_assert!(shown.starts_with("0.0.0.0/") || Entry::parse(&shown) == Entry::parse(&text));
        }
    }
}
