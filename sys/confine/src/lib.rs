//! Trust: linked into zones 1 and 2 (gatewayd, egressd, pluginhost); runs as root until it has taken that away.
//! Input: a fixed profile, numeric ids and descriptors chosen by privd; nothing foreign.
//! May: take rights from this process (namespaces, root, ids, limits, Landlock, seccomp, Capsicum); load its plugin.
//! Unsafe: `raw`, for calls that have no safe wrapper; `load` and `library`, for the loader; `sleep`, which stands for a call.
//!
//! How Warder's unprivileged daemons give up their rights.
//!
//! The order is fixed: [`enter_early`] while the process has one thread (namespaces, an empty root, ids,
//! capabilities, limits, Landlock), then whatever needs threads or files of the new root, then
//! [`Early::lock`], after which a closed list of system calls is all that is left. Every step fails closed:
//! an error leaves a process that must exit.
//!
//! On FreeBSD the kernel keeps that list (capsicum(4)): limits, an empty root, ids and the rights of every descriptor,
//! then capability mode, all of it in [`enter_early`]; [`Early::lock`] proves it once more.

use std::os::fd::BorrowedFd;

#[cfg(any(target_os = "linux", target_os = "freebsd"))]
mod gaps;
mod library;

#[cfg(target_os = "freebsd")]
mod freebsd;
#[cfg(target_os = "freebsd")]
use freebsd as system;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
mod unsupported;
#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
use unsupported as system;

pub use library::Library;

/// Where a plugin host finds its plugin once confined, on Linux.
pub const PLUGIN_DIR: &str = "/plugin";

/// Why a process could not be confined. It must exit.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// This operating system has no confinement yet.
    #[error("{operation} is not written for this operating system")]
    Unsupported {
        /// What was asked.
        operation: &'static str,
    },
    /// A system call failed.
    #[error("{step}")]
    System {
        /// Which step of the order.
        step: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A descriptor that should be open is not.
    #[error("descriptor {0} is missing")]
    MissingDescriptor(i32),
    /// What was asked, or what came of it, is not a confinement.
    #[error("{0}")]
    Refused(&'static str),
    /// A layer of its own library failed (Landlock, the filter compiler).
    #[error("{step}: {text}")]
    Layer {
        /// Which step of the order.
        step: &'static str,
        /// The library's words.
        text: String,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Gateway,
    Egress,
    PluginHost,
}

/// What is left to a process.
#[derive(Debug)]
pub struct Profile<'a> {
    pub(crate) kind: Kind,
    pub(crate) open_files: u64,
    pub(crate) directory: Option<BorrowedFd<'a>>,
}

impl<'a> Profile<'a> {
    /// gatewayd: an empty root; after [`Early::lock`] no path can be opened at all.
    #[must_use]
    pub fn gateway() -> Self {
        Self {
            kind: Kind::Gateway,
            open_files: 65_536,
            directory: None,
        }
    }

    /// egressd: an empty root and no file at all, from the start.
    #[must_use]
    pub fn egress() -> Self {
        Self {
            kind: Kind::Egress,
            open_files: 262_144,
            directory: None,
        }
    }

    /// A plugin host: a root that holds `plugin` (as [`PLUGIN_DIR`]) and the C libraries a plugin is
    /// linked to, all read-only.
    #[must_use]
    pub fn plugin_host(plugin: BorrowedFd<'a>) -> Self {
        Self {
            kind: Kind::PluginHost,
            open_files: 256,
            directory: Some(plugin),
        }
    }

    /// Lets files beneath `directory` be opened and made until [`Early::lock`] (gatewayd's state).
    /// It stays outside the root: it can be named by this descriptor only. List it among the kept ones too.
    #[must_use]
    pub fn state_dir(mut self, directory: BorrowedFd<'a>) -> Self {
        if self.kind == Kind::Gateway {
            self.directory = Some(directory);
        }
        self
    }

    /// `RLIMIT_NOFILE`: how many descriptors may be open at once, if the limit inherited is not lower.
    #[must_use]
    pub fn open_files(mut self, most: u64) -> Self {
        self.open_files = most;
        self
    }
}

/// A process that has everything but its last filter.
#[derive(Debug)]
#[must_use = "without `lock` the system calls are not filtered"]
pub struct Early(system::Early);

/// Takes everything away that can be taken while the process still has to set itself up. `ids` are the
/// numeric user and group to become, neither zero. Standard input, output and error and `keep` are the
/// whole list of descriptors: each must be open, every other one is closed, so call this before anything
/// else owns a descriptor.
///
/// Needs root and a process of one thread.
///
/// # Errors
/// [`ConfineError`]; the process is half confined and must exit.
pub fn enter_early(
    profile: &Profile<'_>,
    ids: (u32, u32),
    keep: &[BorrowedFd<'_>],
) -> Result<Early, ConfineError> {
    system::enter_early(profile, ids, keep).map(Early)
}

/// How many descriptors this process has open, by a way that is left to it; `None` where it cannot be told.
#[must_use]
pub fn open_descriptors() -> Option<usize> {
    system::open_descriptors()
}

/// Takes from a descriptor that arrived after [`enter_early`] what a connected socket, a listener, a pipe or a file that is
/// read is not used for (rights(4)); one of any other kind keeps nothing. Where descriptors have no rights of their own this does nothing.
///
/// # Errors
/// [`ConfineError`]; the descriptor must not be used.
pub fn limit_received(fd: BorrowedFd<'_>) -> Result<(), ConfineError> {
    system::limit_received(fd)
}

impl Early {
    /// For a plugin host, just before the plugin is loaded: already no sockets, processes or programs,
    /// only reading, mapping code and starting threads. A plugin's constructors run under this filter and
    /// share the address space with whatever comes later, so this is the border they cannot move;
    /// [`Early::lock`] narrows it for plugins that are honest until they are subverted.
    ///
    /// # Errors
    /// [`ConfineError`]; the process must exit.
    pub fn before_load(&self) -> Result<(), ConfineError> {
        self.0.before_load()
    }

    /// Installs the last filter on every thread. What the process still needs (threads, its runtime,
    /// files) must exist by now. Returns the words for `Ready::confinement`.
    ///
    /// # Errors
    /// [`ConfineError`]; the process must exit.
    pub fn lock(self) -> Result<String, ConfineError> {
        self.0.lock()
    }
}
