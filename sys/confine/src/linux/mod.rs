//! The order on Linux (one file per layer). Namespaces and root first, since they need capabilities; Landlock
//! while there is one thread, since it binds the calling thread only; seccomp last.

use std::io;
use std::os::fd::BorrowedFd;

use crate::{ConfineError, Kind, Profile};

mod descriptors;
mod filter;
mod identity;
pub(crate) mod load;
mod raw;
mod root;
mod tables;
mod walls;

#[derive(Debug)]
pub(crate) struct Early {
    kind: Kind,
    ids: (u32, u32),
    landlock: Option<i32>,
}

pub(crate) fn enter_early(
    profile: &Profile<'_>,
    ids: (u32, u32),
    keep: &[BorrowedFd<'_>],
) -> Result<Early, ConfineError> {
    if ids.0 == 0 || ids.1 == 0 {
        return Err(ConfineError::Refused("confined as root is not confined"));
    }
    if threads()? != 1 {
        return Err(ConfineError::Refused(
            "confinement needs a process of one thread",
        ));
    }
    descriptors::exactly(keep)?;
    let plugin = match profile.kind {
        Kind::Gateway | Kind::Egress => None,
        Kind::PluginHost => profile.directory,
    };
    root::enter(plugin)?;
    identity::limits(profile)?;
    identity::become_user(ids)?;
    let landlock = walls::landlock(profile)?;
    identity::verify(ids)?;
    Ok(Early {
        kind: profile.kind,
        ids,
        landlock,
    })
}

pub(crate) use descriptors::open as open_descriptors;

/// Descriptors have no rights of their own here; what may be called is the same for all.
pub(crate) fn limit_received(_fd: BorrowedFd<'_>) -> Result<(), ConfineError> {
    Ok(())
}

impl Early {
    pub(crate) fn before_load(&self) -> Result<(), ConfineError> {
        match self.kind {
            Kind::Gateway | Kind::Egress => {
                Err(ConfineError::Refused("only a plugin host loads anything"))
            }
            Kind::PluginHost => filter::install(&tables::loading()),
        }
    }

    pub(crate) fn lock(self) -> Result<String, ConfineError> {
        filter::install(&match self.kind {
            Kind::Gateway => tables::gateway(),
            Kind::Egress => tables::egress(),
            Kind::PluginHost => tables::plugin_host(),
        })?;
        let landlock = self
            .landlock
            .map_or_else(|| "no landlock".to_owned(), |abi| format!("landlock {abi}"));
        let root = match self.kind {
            Kind::Gateway | Kind::Egress => "empty root",
            Kind::PluginHost => "root with its plugin only",
        };
        Ok(format!(
            "uid {}, no capabilities, own namespaces, {root}, {landlock}, seccomp",
            self.ids.0
        ))
    }
}

fn threads() -> Result<usize, ConfineError> {
    Ok(std::fs::read_dir("/proc/self/task")
        .map_err(failed("count threads"))?
        .count())
}

fn failed<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> ConfineError {
    move |source| ConfineError::System {
        step,
        source: source.into(),
    }
}
