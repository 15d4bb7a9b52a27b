//! What should be, from what was asked. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use warder_desired::{IfName, Port, Sandbox};
use warder_links::plan::{Pair, port_name};
use warder_wire::{Bounds, Policy, SandboxId};

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
            Verdict::Put {
                tightens: self.policy.is_open() && !policy.is_open(),
            }
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
    Put {
        /// Whether flows may exist that it forbids.
        tightens: bool,
    },
    /// It is the one in force.
    Again,
    /// A later one was accepted, or another under the same number.
    Stale,
}

/// What netd knows of one sandbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Whether privd says that its lease lives.
    pub live: bool,
    /// Its policy.
    pub standing: Standing,
    /// Its slot.
    pub slot: Option<SlotRecord>,
    /// Whether its port was taken down because its rules could not be changed.
    pub sealed: bool,
}

impl Entry {
    /// A lease that was just opened.
    #[must_use]
    pub fn new() -> Self {
        Self {
            live: true,
            standing: Standing::NONE,
            slot: None,
            sealed: false,
        }
    }

    /// What the ledger kept; the lease lives once privd says so.
    #[must_use]
    pub fn kept(kept: &Kept) -> Self {
        let policy = if kept.open {
            Policy::OPEN
        } else {
            Policy::CLOSED
        };
        let standing = Standing {
            generation: kept.generation,
            policy,
        };
        Self {
            live: false,
            standing,
            slot: kept.slot,
            sealed: false,
        }
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
pub fn port(block: Ipv4Addr, slot: &SlotRecord) -> Option<Port> {
    let pair = Pair::new(block, slot.index)?;
    Some(Port {
        name: IfName::new(&port_name(slot.counter))?,
        address: pair.address,
        mac: pair.mac(),
        mark: slot.index.checked_add(1)?,
    })
}

/// Every sandbox that has a slot, as the rules should have it.
#[must_use]
pub fn desired(book: &Book, block: Ipv4Addr) -> Vec<Sandbox> {
    let view = |entry: &Entry| {
        let port = port(block, entry.slot.as_ref()?)?;
        let policy = &entry.standing.policy;
        Some(Sandbox::new(port, policy, Bounds::DEFAULT))
    };
    book.values().filter_map(view).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPEN: Policy = Policy::OPEN;

    #[test]
    fn generations_rise() {
        let now = Standing {
            generation: 5,
            policy: OPEN,
        };
        assert_eq!(
            now.judge(6, &Policy::CLOSED),
            Verdict::Put { tightens: true }
        );
        assert_eq!(now.judge(6, &OPEN), Verdict::Put { tightens: false });
        assert_eq!(now.judge(5, &OPEN), Verdict::Again);
        assert_eq!(now.judge(5, &Policy::CLOSED), Verdict::Stale);
        assert_eq!(now.judge(4, &OPEN), Verdict::Stale);
        assert_eq!(Standing::NONE.judge(0, &Policy::CLOSED), Verdict::Stale);
    }

    proptest! {
        #[test]
        fn the_last_accepted_policy_stands(asked in proptest::collection::vec((0_u64..8, any::<bool>()), 0..40)) {
            let mut now = Standing::NONE;
            for (generation, internet) in asked {
                let policy = if internet { OPEN } else { Policy::CLOSED };
                match now.judge(generation, &policy) {
                    Verdict::Put { tightens } => {
                        prop_assert!(generation > now.generation);
                        prop_assert_eq!(tightens, now.policy.is_open() && !internet);
                        now = Standing { generation, policy };
                    }
                    Verdict::Again => prop_assert_eq!(&now, &Standing { generation, policy }),
                    Verdict::Stale => prop_assert!(generation <= now.generation),
                }
            }
        }

        #[test]
        fn ports_of_two_slots_share_nothing(a in 0_u32..9999, b in 0_u32..9999) {
            prop_assume!(a != b);
            let block = Ipv4Addr::new(10, 200, 0, 0);
            let slot = |n| SlotRecord { index: n, counter: n + 7, inode: 1 };
            let (a, b) = (port(block, &slot(a)).expect("fits"), port(block, &slot(b)).expect("fits"));
            prop_assert!(a.name != b.name && a.address != b.address && a.mark != b.mark);
        }
    }
}
