//! Trust: zone 3 (linked into netd, which runs as root).
//! Input: netd: policies it accepted, names and addresses it made.
//! May: nothing; pure.
//! Unsafe: forbidden.
//!
//! What the firewall should do, the same for every system: `nft` and `pf` render it, and [`Sandbox::fate`] says
//! what each packet has to meet, so that both can be held against it.
#![forbid(unsafe_code)]

mod ranges;

use std::net::Ipv4Addr;

use warder_wire::policy::ALWAYS_DENIED;
use warder_wire::{Bounds, Cidr, InstanceTag, Policy};

pub use ranges::{Range, Ranges};

/// Port of DNS, all of which egressd answers.
pub const DNS: u16 = 53;
/// Ports whose TCP egressd can answer and judge by name: HTTP and HTTPS.
pub const WEB: [u16; 2] = [80, 443];
/// Port of QUIC, over UDP.
pub const QUIC: u16 = 443;

/// An interface name: 1 to 15 bytes of letters, digits, `_` and `-`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IfName(String);

impl IfName {
    /// Checks and wraps a name; `None` when no kernel would take it.
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

/// A sandbox's place in the network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Port {
    /// The interface on the host's side of its pair.
    pub name: IfName,
    /// The only source address it may use.
    pub address: Ipv4Addr,
    /// The only source MAC it may use.
    pub mac: [u8; 6],
    /// Mark of its flows, not zero, its own and below [`Port::MARKS`].
    pub mark: u32,
}

impl Port {
    /// Marks lie below; what is above tells kinds of flows apart.
    pub const MARKS: u32 = 1 << 24;
}

/// Ranges that no policy opens, those of the operator among them.
#[must_use]
pub fn closed(never: &[Cidr]) -> Ranges {
    let built_in = ALWAYS_DENIED.iter().map(|(a, b)| Range::new(*a, *b));
    built_in.chain(never.iter().map(|c| (*c).into())).collect()
}

/// What a sandbox may reach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Egress {
    /// Nothing; egressd neither.
    Closed,
    /// What is not denied.
    Judged(Judged),
}

/// Destinations of a sandbox that is not closed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Judged {
    /// Denied, beside what is [`closed`] to all.
    pub denied: Ranges,
    /// Whether names are allowed, so that QUIC, which would hide them, is not.
    pub names: bool,
    /// Whether all TCP goes through egressd, to a proxy.
    pub proxy: bool,
}

/// A sandbox as it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sandbox {
    /// Its place.
    pub port: Port,
    /// What it may reach.
    pub egress: Egress,
    /// How much of it.
    pub bounds: Bounds,
}

/// A packet that comes out of a sandbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    /// Source MAC.
    pub mac: [u8; 6],
    /// Source.
    pub source: Ipv4Addr,
    /// Destination.
    pub destination: Ipv4Addr,
    /// What it carries.
    pub payload: Payload,
}

/// What a packet carries; ports are those of the destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Payload {
    /// TCP.
    Tcp(u16),
    /// UDP.
    Udp(u16),
    /// Another protocol.
    Other(u8),
}

/// Where a flow of a sandbox runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Through the host.
    Forwarded,
    /// From the sandbox to egressd.
    Intercepted,
    /// From egressd outwards.
    Dialled,
}

