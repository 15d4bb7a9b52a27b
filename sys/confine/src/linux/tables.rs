//! Which system calls each profile keeps. syscalls(2) names them all; what is in none of these lists ends
//! the process.

use super::filter::{Only, Table, When};

/// A value of the C headers, which are signed, as the register holds it.
const fn word(value: i32) -> u32 {
    value.cast_unsigned()
}

/// The same, for a flag in a 64-bit comparison.
const fn bits(value: i32) -> u64 {
    value.cast_unsigned() as u64
}

/// Memory, time, signals, waiting, and bytes through descriptors that are open already.
const COMMON: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpeername,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getsockname,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// The gateway's: accepting, its registry's file, and the timers of its threads, which are made before.
const GATEWAY: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_timer_settime,
];

/// egressd's: accepting, and the timer of its watchdog.
const EGRESS: &[libc::c_long] = &[libc::SYS_accept4, libc::SYS_timer_settime];

/// Asked now and then by libraries that can live without an answer, or by code that should hear EPERM
/// rather than die. None is allowed.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_accept,
    libc::SYS_bind,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_connect,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fstatfs,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getpriority,
    libc::SYS_getrusage,
    libc::SYS_kill,
    libc::SYS_linkat,
    libc::SYS_listen,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mkdirat,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_msync,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_readlinkat,
    libc::SYS_renameat2,
    libc::SYS_sched_setaffinity,
    libc::SYS_seccomp,
    libc::SYS_setpriority,
    libc::SYS_socket,
    libc::SYS_statfs,
    libc::SYS_symlinkat,
    libc::SYS_sysinfo,
    libc::SYS_timerfd_create,
    libc::SYS_tkill,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// Options that who serves may set on a connection.
const SOCKET_OPTIONS: &[(i32, i32)] = &[
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_LINGER),
    (libc::SOL_SOCKET, libc::SO_RCVBUF),
    (libc::SOL_SOCKET, libc::SO_SNDBUF),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_TCP, libc::TCP_QUICKACK),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
];

fn only(call: libc::c_long, when: &[When]) -> Only {
    Only {
        call,
        when: when.to_vec(),
    }
}

/// What is allowed with some arguments in every profile.
fn common_only() -> Vec<Only> {
    let fcntl = [
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_DUPFD_CLOEXEC,
    ]
    .map(|command| only(libc::SYS_fcntl, &[When::Is(1, word(command))]));
    // The request is 32 bits in the kernel; the libraries differ in how they extend it.
    let ioctl = [libc::FIONBIO, libc::FIONREAD]
        .map(|request| only(libc::SYS_ioctl, &[When::Bits(1, 0xffff_ffff, request)]));
    let prctl = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA]
        .map(|option| only(libc::SYS_prctl, &[When::Is(0, word(option))]));
    let getsockopt = [libc::SOL_SOCKET, libc::IPPROTO_TCP]
        .map(|level| only(libc::SYS_getsockopt, &[When::Is(1, word(level))]));
    // What a connected pair can be: no datagrams, which could be sent to a name.
    let socketpair = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET].map(|kind| {
        let unix = When::Is(0, word(libc::AF_UNIX));
        only(
            libc::SYS_socketpair,
            &[unix, When::Bits(1, 0xf, bits(kind))],
        )
    });
    let process = std::process::id();
    let empty_path = bits(libc::AT_EMPTY_PATH);
    let fast_open = bits(libc::MSG_FASTOPEN);
    let mut list = vec![
        // To the peer only: no address, and no connecting by sending.
        only(
            libc::SYS_sendto,
            &[When::IsLong(4, 0), When::Bits(3, fast_open, 0)],
        ),
        only(libc::SYS_sendmsg, &[When::Bits(2, fast_open, 0)]),
        // fstat(3) by its other names.
        only(
            libc::SYS_newfstatat,
            &[When::Bits(3, empty_path, empty_path)],
        ),
        only(libc::SYS_statx, &[When::Bits(2, empty_path, empty_path)]),
        // abort(3) and panics.
        only(libc::SYS_tgkill, &[When::Is(0, process)]),
        // Reading limits, of this process.
        only(libc::SYS_prlimit64, &[When::Is(0, 0), When::IsLong(2, 0)]),
    ];
    list.extend(fcntl);
    list.extend(ioctl);
    list.extend(prctl);
    list.extend(getsockopt);
    list.extend(socketpair);
    list
}

/// Memory that no code can be put into.
fn data_only() -> [Only; 2] {
    [libc::SYS_mmap, libc::SYS_mprotect]
        .map(|call| only(call, &[When::Bits(2, bits(libc::PROT_EXEC), 0)]))
}

/// gatewayd while it serves.
pub(super) fn gateway() -> Table {
    serving(GATEWAY)
}

/// egressd while it serves: it may send to an address, but only on a socket that netd made, whose packets the
/// rules judge.
pub(super) fn egress() -> Table {
    serving(EGRESS)
}

/// A process that serves connections, and calls `own` besides.
fn serving(own: &[libc::c_long]) -> Table {
    let mut table = Table {
        always: [COMMON, own].concat(),
        only: common_only(),
        refused: REFUSED.to_vec(),
        absent: Vec::new(),
    };
    table.only.extend(data_only());
    table
        .only
        .extend(SOCKET_OPTIONS.iter().map(|&(level, option)| {
            only(
                libc::SYS_setsockopt,
                &[When::Is(1, word(level)), When::Is(2, word(option))],
            )
        }));
    table
}

/// A plugin host while it serves.
pub(super) fn plugin_host() -> Table {
    let mut table = Table {
        always: COMMON.to_vec(),
        only: common_only(),
        refused: REFUSED.to_vec(),
        absent: Vec::new(),
    };
    table.refused.push(libc::SYS_setsockopt);
    table.only.extend(data_only());
    table
}

/// A plugin host while it loads its plugin: besides, it opens files for reading, maps code, starts threads
/// of its own, and installs the next filter.
pub(super) fn loading() -> Table {
    const SPACES: i32 = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    const WRITING: i32 =
        libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY);
    let mut table = plugin_host();
    table.always.extend([
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_newfstatat,
        libc::SYS_pread64,
        libc::SYS_seccomp,
    ]);
    let thread = bits(libc::CLONE_THREAD | libc::CLONE_VM);
    table.only.extend([
        only(libc::SYS_openat, &[When::Bits(2, bits(WRITING), 0)]),
        only(
            libc::SYS_clone,
            &[When::Bits(0, thread | bits(SPACES), thread)],
        ),
        // The filter library asks for no_new_privs again before each filter.
        only(
            libc::SYS_prctl,
            &[When::Is(0, word(libc::PR_SET_NO_NEW_PRIVS))],
        ),
    ]);
    // Its flags lie in memory, where a filter cannot see them.
    table.absent.push(libc::SYS_clone3);
    table.refused.retain(|call| *call != libc::SYS_clone3);
    table
}
