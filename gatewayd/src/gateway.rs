//! What every request can reach.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use warder_ipc::aio::Reaper;
use warder_wire::{BackendName, InstanceTag};

use crate::clients::Rates;
use crate::clock::Micros;
use crate::lifecycle::Idempotency;
use crate::limits;
use crate::peers::Peers;
use crate::refusals::Feed;
use crate::registry::{Events, Registry};
use crate::stats::Stats;
use crate::tls::Certificates;
use crate::volumes::Volumes;
use crate::warm::WarmPools;

/// The gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// The instance.
    pub(crate) tag: InstanceTag,
    /// The domains sandbox host names end in, with a port where clients need one; none if none was configured.
    pub(crate) domains: Vec<String>,
    /// Whether a listener speaks TLS.
    pub(crate) tls: bool,
    /// What it shows then.
    pub(crate) certificates: Arc<Certificates>,
    /// The backend that makes sandboxes.
    pub(crate) backend: BackendName,
    /// How many proxies in front are the operator's.
    pub(crate) trusted_hops: u8,
    /// How long a create may take in all.
    pub(crate) create_timeout: Duration,
    /// What is known.
    pub(crate) registry: Registry,
    /// Sandboxes made before anybody asks.
    pub(crate) warm: WarmPools,
    /// What outlives sandboxes.
    pub(crate) volumes: Volumes,
    /// What happened to sandboxes.
    pub(crate) events: Events,
    /// What sandboxes were refused by their network policies.
    pub(crate) refusals: Feed,
    /// Who is asked.
    pub(crate) peers: Arc<Peers>,
    /// Who closes what came from a guest.
    pub(crate) reaper: Reaper,
    /// Creates under way.
    pub(crate) creates: Arc<Semaphore>,
    /// Answers to repeated creates.
    pub(crate) idempotency: Idempotency,
    /// Bounds signature checks.
    pub(crate) signatures: Rates,
    /// Numbers about this process.
    pub(crate) stats: Stats,
    /// When this process began to serve.
    pub(crate) since: Micros,
}

impl Gateway {
    /// Puts it together.
    pub(crate) fn new(
        (tag, domains, backend): (InstanceTag, Vec<String>, BackendName),
        (tls, trusted_hops, create_timeout): (bool, u8, Duration),
        (registry, events, volumes): (Registry, Events, Volumes),
        (idempotency, warm): (Idempotency, WarmPools),
        peers: Arc<Peers>,
        reaper: Reaper,
    ) -> Arc<Self> {
        Arc::new(Self {
            tag,
            domains: domains.into_iter().filter(|d| !d.is_empty()).collect(),
            tls,
            certificates: Arc::default(),
            backend,
            trusted_hops,
            create_timeout,
            registry,
            events,
            volumes,
            refusals: Feed::default(),
            warm,
            peers,
            reaper,
            creates: Arc::new(Semaphore::new(limits::PENDING_CREATES)),
            idempotency,
            signatures: Rates::default(),
            stats: Stats::default(),
            since: Micros::now(),
        })
    }

    /// The domain as clients are told it: `None` lets them use their own, which where there are several is
    /// the one that led them here.
    pub(crate) fn domain(&self) -> Option<&str> {
        match self.domains.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}