/// A change of the rules, whole.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// All rules anew, for these sandboxes.
    All(&'a [Sandbox]),
    /// A sandbox that had none gets its rules.
    Add(&'a Sandbox),
    /// A sandbox gets other rules in place of its own.
    Replace {
        /// As it is to be.
        new: &'a Sandbox,
        /// As it was.
        old: &'a Sandbox,
    },
    /// A sandbox's rules go, and nothing of it passes any more.
    Remove(&'a Sandbox),
}

/// What all rules of an instance are made from, whatever sandboxes there are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ground {
    /// The instance.
    pub tag: InstanceTag,
    /// Its number on this host.
    pub instance: u16,
    /// First address of the block for sandboxes, two for each slot.
    pub block: Ipv4Addr,
    /// Slots at most.
    pub slots: u32,
    /// Ranges closed to all.
    pub closed: Ranges,
    /// The operator's DNS servers, wherever they are.
    pub resolvers: Vec<Ipv4Addr>,
    /// The interface by which packets of sandboxes leave.
    pub uplink: IfName,
    /// The instance's own interface in the host's network.
    pub host_end: IfName,
    /// The instance's own address.
    pub address: Ipv4Addr,
    /// First of its dummynet pipes, three for each slot, on systems that have them.
    pub pipes: Option<u32>,
    /// Number of the log that refused packets go to, on systems whose instances have one each.
    pub log: u16,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// On to its destination.
    Forward,
    /// To egressd.
    Egressd,
    /// Not on; the sender is told.
    Refuse,
    /// Not on; nobody is told.
    Drop,
}

impl Sandbox {
    /// A sandbox with a policy.
    #[must_use]
    pub fn new(port: Port, policy: &Policy, bounds: Bounds) -> Self {
        let egress = if bounds.airgapped {
            Egress::Closed
        } else {
            Egress::new(policy)
        };
        Self {
            port,
            egress,
            bounds,
        }
    }

    /// What must become of a packet of a flow within the sandbox's [`Bounds`]. `closed` are the ranges closed to all.
    #[must_use]
    pub fn fate(&self, closed: &Ranges, packet: &Packet) -> Fate {
        if packet.source != self.port.address || packet.mac != self.port.mac {
            return Fate::Drop;
        }
        self.egress.fate(closed, packet.destination, packet.payload)
    }
}

impl Egress {
    /// What a policy says.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        if policy.airgap {
            return Self::Closed;
        }
        Self::Judged(Judged {
            denied: denied(policy),
            names: !policy.names.is_empty(),
            proxy: policy.proxy.is_some(),
        })
    }

    /// What must become of a packet that names its true source.
    #[must_use]
    pub fn fate(&self, closed: &Ranges, to: Ipv4Addr, payload: Payload) -> Fate {
        let Self::Judged(judged) = self else {
            return Fate::Refuse;
        };
        let denied = closed.contain(to) || judged.denied.contain(to);
        match payload {
            Payload::Tcp(DNS) | Payload::Udp(DNS) => Fate::Egressd,
            // Where the addresses do not allow it, a name may; and if none does, egressd can say so.
            Payload::Tcp(port) if WEB.contains(&port) && (denied || judged.proxy) => Fate::Egressd,
            Payload::Udp(QUIC) if judged.names => Fate::Refuse,
            _ if denied => Fate::Refuse,
            Payload::Tcp(_) if judged.proxy => Fate::Egressd,
            _ => Fate::Forward,
        }
    }
}

/// What a policy's lists deny: `deny` without `allow`.
fn denied(policy: &Policy) -> Ranges {
    let of = |list: &[Cidr]| list.iter().map(|c| Range::from(*c)).collect::<Ranges>();
    of(&policy.deny).without(&of(&policy.allow))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cidr() -> impl Strategy<Value = Cidr> {
        (any::<u32>(), 0_u8..=32).prop_map(|(a, bits)| Cidr::new(a.into(), bits).expect("fits"))
    }

    proptest! {
        #[test]
        fn ranges_say_what_the_policy_says(
            allow in proptest::collection::vec(cidr(), 0..12),
            deny in proptest::collection::vec(cidr(), 0..12),
            never in proptest::collection::vec(cidr(), 0..3),
            random in proptest::collection::vec(any::<u32>(), 20),
        ) {
            let policy = Policy { allow: allow.clone(), deny: deny.clone(), ..Policy::OPEN };
            let (denied, closed) = (denied(&policy), closed(&never));
            let edges = allow.iter().chain(&deny).chain(&never).flat_map(|c| {
                let (a, b) = c.range();
                [u32::from(a), u32::from(b), u32::from(a).wrapping_sub(1), u32::from(b).wrapping_add(1)]
            });
            for to in edges.chain(random).map(Ipv4Addr::from) {
                let open = !denied.contain(to) && !closed.contain(to);
                prop_assert_eq!(open, policy.judge(&never, to).0, "{}", to);
            }
            let apart = |pair: &[Range]| u64::from(u32::from(pair[0].last)) + 1 < u64::from(u32::from(pair[1].first));
            prop_assert!(denied.as_slice().windows(2).all(apart));
        }
    }

    #[test]
    fn names_are_interface_names() {
        for bad in ["", "a b", "a/b", "..", "sixteen-bytes-xx", "a\"b", "s1:0"] {
            assert!(IfName::new(bad).is_none(), "{bad}");
        }
    }
}
