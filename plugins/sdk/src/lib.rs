//! Trust: zone 2 (linked into plugins; runs as the plugin's user, confined by pluginhost).
//! Input: calls from pluginhost, answers of privd through it.
//! May: ask privd for this plugin's sandboxes, through the host that loaded it.
//! Unsafe: forbidden.
//!
//! What a Warder plugin author uses.
//!
//! A backend is a type that implements [`Backend`], a crate of type `cdylib`, and one line:
//!
//! ```
//! use warder_sdk::{Backend, Call, Create, Description, Fault, Host, LimitsInForce, SandboxId, Usage};
//!
//! struct Mine;
//!
//! impl Backend for Mine {
//!     fn new(_host: Host) -> Result<Self, Fault> {
//!         Ok(Self)
//!     }
//!     fn describe(&self) -> Description {
//!         Description { title: "mine 1.0".into(), ..Description::default() }
//!     }
//!     fn create(&self, call: &Call<'_>, wanted: &Create) -> Result<LimitsInForce, Fault> {
//!         call.storage_clone(&wanted.sandbox, &wanted.template)?;
//!         call.cell_create(&wanted.sandbox, wanted.limits).inspect_err(|_| {
//!             let _ = call.undo().cell_remove(&wanted.sandbox);
//!             let _ = call.undo().storage_destroy(&wanted.sandbox);
//!         })
//!     }
//!     fn destroy(&self, call: &Call<'_>, sandbox: &SandboxId) -> Result<(), Fault> {
//!         call.cell_remove(sandbox)?;
//!         call.storage_destroy(sandbox)
//!     }
//!     fn stats(&self, call: &Call<'_>, sandbox: &SandboxId) -> Result<Usage, Fault> {
//!         call.cell_stat(sandbox)
//!     }
//!     fn adopt(&self, call: &Call<'_>) -> Result<Vec<SandboxId>, Fault> {
//!         call.cell_list()
//!     }
//! }
//!
//! warder_sdk::export_backend!(Mine);
//! ```
//!
//! A backend of privd's own operations alone is [`cells`] under another name. [`conformance`] holds the suite that any backend must pass, [`fake`] the host it runs against.
//!
//! A plugin is called from several threads at once. It runs without network, without processes of its own
//! and without files but its own directory, and after [`Backend::new`] it can open nothing and start no
//! thread; pluginhost enforces all of it.
#![forbid(unsafe_code)]

mod backend;
pub mod cells;
pub mod conformance;
pub mod fake;
mod host;

pub use backend::{Backend, Dispatch};
pub use host::{Call, Host, or_gone};
pub use warder_abi::message::{
    Create, Description, EndReason, Ended, Fault, FaultCode, LimitState, Limits, LimitsInForce,
    Pause, Resume, Resumed, SandboxId, Snapshot, TemplateName, Usage,
};

#[doc(hidden)]
pub use warder_abi::export_plugin;
#[doc(hidden)]
pub use warder_abi::message::kind;
#[doc(hidden)]
pub use warder_abi::private;

/// Exports a [`Backend`] as the plugin of this library. Once in a crate.
#[macro_export]
macro_rules! export_backend {
    ($backend:ty) => {
        $crate::export_plugin!($crate::kind::BACKEND, $crate::Dispatch::<$backend>::load);
    };
}
