//! From the first frame to serving. The order matters: descriptors, confinement while there is one thread,
//! files and threads, the runtime, the last filter, and only then the first byte from anywhere else.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use warder_confine::{ConfineError, Profile, enter_early};
use warder_ipc::aio::{Reaper, watch_this_thread, watched};
use warder_ipc::{IpcError, check, take_start};
use warder_wire::start::{Ready, Role, Start};
use warder_wire::{BackendName, InstanceTag, VERSION};

use crate::carriers::Carriers;
use crate::error::AskError;
use crate::gateway::Gateway;
use crate::lifecycle;
use crate::limits;
use crate::metrics;
use crate::peers::Peers;
use crate::registry::{Events, Registry, Store, StoreError};
use crate::serve;
use crate::shares::Shares;
use crate::tls::Tls;
use crate::volumes::Volumes;
use crate::warm::{self, WarmPools};

/// Why the gateway does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Not started by privd, or by another version.
    #[error("not started by privd")]
    Channel(#[from] IpcError),
    /// The first frame or its descriptors are not what a gateway is started with.
    #[error("started with {0}")]
    Frame(&'static str),
    /// The confinement failed.
    #[error("not confined")]
    Confine(#[from] ConfineError),
    /// The registry cannot be opened.
    #[error("no registry")]
    Store(#[from] StoreError),
    /// A thread, the runtime or a descriptor could not be set up.
    #[error("{0}")]
    System(&'static str, #[source] io::Error),
    /// The cryptographic library is not whole.
    #[error("no TLS")]
    Tls(#[source] rustls::Error),
    /// privd does not say what it holds.
    #[error("not reconciled")]
    Reconcile(#[from] AskError),
}

/// What was handed over.
struct Given {
    tag: InstanceTag,
    ids: (u32, u32),
    operators: Option<u32>,
    domains: Vec<String>,
    backend: BackendName,
    tcp: Vec<OwnedFd>,
    /// How many of them, the last ones, speak TLS.
    tls: usize,
    trusted_hops: u8,
    create_timeout: Duration,
    admin: OwnedFd,
    state: OwnedFd,
}

fn given(start: Start, mut fds: Vec<OwnedFd>) -> Result<Given, StartError> {
    let Role::Gateway {
        ids,
        tcp_listeners,
        tls_listeners,
        operator_group,
        domain,
        more_domains,
        backend,
        trusted_hops,
        create_timeout_s,
    } = start.role
    else {
        return Err(StartError::Frame("another role"));
    };
    if fds.len() != usize::from(tcp_listeners) + 2 || tls_listeners > tcp_listeners {
        return Err(StartError::Frame("a wrong number of descriptors"));
    }
    let (Some(state), Some(admin)) = (fds.pop(), fds.pop()) else {
        return Err(StartError::Frame("too few descriptors"));
    };
    for listener in &fds {
        check::tcp_listener(listener.as_fd())
            .map_err(|_| StartError::Frame("a TCP listener that is none"))?;
    }
    check::unix_listener(admin.as_fd())
        .map_err(|_| StartError::Frame("a Unix listener that is none"))?;
    check::directory(state.as_fd())
        .map_err(|_| StartError::Frame("a state directory that is none"))?;
    Ok(Given {
        tag: start.tag,
        ids,
        operators: operator_group,
        domains: std::iter::once(domain).chain(more_domains).collect(),
        backend,
        tcp: fds,
        tls: usize::from(tls_listeners),
        trusted_hops,
        create_timeout: Duration::from_secs(create_timeout_s.into()),
        admin,
        state,
    })
}

/// Runs until privd's channel ends.
///
/// # Errors
/// [`StartError`], all before the first request.
pub(crate) fn run() -> Result<(), StartError> {
    let (channel, start, fds) = take_start()?;
    let given = given(start, fds)?;
    // For `warder metrics`; where there is no such file, its number is left out.
    let process = std::fs::File::open("/proc/self/status").ok();
    let early = {
        let mut keep: Vec<BorrowedFd<'_>> = given.tcp.iter().map(AsFd::as_fd).collect();
        keep.extend([channel.as_fd(), given.admin.as_fd(), given.state.as_fd()]);
        keep.extend(process.iter().map(AsFd::as_fd));
        enter_early(
            &Profile::gateway().state_dir(given.state.as_fd()),
            given.ids,
            &keep,
        )?
    };
    let (store, loaded) = Store::open(given.state.as_fd())?;
    store
        .start()
        .map_err(|e| StartError::System("the registry's thread", e))?;
    let reaper = Reaper::start().map_err(|e| StartError::System("the reaper's thread", e))?;
    let carriers = Carriers::start().map_err(|e| StartError::System("a carrier's thread", e))?;
    let runtime = runtime().map_err(|e| StartError::System("the runtime", e))?;
    let room = room();
    let confinement = early.lock()?;
    drop(given.state);
    runtime.block_on(async {
        let mut channel = channel;
        channel.send(
            &Ready {
                version: VERSION,
                confinement,
            },
            Vec::new(),
        )?;
        let log = Events::new(store.clone(), loaded.events);
        let idempotency = lifecycle::Idempotency::new(store.clone(), loaded.idempotency);
        let registry = Registry::new(store, loaded.keys, loaded.snapshots);
        let volumes = Volumes::new(loaded.volumes);
        let warm = WarmPools::new(loaded.pools);
        let (peers, events) = Peers::new(channel)?;
        let gateway = Gateway::new(
            (given.tag, given.domains, given.backend),
            (given.tls > 0, given.trusted_hops, given.create_timeout),
            (registry, log, volumes),
            (idempotency, warm),
            Arc::new(peers),
            reaper,
        );
        if let Some(process) = process {
            let _ = gateway.stats.process.set(process);
        }
        let following = tokio::spawn(lifecycle::follow(Arc::clone(&gateway), events));
        lifecycle::reconcile(&gateway, loaded.sandboxes).await?;
        listen(
            &gateway,
            carriers,
            (given.tcp, given.tls),
            (given.admin, given.operators),
            room,
        )?;
        tokio::spawn(warm::tend(Arc::clone(&gateway)));
        tokio::spawn(prune(Arc::clone(&gateway)));
        tokio::spawn(metrics::sample_all(gateway));
        // privd is gone or done with us. The registry needs no farewell: its journal is written.
        let _ = following.await;
        Ok(())
    })
}

/// Of this thread. It may start no other: none can be after the last filter.
fn runtime() -> io::Result<Runtime> {
    watch_this_thread()?;
    let mut builder = tokio::runtime::Builder::new_current_thread();
    watched(&mut builder)
        .enable_io()
        .enable_time()
        .max_blocking_threads(1)
        .build()
}

/// How many clients there may be. Of the descriptors, a third is for clients, a third for sandboxes, the
/// rest for links and files. Asked before the last filter, which forbids asking.
fn room() -> usize {
    let files = getrlimit(Resource::Nofile)
        .current
        .and_then(|n| usize::try_from(n).ok());
    limits::CONNECTIONS.min(files.unwrap_or(1024) / 3)
}

fn listen(
    gateway: &Arc<Gateway>,
    carriers: Carriers,
    (tcp, of_tls): (Vec<OwnedFd>, usize),
    (admin, operators): (OwnedFd, Option<u32>),
    room: usize,
) -> Result<(), StartError> {
    let failed = |e| StartError::System("a listener", e);
    // Connections of the operator's own proxies are those of all their clients.
    let each = match gateway.trusted_hops {
        0 => (room / 2).max(1),
        _ => room,
    };
    let shares = Arc::new(Shares::new(room, each));
    let room = Arc::new(Semaphore::new(room));
    let carriers = Arc::new(carriers);
    let tls = Arc::new(Tls::new(Arc::clone(&gateway.certificates)).map_err(StartError::Tls)?);
    let plain = tcp.len() - of_tls;
    for (n, fd) in tcp.into_iter().enumerate() {
        let listener = TcpListener::from(fd);
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let tls = (n >= plain).then(|| Arc::clone(&tls));
        let room = (Arc::clone(&room), Arc::clone(&shares));
        let (gateway, carriers) = (Arc::clone(gateway), Arc::clone(&carriers));
        tokio::spawn(serve::tcp(gateway, listener, tls, carriers, room));
    }
    let listener = UnixListener::from(admin);
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = tokio::net::UnixListener::from_std(listener).map_err(failed)?;
    // Room of its own, so that clients cannot lock the operator out.
    let room = Arc::new(Semaphore::new(64));
    tokio::spawn(serve::unix(Arc::clone(gateway), listener, operators, room));
    Ok(())
}

/// Closes connections to sandboxes that have waited too long for a request.
async fn prune(gateway: Arc<Gateway>) {
    let mut tick = tokio::time::interval(limits::IDLE_TIMEOUT.max(Duration::from_secs(1)) / 4);
    loop {
        tick.tick().await;
        for sandbox in gateway.registry.all() {
            sandbox.pools.prune();
        }
    }
}
