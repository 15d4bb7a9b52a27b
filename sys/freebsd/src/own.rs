//! What a privileged daemon does to itself when it starts.

use std::os::fd::{OwnedFd, RawFd};

use crate::error::{Result, unsupported};

/// Takes over a descriptor by its inherited number.
///
/// # Errors
/// `Unsupported`.
pub fn inherited(_number: RawFd) -> Result<OwnedFd> {
    unsupported("own::inherited")
}

/// Makes this process a clean place for root to work in; answers what could not be done and is not
/// needed.
///
/// # Errors
/// `Unsupported`.
pub fn settle(_keep: &[RawFd]) -> Result<Vec<String>> {
    unsupported("own::settle")
}
