//! What each probe must end with.

use super::child::WENT_THROUGH;

/// How a probe may end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    /// With this code: an errno, or [`WENT_THROUGH`].
    Code(i32),
    /// By abort(3).
    Aborted,
    /// By the signal that a violation raises where violations trap.
    Trapped,
}

/// Profile, stage, probe, how it may end.
pub(crate) type Case = (&'static str, &'static str, &'static str, &'static [End]);

const MODE: &[End] = &[End::Code(libc::ECAPMODE)];
const RIGHTS: &[End] = &[End::Code(libc::ENOTCAPABLE)];
/// No process more: `RLIMIT_NPROC`.
const NO_PROCESS: &[End] = &[End::Code(libc::EAGAIN)];
const EPERM: &[End] = &[End::Code(libc::EPERM)];
const CLOSED: &[End] = &[End::Code(libc::EBADF)];
const WORKS: &[End] = &[End::Code(WENT_THROUGH)];
const TRAPPED: &[End] = &[End::Trapped];

/// What names something that is everybody's: capability mode.
const BY_MODE: &[&str] = &[
    "open-absolute",
    "open-etc",
    "open-device",
    "open-here",
    "open-create",
    "open-the-old-way",
    "shm-open",
    "chroot",
    "getfh",
    "fhopen",
    "acl-get",
    "revoke",
    "quotactl",
    "connect",
    "connectat",
    "connect-kept",
    "bind",
    "bindat",
    "send-to-address",
    "send-message-to-address",
    "socket-raw",
    "kill-init",
    "kill-all",
    "kill-thread-of-init",
    "sigqueue-init",
    "ptrace",
    "ktrace",
    "be-traceable",
    "execve",
    "msgget",
    "semget",
    "shmget",
    "mq-open",
    "sem-open",
    "jail",
    "jail-attach",
    "jail-remove",
    "mount",
    "nmount",
    "unmount",
    "kldload",
    "kenv",
    "reboot",
    "swapon",
    "acct",
    "auditon",
    "rctl",
    "set-time",
    "setfib",
    "setlogin",
];

/// What a descriptor that was kept is not for.
const BY_RIGHTS: &[&str] = &[
    "more-rights",
    "listen-on-a-connection",
    "interface-address",
    "signals-of-a-socket",
    "terminal-input",
    "read-standard-input",
];

/// What a profile's own directory is not for.
const BY_RIGHTS_OF_DIRECTORY: &[&str] = &[
    "open-in-directory-to-run",
    "open-above-directory",
    "open-absolute-by-directory",
    "open-by-link",
    "unlink",
    "mkdir",
    "mknod",
    "rename",
    "link",
    "symlink",
    "chmod",
    "chmod-itself",
    "chown-itself",
    "fexecve",
];

/// What only root may.
const BY_USER: &[&str] = &[
    "set-host-name",
    "list-processes",
    "arguments-of-init",
    "setuid",
    "setresuid",
    "raise-limit",
];

const PROCESSES: &[&str] = &["fork", "vfork", "rfork", "pdfork"];

/// What is left, and harmless or written down.
const LEFT: &[&str] = &[
    "works",
    "socket",
    "listen-on-any-port",
    "nameless-memory",
    "signal-itself",
];

pub(crate) fn all() -> Vec<Case> {
    let mut list: Vec<Case> = Vec::new();
    let mut add = |profile, stage, names: &[&'static str], ends| {
        list.extend(names.iter().map(|name| (profile, stage, *name, ends)));
    };
    for profile in ["gateway", "egress", "plugin"] {
        for stage in ["early", "locked"] {
            add(profile, stage, BY_MODE, MODE);
            add(profile, stage, BY_RIGHTS, RIGHTS);
            add(profile, stage, BY_USER, EPERM);
            add(profile, stage, PROCESSES, NO_PROCESS);
            add(profile, stage, LEFT, WORKS);
        }
        add(profile, "thread", &["open-absolute", "connect"], MODE);
        add(profile, "thread", &["fork"], NO_PROCESS);
        add(profile, "locked", &["abort"], &[End::Aborted]);
        add(
            profile,
            "early",
            &["as-root", "root-group"],
            &[End::Code(201)],
        );
        add(profile, "early", &["two-threads"], &[End::Code(201)]);
        add(profile, "early", &["missing-descriptor"], &[End::Code(202)]);
        // Where violations trap, a daemon that only does what it is for hears of none.
        add(profile, "trap", &["works", "stay"], WORKS);
        add(profile, "trap", &["open-etc", "connect"], TRAPPED);
    }
    for profile in ["gateway", "plugin"] {
        add(profile, "locked", BY_RIGHTS_OF_DIRECTORY, RIGHTS);
        add(profile, "locked", &["open-in-directory"], WORKS);
        add(profile, "locked", &["fchdir"], MODE);
    }
    // egressd has no file at all.
    add(
        "egress",
        "locked",
        &["open-in-directory", "create-in-directory"],
        CLOSED,
    );
    let made = ["create-in-directory", "open-in-directory-writing"];
    add("gateway", "early", &made, WORKS);
    add("plugin", "early", &made, RIGHTS);
    add("plugin", "loading", BY_MODE, MODE);
    add("plugin", "loading", PROCESSES, NO_PROCESS);
    add("plugin", "loading", &made, RIGHTS);
    add("plugin", "loading", &["works-loading"], WORKS);
    add("gateway", "locked", &["works-async"], WORKS);
    add("gateway", "trap", &["works-async"], WORKS);
    add(
        "egress",
        "early",
        &["directory-for-nothing"],
        &[End::Code(201)],
    );
    add("gateway", "locked", &["received"], WORKS);
    let too_long = &[End::Code(libc::EFBIG)];
    add("plugin", "early", &["write-plain-file"], too_long);
    list
}
