//! Which cgroup hierarchies this host has, and what each can limit (cgroups(7)).

use std::path::PathBuf;

/// What a hierarchy is used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Controller {
    Memory,
    Cpu,
    /// Version 1 only: version 2 counts without a controller.
    CpuCount,
    Pids,
    /// Version 2 freezes without a controller.
    Freezer,
}

impl Controller {
    pub(crate) const LIMITING: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];
    const ALL: [Self; 5] = [
        Self::Memory,
        Self::Cpu,
        Self::CpuCount,
        Self::Pids,
        Self::Freezer,
    ];

    /// Its name in mount options and `cgroup.controllers`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::CpuCount => "cpuacct",
            Self::Pids => "pids",
            Self::Freezer => "freezer",
        }
    }

    /// The file that sets the limit, that counts, or that freezes.
    pub(crate) fn file(self, unified: bool) -> &'static str {
        match (self, unified) {
            (Self::Memory, true) => "memory.max",
            (Self::Memory, false) => "memory.limit_in_bytes",
            (Self::Cpu, true) => "cpu.max",
            (Self::Cpu, false) => "cpu.cfs_quota_us",
            (Self::CpuCount, _) => "cpuacct.usage",
            (Self::Pids, _) => "pids.max",
            (Self::Freezer, true) => "cgroup.freeze",
            (Self::Freezer, false) => "freezer.state",
        }
    }
}

/// A mounted hierarchy.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Mounted {
    pub(crate) path: PathBuf,
    /// Version 2.
    pub(crate) unified: bool,
    /// Of version 1; those of version 2 are read from the hierarchy itself.
    pub(crate) controllers: Vec<Controller>,
}

/// The hierarchies in a mountinfo file (proc_pid_mountinfo(5)) that are of use, version 2 first.
pub(crate) fn mounted(mountinfo: &str) -> Vec<Mounted> {
    let mut all: Vec<Mounted> = mountinfo.lines().filter_map(line).collect();
    all.sort_by_key(|mounted| !mounted.unified);
    all
}

fn line(line: &str) -> Option<Mounted> {
    let (mount, file_system) = line.split_once(" - ")?;
    let path = mount.split(' ').nth(4)?;
    let mut file_system = file_system.split(' ');
    let kind = file_system.next()?;
    let options = file_system.nth(1)?;
    // A path with a space or backslash would need unescaping; no host mounts its cgroups so.
    if path.contains('\\') {
        return None;
    }
    let named = |name: &str| {
        Controller::ALL
            .into_iter()
            .find(|controller| controller.name() == name)
    };
    let (unified, controllers) = match kind {
        "cgroup2" => (true, Vec::new()),
        "cgroup" => (
            false,
            options.split(',').filter_map(named).collect::<Vec<_>>(),
        ),
        _ => return None,
    };
    if !unified && controllers.is_empty() {
        return None;
    }
    Some(Mounted {
        path: path.into(),
        unified,
        controllers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_and_unified_hosts_are_read() {
        let hybrid = "\
25 20 0:22 / / rw - ext4 /dev/vda rw
30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
31 25 0:27 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
32 25 0:28 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
        let found = mounted(hybrid);
        assert_eq!(found.len(), 4);
        assert!(found[0].unified);
        assert_eq!(
            found[1].controllers,
            [Controller::Cpu, Controller::CpuCount]
        );
        assert_eq!(found[2].controllers, [Controller::Freezer]);
        assert_eq!(found[3].path, PathBuf::from("/sys/fs/cgroup/memory"));
        assert!(mounted("").is_empty());
        assert!(mounted("1 2 3 - cgroup").is_empty());
    }
}
