//! What every request can reach.

use std::sync::Arc;

use tokio::sync::Semaphore;
use warder_ipc::aio::Reaper;
use warder_wire::{BackendName, InstanceTag};

use crate::clock::Micros;
use crate::lifecycle::Idempotency;
use crate::limits;
use crate::peers::Peers;
use crate::proxy::signed::Rate;
use crate::registry::{Events, Registry};
use crate::volumes::Volumes;

/// The gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// The instance.
    pub(crate) tag: InstanceTag,
    /// The domain sandbox host names end in; empty if none was configured.
    pub(crate) domain: String,
    /// The backend that makes sandboxes.
    pub(crate) backend: BackendName,
    /// What is known.
    pub(crate) registry: Registry,
    /// What outlives sandboxes.
    pub(crate) volumes: Volumes,
    /// What happened to sandboxes.
    pub(crate) events: Events,
    /// Who is asked.
    pub(crate) peers: Arc<Peers>,
    /// Who closes what came from a guest.
    pub(crate) reaper: Reaper,
    /// Creates under way.
    pub(crate) creates: Arc<Semaphore>,
    /// Answers to repeated creates.
    pub(crate) idempotency: Idempotency,
    /// Bounds signature checks.
    pub(crate) signatures: Rate,
    /// When this process began to serve.
    pub(crate) since: Micros,
}

impl Gateway {
    /// Puts it together.
    pub(crate) fn new(
        (tag, domain, backend): (InstanceTag, String, BackendName),
        (registry, events, volumes): (Registry, Events, Volumes),
        peers: Arc<Peers>,
        reaper: Reaper,
    ) -> Arc<Self> {
        Arc::new(Self {
            tag,
            domain,
            backend,
            registry,
            events,
            volumes,
            peers,
            reaper,
            creates: Arc::new(Semaphore::new(limits::PENDING_CREATES)),
            idempotency: Idempotency::default(),
            signatures: Rate::default(),
            since: Micros::now(),
        })
    }

    /// The domain as clients are told it: `None` lets them use their own.
    pub(crate) fn domain(&self) -> Option<&str> {
        Some(self.domain.as_str()).filter(|domain| !domain.is_empty())
    }
}
