//! Leases: permission to make a sandbox, a deadline, and the end of everything made under it.

use std::os::fd::OwnedFd;

use warder_wire::gateway_priv::{
    Answer, AtDeadline, EndReason, Event, LEASES_A_PAGE, Lease, LeaseState,
};
use warder_wire::{Fault, FaultCode, Limits, Message, SandboxId, plugin_priv, priv_net};

use crate::leases::{Deadline, MAX_TTL_MS, Timer};
use crate::ledger::{self, Part, Record};
use crate::privd::{CellLife, Privd, fault};
use crate::supervise::{ReplyTo, Role, chain};
use crate::table::{self, Verb};
use crate::verbs::cell::DYING_MS;
use crate::verbs::op::REMEMBERED;
use crate::verbs::pause::Why;

/// Events that are kept for a gateway that is not there; it lists leases when it comes.
const UNTOLD: usize = 4096;

impl Privd {
    /// `LeaseOpen`.
    pub(crate) fn lease_open(
        &mut self,
        to: &ReplyTo,
        sandbox: SandboxId,
        lease: ledger::Lease,
        ttl_ms: u64,
    ) {
        let result = self
            .try_lease_open(sandbox, lease, ttl_ms)
            .map(|limits| Answer::Leased { limits });
        self.answer_gateway(to, result, Vec::new());
    }

    fn try_lease_open(
        &mut self,
        sandbox: SandboxId,
        mut lease: ledger::Lease,
        ttl_ms: u64,
    ) -> Result<Limits, Fault> {
        let fault = |code, detail: &str| Err(Fault::new(code, detail));
        if !self.config.backends.contains(&lease.backend) {
            return fault(FaultCode::NotFound, "no such backend");
        }
        if !self.store.has_template(&lease.template) {
            return fault(FaultCode::NotFound, "no such template");
        }
        if !lease.limits.in_bounds() {
            return fault(FaultCode::Refused, "a limit is out of bounds");
        }
        lease.limits = lease.limits.at_most(self.size(&lease.template));
        let limits = lease.limits;
        self.check_volumes(&lease.volumes)?;
        if ttl_ms == 0 || ttl_ms > MAX_TTL_MS {
            let bounds = "the time to live must be between 1 ms and 30 days";
            return fault(FaultCode::Refused, bounds);
        }
        if self.cleanups.contains_key(&sandbox) || self.ahead.is_named(&sandbox) {
            let before = "the sandbox of that name is still being removed";
            return fault(FaultCode::Conflict, before);
        }
        if self.ledger.book().len() >= self.capacity as usize {
            let all = "as many sandboxes as this instance may have";
            return fault(FaultCode::Exhausted, all);
        }
        self.check_room()?;
        let Some(range) = self.range_for(&sandbox, &lease) else {
            return fault(FaultCode::Exhausted, "all id ranges are in use");
        };
        let deadline = Deadline::after(self.now, ttl_ms);
        let record = Record::Lease {
            sandbox: sandbox.clone(),
            lease,
            range,
            deadline,
        };
        if let Err(fault) = self.record_new(record) {
            self.no_tenant(&sandbox);
            self.record(Record::Gone { sandbox });
            self.ranges.put(range);
            return Err(fault);
        }
        self.live
            .insert(sandbox.clone(), crate::privd::Live::default());
        self.timers
            .set(deadline.mono, Timer::Lease(sandbox.clone()));
        self.post_live(&sandbox);
        Ok(limits)
    }

    /// Whether there is room for one sandbox more.
    ///
    /// # Errors
    /// `NoSpace`.
    pub(crate) fn check_room(&self) -> Result<(), Fault> {
        let (free, _) = self
            .store
            .room()
            .map_err(|e| crate::privd::host_fault(&e))?;
        if free < u64::from(self.config.storage_reserve_mib) << 20 {
            return fault(
                FaultCode::NoSpace,
                "the state directory's file system is full up to the reserve",
            );
        }
        Ok(())
    }

