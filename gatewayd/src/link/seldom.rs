//! What would otherwise be said with each request.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often at most.
const EVERY: Duration = Duration::from_secs(60);

/// Whether a line of the log is worth it again.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// True for the first who asks, and once a minute at most afterwards.
    pub(crate) fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_due_once_a_minute() {
        let seldom = Seldom::default();
        for _ in 0..3 {
            assert!(seldom.is_due());
            assert!(!seldom.is_due());
            tokio::time::advance(EVERY - Duration::from_millis(1)).await;
            assert!(!seldom.is_due());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }
}
