//! How often: a bucket of tokens that fills with time.

/// Starts full; each use takes one token.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    burst: u64,
    per_second: u64,
    /// In thousandths of a token.
    level: u64,
    then: Option<u64>,
}

impl Bucket {
    /// `burst` at once, `per_second` on average.
    #[must_use]
    pub(crate) fn new(burst: u32, per_second: u32) -> Self {
        let burst = u64::from(burst) * 1000;
        Self {
            burst,
            per_second: u64::from(per_second),
            level: burst,
            then: None,
        }
    }

    /// Takes a token at `mono` milliseconds; false when there is none.
    pub(crate) fn take(&mut self, mono: u64) -> bool {
        let passed = mono.saturating_sub(self.then.unwrap_or(mono));
        self.then = Some(mono);
        self.level = self.burst.min(
            self.level
                .saturating_add(passed.saturating_mul(self.per_second)),
        );
        match self.level.checked_sub(1000) {
            Some(level) => {
                self.level = level;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let mut bucket = Bucket::new(2, 10);
        assert!(bucket.take(0) && bucket.take(0) && !bucket.take(0));
        assert!(!bucket.take(99) && bucket.take(101) && !bucket.take(101));
        assert!(bucket.take(u64::MAX) && bucket.take(u64::MAX) && !bucket.take(u64::MAX));
    }
}
