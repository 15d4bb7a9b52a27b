//! Between privd and netd (both zone 3): which leases live, and network slots for their cells.
//!
//! privd asks, netd answers. Slots and namespace descriptors travel only here.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Bounds, InstanceTag, SandboxId};

/// What privd may ask of netd.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ask {
    /// A lease was opened: policy for this sandbox may be set from now on. Said again with other bounds, those hold
    /// from the next policy or slot on. Not answered.
    LeaseLive {
        /// The sandbox.
        sandbox: SandboxId,
        /// What the operator's configuration says of its template.
        bounds: Bounds,
    },
    /// A lease has ended: its slot, policy and flows go. Not answered.
    LeaseGone {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// A slot for a live lease, its policy in force before the answer (closed if none was set).
    /// Answer: [`Answer::Slot`] with the network namespace's descriptor (Linux), or without one (FreeBSD: the
    /// slot is the jail [`slot_jail`]). Asked again for the same sandbox, the same slot is given.
    SlotTake {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// At start: a running cell's network namespace rides along (Linux); netd finds the slot it belongs to and
    /// keeps it. On FreeBSD it looks for the cell's jail below the slot's. Answer: [`Answer::Slot`] without
    /// descriptor, or `NotFound`: the cell is not whole.
    SlotAdopt {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// At start, after the last adoption: what was not adopted is removed. Answer: [`Answer::Done`].
    ReconcileEnd,
    /// The gateway was started: its channel rides along, the old one is dead. Not answered.
    GatewayChannel,
    /// egressd was started: its channel rides along, the old one is dead and every flow in it. Not answered.
    EgressChannel,
    /// Removes every kernel object of this instance. Answer: [`Answer::Done`]; netd then exits.
    Purge,
    /// What the slots look like now, for reports and tests. Answer: [`Answer::Slots`].
    SlotReport,
    /// Puts a tap(4) in the place of the pair of the slot that the sandbox has taken, under the same name, addresses and
    /// rules: its network is a virtual machine's. Answer: [`Answer::Tap`]. Asked again, the same one is given.
    SlotTap {
        /// The sandbox.
        sandbox: SandboxId,
    },
}

/// What netd answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Answer {
    /// Done.
    Done,
    /// The slot.
    Slot(Slot),
    /// Slots in all, ready, taken.
    Slots {
        /// At most.
        total: u32,
        /// Made and waiting.
        ready: u32,
        /// Given to cells.
        taken: u32,
    },
    /// The slot, with what a machine must know of it.
    Tap(Tap),
}

/// What a cell must know of its network.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Slot {
    /// Counts the slots that netd has made; never used twice.
    pub counter: u32,
    /// The sandbox's address.
    pub address: Ipv4Addr,
    /// Its next hop.
    pub gateway: Ipv4Addr,
}

/// What a virtual machine must know of its network.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tap {
    /// The slot.
    pub slot: Slot,
    /// Number of the tap(4), which is N of /dev/vmnetN.
    pub unit: u32,
    /// MAC of the machine's interface.
    pub mac: [u8; 6],
    /// MAC of its next hop: no ARP passes.
    pub gateway_mac: [u8; 6],
}

/// What netd tells privd unasked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Event {
    /// netd has read its ledger and waits for adoptions.
    Ready,
    /// egressd did not do as it was told: netd hears it no more, and another one is needed.
    EgressLost,
}

/// Name of the jail that holds a slot's network on FreeBSD. A cell's jail lies below it and is named after its
/// sandbox (jail(8), HIERARCHICAL JAILS), so that neither daemon has to tell the other a number of the kernel's.
#[must_use]
pub fn slot_jail(tag: InstanceTag, counter: u32) -> String {
    format!("w{tag}-{counter}")
}
