//! Snapshots: a template made of a sandbox's storage, while its processes stand still.
//!
//! Freezer, copy, thaw, disk, manifest, answer. Killed before the manifest is in place, privd leaves nothing that the next
//! one does not discard, and that one thaws the cell.

use warder_host::HostError;
use warder_host::storage::Draft;
use warder_wire::plugin_priv::Answer;
use warder_wire::{Fault, FaultCode, OpId, SandboxId, TemplateName, gateway_priv};

use super::pause::{FREEZE_MS, LONGEST_LOOK_MS};
use crate::jobs::Asker;
use crate::leases::Timer;
use crate::privd::{CellLife, Live, OpState, Privd, fault, host_fault};
use crate::supervise::ReplyTo;
use crate::table::Verb;

/// Most at one time.
const MOST: usize = 16;

/// One being taken of a sandbox, which stands still or comes to.
#[derive(Debug)]
pub(crate) struct Snapshot {
    op: OpId,
    /// Until the copy begins.
    draft: Option<Draft>,
    until: u64,
    look: u64,
}

impl Privd {
    /// `SnapshotAllow`. Forgotten with this process: who asked is told then that there is no snapshot.
    pub(crate) fn snapshot_allow(
        &mut self,
        to: &ReplyTo,
        sandbox: &SandboxId,
        template: TemplateName,
        passing: bool,
    ) {
        self.live.entry(sandbox.clone()).or_default().allowed = Some((template, passing));
        self.answer_gateway(to, Ok(gateway_priv::Answer::Done), Vec::new());
    }

    /// `StorageSnapshot`. Answered when the template would survive a loss of power, if it is to.
    pub(crate) fn storage_snapshot(
        &mut self,
        to: ReplyTo,
        op: OpId,
        sandbox: &SandboxId,
        template: &TemplateName,
    ) {
        self.begin_op(to, sandbox, Verb::StorageSnapshot, op);
        match self.draft_snapshot(sandbox, template) {
            Ok(draft) => {
                self.live.entry(sandbox.clone()).or_default().snapshot = Some(Snapshot {
                    op,
                    draft: Some(draft),
                    until: self.now.mono + FREEZE_MS,
                    look: 1,
                });
                self.snapshot_step(sandbox);
            }
            Err(fault) => self.finish_op(sandbox, Verb::StorageSnapshot, op, Err(fault)),
        }
    }

    fn draft_snapshot(
        &mut self,
        sandbox: &SandboxId,
        template: &TemplateName,
    ) -> Result<Draft, Fault> {
        // Templates are for everybody whom the gateway lets use them: no backend names one, or chooses what is in it.
        let live = self.live.get_mut(sandbox);
        let allowed = live.and_then(|live| live.allowed.take_if(|(one, _)| one == template));
        let Some((_, passing)) = allowed else {
            self.log.audit(format_args!(
                "the backend of {sandbox} makes template {template} of it, which the gateway has not allowed"
            ));
            let detail = "the gateway has not allowed this template";
            return Err(Fault::new(FaultCode::Refused, detail));
        };
        self.check_new(template)?;
        let waits = |live: &&Live| live.snapshot.as_ref().is_some_and(|s| s.draft.is_some());
        if self.live.values().filter(waits).count() + self.snapshots_under_way() >= MOST {
            return fault(FaultCode::Exhausted, "too many snapshots are being taken");
        }
        let draft = self.store.draft(template, Some(sandbox));
        let draft = draft.map_err(|e| match e {
            HostError::Invalid(why) => Fault::new(FaultCode::Refused, why),
            e => host_fault(&e),
        })?;
        Ok(if passing { draft.passing() } else { draft })
    }

    /// Looks whether the processes stand still by now, and begins to copy when they do.
    pub(crate) fn snapshot_step(&mut self, sandbox: &SandboxId) {
        let now = self.now.mono;
        let Some(range) = self.ledger.get(sandbox).map(|entry| entry.range) else {
            return;
        };
        let frozen = self.ledger.get(sandbox).and_then(|e| e.paused) == Some(true);
        let Some(live) = self.live.get_mut(sandbox) else {
            return;
        };
        let Some(Snapshot {
            op,
            draft: waiting @ Some(_),
            until,
            look,
        }) = &mut live.snapshot
        else {
            return;
        };
        let (op, wait) = (*op, *look);
        *look = (wait * 2).min(LONGEST_LOOK_MS);
        let ids = self.claim.range(range);
        let still = match live.cell {
            CellLife::None => Ok(true),
            CellLife::Running { .. } if frozen => Ok(true),
            CellLife::Running { .. } => self.controllers.freeze(sandbox, ids),
            _ => Err(HostError::Invalid("the cell ended meanwhile")),
        };
        let failed = match still {
            Ok(true) => {
                let Some(draft) = waiting.take() else { return };
                match self.start_copy(sandbox, op, draft, ids) {
                    Ok(()) => return,
                    Err(fault) => fault,
                }
            }
            Ok(false) if *until > now => {
                return self.timers.set(now + wait, Timer::Freeze(sandbox.clone()));
            }
            Ok(false) => Fault::new(FaultCode::TimedOut, "its processes do not stand still"),
            Err(e) => host_fault(&e),
        };
        self.spoil_snapshot(sandbox, failed);
        self.go_on(sandbox);
    }

