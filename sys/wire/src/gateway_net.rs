//! Between the gateway (zone 1) and netd (zone 3): policy as a state.

use serde::{Deserialize, Serialize};

use crate::{Fault, Policy, SandboxId};

/// What the gateway may ask of netd.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ask {
    /// Sandbox `sandbox` has policy `policy`, generation `generation`. In force when answered; before the cell
    /// has a slot it is kept and put in force with the slot. A generation not above the last one is refused
    /// with `Conflict`; the same one again is not. Answer: [`Answer::InForce`], or [`Answer::Kept`] from [`Event::Shut`] to
    /// [`Event::Opened`].
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

/// What netd answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Answer {
    /// In force, no flow it forbids is left, in the kernel and in egressd.
    InForce {
        /// The generation now in force.
        generation: u64,
        /// Whether nothing leaves: the policy says so, or the operator does.
        airgap: bool,
    },
    /// The policy.
    Policy {
        /// Its generation; zero if none was set.
        generation: u64,
        /// What was asked for last.
        policy: Policy,
        /// Whether nothing leaves: the policy says so, or the operator does, or it could not be put in force.
        airgap: bool,
        /// Whether it is not in force, and everything is closed: until the next one, or until [`Event::Opened`].
        sealed: bool,
    },
    /// Nothing leaves any sandbox; this is written down, and what holds from [`Event::Opened`] on.
    Kept {
        /// Its generation.
        generation: u64,
        /// What the host's packet filter lacks.
        fault: Fault,
    },
}

/// What netd tells the gateway unasked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Event {
    /// What holds for a sandbox could not be put in force: everything is closed until the next policy.
    Sealed {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// The host's packet filter does not judge what sandboxes send any more, so everything is closed to all of them, and
    /// changes are only kept, until it does.
    Shut {
        /// What it lacks, and what to do.
        fault: Fault,
    },
    /// It does again, with the last policies that were asked for; flows of before have ended.
    Opened,
}
