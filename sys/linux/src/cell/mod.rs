//! Cells: one sandbox's processes and their walls.
//!
//! privd forks a child into new mount and process-id namespaces; the child builds its own root, joins
//! the slot's network and the range's user namespace, gives up its rights and becomes the agent. The
//! mount, process-id and network namespaces belong to the host's user namespace on purpose: root in
//! the sandbox has no authority over them (user_namespaces(7)).

mod child;
mod controllers;
mod filter;
mod freezer;
mod groups;
mod hierarchy;
mod mounts;
mod network;
mod rights;
mod strays;
mod unpack;
mod users;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};
use warder_wire::{Limits, SandboxId};

pub use controllers::Controllers;
pub(crate) use mounts::detach;
pub use network::{Network, network_of};
pub use strays::end_strays;
pub(crate) use unpack::unpack;
pub use users::{IdRange, UserNamespace};

use crate::error::{At, HostError, Result};
use crate::process::{Process, Signal};
use crate::storage::Root;

/// What [`spawn`] makes a cell of.
#[derive(Clone, Copy, Debug)]
pub struct CellSpec<'a> {
    /// Of the instance.
    pub controllers: &'a Controllers,
    /// The sandbox; also its host name.
    pub sandbox: &'a SandboxId,
    /// Its ids.
    pub users: &'a UserNamespace,
    /// Its network.
    pub network: &'a Network,
    /// Its limits.
    pub limits: &'a Limits,
    /// Its root tree.
    pub root: &'a Root,
    /// The agent's executable file, best from [`crate::dirs::detached`]: then `/proc/1/exe` does not
    /// show the host's path.
    pub agent: BorrowedFd<'a>,
    /// The agent's listener, its descriptor 3.
    pub listener: BorrowedFd<'a>,
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

/// News of a cell being set up; readable when there is some.
#[derive(Debug)]
pub struct Status {
    descriptor: OwnedFd,
    heard: Vec<u8>,
}

/// What became of a cell being set up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The agent runs.
    Running,
    /// A step failed; the cell has ended or is about to.
    Failed {
        /// The step.
        stage: String,
        /// What the kernel said; 0 when it was not the kernel, or the process died without a word.
        errno: i32,
    },
}

/// Said just before exec: the end of the channel after this means that exec succeeded.
const READY: u8 = b'+';
/// Longest report: [`READY`], errno, the step.
const REPORT: usize = 256;

impl Status {
    /// What became of the cell, if that is known by now. Never blocks.
    ///
    /// # Errors
    /// `System`.
    pub fn read(&mut self) -> Result<Option<Outcome>> {
        let mut buffer = [0; REPORT];
        loop {
            match rustix::io::read(&self.descriptor, &mut buffer) {
                Ok(0) => return Ok(Some(outcome(&self.heard))),
                Ok(length) => self.heard.extend_from_slice(&buffer[..length]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(errno).at("read cell status"),
            }
        }
    }
}

impl AsFd for Status {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// What the whole of a cell's report means.
fn outcome(heard: &[u8]) -> Outcome {
    let failure = match heard {
        [READY] => return Outcome::Running,
        [READY, failure @ ..] => failure,
        failure => failure,
    };
    match failure.split_first_chunk() {
        Some((errno, stage)) => Outcome::Failed {
            stage: String::from_utf8_lossy(stage).into_owned(),
            errno: i32::from_le_bytes(*errno),
        },
        None => Outcome::Failed {
            stage: "the process died while being set up".into(),
            errno: 0,
        },
    }
}

fn report(error: &HostError) -> Vec<u8> {
    let mut report = error.errno().to_le_bytes().to_vec();
    report.extend_from_slice(error.call().as_bytes());
    report.truncate(REPORT);
    report
}

/// Starts a cell and returns at once; the cell sets itself up and reports through [`Status`]. The caller
/// must be single-threaded.
///
/// # Errors
/// `System` or `NoSpace`; then nothing of the cell is left.
pub fn spawn(spec: &CellSpec<'_>) -> Result<(Cell, Status)> {
    let groups = spec.controllers.create(spec.sandbox, spec.limits)?;
    let started = (|| {
        let net_ns = rustix::fs::fstat(spec.network)
            .at("stat network namespace")?
            .st_ino;
        let (news, reporter) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).at("pipe")?;
        let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWPID;
        let process = Process::fork(namespaces, groups.unified(), || {
            let error = child::become_agent(spec, &groups, &reporter);
            // When privd has gone there is nobody to tell, and the next one removes this cell.
            let _ = rustix::io::write(&reporter, &report(&error));
            1
        })?;
        match describe(&process, spec.controllers.boot_id(), net_ns) {
            Ok(handle) => {
                let status = Status {
                    descriptor: news,
                    heard: Vec::new(),
                };
                Ok((Cell { process, handle }, status))
            }
            Err(error) => {
                process.signal(Signal::Kill)?;
                process.reap()?;
                Err(error)
            }
        }
    })();
    if started.is_err() {
        spec.controllers.remove_leftovers(spec.sandbox)?;
    }
    started
}

fn describe(process: &Process, boot_id: &str, net_ns: u64) -> Result<CellHandle> {
    Ok(CellHandle {
        boot_id: boot_id.to_owned(),
        pid: process.pid(),
        start_time: process.start_time()?,
        pid_ns: namespace_inode(process.pid(), "pid").unwrap_or(0),
        net_ns,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_happened() {
        assert_eq!(outcome(b"+"), Outcome::Running);
        let error = HostError::System {
            call: "mount",
            errno: Errno::PERM.into(),
        };
        let failed = Outcome::Failed {
            stage: "mount".into(),
            errno: 1,
        };
        assert_eq!(outcome(&report(&error)), failed);
        let after_ready = [&[READY], report(&error).as_slice()].concat();
        assert_eq!(outcome(&after_ready), failed);
        assert!(matches!(outcome(b""), Outcome::Failed { errno: 0, .. }));
        assert!(matches!(outcome(b"abc"), Outcome::Failed { errno: 0, .. }));
    }
}
