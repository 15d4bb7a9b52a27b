//! The pool of slots: which are free, being made, ready, or cooling off. Pure but for the networks it holds.
//!
//! An index (and with it two addresses and a mark) is in exactly one place: free, in the making, ready, taken by
//! an entry of the book, or cooling until flows, interface and sockets of its
//! last owner are gone. It is used again as late as
//! possible.

use std::collections::VecDeque;
use std::time::Instant;

use warder_links::Space;
use warder_wire::SandboxId;

use crate::ledger::SlotRecord;

/// Slots in the making at once when nobody waits for one.
const STEADY: usize = 2;

/// A slot nobody has yet.
#[derive(Debug)]
pub struct Ready {
    /// What identifies it.
    pub slot: SlotRecord,
    /// Its network.
    pub space: Space,
}

/// The pool.
#[derive(Debug)]
pub struct Pool {
    total: u32,
    spare: usize,
    free: VecDeque<u32>,
    making: usize,
    ready: VecDeque<Ready>,
    cooling: u32,
    waiting: VecDeque<(u64, SandboxId, Instant)>,
    next_counter: u32,
}

impl Pool {
    /// All of `total` indices free but those in `taken`; `spare` slots are kept ready.
    #[must_use]
    pub fn new(total: u32, spare: u32, next_counter: u32, taken: &[u32]) -> Self {
        let free = (0..total).filter(|index| !taken.contains(index)).collect();
        Self {
            total,
            spare: usize::try_from(spare.min(total)).unwrap_or(usize::MAX),
            free,
            making: 0,
            ready: VecDeque::new(),
            cooling: 0,
            waiting: VecDeque::new(),
            next_counter,
        }
    }

    /// Index and counter of the next slot to make, if one should be made now.
    pub fn next_to_make(&mut self) -> Option<(u32, u32)> {
        let wanted = self.spare + self.waiting.len();
        let at_once = STEADY.max(self.waiting.len());
        if self.ready.len() + self.making >= wanted || self.making >= at_once {
            return None;
        }
        let index = self.free.pop_front()?;
        let counter = self.next_counter;
        self.next_counter = self.next_counter.checked_add(1)?;
        self.making += 1;
        Some((index, counter))
    }

    /// Whether what is ready will do for a while.
    #[must_use]
    pub fn has_plenty(&self) -> bool {
        self.waiting.is_empty() && self.ready.len() * 2 >= self.spare
    }

    /// A slot was made.
    pub fn made(&mut self, ready: Ready) {
        self.making -= 1;
        self.ready.push_back(ready);
    }

    /// A slot could not be made; its index comes last again.
    pub fn not_made(&mut self, index: u32) {
        self.making -= 1;
        self.free.push_back(index);
    }

    /// A ready slot.
    pub fn pop(&mut self) -> Option<Ready> {
        self.ready.pop_front()
    }

    /// Remembers that request `seq` waits for a slot for `sandbox`; false when there will be none.
    pub fn wait(&mut self, seq: u64, sandbox: &SandboxId) -> bool {
        let cooling = usize::try_from(self.cooling).unwrap_or(0);
        let coming = self.free.len() + self.making + self.ready.len() + cooling;
        if coming <= self.waiting.len() {
            return false;
        }
        self.waiting
            .push_back((seq, sandbox.clone(), Instant::now()));
        true
    }

    /// The request that has waited longest.
    pub fn next_waiting(&mut self) -> Option<(u64, SandboxId)> {
        self.waiting
            .pop_front()
            .map(|(seq, sandbox, _)| (seq, sandbox))
    }

    /// The request that has waited longest, if it came before `then`: what it hoped for is not coming.
    pub fn next_overdue(&mut self, then: Instant) -> Option<u64> {
        let overdue = self
            .waiting
            .front()
            .is_some_and(|(_, _, since)| *since < then);
        overdue
            .then(|| self.waiting.pop_front())?
            .map(|(seq, _, _)| seq)
    }

    /// Whether anybody waits.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether a request can be served now.
    #[must_use]
    pub fn can_serve(&self) -> bool {
        !self.waiting.is_empty() && !self.ready.is_empty()
    }

