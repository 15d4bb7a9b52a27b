//! In which order the processes of a cell are stopped and let go on.
//!
//! A parent that runs is told when a child of its stops (wait(2)): a shell takes its job for stopped by the
//! user. So parents stop before their children and go on after them; by then the children have gone on.

use std::collections::{BTreeMap, BTreeSet};

/// A process, as far as this matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// When it started: a number alone may be another's by now.
    pub started: u64,
    /// Whether it stands still.
    pub still: bool,
    /// Whether a signal has told it to: it may not yet have come that far.
    pub told: bool,
}

/// What is known of a cell that is being stopped, or has been.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Those that its own users had stopped before.
    own: Option<BTreeSet<(u32, u64)>>,
}

impl Held {
    /// Whom to stop now; nobody when every one stands still. To be asked again until then: what was forked
    /// meanwhile is found by the next round.
    pub fn to_stop(&mut self, seen: &[Seen]) -> Vec<Seen> {
        self.own.get_or_insert_with(|| stopped_by_themselves(seen));
        let mut run: Vec<Seen> = parents_first(seen);
        run.retain(|process| !process.still);
        run
    }

    /// Whom to let go on, in this order. Those that the cell's own users had stopped stay so, as long as this is
    /// the process that stopped the others.
    #[must_use]
    pub fn to_continue(&self, seen: &[Seen]) -> Vec<Seen> {
        let own = |p: &Seen| {
            self.own
                .as_ref()
                .is_some_and(|own| own.contains(&(p.pid, p.started)))
        };
        let mut order = parents_first(seen);
        order.retain(|process| !own(process));
        order.reverse();
        order
    }
}

/// Those that stand still before anybody else's doing, or are about to. Nobody, where the first process does: that is
/// a cell which an earlier daemon stopped.
fn stopped_by_themselves(seen: &[Seen]) -> BTreeSet<(u32, u64)> {
    let first = seen.iter().min_by_key(|p| p.started);
    if first.is_some_and(|first| first.still || first.told) {
        return BTreeSet::new();
    }
    let stopped = seen.iter().filter(|p| p.still || p.told);
    stopped.map(|p| (p.pid, p.started)).collect()
}

/// Sorted by how many of its ancestors are among them.
fn parents_first(seen: &[Seen]) -> Vec<Seen> {
    let parents: BTreeMap<u32, u32> = seen.iter().map(|p| (p.pid, p.parent)).collect();
    let depth = |mut pid: u32| {
        let mut depth = 0;
        while let Some(parent) = parents.get(&pid).filter(|_| depth <= seen.len()) {
            pid = *parent;
            depth += 1;
        }
        depth
    };
    let mut order = seen.to_vec();
    order.sort_by_key(|process| depth(process.pid));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, still: bool) -> Seen {
        Seen {
            pid,
            parent,
            started: u64::from(pid) * 10,
            still,
            told: still,
        }
    }

    fn pids(list: &[Seen]) -> Vec<u32> {
        list.iter().map(|p| p.pid).collect()
    }

    #[test]
    fn parents_stop_first_and_go_on_last() {
        let mut held = Held::default();
        let running = [
            process(40, 30, false),
            process(20, 1, false),
            process(30, 20, false),
            process(35, 20, false),
        ];
        assert_eq!(pids(&held.to_stop(&running)), [20, 30, 35, 40]);
        let stopped = running.map(|p| Seen { still: true, ..p });
        assert!(held.to_stop(&stopped).is_empty());
        assert_eq!(pids(&held.to_continue(&stopped)), [40, 35, 30, 20]);
    }

    #[test]
    fn a_fork_in_between_is_found() {
        let mut held = Held::default();
        held.to_stop(&[process(20, 1, false)]);
        let later = [process(20, 1, true), process(50, 20, false)];
        assert_eq!(pids(&held.to_stop(&later)), [50]);
        let all = later.map(|p| Seen { still: true, ..p });
        assert!(held.to_stop(&all).is_empty());
        // It was not stopped by the cell's own users, so it goes on too.
        assert_eq!(pids(&held.to_continue(&all)), [50, 20]);
    }

    #[test]
    fn what_the_user_stopped_stays_stopped() {
        let mut held = Held::default();
        let before = [process(20, 1, false), process(30, 20, true)];
        assert_eq!(pids(&held.to_stop(&before)), [20]);
        let after = before.map(|p| Seen { still: true, ..p });
        assert_eq!(pids(&held.to_continue(&after)), [20]);
        // Another process by now, of the same number.
        let mut reused = after;
        reused[1].started += 1;
        assert_eq!(pids(&held.to_continue(&reused)), [30, 20]);
        // The next daemon knows nothing of it.
        assert_eq!(pids(&Held::default().to_continue(&after)), [30, 20]);
    }

    #[test]
    fn what_the_user_has_just_told_to_stop_stays_stopped() {
        let mut held = Held::default();
        let mut told = process(30, 20, false);
        told.told = true;
        // It runs, so it is waited for.
        assert_eq!(
            pids(&held.to_stop(&[process(20, 1, false), told])),
            [20, 30]
        );
        told.still = true;
        assert_eq!(pids(&held.to_continue(&[process(20, 1, true), told])), [20]);
    }

    #[test]
    fn a_cell_that_was_found_stopped_goes_on_as_a_whole() {
        let mut held = Held::default();
        let found = [process(20, 1, true), process(30, 20, true)];
        assert!(held.to_stop(&found).is_empty());
        assert_eq!(pids(&held.to_continue(&found)), [30, 20]);
        // Or that it was stopping: its first process has been told, and waits for something first.
        let mut stopping = found;
        stopping[0].still = false;
        let mut held = Held::default();
        assert_eq!(pids(&held.to_stop(&stopping)), [20]);
        assert_eq!(pids(&held.to_continue(&found)), [30, 20]);
    }

    #[test]
    fn a_circle_ends() {
        let mut held = Held::default();
        let circle = [
            process(1, 2, false),
            process(2, 1, false),
            process(3, 3, false),
        ];
        assert_eq!(held.to_stop(&circle).len(), 3);
    }
}
