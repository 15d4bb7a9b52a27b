//! What this host offers, and what a sandbox uses of it.

use warder_wire::SandboxId;
use warder_wire::gateway_priv::{Answer, HostReport, Usage};

use crate::privd::{Privd, host_fault};
use crate::supervise::ReplyTo;

impl Privd {
    /// `HostReport`.
    pub(crate) fn host_report(&mut self, to: &ReplyTo) {
        let storage = self.store.room().unwrap_or((0, 0));
        let now = u32::try_from(self.ledger.book().len()).unwrap_or(u32::MAX);
        let report = HostReport {
            tag: self.tag,
            limits: self.controllers.limits_in_force(),
            sandboxes: (self.capacity, now),
            storage,
            features: self.features.clone(),
        };
        self.answer_gateway(to, Ok(Answer::Host(Box::new(report))), Vec::new());
    }

    /// `Usage`.
    pub(crate) fn usage(&mut self, to: &ReplyTo, sandbox: &SandboxId) {
        let result = self
            .controllers
            .usage(sandbox)
            .map(|usage| {
                Answer::Usage(Usage {
                    disk: self.store.used(sandbox),
                    ..usage
                })
            })
            .map_err(|e| host_fault(&e));
        self.answer_gateway(to, result, Vec::new());
    }
}
