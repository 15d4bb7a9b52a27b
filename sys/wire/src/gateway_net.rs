//! Between the gateway (zone 1) and netd (zone 3): policy as a state.

use serde::{Deserialize, Serialize};

use crate::SandboxId;

/// What the gateway may ask of netd.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ask {
    /// Sandbox `sandbox` has policy `policy`, generation `generation`. In force when answered; before the cell
    /// has a slot it is kept and put in force with the slot. A generation not above the last one is refused
    /// with `Conflict`. Answer: [`Answer::InForce`].
    PolicySet {
        /// The sandbox; its lease must live.
        sandbox: SandboxId,
        /// Rises with each change.
        generation: u64,
        /// The whole policy.
        policy: Policy,
    },
    /// The policy in force. Answer: [`Answer::Policy`].
    PolicyGet {
        /// The sandbox.
        sandbox: SandboxId,
    },
}

/// Egress policy of one sandbox. The whole language comes later; what is here is all there is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Policy {
    /// Whether addresses outside the always-denied ranges are reachable.
    pub internet: bool,
}

impl Policy {
    /// Nothing leaves. What holds when no policy was set.
    pub const CLOSED: Self = Self { internet: false };
}

/// What netd answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Answer {
    /// In force, no flow it forbids is left.
    InForce {
        /// The generation now in force.
        generation: u64,
    },
    /// The policy.
    Policy {
        /// Its generation; zero if none was set.
        generation: u64,
        /// What holds.
        policy: Policy,
    },
}

/// What netd tells the gateway unasked: nothing yet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Event {}
