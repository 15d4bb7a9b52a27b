//! Where the traffic of sandboxes arrives.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use warder_confine::limit_received;
use warder_egress_sys::{Datagrams, Origins, PacketLog};
use warder_ipc::check;
use warder_wire::egress_gateway::Why;

use crate::connection::Connection;
use crate::dns;
use crate::egress::Egress;
use crate::events::TCP;
use crate::flow::{Flow, Kind, NoFlow};
use crate::packets;
use crate::web;

/// Pause after an accept that failed for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Connections of addresses nobody knows yet that wait at once.
pub(crate) const STRANGERS: usize = 256;

/// netd's sockets for traffic are not what they should be.
#[derive(Debug, thiserror::Error)]
#[error("netd's sockets: {0}")]
pub struct TrafficError(pub(crate) &'static str);

/// Takes over netd's sockets and serves what arrives.
///
/// # Errors
/// [`TrafficError`].
pub(crate) fn begin(egress: &Arc<Egress>, fds: Vec<OwnedFd>) -> Result<(), TrafficError> {
    let mut fds = fds.into_iter();
    let (Some(listener), Some(datagrams), log, origins, None) =
        (fds.next(), fds.next(), fds.next(), fds.next(), fds.next())
    else {
        return Err(TrafficError("too few or too many"));
    };
    let origins =
        Origins::new(origins).map_err(|_| TrafficError("no way to ask what was meant"))?;
    let origins = Arc::new(origins);
    check::tcp_listener(listener.as_fd()).map_err(|_| TrafficError("no TCP listener"))?;
    // Connections begin with the rights of their listener.
    for socket in [&listener, &datagrams] {
        limit_received(socket.as_fd())
            .map_err(|_| TrafficError("a socket that cannot be limited"))?;
    }
    let listener = TcpListener::from(listener);
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .map_err(|_| TrafficError("a TCP listener that cannot be watched"))?;
    let datagrams = Datagrams::new(datagrams, Arc::clone(&origins))
        .map_err(|_| TrafficError("no UDP socket"))?;
    if let Some(log) = log {
        let log = PacketLog::new(log).map_err(|_| TrafficError("no log of refused packets"))?;
        tokio::spawn(packets::follow(Arc::clone(egress), log));
    }
    tokio::spawn(dns::udp::serve(Arc::clone(egress), datagrams));
    tokio::spawn(connections(Arc::clone(egress), origins, listener));
    Ok(())
}

async fn connections(
    egress: Arc<Egress>,
    origins: Arc<Origins>,
    listener: tokio::net::TcpListener,
) {
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => arrived(&egress, &origins, &strangers, stream, peer),
            Err(error) => {
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Begins to serve a connection. What is dropped here is reset.
fn arrived(
    egress: &Arc<Egress>,
    origins: &Origins,
    strangers: &Arc<Semaphore>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let Ok(client) = Connection::new(stream) else {
        return;
    };
    let SocketAddr::V4(peer) = peer else {
        return;
    };
    let Some(meant) = client.meant(origins, peer) else {
        return;
    };
    let known = egress.sandboxes.at(*peer.ip());
    let waiting = match &known {
        Some(_) => None,
        None => match Arc::clone(strangers).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => return,
        },
    };
    let egress = Arc::clone(egress);
    tokio::spawn(async move {
        let sandbox = match known {
            Some(sandbox) => sandbox,
            None => match egress.sandboxes.soon_at(*peer.ip()).await {
                Some(sandbox) => sandbox,
                None => return,
            },
        };
        drop(waiting);
        let flow = match Flow::begin(&sandbox, Kind::Connection) {
            Ok(flow) => flow,
            Err(NoFlow::TooMany) => {
                let events = &egress.events;
                events.refused(&sandbox, TCP, meant, None, Why::TooMany);
                return;
            }
            Err(NoFlow::Closed) => return,
        };
        serve(&egress, &flow, client, meant).await;
    });
}

async fn serve(egress: &Arc<Egress>, flow: &Flow, client: Connection, meant: SocketAddrV4) {
    // In one place: what is moved into another future counts in both.
    let served = Box::pin(async {
        if meant.port() == dns::PORT {
            dns::tcp::serve(egress, flow, client, *meant.ip()).await;
        } else {
            web::serve(egress, flow, client, meant).await;
        }
    });
    flow.unless_ended(served).await;
}
