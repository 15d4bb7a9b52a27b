//! Policies and bounds: how a change comes into force.
//!
//! A change is put into the rules, egressd is told, flows that it forbids are ended here and there, and only then
//! is it answered. Changes of one sandbox come one after the other: the next waits until the one before is done.
//! What fails on the way to something tighter leaves the sandbox's port down.

use std::collections::VecDeque;
use std::time::Instant;

use warder_desired::Change;
use warder_links::plan::Pair;
use warder_wire::{Bounds, Fault, FaultCode, Policy, SandboxId, gateway_net};

use super::{Daemon, Pending, no_lease, purged};
use crate::ledger::Record;
use crate::log;
use crate::policy::{self, Entry, Standing, Verdict};
use crate::worker::{self, Forbid};

/// Changes of one sandbox that wait for the one before, and of all.
const QUEUED: usize = 64;
const QUEUED_IN_ALL: usize = 512;

/// A gateway's request that is not answered yet: which gateway, which request.
type Waiter = (u64, u64);

/// A change that was asked for.
#[derive(Debug)]
enum Wanted {
    Policy(Waiter, u64, Policy),
    Bounds(Bounds),
}

/// A change that is in the rules, but flows may be left that it forbids.
#[derive(Debug)]
pub(super) struct Settling {
    /// Its number.
    change: u64,
    waiter: Option<Waiter>,
    /// Jobs of the worker that ends flows.
    jobs: u32,
    /// The event that egressd has not answered.
    egress: Option<u64>,
    fault: Option<Fault>,
    queue: VecDeque<Wanted>,
}

impl Daemon {
    pub(crate) fn gateway_budget(&mut self) -> bool {
        self.gateway
            .as_mut()
            .is_some_and(|g| g.budget.take(Instant::now()))
    }

    pub(crate) fn policy_get(&mut self, seq: u64, sandbox: &SandboxId) {
        let result = match self.book.get(sandbox) {
            Some(entry) if entry.live => Ok(gateway_net::Answer::Policy {
                generation: entry.standing.generation,
                policy: entry.standing.policy.clone(),
                airgap: entry.airgap() || self.watch.shut().is_some(),
                sealed: entry.sealed || self.watch.shut().is_some(),
            }),
            _ => Err(no_lease(sandbox)),
        };
        self.answer_gateway(seq, result);
    }

    pub(crate) fn policy_set(
        &mut self,
        seq: u64,
        sandbox: SandboxId,
        generation: u64,
        policy: Policy,
    ) {
        if !policy.in_bounds() {
            let fault = Fault::new(FaultCode::Refused, "a list is too long");
            return self.answer_gateway(seq, Err(fault));
        }
        let wanted = Wanted::Policy((self.epoch, seq), generation, policy);
        let queued: usize = self.settling.values().map(|s| s.queue.len()).sum();
        if let Some(settling) = self.settling.get_mut(&sandbox) {
            if settling.queue.len() < QUEUED && queued < QUEUED_IN_ALL {
                settling.queue.push_back(wanted);
            } else {
                let fault = Fault::new(FaultCode::Exhausted, "too many changes at once");
                self.answer_gateway(seq, Err(fault));
            }
            return;
        }
        self.change(&sandbox, wanted);
    }

    /// The operator's bounds of a sandbox, which may have changed.
    pub(crate) fn bound(&mut self, sandbox: &SandboxId, bounds: Bounds) {
        let wanted = Wanted::Bounds(bounds);
        match self.settling.get_mut(sandbox) {
            Some(settling) => settling.queue.push_back(wanted),
            None => self.change(sandbox, wanted),
        }
    }

    fn change(&mut self, sandbox: &SandboxId, wanted: Wanted) {
        let entry = match self.book.get(sandbox) {
            Some(entry) if entry.live => entry.clone(),
            _ => return self.refuse(wanted, no_lease(sandbox)),
        };
        match wanted {
            Wanted::Policy(waiter, generation, policy) => {
                match entry.standing.judge(generation, &policy) {
                    // Settled, or it would have waited: a gateway that was started anew asks for all of them.
                    Verdict::Again if !entry.sealed => {
                        let airgap = entry.airgap();
                        let answer = match self.watch.shut().cloned() {
                            None => gateway_net::Answer::InForce { generation, airgap },
                            Some(fault) => gateway_net::Answer::Kept { generation, fault },
                        };
                        return self.answer_waiter(waiter, Ok(answer));
                    }
                    Verdict::Put | Verdict::Again => {}
                    Verdict::Stale => {
                        let detail =
                            format!("generation {} was accepted", entry.standing.generation);
                        let fault = Fault::new(FaultCode::Conflict, detail);
                        return self.answer_waiter(waiter, Err(fault));
                    }
                }
                let record = Record::Policy {
                    sandbox: sandbox.clone(),
                    generation,
                    policy: policy.clone(),
                };
                let standing = Standing { generation, policy };
                let new = Entry {
                    standing,
                    sealed: false,
                    ..entry.clone()
                };
                self.replace(sandbox, entry, new, &record, Some(waiter));
            }
            Wanted::Bounds(bounds) if bounds == entry.bounds => {}
            Wanted::Bounds(bounds) => {
                let record = Record::Bounds {
                    sandbox: sandbox.clone(),
                    bounds,
                };
                let new = Entry {
                    bounds,
                    ..entry.clone()
                };
                self.replace(sandbox, entry, new, &record, None);
            }
        }
    }

