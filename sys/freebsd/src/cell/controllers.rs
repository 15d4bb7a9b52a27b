//! What an instance has of all its cells together: the devfs ruleset they share, rctl(4) where the kernel
//! accounts, and the way from a sandbox to its jail.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use warder_common::{At, HostError, Result};
use warder_freebsd_plan::devfs::Of;
use warder_freebsd_plan::limits::{self, Counted};
use warder_freebsd_plan::{jail as plan, stops};
use warder_wire::gateway_priv::{Feature, Usage};
use warder_wire::{InstanceTag, Limits, LimitsInForce, SandboxId};

use super::{Network, devices, machine, mounts};
use crate::process::{Exit, Process};
use crate::sys::{jail, procs, rctl};

/// Limits on cells of one instance, and what else they share.
#[derive(Debug)]
pub struct Controllers {
    tag: InstanceTag,
    state_dir: PathBuf,
    boot_id: String,
    racct: bool,
    ruleset: u16,
    /// Names of jails, as far as they are known: the kernel does not look them up by their last part.
    names: RefCell<BTreeMap<SandboxId, String>>,
    /// Cells that are held still.
    pub(super) held: RefCell<BTreeMap<SandboxId, stops::Held>>,
    /// Workers that remove what is left of cells.
    removals: RefCell<BTreeMap<SandboxId, Process>>,
}

impl Controllers {
    /// Finds what this host has to enforce limits with, and makes what the instance's cells share. Its
    /// sandboxes' trees lie below `state_dir`, which is canonical.
    ///
    /// # Errors
    /// `System`. Accounting that is off is no error, see [`Self::limits_in_force`].
    pub fn open(tag: InstanceTag, state_dir: &Path) -> Result<Self> {
        Ok(Self {
            tag,
            state_dir: state_dir.to_owned(),
            boot_id: crate::features::boot_id()?,
            racct: rctl::enabled(),
            ruleset: devices::ruleset(tag, Of::Cells)?,
            names: RefCell::default(),
            held: RefCell::default(),
            removals: RefCell::default(),
        })
    }

    pub(super) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    pub(super) fn jail_name(&self, network: &Network, sandbox: &SandboxId) -> String {
        plan::name(self.tag, network.counter, sandbox)
    }

    pub(super) fn tag(&self) -> InstanceTag {
        self.tag
    }

    pub(super) fn racct(&self) -> bool {
        self.racct
    }

    pub(super) fn ruleset(&self) -> u16 {
        self.ruleset
    }

    /// Processors for a cell, where they stand in for a limit that nothing accounts for.
    pub(super) fn processors(&self, limits: &Limits, slot: u32) -> Option<Vec<u32>> {
        if self.racct {
            return None;
        }
        let there = crate::sys::sysctl::int("hw.ncpu").ok()?;
        limits::processors(limits.cpu_percent, slot, u32::try_from(there).ok()?)
    }

    /// Which limits a new cell gets.
    #[must_use]
    pub fn limits_in_force(&self) -> LimitsInForce {
        // Every tree is a dataset with a quota of its own.
        limits::in_force(self.racct, true)
    }

    /// How this host holds paused cells still.
    #[must_use]
    pub fn pausing(&self) -> [Feature; 1] {
        [Feature {
            name: "freezer".to_owned(),
            present: false,
            note: "paused sandboxes are stopped by signals, which they can see; FreeBSD has no other means"
                .to_owned(),
        }]
    }

    /// Sets the limits of a cell to be and takes note of its jail's name. On failure no rule is left.
    pub(super) fn begin(&self, sandbox: &SandboxId, jail: &str, limits: &Limits) -> Result<()> {
        if self.racct {
            for rule in limits::rules(jail, limits) {
                if let Err(errno) = rctl::add(&rule) {
                    forget_rules(jail)?;
                    return Err(errno).at("limit a cell with rctl");
                }
            }
        }
        let mut names = self.names.borrow_mut();
        names.insert(sandbox.clone(), jail.to_owned());
        Ok(())
    }

    /// The living jail of a sandbox: its number and name.
    pub(super) fn jail(&self, sandbox: &SandboxId) -> Result<Option<(i32, String)>> {
        let known = self.names.borrow().get(sandbox).cloned();
        if let Some(name) = known {
            let found = jail::find(&name).at("look a jail up")?;
            return Ok(found.map(|jid| (jid, name)));
        }
        // Made by the privd before: takes note of all of them at once.
        let mut names = self.names.borrow_mut();
        let mut wanted = None;
        for jail in jail::list().at("list jails")? {
            let Some((_, owner)) = plan::parse(self.tag, &jail.name).filter(|_| !jail.dying) else {
                continue;
            };
            if owner == *sandbox {
                wanted = Some((jail.jid, jail.name.clone()));
            }
            names.insert(owner, jail.name);
        }
        Ok(wanted)
    }

    /// Sandboxes that have a jail, a machine, mounts or limits under this instance's tag.
    ///
    /// # Errors
    /// `System`.
    pub fn leftovers(&self) -> Result<Vec<SandboxId>> {
        let mut found: BTreeSet<SandboxId> = mounts::owners(&self.state_dir)?.into_iter().collect();
        let jails = jail::list().at("list jails")?;
        let living = jails.iter().filter(|jail| !jail.dying);
        found.extend(living.filter_map(|jail| Some(plan::parse(self.tag, &jail.name)?.1)));
        found.extend(machine::all(self.tag)?.into_iter().map(|(_, owner)| owner));
        found.extend(self.limited()?.into_iter().map(|(_, sandbox)| sandbox));
        Ok(found.into_iter().collect())
    }

