//! The calls themselves, by their numbers (sys/syscall.h), so that no library stands between the probe and the kernel.

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::RawFd;

/// What a probe has at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// The profile's directory; not open where it has none.
    pub(crate) directory: RawFd,
    /// A listener that was kept.
    pub(crate) listener: RawFd,
    /// A connection that was kept.
    pub(crate) client: RawFd,
    /// A UDP socket that was kept, not connected.
    pub(crate) datagrams: RawFd,
}

/// Calls `number`; the result or the errno.
pub(crate) fn call(number: c_int, arguments: [usize; 6]) -> Result<usize, i32> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the callers below pass live pointers or calls that a confined process is refused.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn text(text: &CStr) -> usize {
    text.as_ptr() as usize
}

fn plain(number: c_int) -> Result<usize, i32> {
    call(number, [0; 6])
}

const fn int(value: i32) -> usize {
    value.cast_unsigned() as usize
}

const AT_FDCWD: usize = int(libc::AT_FDCWD);

/// 127.0.0.1:1 as a sockaddr_in.
fn address() -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&[16, 2, 0, 1, 127, 0, 0, 1]);
    bytes
}

fn open(at: usize, path: &CStr, flags: i32) -> Result<usize, i32> {
    call(499, [at, text(path), int(flags), 0o600, 0, 0])
}

fn socket(domain: i32, kind: i32) -> Result<usize, i32> {
    call(97, [int(domain), int(kind), 0, 0, 0, 0])
}

/// `call` of a new TCP socket with an address.
fn with_address(number: c_int, before: Option<usize>) -> Result<usize, i32> {
    let new = socket(libc::AF_INET, libc::SOCK_STREAM)?;
    let to = address();
    let to = to.as_ptr() as usize;
    match before {
        None => call(number, [new, to, 16, 0, 0, 0]),
        Some(first) => call(number, [first, new, to, 16, 0, 0]),
    }
}

/// sysctl(3) by number; with `new`, sets it.
fn sysctl(name: &[c_int], new: Option<&[u8]>) -> Result<usize, i32> {
    let mut old = [0_u8; 256];
    let mut room = old.len();
    let (set, length) = new.map_or((0, 0), |new| (new.as_ptr() as usize, new.len()));
    let (old, room) = (old.as_mut_ptr() as usize, (&raw mut room) as usize);
    call(
        202,
        [name.as_ptr() as usize, name.len(), old, room, set, length],
    )
}

