//! A set of descriptors watched as one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Result, unsupported};

/// The set. It polls readable when one of its descriptors does.
#[derive(Debug)]
pub struct Set {
    descriptor: OwnedFd,
}

impl Set {
    /// An empty set.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn new() -> Result<Self> {
        unsupported("watch::Set::new")
    }

    /// Watches `fd` for being readable, under the name `token`.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn add(&self, _fd: BorrowedFd<'_>, _token: u64) -> Result<()> {
        unsupported("watch::Set::add")
    }

    /// Watches `fd` no more. One that was not watched is no error.
    pub fn remove(&self, _fd: BorrowedFd<'_>) {}

    /// Adds the tokens of readable descriptors to `out`, a bounded number at once. Never waits.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn ready(&self, _out: &mut Vec<u64>) -> Result<()> {
        unsupported("watch::Set::ready")
    }
}

impl AsFd for Set {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
