//! Cells are not made ahead of need on this kernel: a jail is made below that of its slot, and bears its sandbox's name.

use std::convert::Infallible;
use std::os::fd::BorrowedFd;

use warder_common::{HostError, Result};
use warder_wire::SandboxId;

use super::{Cell, Controllers, Network, Status, Walls};
use crate::process::Process;

/// There is none.
#[derive(Debug)]
pub struct Spare(Infallible);

#[allow(missing_docs, clippy::missing_errors_doc, reason = "there is none")]
impl Spare {
    /// Whether this kernel's cells can be made ahead.
    pub const POSSIBLE: bool = false;

    /// # Errors
    /// `Unsupported`.
    pub fn begin(_: &Walls<'_>) -> Result<Self> {
        Err(HostError::Unsupported {
            operation: "cell::Spare::begin",
        })
    }

    #[must_use]
    pub fn is_sound(&self) -> bool {
        match self.0 {}
    }

    pub fn start(self, _: &SandboxId, _: &Network, _: BorrowedFd<'_>) -> Result<(Cell, Status)> {
        match self.0 {}
    }

    pub fn end(self) -> Result<Process> {
        match self.0 {}
    }
}

/// A jail is its sandbox's from the beginning.
#[allow(missing_docs, reason = "nothing is to be done")]
impl Controllers {
    pub fn pass(&mut self, _: SandboxId, _: SandboxId) {}

    pub fn forget(&mut self, _: &SandboxId) {}

    pub fn adopt(&mut self, _: &SandboxId, _: &Cell) {}
}
