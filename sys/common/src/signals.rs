//! Signals of a process (sigprocmask(2), signal(3)).

use rustix::io::Result;

use crate::fds::checked;

/// A signal a daemon handles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Caught {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGHUP.
    Hangup,
    /// SIGCHLD: at least one child changed state. On FreeBSD, children that are held by a descriptor send none.
    Child,
}

/// Every signal a daemon handles, with its number.
pub const CAUGHT: [(libc::c_int, Caught); 4] = [
    (libc::SIGTERM, Caught::Terminate),
    (libc::SIGINT, Caught::Interrupt),
    (libc::SIGHUP, Caught::Hangup),
    (libc::SIGCHLD, Caught::Child),
];

impl Caught {
    /// The one with this number.
    #[must_use]
    pub fn numbered(number: libc::c_int) -> Option<Self> {
        let known = CAUGHT.iter().find(|(own, _)| *own == number);
        known.map(|(_, caught)| *caught)
    }
}

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

/// Blocks every signal of [`CAUGHT`], and answers their set.
///
/// # Errors
/// None that sigprocmask(2) names for a valid set.
pub fn block_caught() -> Result<libc::sigset_t> {
    let set = set(&CAUGHT.map(|(number, _)| number));
    mask(libc::SIG_BLOCK, &set)?;
    Ok(set)
}

/// Default actions and an empty mask, as a program expects them. Rust ignores SIGPIPE, and that would outlast exec.
///
/// # Errors
/// As [`block_caught`].
pub fn reset() -> Result<()> {
    // SAFETY: installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    mask(libc::SIG_SETMASK, &set(&[]))
}

fn mask(how: libc::c_int, set: &libc::sigset_t) -> Result<()> {
    // SAFETY: set is valid and no old mask is asked for.
    let answer = unsafe { libc::sigprocmask(how, std::ptr::from_ref(set), std::ptr::null_mut()) };
    checked(answer)
}
