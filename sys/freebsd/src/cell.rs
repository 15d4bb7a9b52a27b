//! Cells: one sandbox's processes and their walls.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};
use warder_wire::gateway_priv::{Feature, Usage};
use warder_wire::priv_net::Slot;
use warder_wire::{InstanceTag, Limits, LimitsInForce, SandboxId};

use crate::error::{Result, unsupported};
use crate::process::Process;
use crate::storage::Root;

/// The host's ids of one sandbox: its id 0 is `first`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct IdRange {
    /// First host id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// What gives a sandbox its own ids.
#[derive(Debug)]
pub struct UserNamespace {
    range: IdRange,
}

impl UserNamespace {
    /// Makes one for `range`.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn new(_range: IdRange) -> Result<Self> {
        unsupported("cell::UserNamespace::new")
    }

    /// The ids it maps.
    #[must_use]
    pub fn range(&self) -> IdRange {
        self.range
    }
}

/// Limits on cells of one instance.
#[derive(Debug)]
pub struct Controllers {
    in_force: LimitsInForce,
}

impl Controllers {
    /// Finds what this host has to enforce limits with.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn open(_tag: InstanceTag) -> Result<Self> {
        unsupported("cell::Controllers::open")
    }

    /// Which limits a new cell gets.
    #[must_use]
    pub fn limits_in_force(&self) -> LimitsInForce {
        self.in_force
    }

    /// Sandboxes that left something in the kernel under this instance's tag.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn leftovers(&self) -> Result<Vec<SandboxId>> {
        unsupported("cell::Controllers::leftovers")
    }

    /// Kills what is left of a sandbox and removes its kernel objects; false while some are still busy.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn remove_leftovers(&self, _sandbox: &SandboxId) -> Result<bool> {
        unsupported("cell::Controllers::remove_leftovers")
    }

    /// Removes what the instance itself made; false while a cell is left.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn close(&self) -> Result<bool> {
        unsupported("cell::Controllers::close")
    }

    /// How this host holds paused cells still, and what becomes of their memory.
    #[must_use]
    pub fn pausing(&self) -> [Feature; 0] {
        []
    }

    /// Freezes a cell, or goes on with it: to be called again until it says that every process stands still.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn freeze(&self, _sandbox: &SandboxId, _ids: IdRange) -> Result<bool> {
        unsupported("cell::Controllers::freeze")
    }

    /// Lets the processes of a cell go on.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn thaw(&self, _sandbox: &SandboxId, _ids: IdRange) -> Result<()> {
        unsupported("cell::Controllers::thaw")
    }

    /// Whether a cell is frozen, or is being.
    #[must_use]
    pub fn is_frozen(&self, _sandbox: &SandboxId, _cell: &Cell) -> bool {
        false
    }

    /// What a worker needs to [`Self::reclaim`].
    #[must_use]
    pub fn reclaims(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Pushes the memory of a frozen cell out.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn reclaim(&self, _sandbox: &SandboxId) -> Result<()> {
        unsupported("cell::Controllers::reclaim")
    }

    /// What a cell uses now.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn usage(&self, _sandbox: &SandboxId) -> Result<Usage> {
        unsupported("cell::Controllers::usage")
    }
}

/// What [`spawn`] makes a cell of.
#[derive(Clone, Copy, Debug)]
pub struct CellSpec<'a> {
    /// Of the instance.
    pub controllers: &'a Controllers,
    /// The sandbox; also its host name.
    pub sandbox: &'a SandboxId,
    /// Its ids.
    pub users: &'a UserNamespace,
    /// Its network.
    pub network: &'a Network,
    /// Its limits.
    pub limits: &'a Limits,
    /// Its root tree.
    pub root: &'a Root,
    /// The agent's executable file.
    pub agent: BorrowedFd<'a>,
    /// The agent's listener, its descriptor 3.
    pub listener: BorrowedFd<'a>,
}

/// A cell and the way to find it again.
#[derive(Debug)]
pub struct Cell {
    /// Its first process.
    pub process: Process,
    /// What to keep in the ledger.
    pub handle: CellHandle,
}

/// What the ledger keeps of a cell.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CellHandle {
    /// Number of its first process.
    pub pid: u32,
}

/// News of a cell being set up; readable when there is some.
#[derive(Debug)]
pub struct Status {
    descriptor: OwnedFd,
}

/// What became of a cell being set up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The agent runs.
    Running,
    /// A step failed; the cell has ended.
    Failed {
        /// The step.
        stage: String,
        /// What the system said; 0 when the process died without a word.
        errno: i32,
    },
}

impl Status {
    /// What became of the cell, if that is known by now.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn read(&mut self) -> Result<Option<Outcome>> {
        unsupported("cell::Status::read")
    }
}

impl AsFd for Status {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Starts a cell and returns at once; the cell sets itself up and reports through [`Status`].
///
/// # Errors
/// `Unsupported`.
pub fn spawn(_spec: &CellSpec<'_>) -> Result<(Cell, Status)> {
    unsupported("cell::spawn")
}

/// Finds a cell again after a restart of privd; `None` when it is not the same any more.
///
/// # Errors
/// `Unsupported`.
pub fn adopt(_handle: &CellHandle) -> Result<Option<Cell>> {
    unsupported("cell::adopt")
}

/// Kills every process whose user is one of `ids` and none of `kept`; their number.
///
/// # Errors
/// `Unsupported`.
pub fn end_strays(_ids: IdRange, _kept: &[IdRange]) -> Result<u32> {
    unsupported("cell::end_strays")
}

/// The network a cell lives in: the jail of a slot, which privd finds by its name
/// ([`warder_wire::priv_net::slot_jail`]).
#[derive(Debug)]
pub struct Network {
    /// Of the slot.
    pub counter: u32,
}

impl Network {
    /// What netd answered: its slot, and the descriptors that came along.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn received(_slot: Slot, _fds: Vec<OwnedFd>) -> Result<Self> {
        unsupported("cell::Network::received")
    }

    /// What netd needs to recognise it.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn to_send(&self) -> Result<Vec<OwnedFd>> {
        unsupported("cell::Network::to_send")
    }
}

/// The network of a running cell.
///
/// # Errors
/// `Unsupported`.
pub fn network_of(_cell: &Cell) -> Result<Network> {
    unsupported("cell::network_of")
}
