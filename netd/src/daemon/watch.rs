//! Looks at the packet filter, and what follows from them.

use std::time::Instant;

use warder_links::plan::Pair;
use warder_wire::{Fault, FaultCode, Message, SandboxId, gateway_net};

use super::{Daemon, Pending, purged, rules};
use crate::ledger::{Record, SlotRecord};
use crate::log;
use crate::watch::Deed;
use crate::worker::Job;

/// Names in one record, which is bounded.
const NAMED: usize = 1000;

impl Daemon {
    /// What is due by the clock.
    pub(super) fn watch_tick(&mut self, now: Instant) {
        if self.watch.due(now) {
            self.glance();
        }
        if self.watch.due_closely(now) && self.watch.shut().is_none() {
            self.order(&Job::Inspect);
        }
    }

    /// Looks now.
    pub(super) fn glance(&mut self) {
        if self.kernel.is_none() {
            return;
        }
        let look = self.look_at_filter();
        let deed = self.watch.looked(look);
        self.follow(deed);
    }

    /// The worker has looked closely.
    pub(super) fn inspected(&mut self, result: Result<(), Fault>) {
        if let Err(fault) = result
            && self.watch.shut().is_none()
        {
            if let Some(kernel) = &mut self.kernel {
                kernel.filter.doubt();
            }
            let deed = self.watch.looked(Err(fault));
            self.follow(deed);
        }
    }

    fn look_at_filter(&mut self) -> Result<(), Fault> {
        let kernel = self.kernel.as_mut().ok_or_else(purged)?;
        match kernel.filter.look() {
            Ok(word) => {
                word.into_iter().for_each(log::audit);
                Ok(())
            }
            Err(error) => {
                // Its socket may be confused; a filter that is gone is found so by the next look.
                if error.code() == FaultCode::System {
                    let _ = kernel.filter.reopen(kernel.router.network());
                }
                Err(rules(&error))
            }
        }
    }

    fn follow(&mut self, deed: Deed) {
        match deed {
            Deed::Nothing => {}
            Deed::Shut => self.shut(),
            Deed::Mend(round) => self.mend(round),
            Deed::Open => self.open(),
        }
    }

    /// Nothing leaves any sandbox: the rules do not hold.
    fn shut(&mut self) {
        let slots: Vec<SlotRecord> = self.book.values().filter_map(|e| e.slot).collect();
        for slot in slots {
            self.take_down(&slot);
        }
        let Some(fault) = self.watch.shut().cloned() else {
            return;
        };
        log::audit(format_args!("all sandboxes are closed: {fault}"));
        self.note_shut();
        // What it has open for sandboxes nothing judges either, and it ends with its process, whatever it would do.
        if self.egress.is_some() {
            self.end_egress("the packet filter does not judge what it sends");
        }
        while let Some((seq, _)) = self.pool.next_waiting() {
            self.answer_privd(seq, Err(fault.clone()));
        }
        let event = gateway_net::Event::Shut { fault };
        self.tell_gateway(&Message::Event(event));
    }

    /// Which ports are down for another reason, should netd die before they are up again.
    pub(crate) fn note_shut(&mut self) {
        if self.watch.shut().is_some() {
            let sealed = self.book.iter().filter(|(_, entry)| entry.sealed);
            let sealed: Vec<SandboxId> = sealed.map(|(s, _)| s.clone()).take(NAMED).collect();
            self.note(&Record::Shut(Some(sealed)));
        }
    }

    /// Every rule anew, and no flow of before.
    fn mend(&mut self, round: u64) {
        match self.put_all() {
            Ok(()) => {
                let job = self.next_job;
                self.next_job += 1;
                self.jobs.insert(job, Pending::Mend(round));
                self.order(&Job::EndAll { job });
            }
            Err(fault) => self.mended(round, Err(fault)),
        }
    }

    pub(super) fn mended(&mut self, round: u64, result: Result<(), Fault>) {
        let result = result.and_then(|()| self.look_at_filter());
        if let Err(fault) = &result {
            log::line(format_args!("sandboxes stay closed: {fault}"));
        }
        let deed = self.watch.mended(round, result);
        self.follow(deed);
    }

    fn open(&mut self) {
        self.note(&Record::Shut(None));
        let all: Vec<(SandboxId, SlotRecord)> = self
            .book
            .iter()
            .filter(|(_, entry)| !entry.sealed)
            .filter_map(|(sandbox, entry)| Some((sandbox.clone(), entry.slot?)))
            .collect();
        for (sandbox, slot) in all {
            let pair = Pair::new(self.config.block, slot.index);
            let opened = pair.zip(self.kernel.as_mut());
            let opened = opened.map(|(pair, k)| k.router.unseal(slot.counter, &pair));
            if let Some(Err(error)) = opened {
                log::line(format_args!("{sandbox} stays closed: {error}"));
                self.seal(&sandbox);
            }
            self.tell(&sandbox);
        }
        log::audit("the packet filter is whole: sandboxes have their policies of before");
        self.tell_gateway(&Message::Event(gateway_net::Event::Opened));
    }
}
