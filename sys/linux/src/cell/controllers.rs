//! Limits on cells, by cgroups of version 2, of version 1, or a mixture, as the host has them.
//!
//! Each hierarchy in use has one group `warder_<tag>` at its top, outside any service's group, so that
//! sandboxes outlive the daemons; in it one group per sandbox, named by its id. These names are how
//! leftovers are found.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use warder_wire::gateway_priv::Usage;
use warder_wire::{InstanceTag, LimitState, Limits, LimitsInForce, SandboxId};

use super::hierarchy::{Controller, Mounted, mounted};
use crate::error::{At, Result};

/// Limits on cells of one instance.
#[derive(Debug)]
pub struct Controllers {
    hierarchies: Vec<Hierarchy>,
    boot_id: String,
}

/// This instance's group in one hierarchy.
#[derive(Debug)]
struct Hierarchy {
    /// The hierarchy's own directory.
    parent: OwnedFd,
    name: String,
    /// The directory of this instance's group.
    top: OwnedFd,
    unified: bool,
    controllers: Vec<Controller>,
}

/// One sandbox's groups, made and limited, still empty.
#[derive(Debug)]
pub(crate) struct Groups {
    /// `tasks` files of version 1, into which the child writes itself: that way, and with CLONE_INTO_CGROUP,
    /// the kernel does not wait for an RCU grace period (10 ms).
    tasks: Vec<OwnedFd>,
    unified: Option<OwnedFd>,
}

impl Groups {
    pub(crate) fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn tasks(&self) -> &[OwnedFd] {
        &self.tasks
    }
}

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::RDONLY)
    .union(OFlags::CLOEXEC);

impl Controllers {
    /// Finds what this host has to enforce limits with, and makes this instance's groups.
    ///
    /// # Errors
    /// `System`. A controller that is missing or cannot be used is no error, see [`Self::limits_in_force`].
    pub fn open(tag: InstanceTag) -> Result<Self> {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").at("read mountinfo")?;
        let name = format!("warder_{tag}");
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for found in mounted(&mountinfo) {
            let served: Vec<_> = hierarchies
                .iter()
                .flat_map(|h| h.controllers.clone())
                .collect();
            if let Some(hierarchy) = Hierarchy::open(&found, &name, &served)? {
                hierarchies.push(hierarchy);
            }
        }
        // A hierarchy of version 2 without controllers only serves to find leftovers, where nothing else does.
        if hierarchies.iter().any(|h| !h.unified) {
            let (of_use, idle) = hierarchies
                .into_iter()
                .partition(|h| !h.controllers.is_empty());
            hierarchies = of_use;
            for hierarchy in idle {
                hierarchy.close()?;
            }
        }
        Ok(Self {
            hierarchies,
            boot_id: crate::features::boot_id()?,
        })
    }

    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Which limits a new cell gets.
    #[must_use]
    pub fn limits_in_force(&self) -> LimitsInForce {
        let state = |controller, otherwise| {
            let enforced = self
                .hierarchies
                .iter()
                .any(|h| h.controllers.contains(&controller));
            if enforced {
                LimitState::Enforced
            } else {
                otherwise
            }
        };
        LimitsInForce {
            memory: state(Controller::Memory, LimitState::Absent),
            cpu: state(Controller::Cpu, LimitState::Absent),
            // Every cell also has RLIMIT_NPROC, which counts per user of the sandbox.
            pids: state(Controller::Pids, LimitState::StandIn),
            disk: LimitState::Absent,
        }
    }

    /// Makes a sandbox's groups. On failure none is left.
    pub(crate) fn create(&self, sandbox: &SandboxId, limits: &Limits) -> Result<Groups> {
        let mut groups = Groups {
            tasks: Vec::new(),
            unified: None,
        };
        for hierarchy in &self.hierarchies {
            if let Err(error) = hierarchy.create(sandbox, limits, &mut groups) {
                self.remove_leftovers(sandbox)?;
                return Err(error);
            }
        }
        Ok(groups)
    }

