//! A sandbox's network options: read from a request, checked, kept as the user said them, shown again, and turned
//! into what is put in force.
//!
//! Everything here is pure. Options that were checked once keep their meaning: [`Network::policy`] reads the user's
//! words by the same functions that checked them, and what those no longer understand closes the sandbox.

mod body;
mod egress;
mod entry;
mod filters;
mod https_ports;
mod ingress;
mod mask;
mod socks;
#[cfg(test)]
mod tables;
mod view;

use serde::{Deserialize, Serialize};
use warder_wire::Policy;

pub(crate) use body::{Options, Update, asks_for_something, of_create, of_update};
pub(crate) use egress::Egress;
pub(crate) use filters::{Denied, Filters};
pub(crate) use ingress::{Fixed, Ingress};
pub(crate) use mask::Mask;
pub(crate) use view::{Shown, egress_event, ingress_event};

/// All network options of a sandbox.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Network {
    /// `allow_internet_access` as given.
    pub(crate) internet: Option<bool>,
    /// What it may reach.
    pub(crate) egress: Egress,
    /// Who may reach it: what an update replaces.
    pub(crate) ingress: Ingress,
    /// Who may reach it: what holds for its life.
    pub(crate) fixed: Fixed,
}

impl Network {
    /// What is to be in force.
    pub(crate) fn policy(&self, airgap: bool) -> Policy {
        let closed = self.internet == Some(false);
        match self.egress.policy(closed) {
            Some(policy) => Policy { airgap, ..policy },
            None => Policy::CLOSED,
        }
    }

    /// The same sandbox with new options, all that an update replaces: what it leaves out is cleared.
    pub(crate) fn updated(&self, update: Self) -> Self {
        Self {
            fixed: self.fixed.clone(),
            ..update
        }
    }
}

/// How far the options of a sandbox are in force.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Standing {
    /// Generation of what is wanted; rises with each change.
    pub(crate) generation: u64,
    /// Generation of what is in force; zero when that is nothing that was asked for.
    pub(crate) in_force: u64,
    /// Whether somebody asked for the air gap.
    pub(crate) airgap: bool,
    /// Whether netd says that nothing leaves although nobody asked for it: the operator's configuration does.
    pub(crate) by_operator: bool,
    /// Whether a change failed: everything is to be closed until the next one.
    pub(crate) sealed: bool,
    /// Whether netd has closed all sandboxes, and keeps what is wanted for when it opens them. It says so anew to whoever
    /// asks.
    #[serde(skip)]
    pub(crate) kept: bool,
}

impl Standing {
    /// Of a sandbox whose first policy is on its way.
    pub(crate) const NEW: Self = Self {
        generation: 1,
        in_force: 0,
        airgap: false,
        by_operator: false,
        sealed: false,
        kept: false,
    };

    /// Whether what is wanted holds.
    pub(crate) fn settled(&self) -> bool {
        self.in_force == self.generation
    }

    /// Whether everything is closed, since a change failed or because the host's packet filter does not hold.
    pub(crate) fn shut(&self) -> bool {
        self.kept || self.sealed && (self.settled() || self.in_force == 0)
    }

    /// Whether what is to be in force is the air gap.
    pub(crate) fn closed(&self) -> bool {
        self.airgap || self.sealed
    }
}
