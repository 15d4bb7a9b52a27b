//! Cells: one sandbox's processes and their walls.
//!
//! privd forks a child into new mount and process-id namespaces; the child builds its own root, joins
//! the slot's network and the range's user namespace, gives up its rights and becomes the agent. The
//! mount, process-id and network namespaces belong to the host's user namespace on purpose: root in
//! the sandbox has no authority over them (user_namespaces(7)).

mod ahead;
mod child;
mod controllers;
mod filter;
mod freezer;
mod groups;
mod hierarchy;
mod machine;
mod mounts;
mod network;
mod rights;
mod strays;
mod unpack;
mod users;

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};
pub use warder_common::report::{Outcome, Status};
use warder_common::{Result, report};
use warder_wire::{Limits, SandboxId};

pub use ahead::Spare;
pub use controllers::Controllers;
pub use machine::can_run_machines;
pub use network::{Network, network_of};
pub use strays::end_strays;
pub(crate) use unpack::unpack;
pub use users::{IdRange, UserNamespace};

use crate::process::{Process, Signal};
use crate::storage::Root;

/// What a cell is made of before it is anybody's.
#[derive(Clone, Copy, Debug)]
pub struct Walls<'a> {
    /// Of the instance.
    pub controllers: &'a Controllers,
    /// What its groups are made as.
    pub name: &'a SandboxId,
    /// Its ids.
    pub users: &'a UserNamespace,
    /// Its limits.
    pub limits: &'a Limits,
    /// Its root tree.
    pub root: &'a Root,
    /// The agent's executable file, best from [`crate::dirs::detached`]: then `/proc/1/exe` does not
    /// show the host's path.
    pub agent: BorrowedFd<'a>,
}

/// Whose a cell becomes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tenant<'a> {
    sandbox: &'a SandboxId,
    network: BorrowedFd<'a>,
    listener: BorrowedFd<'a>,
}

/// What privd has made for a cell before there is one.
#[derive(Debug)]
pub(crate) struct Ground {
    groups: groups::Groups,
    cell: OwnedFd,
}

/// What [`spawn`] makes a cell of.
#[derive(Clone, Copy, Debug)]
pub struct CellSpec<'a> {
    /// All that does not depend on whose it is. The name is the sandbox's.
    pub walls: Walls<'a>,
    /// Its network.
    pub network: &'a Network,
    /// The agent's listener, its descriptor 3.
    pub listener: BorrowedFd<'a>,
    /// Servers of names that a machine is told of, which there is none of here; a tree was made with them.
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

impl Cell {
    /// Kills every process of the cell: they end with its first one, the first of their process-id namespace.
    ///
    /// # Errors
    /// `System`.
    pub fn kill(&self) -> Result<()> {
        self.process.signal(Signal::Kill)
    }

    /// Ends what holds up the end of its killed processes. Whether there is anything that may: not here, where a process
    /// that exits waits for no connection (inet_release, af_inet.c).
    ///
    /// # Errors
    /// None.
    pub fn hurry(&self) -> Result<bool> {
        Ok(false)
    }
}

/// What the ledger keeps of a cell. The number of its first process is believed only together with
/// everything else in here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CellHandle {
    /// The boot in which it was started.
    pub boot_id: String,
    /// Number of its first process.
    pub pid: u32,
    /// When that started, in clock ticks since boot.
    pub start_time: u64,
    /// Inode of its process-id namespace; 0 when it had ended before this was read.
    pub pid_ns: u64,
    /// Inode of its network namespace.
    pub net_ns: u64,
}

/// Starts a cell and returns at once; the cell sets itself up and reports through [`Status`]. The caller
/// must be single-threaded.
///
/// # Errors
/// `System` or `NoSpace`; then nothing of the cell is left.
pub fn spawn(spec: &CellSpec<'_>) -> Result<(Cell, Status)> {
    let tenant = Tenant {
        sandbox: spec.walls.name,
        network: spec.network.as_fd(),
        listener: spec.listener,
    };
    let net_ns = spec.network.inode()?;
    let keep = [tenant.network, tenant.listener];
    let (process, mut handle, status) = fork(&spec.walls, &keep, || Ok(tenant))?;
    handle.net_ns = net_ns;
    Ok((Cell { process, handle }, status))
}

/// Forks the child of a cell; on failure nothing of it is left. Of the handle, the network is not known yet.
fn fork<'a>(
    walls: &Walls<'_>,
    keep: &[BorrowedFd<'_>],
    tenant: impl FnOnce() -> Result<Tenant<'a>>,
) -> Result<(Process, CellHandle, Status)> {
    let groups = walls.controllers.create(walls.name, walls.limits)?;
    let started = (|| {
        let (status, reporter) = report::channel()?;
        let cell = mounts::detach_cell(walls.root)?;
        let ground = Ground { groups, cell };
        let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWPID;
        let process = Process::fork(namespaces, ground.groups.unified(), || {
            let why = child::become_agent(walls, &ground, &reporter, keep, tenant);
            reporter.failed(&why);
            1
        })?;
        match describe(&process, walls.controllers.boot_id()) {
            Ok(handle) => Ok((process, handle, status)),
            Err(error) => {
                process.signal(Signal::Kill)?;
                process.reap()?;
                Err(error)
            }
        }
    })();
    if started.is_err() {
        walls.controllers.remove_leftovers(walls.name)?;
    }
    started
}

fn describe(process: &Process, boot_id: &str) -> Result<CellHandle> {
    Ok(CellHandle {
        boot_id: boot_id.to_owned(),
        pid: process.pid(),
        start_time: process.start_time()?,
        pid_ns: namespace_inode(process.pid(), "pid").unwrap_or(0),
        net_ns: 0,
    })
}

/// Inode of a namespace of the process with this number, if it is there.
fn namespace_inode(pid: u32, kind: &str) -> Option<u64> {
    let stat = rustix::fs::stat(format!("/proc/{pid}/ns/{kind}")).ok()?;
    Some(stat.st_ino)
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
    let same = namespace_inode(handle.pid, "pid") == Some(handle.pid_ns)
        && namespace_inode(handle.pid, "net") == Some(handle.net_ns);
    // The inodes were read by number: believed only if the process still lives.
    if !same || process.has_ended()? {
        return Ok(None);
    }
    Ok(Some(Cell {
        process,
        handle: handle.clone(),
    }))
}
