//! The network of a slot: a jail, which both daemons find by its name.

use std::io;
use std::os::fd::OwnedFd;

use crate::LinksError;

/// A jail's network that a cell can live in. It travels as nothing: its name is known.
#[derive(Debug)]
pub struct Space(());

impl Space {
    /// Descriptors that one travels as.
    pub const DESCRIPTORS: usize = 0;

    pub(super) const fn new() -> Self {
        Self(())
    }

    /// What came as `fds`; `None` if anything did.
    #[must_use]
    pub fn received(fds: Vec<OwnedFd>) -> Option<Self> {
        fds.is_empty().then_some(Self(()))
    }

    /// What to send of it.
    ///
    /// # Errors
    /// None.
    pub fn to_send(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(Vec::new())
    }

    /// What it travels as, itself gone.
    #[must_use]
    pub fn into_fds(self) -> Vec<OwnedFd> {
        Vec::new()
    }

    /// What tells it from others: zero, since its name does, in which is a counter that is never used twice.
    ///
    /// # Errors
    /// None.
    pub fn identity(&self) -> Result<u64, LinksError> {
        Ok(0)
    }
}
