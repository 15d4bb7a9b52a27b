//! Virtual machines: not on this system. The same items as FreeBSD's, so that privd is written once.

use std::os::fd::OwnedFd;

use warder_common::{HostError, Result};
use warder_wire::LimitsInForce;
use warder_wire::priv_net::Tap;

use super::{Cell, Controllers, Network};
use crate::storage::Root;

const MACHINES: HostError = HostError::Unsupported {
    operation: "a virtual machine: that takes FreeBSD and bhyve(8), which",
};

/// Whether this host can run machines.
///
/// # Errors
/// `Unsupported`.
pub fn can_run_machines() -> Result<()> {
    Err(MACHINES)
}

impl Network {
    /// What netd answered for a machine.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn of_machine(_tap: Tap) -> Result<Self> {
        Err(MACHINES)
    }

    /// Whether it is a machine's.
    #[must_use]
    pub fn is_machines(&self) -> bool {
        false
    }

    /// Which limits a new cell in it gets.
    #[must_use]
    pub fn limits_in_force(&self, controllers: &Controllers) -> LimitsInForce {
        controllers.limits_in_force()
    }
}

impl Cell {
    /// Whether its first process is a machine.
    #[must_use]
    pub fn is_machine(&self) -> bool {
        false
    }

    /// A connection to the agent in a machine; `None` when it takes none now.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn machine_link(&self, _root: &Root) -> Result<Option<OwnedFd>> {
        Err(MACHINES)
    }
}
