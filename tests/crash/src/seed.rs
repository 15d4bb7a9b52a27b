//! Random choices that can be made again: the seed is printed, `CRASH_SEED` repeats a run's choices.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A small generator (SplitMix64). Not for secrets.
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Seed {
    /// From `CRASH_SEED`, else from the clock.
    #[must_use]
    pub fn from_environment() -> Self {
        let given = std::env::var("CRASH_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // Short enough to be typed.
        Self(given.unwrap_or(u64::from(now.subsec_nanos()) ^ (now.as_secs() & 0xffff_ffff)))
    }

    /// A generator from a known seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// What `CRASH_SEED` has to be for the choices that follow.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A pause shorter than `most`, to the microsecond.
    pub fn pause(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(most))
    }

    /// The items in an order of its choice.
    pub fn shuffled<T: Clone>(&mut self, items: &[T]) -> Vec<T> {
        let mut items = items.to_vec();
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).unwrap_or(0);
            items.swap(last, other);
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use super::Seed;

    #[test]
    fn a_seed_repeats_its_choices() {
        let choices = |seed| {
            let mut seed = Seed::new(seed);
            (0..20).map(|_| seed.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
        let mut shuffled = Seed::new(7).shuffled(&[1, 2, 3, 4]);
        shuffled.sort_unstable();
        assert_eq!(shuffled, [1, 2, 3, 4]);
    }
}
