//! Id ranges of sandboxes, and user namespaces made ahead for the next ones.
//!
//! A range is given again only when no process and no kernel object of its last sandbox is left, and
//! each cell gets a namespace of its own: keyrings and per-namespace limits pass to no next tenant.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use warder_host::cell::UserNamespace;

use crate::claim::Claim;

/// The ranges of an instance.
#[derive(Debug)]
pub(crate) struct Ranges {
    claim: Claim,
    free: VecDeque<u32>,
    ready: BTreeMap<u32, UserNamespace>,
    ahead: usize,
}

impl Ranges {
    /// `count` ranges, those in `taken` in use; `ahead` namespaces are kept ready.
    #[must_use]
    pub(crate) fn new(claim: Claim, count: u32, taken: &BTreeSet<u32>, ahead: usize) -> Self {
        let free = (0..count).filter(|n| !taken.contains(n)).collect();
        Self {
            claim,
            free,
            ready: BTreeMap::new(),
            ahead,
        }
    }

    /// How many are free.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes the range that has been free longest.
    pub(crate) fn take(&mut self) -> Option<u32> {
        self.free.pop_front()
    }

    /// Gives a range back.
    pub(crate) fn put(&mut self, range: u32) {
        self.ready.remove(&range);
        self.free.push_back(range);
    }

    /// A namespace for a range that was taken: the one made ahead, or a new one.
    ///
    /// # Errors
    /// From the system layer.
    pub(crate) fn namespace(&mut self, range: u32) -> warder_host::Result<UserNamespace> {
        match self.ready.remove(&range) {
            Some(made) => Ok(made),
            None => UserNamespace::new(self.claim.range(range)),
        }
    }

    /// Whether there is something to make ahead.
    #[must_use]
    pub(crate) fn wants_more(&self) -> bool {
        self.next_to_make().is_some()
    }

    /// Makes one namespace ahead. After an error no more are made ahead: each cell then makes its own
    /// and reports what is wrong.
    ///
    /// # Errors
    /// From the system layer.
    pub(crate) fn make_one(&mut self) -> warder_host::Result<()> {
        if let Some(range) = self.next_to_make() {
            match UserNamespace::new(self.claim.range(range)) {
                Ok(made) => {
                    self.ready.insert(range, made);
                }
                Err(e) => {
                    self.ahead = 0;
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    fn next_to_make(&self) -> Option<u32> {
        self.free
            .iter()
            .take(self.ahead)
            .copied()
            .find(|range| !self.ready.contains_key(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_come_back_last() {
        let mut ranges = Ranges::new(Claim { instance: 0 }, 3, &BTreeSet::from([1]), 0);
        let first = ranges.take().expect("free");
        assert_eq!(first, 0);
        ranges.put(first);
        assert_eq!(
            (ranges.take(), ranges.take(), ranges.take()),
            (Some(2), Some(0), None)
        );
    }
}
