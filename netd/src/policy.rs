//! What should be, from what was asked. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use warder_desired::{DNS, Egress, Fate, IfName, Payload, Port, Range, Ranges, Sandbox};

pub use warder_desired::Class;
use warder_links::plan::Pair;
use warder_links::port_name;
use warder_wire::{Bounds, InstanceTag, Policy, SandboxId};

use crate::ledger::{Kept, SlotRecord};

/// The last policy that was accepted for a sandbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// Its generation, zero if none was set.
    pub generation: u64,
    /// The policy.
    pub policy: Policy,
}

impl Standing {
    /// Before any policy was set.
    pub const NONE: Self = Self {
        generation: 0,
        policy: Policy::CLOSED,
    };

    /// What becomes of a request for `policy` as generation `generation`.
    #[must_use]
    pub fn judge(&self, generation: u64, policy: &Policy) -> Verdict {
        if generation > self.generation {
            Verdict::Put
        } else if generation == self.generation && generation > 0 && *policy == self.policy {
            Verdict::Again
        } else {
            Verdict::Stale
        }
    }
}

/// What becomes of a request for a policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Put it in force.
    Put,
    /// It is the one in force.
    Again,
    /// A later one was accepted, or another under the same number.
    Stale,
}

/// Where the slots of an instance are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// The instance.
    pub tag: InstanceTag,
    /// First address of its block.
    pub block: Ipv4Addr,
}

/// What netd knows of one sandbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Whether privd says that its lease lives.
    pub live: bool,
    /// Its policy.
    pub standing: Standing,
    /// What the operator says of its template.
    pub bounds: Bounds,
    /// Its slot.
    pub slot: Option<SlotRecord>,
    /// Whether its port was taken down because a policy could not be put in force.
    pub sealed: bool,
}

impl Entry {
    /// A lease that was just opened.
    #[must_use]
    pub fn new() -> Self {
        Self {
            live: true,
            standing: Standing::NONE,
            bounds: Bounds::DEFAULT,
            slot: None,
            sealed: false,
        }
    }

    /// What the ledger kept; the lease lives once privd says so.
    #[must_use]
    pub fn kept(kept: &Kept) -> Self {
        Self {
            live: false,
            standing: Standing {
                generation: kept.generation,
                policy: kept.policy.clone(),
            },
            bounds: kept.bounds,
            slot: kept.slot,
            sealed: false,
        }
    }

    /// Whether nothing leaves: the policy says so, or the operator, or it could not be put in force.
    #[must_use]
    pub fn airgap(&self) -> bool {
        self.standing.policy.airgap || self.bounds.airgapped || self.sealed
    }

    /// The policy that holds.
    #[must_use]
    pub fn effective(&self) -> Policy {
        Policy {
            airgap: self.airgap(),
            ..self.standing.policy.clone()
        }
    }

    /// The sandbox as the rules should have it; `None` without a slot in the block.
    #[must_use]
    pub fn desired(&self, place: Place) -> Option<Sandbox> {
        let port = port(place, self.slot.as_ref()?)?;
        Some(Sandbox::new(port, &self.effective(), self.bounds))
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self::new()
    }
}

/// Everything netd knows of sandboxes.
pub type Book = BTreeMap<SandboxId, Entry>;

/// The rules' view of a slot; `None` for one outside the block.
#[must_use]
pub fn port(place: Place, slot: &SlotRecord) -> Option<Port> {
    let pair = Pair::new(place.block, slot.index)?;
    Some(Port {
        name: IfName::new(&port_name(place.tag, slot.counter))?,
        address: pair.address,
        mac: pair.mac(),
        mark: slot.index.checked_add(1).filter(|n| *n < Port::MARKS)?,
    })
}

/// Every sandbox that has a slot, as the rules should have it.
#[must_use]
pub fn desired(book: &Book, place: Place) -> Vec<Sandbox> {
    book.values()
        .filter_map(|entry| entry.desired(place))
        .collect()
}

