//! What is tried on every kernel.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::net::{AddressFamily, Protocol, SocketType};
use rustix::process::Pid;
use rustix::time::ClockId;

use crate::attempt::{Act, Attempt, Said};
use crate::{netlink, system};

pub(crate) static ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "devices",
        "find a device that a sandbox should not have in /dev",
        Act::Do(devices),
    ),
    Attempt::new(
        "make-devices",
        "make device nodes: a disk, memory",
        Act::Do(make_devices),
    ),
    Attempt::new(
        "descriptors",
        "find descriptors left open by whoever started this",
        Act::Do(descriptors),
    ),
    Attempt::new(
        "chroot-escape",
        "leave through a directory opened before chroot(2)",
        Act::Do(chroot_escape),
    ),
    Attempt::new(
        "set-clock",
        "set the clock, to what it says",
        Act::Do(set_clock),
    ),
    Attempt::new(
        "become-root",
        "setuid(0) without anybody's leave",
        Act::Do(become_root),
    )
    .users(),
    Attempt::new(
        "raw-socket",
        "open raw sockets: ICMP, TCP, any",
        Act::Do(raw_sockets),
    ),
    Attempt::new(
        "netlink-address",
        "add an address over rtnetlink(7)",
        Act::Do(netlink::add_address),
    ),
    Attempt::new(
        "processes",
        "signal every process number there may be",
        Act::Do(processes),
    ),
    Attempt::new(
        "parents",
        "see a parent beyond the first process of the sandbox",
        Act::Do(parents),
    ),
];

/// The only devices there may be.
fn devices() -> Said {
    let (mut allowed, mut waiting) = (0, vec![Path::new("/dev").to_owned()]);
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(meta) = fs::symlink_metadata(&path) else {
                continue;
            };
            let name = path
                .strip_prefix("/dev")
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            let kind = meta.file_type();
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_block_device() || kind.is_char_device() {
                let known = system::DEVICES.contains(&name.as_str())
                    || name
                        .strip_prefix("pts/")
                        .is_some_and(|n| n == "ptmx" || n.parse::<u32>().is_ok())
                    || name
                        .strip_prefix("fd/")
                        .is_some_and(|n| n.parse::<u32>().is_ok());
                if !known {
                    return Said::broke(format!("/dev/{name} is there"));
                }
                allowed += 1;
            }
        }
    }
    Said::held(format!("{allowed} harmless ones"))
}

/// mknod(2): a made node would be opened as well, so it must not be made at all or must not open.
fn make_devices() -> Said {
    let mut seen = Vec::new();
    for (number, (what, kind, device)) in system::NODES.iter().enumerate() {
        let path = format!("/tmp/node-{}-{number}", std::process::id());
        let kind = if *kind == 'b' {
            FileType::BlockDevice
        } else {
            FileType::CharacterDevice
        };
        let made = rustix::fs::mknodat(
            CWD,
            path.as_str(),
            kind,
            Mode::from_raw_mode(0o600),
            *device,
        );
        match made {
            Err(errno) => seen.push(format!(
                "{what} {}",
                crate::attempt::errno_name(&errno.into())
            )),
            Ok(()) => {
                let opened = rustix::fs::open(
                    path.as_str(),
                    OFlags::RDONLY | OFlags::NONBLOCK,
                    Mode::empty(),
                );
                let _ = fs::remove_file(&path);
                match opened {
                    Ok(_) => return Said::broke(format!("{what} was made and opens")),
                    Err(errno) => seen.push(format!(
                        "{what} made, dead ({})",
                        crate::attempt::errno_name(&errno.into())
                    )),
                }
            }
        }
    }
    Said::held(seen.join(", "))
}

/// fcntl(2) F_GETFD of every number there may be.
fn descriptors() -> Said {
    let mut open = Vec::new();
    for number in 3..4096 {
        // SAFETY: F_GETFD reads a flag of a descriptor, or answers EBADF when there is none of that number.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags != -1 {
            open.push(number.to_string());
        }
    }
    if open.is_empty() {
        Said::held("0, 1 and 2 alone")
    } else {
        Said::broke(format!("open as well: {}", open.join(" ")))
    }
}

/// The old way out: a directory descriptor from before, and `..` from there. In a sandbox it ends at its own root.
fn chroot_escape() -> Said {
    let inode = |path: &str| fs::metadata(path).map(|m| (m.dev(), m.ino()));
    let tried = || -> io::Result<bool> {
        let root = inode("/")?;
        let before = rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        rustix::process::chroot("/tmp")?;
        rustix::process::fchdir(before.as_fd())?;
        for _ in 0..64 {
            rustix::process::chdir("..")?;
        }
        Ok(inode(".")? == root)
    };
    match tried() {
        Ok(true) => Said::held("it ends at the sandbox's own root"),
        Ok(false) => Said::broke("a directory above the root was reached"),
        Err(error) => Said::of::<String>(Err(error), &[libc::EPERM, libc::EACCES]),
    }
}

fn set_clock() -> Said {
    let now = rustix::time::clock_gettime(ClockId::Realtime);
    let set = rustix::time::clock_settime(ClockId::Realtime, now);
    Said::of(set.map(|()| "set").map_err(io::Error::from), &[libc::EPERM])
}

fn become_root() -> Said {
    let set = set_user(0);
    Said::of(set.map(|()| "root"), &[libc::EPERM])
}

fn set_user(id: libc::uid_t) -> io::Result<()> {
    // SAFETY: setuid(2) takes a number; this program has one thread and ends after the attempt.
    match unsafe { libc::setuid(id) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn raw_sockets() -> Said {
    let mut seen = Vec::new();
    for (what, number) in [("icmp", 1_u32), ("tcp", 6), ("raw", 255)] {
        let protocol = std::num::NonZeroU32::new(number).map(Protocol::from_raw);
        let made = rustix::net::socket(AddressFamily::INET, SocketType::RAW, protocol);
        let refusals = [libc::EPERM, libc::EACCES, libc::EPROTONOSUPPORT];
        let said = Said::of(made.map(|_| "opened").map_err(io::Error::from), &refusals);
        if !said.holds {
            return Said::broke(format!("{what}: {}", said.seen));
        }
        seen.push(format!("{what} {}", said.seen));
    }
    Said::held(seen.join(", "))
}

/// kill(2) with signal 0. Few answer, and those are the sandbox's own.
fn processes() -> Said {
    const MOST: usize = 32;
    let mut seen = 0;
    for number in 1..100_000 {
        let Some(pid) = Pid::from_raw(number) else {
            continue;
        };
        if matches!(
            rustix::process::test_kill_process(pid),
            Ok(()) | Err(rustix::io::Errno::PERM)
        ) {
            seen += 1;
        }
    }
    if seen <= MOST {
        Said::held(format!("{seen} of its own"))
    } else {
        Said::broke(format!("{seen} processes are seen"))
    }
}

/// The parent of a process whose parent is outside is nobody: 0, or the agent.
fn parents() -> Said {
    match rustix::process::getppid() {
        None => Said::held("none"),
        Some(pid) => match rustix::process::test_kill_process(pid) {
            Ok(()) | Err(rustix::io::Errno::PERM) => Said::held(format!(
                "process {pid} of the sandbox",
                pid = pid.as_raw_nonzero()
            )),
            Err(_) => Said::broke(format!(
                "process {} is named and not to be seen",
                pid.as_raw_nonzero()
            )),
        },
    }
}
