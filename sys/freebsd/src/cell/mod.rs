//! Cells: one sandbox's processes and their walls.
//!
//! privd forks a child; the child has its tree made, mounts in it what a cell needs, makes a jail below that of
//! its slot, enters it and becomes the agent. The slot's jail owns the network, the cell's does not, so root in
//! the sandbox has no authority over it.

mod child;
mod controllers;
mod devices;
mod mounts;
mod network;
mod stopping;
mod users;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};
use warder_freebsd_plan::report;
use warder_wire::{Limits, SandboxId};

pub use controllers::Controllers;
pub use network::{Network, network_of};
pub use users::{IdRange, UserNamespace, end_strays};

use crate::error::{At, HostError, Result};
use crate::process::{Process, Signal};
use crate::storage::Root;
use crate::sys::{Said, jail, procs};

/// What [`spawn`] makes a cell of.
#[derive(Clone, Copy, Debug)]
pub struct CellSpec<'a> {
    /// Of the instance.
    pub controllers: &'a Controllers,
    /// The sandbox; also its host name.
    pub sandbox: &'a SandboxId,
    /// Without meaning here, see [`UserNamespace`].
    pub users: &'a UserNamespace,
    /// Its network.
    pub network: &'a Network,
    /// Its limits.
    pub limits: &'a Limits,
    /// Its root tree.
    pub root: &'a Root,
    /// The agent's executable file.
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
        match jail::find(&self.handle.jail).at("look a jail up")? {
            Some(jid) => remove_jail(jid),
            None => Ok(()),
        }
    }
}

/// Removes a jail and kills what is in it; one that is gone, or dying, is no error.
fn remove_jail(jid: i32) -> Result<()> {
    match jail::remove(jid) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno).at("remove a jail"),
    }
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

impl Status {
    /// What became of the cell, if that is known by now. Never blocks.
    ///
    /// # Errors
    /// `System`.
    pub fn read(&mut self) -> Result<Option<Outcome>> {
        let mut buffer = [0; report::LONGEST];
        loop {
            match rustix::io::read(&self.descriptor, &mut buffer) {
                Ok(0) => {
                    return Ok(Some(match report::read(&self.heard) {
                        report::Said::Running => Outcome::Running,
                        report::Said::Failed { stage, errno } => Outcome::Failed { stage, errno },
                    }));
                }
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

/// A failure for the pipe: the step, what the kernel said of it in its own words, and the error's number.
fn failure(error: &HostError) -> Vec<u8> {
    let stage = match error {
        HostError::System { call, errno } => {
            let said = errno.get_ref().and_then(|e| e.downcast_ref::<Said>());
            match said.map(|said| said.text.as_str()) {
                None | Some("") => (*call).to_owned(),
                Some(words) => format!("{call}: {words}"),
            }
        }
        error => error.to_string(),
    };
    report::failure(&stage, error.errno())
}

/// Starts a cell and returns at once; the cell sets itself up and reports through [`Status`]. The caller
/// must be single-threaded.
///
/// # Errors
/// `System`; then nothing of the cell is left but its limits, which its removal takes away.
pub fn spawn(spec: &CellSpec<'_>) -> Result<(Cell, Status)> {
    let name = spec.controllers.jail_name(spec.network, spec.sandbox);
    spec.controllers.begin(spec.sandbox, &name, spec.limits)?;
    let (news, reporter) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).at("pipe")?;
    let parent = rustix::process::getpid();
    let process = Process::fork(|| {
        let error = child::become_agent(spec, &name, parent, &reporter);
        // When privd has gone there is nobody to tell, and the next one removes what was made.
        let _ = rustix::io::write(&reporter, &failure(&error));
        1
    })?;
    let start_time = process.start_time();
    match start_time {
        Ok(start_time) => {
            let handle = CellHandle {
                boot_id: spec.controllers.boot_id().to_owned(),
                jail: name,
                slot: spec.network.counter,
                pid: process.pid(),
                start_time,
            };
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
