//! Pausing: every process of a cell is frozen, or ended; the sandbox's disk is written out; its deadline counts
//! no more until it wakes.
//!
//! Killed at any moment, privd loses nothing. To freeze: freezer, record, disk, answer; before the record the next
//! privd thaws the cell, after it the cell stays frozen. To stop: record, end, disk, answer; until
//! its end the cell is taken for awake, after it the disk is kept. To wake: thaw or start, then the record.

use warder_wire::gateway_priv::{EndReason, Event, PauseReason};
use warder_wire::plugin_priv::Answer;
use warder_wire::{Fault, FaultCode, OpId, SandboxId, priv_net};

use crate::leases::Timer;
use crate::ledger::Record;
use crate::privd::{CellLife, Privd, host_fault};
use crate::supervise::{ReplyTo, chain};
use crate::table::Verb;

/// How long processes may take to stand still.
pub(super) const FREEZE_MS: u64 = 5_000;
/// Looked at again after one millisecond, two, four, and so on up to this.
pub(super) const LONGEST_LOOK_MS: u64 = 64;

/// Why a sandbox is paused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why {
    /// This operation asked for it.
    Asked(Verb, OpId),
    /// Its lease ran out.
    Expired,
}

/// A sandbox on its way into a pause.
#[derive(Debug)]
pub(crate) struct Pausing {
    why: Why,
    /// Whether its processes were to be kept.
    memory: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Its processes come to stand still.
    Freezing { until: u64, look: u64 },
    /// Its processes end.
    Ending,
    /// Its disk is being written out, by this worker once there is one.
    Writing(Option<u64>),
}

impl Pausing {
    /// Of a paused one, whose processes end.
    fn memory_lost() -> Self {
        Self {
            why: Why::Expired,
            memory: true,
            stage: Stage::Ending,
        }
    }
}

impl Privd {
    /// Begins to pause a sandbox whose cell runs, or is frozen already.
    pub(crate) fn pause(&mut self, sandbox: &SandboxId, why: Why, memory: bool) {
        let stage = if memory {
            Stage::Freezing {
                until: self.now.mono + FREEZE_MS,
                look: 1,
            }
        } else {
            Stage::Ending
        };
        self.live.entry(sandbox.clone()).or_default().pausing =
            Some(Pausing { why, memory, stage });
        if memory {
            self.pause_step(sandbox);
        } else {
            self.pause_stop(sandbox, why);
        }
    }

    fn stage(&mut self, sandbox: &SandboxId) -> Option<(Why, &mut Stage)> {
        let pausing = self.live.get_mut(sandbox)?.pausing.as_mut()?;
        Some((pausing.why, &mut pausing.stage))
    }

    /// Looks whether the processes stand still by now.
    pub(crate) fn pause_step(&mut self, sandbox: &SandboxId) {
        let now = self.now.mono;
        let Some(range) = self.ledger.get(sandbox).map(|entry| entry.range) else {
            return;
        };
        let Some((why, Stage::Freezing { until, look })) = self.stage(sandbox) else {
            return;
        };
        let (overdue, wait) = (*until <= now, *look);
        *look = (wait * 2).min(LONGEST_LOOK_MS);
        match self.controllers.freeze(sandbox, self.claim.range(range)) {
            Ok(true) => match self.note(sandbox, why, true) {
                Ok(()) => self.write_out(sandbox),
                Err(fault) => self.not_frozen(sandbox, why, fault),
            },
            Ok(false) if overdue => {
                let fault = Fault::new(FaultCode::TimedOut, "its processes do not stand still");
                self.not_frozen(sandbox, why, fault);
            }
            Ok(false) => self.timers.set(now + wait, Timer::Freeze(sandbox.clone())),
            Err(e) => self.not_frozen(sandbox, why, host_fault(&e)),
        }
    }

    /// Records that a sandbox is paused. At a deadline nothing holds this up.
    fn note(&mut self, sandbox: &SandboxId, why: Why, memory: bool) -> Result<(), Fault> {
        let sandbox = sandbox.clone();
        let record = Record::Paused { sandbox, memory };
        match why {
            Why::Asked(..) => self.record_new(record),
            Why::Expired => {
                self.record(record);
                Ok(())
            }
        }
    }