    /// `LeaseSet`.
    pub(crate) fn lease_set(
        &mut self,
        to: ReplyTo,
        sandbox: SandboxId,
        ttl_ms: u64,
        at_deadline: Option<AtDeadline>,
    ) {
        if ttl_ms == 0 {
            return self.begin_end(&sandbox, EndReason::Removed, Some(to));
        }
        let result = if ttl_ms > MAX_TTL_MS {
            fault(FaultCode::Refused, "the time to live is at most 30 days")
        } else {
            let before = self.ledger.get(&sandbox).map(|entry| entry.deadline);
            let deadline = Deadline::after(self.now, ttl_ms);
            let turned = at_deadline.map_or(Ok(()), |at_deadline| {
                self.record_new(Record::Turned {
                    sandbox: sandbox.clone(),
                    at_deadline,
                })
            });
            let moved = turned.and_then(|()| {
                self.record_new(Record::Moved {
                    sandbox: sandbox.clone(),
                    deadline,
                })
            });
            moved.map(|()| {
                if let Some(before) = before {
                    self.timers
                        .clear(before.mono, Timer::Lease(sandbox.clone()));
                }
                // Of a paused one it counts when it wakes.
                self.timers.set(deadline.mono, Timer::Lease(sandbox));
                Answer::Done
            })
        };
        self.answer_gateway(&to, result, Vec::new());
    }

    /// `LeaseEnd`.
    pub(crate) fn lease_end(&mut self, to: ReplyTo, sandbox: &SandboxId) {
        self.begin_end(sandbox, EndReason::Removed, Some(to));
    }

