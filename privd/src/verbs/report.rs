//! What this host offers, and what a sandbox uses of it.

use warder_host::process;
use warder_wire::SandboxId;
use warder_wire::gateway_priv::{Answer, HostReport, Usage};

use crate::privd::{Privd, host_fault};
use crate::supervise::ReplyTo;

impl Privd {
    /// `HostReport`.
    pub(crate) fn host_report(&mut self, to: &ReplyTo) {
        let running = self.posts.iter().filter_map(|(role, post)| {
            let process = &post.running.as_ref()?.process;
            Some((role.to_string(), process.pid()))
        });
        let all = running.chain([("privd".to_owned(), std::process::id())]);
        let daemons = all.filter_map(|(name, pid)| {
            let (memory, time) = process::uses(pid)?;
            Some((name, memory, time))
        });
        let now = u32::try_from(self.ledger.book().len()).unwrap_or(u32::MAX);
        let report = HostReport {
            tag: self.tag,
            limits: self.controllers.limits_in_force(),
            sandboxes: (self.capacity, now),
            storage: self.store.room().unwrap_or((0, 0)),
            features: self.features.clone(),
            daemons: daemons.collect(),
        };
        self.answer_gateway(to, Ok(Answer::Host(Box::new(report))), Vec::new());
    }

    /// `Usage`.
    pub(crate) fn usage(&mut self, to: &ReplyTo, sandbox: &SandboxId) {
        let disk = self.store.used(sandbox);
        let usage = self.controllers.usage(sandbox);
        let result = usage.map(|usage| Answer::Usage(Usage { disk, ..usage }));
        self.answer_gateway(to, result.map_err(|e| host_fault(&e)), Vec::new());
    }
}
