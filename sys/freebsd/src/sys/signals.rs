//! Signals of a process (sigprocmask(2), signal(3)).

use rustix::io::Result;

use super::checked;

/// A set of these signals.
#[must_use]
pub fn set(signals: &[libc::c_int]) -> libc::sigset_t {
    // SAFETY: a sigset_t is plain integers, for which all zeroes is a value: the empty set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in signals {
        // SAFETY: set is valid; a wrong number is refused.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

/// Blocks the signals given, or those no more.
///
/// # Errors
/// `EINVAL` for a wrong `how`.
pub fn mask(how: libc::c_int, set: &libc::sigset_t) -> Result<()> {
    // SAFETY: set is valid and no old mask is asked for.
    let answer = unsafe { libc::sigprocmask(how, std::ptr::from_ref(set), std::ptr::null_mut()) };
    checked(answer).map(drop)
}

/// Default actions and an empty mask, as a program expects them. Rust ignores SIGPIPE, and that would outlast exec.
///
/// # Errors
/// As [`mask`].
pub fn reset() -> Result<()> {
    // SAFETY: installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    mask(libc::SIG_SETMASK, &set(&[]))
}
