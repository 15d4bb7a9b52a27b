//! What a jail is shown of the host's file systems, and what it could change of them.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

use crate::attempt::{Said, errno_name};

// sys/fs/devfs/devfs.h: DEVFSIO_SUSE, DEVFSIO_SAPPLY, DEVFSIO_SGETNEXT, each with the number of a ruleset.
const RULES: [(&str, u64); 3] = [
    ("use", 0x8002_440a),
    ("apply", 0x8002_440b),
    ("list", 0xc002_440c),
];

/// devfs(8): have /dev show what ruleset 1 shows, and list rulesets.
pub(super) fn device_rules() -> Said {
    let dev = match fs::File::open("/dev") {
        Ok(dev) => dev,
        Err(error) => return Said::broke(error.to_string()),
    };
    let mut seen = Vec::new();
    for (what, number) in RULES {
        let mut ruleset = 1_u16;
        // SAFETY: each of these reads, or reads and writes, the two bytes of a ruleset's number.
        let done = match unsafe { libc::ioctl(dev.as_raw_fd(), number, &raw mut ruleset) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok("done"),
        };
        let said = Said::of(done, &[libc::EPERM]);
        if !said.holds {
            return Said::broke(format!("{what}: {}", said.seen));
        }
        seen.push(format!("{what} {}", said.seen));
    }
    Said::held(seen.join(", "))
}

/// jail(8), enforce_statfs=2: no mount is shown but the jail's own root.
pub(super) fn mounts_seen() -> Said {
    // SAFETY: without a buffer the call only counts.
    let count = unsafe { libc::getfsstat(std::ptr::null_mut(), 0, libc::MNT_NOWAIT) };
    match count {
        1 => Said::held("its own root alone"),
        count => Said::broke(format!("{count} mounts are seen")),
    }
}

/// Directories of the host's base system: nothing in them can be changed, whatever its owner and mode.
pub(super) fn base_system() -> Said {
    let refused = |what: &str, done: io::Result<()>| {
        let said = Said::of(
            done.map(|()| "done"),
            &[libc::EROFS, libc::EPERM, libc::EACCES],
        );
        (!said.holds).then(|| Said::broke(format!("{what}: {}", said.seen)))
    };
    let mut tried = 0;
    for file in [
        "/bin/sh",
        "/lib/libc.so.7",
        "/libexec/ld-elf.so.1",
        "/usr/bin/env",
        "/sbin/init",
    ] {
        let mode = match fs::metadata(file) {
            Ok(meta) => meta.permissions().mode(),
            Err(error) => return Said::broke(format!("{file}: {}", errno_name(&error))),
        };
        let beside = format!("{file}.warder");
        let ways = [
            (
                "write",
                OpenOptions::new().append(true).open(file).map(drop),
            ),
            (
                "chmod",
                fs::set_permissions(file, PermissionsExt::from_mode(mode)),
            ),
            ("rename", fs::rename(file, &beside)),
            ("link", fs::hard_link(file, &beside)),
            ("create", fs::write(&beside, "")),
        ];
        for (what, done) in ways {
            if let Some(broke) = refused(&format!("{what} {file}"), done) {
                return broke;
            }
            tried += 1;
        }
    }
    Said::held(format!("{tried} refused"))
}
