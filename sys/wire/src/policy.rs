//! What a sandbox may reach, and the one definition of what that means. The gateway makes a [`Policy`], netd turns it
//! into rules and keeps it, egressd judges names by it; all three ask the functions here.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::IdError;

/// An IPv4 network, written `192.0.2.0/24`. Bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Cidr {
    address: Ipv4Addr,
    bits: u8,
}

impl Cidr {
    /// Every address.
    pub const ALL: Self = Self {
        address: Ipv4Addr::UNSPECIFIED,
        bits: 0,
    };

    /// The network of `bits` bits that `address` lies in; `None` for more than 32 bits.
    #[must_use]
    pub fn new(address: Ipv4Addr, bits: u8) -> Option<Self> {
        let mask = Self::mask(bits)?;
        let address = Ipv4Addr::from(u32::from(address) & mask);
        Some(Self { address, bits })
    }

    fn mask(bits: u8) -> Option<u32> {
        let host = 32_u32.checked_sub(u32::from(bits))?;
        Some(u32::MAX.checked_shl(host).unwrap_or(0))
    }

    /// First and last address.
    #[must_use]
    pub fn range(self) -> (Ipv4Addr, Ipv4Addr) {
        let mask = Self::mask(self.bits).unwrap_or(u32::MAX);
        (
            self.address,
            Ipv4Addr::from(u32::from(self.address) | !mask),
        )
    }

    /// Length of the prefix.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let (first, last) = self.range();
        (first..=last).contains(&address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl std::str::FromStr for Cidr {
    type Err = IdError;

    /// An address alone is a network of one. Bits behind the prefix may be set; they are cleared.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => {
                let plain = bits.len() <= 2 && bits.bytes().all(|b| b.is_ascii_digit());
                let bits = bits.parse().ok().filter(|_| plain);
                (address, bits.ok_or(IdError::Character)?)
            }
            None => (text, 32),
        };
        let address = address.parse().map_err(|_| IdError::Character)?;
        Self::new(address, bits).ok_or(IdError::Length)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let (address, bits) = <(Ipv4Addr, u8)>::deserialize(d)?;
        Self::new(address, bits)
            .filter(|cidr| cidr.address == address)
            .ok_or_else(|| de::Error::custom("not a network"))
    }
}

/// A host name in lower-case ASCII without a dot at its end (RFC 1123; an underscore may stand in a label, as DNS
/// allows): at most 253 bytes, labels of 1 to 63.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct HostName(String);

impl HostName {
    /// Checks `text`, which may be in upper case and end in one dot.
    ///
    /// # Errors
    /// [`IdError`] for what is not a name, an IPv4 address in whatever notation among it.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > 253 {
            return Err(IdError::Length);
        }
        let label = |label: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len())
                && label.bytes().all(plain)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // What resolvers take for an address ends in a number, decimal or hexadecimal (WHATWG URL, 3.5).
        let number = |label: &str| {
            label.bytes().all(|b| b.is_ascii_digit())
                || label
                    .strip_prefix("0x")
                    .or_else(|| label.strip_prefix("0X"))
                    .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        let last = text.rsplit('.').next().unwrap_or_default();
        if !text.split('.').all(label) || number(last) {
            return Err(IdError::Character);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(d)?;
        match Self::new(text) {
            Ok(name) if name.0 == text => Ok(name),
            _ => Err(de::Error::custom("not a host name")),
        }
    }
}

/// Host names that a policy allows.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum NamePattern {
    /// `*`: any name.
    Any,
    /// `*.x`: names that end in `.x`, at any depth, not `x` itself.
    Below(HostName),
    /// `x`: this name alone.
    Exactly(HostName),
}

impl NamePattern {
    /// Checks a pattern as users write it.
    ///
    /// # Errors
    /// [`IdError`] for anything but a name, `*.` and a name, or `*`.
    pub fn new(text: &str) -> Result<Self, IdError> {
        match text.strip_prefix('*') {
            Some("") => Ok(Self::Any),
            Some(below) => {
                let below = below.strip_prefix('.').ok_or(IdError::Character)?;
                HostName::new(below).map(Self::Below)
            }
            None => HostName::new(text).map(Self::Exactly),
        }
    }

