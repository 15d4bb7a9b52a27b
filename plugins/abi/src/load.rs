//! The host's side of loading.

use std::ffi::{CStr, c_void};
use std::fmt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use abi_stable::library::{
    AbiHeaderRef, LibHeader, LibraryError, RootModule, lib_header_from_path,
};
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RResult, RSlice};

use crate::message::Fault;
use crate::raw::{Module, PluginBox, answer, host_box};
use crate::{Answer, Head, HostCalls, MESSAGES};

/// Why a file is not loaded, in one line. Its initialisers may have run all the same.
#[derive(Debug)]
pub enum LoadError {
    /// The dynamic loader refuses it (missing, not a library, needs a library that is not there).
    Open(String),
    /// It exports no Warder plugin.
    NotAPlugin,
    /// It was built against another version of this crate.
    Version {
        /// The plugin's.
        plugin: String,
        /// Ours.
        host: String,
    },
    /// It was built against another revision of [`crate::message`].
    Messages {
        /// The plugin's.
        plugin: u32,
    },
    /// It is a plugin of another kind.
    Kind {
        /// What it says it is, as a `message::kind`.
        plugin: u32,
    },
    /// Same version, other layout: a changed copy of this crate, say. The last line of the comparison.
    Layout(String),
    /// Its exported function failed.
    Root(String),
    /// It refused to start.
    Refused(Fault),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(why) => write!(f, "cannot be opened: {why}"),
            Self::NotAPlugin => f.write_str("is no Warder plugin"),
            Self::Version { plugin, host } => write!(
                f,
                "was built for warder-abi {plugin}, this host has {host}; build it again"
            ),
            Self::Messages { plugin } => write!(
                f,
                "speaks messages {plugin}, this host speaks {MESSAGES}; build it again"
            ),
            Self::Kind { plugin } => write!(f, "is a plugin of kind {plugin}"),
            Self::Layout(why) => write!(f, "has another layout: {why}"),
            Self::Root(why) => write!(f, "failed to load: {why}"),
            Self::Refused(fault) => write!(f, "refused to start: {fault}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// A loaded library. It is never unloaded.
#[derive(Clone, Copy)]
pub struct Plugin(Module);

/// A plugin's object.
pub struct Instance(PluginBox);

impl Plugin {
    /// Loads the library at `path` and compares layouts and versions. Its initialisers run here, before
    /// any check: call this only where that is harmless.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(path: &Path, kind: u32) -> Result<Self, LoadError> {
        let header = lib_header_from_path(path).map_err(|error| short(&error))?;
        Self::checked(header, kind)
    }

    /// The symbol that [`Self::from_symbol`] takes.
    pub const SYMBOL: &CStr = c"_1as_0lib_1header_0root_bmodule_bloader";

    /// The same for a library that the caller has loaded, for where a path means nothing: compares layouts and versions
    /// by what it has at [`Self::SYMBOL`].
    ///
    /// # Safety
    /// `symbol` is what the dynamic loader answered for [`Self::SYMBOL`] of a library that is never unloaded.
    ///
    /// # Errors
    /// [`LoadError`]; [`LoadError::NotAPlugin`] without the symbol.
    pub unsafe fn from_symbol(
        symbol: Option<NonNull<c_void>>,
        kind: u32,
    ) -> Result<Self, LoadError> {
        let symbol = symbol.ok_or(LoadError::NotAPlugin)?;
        // SAFETY: a header reference is a pointer to what lies at the symbol, and that stays, as the caller promises.
        // What it is, is compared before it is used.
        let header = unsafe { std::mem::transmute::<NonNull<c_void>, AbiHeaderRef>(symbol) };
        Self::checked(header.upgrade().map_err(|error| short(&error))?, kind)
    }

    fn checked(header: &'static LibHeader, kind: u32) -> Result<Self, LoadError> {
        same_version(header)?;
        let module = header
            .init_root_module::<Module>()
            .map_err(|error| short(&error))?;
        if module.messages() != MESSAGES {
            return Err(LoadError::Messages {
                plugin: module.messages(),
            });
        }
        if module.kind() != kind {
            return Err(LoadError::Kind {
                plugin: module.kind(),
            });
        }
        Ok(Self(module))
    }

    /// Makes the plugin's object.
    ///
    /// # Errors
    /// [`LoadError::Refused`].
    pub fn instantiate(&self, host: Arc<dyn HostCalls>) -> Result<Instance, LoadError> {
        match self.0.instantiate()(host_box(host)) {
            RResult::ROk(object) => Ok(Instance(object)),
            RResult::RErr(fault) => Err(LoadError::Refused(Fault::decode(&fault))),
        }
    }
}

impl Instance {
    /// Calls the plugin on this thread. A panic in it ends the process.
    ///
    /// # Errors
    /// What the plugin says is a [`Fault`], encoded.
    pub fn call(&self, head: Head, body: &[u8]) -> Answer {
        answer(self.0.call(head.into(), RSlice::from_slice(body)))
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plugin")
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instance")
    }
}

/// The loader takes a plugin of a later minor version; its layout then differs in a way nobody can read.
fn same_version(header: &LibHeader) -> Result<(), LoadError> {
    let plugin = header.version_strings();
    let host = Module::VERSION_STRINGS;
    let parsed = |version: VersionStrings| version.parsed().map(|v| (v.major, v.minor));
    match (parsed(plugin), parsed(host)) {
        (Ok((theirs @ 1.., _)), Ok((ours, _))) if theirs == ours => Ok(()),
        (Ok(theirs), Ok(ours)) if theirs == ours => Ok(()),
        _ => Err(LoadError::Version {
            plugin: plain(plugin.version.as_str()),
            host: host.version.as_str().to_owned(),
        }),
    }
}

/// One line of what can be 1,700.
fn short(error: &LibraryError) -> LoadError {
    match error {
        LibraryError::OpenError { err, .. } => LoadError::Open(last_line(&err.to_string())),
        LibraryError::GetSymbolError { .. } => LoadError::NotAPlugin,
        LibraryError::IncompatibleVersionNumber {
            expected_version,
            actual_version,
            ..
        } => LoadError::Version {
            plugin: actual_version.to_string(),
            host: expected_version.to_string(),
        },
        LibraryError::AbiInstability(why) => LoadError::Layout(last_line(&why.to_string())),
        other => LoadError::Root(last_line(&other.to_string())),
    }
}

fn plain(text: &str) -> String {
    let short = text.chars().take(40);
    short
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("no reason given")
        .trim()
        .chars()
        .take(200)
        .collect()
}
