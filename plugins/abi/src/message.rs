//! What the bytes mean. Fields and variants are only added at the end, with a new [`crate::MESSAGES`];
//! operations are added by number.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a plugin is.
pub mod kind {
    /// Makes and ends sandboxes.
    pub const BACKEND: u32 = 1;
    /// Puts credentials into requests ([`crate::credential`]).
    pub const CREDENTIAL: u32 = 2;
}

/// Operations by number.
pub mod code {
    /// To a backend: what it can do. No body; a [`super::Description`].
    pub const DESCRIBE: u32 = 1;
    /// To a backend: [`super::Create`]; a [`super::LimitsInForce`].
    pub const CREATE: u32 = 2;
    /// To a backend: a [`super::SandboxId`]; nothing.
    pub const DESTROY: u32 = 3;
    /// To a backend: a [`super::SandboxId`]; a [`super::Usage`].
    pub const STATS: u32 = 4;
    /// To a backend, once after it was loaded: no body; the sandboxes it has, a list of [`super::SandboxId`].
    pub const ADOPT: u32 = 5;
    /// To a backend: a [`super::Ended`] that privd reports; nothing.
    pub const ENDED: u32 = 6;
    /// To a backend: [`super::Pause`]; nothing.
    pub const PAUSE: u32 = 7;
    /// To a backend: [`super::Resume`]; a [`super::Resumed`].
    pub const RESUME: u32 = 8;
    /// To a backend: [`super::Snapshot`]; nothing.
    pub const SNAPSHOT: u32 = 9;
    // 10 to 12: fork, resize, link.

    /// To the host: [`super::StorageClone`]; nothing.
    pub const STORAGE_CLONE: u32 = 101;
    /// To the host: [`super::CellCreate`]; a [`super::LimitsInForce`].
    pub const CELL_CREATE: u32 = 102;
    /// To the host: a [`super::SandboxId`]; nothing.
    pub const CELL_REMOVE: u32 = 103;
    /// To the host: a [`super::SandboxId`]; nothing.
    pub const STORAGE_DESTROY: u32 = 104;
    /// To the host: a [`super::SandboxId`]; a [`super::Usage`].
    pub const CELL_STAT: u32 = 105;
    /// To the host: an optional [`super::SandboxId`] to go on after; a list of [`super::SandboxId`], in
    /// order and empty at the end.
    pub const CELL_LIST: u32 = 106;
    /// To the host: a [`super::SandboxId`]; nothing.
    pub const CELL_FREEZE: u32 = 107;
    /// To the host: a [`super::SandboxId`]; nothing.
    pub const CELL_THAW: u32 = 108;
    /// To the host: a [`super::SandboxId`]; nothing.
    pub const CELL_STOP: u32 = 109;
    /// To the host: [`super::Snapshot`]; nothing.
    pub const STORAGE_SNAPSHOT: u32 = 110;
    /// To the host: [`super::CellCreate`], for a virtual machine; a [`super::LimitsInForce`].
    pub const VM_CREATE: u32 = 111;
    /// To the host: a [`super::SandboxId`]; nothing.
    pub const VM_REMOVE: u32 = 112;
    /// To the host: a [`super::SandboxId`]; a [`super::Usage`].
    pub const VM_STAT: u32 = 113;

    /// Event to the host: an [`super::Ended`] that only the backend can know of.
    pub const EVENT_ENDED: u32 = 201;
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A sandbox, as the host names it. privd checks again what a plugin gives back.
    SandboxId
}
name! {
    /// A template, as the host names it.
    TemplateName
}

/// What a backend says of itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Description {
    /// Name and version, for people.
    pub title: String,
    /// Whether memory can be kept across a pause.
    pub pause_memory: bool,
    /// Whether a running sandbox can be forked.
    pub fork: bool,
}

/// What to make.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Create {
    /// The sandbox to be.
    pub sandbox: SandboxId,
    /// Its template.
    pub template: TemplateName,
    /// What it may use.
    pub limits: Limits,
}

/// What a sandbox may use.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Limits {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processor time in hundredths of one CPU.
    pub cpu_percent: u32,
    /// Processes and threads.
    pub pids: u32,
    /// Disk in MiB.
    pub disk_mib: u32,
}

/// Whether one limit holds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum LimitState {
    /// For the sandbox as a whole.
    Enforced,
    /// By something weaker.
    StandIn,
    /// Not at all.
    Absent,
}

