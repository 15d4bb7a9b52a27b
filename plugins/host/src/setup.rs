//! The order of starting: take the start, confine, load, lock, report.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use warder_abi::message::kind;
use warder_abi::{HostCalls, LoadError, Plugin};
use warder_confine::{ConfineError, Library, Profile, enter_early};
use warder_ipc::{Channel, IpcError, check, take_start};
use warder_wire::start::{Ready, Role};
use warder_wire::{BackendName, VERSION};

use crate::hub::{self, Desk, Hub};
use crate::log;
use crate::pool::Pool;

/// How long privd may take to take one frame.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the process does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// Not started as privd starts it.
    #[error("started wrongly")]
    Start(#[from] IpcError),
    /// The start is for something else.
    #[error("started wrongly: {0}")]
    Role(&'static str),
    /// Others than root could put code into the plugin.
    #[error("{file}: {why}")]
    Untrusted {
        /// Which file.
        file: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Confinement failed.
    #[error("confinement")]
    Confine(#[from] ConfineError),
    /// The plugin was not loaded.
    #[error("{file}")]
    Load {
        /// Which file.
        file: String,
        /// Why.
        #[source]
        source: LoadError,
    },
    /// A system call failed.
    #[error("{0}")]
    System(&'static str, #[source] std::io::Error),
}

/// Everything that serving needs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) privd: Channel,
    pub(crate) gateway: Channel,
    pub(crate) desk: Desk,
    pub(crate) pool: Pool,
}

pub(crate) fn start() -> Result<Server, SetupError> {
    let (mut privd, start, fds) = take_start()?;
    let Role::Plugin { ids, backend } = start.role else {
        return Err(SetupError::Role("the role is another"));
    };
    let Ok([directory, gateway]) = <[OwnedFd; 2]>::try_from(fds) else {
        return Err(SetupError::Role("the descriptors are not two"));
    };
    check::directory(directory.as_fd())
        .map_err(|_| SetupError::Role("the first descriptor is no directory"))?;
    let gateway = Channel::from_fd(gateway)?;
    let file = file_name(&backend);
    trusted(directory.as_fd(), &file)?;

    let profile = Profile::plugin_host(directory.as_fd());
    let keep = [privd.as_fd(), gateway.as_fd(), directory.as_fd()];
    let early = enter_early(&profile, ids, &keep)?;
    let (hub, desk) = hub::pair().map_err(|e| SetupError::System("pipe", e.into()))?;

    // From here on code of the plugin may run.
    early.before_load()?;
    let pool = Pool::default();
    load(directory, &file, &hub, &pool)?;
    let confinement = early.lock()?;

    log::line(format_args!("{backend}: {confinement}"));
    let version = VERSION;
    let ready = Ready {
        version,
        confinement,
    };
    privd.send_timeout(&ready, Vec::new(), PATIENCE)?;
    hub.open();
    Ok(Server {
        privd,
        gateway,
        desk,
        pool,
    })
}

fn load(directory: OwnedFd, file: &str, hub: &Arc<Hub>, pool: &Pool) -> Result<(), SetupError> {
    let failed = |source| SetupError::Load {
        file: file.to_owned(),
        source,
    };
    let library = Library::open(directory, file).map_err(|why| failed(LoadError::Open(why)))?;
    let symbol = library.symbol(Plugin::SYMBOL);
    // SAFETY: the symbol is what its name says, and nothing unloads the library.
    let plugin = unsafe { Plugin::from_symbol(symbol, kind::BACKEND) }.map_err(failed)?;
    let host = Arc::clone(hub) as Arc<dyn HostCalls>;
    let instance = plugin.instantiate(host).map_err(failed)?;
    let hub = Arc::clone(hub);
    pool.start(instance, move |job, answer| hub.done(job, answer))
        .map_err(|e| SetupError::System("start a thread", e))
}

/// The file of a backend: `lib<name>.so` with `-` as `_`.
fn file_name(backend: &BackendName) -> String {
    format!("lib{}.so", backend.as_str().replace('-', "_"))
}

/// Checks that only root can have written the directory and the plugin.
fn trusted(directory: BorrowedFd<'_>, file: &str) -> Result<(), SetupError> {
    let wrong = |file: &str, why| {
        let file = file.to_owned();
        Err(SetupError::Untrusted { file, why })
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let plugin = match openat(directory, file, flags, Mode::empty()) {
        Ok(plugin) => plugin,
        Err(rustix::io::Errno::NOENT) => return wrong(file, "there is no such plugin"),
        Err(error) => return Err(SetupError::System("open the plugin", error.into())),
    };
    for (fd, name, kind) in [
        (directory, "the plugin directory", FileType::Directory),
        (plugin.as_fd(), file, FileType::RegularFile),
    ] {
        let stat = fstat(fd).map_err(|e| SetupError::System("fstat", e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != kind {
            return wrong(name, "is not a file of the right type");
        }
        if stat.st_uid != 0 {
            return wrong(name, "is not root's");
        }
        let others = Mode::WGRP | Mode::WOTH;
        if Mode::from_raw_mode(stat.st_mode).intersects(others) {
            return wrong(name, "can be written by others than root");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_follow_the_backend() {
        let name = BackendName::new("my-backend").expect("a name");
        assert_eq!(file_name(&name), "libmy_backend.so");
    }
}
