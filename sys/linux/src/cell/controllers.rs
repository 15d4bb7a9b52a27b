//! Limits on cells, by cgroups of version 2, of version 1, or a mixture, as the host has them.
//!
//! Each hierarchy in use has one group `warder_<tag>` at its top, outside any service's group, so that
//! sandboxes outlive the daemons; in it one group per sandbox, named by its id. These names are how
//! leftovers are found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use warder_common::{At, Result};
use warder_wire::gateway_priv::Usage;
use warder_wire::{InstanceTag, LimitState, Limits, LimitsInForce, SandboxId};

use super::Cell;
use super::groups::{Groups, Hierarchy};
use super::hierarchy::{Controller, mounted};

/// Limits on cells of one instance.
#[derive(Debug)]
pub struct Controllers {
    pub(super) hierarchies: Vec<Hierarchy>,
    boot_id: String,
    disk: bool,
    /// Sandboxes whose groups were made as another's, before they were theirs.
    renamed: BTreeMap<SandboxId, SandboxId>,
}

impl Controllers {
    /// Finds what this host has to enforce limits with, and makes this instance's groups. The file system that
    /// its sandboxes' trees lie on may have quotas.
    ///
    /// # Errors
    /// `System`. A controller that is missing or cannot be used is no error, see [`Self::limits_in_force`].
    pub fn open(tag: InstanceTag, state_dir: &Path) -> Result<Self> {
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
        // A hierarchy of version 2 that can do nothing only serves to find leftovers, where nothing else does.
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
            disk: crate::features::has_quotas(state_dir),
            renamed: BTreeMap::new(),
        })
    }

    /// The groups that were made as those of `from` are those of `sandbox` now: groups of version 2 have one name all
    /// their life.
    pub fn pass(&mut self, from: SandboxId, sandbox: SandboxId) {
        self.renamed.insert(sandbox, from);
    }

    /// The groups of a sandbox are removed.
    pub fn forget(&mut self, sandbox: &SandboxId) {
        self.renamed.remove(sandbox);
    }

    /// What the groups of a cell found again were made as, which only they themselves tell.
    pub fn adopt(&mut self, sandbox: &SandboxId, cell: &Cell) {
        let lines = std::fs::read_to_string(format!("/proc/{}/cgroup", cell.process.pid()));
        // cgroups(7): `number:controllers:/path`, below this instance's group in those that count.
        let name = lines
            .iter()
            .flat_map(|lines| lines.lines())
            .find_map(|line| {
                let (top, name) = line.rsplit_once('/')?;
                let ours = self.hierarchies.iter().any(|h| top.ends_with(h.name()));
                ours.then(|| SandboxId::new(name).ok())?
            });
        if let Some(name) = name.filter(|name| name != sandbox) {
            self.pass(name, sandbox.clone());
        }
    }

    /// What the groups of a sandbox were made as.
    pub(super) fn groups_of<'a>(&'a self, sandbox: &'a SandboxId) -> &'a SandboxId {
        self.renamed.get(sandbox).unwrap_or(sandbox)
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
            disk: match self.disk {
                true => LimitState::Enforced,
                false => LimitState::Absent,
            },
        }
    }

    /// Makes a sandbox's groups. On failure none is left.
    pub(crate) fn create(&self, sandbox: &SandboxId, limits: &Limits) -> Result<Groups> {
        let mut groups = Groups::default();
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
            found.extend(hierarchy.sandboxes()?);
        }
        for (sandbox, name) in &self.renamed {
            if found.remove(name) {
                found.insert(sandbox.clone());
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Kills what is left in a sandbox's groups and removes them; false while some are still busy.
    ///
    /// # Errors
    /// `System`.
    pub fn remove_leftovers(&self, sandbox: &SandboxId) -> Result<bool> {
        let name = self.groups_of(sandbox);
        let mut done = true;
        for hierarchy in &self.hierarchies {
            done &= hierarchy.remove(name)?;
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
        let sandbox = self.groups_of(sandbox);
        let with = |controller| {
            self.hierarchies
                .iter()
                .find(|h| h.controllers.contains(&controller))
        };
        let number = |text: String| text.trim().parse::<u64>().ok();
        let line = |text: String, name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.parse().ok())
        };
        let (memory, memory_cache) = with(Controller::Memory)
            .map(|hierarchy| {
                let (file, cache) = match hierarchy.unified {
                    true => ("memory.current", "file "),
                    false => ("memory.usage_in_bytes", "total_cache "),
                };
                let stat = hierarchy.read(sandbox, "memory.stat");
                let cache = stat.and_then(|stat| line(stat, cache));
                (hierarchy.read(sandbox, file), cache)
            })
            .unwrap_or_default();
        let pids =
            with(Controller::Pids).and_then(|hierarchy| hierarchy.read(sandbox, "pids.current"));
        let cpu_us = match with(Controller::CpuCount) {
            Some(hierarchy) => {
                let nanoseconds = hierarchy.read(sandbox, "cpuacct.usage").and_then(number);
                nanoseconds.map(|nanoseconds| nanoseconds / 1000)
            }
            // Version 2 counts without a controller.
            None => self
                .hierarchies
                .iter()
                .find(|h| h.unified)
                .and_then(|hierarchy| line(hierarchy.read(sandbox, "cpu.stat")?, "usage_usec ")),
        };
        Ok(Usage {
            cpu_us,
            memory: memory.and_then(number),
            memory_cache,
            // Known to the store.
            disk: None,
            pids: pids.and_then(number),
        })
    }
}
