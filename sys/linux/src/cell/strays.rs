//! Processes of sandboxes that no ledger and no control group names: a cell was being made when privd was
//! killed, on a host without control groups. Their users tell them.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::IdRange;
use crate::error::{At, Result};

/// Kills every process whose user is one of `ids` and none of `kept`; their number.
///
/// # Errors
/// `System` when processes cannot be listed, or one cannot be killed.
pub fn end_strays(ids: IdRange, kept: &[IdRange]) -> Result<u32> {
    let within =
        |range: &IdRange, id: u32| id.checked_sub(range.first).is_some_and(|n| n < range.count);
    let stray = |pid| {
        user(pid).is_some_and(|id| within(&ids, id) && !kept.iter().any(|range| within(range, id)))
    };
    let mut ended = 0;
    for entry in std::fs::read_dir("/proc").at("list processes")? {
        let name = entry.at("list processes")?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw).filter(|pid| stray(*pid)) else {
            continue;
        };
        let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        // Looked at again: the number may have passed to another before there was a descriptor.
        if !stray(pid) {
            continue;
        }
        match rustix::process::pidfd_send_signal(&process, Signal::KILL) {
            Ok(()) => ended += 1,
            Err(Errno::SRCH) => {}
            Err(errno) => return Err(errno).at("kill a stray process"),
        }
    }
    Ok(ended)
}

/// The real user of a process, if it is there.
fn user(pid: Pid) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}
