//! Trust: zone 2 (linked into pluginhost and into every plugin; runs as the plugin's user).
//! Input: bytes from the other side of the plugin border, which may be third-party code.
//! May: load a shared library, call into it, be called by it.
//! Unsafe: `export` (the symbol a plugin exports), `load` (that symbol, found) and what `abi_stable`'s macros write.
//!
//! The interface between Warder and its plugins.
//!
//! Small and bytes-first: a plugin is one function that makes an object, the object is one function from
//! [`Head`] and bytes to bytes, and what the bytes mean is in [`message`] (postcard). Operations are added
//! by number, so the layout that the loader checks stays as it is. This is the only crate that names
//! `abi_stable`; authors use `plugins/sdk`.
//!
//! While this crate is 0.x, host and plugin must agree on its minor version.

pub mod credential;
mod export;
mod load;
pub mod message;
mod raw;

pub use load::{Instance, LoadError, Plugin};
pub use raw::{HostHandle, Module};

#[doc(hidden)]
pub use export::private;

/// Revision of [`message`]: of what the bytes mean.
pub const MESSAGES: u32 = 2;

/// What accompanies the bytes of every call, either way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// What is asked: a constant of [`message::code`].
    pub code: u32,
    /// The operation it belongs to. Calls with a known operation are not done twice.
    pub operation: [u8; 16],
    /// Milliseconds from now that the answer is waited for.
    pub deadline_ms: u32,
}

/// Bytes for bytes; an error's bytes are a [`message::Fault`].
pub type Answer = Result<Vec<u8>, Vec<u8>>;

/// What a plugin's object does.
pub trait PluginCalls: Send + Sync + 'static {
    /// Does what `head` and `body` ask. Called from several threads at once.
    ///
    /// # Errors
    /// An encoded [`message::Fault`].
    fn call(&self, head: Head, body: &[u8]) -> Answer;
}

/// What the host does for a plugin.
pub trait HostCalls: Send + Sync + 'static {
    /// An operation of privd, within the sandboxes of this plugin.
    ///
    /// # Errors
    /// An encoded [`message::Fault`].
    fn call(&self, head: Head, body: &[u8]) -> Answer;
    /// The event sink: something happened that nobody asked about.
    fn event(&self, code: u32, body: &[u8]);
    /// One line for the log.
    fn log(&self, line: &str);
}
