//! The model as nft(8) would write it, for tests and whoever reads them: netd itself has no use for it.

use std::fmt;

use crate::model::{
    Chain, Element, Hook, Is, Part, Set, SetKind, State, Step, Table, Transaction, Transport,
    Verdict,
};

impl fmt::Display for Is {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "",
            Self::Not => "!= ",
        })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

/// Bits against zero.
fn bits(f: &mut fmt::Formatter<'_>, what: &str, is: Is, bits: u32) -> fmt::Result {
    let is = if is == Is::Equal { "==" } else { "!=" };
    write!(f, "{what} & {bits:#x} {is} 0")
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SANDBOX: u32 = Part::SANDBOX;
        match self {
            Self::Ipv4(is) => write!(f, "meta nfproto {is}ipv4"),
            Self::Iif(is, name) => write!(f, "iifname {is}\"{}\"", name.as_str()),
            Self::Oif(is, name) => write!(f, "oifname {is}\"{}\"", name.as_str()),
            Self::IifIn(set) => write!(f, "iifname @{set}"),
            Self::Source(is, address) => write!(f, "ip saddr {is}{address}"),
            Self::DestinationIn(set) => write!(f, "ip daddr @{set}"),
            Self::FlowDestinationIn(set) => write!(f, "ct original ip daddr @{set}"),
            Self::DestinationNotUnicast => f.write_str("fib daddr type != unicast"),
            Self::Transport(transport) => write!(f, "meta l4proto {transport}"),
            Self::Icmp => f.write_str("meta l4proto icmp"),
            Self::SourcePort(transport, port) => write!(f, "{transport} sport {port}"),
            Self::DestinationPort(is, transport, port) => write!(f, "{transport} dport {is}{port}"),
            Self::Longer(bytes) => write!(f, "ip length > {bytes}"),
            Self::TcpNotSyn => f.write_str("meta l4proto tcp tcp flags & syn == 0"),
            Self::TcpReset => f.write_str("meta l4proto tcp tcp flags & rst != 0"),
            Self::State(State::Invalid) => f.write_str("ct state invalid"),
            Self::State(State::Known) => f.write_str("ct state established,related"),
            Self::Reply => f.write_str("ct direction reply"),
            Self::Mark(is, wanted) => bits(f, "meta mark", *is, *wanted),
            Self::MarkIn(is, set) => write!(f, "meta mark & {SANDBOX:#x} {is}@{set}"),
            Self::FlowMark(is, wanted) => bits(f, "ct mark", *is, *wanted),
            Self::FlowMarkIn(is, set) => write!(f, "ct mark & {SANDBOX:#x} {is}@{set}"),
            Self::MarkVerdict(map) => write!(f, "meta mark & {SANDBOX:#x} vmap @{map}"),
            Self::MarkBySource(map) => {
                write!(
                    f,
                    "meta mark set iifname . ip saddr . ether saddr map @{map}"
                )
            }
            Self::MarkByFlow(bits) => write!(f, "meta mark set ct mark | {bits:#x}"),
            Self::SetMark(mark) => write!(f, "meta mark set {mark:#x}"),
            Self::AddMark(bits) => write!(f, "meta mark set meta mark | {bits:#x}"),
            Self::MarkFlow(bits) => write!(f, "ct mark set meta mark & {bits:#x}"),
            Self::Seldom(set) => {
                let (rate, kept) = (Self::SELDOM, Self::SELDOM_KEPT);
                write!(
                    f,
                    "update @{set} {{ meta mark & {SANDBOX:#x} timeout {kept}s "
                )?;
                write!(f, "limit rate {rate}/second burst {rate} packets }}")
            }
            Self::Log(word) => {
                let (group, bytes) = (Self::LOG_GROUP, Self::LOG_BYTES);
                write!(f, "log prefix \"{word}\" group {group} snaplen {bytes}")
            }
            Self::Divert(port) => write!(f, "tproxy ip to :{port}"),
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
            Self::Range(range) => write!(f, "{}-{}", range.first, range.last),
            Self::Address(address) => address.fmt(f),
            Self::Mark(mark) => write!(f, "{mark:#x}"),
            Self::OverRate(mark, bytes) => {
                let burst = Part::BURST;
                write!(
                    f,
                    "{mark:#x} limit rate over {bytes} bytes/second burst {burst} bytes"
                )
            }
            Self::OverPackets(mark, packets) => write!(
                f,
                "{mark:#x} limit rate over {packets}/second burst {packets} packets"
            ),
            Self::OverFlows(mark, flows) => write!(f, "{mark:#x} ct count over {flows}"),
            Self::Name(name) => write!(f, "\"{}\"", name.as_str()),
            Self::Source(port) => {
                let ([a, b, c, d, e, g], name) = (port.mac, port.name.as_str());
                write!(f, "\"{name}\" . {} . ", port.address)?;
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")?;
                write!(f, " : {:#x}", port.mark)
            }
            Self::Jump(mark, chain) => write!(f, "{mark:#x} : jump {chain}"),
        }
    }
}

