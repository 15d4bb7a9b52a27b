//! What recent operations came to, so that one asked again is answered and not done again.

use std::collections::{HashMap, VecDeque};

use warder_wire::gateway_plugin::{Answer, Ask};
use warder_wire::{Fault, OpId, SandboxId};

/// How many are remembered.
const REMEMBERED: usize = 1024;

/// What makes two requests the same, beside their operation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Subject {
    what: &'static str,
    sandbox: SandboxId,
}

/// The operation of a request that has one.
pub(crate) fn operation(ask: &Ask) -> Option<(OpId, Subject)> {
    let (op, what, sandbox) = match ask {
        Ask::Create { op, sandbox, .. } => (op, "create", sandbox),
        Ask::Destroy { op, sandbox, .. } => (op, "destroy", sandbox),
        Ask::Pause { op, sandbox, .. } => (op, "pause", sandbox),
        Ask::Resume { op, sandbox, .. } => (op, "resume", sandbox),
        Ask::Snapshot { op, sandbox, .. } => (op, "snapshot", sandbox),
        Ask::Describe | Ask::Stats { .. } => return None,
    };
    let sandbox = sandbox.clone();
    Some((*op, Subject { what, sandbox }))
}

/// The memory.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    results: HashMap<OpId, (Subject, Result<Answer, Fault>)>,
    order: VecDeque<OpId>,
}

impl Recent {
    pub(crate) fn get(&self, op: OpId) -> Option<&(Subject, Result<Answer, Fault>)> {
        self.results.get(&op)
    }

    pub(crate) fn remember(&mut self, op: OpId, subject: Subject, result: Result<Answer, Fault>) {
        if self.results.insert(op, (subject, result)).is_none() {
            self.order.push_back(op);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.results.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_keeps_the_newest() {
        let mut recent = Recent::default();
        let subject = Subject {
            what: "destroy",
            sandbox: SandboxId::from_random(&[1; 20]),
        };
        for n in 0..3000_u32 {
            let mut op = [0; 16];
            op[..4].copy_from_slice(&n.to_le_bytes());
            recent.remember(OpId(op), subject.clone(), Ok(Answer::Done));
        }
        assert_eq!(recent.results.len(), REMEMBERED);
        assert!(recent.get(OpId([0; 16])).is_none());
        let mut last = [0; 16];
        last[..4].copy_from_slice(&2999_u32.to_le_bytes());
        assert!(recent.get(OpId(last)).is_some());
    }
}
