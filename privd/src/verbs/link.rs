//! Links: a connected descriptor to a sandbox's agent. No data passes through here.

use warder_wire::gateway_priv::Answer;
use warder_wire::{Fault, FaultCode, SandboxId};

use crate::privd::Privd;
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
            self.links.connect(sandbox)
        } else {
            Err(Fault::new(
                FaultCode::Exhausted,
                "links to this sandbox are opened too often",
            ))
        };
        match link {
            Ok(fd) => self.answer_gateway(to, Ok(Answer::Link), vec![fd]),
            Err(fault) => self.answer_gateway(to, Err(fault), Vec::new()),
        }
    }
}
