//! What is tried on FreeBSD. Numbers of calls are those of sys/syscall.h of 15.1.

mod network;
mod others;
mod sysctls;
mod trees;

use std::ffi::c_ushort;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixListener;

use crate::attempt::{Act, Attempt, Said};
use crate::call::{Arg, call};

pub(crate) use others::touch;

use Arg::{Bytes, Number, Text};

/// netlink(4).
pub(crate) const NETLINK: c_ushort = 38;
/// ptrace(2) and PT_ATTACH.
pub(crate) const PTRACE: (i64, i64) = (26, 10);
/// What the devfs ruleset of a sandbox leaves, and the names of a process's own descriptors (fd(4)).
pub(crate) const DEVICES: &[&str] = &[
    "null", "zero", "full", "random", "urandom", "tty", "ptmx", "stdin", "stdout", "stderr",
];
/// Devices to be made: what, its kind, its number. mknod(2) makes none outside of devfs that works.
pub(crate) static NODES: &[(&str, char, u64)] = &[("disk", 'b', 0x5e), ("memory", 'c', 0x0f)];

const REFUSED: &[i32] = &[libc::EPERM, libc::ENOSYS];
/// The same, where what is named must not be seen either.
const HIDDEN: &[i32] = &[
    libc::EPERM,
    libc::ENOSYS,
    libc::ESRCH,
    libc::ENOENT,
    libc::EINVAL,
];

const MOUNT: i64 = 21;
const UNMOUNT: i64 = 22;
const CHFLAGS: i64 = 34;
const ACCT: i64 = 51;
const SWAPON: i64 = 85;
const QUOTACTL: i64 = 148;
const NLM: i64 = 154;
const NFSSVC: i64 = 155;
const GETFH: i64 = 161;
const SETSOCKOPT: i64 = 105;
const SYSARCH: i64 = 165;
const FHOPEN: i64 = 298;
const KLDLOAD: i64 = 304;
const KLDUNLOAD: i64 = 305;
const EXTATTR_SET_FILE: i64 = 356;
const KENV: i64 = 390;
const JAIL_ATTACH: i64 = 436;
const AUDITON: i64 = 446;
const AUDITCTL: i64 = 453;
const JAIL_SET: i64 = 507;
const JAIL_REMOVE: i64 = 508;
const RCTL_GET_RULES: i64 = 526;
const RCTL_ADD_RULE: i64 = 528;
const RCTL_REMOVE_RULE: i64 = 529;
const FHSTAT: i64 = 553;
const SYSCTLBYNAME: i64 = 570;
const SWAPOFF: i64 = 582;
const SETAUID: i64 = 448;

const ONE: Arg = Bytes(&1_i32.to_ne_bytes());
const ZERO: Arg = Bytes(&0_i32.to_ne_bytes());

