//! The part of nftables that Warder uses, typed.

use std::fmt;
use std::net::Ipv4Addr;

use warder_desired::{IfName, Port, Range};
use warder_wire::InstanceTag;

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
    /// All elements of a set.
    Empty(String),
    /// A set that nothing refers to, with its elements.
    DropSet(String),
    /// A chain; nothing if it is there.
    Chain(Chain),
    /// The chain's rules.
    Flush(String),
    /// An empty chain that nothing refers to.
    DropChain(String),
    /// A rule at the end of a chain.
    Rule(String, Vec<Part>),
    /// Elements of a set or map; nothing for those that are there.
    Add(String, Vec<Element>),
    /// Elements that are there.
    Remove(String, Vec<Element>),
}

/// A set or map.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: SetKind,
}

/// What a set holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SetKind {
    /// Ranges of IPv4 addresses.
    Ranges,
    /// IPv4 addresses.
    Addresses,
    /// Marks of sandboxes, each perhaps with a condition that must hold too.
    Marks,
    /// Interface names.
    Names,
    /// Interface names with source address and source MAC, each with a mark.
    Sources,
    /// Marks of sandboxes, each with a verdict.
    Verdicts,
    /// Marks of sandboxes, each with what is left of its rate; filled by [`Part::Seldom`].
    Rates,
}

/// One element.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Element {
    /// A range.
    Range(Range),
    /// An address.
    Address(Ipv4Addr),
    /// A mark.
    Mark(u32),
    /// A mark, while more bytes a second than these are asked for.
    OverRate(u32, u64),
    /// A mark, while more packets a second than these are asked for.
    OverPackets(u32, u32),
    /// A mark, while the packet's flow and those asked for before that still live are more than these.
    OverFlows(u32, u32),
    /// A name.
    Name(IfName),
    /// A port's name, address and MAC, with its mark.
    Source(Port),
    /// A mark whose packets go through a chain.
    Jump(u32, String),
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
    /// From this namespace itself.
    Output,
    /// As packets leave.
    Postrouting,
}

/// Whether a comparison must hold or fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Is {
    /// Equal, or one of.
    Equal,
    /// Not equal, or none of.
    Not,
}

/// `ct state` bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Belongs to no flow and begins none.
    Invalid,
    /// Of a known flow, or an error about one.
    Known,
}

/// Transport protocols with ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A piece of a rule, matched or done from left to right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// Whether it is IPv4.
    Ipv4(Is),
    /// The interface it came in by.
    Iif(Is, IfName),
    /// The interface it leaves by.
    Oif(Is, IfName),
    /// The interface it came in by is in a set.
    IifIn(&'static str),
    /// IPv4 source.
    Source(Is, Ipv4Addr),
    /// IPv4 destination within a set.
    DestinationIn(String),
    /// Within a set: the IPv4 destination of the packet that began the flow.
    FlowDestinationIn(String),
    /// The routing table has the destination as something other than a unicast address elsewhere.
    DestinationNotUnicast,
    /// The transport protocol.
    Transport(Transport),
    /// ICMP.
    Icmp,
    /// Source port of a transport protocol.
    SourcePort(Transport, u16),
    /// Destination port of a transport protocol.
    DestinationPort(Is, Transport, u16),
    /// More bytes than these, IPv4 header and all.
    Longer(u16),
    /// TCP, and not the first segment of a connection.
    TcpNotSyn,
    /// TCP, and a reset.
    TcpReset,
    /// What connection tracking says.
    State(State),
    /// Towards whoever began the flow.
    Reply,
    /// Whether these bits of the packet's mark are all zero (`Equal`) or not (`Not`).
    Mark(Is, u32),
    /// The sandbox in the packet's mark, in a set.
    MarkIn(Is, &'static str),
    /// As [`Part::Mark`], of the flow's mark.
    FlowMark(Is, u32),
    /// As [`Part::MarkIn`], of the flow's mark.
    FlowMarkIn(Is, &'static str),
    /// The verdict that a map has for the sandbox in the packet's mark.
    MarkVerdict(&'static str),
    /// The packet's mark from now on.
    SetMark(u32),
    /// The packet's mark is from now on what a map has for its interface, source address and source MAC, if anything.
    MarkBySource(&'static str),
    /// The packet's mark is from now on the flow's, with these bits.
    MarkByFlow(u32),
    /// Bits that the packet's mark has from now on.
    AddMark(u32),
    /// The flow gets these bits of the packet's mark.
    MarkFlow(u32),
    /// Not often, by the packet's sandbox; a set keeps count.
    Seldom(&'static str),
    /// Its beginning to whoever reads the log, with a word.
    Log(&'static str),
    /// To the transparent socket at this port, if there is one.
    Divert(u16),
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
    /// Back to where the chain was jumped to.
    Return,
    /// On in one of the fixed chains, and back behind this rule.
    Jump(&'static str),
    /// On in one of the fixed chains, not to come back.
    Goto(&'static str),
}

impl Part {
    /// Bits of marks that name the sandbox.
    pub const SANDBOX: u32 = Port::MARKS - 1;
    /// Group of [`Part::Log`].
    pub const LOG_GROUP: u16 = 53;
    /// Bytes that it copies: the longest IPv4 header and the eight behind it.
    pub const LOG_BYTES: u32 = 68;
    /// What [`Element::OverRate`] lets pass at once, in bytes: two segments as large as the kernel makes them.
    pub const BURST: u32 = 128 << 10;
    /// How often a second [`Part::Seldom`] is.
    pub const SELDOM: u32 = 20;
    /// How long [`Part::Seldom`] remembers, in seconds.
    pub const SELDOM_KEPT: u32 = 60;
    /// How many sandboxes [`Part::Seldom`] remembers.
    pub const RATES: u32 = 65_535;
}

impl SetKind {
    /// Whether its elements carry marks or verdicts.
    #[must_use]
    pub fn is_map(self) -> bool {
        matches!(self, Self::Sources | Self::Verdicts)
    }
}
