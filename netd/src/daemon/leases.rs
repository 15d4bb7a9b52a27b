//! What privd asks: leases and their slots.

use std::os::fd::OwnedFd;
use std::time::Instant;

use warder_desired::{Change, Sandbox};
use warder_ipc::Channel;
use warder_links::Space;
use warder_links::plan::Pair;
use warder_wire::{Bounds, Fault, FaultCode, SandboxId, priv_net};

use super::{Daemon, Gateway, Pending, no_lease, purged};
use crate::ledger::{Record, SlotRecord};
use crate::log;
use crate::policy::Entry;
use crate::slots::Ready;
use crate::table::{Budget, Rate};
use crate::worker::{self, Forbid, Job};

impl Daemon {
    pub(crate) fn lease_live(&mut self, sandbox: &SandboxId, bounds: Bounds) {
        self.book.entry(sandbox.clone()).or_default().live = true;
        self.bound(sandbox, bounds);
    }

    pub(crate) fn lease_gone(&mut self, sandbox: &SandboxId) {
        self.kept.remove(sandbox);
        let Some(entry) = self.book.remove(sandbox) else {
            return;
        };
        match entry.slot {
            Some(slot) => self.release(sandbox, &entry, slot),
            None if entry.standing.generation > 0 => {
                self.note(&Record::Released {
                    sandbox: sandbox.clone(),
                    counter: None,
                });
            }
            None => {}
        }
    }

    pub(crate) fn slot_take(&mut self, seq: u64, sandbox: SandboxId) {
        match self.book.get(&sandbox) {
            Some(entry) if entry.live => {}
            _ => return self.answer_privd(seq, Err(no_lease(&sandbox))),
        }
        // No slot without rules that hold.
        if let Err(fault) = self.glance() {
            return self.answer_privd(seq, Err(fault));
        }
        if self.held.contains_key(&sandbox) {
            return self.give(seq, &sandbox);
        }
        if self.pool.wait(seq, &sandbox) {
            self.serve_waiting();
        } else {
            let fault = Fault::new(FaultCode::Exhausted, "all network slots are taken");
            self.answer_privd(seq, Err(fault));
        }
    }

    /// The slot that the sandbox has becomes a machine's.
    pub(crate) fn slot_tap(&mut self, seq: u64, sandbox: &SandboxId) {
        let slot = match self.slot_of(sandbox) {
            Ok(slot) if self.held.contains_key(sandbox) => slot,
            _ => return self.answer_privd(seq, Err(no_lease(sandbox))),
        };
        // A tap comes up where the pair may be down.
        if let Err(fault) = self.glance().and_then(|()| self.may_be_up(slot.counter)) {
            return self.answer_privd(seq, Err(fault));
        }
        self.send_maker(&Job::Tap { seq, slot });
    }

    /// Whether a slot's port may be up: it is a sandbox's still, and nothing has closed it.
    fn may_be_up(&self, counter: u32) -> Result<(), Fault> {
        let open = |e: &Entry| !e.sealed && e.slot.is_some_and(|slot| slot.counter == counter);
        match self.watch.shut() {
            Some(fault) => Err(fault.clone()),
            None if self.book.values().any(open) => Ok(()),
            None => Err(Fault::new(FaultCode::Unavailable, "sealed or given up")),
        }
    }

    /// It has become one, or has not.
    pub(crate) fn tapped(&mut self, seq: u64, slot: priv_net::Slot, result: Result<u32, Fault>) {
        if let Err(fault) = self.may_be_up(slot.counter) {
            // One that was there before is up perhaps.
            self.take_down([slot.counter]);
            return self.answer_privd(seq, Err(fault));
        }
        let (gateway, address) = (slot.gateway, slot.address);
        let pair = Pair { gateway, address };
        let result = result.and_then(|unit| {
            let kernel = self.kernel.as_mut().ok_or_else(purged)?;
            let begun = kernel.router.begin(slot.counter, &pair);
            begun.map(|()| unit).map_err(|e| worker::fault(&e))
        });
        let tap = |unit| priv_net::Tap {
            slot,
            unit,
            mac: pair.mac(),
            gateway_mac: pair.gateway_mac(),
        };
        let tap = result.map(|unit| priv_net::Answer::Tap(tap(unit)));
        self.answer_privd(seq, tap);
    }

    pub(crate) fn slot_report(&mut self, seq: u64) {
        let (total, ready, _) = self.pool.counts();
        let taken = self.book.values().filter(|e| e.slot.is_some()).count();
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        self.answer_privd(
            seq,
            Ok(priv_net::Answer::Slots {
                total,
                ready,
                taken,
            }),
        );
    }

    /// False when `fd` is no channel.
    pub(crate) fn gateway_channel(&mut self, fd: OwnedFd) -> bool {
        let Ok(channel) = Channel::from_fd(fd) else {
            return false;
        };
        self.epoch += 1;
        self.gateway = Some(Gateway {
            channel,
            budget: Budget::full(Instant::now(), Rate::GATEWAY),
        });
        true
    }

    /// Requests that wait get what is ready.
    pub(super) fn serve_waiting(&mut self) {
        while self.pool.can_serve() {
            let Some((seq, sandbox)) = self.pool.next_waiting() else {
                return;
            };
            let live = self.book.get(&sandbox).is_some_and(|entry| entry.live);
            if !live {
                self.answer_privd(seq, Err(no_lease(&sandbox)));
            } else if self.held.contains_key(&sandbox) {
                self.give(seq, &sandbox);
            } else if let Some(ready) = self.pool.pop() {
                match self.assign(&sandbox, ready) {
                    Ok(()) => self.give(seq, &sandbox),
                    Err(fault) => self.answer_privd(seq, Err(fault)),
                }
            }
        }
    }

