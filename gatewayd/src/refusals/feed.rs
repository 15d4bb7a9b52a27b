//! Refusals for those who follow the events: the last ones of all sandboxes, numbered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;
use warder_wire::SandboxId;

use super::Entry;
use crate::clock::Micros;
use crate::limits;

/// What is told.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// Something of this sandbox was refused; so many before it were not told.
    Refused(SandboxId, Box<Entry>, u64),
    /// egressd could not tell so many.
    Dropped(Micros, u64),
}

/// One line, with its number: 1, 2, 3 and so on since this process began.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) told: Told,
}

impl Line {
    /// Whether it is of this sandbox, or of none.
    pub(crate) fn concerns(&self, only: Option<&SandboxId>) -> bool {
        match &self.told {
            Told::Refused(sandbox, ..) => only.is_none_or(|id| id == sandbox),
            Told::Dropped(..) => only.is_none(),
        }
    }

    /// In the form of the other events.
    pub(crate) fn view(&self) -> Value {
        match &self.told {
            Told::Refused(sandbox, entry, untold) => json!({
                "type": "sandbox.network.refused",
                "networkSequence": self.number,
                "sandboxId": sandbox,
                "timestamp": entry.last,
                "eventData": entry.view(),
                "untold": untold,
            }),
            Told::Dropped(at, count) => json!({
                "type": "warder.network.dropped",
                "networkSequence": self.number,
                "timestamp": at,
                "count": count,
            }),
        }
    }
}

/// The lines.
#[derive(Debug)]
pub(crate) struct Feed {
    kept: Mutex<(VecDeque<Line>, u64)>,
    newest: watch::Sender<u64>,
    refused: AtomicU64,
    dropped: AtomicU64,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            newest: watch::Sender::new(0),
            refused: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<Line>, u64)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was refused. `tell` as [`super::RefusalLog::add`] has it.
    pub(super) fn add(&self, sandbox: &SandboxId, entry: Entry, tell: Option<u64>) {
        self.refused.fetch_add(entry.times(), Ordering::Relaxed);
        if let Some(untold) = tell {
            self.push(Told::Refused(sandbox.clone(), Box::new(entry), untold));
        }
    }

    /// egressd could not tell so many.
    pub(super) fn dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
        self.push(Told::Dropped(Micros::now(), count));
    }

    fn push(&self, told: Told) {
        let mut kept = self.lock();
        let (lines, last) = &mut *kept;
        *last += 1;
        if lines.len() >= limits::REFUSALS_TOLD {
            lines.pop_front();
        }
        let number = *last;
        lines.push_back(Line { number, told });
        drop(kept);
        self.newest.send_replace(number);
    }

    /// The number of the newest line, and its changes.
    pub(crate) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Lines with greater numbers than `cursor`, oldest first, at most so many.
    pub(crate) fn after(&self, cursor: u64, most: usize) -> Vec<Line> {
        let kept = self.lock();
        let from = kept.0.partition_point(|line| line.number <= cursor);
        kept.0.range(from..).take(most).cloned().collect()
    }

    /// How much was refused since this process began, and how much more egressd could not tell.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.refused), of(&self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::tests::entry;
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_counted() {
        let feed = Feed::default();
        let id = SandboxId::from_random(&[1; 20]);
        for port in 1..=2 * limits::REFUSALS_TOLD {
            feed.add(&id, entry(1, port as u16, None), Some(0));
        }
        feed.add(&id, entry(1, 1, None), None);
        feed.dropped(5);
        let last = 2 * limits::REFUSALS_TOLD as u64 + 1;
        assert_eq!(*feed.newest().borrow(), last);
        let all = feed.after(0, usize::MAX);
        assert_eq!(
            (all.len(), all[0].number),
            (limits::REFUSALS_TOLD, last - all.len() as u64 + 1)
        );
        assert_eq!(feed.after(last - 1, 9).len(), 1);
        assert_eq!(feed.counts(), (2 * last, 5));
        assert!(
            all[0].concerns(Some(&id)) && !all[0].concerns(Some(&SandboxId::from_random(&[2; 20])))
        );
        assert_eq!(all.last().expect("some").view()["count"], 5);
    }
}