    /// `LeaseList`.
    pub(crate) fn lease_list(&mut self, to: &ReplyTo, after: Option<&SandboxId>) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let page = self
            .ledger
            .book()
            .range::<SandboxId, _>((from, Unbounded))
            .take(LEASES_A_PAGE)
            .map(|(sandbox, entry)| Lease {
                sandbox: sandbox.clone(),
                backend: entry.lease.backend.clone(),
                template: entry.lease.template.clone(),
                ttl_ms: if entry.ending.is_some() {
                    0
                } else {
                    entry.deadline.left(self.now)
                },
                state: match (self.phase(sandbox), entry.paused) {
                    (table::RUNNING, _) => LeaseState::Running,
                    (table::ENDING, _) => LeaseState::Ending,
                    (_, Some(memory)) => LeaseState::Paused { memory },
                    _ => LeaseState::Open,
                },
            });
        let page = page.collect();
        self.answer_gateway(to, Ok(Answer::Leases(page)), Vec::new());
    }

    /// A lease may have run out.
    pub(crate) fn lease_due(&mut self, sandbox: &SandboxId) {
        let Some(entry) = self.ledger.get(sandbox) else {
            return;
        };
        let live = self.live.get(sandbox);
        let pausing = live.is_some_and(|live| live.pausing.is_some());
        if entry.ending.is_some()
            || entry.paused.is_some()
            || pausing
            || entry.deadline.left(self.now) > 0
        {
            return;
        }
        let runs = live.is_some_and(|live| matches!(live.cell, CellLife::Running { .. }));
        match entry.lease.at_deadline {
            AtDeadline::Pause { memory } if runs => self.pause(sandbox, Why::Expired, memory),
            // One that is still being made, or removed, has nothing to keep.
            _ => self.begin_end(sandbox, EndReason::Expired, None),
        }
    }

    /// Ends a sandbox and its lease, whatever there is of it. `waiter` is answered when no process of
    /// it can run any more.
    pub(crate) fn begin_end(
        &mut self,
        sandbox: &SandboxId,
        reason: EndReason,
        waiter: Option<ReplyTo>,
    ) {
        let Some(entry) = self.ledger.get(sandbox) else {
            return;
        };
        let (deadline, begun) = (entry.deadline, entry.ending.is_some());
        let waiters = &mut self.live.entry(sandbox.clone()).or_default().end_waiters;
        waiters.extend(waiter);
        // One that asks without end waits once for each of its last few requests.
        let surplus = waiters.len().saturating_sub(REMEMBERED);
        waiters.drain(..surplus);
        if !begun {
            self.record(Record::Ending {
                sandbox: sandbox.clone(),
                reason,
            });
            self.timers
                .clear(deadline.mono, Timer::Lease(sandbox.clone()));
        }
        let removed = Fault::new(FaultCode::Conflict, "the sandbox was removed meanwhile");
        self.pause_given_up(sandbox, removed.clone());
        self.end_cell(sandbox, removed);
        self.end_step(sandbox);
    }

    /// Removes what is left of a sandbox that is being ended, once its cell is dead.
    pub(crate) fn end_step(&mut self, sandbox: &SandboxId) {
        let Some(entry) = self.ledger.get(sandbox) else {
            return;
        };
        let (Some(reason), range) = (entry.ending, entry.range) else {
            return;
        };
        let (stored, owner) = (entry.storage != Part::None, self.backend_number(entry));
        if self.has_cell(sandbox) {
            return;
        }
        self.no_tenant(sandbox);
        if stored {
            self.discard_storage(sandbox);
        }
        self.links.remove(sandbox);
        self.record(Record::Gone {
            sandbox: sandbox.clone(),
        });
        self.post_net(
            priv_net::Ask::LeaseGone {
                sandbox: sandbox.clone(),
            },
            Vec::new(),
        );
        self.tell_ended(sandbox, owner, reason);
        if let Some(live) = self.live.remove(sandbox) {
            for to in live.end_waiters {
                self.answer_gateway(&to, Ok(Answer::Done), Vec::new());
            }
            self.abandon_ops(live.ops);
        }
        match self.cleanups.get_mut(sandbox) {
            Some(cleanup) => cleanup.range = Some(range),
            None => self.ranges.put(range),
        }
        self.stop_step();
    }

    fn tell_ended(&mut self, sandbox: &SandboxId, owner: u8, reason: EndReason) {
        if reason != EndReason::Removed {
            self.log.own(format_args!("{sandbox} ended: {reason:?}"));
        }
        let message: Message<plugin_priv::Answer, _> = Message::Event(plugin_priv::Event::Ended {
            sandbox: sandbox.clone(),
            reason,
        });
        if self.serving(Role::Plugin(owner)) {
            self.send(Role::Plugin(owner), &message, Vec::new());
        }
        let sandbox = sandbox.clone();
        self.tell(Event::Ended { sandbox, reason });
    }

    /// Tells the gateway what happened to a sandbox, or the next one.
    pub(crate) fn tell(&mut self, event: Event) {
        if self.serving(Role::Gateway) {
            self.event_gateway(event, Vec::new());
        } else if self.untold.len() < UNTOLD {
            self.untold.push(event);
        }
    }

    /// Tells a new gateway what happened while there was none.
    pub(crate) fn tell_what_was_lost(&mut self) {
        for event in std::mem::take(&mut self.untold) {
            self.event_gateway(event, Vec::<OwnedFd>::new());
        }
    }

    /// Ends the cell of a sandbox, if there is one. The lease is not touched. A cell in the making
    /// fails with `why`.
    pub(crate) fn end_cell(&mut self, sandbox: &SandboxId, why: Fault) {
        let Some(live) = self.live.get_mut(sandbox) else {
            return;
        };
        let (cell, token, failed) = match std::mem::replace(&mut live.cell, CellLife::None) {
            CellLife::None => return,
            CellLife::Waiting { op, .. } => {
                self.record(Record::CellGone {
                    sandbox: sandbox.clone(),
                });
                return self.finish_op(sandbox, Verb::CellCreate, op, Err(why));
            }
            CellLife::Starting {
                op, cell, token, ..
            } => {
                self.starting.remove(sandbox);
                (cell, token, Some((op, why)))
            }
            CellLife::Running { cell, token } => (cell, token, None),
            CellLife::Dying {
                cell,
                token,
                failed,
            } => (cell, token, failed),
        };
        let frozen = self.controllers.is_frozen(sandbox, &cell);
        let mut killed = cell.kill();
        if frozen && let Some(entry) = self.ledger.get(sandbox) {
            let ids = self.claim.range(entry.range);
            killed = killed.and(self.controllers.kill_still(sandbox, ids));
        }
        live.cell = CellLife::Dying {
            cell,
            token,
            failed,
        };
        self.timers
            .set(self.now.mono + DYING_MS, Timer::Cell(sandbox.clone()));
        if let Err(e) = killed {
            let why = chain(&e);
            self.log
                .own(format_args!("cannot kill the cell of {sandbox}: {why}"));
        }
        // cgroups version 1 keeps even the killed frozen.
        if frozen {
            self.let_go(sandbox);
        }
    }
}
