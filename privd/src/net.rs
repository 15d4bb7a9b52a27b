//! privd as netd's client: leases, slots, adoption after a restart of either.

use std::os::fd::OwnedFd;

use warder_host::cell::{Network, network_of};
use warder_wire::priv_net::{Answer, Ask, Event};
use warder_wire::{Fault, FaultCode, Message, Request, SandboxId};

use crate::privd::{CellLife, Privd, host_fault};
use crate::supervise::{Role, chain};

/// What a request to netd was for.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    /// A slot for a cell to be.
    Slot(SandboxId),
    /// The slot of a running cell.
    Adopt(SandboxId),
    /// Adoption is over.
    Reconciled,
    /// Everything of the instance is removed.
    Purged,
}

impl Privd {
    /// Tells netd something it does not answer. While netd is away this is not needed: what it must
    /// know is told when it comes back.
    pub(crate) fn post_net(&mut self, ask: Ask, fds: Vec<OwnedFd>) {
        self.net_seq += 1;
        let request = Request {
            seq: self.net_seq,
            body: ask,
        };
        self.send(Role::Net, &request, fds);
    }

    /// Asks netd something.
    pub(crate) fn ask_net(&mut self, ask: Ask, fds: Vec<OwnedFd>, pending: Pending) {
        self.net_pending.insert(self.net_seq + 1, pending);
        self.post_net(ask, fds);
    }

    /// netd is gone: nothing it was asked will be answered. Cells that wait for a slot go on waiting.
    pub(crate) fn net_lost(&mut self) {
        self.net_pending.clear();
        for live in self.live.values_mut() {
            if let CellLife::Waiting { asked, .. } = &mut live.cell {
                *asked = false;
            }
        }
    }

    /// Takes a message of netd.
    ///
    /// # Errors
    /// Why its channel must die.
    pub(crate) fn take_net(
        &mut self,
        message: Message<Answer, Event>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), &'static str> {
        let (seq, result) = match message {
            // It will be told to remove everything, if it has not been already, and then it goes.
            Message::Event(Event::Ready) if self.stopping() => return Ok(()),
            Message::Event(Event::Ready) => {
                self.adopt_slots();
                return Ok(());
            }
            Message::Event(Event::EgressLost) => {
                // One that netd has not been told of yet is not the one that is meant.
                if self.serving(Role::Egress) {
                    self.end_channel(Role::Egress, "did not do as netd told it");
                }
                return Ok(());
            }
            Message::Reply { seq, result } => (seq, result),
        };
        let pending = self
            .net_pending
            .remove(&seq)
            .ok_or("answered what was not asked")?;
        match (pending, result) {
            (Pending::Slot(sandbox), Ok(Answer::Slot(slot))) => {
                let network =
                    Network::received(slot, fds).map_err(|_| "sent a slot without its network")?;
                self.slot_taken(&sandbox, Ok(network));
            }
            (Pending::Slot(sandbox), Ok(Answer::Tap(tap))) => {
                let network = Network::of_machine(tap).map_err(|e| host_fault(&e));
                self.slot_taken(&sandbox, network);
            }
            (Pending::Slot(sandbox), Err(fault)) => self.slot_taken(&sandbox, Err(fault)),
            (Pending::Adopt(_), Ok(Answer::Slot(_))) => {}
            (Pending::Adopt(sandbox), Err(fault)) => {
                self.log
                    .own(format_args!("{sandbox} has no network slot: {fault}"));
                self.cell_lost(&sandbox);
            }
            (Pending::Reconciled, Ok(Answer::Done)) => {
                self.now_serving(Role::Net);
                self.ask_for_slots();
            }
            (Pending::Purged, Ok(Answer::Done)) => self.purged(),
            (Pending::Reconciled | Pending::Purged, Err(fault)) => {
                self.log.own(format_args!("netd: {fault}"));
                return Err("could not do what every start and stop needs");
            }
            _ => return Err("answered something else"),
        }
        Ok(())
    }

    /// netd has read its ledger: tells it every lease and gives it every cell's network.
    fn adopt_slots(&mut self) {
        let sandboxes: Vec<SandboxId> = self.ledger.book().keys().cloned().collect();
        for sandbox in &sandboxes {
            self.post_live(sandbox);
        }
        for sandbox in sandboxes {
            let network = match self.live.get(&sandbox).map(|live| &live.cell) {
                Some(CellLife::Running { cell, .. }) => {
                    network_of(cell).and_then(|network| network.to_send())
                }
                Some(CellLife::Starting { network, .. }) => network.to_send(),
                _ => continue,
            };
            match network {
                Ok(fds) => {
                    let ask = Ask::SlotAdopt {
                        sandbox: sandbox.clone(),
                    };
                    self.ask_net(ask, fds, Pending::Adopt(sandbox));
                }
                Err(e) => {
                    self.log
                        .own(format_args!("{sandbox} has no network: {}", chain(&e)));
                    self.cell_lost(&sandbox);
                }
            }
        }
        self.ask_net(Ask::ReconcileEnd, Vec::new(), Pending::Reconciled);
    }

    /// Asks for the slots that cells wait for.
    fn ask_for_slots(&mut self) {
        let waits = |cell: &CellLife| matches!(cell, CellLife::Waiting { asked: false, .. });
        let waiting: Vec<SandboxId> = self
            .live
            .iter()
            .filter(|(_, l)| waits(&l.cell))
            .map(|(id, _)| id.clone())
            .collect();
        for sandbox in waiting {
            self.ask_for_slot(&sandbox);
        }
    }

    /// Asks for one slot now, if netd serves; otherwise the cell waits until it does.
    pub(crate) fn ask_for_slot(&mut self, sandbox: &SandboxId) {
        // What its last cell left goes first.
        if !self.serving(Role::Net) || self.cleanups.contains_key(sandbox) {
            return;
        }
        if let Some(CellLife::Waiting {
            asked: asked @ false,
            ..
        }) = self.live.get_mut(sandbox).map(|live| &mut live.cell)
        {
            *asked = true;
            self.ask_net(
                Ask::SlotTake {
                    sandbox: sandbox.clone(),
                },
                Vec::new(),
                Pending::Slot(sandbox.clone()),
            );
        }
    }
}

impl Privd {
    /// A machine's slot is taken: asks for its tap.
    ///
    /// # Errors
    /// While netd is away, which has the cell wait no longer.
    pub(crate) fn ask_for_tap(&mut self, sandbox: &SandboxId) -> Result<(), Fault> {
        if !self.serving(Role::Net) {
            return Err(no_slot());
        }
        let ask = Ask::SlotTap {
            sandbox: sandbox.clone(),
        };
        self.ask_net(ask, Vec::new(), Pending::Slot(sandbox.clone()));
        Ok(())
    }
}

/// What a cell is told that waited too long for netd.
#[must_use]
pub(crate) fn no_slot() -> Fault {
    Fault::new(
        FaultCode::Unavailable,
        "no network slot in time: netd is being restarted or busy",
    )
}
