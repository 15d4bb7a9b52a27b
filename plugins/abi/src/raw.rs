//! The types whose layout the loader compares. Change nothing here without raising the crate's minor version.
#![allow(
    non_local_definitions,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    unused_qualifications,
    reason = "of abi_stable's macros, which write most of this module"
)]

use std::fmt;
use std::sync::Arc;

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::sabi_trait;
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RBox, RResult, RSlice, RStr, RVec};

use crate::{Answer, Head, HostCalls, PluginCalls};

/// [`Head`] as it crosses.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct RawHead {
    pub code: u32,
    pub operation: [u8; 16],
    pub deadline_ms: u32,
}

pub type RawAnswer = RResult<RVec<u8>, RVec<u8>>;

#[sabi_trait]
pub trait RawPlugin: Send + Sync {
    #[sabi(last_prefix_field)]
    fn call(&self, head: RawHead, body: RSlice<'_, u8>) -> RawAnswer;
}

#[sabi_trait]
pub trait RawHost: Send + Sync {
    fn call(&self, head: RawHead, body: RSlice<'_, u8>) -> RawAnswer;
    fn event(&self, code: u32, body: RSlice<'_, u8>);
    #[sabi(last_prefix_field)]
    fn log(&self, line: RStr<'_>);
}

pub type PluginBox = RawPlugin_TO<'static, RBox<()>>;
pub type HostBox = RawHost_TO<'static, RBox<()>>;

/// What a plugin exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = Module, prefix_fields = ModuleFields)))]
pub struct ModuleValue {
    /// `message::kind` of the plugin.
    pub kind: u32,
    /// [`crate::MESSAGES`] it was built with.
    pub messages: u32,
    /// Makes the object. Called once, before the host's last filter: threads may still be started.
    #[sabi(last_prefix_field)]
    pub instantiate: extern "C" fn(HostBox) -> RResult<PluginBox, RVec<u8>>,
}

impl RootModule for Module {
    abi_stable::declare_root_module_statics! {Module}
    const BASE_NAME: &'static str = "warder_plugin";
    const NAME: &'static str = "warder plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}

impl From<Head> for RawHead {
    fn from(head: Head) -> Self {
        Self {
            code: head.code,
            operation: head.operation,
            deadline_ms: head.deadline_ms,
        }
    }
}

impl From<RawHead> for Head {
    fn from(head: RawHead) -> Self {
        Self {
            code: head.code,
            operation: head.operation,
            deadline_ms: head.deadline_ms,
        }
    }
}

pub fn answer(raw: RawAnswer) -> Answer {
    match raw {
        RResult::ROk(bytes) => Ok(bytes.into()),
        RResult::RErr(bytes) => Err(bytes.into()),
    }
}

fn raw_answer(answer: Answer) -> RawAnswer {
    match answer {
        Ok(bytes) => RResult::ROk(bytes.into()),
        Err(bytes) => RResult::RErr(bytes.into()),
    }
}

struct PluginSide<T>(T);

impl<T: PluginCalls> RawPlugin for PluginSide<T> {
    fn call(&self, head: RawHead, body: RSlice<'_, u8>) -> RawAnswer {
        raw_answer(self.0.call(head.into(), body.as_slice()))
    }
}

pub fn plugin_box<T: PluginCalls>(plugin: T) -> PluginBox {
    RawPlugin_TO::from_value(PluginSide(plugin), TD_Opaque)
}

struct HostSide(Arc<dyn HostCalls>);

impl RawHost for HostSide {
    fn call(&self, head: RawHead, body: RSlice<'_, u8>) -> RawAnswer {
        raw_answer(self.0.call(head.into(), body.as_slice()))
    }
    fn event(&self, code: u32, body: RSlice<'_, u8>) {
        self.0.event(code, body.as_slice());
    }
    fn log(&self, line: RStr<'_>) {
        self.0.log(line.as_str());
    }
}

pub fn host_box(host: Arc<dyn HostCalls>) -> HostBox {
    RawHost_TO::from_value(HostSide(host), TD_Opaque)
}

/// The host as a plugin sees it. Cheap to clone.
#[derive(Clone)]
pub struct HostHandle(Arc<HostBox>);

impl HostHandle {
    /// A host in the same process and library, for tests of plugins.
    #[must_use]
    pub fn local(host: Arc<dyn HostCalls>) -> Self {
        Self::new(host_box(host))
    }

    pub(crate) fn new(host: HostBox) -> Self {
        Self(Arc::new(host))
    }

    /// See [`HostCalls::call`].
    ///
    /// # Errors
    /// An encoded [`crate::message::Fault`].
    pub fn call(&self, head: Head, body: &[u8]) -> Answer {
        answer(self.0.call(head.into(), RSlice::from_slice(body)))
    }

    /// See [`HostCalls::event`].
    pub fn event(&self, code: u32, body: &[u8]) {
        self.0.event(code, RSlice::from_slice(body));
    }

    /// See [`HostCalls::log`].
    pub fn log(&self, line: &str) {
        self.0.log(RStr::from_str(line));
    }
}

impl fmt::Debug for HostHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostHandle")
    }
}
