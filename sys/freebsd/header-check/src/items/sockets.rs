//! Of `warder_freebsd::sys::{peer, tcp}` and `warder-ipc`: sockets, and the timer that ends waits.

#[cfg(target_os = "freebsd")]
use warder_freebsd::sys::{peer, tcp};

use super::{constant, offset, size};
use crate::program::Item;

pub(super) const ITEMS: &[Item] = &[
    constant!("sys/socket.h", libc::AF_UNIX = 1),
    constant!("sys/socket.h", libc::SOCK_STREAM = 1),
    constant!("sys/socket.h", libc::SOCK_SEQPACKET = 5),
    constant!("sys/socket.h", libc::SCM_RIGHTS = 1),
    constant!("sys/socket.h", libc::MSG_EOR = 0x8),
    constant!("sys/socket.h", libc::MSG_TRUNC = 0x10),
    constant!("sys/socket.h", libc::MSG_CTRUNC = 0x20),
    constant!("sys/socket.h", libc::MSG_DONTWAIT = 0x80),
    constant!("sys/socket.h", libc::MSG_NOSIGNAL = 0x2_0000),
    constant!("sys/socket.h", libc::MSG_CMSG_CLOEXEC = 0x4_0000),
    constant!("sys/socket.h", libc::SO_DOMAIN = 0x1019),
    constant!("sys/socket.h", libc::SO_PROTOCOL = 0x1016),
    size!("sys/socket.h", "struct cmsghdr", libc::cmsghdr = 12),
    size!("sys/socket.h", "struct msghdr", libc::msghdr = 48),
    size!("sys/un.h", "struct sockaddr_un", libc::sockaddr_un = 106),
    constant!("sys/un.h", libc::LOCAL_PEERCRED = 1),
    constant!("sys/un.h", peer::SOL_LOCAL = 0),
    constant!("sys/ucred.h", peer::XUCRED_VERSION = 0),
    size!("sys/ucred.h", "struct xucred", libc::xucred = 88),
    offset!("sys/ucred.h", "struct xucred", libc::xucred, cr_uid = 4),
    offset!("sys/ucred.h", "struct xucred", libc::xucred, cr_ngroups = 8),
    offset!("sys/ucred.h", "struct xucred", libc::xucred, cr_groups = 12),
    size!(
        "sys/socket.h",
        "struct sockaddr_storage",
        libc::sockaddr_storage = 128
    ),
    constant!("netinet/in_pcb.h", tcp::INC_ISIPV6 = 1),
    offset!(
        "netinet/tcp_var.h",
        "struct xtcpcb",
        "xt_inp.inp_inc",
        tcp::CONNECTION = 256
    ),
    constant!("signal.h", libc::SIGEV_THREAD_ID = 4),
    constant!("signal.h", libc::SIGALRM = 14),
    constant!("signal.h", libc::SA_RESTART = 2),
    size!("signal.h", "struct sigaction", libc::sigaction = 32),
    size!("signal.h", "struct sigevent", libc::sigevent = 80),
    offset!(
        "signal.h",
        "struct sigevent",
        libc::sigevent,
        sigev_signo = 4
    ),
    offset!(
        "signal.h",
        "struct sigevent",
        libc::sigevent,
        sigev_notify_thread_id = 16
    ),
    size!("time.h", "struct itimerspec", libc::itimerspec = 32),
    constant!("time.h", libc::CLOCK_MONOTONIC = 4),
];