    /// Cells that rctl(8) has rules for.
    fn limited(&self) -> Result<BTreeSet<(u32, SandboxId)>> {
        if !self.racct {
            return Ok(BTreeSet::new());
        }
        match rctl::rules("jail:") {
            Ok(rules) => Ok(limits::jails_with_rules(self.tag, &rules)),
            Err(Errno::SRCH) => Ok(BTreeSet::new()),
            Err(errno) => Err(errno).at("list rctl rules"),
        }
    }

    /// Kills what is left in a sandbox's jail and removes that with its mounts and limits; false while it is being
    /// done. A worker does it: a mount goes when the last of its files is written out.
    ///
    /// # Errors
    /// `System`; then the next call begins anew.
    pub fn remove_leftovers(&self, sandbox: &SandboxId) -> Result<bool> {
        let mut removals = self.removals.borrow_mut();
        self.held.borrow_mut().remove(sandbox);
        let Some(worker) = removals.get(sandbox) else {
            let worker = Process::worker(&[], || match self.remove_all(sandbox) {
                Ok(()) => 0,
                Err(error) => {
                    let errno = std::io::Error::from_raw_os_error(error.errno());
                    eprintln!("{sandbox}: {error}: {errno}");
                    1
                }
            })?;
            removals.insert(sandbox.clone(), worker);
            return Ok(false);
        };
        let Some(exit) = worker.try_wait()? else {
            return Ok(false);
        };
        removals.remove(sandbox);
        if exit != Exit::Code(0) {
            return Err(HostError::Invalid("the worker that removes a cell failed"));
        }
        self.names.borrow_mut().remove(sandbox);
        Ok(true)
    }

    /// Removes everything of a cell. Waits for its processes, not for its jail, which may be dying for as long as one
    /// of its connections has to wait (a minute) and by then has nothing in it.
    fn remove_all(&self, sandbox: &SandboxId) -> Result<()> {
        let jails = jail::list().at("list jails")?;
        let own = |jail: &jail::Jail| {
            plan::parse(self.tag, &jail.name).is_some_and(|(_, owner)| owner == *sandbox)
        };
        let jails: Vec<_> = jails.into_iter().filter(own).collect();
        for jail in jails.iter().filter(|jail| !jail.dying) {
            super::remove_jail(&jail.name)?;
        }
        let left = || -> Result<bool> {
            let mut all = procs::all().at("list processes")?;
            // One that has ended holds nothing; init(8) may be late to notice the end of an orphan.
            all.retain(|p| p.state != procs::State::Zombie);
            Ok(all
                .iter()
                .any(|p| jails.iter().any(|jail| jail.jid == p.jid)))
        };
        let mut tries = 0;
        while !jails.is_empty() && left()? {
            tries += 1;
            if tries > 1000 {
                return Err(Errno::BUSY).at("wait for the processes of a removed jail");
            }
            if tries % 100 == 50 {
                for jail in &jails {
                    super::lingering::drop_connections(&jail.name)?;
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        machine::destroy(self.tag, &self.state_dir, sandbox)?;
        mounts::remove(&self.state_dir, sandbox)?;
        for (slot, owner) in self.limited()? {
            if owner == *sandbox {
                forget_rules(&plan::name(self.tag, slot, sandbox))?;
            }
        }
        Ok(())
    }

    /// Removes what the instance's cells share; false while a cell is left.
    ///
    /// # Errors
    /// `System`.
    pub fn close(&self) -> Result<bool> {
        if !self.leftovers()?.is_empty() {
            return Ok(false);
        }
        devices::forget(self.tag)?;
        Ok(true)
    }

    /// What a cell uses now.
    ///
    /// # Errors
    /// `System`.
    pub fn usage(&self, sandbox: &SandboxId) -> Result<Usage> {
        let Some((jid, name)) = self.jail(sandbox)? else {
            return Ok(limits::usage(None, Counted::default()));
        };
        if self.racct
            && let Ok(text) = rctl::usage(&limits::subject(&name))
        {
            return Ok(limits::usage(Some(&text), Counted::default()));
        }
        let page = crate::sys::sysctl::u64("hw.pagesize").at("read hw.pagesize")?;
        let mut counted = Counted::default();
        for process in procs::all().at("list processes")? {
            if process.jid == jid {
                counted.cpu_us += process.runtime_us;
                counted.memory += process.resident * page;
                counted.threads += u64::from(process.threads);
            }
        }
        Ok(limits::usage(None, counted))
    }

    /// What a worker needs to [`Self::reclaim`]: nothing here.
    #[must_use]
    pub fn reclaims(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Pushes the memory of a stopped cell out: the kernel does that by itself when others need it.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn reclaim(&self, _sandbox: &SandboxId) -> Result<()> {
        Err(HostError::Unsupported {
            operation: "cell::Controllers::reclaim",
        })
    }
}

/// Removes the limits of a jail, if there are any.
fn forget_rules(jail: &str) -> Result<()> {
    match rctl::remove(&limits::subject(jail)) {
        Ok(()) | Err(Errno::SRCH | Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno).at("remove rctl rules"),
    }
}
