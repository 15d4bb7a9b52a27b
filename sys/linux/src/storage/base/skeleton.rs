//! The part of template `base` that is our own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use warder_common::{At, Result};

use crate::storage::write_all;

/// Path, mode, owner and group (the same number but for shadow files).
const DIRS: &[(&str, u32, u32)] = &[
    ("dev", 0o755, 0),
    ("etc", 0o755, 0),
    ("etc/default", 0o755, 0),
    ("etc/pam.d", 0o755, 0),
    ("etc/profile.d", 0o755, 0),
    ("etc/skel", 0o755, 0),
    ("etc/ssl", 0o755, 0),
    ("etc/sudoers.d", 0o750, 0),
    ("home", 0o755, 0),
    ("home/user", 0o755, 1000),
    ("media", 0o755, 0),
    ("mnt", 0o755, 0),
    ("opt", 0o755, 0),
    ("proc", 0o555, 0),
    ("root", 0o700, 0),
    ("run", 0o755, 0),
    ("srv", 0o755, 0),
    ("sys", 0o555, 0),
    ("tmp", 0o1777, 0),
    ("usr", 0o755, 0),
    ("var", 0o755, 0),
    ("var/backups", 0o755, 0),
    ("var/cache", 0o755, 0),
    ("var/lib", 0o755, 0),
    ("var/log", 0o755, 0),
    ("var/mail", 0o755, 0),
    ("var/opt", 0o755, 0),
    ("var/spool", 0o755, 0),
    ("var/tmp", 0o1777, 0),
];

/// Group of shadow files, as in `skeleton/group`.
const SHADOW: u32 = 42;

/// Path, mode, owner, group, content.
const FILES: &[(&str, u32, u32, u32, &str)] = &[
    (
        "etc/bash.bashrc",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/bash.bashrc"),
    ),
    ("etc/default/locale", 0o644, 0, 0, "LANG=C.UTF-8\n"),
    (
        "etc/group",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/group"),
    ),
    (
        "etc/gshadow",
        0o640,
        0,
        SHADOW,
        include_str!("../../../skeleton/gshadow"),
    ),
    ("etc/host.conf", 0o644, 0, 0, "multi on\n"),
    (
        "etc/login.defs",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/login.defs"),
    ),
    ("etc/machine-id", 0o444, 0, 0, ""),
    (
        "etc/nsswitch.conf",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/nsswitch.conf"),
    ),
    (
        "etc/pam.d/other",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/pam.other"),
    ),
    (
        "etc/pam.d/su",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/pam.su"),
    ),
    (
        "etc/pam.d/sudo",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/pam.sudo"),
    ),
    (
        "etc/passwd",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/passwd"),
    ),
    (
        "etc/profile",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/profile"),
    ),
    (
        "etc/shadow",
        0o640,
        0,
        SHADOW,
        include_str!("../../../skeleton/shadow"),
    ),
    (
        "etc/shells",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/shells"),
    ),
    (
        "etc/skel/.bashrc",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/user.bashrc"),
    ),
    (
        "etc/skel/.profile",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/user.profile"),
    ),
    (
        "etc/sudoers",
        0o440,
        0,
        0,
        include_str!("../../../skeleton/sudoers"),
    ),
    (
        "home/user/.bashrc",
        0o644,
        1000,
        1000,
        include_str!("../../../skeleton/user.bashrc"),
    ),
    (
        "home/user/.profile",
        0o644,
        1000,
        1000,
        include_str!("../../../skeleton/user.profile"),
    ),
    (
        "root/.bashrc",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/user.bashrc"),
    ),
    (
        "root/.profile",
        0o644,
        0,
        0,
        include_str!("../../../skeleton/user.profile"),
    ),
];

const LINKS: &[(&str, &str)] = &[
    ("/proc/self/mounts", "etc/mtab"),
    ("/run", "var/run"),
    ("/run/lock", "var/lock"),
];

/// Makes all of it in an empty directory.
pub(crate) fn make(tree: &OwnedFd) -> Result<()> {
    for (path, mode, owner) in DIRS {
        rustix::fs::mkdirat(tree, *path, Mode::RWXU).at("make the skeleton")?;
        let dir = rustix::fs::openat(tree, *path, super::super::DIRECTORY, Mode::empty())
            .at("make the skeleton")?;
        finish(dir.as_fd(), *mode, *owner, *owner)?;
    }
    for (path, mode, owner, group, text) in FILES {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(tree, *path, flags, Mode::RUSR).at("make the skeleton")?;
        write_all(&file, text.as_bytes())?;
        finish(file.as_fd(), *mode, *owner, *group)?;
    }
    for (to, path) in LINKS {
        rustix::fs::symlinkat(*to, tree, *path).at("make the skeleton")?;
    }
    Ok(())
}

fn finish(file: BorrowedFd<'_>, mode: u32, owner: u32, group: u32) -> Result<()> {
    rustix::fs::fchown(file, Some(Uid::from_raw(owner)), Some(Gid::from_raw(group)))
        .at("fchown")?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode)).at("fchmod")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_and_group_has_a_shadow() {
        let content = |name: &str| {
            let (.., text) = FILES
                .iter()
                .find(|(path, ..)| *path == name)
                .expect("listed");
            text.lines()
                .map(|line| line.split(':').collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        for (names, shadows) in [("etc/passwd", "etc/shadow"), ("etc/group", "etc/gshadow")] {
            let name = |line: &Vec<&str>| line[0].to_owned();
            let names: Vec<_> = content(names).iter().map(name).collect();
            let shadows: Vec<_> = content(shadows).iter().map(name).collect();
            assert_eq!(names, shadows);
        }
        assert!(
            content("etc/shadow").iter().all(|line| line[1] == "*"),
            "no password"
        );
        assert!(
            content("etc/group")
                .iter()
                .any(|line| line[0] == "tty" && line[2] == "5")
        );
    }
}