    /// Sandboxes that have a group under this instance's tag.
    ///
    /// # Errors
    /// `System`.
    pub fn leftovers(&self) -> Result<Vec<SandboxId>> {
        let mut found = BTreeSet::new();
        for hierarchy in &self.hierarchies {
            for entry in Dir::read_from(&hierarchy.top).at("read a cgroup")? {
                let entry = entry.at("read a cgroup")?;
                let name = entry.file_name().to_str().ok();
                found.extend(name.and_then(|name| SandboxId::new(name).ok()));
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Kills what is left in a sandbox's groups and removes them; false while some are still busy.
    ///
    /// # Errors
    /// `System`.
    pub fn remove_leftovers(&self, sandbox: &SandboxId) -> Result<bool> {
        let mut done = true;
        for hierarchy in &self.hierarchies {
            done &= hierarchy.remove(sandbox)?;
        }
        Ok(done)
    }

    /// Removes the instance's own groups; false while a cell is left.
    ///
    /// # Errors
    /// `System`.
    pub fn close(&self) -> Result<bool> {
        let mut done = true;
        for hierarchy in &self.hierarchies {
            done &= hierarchy.close()?;
        }
        Ok(done)
    }

    /// What a cell uses now.
    ///
    /// # Errors
    /// None so far: what cannot be read is `None`.
    pub fn usage(&self, sandbox: &SandboxId) -> Result<Usage> {
        let read = |controller, unified: &str, version_1: &str| {
            let hierarchy = self
                .hierarchies
                .iter()
                .find(|h| h.controllers.contains(&controller))?;
            let file = if hierarchy.unified {
                unified
            } else {
                version_1
            };
            read_file(hierarchy.top.as_fd(), &format!("{sandbox}/{file}"))
        };
        let number = |text: String| text.trim().parse::<u64>().ok();
        let unified = self.hierarchies.iter().find(|h| h.unified);
        let cpu_us = match read(Controller::CpuCount, "", "cpuacct.usage").and_then(number) {
            Some(nanoseconds) => Some(nanoseconds / 1000),
            None => unified
                .and_then(|h| read_file(h.top.as_fd(), &format!("{sandbox}/cpu.stat")))
                .and_then(|stat| {
                    stat.lines()
                        .find_map(|l| l.strip_prefix("usage_usec ")?.parse().ok())
                }),
        };
        Ok(Usage {
            cpu_us,
            memory: read(
                Controller::Memory,
                "memory.current",
                "memory.usage_in_bytes",
            )
            .and_then(number),
            pids: read(Controller::Pids, "pids.current", "pids.current").and_then(number),
        })
    }
}

impl Hierarchy {
    /// This instance's group in `found`, if it can limit something not in `served` (or is of version 2).
    fn open(found: &Mounted, name: &str, served: &[Controller]) -> Result<Option<Self>> {
        let parent =
            rustix::fs::open(&found.path, DIRECTORY, Mode::empty()).at("open cgroup hierarchy")?;
        let wanted: Vec<_> = if found.unified {
            let offered = read_file(parent.as_fd(), "cgroup.controllers").unwrap_or_default();
            let offered: Vec<_> = offered.split_ascii_whitespace().collect();
            let wanted: Vec<_> = Controller::LIMITING
                .into_iter()
                .filter(|c| offered.contains(&c.name()))
                .collect();
            delegate(parent.as_fd(), &wanted);
            wanted
        } else {
            found
                .controllers
                .iter()
                .copied()
                .filter(|c| !served.contains(c))
                .collect()
        };
        if wanted.is_empty() && !found.unified {
            return Ok(None);
        }
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            // Mounted read-only, or not ours to use: its controllers count as absent.
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => return Ok(None),
            Err(errno) => return Err(errno).at("make a cgroup"),
        }
        let top =
            rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty()).at("open a cgroup")?;
        if found.unified {
            delegate(top.as_fd(), &wanted);
        }
        // What could not be delegated, or lacks the limit's file in this kernel, is not there.
        let delegated = read_file(top.as_fd(), "cgroup.subtree_control").unwrap_or_default();
        let works = |controller: &Controller| {
            let file = controller.file(found.unified);
            let there =
                rustix::fs::accessat(&top, file, rustix::fs::Access::EXISTS, AtFlags::empty())
                    .is_ok();
            there
                && (!found.unified
                    || delegated
                        .split_ascii_whitespace()
                        .any(|name| name == controller.name()))
        };
        let controllers = wanted.into_iter().filter(works).collect();
        Ok(Some(Self {
            parent,
            name: name.to_owned(),
            top,
            unified: found.unified,
            controllers,
        }))
    }

    fn create(&self, sandbox: &SandboxId, limits: &Limits, groups: &mut Groups) -> Result<()> {
        let name = sandbox.as_str();
        rustix::fs::mkdirat(&self.top, name, Mode::from_raw_mode(0o755)).at("make a cgroup")?;
        let group =
            rustix::fs::openat(&self.top, name, DIRECTORY, Mode::empty()).at("open a cgroup")?;
        for controller in &self.controllers {
            self.limit(group.as_fd(), *controller, limits)?;
        }
        if self.unified {
            groups.unified = Some(group);
        } else {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            groups
                .tasks
                .push(rustix::fs::openat(&group, "tasks", flags, Mode::empty()).at("open tasks")?);
        }
        Ok(())
    }

    fn limit(&self, group: BorrowedFd<'_>, controller: Controller, limits: &Limits) -> Result<()> {
        const PERIOD_US: u64 = 100_000;
        let file = controller.file(self.unified);
        match controller {
            Controller::Memory => {
                let bytes = (u64::from(limits.memory_mib) << 20).to_string();
                write_file(group, file, &bytes).at("set memory limit")?;
                // Swap would be memory beyond the limit. The file is missing where swap is not counted.
                let (swap, most) = match self.unified {
                    true => ("memory.swap.max", "0"),
                    false => ("memory.memsw.limit_in_bytes", bytes.as_str()),
                };
                match write_file(group, swap, most) {
                    Ok(()) | Err(Errno::NOENT) => Ok(()),
                    Err(errno) => Err(errno).at("set swap limit"),
                }
            }
            Controller::Cpu => {
                let quota = u64::from(limits.cpu_percent) * PERIOD_US / 100;
                let text = match self.unified {
                    true => format!("{quota} {PERIOD_US}"),
                    // The period is 100 ms unless changed (sched-bwc in the kernel's documentation).
                    false => quota.to_string(),
                };
                write_file(group, file, &text).at("set cpu limit")
            }
            Controller::Pids => {
                write_file(group, file, &limits.pids.to_string()).at("set pids limit")
            }
            Controller::CpuCount => Ok(()),
        }
    }

    fn remove(&self, sandbox: &SandboxId) -> Result<bool> {
        let name = sandbox.as_str();
        match rustix::fs::unlinkat(&self.top, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            Err(Errno::BUSY) => {}
            Err(errno) => return Err(errno).at("remove a cgroup"),
        }
        let group = match rustix::fs::openat(&self.top, name, DIRECTORY, Mode::empty()) {
            Ok(group) => group,
            Err(Errno::NOENT) => return Ok(true),
            Err(errno) => return Err(errno).at("open a cgroup"),
        };
        kill_all(group.as_fd())?;
        match rustix::fs::unlinkat(&self.top, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::BUSY) => Ok(false),
            Err(errno) => Err(errno).at("remove a cgroup"),
        }
    }