    /// Whether it allows `name`.
    #[must_use]
    pub fn matches(&self, name: &HostName) -> bool {
        match self {
            Self::Any => true,
            Self::Below(below) => name
                .0
                .strip_suffix(below.as_str())
                .is_some_and(|front| front.len() > 1 && front.ends_with('.')),
            Self::Exactly(own) => own == name,
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Exactly(name) => name.fmt(f),
        }
    }
}

/// Where a SOCKS5 proxy is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ProxyHost {
    /// At an address.
    Address(Ipv4Addr),
    /// At whatever address the name has when it is dialled.
    Name(HostName),
}

/// A SOCKS5 proxy (RFC 1928, RFC 1929) that all TCP of a sandbox goes through.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Proxy {
    /// Its host.
    pub host: ProxyHost,
    /// Its port, not zero.
    pub port: u16,
    /// User and password, each at most 255 bytes.
    pub login: Option<(String, String)>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = self.login.as_ref().map(|_| "(kept)");
        f.debug_struct("Proxy")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("login", &login)
            .finish()
    }
}

/// Egress policy of one sandbox, whole. What it means is [`Policy::judge`] and [`Policy::allows_name`]; ranges that
/// no policy opens ([`ALWAYS_DENIED`], and those of the operator) come before it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Policy {
    /// Nothing leaves, whatever the lists say.
    pub airgap: bool,
    /// Networks that are allowed even where [`Policy::deny`] has them.
    pub allow: Vec<Cidr>,
    /// Networks that are denied.
    pub deny: Vec<Cidr>,
    /// Names that are allowed even where their addresses are denied.
    pub names: Vec<NamePattern>,
    /// DNS servers that may be asked while there are [`Policy::names`]; the operator's if absent.
    pub dns: Option<Vec<Ipv4Addr>>,
    /// What TCP that is allowed goes through.
    pub proxy: Option<Proxy>,
}

/// What of a policy decided.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Rule {
    /// The air gap.
    AirGap,
    /// A range that no policy opens.
    AlwaysDenied,
    /// An entry of [`Policy::allow`].
    Allow(Cidr),
    /// An entry of [`Policy::deny`].
    Deny(Cidr),
    /// No entry: allowed.
    Default,
}

impl Policy {
    /// Nothing leaves. What holds when no policy was set.
    pub const CLOSED: Self = Self {
        airgap: true,
        allow: Vec::new(),
        deny: Vec::new(),
        names: Vec::new(),
        dns: None,
        proxy: None,
    };

    /// Everything leaves that is not denied to all.
    pub const OPEN: Self = Self {
        airgap: false,
        allow: Vec::new(),
        deny: Vec::new(),
        names: Vec::new(),
        dns: None,
        proxy: None,
    };

