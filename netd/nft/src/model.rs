//! The part of nftables that Warder uses, typed. `Display` writes it as nft(8) would, for logs and tests.

use std::fmt;
use std::net::Ipv4Addr;

use warder_wire::InstanceTag;

/// An interface name: 1 to 15 bytes, no white space, no slash.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IfName(String);

impl IfName {
    /// Checks and wraps a name; `None` when the kernel would not take it.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        (!name.is_empty() && name.len() <= 15 && name.bytes().all(plain))
            .then(|| Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A table of family `inet`, named after the instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Table(pub InstanceTag);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "warder_{}", self.0)
    }
}

/// Steps that are in force together or not at all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transaction {
    /// In which table.
    pub table: Table,
    /// In this order.
    pub steps: Vec<Step>,
}

/// One change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// The table; nothing if it is there.
    Table,
    /// The table with all in it.
    DropTable,
    /// A set or map.
    Set(Set),
    /// A chain; nothing if it is there.
    Chain(Chain),
    /// The chain's rules.
    Flush(String),
    /// An empty chain that nothing refers to.
    DropChain(String),
    /// A rule at the end of a chain.
    Rule(String, Vec<Part>),
    /// Elements of a set or map; nothing for those that are there.
    Add(&'static str, Vec<Element>),
    /// An element that is there.
    Remove(&'static str, IfName),
}

/// A set or map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: SetKind,
}

/// What a set holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SetKind {
    /// Ranges of IPv4 addresses.
    Ranges,
    /// Interface names.
    Names,
    /// Interface names, each with a verdict.
    Verdicts,
}

/// One element.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Element {
    /// First and last address of a range.
    Range(Ipv4Addr, Ipv4Addr),
    /// A name.
    Name(IfName),
    /// A name that goes on in a chain.
    Goto(IfName, String),
}

/// A chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where packets enter it; none for a chain that rules go to.
    pub base: Option<Base>,
}

/// A base chain's place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Base {
    /// Whether it rewrites addresses.
    pub nat: bool,
    /// Its hook.
    pub hook: Hook,
    /// Its place among others of the hook.
    pub priority: i32,
    /// What becomes of a packet no rule decided.
    pub policy: Verdict,
}

/// Netfilter hooks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hook {
    /// As packets come in.
    Prerouting,
    /// To this namespace itself.
    Input,
    /// Through it.
    Forward,
    /// As packets leave.
    Postrouting,
}

/// Whether a comparison must hold or fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Is {
    /// Equal.
    Equal,
    /// Not equal.
    Not,
}

/// `ct state` bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flow {
    /// Belongs to no flow and begins none.
    Invalid,
    /// Of a known flow, or an error about one.
    Known,
}

/// A piece of a rule, matched or done from left to right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// Not IPv4.
    NotIpv4,
    /// The interface it came in by.
    Iif(Is, IfName),
    /// The interface it leaves by.
    Oif(Is, IfName),
    /// The interface it leaves by is in a set.
    OifIn(&'static str),
    /// The verdict that a map has for the interface it came in by.
    IifVerdict(&'static str),
    /// IPv4 source.
    Source(Is, Ipv4Addr),
    /// IPv4 destination within a set of ranges.
    DestinationIn(&'static str),
    /// The routing table has the destination as something other than a unicast address elsewhere.
    DestinationNotUnicast,
    /// What connection tracking says.
    Flow(Flow),
    /// TCP, and not the first segment of a connection.
    TcpNotSyn,
    /// Marks the flow.
    MarkFlow(u32),
    /// Takes the address of the interface it leaves by.
    Masquerade,
    /// Answers with a TCP reset.
    Reset,
    /// Answers that it is administratively prohibited.
    Prohibited,
    /// The end.
    Verdict(Verdict),
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// On to the next hook.
    Accept,
    /// Gone.
    Drop,
    /// On in one of the fixed chains, not to come back.
    Goto(&'static str),
}

impl fmt::Display for Is {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "",
            Self::Not => "!= ",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIpv4 => f.write_str("meta nfproto != ipv4"),
            Self::Iif(is, name) => write!(f, "iifname {is}\"{}\"", name.as_str()),
            Self::Oif(is, name) => write!(f, "oifname {is}\"{}\"", name.as_str()),
            Self::OifIn(set) => write!(f, "oifname @{set}"),
            Self::IifVerdict(map) => write!(f, "iifname vmap @{map}"),
            Self::Source(is, address) => write!(f, "ip saddr {is}{address}"),
            Self::DestinationIn(set) => write!(f, "ip daddr @{set}"),
            Self::DestinationNotUnicast => f.write_str("fib daddr type != unicast"),
            Self::Flow(Flow::Invalid) => f.write_str("ct state invalid"),
            Self::Flow(Flow::Known) => f.write_str("ct state established,related"),
            Self::TcpNotSyn => f.write_str("meta l4proto tcp tcp flags & syn == 0"),
            Self::MarkFlow(mark) => write!(f, "ct mark set {mark:#x}"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Reset => f.write_str("reject with tcp reset"),
            Self::Prohibited => f.write_str("reject with icmpx admin-prohibited"),
            Self::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Name(name) => write!(f, "\"{}\"", name.as_str()),
            Self::Goto(name, chain) => write!(f, "\"{}\" : goto {chain}", name.as_str()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => f.write_str("add table"),
            Self::DropTable => f.write_str("delete table"),
            Self::Set(set) => {
                let kind = match set.kind {
                    SetKind::Ranges => "type ipv4_addr; flags interval",
                    SetKind::Names => "type ifname",
                    SetKind::Verdicts => "type ifname : verdict",
                };
                write!(f, "add set {} {{ {kind} }}", set.name)
            }
            Self::Chain(Chain { name, base: None }) => write!(f, "add chain {name}"),
            Self::Chain(Chain {
                name,
                base: Some(base),
            }) => {
                let kind = if base.nat { "nat" } else { "filter" };
                let hook = match base.hook {
                    Hook::Prerouting => "prerouting",
                    Hook::Input => "input",
                    Hook::Forward => "forward",
                    Hook::Postrouting => "postrouting",
                };
                let (priority, policy) = (base.priority, base.policy);
                write!(
                    f,
                    "add chain {name} {{ type {kind} hook {hook} priority {priority}; policy {policy} }}"
                )
            }
            Self::Flush(chain) => write!(f, "flush chain {chain}"),
            Self::DropChain(chain) => write!(f, "delete chain {chain}"),
            Self::Rule(chain, parts) => {
                write!(f, "add rule {chain}")?;
                parts.iter().try_for_each(|part| write!(f, " {part}"))
            }
            Self::Add(set, elements) => {
                write!(f, "add element {set} {{")?;
                for (n, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if n == 0 { " " } else { ", " })?;
                }
                f.write_str(" }")
            }
            Self::Remove(set, name) => {
                write!(f, "delete element {set} {{ \"{}\" }}", name.as_str())
            }
        }
    }
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {}", self.table)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}
