//! What holds up the end of a killed process: it closes its sockets, and waits for each connection that lingers
//! (setsockopt(2), SO_LINGER) for as long as the guest has said. No signal ends the wait of a process that exits. So the
//! connections are dropped.

use rustix::io::Errno;
use warder_common::{At, Result};

use crate::process::{Exit, Process};
use crate::sys::{jail, tcp};

/// Drops every TCP connection of a cell, and of the slot whose network it has. In a child: who enters a jail stays there.
pub(super) fn drop_connections(cell: &str) -> Result<()> {
    let slot = cell.rsplit_once('.').map_or(cell, |(slot, _)| slot);
    let Some(jid) = jail::find(slot).at("look a jail up")? else {
        return Ok(());
    };
    let done = || jail::attach(jid).and_then(|()| tcp::drop_all());
    let child = Process::worker(&[], || done().map_or_else(Errno::raw_os_error, |()| 0))?;
    match child.reap()? {
        Exit::Code(errno) if errno != 0 => {
            Err(Errno::from_raw_os_error(errno)).at("drop connections")
        }
        _ => Ok(()),
    }
}
