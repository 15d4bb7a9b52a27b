//! Links: a connected descriptor to a sandbox's agent. No data passes through here.

use std::os::fd::OwnedFd;

use warder_wire::gateway_priv::Answer;
use warder_wire::{Fault, FaultCode, SandboxId};

use crate::privd::{CellLife, Privd, fault, host_fault};
use crate::supervise::ReplyTo;

impl Privd {
    /// `LinkOpen`.
    pub(crate) fn link_open(&mut self, to: &ReplyTo, sandbox: &SandboxId) {
        let now = self.now.mono;
        let often = self
            .live
            .get_mut(sandbox)
            .is_some_and(|live| live.links.take(now));
        let link = if often {
            self.connect(sandbox)
        } else {
            fault(FaultCode::Exhausted, "too many links in this time")
        };
        match link {
            Ok(fd) => self.answer_gateway(to, Ok(Answer::Link), vec![fd]),
            Err(fault) => self.answer_gateway(to, Err(fault), Vec::new()),
        }
    }

    /// A cell's agent has a listener of privd's, a machine's is reached through the machine.
    fn connect(&self, sandbox: &SandboxId) -> Result<OwnedFd, Fault> {
        let life = self.live.get(sandbox).map(|live| &live.cell);
        let Some(CellLife::Running { cell, .. }) = life else {
            return self.links.connect(sandbox);
        };
        if !cell.is_machine() {
            return self.links.connect(sandbox);
        }
        let root = self.store.root(sandbox).map_err(|e| host_fault(&e))?;
        match cell.machine_link(&root).map_err(|e| host_fault(&e))? {
            Some(link) => Ok(link),
            None => fault(
                FaultCode::GuestUnresponsive,
                "the machine's console has no free place",
            ),
        }
    }
}
