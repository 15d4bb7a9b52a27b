//! Between the gateway (zone 1) and a plugin host (zone 2): the backend's operations.

use serde::{Deserialize, Serialize};

pub use crate::gateway_priv::{EndReason, Usage};
use crate::{Limits, LimitsInForce, OpId, SandboxId, TemplateName};

/// What the gateway may ask of a backend. Each operation is idempotent by `op` and has a deadline.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ask {
    /// What the backend can do. Answer: [`Answer::Described`].
    Describe,
    /// Makes a sandbox whose lease is open. Answer: [`Answer::Created`].
    Create {
        /// The operation.
        op: OpId,
        /// Milliseconds it may take; the host is killed some time after.
        deadline_ms: u32,
        /// The sandbox.
        sandbox: SandboxId,
        /// Its template.
        template: TemplateName,
        /// Its limits.
        limits: Limits,
    },
    /// Ends a sandbox. Answer: [`Answer::Done`], when no process of it can run any more.
    Destroy {
        /// The operation.
        op: OpId,
        /// Milliseconds it may take.
        deadline_ms: u32,
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// What a sandbox uses. Answer: [`Answer::Usage`].
    Stats {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// Pauses a sandbox. Answer: [`Answer::Done`], when its state would survive a restart of everything.
    Pause {
        /// The operation.
        op: OpId,
        /// Milliseconds it may take.
        deadline_ms: u32,
        /// The sandbox.
        sandbox: SandboxId,
        /// Whether its processes are kept; without it they end.
        memory: bool,
    },
    /// Wakes a paused sandbox, whose deadline was set before. Answer: [`Answer::Resumed`].
    Resume {
        /// The operation.
        op: OpId,
        /// Milliseconds it may take.
        deadline_ms: u32,
        /// The sandbox.
        sandbox: SandboxId,
        /// Whether processes that were kept go on; without it the sandbox starts anew from its disk.
        memory: bool,
        /// Its limits, should it start anew.
        limits: Limits,
    },
    /// Makes a template of a sandbox's disk as it is; the sandbox goes on. Answer: [`Answer::Done`].
    Snapshot {
        /// The operation.
        op: OpId,
        /// Milliseconds it may take.
        deadline_ms: u32,
        /// The sandbox.
        sandbox: SandboxId,
        /// The template to be, not taken yet.
        template: TemplateName,
    },
}

/// What a plugin host answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Answer {
    /// Done.
    Done,
    /// The backend's description.
    Described(Description),
    /// The sandbox runs.
    Created {
        /// Which limits hold.
        limits: LimitsInForce,
    },
    /// See [`Usage`].
    Usage(Usage),
    /// The sandbox runs again.
    Resumed {
        /// Whether its processes went on; otherwise it was started anew.
        memory: bool,
    },
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

/// What a plugin host tells the gateway unasked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Event {
    /// A sandbox ended that privd does not know of (a backend with cells of its own).
    Ended {
        /// Which.
        sandbox: SandboxId,
        /// Why.
        reason: EndReason,
    },
}
