//! What a process decides about itself (procctl(2)).

use rustix::io::Result;

use super::checked;

/// About the calling process. The argument is a pointer to what `command` takes.
fn own<T>(command: libc::c_int, argument: &mut T) -> Result<()> {
    // SAFETY: number 0 is the caller; every caller below passes the type that its command takes (sys/procctl.h).
    let answer =
        unsafe { libc::procctl(libc::P_PID, 0, command, std::ptr::from_mut(argument).cast()) };
    checked(answer).map(drop)
}

/// Keeps set-id bits from giving anything in this process and its descendants.
///
/// # Errors
/// Those of procctl(2).
pub fn no_new_privileges() -> Result<()> {
    let mut enable: libc::c_int = libc::PROC_NO_NEW_PRIVS_ENABLE;
    own(libc::PROC_NO_NEW_PRIVS_CTL, &mut enable)
}

/// Makes this process the parent of descendants whose own has ended.
///
/// # Errors
/// `EBUSY` when it is already.
pub fn become_reaper() -> Result<()> {
    // SAFETY: the command takes no argument and no memory is touched.
    let answer = unsafe {
        libc::procctl(
            libc::P_PID,
            0,
            libc::PROC_REAP_ACQUIRE,
            std::ptr::null_mut(),
        )
    };
    checked(answer).map(drop)
}

/// Sends a signal to all descendants of this process, which must be a reaper; their number.
///
/// # Errors
/// `ESRCH` when it has none.
pub fn kill_descendants(signal: libc::c_int) -> Result<u32> {
    let mut kill = super::raw::ReaperKill {
        rk_sig: signal,
        ..Default::default()
    };
    own(libc::PROC_REAP_KILL, &mut kill)?;
    Ok(kill.rk_killed)
}

/// Keeps this process, not its descendants, from being killed when memory runs out.
///
/// # Errors
/// `EPERM` for others than root.
pub fn protect_from_oom() -> Result<()> {
    let mut operation: libc::c_int = libc::PPROT_SET;
    own(libc::PROC_SPROTECT, &mut operation)
}