    /// Freezing failed. Who asked for it is told; at a deadline the memory is given up and the disk kept.
    fn not_frozen(&mut self, sandbox: &SandboxId, why: Why, fault: Fault) {
        self.log
            .own(format_args!("{sandbox} cannot be frozen: {fault}"));
        match why {
            Why::Asked(..) => {
                self.let_go(sandbox);
                self.woken(sandbox);
                self.pause_given_up(sandbox, fault);
            }
            Why::Expired => self.pause_stop(sandbox, why),
        }
    }

    /// Ends the processes, running or frozen.
    fn pause_stop(&mut self, sandbox: &SandboxId, why: Why) {
        let before = self.ledger.get(sandbox).and_then(|entry| entry.paused);
        if let Err(fault) = self.note(sandbox, why, false) {
            let id = sandbox.clone();
            self.record(before.map_or(
                Record::Woken {
                    sandbox: id.clone(),
                },
                |memory| Record::Paused {
                    sandbox: id,
                    memory,
                },
            ));
            return self.pause_given_up(sandbox, fault);
        }
        if let Some((_, stage)) = self.stage(sandbox) {
            *stage = Stage::Ending;
        }
        let paused = Fault::new(FaultCode::Conflict, "the sandbox is being paused");
        self.end_cell(sandbox, paused);
    }

    /// A cell is gone. Whether its sandbox is paused, so that its disk is kept.
    pub(crate) fn paused_without_cell(&mut self, sandbox: &SandboxId, by_itself: bool) -> bool {
        let paused = |e: &crate::ledger::Entry| (e.paused.is_some(), e.ending.is_some());
        let Some((paused, false)) = self.ledger.get(sandbox).map(paused) else {
            return false;
        };
        let Some(live) = self.live.get_mut(sandbox) else {
            return false;
        };
        if live.pausing.is_none() && !(paused && by_itself) {
            return false;
        }
        // What was frozen, or about to be, and has died: what it kept in memory is lost.
        live.pausing.get_or_insert(Pausing::memory_lost());
        self.record(Record::Paused {
            sandbox: sandbox.clone(),
            memory: false,
        });
        // The slot goes back; the lease lives on, within the same bounds.
        let gone = priv_net::Ask::LeaseGone {
            sandbox: sandbox.clone(),
        };
        self.post_net(gone, Vec::new());
        self.post_live(sandbox);
        self.write_out(sandbox);
        true
    }

    /// The cell of a running or frozen sandbox is not whole.
    pub(crate) fn cell_lost(&mut self, sandbox: &SandboxId) {
        let paused = self.ledger.get(sandbox).is_some_and(|e| e.paused.is_some());
        let Some(live) = self.live.get_mut(sandbox) else {
            return;
        };
        // One that has ended since its slot was asked for has lost nothing by that.
        if !matches!(
            live.cell,
            CellLife::Running { .. } | CellLife::Starting { .. }
        ) {
            return;
        }
        if !paused && live.pausing.is_none() {
            return self.begin_end(sandbox, EndReason::Lost, None);
        }
        // Whatever came of its pause so far: what dies is not to be frozen.
        let pausing = live.pausing.get_or_insert(Pausing::memory_lost());
        pausing.stage = Stage::Ending;
        let lost = Fault::new(FaultCode::System, "the cell is not whole");
        self.end_cell(sandbox, lost);
    }

    fn write_out(&mut self, sandbox: &SandboxId) {
        if let Some((_, stage)) = self.stage(sandbox) {
            *stage = Stage::Writing(None);
        }
        self.start_sync();
    }

