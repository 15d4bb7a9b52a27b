//! At start: what the ledger says against what the kernel and the store have. What is whole is adopted,
//! what is not is removed and reported lost. Only objects of this instance's tag are ever looked at.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use warder_host::cell::{IdRange, adopt, end_strays};
use warder_wire::gateway_priv::{EndReason, Event, PauseReason};
use warder_wire::plugin_priv::Answer;
use warder_wire::{Fault, OpId, SandboxId};

use crate::leases::Timer;
use crate::ledger::{Entry, Part, Record};
use crate::privd::{CellLife, Live, Op, OpState, Privd};
use crate::supervise::chain;
use crate::table::Verb;

impl Privd {
    /// Compares and repairs. netd is asked about slots later, when it is there.
    ///
    /// # Errors
    /// When the kernel or the store cannot even be listed.
    pub(crate) fn reconcile(&mut self) -> warder_host::Result<()> {
        let stored: BTreeSet<SandboxId> = self.store.list()?.into_iter().collect();
        let entries: Vec<(SandboxId, Entry)> = self
            .ledger
            .book()
            .iter()
            .map(|(id, e)| (id.clone(), e.clone()))
            .collect();
        let (mut adopted, mut lost) = (0_u32, 0_u32);
        for (sandbox, entry) in &entries {
            self.timers
                .set(entry.deadline.mono, Timer::Lease(sandbox.clone()));
            let mut live = Live {
                ops: past_ops(entry),
                ..Live::default()
            };
            if let Some(cell) = self.adopted(sandbox, entry) {
                live.cell = cell;
                adopted += 1;
            }
            let has_cell = matches!(live.cell, CellLife::Running { .. });
            self.live.insert(sandbox.clone(), live);
            if entry.ending.is_none() && self.paused_before(sandbox, entry, &stored) {
                continue;
            }
            let whole = entry.ending.is_none()
                && match (&entry.storage, &entry.cell) {
                    (Part::None, Part::None) => !stored.contains(sandbox),
                    (Part::Made(..), Part::Made(..)) => stored.contains(sandbox) && has_cell,
                    // Between two steps: whoever would have made the next one is gone too.
                    _ => false,
                };
            if !whole {
                lost += u32::from(entry.ending.is_none());
                if !has_cell && entry.cell != Part::None {
                    self.record(Record::CellGone {
                        sandbox: sandbox.clone(),
                    });
                }
                if stored.contains(sandbox) && entry.storage == Part::None {
                    self.discard_storage(sandbox);
                }
                // No process may be left before the storage goes; a cell whose handle was never
                // written is found by its name.
                self.clean_first(sandbox, has_cell);
                self.begin_end(sandbox, EndReason::Lost, None);
            }
        }
        self.end_strays(&entries)?;
        let known = |id: &SandboxId| entries.iter().any(|(known, _)| known == id);
        for sandbox in self.controllers.leftovers()? {
            // Of a sandbox that is known, too, its last cell may have been in the midst of being removed.
            self.clean_first(&sandbox, self.has_cell(&sandbox));
        }
        for sandbox in stored.iter().filter(|id| !known(id)) {
            self.log.own(format_args!(
                "{sandbox} is in no ledger: its storage is discarded"
            ));
            match self.store.discard(sandbox) {
                Ok(_) => self.discarded(),
                Err(e) => self.log.own(format_args!(
                    "cannot discard the storage of {sandbox}: {}",
                    chain(&e)
                )),
            }
        }
        let kept = |id: &SandboxId| {
            self.live
                .get(id)
                .is_some_and(|live| matches!(live.cell, CellLife::Running { .. }))
        };
        if let Err(e) = self.links.sweep(kept) {
            self.log.own(format_args!("old listeners: {e}"));
        }
        if self.store.has_trash()? {
            self.discarded();
        }
        self.measure();
        if entries.iter().any(|(_, entry)| entry.paused.is_some()) {
            // Its worker went with the privd that began to pause them.
            self.sync_worker();
        }
        if !entries.is_empty() {
            self.log.own(format_args!(
                "{} leases found, {adopted} cells adopted, {lost} sandboxes lost",
                entries.len()
            ));
        }
        Ok(())
    }