    /// Whether a cell runs and is not paused, nor about to be.
    fn is_awake(&self, sandbox: &SandboxId) -> bool {
        let paused = self.ledger.get(sandbox).is_none_or(|e| e.paused.is_some());
        let runs =
            |live: &Live| live.pausing.is_none() && matches!(live.cell, CellLife::Running { .. });
        !paused && self.live.get(sandbox).is_some_and(runs)
    }

    /// Whether a snapshot of a sandbox is being copied, or about to be.
    pub(crate) fn is_copied(&self, sandbox: &SandboxId) -> bool {
        self.live.get(sandbox).is_some_and(|l| l.snapshot.is_some())
    }

    /// Lets a sandbox go on that stood still for a snapshot alone.
    fn go_on(&mut self, sandbox: &SandboxId) {
        if self.is_awake(sandbox) {
            self.let_go(sandbox);
        }
    }

    /// The copy is made, or is not: the sandbox goes on.
    pub(crate) fn copied(
        &mut self,
        sandbox: SandboxId,
        op: OpId,
        draft: Draft,
        result: Result<(), Fault>,
    ) {
        // One that was given up goes on already, and may stand still for the next.
        let current = |live: &mut Live| live.snapshot.take_if(|s| s.op == op && s.draft.is_none());
        if self.live.get_mut(&sandbox).and_then(current).is_some() {
            self.go_on(&sandbox);
        }
        let asker = Asker::Plugin(sandbox.clone(), op);
        match result {
            Ok(()) if draft.whole_when_copied() => self.kept(asker, draft, Ok(())),
            Ok(()) => self.start_keep(asker, draft),
            Err(fault) => {
                self.settle(draft, false);
                self.finish_op(&sandbox, Verb::StorageSnapshot, op, Err(fault));
            }
        }
    }

    /// Whether somebody still waits for a snapshot; with its sandbox its operations go.
    pub(crate) fn snapshot_wanted(&self, sandbox: &SandboxId, op: OpId) -> bool {
        let ops = self.live.get(sandbox).map(|live| live.ops.iter());
        ops.into_iter().flatten().any(|o| {
            (o.verb, o.op) == (Verb::StorageSnapshot, op) && matches!(o.state, OpState::Running(_))
        })
    }

    /// A snapshot is kept, or is not.
    pub(crate) fn snapshot_ended(
        &mut self,
        sandbox: &SandboxId,
        op: OpId,
        result: Result<(), Fault>,
    ) {
        let result = result.map(|()| Answer::Done);
        self.finish_op(sandbox, Verb::StorageSnapshot, op, result);
    }

    /// A sandbox may change from now on, or its storage goes: no copy of it can be trusted.
    pub(crate) fn spoil_snapshot(&mut self, sandbox: &SandboxId, why: Fault) {
        let snapshot = self.live.get_mut(sandbox).and_then(|l| l.snapshot.take());
        let Some(Snapshot { op, draft, .. }) = snapshot else {
            return;
        };
        if let Some(draft) = draft {
            self.settle(draft, false);
        }
        self.cancel_copy(sandbox);
        self.finish_op(sandbox, Verb::StorageSnapshot, op, Err(why));
    }

    /// Gives up every snapshot whose sandbox stands still for it, or the one that is to become `template`.
    pub(crate) fn end_snapshots(&mut self, template: Option<&TemplateName>) {
        let ends = |live: &Live| {
            live.snapshot.as_ref().is_some_and(|snapshot| {
                let draft = snapshot.draft.as_ref();
                template.is_none() || draft.map(Draft::template) == template
            })
        };
        let live = self.live.iter().filter(|(_, live)| ends(live));
        for sandbox in live.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            let ended = Fault::new(FaultCode::Conflict, "the snapshot was given up");
            self.spoil_snapshot(&sandbox, ended);
            self.go_on(&sandbox);
        }
    }
}
