//! One hierarchy's part of the limits: this instance's group in it, and the sandboxes' groups in that.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use warder_common::{At, Result};
use warder_wire::{Limits, SandboxId};

use super::hierarchy::{Controller, Mounted};

/// This instance's group in one hierarchy.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    /// The hierarchy's own directory.
    parent: OwnedFd,
    name: String,
    /// The directory of this instance's group.
    top: OwnedFd,
    /// Version 2.
    pub(crate) unified: bool,
    pub(crate) controllers: Vec<Controller>,
}

/// One sandbox's groups, made and limited, still empty.
#[derive(Debug, Default)]
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

impl Hierarchy {
    /// Sandboxes that have a group here.
    pub(crate) fn sandboxes(&self) -> Result<Vec<SandboxId>> {
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.top).at("read a cgroup")? {
            let entry = entry.at("read a cgroup")?;
            let name = entry.file_name().to_str().ok();
            found.extend(name.and_then(|name| SandboxId::new(name).ok()));
        }
        Ok(found)
    }

    /// What this instance's group is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// A file of a sandbox's group.
    pub(crate) fn read(&self, sandbox: &SandboxId, file: &str) -> Option<String> {
        read_file(self.top.as_fd(), &format!("{sandbox}/{file}"))
    }

    /// This instance's group in `found`, if it can limit something not in `served` (or is of version 2).
    pub(crate) fn open(found: &Mounted, name: &str, served: &[Controller]) -> Result<Option<Self>> {
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
        let there = |controller: &Controller| {
            let file = controller.file(found.unified);
            rustix::fs::accessat(&top, file, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
        };
        let works = |controller: &Controller| {
            there(controller)
                && (!found.unified
                    || delegated
                        .split_ascii_whitespace()
                        .any(|name| name == controller.name()))
        };
        let mut controllers: Vec<_> = wanted.into_iter().filter(works).collect();
        if found.unified && there(&Controller::Freezer) {
            controllers.push(Controller::Freezer);
        }
        Ok(Some(Self {
            parent,
            name: name.to_owned(),
            top,
            unified: found.unified,
            controllers,
        }))
    }

    pub(crate) fn create(
        &self,
        sandbox: &SandboxId,
        limits: &Limits,
        groups: &mut Groups,
    ) -> Result<()> {
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
            Controller::CpuCount | Controller::Freezer => Ok(()),
        }
    }

    /// Asks for a sandbox's processes to be frozen, or lets them go on.
    pub(crate) fn set_frozen(&self, sandbox: &SandboxId, frozen: bool) -> Result<()> {
        let text = match (self.unified, frozen) {
            (true, true) => "1",
            (true, false) => "0",
            (false, true) => "FROZEN",
            (false, false) => "THAWED",
        };
        let file = Controller::Freezer.file(self.unified);
        self.write(sandbox, file, text).at("freeze a cgroup")
    }

    /// Whether a sandbox's processes are asked to be frozen, and whether they are.
    pub(crate) fn frozen(&self, sandbox: &SandboxId) -> (bool, bool) {
        let file = Controller::Freezer.file(self.unified);
        let state = self.read(sandbox, file).unwrap_or_default();
        if self.unified {
            let events = self.read(sandbox, "cgroup.events").unwrap_or_default();
            let frozen = events.lines().any(|line| line == "frozen 1");
            (state.trim() == "1", frozen)
        } else {
            (
                matches!(state.trim(), "FREEZING" | "FROZEN"),
                state.trim() == "FROZEN",
            )
        }
    }

    /// Writes a file of a sandbox's group.
    pub(crate) fn write(
        &self,
        sandbox: &SandboxId,
        file: &str,
        text: &str,
    ) -> rustix::io::Result<()> {
        write_file(self.top.as_fd(), &format!("{sandbox}/{file}"), text)
    }

    /// Kills every process of a sandbox.
    pub(crate) fn kill(&self, sandbox: &SandboxId) -> Result<()> {
        let name = sandbox.as_str();
        let group = rustix::fs::openat(&self.top, name, DIRECTORY, Mode::empty());
        kill_all(group.at("open a cgroup")?.as_fd())
    }

    pub(crate) fn remove(&self, sandbox: &SandboxId) -> Result<bool> {
        let name = sandbox.as_str();
        match rustix::fs::unlinkat(&self.top, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            Err(Errno::BUSY) => {}
            Err(errno) => return Err(errno).at("remove a cgroup"),
        }
        self.kill(sandbox)?;
        if !self.unified && self.controllers.contains(&Controller::Freezer) {
            // Version 1 keeps even the killed.
            self.set_frozen(sandbox, false)?;
        }
        match rustix::fs::unlinkat(&self.top, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::BUSY) => Ok(false),
            Err(errno) => Err(errno).at("remove a cgroup"),
        }
    }

    pub(crate) fn close(&self) -> Result<bool> {
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
    rustix::io::retry_on_intr(|| rustix::io::write(&file, text.as_bytes())).map(drop)
}

fn read_file(group: BorrowedFd<'_>, name: &str) -> Option<String> {
    let file =
        rustix::fs::openat(group, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    std::io::read_to_string(std::fs::File::from(file)).ok()
}
