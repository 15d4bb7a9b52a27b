//! A live sandbox as the gateway holds it: its record, its link, its connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use warder_ipc::aio::{GuestSocket, GuestStream, Reaper};
use warder_wire::link::Role;
use warder_wire::{FaultCode, SandboxId};

use crate::clock::Micros;
use crate::error::{ApiError, AskError};
use crate::limits;
use crate::link::{Link, LinkError, Seldom};
use crate::logs::AgentLines;
use crate::metrics::Series;
use crate::peers::Peers;
use crate::proxy::{Door, Https, Pools};
use crate::refusals::RefusalLog;
use crate::registry::record::SandboxRecord;

/// What a sandbox is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// It is being made, or no user is ever to see it; nobody has its id.
    Creating,
    /// It runs.
    Running,
    /// It is being paused.
    Pausing,
    /// It is paused.
    Paused,
    /// It is being woken.
    Resuming,
}

/// What may change.
#[derive(Debug)]
pub(crate) struct Now {
    /// As it is (to be) stored.
    pub(crate) record: SandboxRecord,
    /// What it is doing.
    pub(crate) phase: Phase,
    /// Whether it is being ended, whatever it was doing.
    pub(crate) killing: bool,
    /// Wakes that failed: how many, and why the last one did, if none has succeeded since.
    pub(crate) not_woken: (u64, Option<ApiError>),
}

/// A live sandbox.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Its id.
    pub(crate) id: SandboxId,
    /// What the agent demands.
    pub(crate) envd_token: String,
    /// What other ports demand, if they do.
    pub(crate) traffic_token: OnceLock<String>,
    /// Its ports that speak TLS, if any do.
    pub(crate) https: OnceLock<Https>,
    /// Who is let in to its ports.
    pub(crate) door: Door,
    /// Connections waiting for their next request.
    pub(crate) pools: Pools,
    /// One permit for each request and upgraded stream under way.
    pub(crate) exchanges: Arc<Semaphore>,
    /// Cancelled when it has ended.
    pub(crate) ended: CancellationToken,
    /// Held while it is paused, woken, copied or ended, or its end is moved: one at a time, in the order in which
    /// it was asked.
    pub(crate) moving: Arc<tokio::sync::Mutex<()>>,
    /// Held while its network policy is changed. Not `moving`: what takes long there must not keep the network open.
    pub(crate) network: tokio::sync::Mutex<()>,
    /// What its agent said before it could no longer be asked.
    pub(crate) agent_lines: AgentLines,
    /// What it used lately.
    pub(crate) series: Mutex<Series>,
    /// One permit for each request that waits until it is woken.
    pub(crate) waiting: Arc<Semaphore>,
    // What its network policy refused.
    refusals: Mutex<RefusalLog>,
    now: Mutex<Now>,
    // The time its agent was told last.
    told: AtomicU64,
    // Cancelled when it has ended or is paused: every stream to it is dropped.
    streams: Mutex<CancellationToken>,
    peers: Arc<Peers>,
    reaper: Reaper,
    // Held while a new link is made, so that only one is.
    link: tokio::sync::Mutex<Option<Arc<Link>>>,
    // That its agent is of another version.
    version_told: Seldom,
}

impl Sandbox {
    /// From its record.
    pub(crate) fn new(
        record: SandboxRecord,
        phase: Phase,
        peers: &Arc<Peers>,
        reaper: &Reaper,
    ) -> Arc<Self> {
        let ended = CancellationToken::new();
        let (filters, mask) = record.network.ingress.rules();
        let https = record.network.fixed.https.clone();
        Arc::new(Self {
            id: record.id.clone(),
            envd_token: record.envd_token.clone(),
            traffic_token: record
                .traffic_token
                .clone()
                .map_or_else(OnceLock::new, OnceLock::from),
            https: https.map_or_else(OnceLock::new, |ports| Https::new(ports).into()),
            door: Door::new(filters, mask),
            pools: Pools::default(),
            exchanges: Arc::new(Semaphore::new(limits::EXCHANGES_PER_SANDBOX)),
            streams: Mutex::new(ended.child_token()),
            ended,
            moving: Arc::default(),
            waiting: Arc::new(Semaphore::new(limits::WAITING_PER_SANDBOX)),
            network: tokio::sync::Mutex::default(),
            agent_lines: AgentLines::default(),
            series: Mutex::default(),
            refusals: Mutex::default(),
            told: AtomicU64::new(0),
            now: Mutex::new(Now {
                record,
                phase,
                killing: false,
                not_woken: (0, None),
            }),
            peers: Arc::clone(peers),
            reaper: reaper.clone(),
            link: tokio::sync::Mutex::new(None),
            version_told: Seldom::default(),
        })
    }