/// Whether each limit holds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LimitsInForce {
    /// Of [`Limits::memory_mib`].
    pub memory: LimitState,
    /// Of [`Limits::cpu_percent`].
    pub cpu: LimitState,
    /// Of [`Limits::pids`].
    pub pids: LimitState,
    /// Of [`Limits::disk_mib`].
    pub disk: LimitState,
}

/// What a sandbox uses.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Usage {
    /// Processor time so far in microseconds, if it is counted.
    pub cpu_us: Option<u64>,
    /// Memory now in bytes, if it is counted.
    pub memory: Option<u64>,
    /// Processes now, if they are counted.
    pub pids: Option<u64>,
}

/// A writable root, cloned from a template.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StorageClone {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The template of its lease.
    pub template: TemplateName,
}

/// A running cell on its storage, with network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CellCreate {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// At most the lease's.
    pub limits: Limits,
}

/// A sandbox to pause.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pause {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// Whether its processes are kept; without it they end.
    pub memory: bool,
}

/// A paused sandbox to wake.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Resume {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// Whether processes that were kept go on; without it the sandbox starts anew from its disk.
    pub memory: bool,
    /// Its limits, should it start anew.
    pub limits: Limits,
}

/// How a sandbox woke.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Resumed {
    /// Whether its processes went on; otherwise it was started anew.
    pub memory: bool,
}

/// A template to be made of a sandbox's disk.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Snapshot {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The template to be.
    pub template: TemplateName,
}

/// A sandbox is gone.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ended {
    /// Which.
    pub sandbox: SandboxId,
    /// Why.
    pub reason: EndReason,
}

/// Why a sandbox ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum EndReason {
    /// Its lease ran out.
    Expired,
    /// It was asked for.
    Removed,
    /// By itself.
    GuestEnded,
    /// It was not whole after a restart.
    Lost,
}

/// Why an operation did not succeed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fault {
    /// What the caller may act on.
    pub code: FaultCode,
    /// For logs and people.
    pub detail: String,
}

/// The reasons.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum FaultCode {
    /// No such sandbox or template.
    NotFound,
    /// It exists already, or the state does not allow it now.
    Conflict,
    /// Well-formed and never acceptable.
    Refused,
    /// A pool is used up. Worth another try later.
    Exhausted,
    /// No room for storage.
    NoSpace,
    /// Not possible here; the detail names what is missing.
    Unsupported,
    /// Who had to do it is being restarted. Worth another try at once.
    Unavailable,
    /// The deadline passed first.
    TimedOut,
    /// Something failed; the detail names it.
    System,
}

impl Fault {
    /// A fault.
    #[must_use]
    pub fn new(code: FaultCode, detail: impl fmt::Display) -> Self {
        Self {
            code,
            detail: detail.to_string(),
        }
    }

    /// The fault in an error's bytes; bytes that hold none are a fault of their own.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        decode(bytes).unwrap_or_else(|_| Self::new(FaultCode::System, "the fault is garbled"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Fault {}

/// What [`encode`] and [`decode`] take.
pub trait Message: Serialize + DeserializeOwned {}
impl<T: Serialize + DeserializeOwned> Message for T {}

/// Encodes a message. The types of this module always encode.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_stdvec(message)
        .expect("messages are plain data, which a growing buffer always holds")
}

/// Decodes a message that must use up `bytes`.
///
/// # Errors
/// A [`Fault`] that says so.
pub fn decode<T: Message>(bytes: &[u8]) -> Result<T, Fault> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(Fault::new(
            FaultCode::System,
            "bytes are not the message expected",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_and_garbage_are_faults() {
        let mut bytes = encode(&SandboxId("x".into()));
        assert_eq!(decode::<SandboxId>(&bytes), Ok(SandboxId("x".into())));
        bytes.push(0);
        assert!(decode::<SandboxId>(&bytes).is_err());
        assert_eq!(Fault::decode(&[0xff; 3]).code, FaultCode::System);
    }

    #[test]
    fn the_exported_symbol_is_the_one_the_loader_wants() {
        assert_eq!(
            crate::private::SYMBOL,
            "_1as_0lib_1header_0root_bmodule_bloader"
        );
        assert_eq!(crate::Plugin::SYMBOL.to_str(), Ok(crate::private::SYMBOL));
    }
}
