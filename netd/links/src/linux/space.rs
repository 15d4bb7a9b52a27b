//! The network of a slot: a namespace, by its descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use warder_linux::netns;

use crate::LinksError;

/// A network namespace that a cell can live in.
#[derive(Debug)]
pub struct Space(OwnedFd);

impl Space {
    /// Descriptors that one travels as.
    pub const DESCRIPTORS: usize = 1;

    /// What came as `fds`; `None` unless that is one descriptor.
    #[must_use]
    pub fn received(fds: Vec<OwnedFd>) -> Option<Self> {
        let [ns] = <[OwnedFd; 1]>::try_from(fds).ok()?;
        Some(Self(ns))
    }

    /// What to send of it.
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn to_send(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(vec![self.0.try_clone()?])
    }

    /// What it travels as, itself gone.
    #[must_use]
    pub fn into_fds(self) -> Vec<OwnedFd> {
        vec![self.0]
    }

    /// What tells it from others while it lives: its inode.
    ///
    /// # Errors
    /// [`LinksError::System`] when it is no network namespace.
    pub fn identity(&self) -> Result<u64, LinksError> {
        identity(self.0.as_fd())
    }
}

pub(super) fn identity(ns: BorrowedFd<'_>) -> Result<u64, LinksError> {
    netns::id(ns)
        .map(|id| id.inode)
        .map_err(|e| LinksError::io("not a network namespace", e))
}

impl AsFd for Space {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Space {
    fn from(ns: OwnedFd) -> Self {
        Self(ns)
    }
}