/// The attempt of this name.
#[allow(clippy::too_many_lines, reason = "one line for each attempt")]
pub(crate) fn attempt(name: &str, scene: Scene) -> Result<usize, i32> {
    let directory = int(scene.directory);
    let (client, datagrams) = (int(scene.client), int(scene.datagrams));
    let writing = libc::O_CREAT | libc::O_WRONLY;
    match name {
        // Paths, each of a kind.
        "open-absolute" => open(AT_FDCWD, c"/", libc::O_RDONLY),
        "open-etc" => open(AT_FDCWD, c"/etc/passwd", libc::O_RDONLY),
        "open-device" => open(AT_FDCWD, c"/dev/mem", libc::O_RDWR),
        "open-here" => open(AT_FDCWD, c"inside", libc::O_RDONLY),
        "open-create" => open(AT_FDCWD, c"/made", writing),
        "open-the-old-way" => call(5, [text(c"/"), 0, 0, 0, 0, 0]),
        "shm-open" => call(571, [text(c"/warder"), 2, 0o600, 0, 0, 0]),
        "chroot" => call(61, [text(c"/"), 0, 0, 0, 0, 0]),
        "fchdir" => call(13, [directory, 0, 0, 0, 0, 0]),
        "getfh" => call(161, [text(c"/"), 0, 0, 0, 0, 0]),
        "fhopen" => plain(298),
        "acl-get" => call(347, [text(c"/"), 0, 0, 0, 0, 0]),
        "revoke" => call(56, [text(c"/dev/ttyv0"), 0, 0, 0, 0, 0]),
        "quotactl" => call(148, [text(c"/"), 0, 0, 0, 0, 0]),
        // Beneath and above the directory.
        "open-in-directory" => open(directory, c"inside", libc::O_RDONLY),
        "open-in-directory-writing" => open(directory, c"inside", libc::O_WRONLY),
        "open-in-directory-to-run" => open(directory, c"inside", libc::O_EXEC),
        "create-in-directory" => open(directory, c"new", writing),
        "open-above-directory" => open(directory, c"../secret", libc::O_RDONLY),
        "open-absolute-by-directory" => open(directory, c"/etc/passwd", libc::O_RDONLY),
        "open-by-link" => open(directory, c"link", libc::O_RDONLY),
        "unlink" => call(503, [directory, text(c"inside"), 0, 0, 0, 0]),
        "mkdir" => call(496, [directory, text(c"dir"), 0o700, 0, 0, 0]),
        "mknod" => call(559, [directory, text(c"node"), 0o10600, 0, 0, 0]),
        "rename" => {
            let (from, to) = (text(c"inside"), text(c"other"));
            call(501, [directory, from, directory, to, 0, 0])
        }
        "link" => {
            let (from, to) = (text(c"inside"), text(c"other"));
            call(495, [directory, from, directory, to, 0, 0])
        }
        "symlink" => call(502, [text(c"/etc"), directory, text(c"other"), 0, 0, 0]),
        "chmod" => call(490, [directory, text(c"inside"), 0o777, 0, 0, 0]),
        "chmod-itself" => call(124, [directory, 0o777, 0, 0, 0, 0]),
        "chown-itself" => call(123, [directory, 0, 0, 0, 0, 0]),
        "more-rights" => {
            // SAFETY: all zeroes is a value of it.
            let mut all: libc::cap_rights_t = unsafe { std::mem::zeroed() };
            // SAFETY: the set is live, and the list ends with zero.
            unsafe {
                libc::__cap_rights_init(0, &raw mut all, libc::CAP_BIND, libc::CAP_CONNECT, 0_u64)
            };
            call(533, [client, (&raw const all) as usize, 0, 0, 0, 0])
        }
        // Other addresses, other processes.
        "connect" => with_address(98, None),
        "connectat" => with_address(539, Some(AT_FDCWD)),
        "connect-kept" => {
            let to = address();
            call(98, [datagrams, to.as_ptr() as usize, 16, 0, 0, 0])
        }
        "bind" => with_address(104, None),
        "bindat" => with_address(538, Some(AT_FDCWD)),
        "send-to-address" => {
            let to = address();
            let at = to.as_ptr() as usize;
            call(133, [datagrams, at, 1, 0, at, 16])
        }
        "send-message-to-address" => {
            let mut to = address();
            // SAFETY: integers and pointers, for which all zeroes is a value.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            header.msg_name = to.as_mut_ptr().cast();
            header.msg_namelen = 16;
            call(28, [datagrams, (&raw const header) as usize, 0, 0, 0, 0])
        }
        "listen-on-a-connection" => call(106, [client, 1, 0, 0, 0, 0]),
        "interface-address" => {
            let mut request = [0_u8; 32];
            request[..3].copy_from_slice(b"lo0");
            call(
                54,
                [
                    datagrams,
                    0xc020_6921,
                    request.as_mut_ptr() as usize,
                    0,
                    0,
                    0,
                ],
            )
        }
        "socket-raw" => socket(libc::AF_INET, libc::SOCK_RAW),
        "signals-of-a-socket" => call(92, [client, int(libc::F_SETOWN), 1, 0, 0, 0]),
        "terminal-input" => call(54, [0, 0x8001_7472, text(c"x"), 0, 0, 0]),
        "read-standard-input" => {
            let mut byte = [0_u8; 1];
            call(3, [0, byte.as_mut_ptr() as usize, 1, 0, 0, 0])
        }
        "kill-init" => call(37, [1, 0, 0, 0, 0, 0]),
        "kill-all" => call(37, [usize::MAX, 0, 0, 0, 0, 0]),
        "kill-thread-of-init" => call(481, [1, usize::MAX, 0, 0, 0, 0]),
        "sigqueue-init" => call(456, [1, 0, 0, 0, 0, 0]),
        "ptrace" => call(26, [10, 1, 0, 0, 0, 0]),
        "ktrace" => call(45, [text(c"/trace"), 0, 1, 1, 0, 0]),
        "be-traceable" => {
            let enable = libc::PROC_TRACE_CTL_ENABLE;
            let own = std::process::id() as usize;
            let command = int(libc::PROC_TRACE_CTL);
            call(544, [0, own, command, (&raw const enable) as usize, 0, 0])
        }
        "fork" => fork(2, 0),
        "vfork" => fork(66, 0),
        "rfork" => fork(251, int(libc::RFPROC | libc::RFFDG)),
        "pdfork" => {
            let mut fd = 0_i32;
            fork(518, (&raw mut fd) as usize)
        }
        "execve" => call(59, [text(c"/bin/sh"), 0, 0, 0, 0, 0]),
        "fexecve" => {
            let code = open(directory, c"inside", libc::O_RDONLY)?;
            // A program without a name is refused for that alone.
            let arguments = [text(c"inside"), 0];
            let none = [0_usize; 1];
            let (at, none) = (arguments.as_ptr() as usize, none.as_ptr() as usize);
            call(492, [code, at, none, 0, 0, 0])
        }
        // Names of System V and POSIX.
        "msgget" => call(225, [0, 0o1600, 0, 0, 0, 0]),
        "semget" => call(221, [0, 1, 0o1600, 0, 0, 0]),
        "shmget" => call(231, [0, 4096, 0o1600, 0, 0, 0]),
        "mq-open" => call(457, [text(c"/warder"), int(writing), 0o600, 0, 0, 0]),
        "sem-open" => call(405, [0, text(c"/warder"), int(writing), 0o600, 1, 0]),
        // The system's own.
        "set-host-name" => sysctl(&[libc::CTL_KERN, libc::KERN_HOSTNAME], Some(b"taken")),
        "list-processes" => sysctl(&[libc::CTL_KERN, libc::KERN_PROC, 8, 0], None),
        "arguments-of-init" => sysctl(&[libc::CTL_KERN, libc::KERN_PROC, 7, 1], None),
        "jail" => call(507, [0, 0, 0, 0, 0, 0]),
        "jail-attach" => call(436, [1, 0, 0, 0, 0, 0]),
        "jail-remove" => call(508, [1, 0, 0, 0, 0, 0]),
        "mount" => call(21, [text(c"tmpfs"), text(c"/"), 0, 0, 0, 0]),
        "nmount" => plain(378),
        "unmount" => call(22, [text(c"/"), 0, 0, 0, 0, 0]),
        "kldload" => call(304, [text(c"sctp"), 0, 0, 0, 0, 0]),
        "kenv" => plain(390),
        "reboot" => call(55, [0x4000_0000, 0, 0, 0, 0, 0]),
        "swapon" => call(85, [text(c"/dev/null"), 0, 0, 0, 0, 0]),
        "acct" => plain(51),
        "auditon" => plain(446),
        "rctl" => plain(528),
        "set-time" => call(233, [0, 0, 0, 0, 0, 0]),
        "setfib" => call(175, [1, 0, 0, 0, 0, 0]),
        "setlogin" => call(50, [text(c"root"), 0, 0, 0, 0, 0]),
        "setuid" => plain(23),
        "setresuid" => call(311, [0, 0, 0, 0, 0, 0]),
        "raise-limit" => {
            let limit = libc::rlimit {
                rlim_cur: 10,
                rlim_max: 10,
            };
            let at = (&raw const limit) as usize;
            call(195, [int(libc::RLIMIT_NPROC), at, 0, 0, 0, 0])
        }
        // Allowed, and said so in the documentation.
        "socket" => socket(libc::AF_INET, libc::SOCK_STREAM),
        "listen-on-any-port" => {
            let new = socket(libc::AF_INET, libc::SOCK_STREAM)?;
            call(106, [new, 1, 0, 0, 0, 0])
        }
        "nameless-memory" => call(571, [1, int(libc::O_RDWR), 0o600, 0, 0, 0]),
        "signal-itself" => call(37, [std::process::id() as usize, 0, 0, 0, 0, 0]),
        "stay" => {
            std::thread::sleep(std::time::Duration::from_millis(10));
            Ok(0)
        }
        other => {
            let _ = scene.listener;
            panic!("no attempt {other}")
        }
    }
}

/// A child, if there is one, ends at once.
fn fork(number: c_int, argument: usize) -> Result<usize, i32> {
    let child = call(number, [argument, 0, 0, 0, 0, 0])?;
    if child == 0 {
        // SAFETY: ends the child, which shares nothing that this would touch.
        unsafe { libc::_exit(0) };
    }
    Ok(child)
}