    /// Whether it denies nothing.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::OPEN
    }

    /// Entries of [`Policy::allow`], and of [`Policy::deny`], at most.
    pub const MAX_NETWORKS: usize = 1000;
    /// Entries of [`Policy::names`] at most.
    pub const MAX_NAMES: usize = 500;
    /// Bytes of all names together at most, so that a policy fits into a frame.
    pub const MAX_NAME_BYTES: usize = 16_000;
    /// Entries of [`Policy::dns`] at most.
    pub const MAX_DNS: usize = 10;

    /// Whether every list is within its bounds. The privileged side checks this again.
    #[must_use]
    pub fn in_bounds(&self) -> bool {
        let bytes: usize = self.names.iter().map(|n| n.to_string().len()).sum();
        let login = |(user, password): &(String, String)| {
            (1..=255).contains(&user.len()) && password.len() <= 255
        };
        let proxy = |p: &Proxy| p.port != 0 && p.login.as_ref().is_none_or(login);
        self.allow.len() <= Self::MAX_NETWORKS
            && self.deny.len() <= Self::MAX_NETWORKS
            && self.names.len() <= Self::MAX_NAMES
            && bytes <= Self::MAX_NAME_BYTES
            && self.dns.as_ref().is_none_or(|d| d.len() <= Self::MAX_DNS)
            && self.proxy.as_ref().is_none_or(proxy)
    }

    /// Whether a packet to `to` may leave, names aside, and what decided. `never` are the operator's ranges.
    #[must_use]
    pub fn judge(&self, never: &[Cidr], to: Ipv4Addr) -> (bool, Rule) {
        if self.airgap {
            (false, Rule::AirGap)
        } else if always_denied(never, to) {
            (false, Rule::AlwaysDenied)
        } else {
            self.lists(to)
        }
    }

    fn lists(&self, to: Ipv4Addr) -> (bool, Rule) {
        let of = |list: &[Cidr]| list.iter().copied().find(|cidr| cidr.contains(to));
        if let Some(cidr) = of(&self.allow) {
            (true, Rule::Allow(cidr))
        } else if let Some(cidr) = of(&self.deny) {
            (false, Rule::Deny(cidr))
        } else {
            (true, Rule::Default)
        }
    }

    /// The pattern that allows `name`, if any does.
    #[must_use]
    pub fn allows_name(&self, name: &HostName) -> Option<&NamePattern> {
        if self.airgap {
            return None;
        }
        self.names.iter().find(|pattern| pattern.matches(name))
    }

    /// Whether egressd dials for the sandbox: by names, or through a proxy.
    #[must_use]
    pub fn dials(&self) -> bool {
        !self.airgap && (!self.names.is_empty() || self.proxy.is_some())
    }

    /// Whether the DNS server `server` may be asked on behalf of the guest, which named it. `resolvers` are the operator's.
    #[must_use]
    pub fn asks(&self, never: &[Cidr], resolvers: &[Ipv4Addr], server: Ipv4Addr) -> bool {
        if self.airgap {
            return false;
        }
        // The operator's own servers may lie in ranges that are closed to everything else.
        let (named, open) = match &self.dns {
            Some(own) => (
                own.contains(&server) && !always_denied(never, server),
                self.judge(never, server).0,
            ),
            None => {
                let own = resolvers.contains(&server);
                (
                    own,
                    self.lists(server).0 && (own || !always_denied(never, server)),
                )
            }
        };
        (named && !self.names.is_empty()) || open
    }

    /// Whether egressd may have a connection to `to` for the sandbox: an address of a name, its proxy, or one that
    /// the lists allow.
    #[must_use]
    pub fn reaches(&self, never: &[Cidr], to: Ipv4Addr) -> bool {
        let closed = self.airgap || always_denied(never, to);
        !closed && (self.dials() || self.judge(never, to).0)
    }

    /// Whether egressd may ask the DNS server `server`: for the guest, or the operator's for a name it has to dial.
    #[must_use]
    pub fn resolves(&self, never: &[Cidr], resolvers: &[Ipv4Addr], server: Ipv4Addr) -> bool {
        (self.dials() && resolvers.contains(&server)) || self.asks(never, resolvers, server)
    }
}

/// Ranges no policy opens, first and last address: everything private, local, reserved, for benchmarks (the
/// uplinks of all instances lie there), multicast, broadcast. Rising, neither touching nor overlapping.
pub const ALWAYS_DENIED: [(Ipv4Addr, Ipv4Addr); 10] = [
    (Ipv4Addr::new(0, 0, 0, 0), Ipv4Addr::new(0, 255, 255, 255)),
    (Ipv4Addr::new(10, 0, 0, 0), Ipv4Addr::new(10, 255, 255, 255)),
    (
        Ipv4Addr::new(100, 64, 0, 0),
        Ipv4Addr::new(100, 127, 255, 255),
    ),
    (
        Ipv4Addr::new(127, 0, 0, 0),
        Ipv4Addr::new(127, 255, 255, 255),
    ),
    (
        Ipv4Addr::new(169, 254, 0, 0),
        Ipv4Addr::new(169, 254, 255, 255),
    ),
    (
        Ipv4Addr::new(172, 16, 0, 0),
        Ipv4Addr::new(172, 31, 255, 255),
    ),
    (Ipv4Addr::new(192, 0, 0, 0), Ipv4Addr::new(192, 0, 0, 255)),
    (
        Ipv4Addr::new(192, 168, 0, 0),
        Ipv4Addr::new(192, 168, 255, 255),
    ),
    (
        Ipv4Addr::new(198, 18, 0, 0),
        Ipv4Addr::new(198, 19, 255, 255),
    ),
    (
        Ipv4Addr::new(224, 0, 0, 0),
        Ipv4Addr::new(255, 255, 255, 255),
    ),
];

