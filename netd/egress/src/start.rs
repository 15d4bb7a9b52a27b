//! From the first frame to serving. The order matters: descriptors, confinement while there is one thread, the
//! runtime, the last filter, and only then the first byte from anywhere else.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::process::{Resource, getrlimit};
use tokio::runtime::Runtime;
use warder_confine::{ConfineError, Profile, enter_early};
use warder_ipc::aio::{AsyncChannel, Caller, watch_this_thread, watched};
use warder_ipc::{Channel, IpcError, take_start};
use warder_wire::start::{Ready, Role, Start};
use warder_wire::{Cidr, VERSION, priv_egress};

use crate::accept::TrafficError;
use crate::egress::Egress;
use crate::events::Events;
use crate::netd::{self, Netd};
use crate::sandboxes::Sandboxes;

/// Descriptors of a flow: both its ends.
const ENDS: usize = 2;
/// Descriptors that are not for flows.
const OTHERS: usize = 64;
/// Flows at most, of all sandboxes; each takes some 5 KiB here, and what waits in it.
const FLOWS: usize = 50_000;

/// Why egressd does not serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not started by privd, or by another version; or a channel is none.
    #[error("not started by privd")]
    Channel(#[from] IpcError),
    /// The first frame or its descriptors are not what egressd is started with.
    #[error("started with {0}")]
    Frame(&'static str),
    /// The confinement failed.
    #[error("not confined")]
    Confine(#[from] ConfineError),
    /// The runtime could not be set up.
    #[error("no runtime")]
    Runtime(#[source] io::Error),
    /// The sockets for traffic are not what they should be.
    #[error("no traffic")]
    Traffic(#[from] TrafficError),
}

struct Given {
    ids: (u32, u32),
    never: Vec<Cidr>,
    resolvers: Vec<Ipv4Addr>,
    netd: Channel,
    gateway: Channel,
}

fn given(start: Start, fds: Vec<OwnedFd>) -> Result<Given, StartError> {
    let Role::Egress {
        ids,
        never,
        resolvers,
    } = start.role
    else {
        return Err(StartError::Frame("another role"));
    };
    let [netd, gateway]: [OwnedFd; 2] = fds
        .try_into()
        .map_err(|_| StartError::Frame("a wrong number of descriptors"))?;
    Ok(Given {
        ids,
        never,
        resolvers,
        netd: Channel::from_fd(netd)?,
        gateway: Channel::from_fd(gateway)?,
    })
}

/// Runs until the channel to privd or to netd ends.
///
/// # Errors
/// [`StartError`].
pub fn run() -> Result<(), StartError> {
    let (channel, start, fds) = take_start()?;
    let given = given(start, fds)?;
    let early = {
        let keep = [channel.as_fd(), given.netd.as_fd(), given.gateway.as_fd()];
        enter_early(&Profile::egress(), given.ids, &keep)?
    };
    let runtime = runtime().map_err(StartError::Runtime)?;
    let room = room();
    let confinement = early.lock()?;
    runtime.block_on(async {
        let mut channel = channel;
        channel.send(
            &Ready {
                version: VERSION,
                confinement,
            },
            Vec::new(),
        )?;
        let privd = AsyncChannel::new(channel)?;
        let (caller, from_netd) = Caller::new(given.netd)?;
        let events = Events::default();
        let egress = Arc::new(Egress {
            never: given.never,
            resolvers: given.resolvers,
            sandboxes: Sandboxes::new(room),
            netd: Netd::new(caller),
            events: events.clone(),
        });
        tokio::select! {
            () = tell(&privd, &events, given.gateway) => Ok(()),
            // Without netd nobody says what holds, so nothing may go on.
            followed = netd::follow(egress, from_netd) => followed.map_err(StartError::Traffic),
        }
    })
}

/// Tells the gateway what is refused, and each next one that privd names. Until the channel to privd ends, or brings
/// something else: its end is ours.
async fn tell(privd: &AsyncChannel, events: &Events, mut gateway: Channel) {
    loop {
        let telling = async {
            // Without the gateway traffic is judged as before; only nobody hears what is refused.
            let error = events.clone().run(gateway).await;
            eprintln!("egressd: the gateway is told nothing for now: {error}");
            std::future::pending::<()>().await;
        };
        let told = tokio::select! {
            told = privd.recv::<priv_egress::Event>() => told,
            () = telling => return,
        };
        let next = told.map(|(priv_egress::Event::GatewayChannel, fds)| fds);
        let next = next.ok().and_then(|fds| <[OwnedFd; 1]>::try_from(fds).ok());
        match next.map(|[fd]| Channel::from_fd(fd)) {
            Some(Ok(next)) => gateway = next,
            _ => return,
        }
    }
}

/// On this thread alone; all that can be waited for is made before the last filter.
fn runtime() -> io::Result<Runtime> {
    watch_this_thread()?;
    watched(&mut tokio::runtime::Builder::new_current_thread())
        .enable_io()
        .enable_time()
        .max_blocking_threads(1)
        .build()
}

/// How many flows there may be. Asked before the last filter, which forbids asking.
fn room() -> usize {
    let files = getrlimit(Resource::Nofile)
        .current
        .and_then(|n| usize::try_from(n).ok());
    let for_flows = files.unwrap_or(1024).saturating_sub(OTHERS);
    (for_flows / ENDS).min(FLOWS)
}
