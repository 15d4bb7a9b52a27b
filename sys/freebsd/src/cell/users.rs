//! Ids of a sandbox. On FreeBSD it has none of its own: in a jail ids are those of the host, and what keeps
//! sandboxes apart is the jail (jail(8)): a process sees, signals and traces none outside of its own, and its
//! files lie in a tree of its own. The types are there because the daemons are written once.

use serde::{Deserialize, Serialize};
use warder_common::Result;

/// The range of ids that a sandbox has on other systems. Nothing on FreeBSD is owned by them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct IdRange {
    /// First host id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// Stands for what gives a sandbox its own ids elsewhere; holds nothing of the kernel's.
#[derive(Debug)]
pub struct UserNamespace {
    range: IdRange,
}

impl UserNamespace {
    /// Takes note of `range`.
    ///
    /// # Errors
    /// None on this system.
    pub fn new(range: IdRange) -> Result<Self> {
        Ok(Self { range })
    }

    /// What it was made with.
    #[must_use]
    pub fn range(&self) -> IdRange {
        self.range
    }
}

/// Ends processes that no ledger names, of which there are none: until it is in its jail, by whose name it is
/// found, a cell that sets itself up ends with the privd that began it.
///
/// # Errors
/// None on this system.
pub fn end_strays(_ids: IdRange, _kept: &[IdRange]) -> Result<u32> {
    Ok(0)
}