/// Whether no policy opens `to`. `never` are the operator's ranges.
#[must_use]
pub fn always_denied(never: &[Cidr], to: Ipv4Addr) -> bool {
    let built_in = |(first, last): &(Ipv4Addr, Ipv4Addr)| (*first..=*last).contains(&to);
    ALWAYS_DENIED.iter().any(built_in) || never.iter().any(|cidr| cidr.contains(to))
}

/// What a sandbox may use of the network, from the operator's configuration alone.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Bounds {
    /// Its air gap cannot be lifted.
    pub airgapped: bool,
    /// Bytes a second it may send, not zero.
    pub upload: u64,
    /// Bytes a second it may receive, not zero.
    pub download: u64,
    /// Flows it may have at once, through the kernel and through egressd each, not zero.
    pub flows: u32,
}

impl Bounds {
    /// Where the operator says nothing: 125 MB/s each way, 4,096 flows.
    pub const DEFAULT: Self = Self {
        airgapped: false,
        upload: 125_000_000,
        download: 125_000_000,
        flows: 4096,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("a network")
    }

    fn name(text: &str) -> HostName {
        HostName::new(text).expect("a name")
    }

    #[test]
    fn networks_are_read() {
        for (text, first, last) in [
            ("8.8.8.8", [8, 8, 8, 8], [8, 8, 8, 8]),
            ("8.8.8.8/24", [8, 8, 8, 0], [8, 8, 8, 255]),
            ("0.0.0.0/0", [0; 4], [255; 4]),
            ("255.255.255.255/1", [128, 0, 0, 0], [255; 4]),
        ] {
            assert_eq!(cidr(text).range(), (first.into(), last.into()), "{text}");
        }
        for bad in [
            "",
            "8.8.8",
            "8.8.8.8/33",
            "8.8.8.8/",
            "8.8.8.8/+1",
            "8.8.8.8/001",
            "::1",
            "08.8.8.8",
            "8.8.8.8/8 ",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(name("Example.COM.").as_str(), "example.com");
        let long = format!("{}com", "a.".repeat(125));
        assert_eq!(long.len(), 253);
        assert!(HostName::new(&long).is_ok());
        for bad in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a-.b",
            "a b",
            "a\0b",
            "bücher.de",
            "1.2.3.4",
            "127.1",
            "0x7f.1",
            "a.0x7f",
            "1",
            "::1",
            "[::1]",
            "a:80",
            "a/b",
            "*.b",
            &format!("a{long}"),
            &"a".repeat(64),
        ] {
            assert!(HostName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_match_as_users_expect() {
        for (pattern, text, wanted) in [
            ("google.com", "google.com", true),
            ("google.com", "www.google.com", false),
            ("*.google.com", "www.google.com", true),
            ("*.google.com", "a.b.google.com", true),
            ("*.google.com", "google.com", false),
            ("*.google.com", "evilgoogle.com", false),
            ("GOOGLE.com", "google.COM", true),
            ("*", "anything.example", true),
        ] {
            let pattern = NamePattern::new(pattern).expect("a pattern");
            assert_eq!(pattern.matches(&name(text)), wanted, "{pattern} {text}");
        }
        for bad in [
            "",
            "*.",
            "**",
            "*x.com",
            "a.*.com",
            "*.*.com",
            "*.8.8.8.8",
            "x.com:443",
        ] {
            assert!(NamePattern::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn allow_wins_and_some_ranges_are_never_open() {
        let policy = Policy {
            allow: vec![cidr("8.8.8.0/24"), cidr("10.0.0.0/8"), cidr("203.0.113.1")],
            deny: vec![Cidr::ALL],
            ..Policy::OPEN
        };
        let never = [cidr("203.0.113.0/24")];
        let judge = |a, b, c, d| policy.judge(&never, Ipv4Addr::new(a, b, c, d));
        assert_eq!(judge(8, 8, 8, 8), (true, Rule::Allow(cidr("8.8.8.0/24"))));
        assert_eq!(judge(1, 1, 1, 1), (false, Rule::Deny(Cidr::ALL)));
        assert_eq!(judge(10, 1, 1, 1), (false, Rule::AlwaysDenied));
        assert_eq!(judge(203, 0, 113, 1), (false, Rule::AlwaysDenied));
        let open = Policy::OPEN.judge(&[], Ipv4Addr::new(1, 1, 1, 1));
        assert_eq!(open, (true, Rule::Default));
        let closed = Policy::CLOSED.judge(&[], Ipv4Addr::new(1, 1, 1, 1));
        assert_eq!(closed, (false, Rule::AirGap));
    }

    #[test]
    fn which_dns_servers_may_be_asked() {
        let (own, other, inner) = (
            Ipv4Addr::new(8, 8, 8, 8),
            Ipv4Addr::new(9, 9, 9, 9),
            Ipv4Addr::new(10, 0, 0, 53),
        );
        let resolvers = [own, inner];
        let named = Policy {
            deny: vec![Cidr::ALL],
            names: vec![NamePattern::Any],
            ..Policy::OPEN
        };
        let asks = |policy: &Policy, server| policy.asks(&[], &resolvers, server);
        assert!(asks(&named, own) && asks(&named, inner) && !asks(&named, other));
        let with = |dns: Vec<Ipv4Addr>| Policy {
            dns: Some(dns),
            ..named.clone()
        };
        assert!(asks(&with(vec![other]), other) && !asks(&with(vec![other]), own));
        assert!(!asks(&with(vec![inner]), inner) && !asks(&with(vec![]), own));
        assert!(asks(&Policy::OPEN, other) && asks(&Policy::OPEN, inner));
        assert!(!Policy::OPEN.asks(&[], &[], inner) && asks(&with(vec![]), other).eq(&false));
        let denied = Policy {
            names: vec![],
            ..named
        };
        assert!(!asks(&denied, own) && !asks(&Policy::CLOSED, own));
    }

    #[test]
    fn the_largest_policy_fits_into_a_frame() {
        let network =
            |n: usize| Cidr::new(Ipv4Addr::from(u32::MAX - 7 * n as u32), 32).expect("fits");
        let text = "a".repeat(30);
        let name = |_| NamePattern::Exactly(name(&format!("{text}.a")));
        let login = "x".repeat(255);
        let policy = Policy {
            airgap: true,
            allow: (0..Policy::MAX_NETWORKS).map(network).collect(),
            deny: (0..Policy::MAX_NETWORKS).map(network).collect(),
            names: (0..Policy::MAX_NAMES).map(name).collect(),
            dns: Some(vec![Ipv4Addr::BROADCAST; Policy::MAX_DNS]),
            proxy: Some(Proxy {
                host: ProxyHost::Name(HostName::new(&"a.".repeat(126)).expect("a name")),
                port: u16::MAX,
                login: Some((login.clone(), login)),
            }),
        };
        assert!(policy.in_bounds());
        assert!(
            Policy {
                allow: vec![Cidr::ALL; 1001],
                ..Policy::OPEN
            }
            .in_bounds()
            .eq(&false),
            "too many"
        );
        let sandbox = crate::SandboxId::new("i00000000000000000000").expect("an id");
        let generation = u64::MAX;
        let body = crate::gateway_net::Ask::PolicySet {
            sandbox,
            generation,
            policy,
        };
        let frame = crate::encode(&crate::Request {
            seq: u64::MAX,
            body,
        })
        .expect("fits");
        assert!(frame.len() < crate::MAX_FRAME);
    }
}
