//! How many bytes of connections this process holds: beginnings that are not judged yet, and what one side sent and
//! the other has not taken.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::io::CHUNK;

/// More than this, and no connection may hold more than [`LITTLE`] of what its peer does not take, or of a
/// beginning.
const MUCH: usize = 256 << 20;
/// What one is left then.
const LITTLE: usize = 4 * 1024;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// Bytes that are held; no more when it is dropped.
#[derive(Debug)]
pub(super) struct Held(usize);

impl Held {
    /// So many.
    pub(super) fn new(bytes: usize) -> Self {
        HELD.fetch_add(bytes, Ordering::Relaxed);
        Self(bytes)
    }

    /// So many more.
    pub(super) fn add(&mut self, bytes: usize) {
        HELD.fetch_add(bytes, Ordering::Relaxed);
        self.0 += bytes;
    }

    /// Whether it is too much for how much all together hold.
    pub(super) fn is_too_much(&self) -> bool {
        much() && self.0 > LITTLE
    }
}

fn much() -> bool {
    HELD.load(Ordering::Relaxed) > MUCH
}

/// How many bytes may be read at once.
pub(super) fn most() -> usize {
    if much() { LITTLE } else { CHUNK }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_not_held() {
        let before = HELD.load(Ordering::Relaxed);
        let (mut held, mut other) = (Held::new(MUCH), Held::new(0));
        assert_eq!(most(), CHUNK);
        held.add(LITTLE);
        other.add(LITTLE);
        assert_eq!(most(), LITTLE);
        assert!(held.is_too_much() && !other.is_too_much());
        drop((held, other));
        assert_eq!((HELD.load(Ordering::Relaxed), most()), (before, CHUNK));
    }
}
