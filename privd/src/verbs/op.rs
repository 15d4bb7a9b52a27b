//! Operations that may be asked twice and are done once.

use warder_wire::plugin_priv::Answer;
use warder_wire::{Fault, FaultCode, OpId, SandboxId};

use crate::privd::{Op, OpState, Privd, fault};
use crate::supervise::{ReplyTo, Role};
use crate::table::Verb;

/// Operations, and waiters for one end, remembered for each sandbox; a create and a destroy take four operations.
pub(super) const REMEMBERED: usize = 16;

impl Privd {
    /// Whether this operation was asked before, by this backend. If so it is answered as it was or
    /// will be.
    pub(crate) fn known_op(
        &mut self,
        to: &ReplyTo,
        sandbox: &SandboxId,
        verb: Verb,
        op: OpId,
    ) -> bool {
        if self
            .owner_of(sandbox)
            .is_none_or(|owner| to.role != Role::Plugin(owner))
        {
            return false;
        }
        let verb = verb.of_cells();
        let Some(known) = self
            .live
            .get_mut(sandbox)
            .and_then(|l| l.ops.iter_mut().find(|o| o.verb == verb && o.op == op))
        else {
            return false;
        };
        match &mut known.state {
            OpState::Running(waiters) => {
                waiters.push(*to);
                // One that asks without end waits once for each of its last few requests.
                if waiters.len() > REMEMBERED {
                    waiters.remove(0);
                }
            }
            OpState::Done(result) => {
                let result = result.clone();
                self.answer_plugin(to, result);
            }
        }
        true
    }

    /// An operation begins; it is answered by [`Self::finish_op`].
    pub(crate) fn begin_op(&mut self, to: ReplyTo, sandbox: &SandboxId, verb: Verb, op: OpId) {
        let ops = &mut self.live.entry(sandbox.clone()).or_default().ops;
        if ops.len() >= REMEMBERED {
            // Where none is done, somebody asks without end: the oldest is not answered.
            let done = ops.iter().position(|o| matches!(o.state, OpState::Done(_)));
            ops.remove(done.unwrap_or(0));
        }
        ops.push(Op {
            verb,
            op,
            state: OpState::Running(vec![to]),
        });
    }

    /// An operation has ended.
    pub(crate) fn finish_op(
        &mut self,
        sandbox: &SandboxId,
        verb: Verb,
        op: OpId,
        result: Result<Answer, Fault>,
    ) {
        let Some(known) = self
            .live
            .get_mut(sandbox)
            .and_then(|l| l.ops.iter_mut().find(|o| o.verb == verb && o.op == op))
        else {
            return;
        };
        if let OpState::Running(waiters) =
            std::mem::replace(&mut known.state, OpState::Done(result.clone()))
        {
            for to in waiters {
                self.answer_plugin(&to, result.clone());
            }
        }
    }

    /// Ends every operation of one kind that still runs.
    pub(crate) fn finish_ops(
        &mut self,
        sandbox: &SandboxId,
        verb: Verb,
        result: &Result<Answer, Fault>,
    ) {
        let running = |o: &&Op| o.verb == verb && matches!(o.state, OpState::Running(_));
        let ops: Vec<OpId> = self
            .live
            .get(sandbox)
            .map(|l| l.ops.iter().filter(running).map(|o| o.op).collect())
            .unwrap_or_default();
        for op in ops {
            self.finish_op(sandbox, verb, op, result.clone());
        }
    }

    /// The sandbox is gone: whoever still waits for an operation on it is told.
    pub(crate) fn abandon_ops(&mut self, ops: Vec<Op>) {
        for op in ops {
            if let OpState::Running(waiters) = op.state {
                for to in waiters {
                    self.answer_plugin(
                        &to,
                        fault(FaultCode::Conflict, "the sandbox was removed meanwhile"),
                    );
                }
            }
        }
    }
}