/// Whether a flow that `old` lets through, or lets egressd have, is one that `new` does not. What egressd ends by
/// names it knows itself.
#[must_use]
pub fn tightens(closed: &Ranges, old: &Egress, new: &Egress) -> bool {
    let Egress::Judged(was) = old else {
        return false;
    };
    let Egress::Judged(now) = new else {
        return true;
    };
    let all: Ranges = [Range::new(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)]
        .into_iter()
        .collect();
    let open = all.without(closed);
    let direct = || !open.without(&was.denied).is_empty();
    let dialled = was.names || was.proxy;
    let lost = if dialled && !now.names && !now.proxy {
        // Dialled addresses were not held against the lists.
        !now.denied.without(closed).is_empty()
    } else {
        !now.denied.without(&was.denied).without(closed).is_empty()
    };
    lost || ((now.names && !was.names || now.proxy && !was.proxy) && direct())
}

/// Whether a flow may live on. `to` is where it was for in the beginning.
#[must_use]
pub fn keeps(
    closed: &Ranges,
    resolvers: &[Ipv4Addr],
    egress: &Egress,
    class: Class,
    to: Ipv4Addr,
    payload: Payload,
) -> bool {
    let Egress::Judged(judged) = egress else {
        return false;
    };
    let fate = egress.fate(closed, to, payload);
    match class {
        Class::Forwarded => fate == Fate::Forward,
        // What may go directly now may also end as it began.
        Class::Intercepted => matches!(fate, Fate::Forward | Fate::Egressd),
        Class::Dialled => {
            let dials = judged.names || judged.proxy;
            let dns = matches!(payload, Payload::Udp(DNS) | Payload::Tcp(DNS));
            (dns && resolvers.contains(&to))
                || !closed.contain(to) && (dials || !judged.denied.contain(to))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use warder_desired::closed;
    use warder_wire::{Cidr, HostName, NamePattern, Proxy, policy::ProxyHost};

    use super::*;

    const OPEN: Policy = Policy::OPEN;

    fn place() -> Place {
        Place {
            tag: InstanceTag::of_state_dir(b"a"),
            block: Ipv4Addr::new(10, 200, 0, 0),
        }
    }

    #[test]
    fn generations_rise() {
        let now = Standing {
            generation: 5,
            policy: OPEN,
        };
        assert_eq!(now.judge(6, &Policy::CLOSED), Verdict::Put);
        assert_eq!(now.judge(6, &OPEN), Verdict::Put);
        assert_eq!(now.judge(5, &OPEN), Verdict::Again);
        assert_eq!(now.judge(5, &Policy::CLOSED), Verdict::Stale);
        assert_eq!(now.judge(4, &OPEN), Verdict::Stale);
        assert_eq!(Standing::NONE.judge(0, &Policy::CLOSED), Verdict::Stale);
    }

    #[test]
    fn the_operator_and_a_seal_close_what_a_policy_opens() {
        let open = Entry {
            standing: Standing {
                generation: 1,
                policy: OPEN,
            },
            slot: Some(slot(3)),
            ..Entry::new()
        };
        let egress = |entry: &Entry| entry.desired(place()).expect("in the block").egress;
        assert!(!open.airgap() && egress(&open) != Egress::Closed);
        let mut bound = open.clone();
        bound.bounds.airgapped = true;
        let sealed = Entry {
            sealed: true,
            ..open.clone()
        };
        for closed in [bound, sealed] {
            assert!(closed.airgap() && closed.effective().airgap);
            assert_eq!(egress(&closed), Egress::Closed);
        }
        assert_eq!(Entry { slot: None, ..open }.desired(place()), None);
    }

    fn slot(index: u32) -> SlotRecord {
        SlotRecord {
            index,
            counter: index + 7,
            identity: 1,
        }
    }

    /// Few addresses, so that lists meet each other and the ranges closed to all.
    fn cidr() -> impl Strategy<Value = Cidr> {
        let front =
            prop::sample::select(vec![0x0808_0808_u32, 0x0a00_0000, 0, 0xffff_ffff, 1 << 31]);
        (
            front,
            0_u32..4,
            prop::sample::select(vec![0_u8, 1, 7, 8, 30, 31, 32]),
        )
            .prop_map(|(front, low, bits)| Cidr::new((front ^ low).into(), bits).expect("fits"))
    }

    fn policy() -> impl Strategy<Value = Policy> {
        let list = || proptest::collection::vec(cidr(), 0..4);
        let parts = (
            prop::bool::weighted(0.1),
            list(),
            list(),
            any::<bool>(),
            any::<bool>(),
        );
        parts.prop_map(|(airgap, allow, deny, names, proxy)| Policy {
            airgap,
            allow,
            deny,
            names: names.then_some(NamePattern::Any).into_iter().collect(),
            dns: None,
            proxy: proxy.then(|| Proxy {
                host: ProxyHost::Name(HostName::new("a.example").expect("a name")),
                port: 1080,
                login: None,
            }),
        })
    }

    fn egress(policy: &Policy) -> Egress {
        let port = port(place(), &slot(1)).expect("in the block");
        Sandbox::new(port, policy, Bounds::DEFAULT).egress
    }

    proptest! {
        #[test]
        fn the_last_accepted_policy_stands(asked in proptest::collection::vec((0_u64..8, any::<bool>()), 0..40)) {
            let mut now = Standing::NONE;
            for (generation, internet) in asked {
                let policy = if internet { OPEN } else { Policy::CLOSED };
                match now.judge(generation, &policy) {
                    Verdict::Put => {
                        prop_assert!(generation > now.generation);
                        now = Standing { generation, policy };
                    }
                    Verdict::Again => prop_assert_eq!(&now, &Standing { generation, policy }),
                    Verdict::Stale => prop_assert!(generation <= now.generation),
                }
            }
        }

        /// Every end of every range, and its neighbours, is tried in every class and with every payload that the
        /// rules tell apart.
        #[test]
        fn a_change_tightens_just_when_a_flow_may_have_to_end(
            old in policy(), new in policy(), never in proptest::collection::vec(cidr(), 0..2),
        ) {
            let closed = closed(&never);
            let resolvers = [Ipv4Addr::new(10, 0, 0, 1)];
            let lists = [&old.allow, &old.deny, &new.allow, &new.deny, &never];
            let own = lists.into_iter().flatten().map(|c| c.range());
            let edges = own.chain(closed.as_slice().iter().map(|r| (r.first, r.last))).flat_map(|(a, b)| {
                let (a, b) = (u32::from(a), u32::from(b));
                [a, b, a.wrapping_sub(1), b.wrapping_add(1)]
            });
            let payloads = [
                Payload::Tcp(22), Payload::Tcp(80), Payload::Tcp(443), Payload::Tcp(53), Payload::Udp(53),
                Payload::Udp(443), Payload::Udp(9), Payload::Other(1),
            ];
            let (was, now) = (egress(&old), egress(&new));
            let mut ends = false;
            for to in edges.map(Ipv4Addr::from) {
                for payload in payloads {
                    for class in [Class::Forwarded, Class::Intercepted, Class::Dialled] {
                        // egressd is given what the rules send there, and dials by TCP alone.
                        let there = match class {
                            Class::Intercepted => was.fate(&closed, to, payload) == Fate::Egressd,
                            Class::Dialled => matches!(payload, Payload::Tcp(_)),
                            Class::Forwarded => true,
                        };
                        let keeps = |egress| keeps(&closed, &resolvers, egress, class, to, payload);
                        ends |= there && keeps(&was) && !keeps(&now);
                    }
                }
            }
            prop_assert_eq!(tightens(&closed, &was, &now), ends, "{:?} {:?}", was, now);
            prop_assert!(!tightens(&closed, &now, &now));
        }

        /// What the kernel keeps is never more than what the policy says.
        #[test]
        fn no_flow_is_kept_against_the_policy(
            policy in policy(), never in proptest::collection::vec(cidr(), 0..2), to in any::<u32>(), near in cidr(),
        ) {
            let closed = closed(&never);
            let egress = egress(&policy);
            for to in [Ipv4Addr::from(to), near.range().0, near.range().1] {
                let keeps = |class, payload| keeps(&closed, &[], &egress, class, to, payload);
                prop_assert_eq!(keeps(Class::Dialled, Payload::Tcp(22)), policy.reaches(&never, to));
                prop_assert_eq!(keeps(Class::Forwarded, Payload::Udp(9)), policy.judge(&never, to).0);
            }
        }

        #[test]
        fn ports_of_two_slots_share_nothing(a in 0_u32..9999, b in 0_u32..9999) {
            prop_assume!(a != b);
            let (a, b) = (port(place(), &slot(a)).expect("fits"), port(place(), &slot(b)).expect("fits"));
            prop_assert!(a.name != b.name && a.address != b.address && a.mac != b.mac && a.mark != b.mark);
        }
    }
}