    /// An index was given up; its last owner's flows are still there.
    pub fn cool(&mut self) {
        self.cooling += 1;
    }

    /// An index that was cooling, or never got an owner's rules, is free.
    pub fn cooled(&mut self, index: u32) {
        self.cooling = self.cooling.saturating_sub(1);
        self.free.push_back(index);
    }

    /// Slots in all, ready, and in the making.
    #[must_use]
    pub fn counts(&self) -> (u32, u32, usize) {
        let ready = u32::try_from(self.ready.len()).unwrap_or(u32::MAX);
        (self.total, ready, self.making)
    }

    /// The next counter that will be used.
    #[must_use]
    pub fn counter(&self) -> u32 {
        self.next_counter
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ready(index: u32, counter: u32) -> Ready {
        let null = || std::fs::File::open("/dev/null").expect("there").into();
        let fds = (0..Space::DESCRIPTORS).map(|_| null()).collect();
        Ready {
            slot: SlotRecord {
                index,
                counter,
                identity: 1,
            },
            space: Space::received(fds).expect("as many as there are"),
        }
    }

    fn id() -> SandboxId {
        SandboxId::from_random(&[1; 20])
    }

    #[test]
    fn an_empty_pool_makes_one_on_the_spot_and_a_full_one_refuses() {
        let mut pool = Pool::new(1, 0, 0, &[]);
        assert_eq!(pool.next_to_make(), None, "nobody wants one");
        assert!(pool.has_plenty());
        assert!(pool.wait(1, &id()));
        assert!(!pool.wait(2, &id()), "there is only one");
        let (index, counter) = pool.next_to_make().expect("wanted");
        pool.made(ready(index, counter));
        assert!(pool.can_serve());
        assert_eq!(pool.next_waiting().expect("the first").0, 1);
        assert!(pool.pop().is_some());
        assert!(!pool.wait(3, &id()), "taken");
        pool.cool();
        assert!(pool.wait(4, &id()), "it will be free");
        assert_eq!(pool.next_to_make(), None, "it is not yet");
        pool.cooled(index);
        assert_eq!(pool.next_to_make(), Some((index, counter + 1)));
    }

    #[test]
    fn the_last_ready_slot_is_given_out() {
        let mut pool = Pool::new(1, 1, 0, &[]);
        let (index, counter) = pool.next_to_make().expect("one ahead");
        pool.made(ready(index, counter));
        assert!(pool.wait(1, &id()) && pool.can_serve());
    }

    proptest! {
        #[test]
        fn no_index_is_in_two_places_and_no_counter_comes_twice(
            steps in proptest::collection::vec(0_u8..6, 0..200), total in 1_u32..6, spare in 0_u32..6,
        ) {
            let mut pool = Pool::new(total, spare, 10, &[]);
            let mut making: Vec<(u32, u32)> = Vec::new();
            let (mut taken, mut cooling) = (Vec::new(), Vec::new());
            let mut counters = BTreeSet::new();
            for step in steps {
                match step {
                    0 => if let Some(new) = pool.next_to_make() {
                        prop_assert!(counters.insert(new.1));
                        making.push(new);
                    },
                    1 => if let Some((index, counter)) = making.pop() {
                        pool.made(ready(index, counter));
                    },
                    2 => if let Some((index, _)) = making.pop() {
                        pool.not_made(index);
                    },
                    3 => { pool.wait(0, &id()); }
                    4 => if pool.can_serve() {
                        pool.next_waiting();
                        taken.extend(pool.pop());
                    },
                    _ => if let Some(Ready { slot, .. }) = taken.pop() {
                        if cooling.len() < 2 {
                            pool.cool();
                            cooling.push(slot.index);
                        } else {
                            pool.cool();
                            pool.cooled(slot.index);
                        }
                    },
                }
                let mut all: Vec<u32> = pool.free.iter().copied().collect();
                all.extend(making.iter().map(|(index, _)| *index));
                all.extend(pool.ready.iter().chain(&taken).map(|r| r.slot.index));
                all.extend(&cooling);
                all.sort_unstable();
                prop_assert_eq!(all, (0..total).collect::<Vec<_>>());
            }
        }
    }
}
