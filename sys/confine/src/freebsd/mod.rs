//! The order on FreeBSD (one file per layer). Limits, root and ids first, since they need root; then the rights of
//! every descriptor; then capability mode, which binds the whole process for good (cap_enter(2)). Files of the state
//! directory, threads and the runtime are made inside: openat(2) beneath a descriptor, thr_new(2) and kqueue(2) are
//! allowed there, and what is opened beneath a directory has that directory's rights at most (rights(4)).
//!
//! Casper (libcasper(3)) is not used: log lines go up a pipe, sockets come connected from netd, and no name is
//! resolved by the system's resolver.

use std::io;
use std::os::fd::BorrowedFd;

use crate::{ConfineError, Kind, Profile};

mod descriptors;
mod identity;
pub(crate) mod load;
mod proof;
mod raw;
mod rights;
mod sleep;

#[derive(Debug)]
pub(crate) struct Early {
    kind: Kind,
    ids: (u32, u32),
}

pub(crate) fn enter_early(
    profile: &Profile<'_>,
    ids: (u32, u32),
    keep: &[BorrowedFd<'_>],
) -> Result<Early, ConfineError> {
    if ids.0 == 0 || ids.1 == 0 {
        return Err(ConfineError::Refused("confined as root is not confined"));
    }
    if raw::threads().map_err(failed("count threads"))? != 1 {
        return Err(ConfineError::Refused(
            "confinement needs a process of one thread",
        ));
    }
    descriptors::exactly(keep)?;
    if profile.kind == Kind::PluginHost {
        load::base_libraries();
    }
    identity::limits(profile)?;
    identity::leave_root()?;
    identity::become_user(ids)?;
    identity::verify(ids)?;
    rights::limit_all(profile, keep)?;
    capsicum::enter().map_err(failed("cap_enter"))?;
    proof::confined()?;
    Ok(Early {
        kind: profile.kind,
        ids,
    })
}

pub(crate) use descriptors::open as open_descriptors;
pub(crate) use rights::limit_received;

impl Early {
    pub(crate) fn before_load(&self) -> Result<(), ConfineError> {
        match self.kind {
            Kind::Gateway | Kind::Egress => {
                Err(ConfineError::Refused("only a plugin host loads anything"))
            }
            Kind::PluginHost => proof::confined(),
        }
    }

    /// Nothing is left to take away: capability mode has no second step. What was proven before threads and files
    /// were made is proven again.
    pub(crate) fn lock(self) -> Result<String, ConfineError> {
        proof::confined()?;
        identity::verify(self.ids)?;
        Ok(format!(
            "uid {}, no capabilities but those of its descriptors (capability mode), empty root, no new privileges, \
             no new processes",
            self.ids.0
        ))
    }
}

fn failed<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> ConfineError {
    move |source| ConfineError::System {
        step,
        source: source.into(),
    }
}
