//! Storage: a writable root cloned from a template, and its way into the trash.

use warder_wire::plugin_priv::Answer;
use warder_wire::{Fault, FaultCode, OpId, SandboxId, TemplateName};

use crate::ledger::{Part, Record};
use crate::privd::{Privd, host_fault};
use crate::supervise::{ReplyTo, chain};
use crate::table::Verb;

impl Privd {
    /// `StorageClone`.
    pub(crate) fn storage_clone(
        &mut self,
        to: ReplyTo,
        op: OpId,
        sandbox: &SandboxId,
        template: &TemplateName,
    ) {
        self.begin_op(to, sandbox, Verb::StorageClone, op);
        let result = self.try_clone(op, sandbox, template).map(|()| Answer::Done);
        self.finish_op(sandbox, Verb::StorageClone, op, result);
    }

    fn try_clone(
        &mut self,
        op: OpId,
        sandbox: &SandboxId,
        template: &TemplateName,
    ) -> Result<(), Fault> {
        let entry = self
            .ledger
            .get(sandbox)
            .ok_or_else(|| Fault::new(FaultCode::NotFound, "no such sandbox"))?;
        if entry.lease.template != *template {
            let other = "not the template its lease names";
            return Err(Fault::new(FaultCode::Refused, other));
        }
        let limits = entry.lease.limits;
        if self.store.has_template(template) && limits != limits.at_most(self.size(template)) {
            let smaller = "the template gives less than when the lease was opened";
            return Err(Fault::new(FaultCode::Unavailable, smaller));
        }
        let ids = self.claim.range(entry.range);
        self.check_room()?;
        let made = self
            .record_new(Record::StorageBegun {
                sandbox: sandbox.clone(),
                op,
            })
            .and_then(|()| {
                if !self.pass_tree(sandbox, template) {
                    self.store
                        .clone_template(sandbox, template, ids, &self.resolvers)
                        .map_err(|e| host_fault(&e))?;
                }
                self.record_new(Record::StorageMade {
                    sandbox: sandbox.clone(),
                })
            });
        match made {
            // The template may have become another one since the lease was opened. No slot is taken yet.
            Ok(()) => self.post_change(sandbox),
            Err(_) => self.discard_storage(sandbox),
        }
        made
    }

    /// `StorageDestroy`.
    pub(crate) fn storage_destroy(&mut self, to: ReplyTo, op: OpId, sandbox: &SandboxId) {
        self.begin_op(to, sandbox, Verb::StorageDestroy, op);
        if self
            .ledger
            .get(sandbox)
            .is_some_and(|entry| entry.storage != Part::None)
        {
            self.discard_storage(sandbox);
        }
        self.finish_op(sandbox, Verb::StorageDestroy, op, Ok(Answer::Done));
    }

    /// Moves a sandbox's storage into the trash. What cannot be moved is found again when privd starts.
    pub(crate) fn discard_storage(&mut self, sandbox: &SandboxId) {
        let gone = Fault::new(FaultCode::Conflict, "the sandbox was removed meanwhile");
        self.no_tenant(sandbox);
        self.spoil_snapshot(sandbox, gone);
        match self.store.discard(sandbox) {
            Ok(_) => self.discarded(),
            Err(e) => self.log.own(format_args!(
                "cannot discard the storage of {sandbox}: {}",
                chain(&e)
            )),
        }
        self.record(Record::StorageGone {
            sandbox: sandbox.clone(),
        });
    }
}
