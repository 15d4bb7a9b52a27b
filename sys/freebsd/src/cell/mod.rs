//! Cells: one sandbox's processes and their walls.
//!
//! privd forks a child; the child has its tree made, mounts in it what a cell needs, makes a jail below that of
//! its slot, enters it and becomes the agent. The slot's jail owns the network, the cell's does not, so root in
//! the sandbox has no authority over it.

mod ahead;
mod child;
mod controllers;
mod devices;
mod lingering;
mod machine;
mod mounts;
mod network;
mod stopping;
mod users;

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};
pub use warder_common::report::{Outcome, Status};
use warder_common::{At, Result, report};
use warder_wire::{Limits, SandboxId};

pub use ahead::Spare;
pub use controllers::Controllers;
pub use machine::can_run_machines;
pub use network::{Network, network_of};
pub use users::{IdRange, UserNamespace, end_strays};

use crate::process::{Process, Signal};
use crate::storage::Root;
use crate::sys::{jail, procs};

/// What a cell is made of, whose network it gets apart.
#[derive(Clone, Copy, Debug)]
pub struct Walls<'a> {
    /// Of the instance.
    pub controllers: &'a Controllers,
    /// The sandbox; also its host name.
    pub name: &'a SandboxId,
    /// Without meaning here, see [`UserNamespace`].
    pub users: &'a UserNamespace,
    /// Its limits.
    pub limits: &'a Limits,
    /// Its root tree.
    pub root: &'a Root,
    /// The agent's executable file.
    pub agent: BorrowedFd<'a>,
}

/// What [`spawn`] makes a cell of.
#[derive(Clone, Copy, Debug)]
pub struct CellSpec<'a> {
    /// All but its network.
    pub walls: Walls<'a>,
    /// Its network.
    pub network: &'a Network,
    /// The agent's listener, its descriptor 3.
    pub listener: BorrowedFd<'a>,
    /// Servers of names that a machine is told of; a tree was made with them.
    pub resolvers: &'a [Ipv4Addr],
}

/// A cell and the way to find it again.
#[derive(Debug)]
pub struct Cell {
    /// Its first process.
    pub process: Process,
    /// What to keep in the ledger.
    pub handle: CellHandle,
}

/// What the ledger keeps of a cell. The number of its first process is believed only together with
/// everything else in here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CellHandle {
    /// The boot in which it was started.
    pub boot_id: String,
    /// Full name of its jail.
    pub jail: String,
    /// Counter of the slot whose network it has.
    pub slot: u32,
    /// Number of its first process.
    pub pid: u32,
    /// When that started, in microseconds since the host did.
    pub start_time: u64,
}

impl Cell {
    /// Kills every process of the cell, whether the first one is among them or has ended. None of them gets to run
    /// once this has returned; the rest is for [`Controllers::remove_leftovers`].
    ///
    /// # Errors
    /// `System`.
    pub fn kill(&self) -> Result<()> {
        // It may not be in its jail yet.
        self.process.signal(Signal::Kill)?;
        remove_jail(&self.handle.jail)
    }

    /// Ends what holds up the end of its killed processes. Whether there is anything that may.
    ///
    /// # Errors
    /// `System`.
    pub fn hurry(&self) -> Result<bool> {
        lingering::drop_connections(&self.handle.jail).map(|()| true)
    }
}

/// Removes a jail and kills what is in it; one that is gone, or dying, is no error.
fn remove_jail(name: &str) -> Result<()> {
    let removed = jail::remove_named(name, |_| true);
    removed.map(drop).at("remove a jail")
}

/// Starts a cell, or a machine where its network is one's, and returns at once; it sets itself up and reports through [`Status`]. The caller
/// must be single-threaded.
///
/// # Errors
/// `System`; then nothing of the cell is left but its limits, which its removal takes away.
pub fn spawn(spec: &CellSpec<'_>) -> Result<(Cell, Status)> {
    let name = spec
        .walls
        .controllers
        .jail_name(spec.network, spec.walls.name);
    let limits = match spec.network.tap {
        Some(_) => warder_bhyve_plan::jail_limits(spec.walls.limits),
        None => *spec.walls.limits,
    };
    spec.walls
        .controllers
        .begin(spec.walls.name, &name, &limits)?;
    let (status, reporter) = report::channel()?;
    let parent = rustix::process::getpid();
    let process = Process::fork(|| {
        reporter.failed(&match &spec.network.tap {
            Some(tap) => machine::become_machine(spec, tap, &name, parent, &reporter),
            None => child::become_agent(spec, &name, parent, &reporter),
        });
        1
    })?;
    let start_time = process.start_time();
    match start_time {
        Ok(start_time) => {
            let handle = CellHandle {
                boot_id: spec.walls.controllers.boot_id().to_owned(),
                jail: name,
                slot: spec.network.counter,
                pid: process.pid(),
                start_time,
            };
            Ok((Cell { process, handle }, status))
        }
        Err(error) => {
            process.signal(Signal::Kill)?;
            process.reap()?;
            Err(error)
        }
    }
}

/// Finds a cell again after a restart of privd; `None` when it is not the same any more.
///
/// # Errors
/// `System`.
pub fn adopt(handle: &CellHandle) -> Result<Option<Cell>> {
    if handle.boot_id != crate::features::boot_id()? {
        return Ok(None);
    }
    let Some(process) = Process::reopen(handle.pid, handle.start_time)? else {
        return Ok(None);
    };
    let jid = jail::find(&handle.jail).at("look a jail up")?;
    let found = procs::get(handle.pid).at("look a process up")?;
    let same = jid.is_some() && found.map(|found| found.jid) == jid;
    // Looked up by number: believed only if the process still lives.
    if !same || process.has_ended()? {
        return Ok(None);
    }
    Ok(Some(Cell {
        process,
        handle: handle.clone(),
    }))
}
