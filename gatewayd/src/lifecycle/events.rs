//! What privd and the plugin host tell unasked.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use warder_wire::gateway_priv::{EndReason, Event};
use warder_wire::{Fault, FaultCode, SandboxId, gateway_net, gateway_plugin};

use crate::gateway::Gateway;
use crate::peers::Events;
use crate::refusals;
use crate::registry::record::{EventKind, SandboxRecord};
use crate::sandbox::Phase;

/// Follows privd's events until its channel ends, which ends this process: privd is gone or has replaced us.
pub(crate) async fn follow(gateway: Arc<Gateway>, mut events: Events<Event>) {
    while let Some((event, fds)) = events.recv().await {
        handle(&gateway, event, fds);
    }
}

/// Handles one event; also used before there is anything else to do.
fn handle(gateway: &Arc<Gateway>, event: Event, fds: Vec<OwnedFd>) {
    // They came with all the rights that privd has to them.
    for fd in &fds {
        if let Err(error) = warder_confine::limit_received(fd.as_fd()) {
            return eprintln!("gatewayd: {error}: not heard: {event:?}");
        }
    }
    if let Event::Certificate {
        round,
        index,
        of,
        fault,
    } = event
    {
        let given = match (fault, <[OwnedFd; 2]>::try_from(fds)) {
            (None, Ok(fds)) => Ok(fds),
            (fault, _) => Err(fault.unwrap_or_else(|| {
                Fault::new(FaultCode::System, "it came without its descriptors")
            })),
        };
        return gateway.certificates.take(round, (index, of), given);
    }
    match (event, one(fds)) {
        (Event::Ended { sandbox, reason }, None) => ended(gateway, &sandbox, reason),
        (Event::Paused { sandbox, why, .. }, None) => {
            if let Some(sandbox) = gateway.registry.get_any(&sandbox) {
                tokio::spawn(super::pause::told(Arc::clone(gateway), sandbox, why));
            }
        }
        (Event::NetChannel, Some(fd)) => match gateway.peers.net_started(fd) {
            Ok((number, mut events)) => {
                tokio::spawn(super::network::check_all(Arc::clone(gateway)));
                let gateway = Arc::clone(gateway);
                tokio::spawn(async move {
                    while let Some((event, fds)) = events.recv().await {
                        warder_ipc::discard(fds);
                        net(&gateway, event);
                    }
                    gateway.peers.net_ended(number);
                });
            }
            Err(error) => eprintln!("gatewayd: netd's channel is none: {error}"),
        },
        (Event::EgressChannel, Some(fd)) => {
            if let Err(error) = refusals::listen(gateway, fd) {
                eprintln!("gatewayd: egressd's channel is none: {error}");
            }
        }
        (Event::PluginChannel { backend }, Some(fd)) if backend == gateway.backend => {
            match gateway.peers.plugin_started(fd) {
                Ok((number, mut events)) => {
                    let gateway = Arc::clone(gateway);
                    tokio::spawn(async move {
                        while let Some((event, fds)) = events.recv().await {
                            warder_ipc::discard(fds);
                            let gateway_plugin::Event::Ended { sandbox, reason } = event;
                            ended(&gateway, &sandbox, reason);
                        }
                        gateway.peers.plugin_ended(number);
                    });
                }
                Err(error) => eprintln!("gatewayd: the plugin host's channel is none: {error}"),
            }
        }
        (Event::PluginChannel { .. }, Some(_)) => {}
        (event, _) => eprintln!("gatewayd: event with a wrong number of descriptors: {event:?}"),
    }
}

/// What netd tells.
fn net(gateway: &Arc<Gateway>, event: gateway_net::Event) {
    use gateway_net::Event;
    let own = Arc::clone(gateway);
    match event {
        Event::Sealed { sandbox } => {
            if let Some(sandbox) = gateway.registry.get_any(&sandbox) {
                tokio::spawn(super::network::sealed(own, sandbox));
            }
        }
        Event::Shut { fault } => drop(tokio::spawn(super::network::all_closed(own, Some(fault)))),
        Event::Opened => drop(tokio::spawn(super::network::all_closed(own, None))),
    }
}

/// The only descriptor; more than one counts as none.
fn one(mut fds: Vec<OwnedFd>) -> Option<OwnedFd> {
    let fd = fds.pop()?;
    fds.is_empty().then_some(fd)
}

/// Writes the end of a sandbox into the event log, before the sandbox itself is forgotten: a gateway that dies
/// in between finds it again at its start and does not tell it twice.
pub(super) fn tell_end(gateway: &Gateway, record: &SandboxRecord, reason: &str) {
    if !gateway.events.ended(&record.id) {
        let data = serde_json::json!({ "reason": reason });
        gateway.events.write(EventKind::Killed, record, data);
    }
}

/// A sandbox is gone.
fn ended(gateway: &Gateway, id: &SandboxId, reason: EndReason) {
    let Some(sandbox) = gateway.registry.get_any(id) else {
        return;
    };
    sandbox.end();
    // Whoever makes or kills it sees to the rest.
    {
        let now = sandbox.now();
        if now.phase == Phase::Creating || now.killing {
            return;
        }
    }
    let (word, what) = match reason {
        EndReason::Expired => ("timeout", "its time was over"),
        EndReason::Removed => ("removed", "it was removed"),
        EndReason::GuestEnded => ("guest_ended", "its first process ended"),
        EndReason::Lost => ("lost", "it was not whole after a restart"),
    };
    tell_end(gateway, &sandbox.record(), word);
    gateway.registry.remove(id);
    gateway
        .registry
        .audit("privd", "sandbox.ended", id.as_str(), what);
}
