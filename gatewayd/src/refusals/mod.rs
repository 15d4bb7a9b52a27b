//! What the network policies of sandboxes refused, on its way out as egressd tells it, and of clients: kept for each
//! sandbox in a log of its own, and told to whoever follows the events.
//!
//! Both are in memory only and bounded by sandbox, so that one that is refused much pushes nothing of others out, and
//! nothing of what happened to sandboxes.

mod feed;
mod log;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use warder_ipc::aio::AsyncChannel;
use warder_ipc::{Channel, IpcError};
use warder_wire::egress_gateway::{Event, Refused};

use crate::clock::Micros;
use crate::gateway::Gateway;
use crate::sandbox::Sandbox;
pub(crate) use feed::Feed;
pub(crate) use log::{Cause, Entry, RefusalLog, View};

/// egressd was started: what comes on its channel is taken until that ends.
///
/// # Errors
/// When the descriptor is no channel.
pub(crate) fn listen(gateway: &Arc<Gateway>, fd: OwnedFd) -> Result<(), IpcError> {
    let channel = AsyncChannel::new(Channel::from_fd(fd)?)?;
    let gateway = Arc::clone(gateway);
    let open = gateway.stats.egress_came();
    tokio::spawn(async move {
        let _open = open;
        loop {
            match channel.recv::<Event>().await {
                Ok((event, fds)) => {
                    warder_ipc::discard(fds);
                    take(&gateway, event);
                }
                Err(IpcError::Closed) => return,
                Err(error) => {
                    eprintln!("gatewayd: egressd: {error}");
                    return;
                }
            }
        }
    });
    Ok(())
}

fn take(gateway: &Gateway, event: Event) {
    match event {
        Event::Refused(refused) => take_one(gateway, refused),
        Event::Dropped(count) => gateway.refusals.dropped(count),
    }
}

fn take_one(gateway: &Gateway, refused: Refused) {
    // One that no user sees, or that has ended.
    let Some(sandbox) = gateway.registry.get(&refused.sandbox) else {
        return;
    };
    note(gateway, &sandbox, Entry::new(refused, Micros::now()));
}

/// A client was not let in to a port of a sandbox.
pub(crate) fn client(
    gateway: &Gateway,
    sandbox: &Sandbox,
    client: (Option<IpAddr>, u16),
    cause: Cause,
) {
    let generation = sandbox.now().record.standing.generation;
    note(
        gateway,
        sandbox,
        Entry::of_client(client, cause, generation),
    );
}

fn note(gateway: &Gateway, sandbox: &Sandbox, entry: Entry) {
    let tell = sandbox.refusals().add(entry.clone());
    gateway.refusals.add(&sandbox.id, entry, tell);
}