pub(crate) static ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "mount",
        "mount file systems: tmpfs, nullfs, devfs, procfs, fdescfs, ZFS",
        Act::Do(mounts),
    ),
    // mount(2). EINVAL: the kernel has no such file system, and may not load it for a jail.
    Attempt::new(
        "mount-as-ever",
        "mount file systems by the older call",
        Act::Calls(
            &[
                (
                    "fdescfs",
                    MOUNT,
                    &[Text(c"fdescfs"), Text(c"/mnt"), Number(0), Number(0)],
                ),
                (
                    "procfs",
                    MOUNT,
                    &[Text(c"procfs"), Text(c"/mnt"), Number(0), Number(0)],
                ),
                (
                    "linprocfs",
                    MOUNT,
                    &[Text(c"linprocfs"), Text(c"/mnt"), Number(0), Number(0)],
                ),
            ],
            &[libc::EPERM, libc::EINVAL],
        ),
    ),
    Attempt::new(
        "unmount",
        "unmount /dev, /tmp and /, to see what lies below",
        Act::Calls(
            &[
                ("/dev", UNMOUNT, &[Text(c"/dev"), Number(0)]),
                ("/tmp", UNMOUNT, &[Text(c"/tmp"), Number(0)]),
                ("/", UNMOUNT, &[Text(c"/"), Number(0)]),
                ("/usr/bin", UNMOUNT, &[Text(c"/usr/bin"), Number(0)]),
            ],
            &[libc::EPERM, libc::EINVAL, libc::ENOENT],
        ),
    ),
    // jail(2): EPERM where children.max is zero.
    Attempt::new(
        "jail-in-jail",
        "make a jail in the jail",
        Act::Call(JAIL_SET, &[Number(0), Number(0), Number(1)], REFUSED),
    ),
    Attempt::new(
        "other-jails",
        "attach to, remove and list jails by their number",
        Act::Do(other_jails),
    ),
    Attempt::new(
        "kernel-modules",
        "load and unload kernel modules",
        Act::Calls(
            &[
                ("kldload", KLDLOAD, &[Text(c"warder_no_such_module")]),
                ("kldunload", KLDUNLOAD, &[Number(999_999)]),
            ],
            REFUSED,
        ),
    ),
    // kenv(2): 1 is KENV_SET, 2 KENV_UNSET.
    Attempt::new(
        "kernel-environment",
        "change the kernel's environment",
        Act::Calls(
            &[
                (
                    "set",
                    KENV,
                    &[Number(1), Text(c"warder.probe"), Text(c"x"), Number(2)],
                ),
                (
                    "unset",
                    KENV,
                    &[Number(2), Text(c"warder.probe"), Number(0), Number(0)],
                ),
            ],
            REFUSED,
        ),
    ),
    Attempt::new(
        "sysctls",
        "set sysctls of the host: security, memory, network, core files",
        Act::Calls(
            &[
                (
                    "security.bsd.see_other_uids",
                    SYSCTLBYNAME,
                    &[
                        Text(c"security.bsd.see_other_uids"),
                        Number(27),
                        Number(0),
                        Number(0),
                        ONE,
                        Number(4),
                    ],
                ),
                (
                    "kern.maxfiles",
                    SYSCTLBYNAME,
                    &[
                        Text(c"kern.maxfiles"),
                        Number(13),
                        Number(0),
                        Number(0),
                        ONE,
                        Number(4),
                    ],
                ),
                (
                    "vm.overcommit",
                    SYSCTLBYNAME,
                    &[
                        Text(c"vm.overcommit"),
                        Number(13),
                        Number(0),
                        Number(0),
                        ZERO,
                        Number(4),
                    ],
                ),
                (
                    "net.inet.ip.forwarding",
                    SYSCTLBYNAME,
                    &[
                        Text(c"net.inet.ip.forwarding"),
                        Number(22),
                        Number(0),
                        Number(0),
                        ONE,
                        Number(4),
                    ],
                ),
                (
                    "kern.coredump",
                    SYSCTLBYNAME,
                    &[
                        Text(c"kern.coredump"),
                        Number(13),
                        Number(0),
                        Number(0),
                        ONE,
                        Number(4),
                    ],
                ),
                (
                    "vfs.usermount",
                    SYSCTLBYNAME,
                    &[
                        Text(c"vfs.usermount"),
                        Number(13),
                        Number(0),
                        Number(0),
                        ONE,
                        Number(4),
                    ],
                ),
            ],
            &[libc::EPERM],
        ),
    ),
    // security(7): a jail's level can be raised by its root and never lowered.
    Attempt::new(
        "securelevel",
        "lower the secure level",
        Act::Call(
            SYSCTLBYNAME,
            &[
                Text(c"kern.securelevel"),
                Number(16),
                Number(0),
                Number(0),
                ZERO,
                Number(4),
            ],
            &[libc::EPERM],
        ),
    ),
    Attempt::new(
        "hostname",
        "name the host, its id and its domain anew",
        Act::Calls(
            &[
                (
                    "kern.hostname",
                    SYSCTLBYNAME,
                    &[
                        Text(c"kern.hostname"),
                        Number(13),
                        Number(0),
                        Number(0),
                        Bytes(b"x"),
                        Number(1),
                    ],
                ),
                (
                    "kern.hostuuid",
                    SYSCTLBYNAME,
                    &[
                        Text(c"kern.hostuuid"),
                        Number(13),
                        Number(0),
                        Number(0),
                        Bytes(b"x"),
                        Number(1),
                    ],
                ),
                (
                    "kern.domainname",
                    SYSCTLBYNAME,
                    &[
                        Text(c"kern.domainname"),
                        Number(15),
                        Number(0),
                        Number(0),
                        Bytes(b"x"),
                        Number(1),
                    ],
                ),
            ],
            &[libc::EPERM],
        ),
    ),
    Attempt::new(
        "limits",
        "add, read and remove rules of rctl(4)",
        Act::Calls(
            &[
                (
                    "add",
                    RCTL_ADD_RULE,
                    &[
                        Text(c"user:warder_none:maxproc:deny=1000000"),
                        Number(38),
                        Number(0),
                        Number(0),
                    ],
                ),
                (
                    "remove",
                    RCTL_REMOVE_RULE,
                    &[Text(c"user:warder_none"), Number(17), Number(0), Number(0)],
                ),
                (
                    "read",
                    RCTL_GET_RULES,
                    &[Text(c":"), Number(2), Number(0), Number(0)],
                ),
            ],
            REFUSED,
        ),
    ),
    Attempt::new(
        "file-handles",
        "open files by handle, past every mount",
        Act::Calls(
            &[
                ("getfh", GETFH, &[Text(c"/"), Number(0)]),
                ("fhopen", FHOPEN, &[Number(0), Number(0)]),
                ("fhstat", FHSTAT, &[Bytes(&[0; 64]), Number(0)]),
            ],
            REFUSED,
        ),
    ),
    Attempt::new(
        "file-flags",
        "set system flags and system attributes of a file",
        Act::Calls(
            &[
                ("schg", CHFLAGS, &[Text(c"/tmp"), Number(0x20000)]),
                (
                    "attribute",
                    EXTATTR_SET_FILE,
                    &[Text(c"/tmp"), Number(2), Text(c"x"), Text(c"y"), Number(1)],
                ),
            ],
            &[libc::EPERM, libc::EOPNOTSUPP],
        ),
    ),
    Attempt::new(
        "swap-and-accounting",
        "swapon, swapoff, acct, quotactl, nfssvc, nlm",
        Act::Calls(
            &[
                ("swapon", SWAPON, &[Text(c"/none")]),
                ("swapoff", SWAPOFF, &[Text(c"/none"), Number(0)]),
                ("acct", ACCT, &[Number(0)]),
                (
                    "quotactl",
                    QUOTACTL,
                    &[Text(c"/"), Number(0), Number(0), Number(0)],
                ),
                // NFSSVC_NFSDADDSOCK; without a flag that names a service nothing is asked for.
                ("nfssvc", NFSSVC, &[Number(0x100), Number(0)]),
                ("nlm", NLM, &[Number(0), Number(0), Number(0), Number(0)]),
            ],
            REFUSED,
        ),
    ),
    Attempt::new(
        "audit",
        "change what the host audits",
        Act::Calls(
            &[
                ("auditon", AUDITON, &[Number(0), Number(0), Number(0)]),
                ("auditctl", AUDITCTL, &[Text(c"/none")]),
                ("setauid", SETAUID, &[ZERO]),
            ],
            REFUSED,
        ),
    ),
    // sysarch(2): I386_SET_IOPERM is 4; amd64 has none, and /dev/io is the way there.
    Attempt::new(
        "ports",
        "the machine's ports",
        Act::Call(
            SYSARCH,
            &[Number(4), Number(0)],
            &[libc::EPERM, libc::EINVAL, libc::EFAULT],
        ),
    ),
    // jail(8), allow.read_msgbuf.
    Attempt::new("kernel-log", "read the kernel's log", Act::Do(kernel_log)),
    Attempt::new(
        "kernel-memory",
        "open the kernel's memory, symbols and ports",
        Act::Open(&[
            "/dev/mem",
            "/dev/kmem",
            "/dev/io",
            "/dev/ksyms",
            "/dev/klog",
            "/dev/devctl",
            "/dev/devctl2",
            "/dev/pci",
            "/dev/acpi",
            "/dev/cpuctl0",
        ]),
    ),
    Attempt::new(
        "raw-disks",
        "open the host's disks",
        Act::Open(&[
            "/dev/ada0",
            "/dev/da0",
            "/dev/nda0",
            "/dev/nvme0",
            "/dev/nvd0",
            "/dev/vtbd0",
            "/dev/md0",
            "/dev/mdctl",
            "/dev/cd0",
            "/dev/geom.ctl",
            "/dev/zfs",
            "/dev/zvol",
            "/dev/ufssuspend",
            "/dev/xpt0",
            "/dev/pass0",
        ]),
    ),
    Attempt::new(
        "host-devices",
        "open devices that lead to the host: virtual machines, tunnels, FUSE, consoles",
        Act::Open(&[
            "/dev/vmmctl",
            "/dev/vmm",
            "/dev/tap",
            "/dev/tun",
            "/dev/tap0",
            "/dev/tun0",
            "/dev/netmap",
            "/dev/fuse",
            "/dev/console",
            "/dev/consolectl",
            "/dev/ttyv0",
            "/dev/ttyu0",
            "/dev/cuau0",
            "/dev/dtrace/dtrace",
            "/dev/hwpmc",
            "/dev/sndstat",
            "/dev/usbctl",
            "/dev/fido",
        ]),
    ),
    Attempt::new(
        "every-sysctl",
        "set every sysctl that is a number to what it says",
        Act::Do(sysctls::write_all),
    ),
    Attempt::new(
        "interfaces",
        "make, destroy, rename, move and address interfaces by ioctl(2)",
        Act::Do(network::interfaces),
    ),
    Attempt::new(
        "routing-socket",
        "add, change and remove routes over route(4)",
        Act::Do(network::routes),
    ),
    Attempt::new(
        "socket-families",
        "sockets of every family but the usual four",
        Act::Do(network::families),
    ),
    Attempt::new(
        "devfs-rules",
        "have /dev show what another ruleset of devfs(8) shows",
        Act::Do(trees::device_rules),
    ),
    Attempt::new(
        "mounts-seen",
        "list the host's mounts",
        Act::Do(trees::mounts_seen),
    ),
    Attempt::new(
        "base-system",
        "change programs and libraries of the host's that every sandbox maps",
        Act::Do(trees::base_system),
    ),
    Attempt::new(
        "processors",
        "change the processors of the host's sets, interrupts and jails",
        Act::Do(others::processors),
    ),
    Attempt::new(
        "clock-rate",
        "have the clock go faster or slower",
        Act::Do(others::clock_rate),
    ),
    Attempt::new(
        "packet-filter",
        "open pf(4) and its log",
        Act::Open(&["/dev/pf", "/dev/pflog", "/dev/auditpipe", "/dev/crypto"]),
    ),
    Attempt::new(
        "packet-capture",
        "open bpf(4)",
        Act::Open(&["/dev/bpf", "/dev/bpf0", "/dev/bpf1"]),
    ),
    Attempt::new(
        "proc",
        "read the kernel's files of procfs and linprocfs",
        Act::Open(&[
            "/proc/1/mem",
            "/proc/curproc/mem",
            "/proc/kcore",
            "/compat/linux/proc/kcore",
        ]),
    ),
];