    fn close(&self) -> Result<bool> {
        match rustix::fs::unlinkat(&self.parent, self.name.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::BUSY) => Ok(false),
            Err(errno) => Err(errno).at("remove a cgroup"),
        }
    }
}

/// Kills every process in a group; a fork in between is found by the next call.
fn kill_all(group: BorrowedFd<'_>) -> Result<()> {
    match write_file(group, "cgroup.kill", "1") {
        Ok(()) => return Ok(()),
        // Version 1, or a kernel before 5.14.
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno).at("cgroup.kill"),
    }
    let members = || -> BTreeSet<i32> {
        let text = read_file(group, "cgroup.procs").unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    };
    let mut held = Vec::new();
    for number in members() {
        let opened =
            Pid::from_raw(number).map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
        if let Some(Ok(pidfd)) = opened {
            held.push((number, pidfd));
        }
    }
    // A number still listed now was listed while its descriptor was opened: it names the same process.
    let still = members();
    for (number, pidfd) in held {
        if still.contains(&number) {
            match rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno).at("kill what is left"),
            }
        }
    }
    Ok(())
}

/// Offers controllers to the groups below, as far as the kernel lets us; the caller looks what came of it.
fn delegate(group: BorrowedFd<'_>, controllers: &[Controller]) {
    for controller in controllers {
        let _ = write_file(
            group,
            "cgroup.subtree_control",
            &format!("+{}", controller.name()),
        );
    }
}

fn write_file(group: BorrowedFd<'_>, name: &str, text: &str) -> rustix::io::Result<()> {
    let file = rustix::fs::openat(group, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes()).map(drop)
}

fn read_file(group: BorrowedFd<'_>, name: &str) -> Option<String> {
    let file =
        rustix::fs::openat(group, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    std::io::read_to_string(std::fs::File::from(file)).ok()
}
