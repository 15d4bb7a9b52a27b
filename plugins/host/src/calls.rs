//! The calls under way: who waits for them, until when, and what becomes of one that is late.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use warder_wire::{OpId, SandboxId};

use crate::recent::Subject;

/// How long after its deadline a call may go on: the plugin undoes what it did meanwhile. Then it hangs.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// Most that may wait for one operation.
const WAITERS: usize = 16;

/// Where an answer goes: which of the gateway's channels, and its number there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Waiter {
    pub(crate) channel: u64,
    pub(crate) seq: u64,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) operation: Option<(OpId, Subject)>,
    pub(crate) what: String,
    pub(crate) waiters: Vec<Waiter>,
    deadline: Instant,
    late: bool,
}

/// What has to be done about a call now.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Due {
    /// Tell its waiters that it timed out.
    Late(u64, Vec<Waiter>),
    /// It hangs; its name.
    Hangs(String),
}

/// The calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    live: HashMap<u64, Live>,
    next: u64,
}

impl Calls {
    /// Notes a new call; its number.
    pub(crate) fn begin(
        &mut self,
        operation: Option<(OpId, Subject)>,
        what: &str,
        sandbox: Option<&SandboxId>,
        waiter: Option<Waiter>,
        deadline: Instant,
    ) -> u64 {
        let id = self.next;
        self.next += 1;
        let what = sandbox.map_or_else(|| what.to_owned(), |id| format!("{what} of {id}"));
        let live = Live {
            operation,
            what,
            waiters: waiter.into_iter().collect(),
            deadline,
            late: false,
        };
        self.live.insert(id, live);
        id
    }

    /// The call of an operation that is under way.
    pub(crate) fn of_operation(&mut self, op: OpId) -> Option<&mut Live> {
        let matching = |live: &&mut Live| live.operation.as_ref().is_some_and(|(o, _)| *o == op);
        self.live.values_mut().find(matching)
    }

    /// The call has ended.
    pub(crate) fn end(&mut self, id: u64) -> Option<Live> {
        self.live.remove(&id)
    }

    /// When [`Self::due`] has something to say next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.live.values().map(Live::due).min()
    }

    /// What is due. A call is late once.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Due> {
        let mut list = Vec::new();
        for (id, live) in &mut self.live {
            if live.due() > now {
                continue;
            }
            if live.late {
                list.push(Due::Hangs(live.what.clone()));
            } else {
                live.late = true;
                list.push(Due::Late(*id, std::mem::take(&mut live.waiters)));
            }
        }
        list
    }
}

impl Live {
    fn due(&self) -> Instant {
        if self.late {
            self.deadline + GRACE
        } else {
            self.deadline
        }
    }

    /// Somebody else waits for it too; false when too many do.
    pub(crate) fn join(&mut self, waiter: Waiter) -> bool {
        let room = self.waiters.len() < WAITERS;
        if room {
            self.waiters.push(waiter);
        }
        room
    }

    /// Whether it is over its deadline.
    pub(crate) fn is_late(&self) -> bool {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_late_once_and_hangs_after_the_grace() {
        let mut calls = Calls::default();
        let start = Instant::now();
        let waiter = Waiter { channel: 1, seq: 2 };
        let id = calls.begin(None, "stats", None, Some(waiter), start);
        assert_eq!(calls.due(start), [Due::Late(id, vec![waiter])]);
        assert_eq!(calls.due(start), []);
        assert_eq!(calls.next_due(), Some(start + GRACE));
        assert_eq!(calls.due(start + GRACE), [Due::Hangs("stats".into())]);
        assert!(calls.end(id).is_some());
        assert_eq!(calls.next_due(), None);
    }
}