/// unix(4) has no names but files.
pub(crate) fn listen_abstract(_name: &str) -> io::Result<UnixListener> {
    Err(io::Error::from_raw_os_error(libc::ENOTSUP))
}

/// ip(4), IP_BINDANY: whom priv(9) lets.
pub(crate) fn any_source(socket: BorrowedFd<'_>) -> io::Result<()> {
    const ON: [u8; 4] = 1_i32.to_ne_bytes();
    let numbers = [socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_BINDANY].map(i64::from);
    let [socket, of_ip, any] = numbers.map(Number);
    call(SETSOCKOPT, &[socket, of_ip, any, Bytes(&ON), Number(4)]).map(drop)
}

/// As [`listen_abstract`].
pub(crate) fn connect_abstract(_name: &str) -> Said {
    Said::held("there are no such names")
}

/// The first thousand numbers, the host's own (0) among them. Removing one would be no harm if the attempt itself was:
/// so removal is tried with a number that no host reaches.
fn other_jails() -> Said {
    for jid in 0..1000 {
        let said = Said::of(
            call(JAIL_ATTACH, &[Number(jid)]).map(|_| "attached"),
            HIDDEN,
        );
        if !said.holds {
            return Said::broke(format!("jail {jid}: {}", said.seen));
        }
    }
    let removed = Said::of(
        call(JAIL_REMOVE, &[Number(2_000_000_000)]).map(|_| "removed"),
        HIDDEN,
    );
    let listed = Said::of(list_jails(), HIDDEN);
    if !removed.holds || !listed.holds {
        return Said::broke(format!("remove: {}, list: {}", removed.seen, listed.seen));
    }
    Said::held("1000 are not there")
}

