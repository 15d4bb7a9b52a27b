//! Where there is no confinement yet: nothing is confined, and nothing pretends to be.

use std::os::fd::BorrowedFd;

use crate::{ConfineError, Profile};

/// Cannot be made.
#[derive(Debug)]
pub(crate) enum Early {}

pub(crate) fn enter_early(
    profile: &Profile<'_>,
    _ids: (u32, u32),
    _keep: &[BorrowedFd<'_>],
) -> Result<Early, ConfineError> {
    let _ = (profile.kind, profile.open_files, profile.directory);
    Err(ConfineError::Unsupported {
        operation: match profile.kind {
            crate::Kind::Gateway => "confining a gateway",
            crate::Kind::Egress => "confining egressd",
            crate::Kind::PluginHost => "confining a plugin host",
        },
    })
}

pub(crate) fn open_descriptors() -> Option<usize> {
    None
}

pub(crate) fn limit_received(_fd: BorrowedFd<'_>) -> Result<(), ConfineError> {
    Err(ConfineError::Unsupported {
        operation: "limiting a descriptor",
    })
}

pub(crate) mod load {
    use std::ffi::c_void;
    use std::os::fd::OwnedFd;
    use std::ptr::NonNull;

    pub(crate) fn open(_directory: OwnedFd, _file: &str) -> Result<NonNull<c_void>, String> {
        Err("plugins are not loaded on this operating system".to_owned())
    }
}

impl Early {
    pub(crate) fn before_load(&self) -> Result<(), ConfineError> {
        match *self {}
    }

    pub(crate) fn lock(self) -> Result<String, ConfineError> {
        match self {}
    }
}
