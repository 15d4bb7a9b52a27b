//! Between a plugin host (zone 2) and privd (zone 3). The channel is narrowed: privd answers only for
//! sandboxes whose lease names this plugin's backend.

use serde::{Deserialize, Serialize};

pub use crate::gateway_priv::{EndReason, Usage};
use crate::{Limits, LimitsInForce, OpId, SandboxId, TemplateName};

/// What a plugin host may ask of privd.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ask {
    /// A writable root for the sandbox, cloned from the template its lease names. Answer: [`Answer::Done`].
    StorageClone {
        /// The operation; asked twice it is done once.
        op: OpId,
        /// The sandbox.
        sandbox: SandboxId,
        /// Must be the lease's.
        template: TemplateName,
    },
    /// Starts the sandbox's cell on its storage, with a network slot. Answer: [`Answer::Cell`].
    CellCreate {
        /// The operation.
        op: OpId,
        /// The sandbox.
        sandbox: SandboxId,
        /// At most the lease's.
        limits: Limits,
    },
    /// Ends every process of the cell. Answered when none can run any more. Answer: [`Answer::Done`].
    CellRemove {
        /// The operation.
        op: OpId,
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// Removes the storage; the slow part goes on after the answer. Answer: [`Answer::Done`].
    StorageDestroy {
        /// The operation.
        op: OpId,
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// What the cell uses now. Answer: [`Answer::Usage`].
    CellStat {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// This backend's sandboxes in order of id, at most [`CELLS_A_PAGE`]. Answer: [`Answer::Cells`].
    CellList {
        /// Only ids greater than this one.
        after: Option<SandboxId>,
    },
    /// Freezes every process of the cell and pauses the lease. Answered when the sandbox's disk would survive a loss
    /// of power. Answer: [`Answer::Done`].
    CellFreeze {
        /// The operation.
        op: OpId,
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// Lets a frozen cell go on; its lease counts again. Answer: [`Answer::Done`]; `NotFound` when it has no
    /// frozen cell.
    CellThaw {
        /// The operation.
        op: OpId,
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// Ends every process of the cell, running or frozen, keeps its storage and pauses the lease; a
    /// [`Ask::CellCreate`] starts it anew. Answered as [`Ask::CellFreeze`]. Answer: [`Answer::Done`].
    CellStop {
        /// The operation.
        op: OpId,
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// Makes a template of the sandbox's storage, with its processes frozen meanwhile. Answer: [`Answer::Done`].
    StorageSnapshot {
        /// The operation.
        op: OpId,
        /// The sandbox.
        sandbox: SandboxId,
        /// The template to be, not taken yet, as the gateway has allowed it.
        template: TemplateName,
    },
    /// Starts a virtual machine on the sandbox's storage, which holds its disk, with a network slot: a cell whose
    /// first process is the machine. Answer: [`Answer::Cell`]; `Unsupported` names what this host lacks, before
    /// anything is made.
    VmCreate {
        /// The operation.
        op: OpId,
        /// The sandbox.
        sandbox: SandboxId,
        /// At most the lease's.
        limits: Limits,
    },
    /// Ends the machine at once, as [`Ask::CellRemove`] ends a cell. Answer: [`Answer::Done`].
    VmRemove {
        /// The operation.
        op: OpId,
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// What the machine uses of the host now. Answer: [`Answer::Usage`].
    VmStat {
        /// The sandbox.
        sandbox: SandboxId,
    },
}

/// Most cells in one answer.
pub const CELLS_A_PAGE: usize = 200;

/// What privd answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Answer {
    /// Done.
    Done,
    /// The cell runs.
    Cell {
        /// Which limits hold.
        limits: LimitsInForce,
    },
    /// See [`Usage`].
    Usage(Usage),
    /// Sandboxes of this backend that have a cell.
    Cells(Vec<SandboxId>),
}

/// What privd tells a plugin host unasked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Event {
    /// A sandbox of this backend is gone, whoever ended it.
    Ended {
        /// Which.
        sandbox: SandboxId,
        /// Why.
        reason: EndReason,
    },
    /// The gateway was restarted: its new channel rides along; the old one is dead.
    GatewayChannel,
}
