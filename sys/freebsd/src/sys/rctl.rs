//! Limits and what is used of them (rctl(4), rctl(8), rctl_add_rule(2)). All answer `ENOSYS` where accounting is off.

use std::ffi::CString;

use rustix::io::{Errno, Result};

use super::{checked, raw, sysctl};

/// First room for an answer; usage of one jail takes about 500 bytes.
const ROOM: usize = 4096;
/// The kernel answers no more than this at once (`RCTL_MAX_OUTBUFSIZE`, kern_rctl.c).
const MOST: usize = 16 << 20;

/// Whether the kernel accounts for resources (`kern.racct.enable`, a tunable of the loader).
#[must_use]
pub fn enabled() -> bool {
    sysctl::int("kern.racct.enable").is_ok_and(|value| value != 0)
}

/// Adds a rule, such as `jail:NAME:maxproc:deny=100`. Amounts are plain numbers of bytes, processes, per cent: the
/// kernel knows no suffixes.
///
/// # Errors
/// `EINVAL` for a rule that the kernel does not understand, `EOPNOTSUPP` for an action that the resource has not.
pub fn add(rule: &str) -> Result<()> {
    call(raw::rctl_add_rule, rule, &mut []).map(drop)
}

/// Removes the rules that match a filter, such as `jail:NAME`.
///
/// # Errors
/// `ESRCH` when none does.
pub fn remove(filter: &str) -> Result<()> {
    call(raw::rctl_remove_rule, filter, &mut []).map(drop)
}

/// The rules that match a filter, with commas between; `::` matches all.
///
/// # Errors
/// `EINVAL` for a filter that the kernel does not understand.
pub fn rules(filter: &str) -> Result<String> {
    ask(raw::rctl_get_rules, filter)
}

/// What a subject, such as `jail:NAME`, uses: `resource=amount` with commas between.
///
/// # Errors
/// `EINVAL` or `ESRCH` when there is no such subject.
pub fn usage(subject: &str) -> Result<String> {
    ask(raw::rctl_get_racct, subject)
}

fn ask(function: raw::Rctl, text: &str) -> Result<String> {
    let mut answer = vec![0; ROOM];
    loop {
        match call(function, text, &mut answer) {
            Ok(()) => {
                let bytes = super::params::text(&answer);
                return Ok(bytes.to_string_lossy().into_owned());
            }
            Err(Errno::RANGE) if answer.len() < MOST => answer.resize(answer.len() * 4, 0),
            Err(errno) => return Err(errno),
        }
    }
}

fn call(function: raw::Rctl, text: &str, answer: &mut [u8]) -> Result<()> {
    let text = CString::new(text).map_err(|_| Errno::INVAL)?;
    let (out, room) = match answer.len() {
        0 => (std::ptr::null_mut(), 0),
        room => (answer.as_mut_ptr().cast(), room),
    };
    let bytes = text.as_bytes_with_nul().len();
    // SAFETY: both buffers have the lengths given and outlive the call; the functions are those of sys/rctl.h.
    checked(unsafe { function(text.as_ptr(), bytes, out, room) }).map(drop)
}
