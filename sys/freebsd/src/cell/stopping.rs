//! Holding every process of a cell still by SIGSTOP, and letting them go on by SIGCONT: FreeBSD has no freezer.
//!
//! What that cannot do: processes can see it (a handler of SIGCONT runs, a clock has jumped), one can have asked
//! the kernel for a SIGCONT of its own (timer_create(2)), and a parent outside of a cell would be told. Which
//! processes the cell's own users had stopped is known only to the privd that stopped the others; after a restart
//! they go on as well. See docs/freebsd.md.

use warder_common::{At, Result};
use warder_freebsd_plan::stops::Seen;
use warder_wire::SandboxId;

use super::{Cell, Controllers, IdRange};
use crate::sys::procs::{self, Proc, State};

impl Controllers {
    /// Stops a cell, or goes on with it: to be called again until it says that every process stands still. What was
    /// forked meanwhile is found then.
    ///
    /// # Errors
    /// `System`.
    pub fn freeze(&self, sandbox: &SandboxId, _ids: IdRange) -> Result<bool> {
        let Some((jid, _)) = self.jail(sandbox)? else {
            return Ok(true);
        };
        let seen = seen(jid)?;
        let mut held = self.held.borrow_mut();
        let run = held.entry(sandbox.clone()).or_default().to_stop(&seen);
        for process in &run {
            signal(jid, process, libc::SIGSTOP)?;
        }
        Ok(run.is_empty())
    }

    /// Lets the processes of a cell go on.
    ///
    /// # Errors
    /// `System`.
    pub fn thaw(&self, sandbox: &SandboxId, _ids: IdRange) -> Result<()> {
        let held = self.held.borrow_mut().remove(sandbox).unwrap_or_default();
        let Some((jid, _)) = self.jail(sandbox)? else {
            return Ok(());
        };
        for process in held.to_continue(&seen(jid)?) {
            signal(jid, &process, libc::SIGCONT)?;
        }
        Ok(())
    }

    /// Nothing is left to do: with its jail all of a cell's processes are killed, and one that is stopped ends as it is.
    ///
    /// # Errors
    /// None.
    pub fn kill_still(&self, _sandbox: &SandboxId, _ids: IdRange) -> Result<()> {
        Ok(())
    }

    /// Whether a cell is stopped, or is being: its first process is, before all others, and goes on as the last.
    #[must_use]
    pub fn is_frozen(&self, _sandbox: &SandboxId, cell: &Cell) -> bool {
        let first = procs::get(cell.handle.pid).ok().flatten();
        first.is_some_and(|p| p.started == cell.handle.start_time && p.state == State::Stopped)
    }
}

/// The processes in a jail that have not ended.
fn seen(jid: i32) -> Result<Vec<Seen>> {
    let mut all = procs::all().at("list processes")?;
    all.retain(|p| p.jid == jid && p.state != State::Zombie);
    all.iter().map(look).collect()
}

fn look(process: &Proc) -> Result<Seen> {
    // A process is listed with the state of its first thread.
    let still = process.state == State::Stopped
        && (process.threads == 1 || {
            let threads = procs::threads_of(process.pid).at("list threads")?;
            threads.iter().all(|thread| thread.state == State::Stopped)
        });
    Ok(Seen {
        pid: process.pid,
        parent: process.parent,
        started: process.started,
        still,
        told: process.told_to_stop,
    })
}

/// Signals a process of a jail by its number, if it is still the same one.
fn signal(jid: i32, process: &Seen, signal: libc::c_int) -> Result<()> {
    let now = procs::get(process.pid).at("look a process up")?;
    if !now.is_some_and(|now| now.started == process.started && now.jid == jid) {
        return Ok(());
    }
    match procs::kill(process.pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno).at("signal a sandbox's process"),
    }
}