    fn refuse(&mut self, wanted: Wanted, fault: Fault) {
        if let Wanted::Policy(waiter, ..) = wanted {
            self.answer_waiter(waiter, Err(fault));
        }
    }

    /// Puts `new` in place of `old`, for every packet from now on, and sees to it that flows follow.
    fn replace(
        &mut self,
        sandbox: &SandboxId,
        old: Entry,
        new: Entry,
        record: &Record,
        waiter: Option<Waiter>,
    ) {
        if let Some(fault) = self.watch.shut().cloned() {
            return self.keep(sandbox, &old, new, record, waiter, fault);
        }
        let place = self.place();
        let (Some(was), Some(now)) = (old.desired(place), new.desired(place)) else {
            // For the slot that it gets, the bounds are recorded with it.
            let kept = match record {
                Record::Bounds { .. } => Ok(()),
                other => self.record(other),
            };
            if kept.is_ok() {
                self.book.insert(sandbox.clone(), new);
            }
            return self.settle(sandbox, waiter, false, kept.err(), None);
        };
        let tightens = old.sealed || policy::tightens(&self.closed, &was.egress, &now.egress);
        if let Err(fault) = self.record(record) {
            if !tightens {
                return self.settle(sandbox, waiter, false, Some(fault), None);
            }
            // Whoever asked must not believe that what was to be forbidden still goes on.
            return self.sealed(sandbox, waiter, fault);
        }
        let unseals = old.sealed && !new.sealed;
        self.book.insert(sandbox.clone(), new);
        // What tightens egressd hears at once, what loosens once the kernel has it.
        let told = if tightens { self.tell(sandbox) } else { None };
        let applied = if unseals {
            self.unseal(sandbox)
        } else {
            self.put(Change::Replace {
                new: &now,
                old: &was,
            })
        };
        match applied {
            Ok(()) => {
                let told = told.or_else(|| self.tell(sandbox));
                self.settle(sandbox, waiter, tightens, None, told);
            }
            Err(fault) if tightens || fault.code == FaultCode::TimedOut => {
                self.sealed(sandbox, waiter, fault);
            }
            Err(fault) => {
                // The rules still say the old policy, which is the tighter one.
                self.book.insert(sandbox.clone(), old);
                self.remember(sandbox);
                self.settle(sandbox, waiter, false, Some(fault), None);
            }
        }
    }

    /// While nothing passes any port: what is to hold when something does again.
    fn keep(
        &mut self,
        sandbox: &SandboxId,
        old: &Entry,
        new: Entry,
        record: &Record,
        waiter: Option<Waiter>,
        fault: Fault,
    ) {
        let generation = new.standing.generation;
        let place = self.place();
        let views = old.desired(place).zip(new.desired(place));
        let recorded = match (record, &views) {
            // For the slot that it gets, the bounds are recorded with it.
            (Record::Bounds { .. }, None) => Ok(()),
            _ => self.record(record),
        };
        if let Err(full) = recorded {
            let tightens = views
                .as_ref()
                .map(|(was, now)| policy::tightens(&self.closed, &was.egress, &now.egress));
            if tightens == Some(true) {
                // Or it would open with the others, as it was.
                return self.sealed(sandbox, waiter, full);
            }
            // What holds then is what held before.
            return waiter
                .into_iter()
                .for_each(|waiter| self.answer_waiter(waiter, Err(full.clone())));
        }
        self.book.insert(sandbox.clone(), new);
        self.kept.insert(sandbox.clone());
        self.note_shut();
        // Those of before may be among what has been loaded anew already.
        if let Some((was, now)) = views
            && let Err(failed) = self.put(Change::Replace {
                new: &now,
                old: &was,
            })
        {
            self.watch.spoiled(failed);
        }
        if let Some(waiter) = waiter {
            let answer = gateway_net::Answer::Kept { generation, fault };
            self.answer_waiter(waiter, Ok(answer));
        }
    }

    /// Nothing leaves: the change could not be made.
    fn sealed(&mut self, sandbox: &SandboxId, waiter: Option<Waiter>, fault: Fault) {
        self.seal(sandbox);
        let told = self.tell(sandbox);
        self.settle(sandbox, waiter, true, Some(fault), told);
    }

    /// Rules as they should be, and only then the port.
    fn unseal(&mut self, sandbox: &SandboxId) -> Result<(), Fault> {
        self.put_all()?;
        let slot = self.book.get(sandbox).and_then(|entry| entry.slot);
        let slot = slot.ok_or_else(|| no_lease(sandbox))?;
        let pair = Pair::new(self.config.block, slot.index).ok_or_else(|| no_lease(sandbox))?;
        let kernel = self.kernel.as_mut().ok_or_else(purged)?;
        let opened = kernel.router.unseal(slot.counter, &pair);
        opened.map_err(|e| worker::fault(&e))
    }

