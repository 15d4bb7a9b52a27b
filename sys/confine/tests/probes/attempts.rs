//! The calls themselves, raw, so that no library stands between the probe and the filter.

use std::ffi::c_long;
use std::io;
use std::os::fd::RawFd;

/// Calls `number`; the result or the errno.
pub(crate) fn call(number: c_long, arguments: [usize; 6]) -> Result<usize, i32> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the callers below pass live pointers or calls that a confined process is refused.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn text(text: &std::ffi::CStr) -> usize {
    text.as_ptr() as usize
}

fn plain(number: c_long) -> Result<usize, i32> {
    call(number, [0; 6])
}

const fn int(value: i32) -> usize {
    value.cast_unsigned() as usize
}

const AT_FDCWD: usize = int(libc::AT_FDCWD);

/// An internet address with a port, as bytes: 127.0.0.1:1.
fn address() -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[2..8].copy_from_slice(&[0, 1, 127, 0, 0, 1]);
    bytes
}

fn anonymous(protection: i32) -> Result<usize, i32> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    call(
        libc::SYS_mmap,
        [0, 4096, int(protection), int(flags), usize::MAX, 0],
    )
}

/// The attempt of this name. `fd` is the profile's directory where it has one.
#[allow(clippy::too_many_lines, reason = "one line for each attempt")]
pub(crate) fn attempt(name: &str, fd: RawFd) -> Result<usize, i32> {
    let fd = int(fd);
    let sock = |domain, kind| call(libc::SYS_socket, [int(domain), int(kind), 0, 0, 0, 0]);
    let pair = |domain, kind| {
        let mut pair = [0_i32; 2];
        let room = pair.as_mut_ptr() as usize;
        call(
            libc::SYS_socketpair,
            [int(domain), int(kind), 0, room, 0, 0],
        )
    };
    match name {
        "socket-inet" => sock(libc::AF_INET, libc::SOCK_STREAM),
        "socket-inet6" => sock(libc::AF_INET6, libc::SOCK_DGRAM),
        "socket-unix" => sock(libc::AF_UNIX, libc::SOCK_STREAM),
        "socket-netlink" => sock(libc::AF_NETLINK, libc::SOCK_RAW),
        "socket-vsock" => sock(libc::AF_VSOCK, libc::SOCK_STREAM),
        "socketpair-inet" => pair(libc::AF_INET, libc::SOCK_STREAM),
        "socketpair-datagram" => pair(libc::AF_UNIX, libc::SOCK_DGRAM),
        "socketpair-stream" => pair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC),
        "socketpair-packets" => pair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK),
        "connect" => call(
            libc::SYS_connect,
            [fd, address().as_ptr() as usize, 16, 0, 0, 0],
        ),
        "bind" => call(
            libc::SYS_bind,
            [fd, address().as_ptr() as usize, 16, 0, 0, 0],
        ),
        "listen" => call(libc::SYS_listen, [fd, 1, 0, 0, 0, 0]),
        "send-to-address" => {
            let to = address();
            call(
                libc::SYS_sendto,
                [fd, to.as_ptr() as usize, 1, 0, to.as_ptr() as usize, 16],
            )
        }
        "send-fast-open" => call(libc::SYS_sendto, [fd, 0, 0, int(libc::MSG_FASTOPEN), 0, 0]),
        "sendmsg-fast-open" => call(libc::SYS_sendmsg, [fd, 0, int(libc::MSG_FASTOPEN), 0, 0, 0]),
        "sendmmsg" => plain(libc::SYS_sendmmsg),
        "open-absolute" => call(libc::SYS_openat, [AT_FDCWD, text(c"/"), 0, 0, 0, 0]),
        "open-etc" => call(
            libc::SYS_openat,
            [AT_FDCWD, text(c"/etc/passwd"), 0, 0, 0, 0],
        ),
        "open-proc" => call(
            libc::SYS_openat,
            [AT_FDCWD, text(c"/proc/self/mem"), 2, 0, 0, 0],
        ),
        "open-create" => {
            let flags = int(libc::O_CREAT | libc::O_WRONLY);
            call(
                libc::SYS_openat,
                [AT_FDCWD, text(c"/made"), flags, 0o600, 0, 0],
            )
        }
        "open-in-directory" => call(libc::SYS_openat, [fd, text(c"inside"), 0, 0, 0, 0]),
        "open-above-directory" => call(libc::SYS_openat, [fd, text(c"../secret"), 0, 0, 0, 0]),
        "create-in-directory" => {
            let flags = int(libc::O_CREAT | libc::O_WRONLY);
            call(libc::SYS_openat, [fd, text(c"new"), flags, 0o600, 0, 0])
        }
        "openat2" => plain(libc::SYS_openat2),
        "open-plugin" => call(
            libc::SYS_openat,
            [AT_FDCWD, text(c"/plugin/inside"), 0, 0, 0, 0],
        ),
        "open-plugin-writing" => call(
            libc::SYS_openat,
            [AT_FDCWD, text(c"/plugin/inside"), 1, 0, 0, 0],
        ),
        "create-in-plugin" => {
            let flags = int(libc::O_CREAT | libc::O_WRONLY);
            call(
                libc::SYS_openat,
                [AT_FDCWD, text(c"/plugin/new"), flags, 0o600, 0, 0],
            )
        }
        "open-above-plugin" => call(
            libc::SYS_openat,
            [AT_FDCWD, text(c"/plugin/../secret"), 0, 0, 0, 0],
        ),
        "unlink" => call(libc::SYS_unlinkat, [fd, text(c"inside"), 0, 0, 0, 0]),
        "io-uring" => call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
        "execve" => call(libc::SYS_execve, [text(c"/bin/true"), 0, 0, 0, 0, 0]),
        "execveat" => call(libc::SYS_execveat, [fd, text(c"x"), 0, 0, 0, 0]),
        "clone" => plain(libc::SYS_clone),
        "clone3" => plain(libc::SYS_clone3),
        "ptrace" => call(libc::SYS_ptrace, [16, 1, 0, 0, 0, 0]),
        "process-vm-readv" => plain(libc::SYS_process_vm_readv),
        "pidfd-open" => call(libc::SYS_pidfd_open, [1, 0, 0, 0, 0, 0]),
        "pidfd-getfd" => plain(libc::SYS_pidfd_getfd),
        "kill-init" => call(libc::SYS_kill, [1, 0, 0, 0, 0, 0]),
        "tgkill-init" => call(libc::SYS_tgkill, [1, 1, 0, 0, 0, 0]),
        "mount" => {
            let (kind, place) = (text(c"tmpfs"), text(c"/"));
            call(libc::SYS_mount, [kind, place, kind, 0, 0, 0])
        }
        "umount" => plain(libc::SYS_umount2),
        "open-tree" => plain(libc::SYS_open_tree),
        "fsopen" => plain(libc::SYS_fsopen),
        "unshare-user" => call(libc::SYS_unshare, [int(libc::CLONE_NEWUSER), 0, 0, 0, 0, 0]),
        "setns" => plain(libc::SYS_setns),
        "chroot" => call(libc::SYS_chroot, [text(c"/"), 0, 0, 0, 0, 0]),
        "setuid" => plain(libc::SYS_setuid),
        "capset" => plain(libc::SYS_capset),
        "bpf" => plain(libc::SYS_bpf),
        "keyctl" => plain(libc::SYS_keyctl),
        "userfaultfd" => plain(libc::SYS_userfaultfd),
        "perf" => plain(libc::SYS_perf_event_open),
        "init-module" => plain(libc::SYS_init_module),
        "name-to-handle" => plain(libc::SYS_name_to_handle_at),
        "open-by-handle" => plain(libc::SYS_open_by_handle_at),
        "shm" => plain(libc::SYS_shmget),
        "personality" => plain(libc::SYS_personality),
        "memfd" => call(libc::SYS_memfd_create, [text(c"x"), 0, 0, 0, 0, 0]),
        "map-code" => anonymous(libc::PROT_READ | libc::PROT_EXEC),
        "make-code" => {
            let page = anonymous(libc::PROT_READ | libc::PROT_WRITE)?;
            let protection = int(libc::PROT_READ | libc::PROT_EXEC);
            call(libc::SYS_mprotect, [page, 4096, protection, 0, 0, 0])
        }
        "make-code-by-key" => plain(libc::SYS_pkey_mprotect),
        "terminal-input" => call(libc::SYS_ioctl, [0, int(0x5412), text(c"x"), 0, 0, 0]),
        "own-descriptor" => call(libc::SYS_fcntl, [0, int(libc::F_SETOWN), 1, 0, 0, 0]),
        "bind-to-device" => call(
            libc::SYS_setsockopt,
            [
                fd,
                int(libc::SOL_SOCKET),
                int(libc::SO_BINDTODEVICE),
                text(c"lo"),
                2,
                0,
            ],
        ),
        "be-dumpable" => call(libc::SYS_prctl, [int(libc::PR_SET_DUMPABLE), 1, 0, 0, 0, 0]),
        "another-filter" => call(libc::SYS_seccomp, [1, 0, 0, 0, 0, 0]),
        "raise-limit" => {
            let limit = [u64::MAX; 2];
            let new = limit.as_ptr() as usize;
            call(libc::SYS_prlimit64, [0, int(7), new, 0, 0, 0])
        }
        "dup" => plain(libc::SYS_dup),
        #[cfg(target_arch = "x86_64")]
        "fork" => plain(libc::SYS_fork),
        #[cfg(target_arch = "x86_64")]
        "vfork" => plain(libc::SYS_vfork),
        #[cfg(target_arch = "x86_64")]
        "open-the-old-way" => call(libc::SYS_open, [text(c"/"), 0, 0, 0, 0, 0]),
        // getpid by its x32 number.
        #[cfg(target_arch = "x86_64")]
        "x32" => plain(0x4000_0000 + libc::SYS_getpid),
        other => panic!("no attempt {other}"),
    }
}
