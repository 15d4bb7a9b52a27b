//! Where there is no nftables.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

use crate::NftError;
use crate::flow::Flow;
use crate::model::{Table, Transaction};

/// A way to the packet filter of one network namespace.
#[derive(Debug)]
pub struct Session(());

impl Session {
    /// Of the calling thread's namespace.
    ///
    /// # Errors
    /// [`NftError::Unsupported`].
    pub fn open() -> Result<Self, NftError> {
        Err(NftError::Unsupported("nftables"))
    }

    /// Of the namespace `ns`.
    ///
    /// # Errors
    /// [`NftError::Unsupported`].
    pub fn open_in(_ns: BorrowedFd<'_>) -> Result<Self, NftError> {
        Err(NftError::Unsupported("nftables"))
    }

    /// Puts a transaction in force.
    ///
    /// # Errors
    /// [`NftError::Unsupported`].
    pub fn apply(&mut self, _transaction: &Transaction) -> Result<(), NftError> {
        Err(NftError::Unsupported("nftables"))
    }

    /// Deletes flows by mark.
    ///
    /// # Errors
    /// [`NftError::Unsupported`].
    pub fn end_flows(&mut self, _mark: u32, _keep: impl Fn(&Flow) -> bool) -> Result<(), NftError> {
        Err(NftError::Unsupported("connection tracking"))
    }

    /// Deletes flows by mark without a look afterwards.
    ///
    /// # Errors
    /// [`NftError::Unsupported`].
    pub fn drop_flows(&mut self, _mark: u32) -> Result<(), NftError> {
        Err(NftError::Unsupported("connection tracking"))
    }

    /// Deletes all flows of the namespace.
    ///
    /// # Errors
    /// [`NftError::Unsupported`].
    pub fn drop_all(&mut self) -> Result<(), NftError> {
        Err(NftError::Unsupported("connection tracking"))
    }

    /// What rises with every change.
    ///
    /// # Errors
    /// [`NftError::Unsupported`].
    pub fn generation(&mut self) -> Result<u32, NftError> {
        Err(NftError::Unsupported("nftables"))
    }

    /// A table as the kernel tells it.
    ///
    /// # Errors
    /// [`NftError::Unsupported`].
    pub fn told(&mut self, _table: Table) -> Result<BTreeSet<Vec<u8>>, NftError> {
        Err(NftError::Unsupported("nftables"))
    }

    /// How many flows carry `mark`.
    ///
    /// # Errors
    /// [`NftError::Unsupported`].
    pub fn flows(&mut self, _mark: u32) -> Result<u32, NftError> {
        Err(NftError::Unsupported("connection tracking"))
    }
}
