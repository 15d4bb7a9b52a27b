//! The network a cell lives in, as privd gets it from netd and gives it back after a restart.

use std::os::fd::OwnedFd;

use warder_common::{HostError, Result};
use warder_wire::priv_net::{Slot, Tap};

use super::Cell;

/// The jail of a slot, whose vnet the cell's has. Both daemons know it by its name
/// ([`warder_wire::priv_net::slot_jail`]), so all that has to be said is a number.
#[derive(Debug)]
pub struct Network {
    /// Of the slot.
    pub counter: u32,
    /// What a machine in it has instead of a network stack; of one that runs already it is not said.
    pub tap: Option<Tap>,
}

impl Network {
    /// What netd answered: its slot. No descriptor comes along.
    ///
    /// # Errors
    /// `Invalid` when one does.
    pub fn received(slot: Slot, fds: Vec<OwnedFd>) -> Result<Self> {
        if !fds.is_empty() {
            return Err(HostError::Invalid("a slot with descriptors"));
        }
        Ok(Self {
            counter: slot.counter,
            tap: None,
        })
    }

    /// Descriptors by which netd recognises it: none, it looks for the cell's jail.
    ///
    /// # Errors
    /// None on this system.
    pub fn to_send(&self) -> Result<Vec<OwnedFd>> {
        Ok(Vec::new())
    }
}

/// The network of a running cell.
///
/// # Errors
/// `System`; `Invalid` when the cell has ended.
pub fn network_of(cell: &Cell) -> Result<Network> {
    if cell.process.has_ended()? {
        return Err(HostError::Invalid("the cell has ended"));
    }
    Ok(Network {
        counter: cell.handle.slot,
        tap: None,
    })
}
