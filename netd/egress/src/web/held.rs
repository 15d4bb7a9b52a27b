//! How many bytes of connections this process holds: beginnings that are not judged yet, heads that are not whole, and
//! what one side sent and the other has not taken. Counted for each sandbox, so that none takes what others need.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::io::CHUNK;

/// What all may hold together. A sandbox may hold more while as much as it holds is free, so one that takes all it can
/// gets half of it; beyond that each of its connections has [`LITTLE`].
const MUCH: usize = 256 << 20;
/// What one connection is left then: of a beginning, of a head, of what its peer does not take.
const LITTLE: usize = 4 * 1024;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// What the connections of one sandbox hold.
#[derive(Debug, Default)]
pub(crate) struct Share(AtomicUsize);

impl Share {
    /// Whether it is too much, for how much all together hold.
    fn is_much(&self) -> bool {
        let free = MUCH.saturating_sub(HELD.load(Ordering::Relaxed));
        self.0.load(Ordering::Relaxed) > free
    }

    /// How many bytes may be read at once.
    pub(super) fn most(&self) -> usize {
        if self.is_much() { LITTLE } else { CHUNK }
    }
}

/// Bytes that a connection holds; no more when it is dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    share: &'a Share,
    bytes: usize,
}

impl<'a> Held<'a> {
    /// So many.
    pub(super) fn new(share: &'a Share, bytes: usize) -> Self {
        let mut held = Self { share, bytes: 0 };
        held.set(bytes);
        held
    }

    /// So many from now on.
    pub(super) fn set(&mut self, bytes: usize) {
        for sum in [&HELD, &self.share.0] {
            sum.fetch_add(bytes, Ordering::Relaxed);
            sum.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// Whether it is too much, for how much its sandbox and all together hold.
    pub(super) fn is_too_much(&self) -> bool {
        self.bytes > LITTLE && self.share.is_much()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_that_holds_all_it_can_leaves_others_theirs() {
        let (greedy, modest) = (Share::default(), Share::default());
        let mut all = Held::new(&greedy, MUCH / 2 - LITTLE);
        assert_eq!(greedy.most(), CHUNK);
        all.set(MUCH / 2 + LITTLE);
        assert!(greedy.most() == LITTLE && all.is_too_much());
        assert!(
            !Held::new(&greedy, 0).is_too_much(),
            "a little is for everyone"
        );
        let other = Held::new(&modest, 16 * LITTLE);
        assert!(modest.most() == CHUNK && !other.is_too_much());
        drop((all, other));
        assert_eq!((greedy.most(), modest.most()), (CHUNK, CHUNK));
        assert_eq!(greedy.0.load(Ordering::Relaxed), 0);
    }
}
