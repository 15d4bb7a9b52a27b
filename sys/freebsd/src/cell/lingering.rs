//! What holds up the end of a killed process: it closes its sockets, and waits for each connection that lingers
//! (setsockopt(2), SO_LINGER) for as long as the guest has said. No signal ends the wait of a process that exits. So the
//! connections are dropped.

use warder_common::{At, HostError, Result};

use crate::process::{Exit, Process};
use crate::sys::{jail, tcp};

/// Drops every TCP connection of a cell, and of the slot whose network it has. In a child: who enters a jail stays there.
pub(super) fn drop_connections(cell: &str) -> Result<()> {
    let slot = cell.rsplit_once('.').map_or(cell, |(slot, _)| slot);
    let Some(jid) = jail::find(slot).at("look a jail up")? else {
        return Ok(());
    };
    let child = Process::worker(&[], || {
        match jail::attach(jid).and_then(|()| tcp::drop_all()) {
            Ok(()) => 0,
            Err(errno) => errno.raw_os_error(),
        }
    })?;
    match child.reap()? {
        Exit::Code(0) => Ok(()),
        Exit::Code(errno) => Err(HostError::System {
            call: "drop the connections of a cell",
            errno: std::io::Error::from_raw_os_error(errno),
        }),
        Exit::Signal(_) | Exit::Unknown => Err(HostError::Invalid("the dropping child was ended")),
    }
}
