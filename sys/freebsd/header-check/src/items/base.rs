//! Of `warder_freebsd::sys`.

#[cfg(target_os = "freebsd")]
use warder_freebsd::sys::{procs, raw};

use super::{constant, function, function_since, offset, size};
use crate::program::Item;

/// The first release with descriptors of jails.
const JAIL_DESCRIPTORS: u32 = 1_500_000;

const IOVEC_CALL: &str = "int (*@)(struct iovec *, unsigned int, int)";
const RCTL_CALL: &str = "int (*@)(const char *, size_t, char *, size_t)";

pub(super) const ITEMS: &[Item] = &[
    constant!("sys/jail.h", libc::JAIL_CREATE = 0x1),
    constant!("sys/jail.h", libc::JAIL_UPDATE = 0x2),
    constant!("sys/jail.h", libc::JAIL_ATTACH = 0x4),
    constant!("sys/jail.h", libc::JAIL_DYING = 0x8),
    constant!("sys/jail.h", raw::JAIL_GET_DESC = 0x40, JAIL_DESCRIPTORS),
    constant!("sys/jail.h", libc::JAIL_SYS_DISABLE = 0),
    constant!("sys/jail.h", libc::JAIL_SYS_NEW = 1),
    constant!("sys/jail.h", libc::JAIL_SYS_INHERIT = 2),
    function("sys/jail.h", "jail_set", IOVEC_CALL),
    function("sys/jail.h", "jail_get", IOVEC_CALL),
    function("sys/jail.h", "jail_attach", "int (*@)(int)"),
    function("sys/jail.h", "jail_remove", "int (*@)(int)"),
    function_since(
        "sys/jail.h",
        "jail_attach_jd",
        "int (*@)(int)",
        JAIL_DESCRIPTORS,
    ),
    function_since(
        "sys/jail.h",
        "jail_remove_jd",
        "int (*@)(int)",
        JAIL_DESCRIPTORS,
    ),
    size!("sys/uio.h", "struct iovec", libc::iovec = 16),
    constant!("sys/mount.h", raw::MNT_RDONLY = 0x1),
    constant!("sys/mount.h", raw::MNT_NOEXEC = 0x4),
    constant!("sys/mount.h", raw::MNT_NOSUID = 0x8),
    constant!("sys/mount.h", raw::MNT_UPDATE = 0x1_0000),
    constant!("sys/mount.h", raw::MNT_FORCE = 0x8_0000),
    constant!("sys/mount.h", raw::MNT_BYFSID = 0x0800_0000),
    constant!("sys/mount.h", raw::MNT_NOCOVER = 0x10_0000_0000),
    constant!("sys/mount.h", raw::MNT_EMPTYDIR = 0x20_0000_0000),
    constant!("sys/mount.h", raw::MNT_NOWAIT = 2),
    size!("sys/mount.h", "struct statfs", raw::Statfs = 2344),
    offset!("sys/mount.h", "struct statfs", raw::Statfs, f_flags = 8),
    offset!("sys/mount.h", "struct statfs", raw::Statfs, f_bsize = 16),
    offset!("sys/mount.h", "struct statfs", raw::Statfs, f_blocks = 32),
    offset!("sys/mount.h", "struct statfs", raw::Statfs, f_bfree = 40),
    offset!("sys/mount.h", "struct statfs", raw::Statfs, f_bavail = 48),
    offset!("sys/mount.h", "struct statfs", raw::Statfs, f_fsid = 192),
    offset!(
        "sys/mount.h",
        "struct statfs",
        raw::Statfs,
        f_fstypename = 280
    ),
    offset!(
        "sys/mount.h",
        "struct statfs",
        raw::Statfs,
        f_mntfromname = 296
    ),
    offset!(
        "sys/mount.h",
        "struct statfs",
        raw::Statfs,
        f_mntonname = 1320
    ),
    function("sys/mount.h", "nmount", IOVEC_CALL),
    function("sys/mount.h", "unmount", "int (*@)(const char *, int)"),
    function(
        "sys/mount.h",
        "getfsstat",
        "int (*@)(struct statfs *, long, int)",
    ),
    constant!("sys/procdesc.h", libc::PD_DAEMON = 0x1),
    constant!("sys/procdesc.h", libc::PD_CLOEXEC = 0x2),
    function("sys/procdesc.h", "pdfork", "pid_t (*@)(int *, int)"),
    function("sys/procdesc.h", "pdgetpid", "int (*@)(int, pid_t *)"),
    function("sys/procdesc.h", "pdkill", "int (*@)(int, int)"),
    constant!("sys/procctl.h", libc::PROC_SPROTECT = 1),
    constant!("sys/procctl.h", libc::PPROT_SET = 1),
    constant!("sys/procctl.h", libc::PROC_REAP_ACQUIRE = 2),
    constant!("sys/procctl.h", libc::PROC_REAP_KILL = 6),
    constant!("sys/procctl.h", libc::PROC_TRAPCAP_CTL = 9),
    constant!("sys/procctl.h", libc::PROC_TRAPCAP_CTL_ENABLE = 1),
    constant!("sys/procctl.h", libc::PROC_NO_NEW_PRIVS_CTL = 19),
    constant!("sys/procctl.h", libc::PROC_NO_NEW_PRIVS_ENABLE = 1),
    size!(
        "sys/procctl.h",
        "struct procctl_reaper_kill",
        raw::ReaperKill = 80
    ),
    offset!(
        "sys/procctl.h",
        "struct procctl_reaper_kill",
        raw::ReaperKill,
        rk_sig = 0
    ),
    offset!(
        "sys/procctl.h",
        "struct procctl_reaper_kill",
        raw::ReaperKill,
        rk_killed = 12
    ),
    function(
        "sys/procctl.h",
        "procctl",
        "int (*@)(idtype_t, id_t, int, void *)",
    ),
    constant!("sys/wait.h", libc::P_PID = 0),
    constant!("sys/wait.h", libc::WNOHANG = 1),
    constant!("sys/event.h", libc::EVFILT_READ = -1),
    constant!("sys/event.h", libc::EVFILT_PROC = -5),
    constant!("sys/event.h", libc::EVFILT_SIGNAL = -6),
    constant!("sys/event.h", libc::EVFILT_PROCDESC = -8),
    constant!("sys/event.h", libc::EV_ADD = 0x1),
    constant!("sys/event.h", libc::EV_DELETE = 0x2),
    constant!("sys/event.h", libc::NOTE_EXIT = 0x8000_0000),
    size!("sys/event.h", "struct kevent", libc::kevent = 64),
    offset!("sys/event.h", "struct kevent", libc::kevent, filter = 8),
    offset!("sys/event.h", "struct kevent", libc::kevent, flags = 10),
    offset!("sys/event.h", "struct kevent", libc::kevent, fflags = 12),
    offset!("sys/event.h", "struct kevent", libc::kevent, data = 16),
    offset!("sys/event.h", "struct kevent", libc::kevent, udata = 24),
    constant!("sys/sysctl.h", libc::CTL_KERN = 1),
    constant!("sys/sysctl.h", libc::KERN_PROC = 14),
    constant!("sys/sysctl.h", libc::KERN_PROC_PID = 1),
    constant!("sys/sysctl.h", libc::KERN_PROC_PROC = 8),
    constant!("sys/sysctl.h", libc::KERN_PROC_INC_THREAD = 0x10),
    constant!("sys/proc.h", procs::SRUN = 2),
    constant!("sys/proc.h", procs::SSLEEP = 3),
    constant!("sys/proc.h", procs::SSTOP = 4),
    constant!("sys/proc.h", procs::SZOMB = 5),
    constant!("sys/proc.h", procs::P_STOPPED_SIG = 0x2_0000),
    size!("sys/user.h", "struct kinfo_proc", libc::kinfo_proc = 1088),
    offset!(
        "sys/user.h",
        "struct kinfo_proc",
        libc::kinfo_proc,
        ki_pid = 72
    ),
    offset!(
        "sys/user.h",
        "struct kinfo_proc",
        libc::kinfo_proc,
        ki_flag = 368
    ),
    offset!(
        "sys/user.h",
        "struct kinfo_proc",
        libc::kinfo_proc,
        ki_ppid = 76
    ),
    offset!(
        "sys/user.h",
        "struct kinfo_proc",
        libc::kinfo_proc,
        ki_uid = 168
    ),
    offset!(
        "sys/user.h",
        "struct kinfo_proc",
        libc::kinfo_proc,
        ki_start = 336
    ),
    offset!(
        "sys/user.h",
        "struct kinfo_proc",
        libc::kinfo_proc,
        ki_stat = 388
    ),
    offset!(
        "sys/user.h",
        "struct kinfo_proc",
        libc::kinfo_proc,
        ki_comm = 447
    ),
    offset!(
        "sys/user.h",
        "struct kinfo_proc",
        libc::kinfo_proc,
        ki_jid = 592
    ),
    size!("sys/time.h", "struct timeval", libc::timeval = 16),
    function("sys/rctl.h", "rctl_add_rule", RCTL_CALL),
    function("sys/rctl.h", "rctl_remove_rule", RCTL_CALL),
    function("sys/rctl.h", "rctl_get_rules", RCTL_CALL),
    function("sys/rctl.h", "rctl_get_racct", RCTL_CALL),
    function("sys/module.h", "modfind", "int (*@)(const char *)"),
    constant!("signal.h", libc::SIG_BLOCK = 1),
    constant!("signal.h", libc::SIG_SETMASK = 3),
    size!("signal.h", "sigset_t", libc::sigset_t = 16),
    constant!("unistd.h", libc::CLOSE_RANGE_CLOEXEC = 4),
    function(
        "unistd.h",
        "close_range",
        "int (*@)(unsigned int, unsigned int, int)",
    ),
    function(
        "unistd.h",
        "fexecve",
        "int (*@)(int, char *const *, char *const *)",
    ),
    constant!("sys/capsicum.h", libc::CAP_RIGHTS_VERSION = 0),
    size!("sys/capsicum.h", "cap_rights_t", libc::cap_rights_t = 16),
    constant!("sys/capsicum.h", libc::CAP_MMAP_RX = 0x200_0000_0000_003d),
    constant!("sys/capsicum.h", libc::CAP_MMAP_RW = 0x200_0000_0000_001f),
    constant!("sys/capsicum.h", libc::CAP_PREAD = 0x200_0000_0000_000d),
    constant!("sys/capsicum.h", libc::CAP_PWRITE = 0x200_0000_0000_000e),
    constant!("sys/capsicum.h", libc::CAP_CREATE = 0x200_0000_0000_0040),
    constant!("sys/capsicum.h", libc::CAP_FEXECVE = 0x200_0000_0000_0080),
    constant!("sys/capsicum.h", libc::CAP_FSYNC = 0x200_0000_0000_0100),
    constant!("sys/capsicum.h", libc::CAP_FTRUNCATE = 0x200_0000_0000_0200),
    constant!("sys/capsicum.h", libc::CAP_LOOKUP = 0x200_0000_0000_0400),
    constant!("sys/capsicum.h", libc::CAP_FCHMOD = 0x200_0000_0000_2000),
    constant!("sys/capsicum.h", libc::CAP_FCNTL = 0x200_0000_0000_8000),
    constant!("sys/capsicum.h", libc::CAP_FLOCK = 0x200_0000_0001_0000),
    constant!("sys/capsicum.h", libc::CAP_FPATHCONF = 0x200_0000_0002_0000),
    constant!("sys/capsicum.h", libc::CAP_FSTAT = 0x200_0000_0008_0000),
    constant!("sys/capsicum.h", libc::CAP_FSTATFS = 0x200_0000_0010_0000),
    constant!("sys/capsicum.h", libc::CAP_FUTIMES = 0x200_0000_0020_0000),
    constant!(
        "sys/capsicum.h",
        libc::CAP_LINKAT_TARGET = 0x200_0000_0040_0400
    ),
    constant!("sys/capsicum.h", libc::CAP_MKDIRAT = 0x200_0000_0080_0400),
    constant!(
        "sys/capsicum.h",
        libc::CAP_RENAMEAT_SOURCE = 0x200_0000_0400_0400
    ),
    constant!("sys/capsicum.h", libc::CAP_SYMLINKAT = 0x200_0000_0800_0400),
    constant!("sys/capsicum.h", libc::CAP_UNLINKAT = 0x200_0000_1000_0400),
    constant!(
        "sys/capsicum.h",
        libc::CAP_LINKAT_SOURCE = 0x200_0200_0000_0400
    ),
    constant!(
        "sys/capsicum.h",
        libc::CAP_RENAMEAT_TARGET = 0x200_0400_0000_0400
    ),
    constant!("sys/capsicum.h", libc::CAP_EVENT = 0x400_0000_0000_0020),
];
