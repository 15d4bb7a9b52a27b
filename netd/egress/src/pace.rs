//! How fast a sandbox may have sockets made: netd makes them for all, one after the other, and no more than so many.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One every so often, and as many at once as fall due in two seconds. Less than netd allows, so that a sandbox
/// waits here and not in vain there.
const EVERY: Duration = Duration::from_micros(2500);
const AT_ONCE: Duration = Duration::from_secs(2);

/// When the next one is due.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<Instant>);

impl Default for Pace {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Pace {
    /// Waits until it is this one's turn. How many wait is bounded by the flows that a sandbox may have.
    pub(crate) async fn turn(&self) {
        let due = {
            let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let idle = now.checked_sub(AT_ONCE).unwrap_or(now);
            *next = (*next).max(idle) + EVERY;
            *next
        };
        tokio::time::sleep_until(due).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn some_at_once_and_then_one_by_one() {
        let pace = Pace::default();
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..800 {
            pace.turn().await;
        }
        assert!(start.elapsed() <= EVERY * 2, "{:?}", start.elapsed());
        for _ in 0..100 {
            pace.turn().await;
        }
        assert!(start.elapsed() >= EVERY * 99, "{:?}", start.elapsed());
    }
}