    /// What may change; never held across an await.
    pub(crate) fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its network policy refused; never held across an await.
    pub(crate) fn refusals(&self) -> MutexGuard<'_, RefusalLog> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record as it is.
    pub(crate) fn record(&self) -> SandboxRecord {
        self.now().record.clone()
    }

    /// A time to tell its agent, later than any before: it ignores what seems older than what it has, and the host's
    /// clock may be set back.
    pub(crate) fn later(&self) -> Micros {
        let now = Micros::now().0;
        let before = self
            .told
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
                Some(now.max(before.saturating_add(1)))
            });
        Micros(now.max(before.unwrap_or(0).saturating_add(1)))
    }

    /// Puts the rules of its record in force for whoever wants to get in, and ends what they forbid; how many there were.
    pub(crate) async fn let_in(&self) -> usize {
        let (filters, mask) = self.now().record.network.ingress.rules();
        self.door.set(filters, mask).await
    }

    /// Whether it runs.
    pub(crate) fn runs(&self) -> bool {
        let now = self.now();
        now.phase == Phase::Running && !now.killing && !self.ended.is_cancelled()
    }

    /// Whether clients are shown it: it is neither being made nor ended.
    pub(crate) fn is_shown(&self) -> bool {
        let now = self.now();
        now.phase != Phase::Creating && !now.killing && !self.ended.is_cancelled()
    }

    fn is_being_made(&self) -> bool {
        let now = self.now();
        now.phase == Phase::Creating && !now.killing && !self.ended.is_cancelled()
    }

    /// It is made or awake, unless privd has paused it meanwhile. False: it has ended before.
    pub(crate) fn made(&self) -> bool {
        let mut now = self.now();
        now.phase = if now.record.paused.is_some() {
            Phase::Paused
        } else {
            Phase::Running
        };
        !self.ended.is_cancelled()
    }

    /// It has ended: drops every stream and the link.
    pub(crate) fn end(&self) {
        self.ended.cancel();
        self.cut();
    }

    /// What cancels a stream that begins now.
    pub(crate) fn streams(&self) -> CancellationToken {
        let streams = self.streams.lock();
        streams.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether no stream can begin: it is paused, and its agent would not answer.
    pub(crate) fn sleeps(&self) -> bool {
        self.now().phase == Phase::Paused
    }

    /// It has been paused, or ended: drops every stream and the link. Its phase says so already, so that none
    /// begins behind this.
    pub(crate) fn cut(&self) {
        let next = self.ended.child_token();
        let before = {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *streams, next)
        };
        before.cancel();
        self.pools.clear();
        // Held only while a link is made, and whoever makes it looks at `ended` and the phase afterwards.
        if let Ok(mut link) = self.link.try_lock()
            && let Some(link) = link.take()
        {
            link.end();
        }
    }

    /// A socket on which the agent serves its API.
    ///
    /// # Errors
    /// [`LinkError`].
    pub(crate) async fn api_socket(&self, role: Role) -> Result<GuestSocket, LinkError> {
        let link = self.reached(limits::AGENT_TIMEOUT).await?;
        let socket = match link.api(role) {
            Err(LinkError::Broken) => self.reached(limits::AGENT_TIMEOUT).await?.api(role)?,
            other => other?,
        };
        link.flushed().await;
        Ok(socket)
    }

    /// A stream on which the agent serves its API.
    ///
    /// # Errors
    /// [`LinkError`].
    pub(crate) async fn api(&self, role: Role) -> Result<GuestStream, LinkError> {
        watch(self.api_socket(role).await?)
    }

    /// A connection to a TCP port inside.
    ///
    /// # Errors
    /// [`LinkError`].
    pub(crate) async fn port(&self, port: u16) -> Result<GuestStream, LinkError> {
        let socket = match self.reached(limits::LINK_TIMEOUT).await?.port(port).await {
            Err(LinkError::Broken) => {
                let link = self.reached(limits::LINK_TIMEOUT).await?;
                link.port(port).await
            }
            other => other,
        };
        watch(socket?)
    }

    /// The link there is, or a new one, when somebody has answered on it. A machine's device has one user at a time,
    /// and may not have let go of the last one yet: then it is tried again.
    ///
    /// # Errors
    /// [`LinkError`].
    pub(crate) async fn reached(&self, patience: Duration) -> Result<Arc<Link>, LinkError> {
        let tried = async {
            let mut tries = 0;
            loop {
                let link = match self.link().await {
                    // bhyve(8) listens on a new machine's console only when it has made the machine.
                    Err(LinkError::Unresponsive) if self.is_being_made() => {
                        tokio::time::sleep(limits::LISTEN_PAUSE).await;
                        continue;
                    }
                    other => other?,
                };
                match link.ready(&self.version_told).await {
                    Err(LinkError::Broken) if tries < limits::LINK_TRIES => {}
                    other => return other.map(|()| link),
                }
                if self.ended.is_cancelled() || self.sleeps() {
                    return Err(LinkError::Broken);
                }
                tries += 1;
                tokio::time::sleep(limits::LINK_PAUSE).await;
            }
        };
        let tried = tokio::time::timeout(patience, tried).await;
        tried.unwrap_or(Err(LinkError::Unresponsive))
    }

    /// The link there is, or a new one.
    async fn link(&self) -> Result<Arc<Link>, LinkError> {
        let mut slot = self.link.lock().await;
        if let Some(link) = slot.as_ref().filter(|link| !link.is_over()) {
            return Ok(Arc::clone(link));
        }
        let fd = self
            .peers
            .link_open(self.id.clone())
            .await
            .map_err(|error| match error {
                AskError::TimedOut(_) => LinkError::Unresponsive,
                error if error.fault() == Some(FaultCode::GuestUnresponsive) => {
                    LinkError::Unresponsive
                }
                _ => LinkError::Broken,
            })?;
        let link = Link::new(fd, &self.reaper)?;
        if self.ended.is_cancelled() || self.sleeps() {
            link.end();
            return Err(LinkError::Broken);
        }
        *slot = Some(Arc::clone(&link));
        Ok(link)
    }
}

/// Of the thread that uses it, whichever one has the link.
pub(crate) fn watch(socket: GuestSocket) -> Result<GuestStream, LinkError> {
    socket.watch().map_err(|_| LinkError::Local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warm::tests::record;

    #[tokio::test]
    async fn an_agent_is_told_a_later_time_whatever_the_clock_does() {
        let (ours, _privd) = warder_ipc::Channel::pair().expect("socketpair");
        let (peers, _events) = Peers::new(ours).expect("watched");
        let reaper = Reaper::start().expect("thread");
        let one = Sandbox::new(record(), Phase::Creating, &Arc::new(peers), &reaper);
        let first = one.later();
        assert!(first.0.abs_diff(Micros::now().0) < 3_600_000_000);
        // As if the clock had been a year ahead then.
        let ahead = first.0 + 365 * 24 * 3_600_000_000;
        one.told.store(ahead, Ordering::Relaxed);
        assert_eq!(one.later(), Micros(ahead + 1));
        assert_eq!(one.later(), Micros(ahead + 2));
    }
}
