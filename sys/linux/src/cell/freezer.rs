//! Holding every process of a cell still, and letting them go on: by the freezer of cgroups version 2, of
//! version 1, or, where there is neither, by SIGSTOP (signal(7)) to each of them until none runs.
//!
//! What SIGSTOP cannot do: a process can have asked the kernel for a SIGCONT of its own (timer_create(2)),
//! parents that wait for it are told, and processes that the sandbox itself had stopped go on as well
//! when it is thawed.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::process::{Pid, Signal, pidfd_send_signal};
use warder_common::{HostError, Result};
use warder_wire::SandboxId;
use warder_wire::gateway_priv::Feature;

use super::groups::Hierarchy;
use super::hierarchy::Controller;
use super::strays::{each, end_strays, within};
use super::{Cell, Controllers, IdRange};

/// A cell stands still after a tenth of a millisecond, mostly: waited for so often, before who asks comes back later.
const QUICK_LOOKS: u32 = 5;
const QUICK_LOOK: Duration = Duration::from_micros(50);

impl Controllers {
    fn freezer(&self) -> Option<&Hierarchy> {
        let freezes = |h: &&Hierarchy| h.controllers.contains(&Controller::Freezer);
        self.hierarchies.iter().find(freezes)
    }

    /// How this host holds paused cells still, and what becomes of their memory.
    #[must_use]
    pub fn pausing(&self) -> [Feature; 2] {
        let by = self.freezer().map(|h| if h.unified { 2 } else { 1 });
        let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
        [
            Feature {
                name: "freezer".to_owned(),
                present: by.is_some(),
                note: by.map_or(
                    "paused sandboxes are stopped by signals, which they can see; mount cgroups version 2"
                        .to_owned(),
                    |version| format!("cgroups version {version}, for paused sandboxes"),
                ),
            },
            Feature {
                name: "swap".to_owned(),
                present: swaps.lines().count() > 1,
                note: "takes the memory of paused sandboxes with `pause_reclaim yes`; without it only page cache goes"
                    .to_owned(),
            },
        ]
    }

    /// Freezes a cell, or goes on with it: to be called again until it says that every process stands still.
    ///
    /// # Errors
    /// `System`.
    pub fn freeze(&self, sandbox: &SandboxId, ids: IdRange) -> Result<bool> {
        if let Some(freezer) = self.freezer() {
            let group = self.groups_of(sandbox);
            freezer.set_frozen(group, true)?;
            let mut still = freezer.frozen(group).1;
            for _ in 0..QUICK_LOOKS {
                if !still {
                    std::thread::sleep(QUICK_LOOK);
                    still = freezer.frozen(group).1;
                }
            }
            return Ok(still);
        }
        let mut still = true;
        each(
            |id| within(&ids, id),
            |pid, process| {
                if stands_still(pid) {
                    return Ok(());
                }
                still = false;
                pidfd_send_signal(process, Signal::STOP)
            },
        )?;
        Ok(still)
    }

    /// Lets the processes of a cell go on.
    ///
    /// # Errors
    /// `System`.
    pub fn thaw(&self, sandbox: &SandboxId, ids: IdRange) -> Result<()> {
        let group = self.groups_of(sandbox);
        if let Some(memory) = self.memory().filter(|memory| memory.unified) {
            // A reclaim that was cut short has left it open.
            let _ = memory.write(group, "memory.swap.max", "0");
        }
        if let Some(freezer) = self.freezer() {
            return freezer.set_frozen(group, false);
        }
        each(
            |id| within(&ids, id),
            |_, process| pidfd_send_signal(process, Signal::CONT),
        )
    }

    /// Kills every process of a cell that stands still. If only its first were killed, the others would run again from
    /// the thaw until its end has reached them.
    ///
    /// # Errors
    /// `System`.
    pub fn kill_still(&self, sandbox: &SandboxId, ids: IdRange) -> Result<()> {
        match self.freezer() {
            Some(freezer) => freezer.kill(self.groups_of(sandbox)),
            None => end_strays(ids, &[]).map(drop),
        }
    }

    /// Whether a cell is frozen, or is being.
    #[must_use]
    pub fn is_frozen(&self, sandbox: &SandboxId, cell: &Cell) -> bool {
        if let Some(freezer) = self.freezer() {
            return freezer.frozen(self.groups_of(sandbox)).0;
        }
        // Nobody inside can stop the first process of a process-id namespace.
        let first = i32::try_from(cell.handle.pid).ok().and_then(Pid::from_raw);
        first.is_some_and(stands_still)
    }

    fn memory(&self) -> Option<&Hierarchy> {
        let limits = |h: &&Hierarchy| h.controllers.contains(&Controller::Memory);
        self.hierarchies.iter().find(limits)
    }

    /// What a worker needs to [`Self::reclaim`]; nothing on a host without a memory controller.
    #[must_use]
    pub fn reclaims(&self) -> Option<BorrowedFd<'_>> {
        self.memory().map(Hierarchy::top)
    }

    /// Pushes the memory of a frozen cell out, as far as the host has swap. Slow: for a worker.
    ///
    /// # Errors
    /// `Unsupported` where there is no memory controller.
    pub fn reclaim(&self, sandbox: &SandboxId) -> Result<()> {
        let Some(memory) = self.memory() else {
            return Err(HostError::Unsupported {
                operation: "cell::Controllers::reclaim",
            });
        };
        let sandbox = self.groups_of(sandbox);
        if !memory.unified {
            // As far as it goes: what cannot be pushed out stays.
            let _ = memory.write(sandbox, "memory.force_empty", "0");
            return Ok(());
        }
        let now = memory.read(sandbox, "memory.current").unwrap_or_default();
        // A running cell has no swap: it would be memory beyond its limit.
        let _ = memory.write(sandbox, "memory.swap.max", "max");
        let _ = memory.write(sandbox, "memory.reclaim", now.trim());
        let _ = memory.write(sandbox, "memory.swap.max", "0");
        Ok(())
    }
}

/// Whether every thread of a process is stopped, or dead.
fn stands_still(pid: Pid) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else {
        return true;
    };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state is behind the name, which may hold anything; no file: it has ended.
        let state = stat
            .rsplit_once(") ")
            .map_or('X', |(_, rest)| rest.chars().next().unwrap_or('X'));
        matches!(state, 'T' | 't' | 'Z' | 'X')
    })
}
