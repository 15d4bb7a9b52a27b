//! Looks at the packet filter, and what follows from them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use warder_desired::Change;
use warder_links::plan::Pair;
use warder_wire::{Fault, FaultCode, Message, SandboxId, gateway_net};

use super::{Daemon, Pending, purged, rules};
use crate::ledger::{Record, SlotRecord};
use crate::log;
use crate::policy::Book;
use crate::watch::{Deed, is_evidence};
use crate::worker::Job;

/// Names in one record, which is bounded.
const NAMED: usize = 1000;

/// For how long rules are loaded before others have their turn.
const SLICE: Duration = Duration::from_millis(5);

/// All rules, loaded anew bit by bit.
#[derive(Debug)]
pub(super) struct Reload {
    /// Of the mending of that number.
    round: u64,
    /// Whose are not yet.
    left: VecDeque<SandboxId>,
}

/// That all ports are down, and which for another reason.
pub(crate) fn shut_record(book: &Book) -> Record {
    let sealed = book.iter().filter(|(_, entry)| entry.sealed);
    let sealed = sealed.map(|(s, _)| s.clone()).take(NAMED);
    Record::Shut(Some(sealed.collect()))
}

impl Daemon {
    /// What is due by the clock.
    pub(super) fn watch_tick(&mut self, now: Instant) {
        if self.watch.due(now) && self.kernel.is_some() {
            let look = self.look_at_filter();
            let deed = self.watch.looked(look);
            self.follow(deed);
        }
        if self.watch.due_closely(now) && self.watch.shut().is_none() {
            self.order(&Job::Inspect);
        }
        self.load_some();
    }

    /// Looks now, for somebody who must not go on unless rules hold: however often that fails, it is no evidence for the
    /// others.
    pub(super) fn glance(&mut self) -> Result<(), Fault> {
        let deed = match self.look_at_filter() {
            Err(fault) if !is_evidence(&fault) => return Err(fault),
            look => self.watch.looked(look),
        };
        self.follow(deed);
        self.watch.shut().cloned().map_or(Ok(()), Err)
    }

    /// The worker has looked closely.
    pub(super) fn inspected(&mut self, result: Result<(), Fault>) {
        match (&result, &mut self.kernel) {
            (Err(fault), Some(kernel)) if is_evidence(fault) => kernel.filter.doubt(),
            (Err(fault), _) => log::line(format_args!("no closer look: {fault}")),
            _ => {}
        }
        let deed = self.watch.inspected(Instant::now(), result);
        self.follow(deed);
    }

    fn look_at_filter(&mut self) -> Result<(), Fault> {
        let kernel = self.kernel.as_mut().ok_or_else(purged)?;
        let mut look = kernel.filter.look();
        if let Err(error) = &look
            && let code @ (FaultCode::System | FaultCode::TimedOut) = error.code()
        {
            log::line(format_args!("no look at the packet filter: {error}"));
            // Its socket may be confused. What took too long would take as long again, so that waits for the next look.
            let reopened = kernel.filter.reopen(kernel.router.network());
            if reopened.is_ok() && code == FaultCode::System {
                look = kernel.filter.look();
            }
        }
        let word = look.map_err(|e| rules(&e))?;
        word.into_iter().for_each(log::audit);
        Ok(())
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
        let Some(fault) = self.watch.shut().cloned() else {
            return;
        };
        // First: a port that is down, and nothing that says why, is one that was sealed for itself.
        self.note_shut();
        let slots = self.book.values().filter_map(|e| e.slot);
        let counters: Vec<u32> = slots.map(|slot| slot.counter).collect();
        self.take_down(counters);
        log::audit(format_args!("all sandboxes are closed: {fault}"));
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
    pub(super) fn note_shut(&mut self) {
        if self.watch.shut().is_some() {
            let record = shut_record(&self.book);
            self.note(&record);
        }
    }

    /// Every rule anew, and no flow of before.
    fn mend(&mut self, round: u64) {
        let place = self.place();
        let all = self.book.iter();
        let all = all.filter_map(|(s, e)| Some((s.clone(), e.desired(place)?)));
        let (mut left, sandboxes): (VecDeque<_>, Vec<_>) = all.unzip();
        self.astray = true;
        let begun = self.have(|filter| {
            // What a look finds from here on was done to what is loaded now.
            filter.renewed();
            filter.begin(&sandboxes)
        });
        match begun {
            Ok(done) => {
                left.drain(..done.min(left.len()));
                self.reload = Some(Reload { round, left });
                self.load_some();
            }
            Err(fault) => self.mended(round, Err(fault)),
        }
    }

    /// Loads what is left to load, for a while; when nothing is, all flows end.
    fn load_some(&mut self) {
        let begun = Instant::now();
        let Some(Reload { round, mut left }) = self.reload.take() else {
            return;
        };
        if !self.watch.is_mending(round) {
            return;
        }
        while let Some(sandbox) = left.pop_front() {
            let view = self.book.get(&sandbox);
            // It may have gone meanwhile, and its rules with it.
            let Some(view) = view.and_then(|e| e.desired(self.place())) else {
                continue;
            };
            if let Err(fault) = self.apply(Change::Add(&view)) {
                let late = fault.code == FaultCode::TimedOut;
                if late || self.apply(Change::Remove(&view)).is_err() {
                    return self.mended(round, Err(fault));
                }
                // It has no rules and no port. The others are not kept closed by what one of them has asked for.
                log::line(format_args!("{sandbox} stays closed: {fault}"));
                self.seal(&sandbox);
            }
            if begun.elapsed() >= SLICE {
                self.reload = Some(Reload { round, left });
                return;
            }
        }
        self.astray = false;
        let job = self.next_job;
        self.next_job += 1;
        self.jobs.insert(job, Pending::Mend(round));
        self.order(&Job::EndAll { job });
        self.ends_out += 1;
    }

    /// Whether there is more to load at once.
    pub(super) fn is_loading(&self) -> bool {
        self.reload.is_some()
    }

    pub(super) fn mended(&mut self, round: u64, result: Result<(), Fault>) {
        // Of one of before nothing follows, and what a look would find is for the one that goes on.
        if !self.watch.is_mending(round) {
            return;
        }
        let result = result.and_then(|()| self.look_at_filter());
        if let Err(fault) = &result {
            log::line(format_args!("sandboxes stay closed: {fault}"));
        }
        let deed = self.watch.mended(round, result);
        self.follow(deed);
    }

    fn open(&mut self) {
        self.note(&Record::Shut(None));
        for sandbox in std::mem::take(&mut self.kept) {
            if let Some(entry) = self.book.get(&sandbox) {
                let generation = entry.standing.generation;
                self.note(&Record::InForce {
                    sandbox,
                    generation,
                });
            }
        }
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
        log::audit("the packet filter is whole: sandboxes have their policies again");
        self.tell_gateway(&Message::Event(gateway_net::Event::Opened));
    }
}
