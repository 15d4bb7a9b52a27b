//! What this host offers, for `warder doctor`.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat};
use rustix::mount::{OpenTreeFlags, open_tree};
use warder_common::{At, Result};
use warder_wire::gateway_priv::Feature;

use crate::cell::{IdRange, UserNamespace};
use crate::sys;

/// The oldest kernel on which every call of this crate is known to work.
const KERNEL: (u32, u32) = (6, 1);

/// Programs a sandbox of template `base` is expected to have, and the Debian package of each.
const PROGRAMS: [(&str, &str); 8] = [
    ("bash", "bash"),
    ("curl", "curl"),
    ("git", "git"),
    ("node", "nodejs"),
    ("python3", "python3"),
    ("ls", "coreutils"),
    ("sudo", "sudo"),
    ("tar", "tar"),
];

/// An identifier of this boot: differs after every restart of the host.
///
/// # Errors
/// `System` when /proc is not there.
pub fn boot_id() -> Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").at("read boot_id")?;
    Ok(text.trim().to_owned())
}

/// Every feature looked at, for storage in `state_dir`. Limits are not among them: see
/// [`crate::cell::Controllers::limits_in_force`]. The caller must be single-threaded: a user namespace is made
/// to see whether one can be.
#[must_use]
pub fn report(state_dir: &Path) -> Vec<Feature> {
    let mut features = vec![kernel(), merged_usr()];
    features.extend(file_systems(state_dir));
    features.extend(user_namespaces(state_dir));
    features.extend(security());
    features.extend(PROGRAMS.map(program));
    features
}

fn feature(name: impl Into<String>, present: bool, note: impl Into<String>) -> Feature {
    Feature {
        name: name.into(),
        present,
        note: note.into(),
    }
}

fn kernel() -> Feature {
    feature(
        format!("kernel {}", release()),
        is_kernel(KERNEL),
        "6.1 or newer is needed",
    )
}

/// Whether the kernel is this one or newer.
pub(crate) fn is_kernel(least: (u32, u32)) -> bool {
    version(&release()).is_some_and(|version| version >= least)
}

fn release() -> String {
    let uname = rustix::system::uname();
    uname.release().to_string_lossy().into_owned()
}

/// Major and minor number in front of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn merged_usr() -> Feature {
    let present = rustix::fs::readlinkat(CWD, "/bin", Vec::new())
        .is_ok_and(|to| to.to_string_lossy().contains("usr"));
    feature(
        "merged /usr",
        present,
        "template base needs it; on Debian: package usrmerge",
    )
}

fn file_systems(state_dir: &Path) -> Vec<Feature> {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = |name: &str| known.split_ascii_whitespace().any(|word| word == name);
    let quotas = has_quotas(state_dir);
    vec![
        feature(
            "overlayfs",
            has("overlay"),
            "sandboxes are clones by overlay; load module overlay",
        ),
        feature(
            "disk and volume quotas",
            quotas,
            match quotas {
                true => {
                    "each sandbox and volume is counted by the state directory's file system, with a limit"
                }
                false => {
                    "sandboxes and volumes share the state directory's file system; `storage_reserve_mib` of it stays free of new ones. ext4 and XFS have quotas if mounted with `prjquota` (the directory itself in no project), btrfs after `btrfs quota enable` (Linux 6.3; full quotas that have not lost count)"
                }
            },
        ),
    ]
}

/// Whether the file system of the state directory holds sandboxes and volumes to limits.
pub(crate) fn has_quotas(state_dir: &Path) -> bool {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(state_dir, flags, Mode::empty())
        .is_ok_and(|directory| crate::quota::in_force(directory.as_fd()).is_some())
}

/// Whether ids can be mapped, and files in the state directory and /usr with them.
fn user_namespaces(state_dir: &Path) -> Vec<Feature> {
    let range = IdRange {
        first: 0x7000_0000,
        count: 1,
    };
    let users = match UserNamespace::new(range) {
        Ok(users) => users,
        Err(error) => {
            return vec![feature(
                "user namespaces",
                false,
                format!("{error}: see sysctl user.max_user_namespaces"),
            )];
        }
    };
    let mut features = vec![feature(
        "user namespaces",
        true,
        "each sandbox has ids of its own",
    )];
    for path in [state_dir, Path::new("/usr")] {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let mapped = open_tree(CWD, path, flags)
            .and_then(|tree| sys::set_mount(tree.as_fd(), 0, Some(users.as_fd())));
        let name = if path == state_dir {
            "idmapped state directory"
        } else {
            "idmapped /usr"
        };
        let note = match mapped {
            Ok(()) => "templates show the sandbox's own ids".to_owned(),
            Err(errno) => {
                format!("{errno}: the file system cannot map ids; ext4, xfs and btrfs can")
            }
        };
        features.push(feature(name, mapped.is_ok(), note));
    }
    features
}

fn security() -> Vec<Feature> {
    let there = |path: &str| accessat(CWD, path, Access::EXISTS, AtFlags::empty()).is_ok();
    let landlock = sys::landlock_version();
    vec![
        feature(
            "seccomp",
            there("/proc/sys/kernel/seccomp/actions_avail"),
            "cells and daemons are filtered",
        ),
        feature(
            "landlock",
            landlock.is_some(),
            landlock.map_or(
                "daemons are confined without it; enable the landlock LSM".to_owned(),
                |version| format!("version {version}, for the daemons"),
            ),
        ),
        feature(
            "nftables",
            has_nftables(),
            "netd filters with it; load module nf_tables",
        ),
        feature(
            "network namespaces",
            there("/proc/self/ns/net"),
            "each sandbox has a network of its own",
        ),
    ]
}

/// Whether the kernel answers for netfilter's netlink family (a module is loaded by asking).
fn has_nftables() -> bool {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};
    let flags = SocketFlags::CLOEXEC;
    socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        flags,
        Some(netlink::NETFILTER),
    )
    .is_ok()
}

/// Whether everyone may run a program of the host's /usr: then a sandbox has it.
fn program((name, package): (&str, &str)) -> Feature {
    let present = ["bin", "sbin", "local/bin"].iter().any(|dir| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::open(format!("/usr/{dir}/{name}"), flags, Mode::empty())
            .and_then(rustix::fs::fstat)
            .is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::ROTH | Mode::XOTH))
    });
    let note = format!("in sandboxes of template base; on Debian: apt-get install {package}");
    feature(format!("program {name}"), present, note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
        assert_eq!(version("6.1-rc2"), Some((6, 1)));
        assert!(version("5.15.0-1-amd64") < Some(KERNEL));
        assert_eq!(version("x"), None);
    }
}