    /// Sandboxes whose disks wait to be written out by `worker`, or by the next one.
    pub(crate) fn unwritten(&self, worker: Option<u64>) -> Vec<SandboxId> {
        let waits = |pausing: &Pausing| matches!(pausing.stage, Stage::Writing(by) if by == worker);
        self.live
            .iter()
            .filter(|(_, live)| live.pausing.as_ref().is_some_and(waits))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// This worker writes out the disk of a sandbox.
    pub(crate) fn written_by(&mut self, sandbox: &SandboxId, worker: u64) {
        if let Some((_, Stage::Writing(by))) = self.stage(sandbox) {
            *by = Some(worker);
        }
    }

    /// The disk of a sandbox is written out, or cannot be: the pause is complete.
    pub(crate) fn written(&mut self, sandbox: &SandboxId, good: bool) {
        let memory = self.ledger.get(sandbox).and_then(|entry| entry.paused) == Some(true);
        let Some(live) = self.live.get_mut(sandbox) else {
            return;
        };
        let Some(pausing) = live.pausing.take() else {
            return;
        };
        let fault = Fault::new(FaultCode::System, "its disk could not be written out");
        if !good && memory && matches!(pausing.why, Why::Asked(..)) {
            let why = pausing.why;
            live.pausing = Some(pausing);
            return self.not_frozen(sandbox, why, fault);
        }
        if !good {
            self.log.own(format_args!("{sandbox} is paused: {fault}"));
        }
        let why = match pausing.why {
            _ if pausing.memory && !memory => PauseReason::MemoryLost,
            Why::Asked(..) => PauseReason::Asked,
            Why::Expired => PauseReason::Expired,
        };
        self.tell(Event::Paused {
            sandbox: sandbox.clone(),
            memory,
            why,
        });
        let result = if good { Ok(Answer::Done) } else { Err(fault) };
        self.answer_pause(sandbox, Some(pausing), result);
        if memory && self.config.pause_reclaim {
            self.start_reclaim(sandbox);
        }
    }

    /// A pause does not come about.
    pub(crate) fn pause_given_up(&mut self, sandbox: &SandboxId, why_not: Fault) {
        let pausing = self.live.get_mut(sandbox).and_then(|l| l.pausing.take());
        if let (Some(_), Some(entry)) = (&pausing, self.ledger.get(sandbox)) {
            // It may have come to nothing while there was a pause to wait for.
            let due = entry.deadline.mono;
            self.timers.set(due, Timer::Lease(sandbox.clone()));
        }
        self.answer_pause(sandbox, pausing, Err(why_not));
    }

    fn answer_pause(
        &mut self,
        sandbox: &SandboxId,
        pausing: Option<Pausing>,
        result: Result<Answer, Fault>,
    ) {
        if let Some(Why::Asked(verb, op)) = pausing.map(|p| p.why) {
            self.finish_op(sandbox, verb, op, result);
        }
    }

    /// `CellThaw`.
    pub(crate) fn cell_thaw(&mut self, to: ReplyTo, op: OpId, sandbox: &SandboxId) {
        self.begin_op(to, sandbox, Verb::CellThaw, op);
        let cell = self.live.get(sandbox).map(|live| &live.cell);
        let result = if matches!(cell, Some(CellLife::Running { .. })) && self.let_go(sandbox) {
            self.woken(sandbox);
            Ok(Answer::Done)
        } else {
            Err(Fault::new(FaultCode::NotFound, "there is no frozen cell"))
        };
        self.finish_op(sandbox, Verb::CellThaw, op, result);
        // At once: whoever freezes and thaws in turns gains no time.
        self.lease_due(sandbox);
    }

    /// Lets the processes of a cell go on; false when they cannot.
    pub(crate) fn let_go(&mut self, sandbox: &SandboxId) -> bool {
        let Some(range) = self.ledger.get(sandbox).map(|entry| entry.range) else {
            return false;
        };
        let goes_on = Fault::new(FaultCode::Conflict, "the sandbox was woken or ended");
        self.spoil_snapshot(sandbox, goes_on);
        self.end_reclaim(sandbox);
        match self.controllers.thaw(sandbox, self.claim.range(range)) {
            Ok(()) => true,
            Err(e) => {
                self.log
                    .own(format_args!("cannot thaw {sandbox}: {}", chain(&e)));
                false
            }
        }
    }

    /// A sandbox runs: if it was paused, it is no more, and its deadline counts.
    pub(crate) fn woken(&mut self, sandbox: &SandboxId) {
        let Some(entry) = self.ledger.get(sandbox) else {
            return;
        };
        let deadline = entry.deadline.mono;
        if entry.paused.is_some() {
            self.record(Record::Woken {
                sandbox: sandbox.clone(),
            });
            // A pause ends every link, however often there is one.
            if let Some(live) = self.live.get_mut(sandbox) {
                live.links = crate::privd::new_links();
            }
        }
        self.timers.set(deadline, Timer::Lease(sandbox.clone()));
    }
}