    /// Answers once egressd and the worker have ended what the policy that holds forbids. `tightens`: the kernel
    /// may have flows of that kind; `told`: the event by which egressd, which may have some by name, was told.
    fn settle(
        &mut self,
        sandbox: &SandboxId,
        waiter: Option<Waiter>,
        tightens: bool,
        fault: Option<Fault>,
        told: Option<u64>,
    ) {
        self.changes += 1;
        let change = self.changes;
        let slot = self.book.get(sandbox).and_then(|entry| entry.slot);
        // Without an egressd that could end what it dialled, all of it ends.
        let orphans = self.egress.is_none();
        let ends = slot.is_some() && (tightens || orphans);
        let settling = Settling {
            change,
            waiter,
            jobs: 0,
            egress: told.filter(|_| !orphans),
            fault,
            queue: VecDeque::new(),
        };
        self.settling.insert(sandbox.clone(), settling);
        if ends {
            self.end_forbidden(sandbox, orphans);
        }
        self.settled(sandbox);
    }

    /// Ends the flows that the policy that holds forbids; with `orphans` all that egressd dialled.
    fn end_forbidden(&mut self, sandbox: &SandboxId, orphans: bool) {
        let Some(settling) = self.settling.get_mut(sandbox) else {
            return;
        };
        let Some((entry, slot)) = self
            .book
            .get(sandbox)
            .and_then(|entry| Some((entry, entry.slot?)))
        else {
            return;
        };
        settling.jobs += 1;
        let pending = Pending::Change {
            sandbox: sandbox.clone(),
            change: settling.change,
        };
        let forbid = Forbid::By {
            policy: entry.effective(),
            orphans,
        };
        self.end_flows(slot, forbid, pending);
    }

    /// The worker has ended flows for a change, or could not.
    pub(super) fn flows_ended(
        &mut self,
        sandbox: &SandboxId,
        change: u64,
        result: Result<(), Fault>,
    ) {
        let Some(settling) = self.settling.get_mut(sandbox) else {
            return;
        };
        if settling.change != change {
            return;
        }
        settling.jobs -= 1;
        if let Err(fault) = result {
            settling.fault = Some(fault);
            self.seal(sandbox);
            let told = self.tell(sandbox);
            if let Some(settling) = self.settling.get_mut(sandbox) {
                settling.egress = told;
            }
        }
        self.settled(sandbox);
    }

    /// egressd has answered event `serial`, or is dead.
    pub(super) fn egress_settled(&mut self, sandbox: &SandboxId, serial: u64, alive: bool) {
        let Some(settling) = self.settling.get_mut(sandbox) else {
            return;
        };
        if settling.egress != Some(serial) {
            return;
        }
        settling.egress = None;
        if !alive {
            // It may be one that does not end although it should.
            self.end_forbidden(sandbox, true);
        }
        self.settled(sandbox);
    }

    /// The slot is gone, and every flow with it.
    pub(super) fn unslotted(&mut self, sandbox: &SandboxId) {
        if let Some(settling) = self.settling.get_mut(sandbox) {
            (settling.jobs, settling.egress) = (0, None);
            self.settled(sandbox);
        }
    }

    /// Answers if nothing is left to wait for, and begins with the next change.
    fn settled(&mut self, sandbox: &SandboxId) {
        let done = |s: &Settling| s.jobs == 0 && s.egress.is_none();
        if !self.settling.get(sandbox).is_some_and(done) {
            return;
        }
        let Some(settling) = self.settling.remove(sandbox) else {
            return;
        };
        let result = match (self.book.get(sandbox), settling.fault) {
            (_, Some(fault)) => Err(fault),
            (None, None) => Err(no_lease(sandbox)),
            (Some(entry), None) => Ok((entry.standing.generation, entry.airgap())),
        };
        if let Ok((generation, _)) = result {
            self.note(&Record::InForce {
                sandbox: sandbox.clone(),
                generation,
            });
        }
        match settling.waiter {
            Some(waiter) => {
                let answer =
                    |(generation, airgap)| gateway_net::Answer::InForce { generation, airgap };
                self.answer_waiter(waiter, result.map(answer));
            }
            None => {
                if let Err(fault) = result {
                    log::line(format_args!("{sandbox}: {fault}"));
                }
            }
        }
        let mut queue = settling.queue;
        while let Some(next) = queue.pop_front() {
            self.change(sandbox, next);
            if let Some(settling) = self.settling.get_mut(sandbox) {
                settling.queue.append(&mut queue);
            }
        }
    }

    /// A change that the netd of before did not see to its end.
    pub(crate) fn resume(&mut self, sandbox: &SandboxId) {
        let told = self.tell(sandbox);
        self.settle(sandbox, None, true, None, told);
    }

    fn answer_waiter(&mut self, (epoch, seq): Waiter, result: Result<gateway_net::Answer, Fault>) {
        if epoch == self.epoch {
            self.answer_gateway(seq, result);
        }
    }
}
