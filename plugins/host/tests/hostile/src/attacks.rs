//! What a plugin must not be able to do. Each attempt is reported on standard error by its errno.

use std::ffi::{CStr, c_long};
use std::io;

fn call(number: c_long, arguments: [usize; 4]) -> Result<usize, i32> {
    let [a, b, c, d] = arguments;
    // SAFETY: pointers below are to constants; the rest is what the kernel is expected to refuse.
    let result = unsafe { libc::syscall(number, a, b, c, d, 0_usize, 0_usize) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn text(text: &CStr) -> usize {
    text.as_ptr() as usize
}

const HERE: usize = libc::AT_FDCWD.cast_unsigned() as usize;

fn open(path: &CStr, flags: i32) -> Result<usize, i32> {
    let flags = flags.cast_unsigned() as usize;
    call(libc::SYS_openat, [HERE, text(path), flags, 0o600])
}

fn socket(domain: i32, kind: i32) -> Result<usize, i32> {
    let (domain, kind) = (
        domain.cast_unsigned() as usize,
        kind.cast_unsigned() as usize,
    );
    call(libc::SYS_socket, [domain, kind, 0, 0])
}

/// What is refused with an errno, so that all can be tried in one life.
pub(crate) fn all(when: &str) {
    let writing = libc::O_CREAT | libc::O_WRONLY;
    let attempts = [
        ("read-etc", open(c"/etc/passwd", 0)),
        ("read-proc", open(c"/proc/self/environ", 0)),
        ("read-above", open(c"/plugin/../../secret", 0)),
        (
            "write-plugin",
            open(c"/plugin/libhostile.so", libc::O_WRONLY),
        ),
        ("make-file", open(c"/plugin/made", writing)),
        ("make-at-root", open(c"/made", writing)),
        ("socket-inet", socket(libc::AF_INET, libc::SOCK_STREAM)),
        ("socket-unix", socket(libc::AF_UNIX, libc::SOCK_DGRAM)),
        ("socket-netlink", socket(libc::AF_NETLINK, libc::SOCK_RAW)),
        ("kill-init", call(libc::SYS_kill, [1, 9, 0, 0])),
        ("kill-all", call(libc::SYS_kill, [usize::MAX, 9, 0, 0])),
        ("fork", call(libc::SYS_clone, [17, 0, 0, 0])),
        ("memfd", call(libc::SYS_memfd_create, [text(c"x"), 0, 0, 0])),
        ("dumpable", call(libc::SYS_prctl, [4, 1, 0, 0])),
    ];
    for (name, result) in attempts {
        let result = result.map_or_else(|errno| errno.to_string(), |_| "DONE".to_owned());
        super::say(&format!("attack {when} {name}: {result}"));
    }
    super::say(&format!("attack {when} over"));
}

/// What ends the process.
pub(crate) fn one(name: &str) {
    let result = match name {
        "execve" => call(libc::SYS_execve, [text(c"/plugin/libhostile.so"), 0, 0, 0]),
        "ptrace" => call(libc::SYS_ptrace, [16, 1, 0, 0]),
        "mount" => call(
            libc::SYS_mount,
            [text(c"tmpfs"), text(c"/"), text(c"tmpfs"), 0],
        ),
        other => panic!("no attack {other}"),
    };
    super::say(&format!("attack {name}: survived with {result:?}"));
}
