//! What Warder needs of a Linux host.

use std::fs;
use std::path::Path;

use warder_wire::Bounds;

use super::checks::{Check, Need, at_least};

/// Everything, for a kernel of this release.
pub(super) fn all(release: &str) -> Vec<Check> {
    let mut checks = vec![kernel(release)];
    checks.extend(kernel_features());
    checks.extend(limits());
    checks.extend(programs());
    checks
}

fn kernel(release: &str) -> Check {
    Check {
        name: "kernel 6.1 or newer",
        need: Need::Required,
        present: at_least(release, (6, 1)),
        finding: release.to_owned(),
        fix: "apt-get install linux-image-amd64, then reboot (Debian 12 has 6.1)".into(),
    }
}

fn kernel_features() -> Vec<Check> {
    let check = |name, need, present: bool, finding: &str, fix: &'static str| Check {
        name,
        need,
        present,
        finding: finding.to_owned(),
        fix: fix.into(),
    };
    let lists = |file: &str, word: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.split(|c: char| c.is_whitespace() || c == ',')
            .any(|w| w == word)
    };
    let namespaces = ["user", "pid", "mnt", "net", "uts", "ipc", "cgroup"];
    let missing: Vec<&str> = namespaces
        .into_iter()
        .filter(|n| !Path::new("/proc/self/ns").join(n).exists())
        .collect();
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let overlay = lists("/proc/filesystems", "overlay") || module("overlay");
    let seccomp = lists("/proc/sys/kernel/seccomp/actions_avail", "errno");
    let seen = Path::new("/sys/kernel/security/lsm").exists();
    let landlock = lists("/sys/kernel/security/lsm", "landlock");
    let (v2, v1) = controllers();
    vec![
        check(
            "namespaces",
            Need::Required,
            missing.is_empty(),
            &missing.join(" "),
            "use a kernel that has them (Debian's does)",
        ),
        check(
            "user namespaces allowed",
            Need::Required,
            most.trim() != "0",
            &format!("at most {}", most.trim()),
            "sysctl -w user.max_user_namespaces=65536",
        ),
        check("overlayfs", Need::Required, overlay, "", "modprobe overlay"),
        check("veth", Need::Required, module("veth"), "", "modprobe veth"),
        check(
            "nf_tables",
            Need::Required,
            module("nf_tables"),
            "",
            "modprobe nf_tables",
        ),
        check(
            "seccomp filters",
            Need::Required,
            seccomp,
            "",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
        check(
            "Landlock",
            Need::Useful,
            landlock,
            match (landlock, seen) {
                (true, _) => "",
                (false, true) => {
                    "not among the kernel's security modules: the daemons lack their second wall"
                }
                (false, false) => "cannot be seen from here; a running server reports it",
            },
            if seen {
                "boot with lsm=landlock,... in front of the modules listed in /sys/kernel/security/lsm"
            } else {
                "mount -t securityfs none /sys/kernel/security, then look again"
            },
        ),
        check(
            "cgroup controllers",
            Need::Useful,
            !v2.is_empty() || !v1.is_empty(),
            &match (v2.as_str(), v1.as_str()) {
                ("", "") => "none: memory and cpu limits do not hold".to_owned(),
                ("", v1) => format!("version 1: {v1}"),
                (v2, _) => format!("version 2: {v2}"),
            },
            "boot with systemd.unified_cgroup_hierarchy=1, or mount the controllers",
        ),
    ]
}

/// Whether a kernel module is loaded, built in, or can be loaded.
fn module(name: &str) -> bool {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let lists = |file: &str| {
        let text = fs::read_to_string(format!("/lib/modules/{release}/{file}")).unwrap_or_default();
        let file = format!("/{name}.ko");
        text.lines()
            .any(|l| l.split(':').next().is_some_and(|p| p.contains(&file)))
    };
    let loaded = Path::new("/sys/module").join(name).exists();
    // A kernel without modules lists nothing; then its own symbols tell.
    let symbol = || {
        let text = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        text.lines().any(|l| {
            l.split_whitespace()
                .nth(2)
                .is_some_and(|s| s.starts_with(&format!("{name}_")))
        })
    };
    loaded || lists("modules.builtin") || lists("modules.dep") || symbol()
}