    /// Answers with the slot that the sandbox has.
    fn give(&mut self, seq: u64, sandbox: &SandboxId) {
        let answer = self.slot_of(sandbox).and_then(|slot| {
            let space = self.held.get(sandbox).ok_or_else(|| no_lease(sandbox))?;
            let fds = space.to_send();
            Ok((slot, fds.map_err(|e| Fault::new(FaultCode::System, e))?))
        });
        match answer {
            Ok((slot, fds)) => self.answer_privd_with(seq, Ok(priv_net::Answer::Slot(slot)), fds),
            Err(fault) => self.answer_privd(seq, Err(fault)),
        }
    }

    pub(crate) fn slot_of(&self, sandbox: &SandboxId) -> Result<priv_net::Slot, Fault> {
        let slot = self.book.get(sandbox).and_then(|entry| entry.slot);
        let slot = slot.ok_or_else(|| no_lease(sandbox))?;
        let pair = Pair::new(self.config.block, slot.index);
        let Pair { gateway, address } = pair.ok_or_else(|| no_lease(sandbox))?;
        Ok(priv_net::Slot {
            counter: slot.counter,
            address,
            gateway,
        })
    }

    /// Puts a sandbox's policy in force on a ready slot, which is its own from then on.
    fn assign(&mut self, sandbox: &SandboxId, ready: Ready) -> Result<(), Fault> {
        let Ready { slot, space } = ready;
        let entry = self.book.get(sandbox).ok_or_else(|| no_lease(sandbox))?;
        let mut entry = entry.clone();
        (entry.slot, entry.sealed) = (Some(slot), false);
        let take = Record::Take {
            sandbox: sandbox.clone(),
            slot,
            bounds: entry.bounds,
        };
        let before = self.book.insert(sandbox.clone(), entry.clone());
        let added = self.record(&take).and_then(|()| {
            let view = entry.desired(self.place()).ok_or_else(outside)?;
            self.put(Change::Add(&view))?;
            let begun = self.begin(&slot);
            if begun.is_err() {
                self.withdraw(sandbox, &view, &slot);
            }
            begun
        });
        if let Err(fault) = added {
            if let Some(before) = before {
                self.book.insert(sandbox.clone(), before);
            }
            self.note(&Record::Release {
                sandbox: sandbox.clone(),
            });
            self.remember(sandbox);
            self.pool.cool();
            self.end_released(sandbox.clone(), slot);
            return Err(fault);
        }
        self.note(&Record::Taken {
            sandbox: sandbox.clone(),
        });
        self.held.insert(sandbox.clone(), space);
        self.tell(sandbox);
        self.lull();
        Ok(())
    }

    /// Rules go first and at once; then the network; then the flows, and with them the index is free.
    pub(crate) fn release(&mut self, sandbox: &SandboxId, entry: &Entry, slot: SlotRecord) {
        self.note(&Record::Release {
            sandbox: sandbox.clone(),
        });
        // Of a lease that lives on, the policy is for its next slot.
        self.remember(sandbox);
        let old = Entry {
            slot: Some(slot),
            ..entry.clone()
        };
        if let Some(old) = old.desired(self.place()) {
            self.withdraw(sandbox, &old, &slot);
        }
        self.held.remove(sandbox);
        self.pool.cool();
        self.unslotted(sandbox);
        self.tell_gone(sandbox.clone(), slot);
    }

    /// Takes the rules of a sandbox away, or its port down.
    fn withdraw(&mut self, sandbox: &SandboxId, rules: &Sandbox, slot: &SlotRecord) {
        if let Err(fault) = self.put(Change::Remove(rules)) {
            log::line(format_args!("rules of {sandbox}: {fault}"));
            self.seal_port(slot);
        }
    }

    /// Brings the port of a slot up, which has rules.
    fn begin(&mut self, slot: &SlotRecord) -> Result<(), Fault> {
        let pair = Pair::new(self.config.block, slot.index).ok_or_else(outside)?;
        let kernel = self.kernel.as_mut().ok_or_else(purged)?;
        let begun = kernel.router.begin(slot.counter, &pair);
        begun.map_err(|e| worker::fault(&e))
    }

    pub(crate) fn end_released(&mut self, sandbox: SandboxId, slot: SlotRecord) {
        self.end_flows(slot, Forbid::All, Pending::Release { sandbox, slot });
    }

    /// Checks what is said to be a running cell's network against ledger and kernel.
    pub(crate) fn recognise(&mut self, sandbox: &SandboxId, space: &Space) -> Result<(), Fault> {
        let unknown = |why: &str| {
            Fault::new(
                FaultCode::NotFound,
                format_args!("no slot of {sandbox}: {why}"),
            )
        };
        let entry = self
            .book
            .get(sandbox)
            .ok_or_else(|| unknown("not in the ledger"))?;
        let slot = entry.slot.ok_or_else(|| unknown("it had none"))?;
        let kernel = self.kernel.as_mut().ok_or_else(purged)?;
        let slot = (slot.counter, slot.identity);
        let known = kernel.router.recognise(&self.found, slot, sandbox, space);
        known.map_err(|e| worker::fault(&e))?.map_err(unknown)
    }
}

fn outside() -> Fault {
    Fault::new(FaultCode::System, "a slot outside the block")
}
