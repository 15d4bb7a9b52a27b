//! Trust: none; runs inside sandboxes as what a guest may run, and on a host for tests.
//! Input: names and numbers from the conformance program that uploaded it.
//! May: ask its kernel for what a sandbox must not get.
//! Unsafe: `call.rs`, `ipc.rs` and `common.rs`, for system calls that no safe function offers.
//!
//! Attempts to get out of a sandbox. Each is harmless where it succeeds: arguments name nothing that exists, set what is
//! set already, or touch only what the attempt itself has made.

mod attempt;
mod call;
mod common;
#[cfg(target_os = "freebsd")]
mod freebsd;
mod ipc;
#[cfg(target_os = "linux")]
mod linux;
mod netlink;

use std::os::fd::BorrowedFd;

pub use attempt::{Attempt, Said, Who};
pub use ipc::{Kind, Object, Queue, object_is_seen, queue_is_seen};

#[cfg(target_os = "freebsd")]
use freebsd as system;
#[cfg(target_os = "linux")]
use linux as system;

/// Every attempt that this kernel is worth.
#[must_use]
pub fn attempts() -> Vec<&'static Attempt> {
    common::ATTEMPTS.iter().chain(system::ATTEMPTS).collect()
}

/// Makes the attempt of that name; `None` when there is none.
#[must_use]
pub fn make(name: &str) -> Option<Said> {
    attempts()
        .into_iter()
        .find(|a| a.name == name)
        .map(Attempt::make)
}

/// Listens on a name that is no file, where the kernel has such.
///
/// # Errors
/// When it has not, or the name is taken.
pub fn listen_abstract(name: &str) -> std::io::Result<std::os::unix::net::UnixListener> {
    system::listen_abstract(name)
}

/// Tries to connect to a name of the host that is no file.
#[must_use]
pub fn connect_abstract(name: &str) -> Said {
    system::connect_abstract(name)
}

/// Asks that a socket may be bound to addresses that are nobody's here.
///
/// # Errors
/// When the kernel refuses.
pub fn any_source(socket: BorrowedFd<'_>) -> std::io::Result<()> {
    system::any_source(socket)
}

/// Tries to trace process `pid`, which is none of the sandbox's.
#[must_use]
pub fn trace(pid: i32) -> Said {
    let tried = call::call(
        system::PTRACE.0,
        &[
            call::Arg::Number(system::PTRACE.1),
            call::Arg::Number(i64::from(pid)),
            call::Arg::Number(0),
            call::Arg::Number(0),
        ],
    );
    Said::of(
        tried.map(|_| "traced"),
        &[libc::ESRCH, libc::EPERM, libc::ENOSYS],
    )
}

/// Tries everything that the kernel offers by the number of process `pid`, which is none of the sandbox's.
#[must_use]
pub fn touch(pid: i32) -> Said {
    system::touch(pid)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_words_and_differ() {
        let mut seen = BTreeSet::new();
        for attempt in super::attempts() {
            let plain = attempt
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            assert!(plain && !attempt.name.is_empty(), "{}", attempt.name);
            assert!(seen.insert(attempt.name), "{} is there twice", attempt.name);
            assert!(!attempt.tries.is_empty());
        }
        assert!(seen.len() >= 40, "{} attempts", seen.len());
        assert!(super::make("no-such-attempt").is_none());
    }
}