/// Controllers of version 2 and of version 1 that limit anything we use.
fn controllers() -> (String, String) {
    let wanted = ["memory", "cpu", "pids"];
    let unified = [
        "/sys/fs/cgroup/cgroup.controllers",
        "/sys/fs/cgroup/unified/cgroup.controllers",
    ];
    let text = unified
        .iter()
        .find_map(|f| fs::read_to_string(f).ok())
        .unwrap_or_default();
    let v2: Vec<&str> = wanted
        .into_iter()
        .filter(|w| text.split_whitespace().any(|c| c == *w))
        .collect();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let legacy = |wanted: &&str| {
        let mut lines = mounts.lines().map(|l| l.split(' ').collect::<Vec<_>>());
        lines.any(|w| {
            w.get(2) == Some(&"cgroup")
                && w.get(3).is_some_and(|o| o.split(',').any(|o| o == *wanted))
        })
    };
    let v1: Vec<&str> = wanted.into_iter().filter(legacy).collect();
    (v2.join(" "), v1.join(" "))
}

fn limits() -> Vec<Check> {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text
        .lines()
        .find(|l| l.starts_with("Max open files"))
        .unwrap_or_default();
    let hard: u64 = line
        .split_whitespace()
        .nth(4)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    vec![Check {
        name: "open files",
        need: Need::Useful,
        present: hard >= 16_384,
        finding: format!("at most {hard} a process"),
        fix: "ulimit -Hn 65536, or LimitNOFILE= in the unit, for more than a few hundred sandboxes"
            .into(),
    }]
}

/// Entries of connection tracking that a flow takes of the router's share at most: one that the kernel forwards has
/// one, one through egressd has two, and a sandbox may have as many of either kind.
const ENTRIES: u64 = 3;

/// Whether so many sandboxes can fill the table of flows together, so that others find no room. `None` where the kernel
/// tracks no connections yet.
pub(super) fn flows(sandboxes: u64) -> Option<Check> {
    let most = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok()?;
    Some(flow_table(sandboxes, most.trim().parse().ok()?))
}

fn flow_table(sandboxes: u64, most: u64) -> Check {
    let flows = u64::from(Bounds::DEFAULT.flows);
    let wanted = sandboxes.saturating_mul(flows).saturating_mul(ENTRIES);
    let present = wanted <= most;
    let each = most / sandboxes.saturating_mul(ENTRIES).max(1);
    Check {
        name: "room for every flow",
        need: Need::Useful,
        present,
        finding: if present {
            format!("{most} entries, {sandboxes} sandboxes of {flows} flows")
        } else {
            format!(
                "{most} entries, and {sandboxes} sandboxes of {flows} flows can take \
                 net.netfilter.nf_conntrack_max={wanted}; as it is there is room for flows {each}"
            )
        },
        fix: "unless all sandboxes may be trusted not to fill it together: sysctl -w with that number \
              (320 bytes of memory an entry), or `template_network * flows` with the other in warder.conf"
            .into(),
    }
}

/// What template `base` offers is what the host has under /usr.
fn programs() -> Vec<Check> {
    const PROGRAMS: [(&str, &str); 6] = [
        ("bash", "apt-get install bash"),
        ("curl", "apt-get install curl"),
        ("git", "apt-get install git"),
        ("python3", "apt-get install python3"),
        ("node", "apt-get install nodejs"),
        ("sudo", "apt-get install sudo"),
    ];
    let find = |name: &str| {
        let dirs = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin"];
        dirs.iter()
            .map(|d| Path::new(d).join(name))
            .find(|p| p.exists())
    };
    let check = |(name, fix): (&'static str, &'static str)| {
        let found = find(name);
        Check {
            name,
            need: if name == "bash" {
                Need::Required
            } else {
                Need::Useful
            },
            present: found.is_some(),
            finding: found.map_or_else(
                || "not under /usr, so not in sandboxes of template `base`".to_owned(),
                |p| p.display().to_string(),
            ),
            fix: fix.into(),
        }
    };
    PROGRAMS.into_iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_flows_is_large_enough_or_the_numbers_are_said() {
        let small = flow_table(100, 262_144);
        assert!(!small.present && small.need == Need::Useful);
        for number in ["nf_conntrack_max=1228800", "flows 873"] {
            assert!(small.finding.contains(number), "{}", small.finding);
        }
        assert!(flow_table(100, 1_228_800).present);
        assert!(flow_table(100, 1_228_799).advice().is_some());
        assert!(!flow_table(u64::MAX, 262_144).present);
        assert!(flow_table(0, 262_144).present);
    }
}