/// jail_get(2): the first one after jail 0. "ENOENT: no jail was found."
fn list_jails() -> io::Result<&'static str> {
    let (mut name, mut last) = (*b"lastjid\0", 0_i32);
    let mut vectors = [
        libc::iovec {
            iov_base: name.as_mut_ptr().cast(),
            iov_len: name.len(),
        },
        libc::iovec {
            iov_base: (&raw mut last).cast(),
            iov_len: size_of::<i32>(),
        },
    ];
    // SAFETY: two vectors, whose memory outlives the call; it reads both and writes to none of them.
    match unsafe { libc::jail_get(vectors.as_mut_ptr(), 2, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok("listed"),
    }
}

/// nmount(2): "EPERM: the caller is neither the super-user nor the owner of" the directory; a jail without allow.mount may
/// mount nothing. What a kernel does not have it says before that (ENODEV, ENOENT).
fn mounts() -> Said {
    let mut seen = Vec::new();
    for kind in [c"tmpfs", c"nullfs", c"devfs", c"procfs", c"fdescfs", c"zfs"] {
        let words = [
            c"fstype", kind, c"fspath", c"/mnt", c"target", c"/etc", c"from", c"/etc",
        ];
        let mut vectors = words.map(|word| libc::iovec {
            iov_base: word.as_ptr().cast_mut().cast(),
            iov_len: word.to_bytes_with_nul().len(),
        });
        let count = libc::c_uint::try_from(vectors.len()).unwrap_or(0);
        // SAFETY: every vector is a constant text with its NUL, which the call reads, and `count` is their number.
        let answer = unsafe { libc::nmount(vectors.as_mut_ptr(), count, 0) };
        let mounted = if answer == 0 {
            // SAFETY: the path is a constant text; what this attempt has mounted there is taken away again.
            unsafe { libc::unmount(c"/mnt".as_ptr(), 0) };
            Ok("mounted")
        } else {
            Err(io::Error::last_os_error())
        };
        let said = Said::of(mounted, &[libc::EPERM, libc::ENODEV, libc::ENOENT]);
        let line = format!("{} {}", kind.to_string_lossy(), said.seen);
        if !said.holds {
            return Said::broke(line);
        }
        seen.push(line);
    }
    Said::held(seen.join(", "))
}

fn kernel_log() -> Said {
    let mut length = 1_usize;
    let mut byte = [0_u8; 1];
    // SAFETY: sysctlbyname(3) writes `length` bytes at most to the buffer, which has as many, and the length.
    let answer = unsafe {
        libc::sysctlbyname(
            c"kern.msgbuf".as_ptr(),
            byte.as_mut_ptr().cast(),
            &raw mut length,
            std::ptr::null(),
            0,
        )
    };
    let error = io::Error::last_os_error();
    // ENOMEM: there is more than the buffer holds, so it may be read.
    Said::of(
        if answer == 0 { Ok("read") } else { Err(error) },
        &[libc::EPERM],
    )
}