fn elements(f: &mut fmt::Formatter<'_>, elements: &[Element]) -> fmt::Result {
    for (n, element) in elements.iter().enumerate() {
        write!(f, "{}{element}", if n == 0 { " { " } else { ", " })?;
    }
    f.write_str(" }")
}

impl Step {
    fn write(&self, f: &mut fmt::Formatter<'_>, table: Table) -> fmt::Result {
        match self {
            Self::Table => write!(f, "add table inet {table}"),
            Self::DropTable => write!(f, "delete table inet {table}"),
            Self::Set(Set { name, kind }) => {
                let of = if kind.is_map() { "map" } else { "set" };
                write!(f, "add {of} inet {table} {name} {{ ")?;
                match kind {
                    SetKind::Ranges => f.write_str("type ipv4_addr; flags interval; }"),
                    SetKind::Addresses => f.write_str("type ipv4_addr; }"),
                    SetKind::Marks => f.write_str("type mark; }"),
                    SetKind::Names => f.write_str("type ifname; }"),
                    SetKind::Sources => {
                        f.write_str("type ifname . ipv4_addr . ether_addr : mark; }")
                    }
                    SetKind::Verdicts => f.write_str("type mark : verdict; }"),
                    SetKind::Rates => {
                        let size = Part::RATES;
                        write!(f, "type mark; size {size}; flags dynamic,timeout; }}")
                    }
                }
            }
            Self::Empty(set) => write!(f, "flush set inet {table} {set}"),
            Self::DropSet(set) => write!(f, "delete set inet {table} {set}"),
            Self::Chain(Chain { name, base: None }) => write!(f, "add chain inet {table} {name}"),
            Self::Chain(Chain {
                name,
                base: Some(base),
            }) => {
                let kind = if base.nat { "nat" } else { "filter" };
                let hook = match base.hook {
                    Hook::Prerouting => "prerouting",
                    Hook::Input => "input",
                    Hook::Forward => "forward",
                    Hook::Output => "output",
                    Hook::Postrouting => "postrouting",
                };
                let (priority, policy) = (base.priority, base.policy);
                write!(
                    f,
                    "add chain inet {table} {name} {{ type {kind} hook {hook} priority {priority}; policy {policy}; }}"
                )
            }
            Self::Flush(chain) => write!(f, "flush chain inet {table} {chain}"),
            Self::DropChain(chain) => write!(f, "delete chain inet {table} {chain}"),
            Self::Rule(chain, parts) => {
                write!(f, "add rule inet {table} {chain}")?;
                parts.iter().try_for_each(|part| write!(f, " {part}"))
            }
            Self::Add(set, all) => {
                write!(f, "add element inet {table} {set}")?;
                elements(f, all)
            }
            Self::Remove(set, all) => {
                write!(f, "delete element inet {table} {set}")?;
                elements(f, all)
            }
        }
    }
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            step.write(f, self.table)?;
            f.write_str("\n")?;
        }
        Ok(())
    }
}
