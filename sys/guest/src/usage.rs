//! What the sandbox uses.

use std::time::Duration;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::{memory, processors};

#[cfg(not(target_os = "linux"))]
mod freebsd;
#[cfg(not(target_os = "linux"))]
pub(crate) use freebsd::begin;
#[cfg(not(target_os = "linux"))]
pub use freebsd::{memory, processors};

/// In bytes; zeroes where the system does not say.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Memory {
    /// The most there can be.
    pub total: u64,
    /// In use, without the cache.
    pub used: u64,
    /// Held for files, and given up when there is need of it.
    pub cache: u64,
}

/// Time of processors since some moment that stays the same.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Processors {
    /// All there was.
    pub all: Duration,
    /// Of that, in which something ran.
    pub busy: Duration,
}

impl Processors {
    /// Percent of all between two moments, with two digits.
    #[must_use]
    pub fn percent_since(&self, before: &Self) -> f64 {
        let all = self.all.saturating_sub(before.all).as_secs_f64();
        if all <= 0.0 {
            return 0.0;
        }
        let busy = self.busy.saturating_sub(before.busy).as_secs_f64();
        (busy * 10_000.0 / all).round().min(10_000.0) / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_of_what_was_there_in_between() {
        let at = |all, busy| Processors {
            all: Duration::from_secs(all),
            busy: Duration::from_secs(busy),
        };
        let close = |found: f64, want: f64| assert!((found - want).abs() < 0.001, "{found}");
        close(at(10, 5).percent_since(&at(0, 0)), 50.0);
        close(at(13, 6).percent_since(&at(10, 5)), 33.33);
        close(at(10, 5).percent_since(&at(10, 5)), 0.0);
        // Rounding of the kernel's may tell more than there can be.
        close(at(2, 3).percent_since(&at(1, 0)), 100.0);
        close(at(2, 0).percent_since(&at(1, 1)), 0.0);
    }

    #[test]
    fn work_shows() {
        let (before, memory) = (processors(), memory());
        assert!(memory.used > 0 && memory.used <= memory.total, "{memory:?}");
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_millis(60) {
            std::hint::spin_loop();
        }
        let now = processors();
        assert!(now.all > before.all, "{before:?} {now:?}");
        assert!(now.busy > before.busy, "{before:?} {now:?}");
    }
}
