//! Processes of sandboxes that no ledger and no control group names: a cell was being made when privd was
//! killed, on a host without control groups. Their users tell them.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use warder_common::{At, Result};

use super::IdRange;

/// Kills every process whose user is one of `ids` and none of `kept`; their number.
///
/// # Errors
/// `System` when processes cannot be listed, or one cannot be killed.
pub fn end_strays(ids: IdRange, kept: &[IdRange]) -> Result<u32> {
    let stray = |id| within(&ids, id) && !kept.iter().any(|range| within(range, id));
    let mut ended = 0;
    each(stray, |_, process| {
        rustix::process::pidfd_send_signal(process, Signal::KILL).map(|()| ended += 1)
    })?;
    Ok(ended)
}

pub(super) fn within(range: &IdRange, id: u32) -> bool {
    id.checked_sub(range.first).is_some_and(|n| n < range.count)
}

/// Does something to every process whose user is `chosen`; one that ends meanwhile is no error.
pub(super) fn each(
    chosen: impl Fn(u32) -> bool,
    mut act: impl FnMut(Pid, &OwnedFd) -> rustix::io::Result<()>,
) -> Result<()> {
    let chosen = |pid| user(pid).is_some_and(&chosen);
    for entry in std::fs::read_dir("/proc").at("list processes")? {
        let name = entry.at("list processes")?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw).filter(|pid| chosen(*pid)) else {
            continue;
        };
        let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        // Looked at again: the number may have passed to another before there was a descriptor.
        if !chosen(pid) {
            continue;
        }
        match act(pid, &process) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(errno).at("signal a sandbox's process"),
        }
    }
    Ok(())
}

/// The real user of a process, if it is there.
fn user(pid: Pid) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}