    /// What privd was about when it ended: pausing or waking a sandbox, or neither. Whether it is one whose disk
    /// is all there is, which is kept for ever.
    fn paused_before(
        &mut self,
        sandbox: &SandboxId,
        entry: &Entry,
        stored: &BTreeSet<SandboxId>,
    ) -> bool {
        let cell = match self.live.get(sandbox).map(|live| &live.cell) {
            Some(CellLife::Running { cell, .. }) => Some(cell),
            _ => None,
        };
        let frozen = cell.is_some_and(|cell| self.controllers.is_frozen(sandbox, cell));
        let has_cell = cell.is_some();
        match entry.paused {
            None if frozen => {
                self.let_go(sandbox);
            }
            Some(true) if frozen => {}
            Some(_) if has_cell => {
                self.let_go(sandbox);
                self.woken(sandbox);
            }
            Some(memory) if stored.contains(sandbox) => {
                self.record(Record::CellGone {
                    sandbox: sandbox.clone(),
                });
                self.clean_first(sandbox, false);
                if memory {
                    self.tell(Event::Paused {
                        sandbox: sandbox.clone(),
                        memory: false,
                        why: PauseReason::MemoryLost,
                    });
                }
                return true;
            }
            _ => {}
        }
        false
    }

    /// Ends processes of cells that are not adopted, found by their users.
    fn end_strays(&mut self, entries: &[(SandboxId, Entry)]) -> warder_host::Result<()> {
        let mut all = self.claim.range(0);
        all.count *= crate::claim::SANDBOXES;
        let kept = entries.iter().filter(|(id, _)| self.has_cell(id));
        let kept: Vec<IdRange> = kept
            .map(|(_, entry)| self.claim.range(entry.range))
            .collect();
        let ended = end_strays(all, &kept)?;
        if ended > 0 {
            self.log
                .own(format_args!("{ended} processes of no sandbox ended"));
        }
        Ok(())
    }

    /// The running cell of an entry, if it is still the same.
    fn adopted(&mut self, sandbox: &SandboxId, entry: &Entry) -> Option<CellLife> {
        let Part::Made(_, (handle, _)) = &entry.cell else {
            return None;
        };
        let cell = match adopt(handle) {
            Ok(cell) => cell?,
            Err(e) => {
                self.log
                    .own(format_args!("{sandbox} cannot be adopted: {}", chain(&e)));
                return None;
            }
        };
        self.next_token += 1;
        let token = self.next_token;
        if let Err(e) = self.watch.add(cell.process.as_fd(), token) {
            self.log
                .own(format_args!("{sandbox} cannot be watched: {}", chain(&e)));
            return None;
        }
        self.tokens.insert(token, sandbox.clone());
        self.controllers.adopt(sandbox, &cell);
        Some(CellLife::Running { cell, token })
    }

    fn clean_first(&mut self, sandbox: &SandboxId, has_cell: bool) {
        if !has_cell {
            self.cleanups.entry(sandbox.clone()).or_default();
            self.clean(sandbox);
        }
    }
}

/// The operations an entry remembers, as they would be answered again.
fn past_ops(entry: &Entry) -> Vec<Op> {
    let done = |verb, op: OpId, answer| Op {
        verb,
        op,
        state: OpState::Done(Ok::<Answer, Fault>(answer)),
    };
    let mut ops = Vec::new();
    if let Part::Made(op, ()) = entry.storage {
        ops.push(done(Verb::StorageClone, op, Answer::Done));
    }
    if let Part::Made(op, (_, limits)) = &entry.cell {
        ops.push(done(
            Verb::CellCreate,
            *op,
            Answer::Cell { limits: *limits },
        ));
    }
    ops
}
