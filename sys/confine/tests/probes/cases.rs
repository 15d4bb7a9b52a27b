//! What each probe must end with.

use crate::child::WENT_THROUGH;

/// How a probe may end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    /// With this code: an errno, or [`WENT_THROUGH`].
    Code(i32),
    /// Killed by the filter.
    Killed,
    /// By abort(3).
    Aborted,
}

const EPERM: &[End] = &[End::Code(libc::EPERM)];
const KILLED: &[End] = &[End::Killed];
const WORKS: &[End] = &[End::Code(WENT_THROUGH)];
/// Nothing there, read-only, or Landlock: which of them answers first is the kernel's business.
const WALLED: &[End] = &[
    End::Code(libc::ENOENT),
    End::Code(libc::EROFS),
    End::Code(libc::EACCES),
];

/// What all profiles answer with EPERM once locked.
const REFUSED: &[&str] = &[
    "socket-inet",
    "socket-inet6",
    "socket-unix",
    "socket-netlink",
    "socket-vsock",
    "socketpair-inet",
    "socketpair-datagram",
    "connect",
    "bind",
    "listen",
    "send-to-address",
    "send-fast-open",
    "sendmsg-fast-open",
    "open-absolute",
    "open-etc",
    "open-proc",
    "open-create",
    "open-in-directory",
    "open-above-directory",
    "create-in-directory",
    "openat2",
    "unlink",
    "clone",
    "clone3",
    "kill-init",
    "tgkill-init",
    "memfd",
    "map-code",
    "make-code",
    "terminal-input",
    "own-descriptor",
    "bind-to-device",
    "be-dumpable",
    "another-filter",
    "raise-limit",
    "dup",
    #[cfg(target_arch = "x86_64")]
    "fork",
    #[cfg(target_arch = "x86_64")]
    "vfork",
    #[cfg(target_arch = "x86_64")]
    "open-the-old-way",
];

/// What ends the process in every filter.
const DEADLY: &[&str] = &[
    "sendmmsg",
    "io-uring",
    "execve",
    "execveat",
    "ptrace",
    "process-vm-readv",
    "pidfd-open",
    "pidfd-getfd",
    "mount",
    "umount",
    "open-tree",
    "fsopen",
    "unshare-user",
    "setns",
    "chroot",
    "setuid",
    "capset",
    "bpf",
    "keyctl",
    "userfaultfd",
    "perf",
    "init-module",
    "name-to-handle",
    "open-by-handle",
    "shm",
    "personality",
    "make-code-by-key",
    #[cfg(target_arch = "x86_64")]
    "x32",
];

/// What a constructor of a plugin must not do either.
const REFUSED_LOADING: &[&str] = &[
    "socket-inet",
    "socket-inet6",
    "socket-unix",
    "socket-netlink",
    "socket-vsock",
    "socketpair-datagram",
    "connect",
    "bind",
    "listen",
    "send-to-address",
    "open-create",
    "open-plugin-writing",
    "create-in-plugin",
    "clone",
    "kill-init",
    "tgkill-init",
    "memfd",
    "be-dumpable",
    "raise-limit",
    #[cfg(target_arch = "x86_64")]
    "fork",
];

/// Profile, stage, probe, how it may end.
pub(crate) fn all() -> Vec<(&'static str, &'static str, &'static str, &'static [End])> {
    let mut list = Vec::new();
    for profile in ["gateway", "egress", "plugin"] {
        list.extend(REFUSED.iter().map(|name| (profile, "locked", *name, EPERM)));
        list.extend(DEADLY.iter().map(|name| (profile, "locked", *name, KILLED)));
        for name in ["socket-inet", "open-absolute", "clone"] {
            list.push((profile, "thread", name, EPERM));
        }
        for name in ["works", "socketpair-stream", "socketpair-packets"] {
            list.push((profile, "locked", name, WORKS));
        }
        list.push((profile, "locked", "abort", &[End::Aborted]));
        // The walls behind the filter hold without it.
        for name in ["open-etc", "open-proc", "open-create", "open-above-plugin"] {
            list.push((profile, "early", name, WALLED));
        }
        for name in ["as-root", "root-group", "two-threads"] {
            list.push((profile, "early", name, &[End::Code(201)]));
        }
        list.push((profile, "early", "missing-descriptor", &[End::Code(202)]));
        list.push((profile, "early", "chroot", EPERM));
        list.push((profile, "early", "mount", EPERM));
    }
    list.extend(
        REFUSED_LOADING
            .iter()
            .map(|name| ("plugin", "loading", *name, EPERM)),
    );
    list.extend(
        DEADLY
            .iter()
            .map(|name| ("plugin", "loading", *name, KILLED)),
    );
    // egressd has no file, before the last filter either.
    for name in ["open-in-directory", "create-in-directory"] {
        list.push(("egress", "early", name, WALLED));
    }
    list.extend([
        ("gateway", "locked", "works-async", WORKS),
        ("gateway", "early", "open-in-directory", WORKS),
        ("gateway", "early", "create-in-directory", WORKS),
        ("gateway", "early", "open-above-directory", WALLED),
        (
            "gateway",
            "early",
            "open-absolute",
            &[End::Code(libc::EACCES)][..],
        ),
        ("gateway", "plain", "open-in-directory", WORKS),
        ("gateway", "plain", "create-in-directory", WORKS),
        ("gateway", "plain", "open-above-directory", WALLED),
        ("plugin", "plain", "open-plugin", WORKS),
        ("plugin", "plain", "open-above-plugin", WALLED),
        ("plugin", "early", "open-plugin", WORKS),
        ("plugin", "early", "open-plugin-writing", WALLED),
        ("plugin", "early", "create-in-plugin", WALLED),
        (
            "plugin",
            "early",
            "write-plain-file",
            &[End::Code(libc::EFBIG)],
        ),
        ("plugin", "loading", "open-plugin", WORKS),
        ("plugin", "loading", "works-loading", WORKS),
        ("plugin", "loading", "map-code", WORKS),
        ("plugin", "loading", "open-etc", WALLED),
        ("plugin", "loading", "clone3", &[End::Code(libc::ENOSYS)]),
        ("plugin", "locked", "open-plugin", EPERM),
    ]);
    list
}
