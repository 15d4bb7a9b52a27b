//! The daemons this one asks: privd, netd, and the plugin host of the backend.
//!
//! privd's channel is this process's life: when it ends, so does the process. The other two may be
//! restarted; a call in flight is then repeated once on the new channel, within its deadline. That is
//! safe: creates and kills are idempotent by operation, policies by generation.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use warder_ipc::aio::{CallError, Caller};
use warder_ipc::{Channel, IpcError};
use warder_wire::gateway_priv::{AtDeadline, HostReport, Lease, Template, Usage, VolumeMount};
use warder_wire::{
    Limits, SandboxId, TemplateName, VolumeId, gateway_net, gateway_plugin, gateway_priv,
};

use crate::error::AskError;
use crate::limits::{ASK_TIMEOUT, LINK_TIMEOUT};
use crate::registry::record::SandboxRecord;

type Privd = Caller<gateway_priv::Ask, gateway_priv::Answer>;
/// Events with the descriptors that came along.
pub(crate) type Events<E> = mpsc::Receiver<(E, Vec<OwnedFd>)>;

/// A channel that may be replaced. The number tells one from the next.
type Slot<A, R> = watch::Sender<Option<(u64, Caller<A, R>)>>;

/// How long a volume may take to remove.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a template may take to unpack.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(3600);

/// What netd holds for a sandbox; see [`gateway_net::Answer::Policy`].
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) generation: u64,
    pub(crate) policy: warder_wire::Policy,
    pub(crate) airgap: bool,
    pub(crate) sealed: bool,
}

/// All callers.
#[derive(Debug)]
pub(crate) struct Peers {
    privd: Privd,
    net: Slot<gateway_net::Ask, gateway_net::Answer>,
    plugin: Slot<gateway_plugin::Ask, gateway_plugin::Answer>,
    numbers: AtomicU64,
    /// How often netd and the plugin host came.
    starts: [AtomicU64; 2],
}

impl Peers {
    /// Over privd's channel; the others follow as events.
    ///
    /// # Errors
    /// When the channel cannot be watched.
    pub(crate) fn new(channel: Channel) -> Result<(Self, Events<gateway_priv::Event>), IpcError> {
        let (privd, events) = Caller::new(channel)?;
        let peers = Self {
            privd,
            net: watch::Sender::new(None),
            plugin: watch::Sender::new(None),
            numbers: AtomicU64::new(1),
            starts: Default::default(),
        };
        Ok((peers, events))
    }

    /// netd was started: from now on this is its channel. Returns its events and its number.
    ///
    /// # Errors
    /// When the descriptor is no channel.
    pub(crate) fn net_started(
        &self,
        fd: OwnedFd,
    ) -> Result<(u64, Events<gateway_net::Event>), IpcError> {
        self.starts[0].fetch_add(1, Ordering::Relaxed);
        put(&self.net, &self.numbers, fd)
    }

    /// The channel with this number ended.
    pub(crate) fn net_ended(&self, number: u64) {
        clear(&self.net, number);
    }

    /// As [`Self::net_started`], for the plugin host.
    ///
    /// # Errors
    /// When the descriptor is no channel.
    pub(crate) fn plugin_started(
        &self,
        fd: OwnedFd,
    ) -> Result<(u64, Events<gateway_plugin::Event>), IpcError> {
        self.starts[1].fetch_add(1, Ordering::Relaxed);
        put(&self.plugin, &self.numbers, fd)
    }

    /// As [`Self::net_ended`].
    pub(crate) fn plugin_ended(&self, number: u64) {
        clear(&self.plugin, number);
    }

    /// Whether netd and the plugin host can be asked now.
    pub(crate) fn present(&self) -> (bool, bool) {
        (self.net.borrow().is_some(), self.plugin.borrow().is_some())
    }

    /// How often netd and the plugin host came since this process began.
    pub(crate) fn starts(&self) -> (u64, u64) {
        let [net, plugin] = &self.starts;
        (net.load(Ordering::Relaxed), plugin.load(Ordering::Relaxed))
    }

    async fn privd(
        &self,
        ask: gateway_priv::Ask,
        fds: Vec<OwnedFd>,
        within: Duration,
    ) -> Result<(gateway_priv::Answer, Vec<OwnedFd>), AskError> {
        self.privd
            .call(ask, fds, within)
            .await
            .map_err(|error| AskError::from_call("privd", error))
    }

    async fn privd_done(&self, ask: gateway_priv::Ask, within: Duration) -> Result<(), AskError> {
        match self.privd(ask, Vec::new(), within).await?.0 {
            gateway_priv::Answer::Done => Ok(()),
            _ => Err(AskError::Answer("privd")),
        }
    }

    /// See [`gateway_priv::Ask::LeaseOpen`]. Answers what the sandbox gets.
    ///
    /// # Errors
    /// [`AskError`], as for every question here.
    pub(crate) async fn lease_open(
        &self,
        backend: warder_wire::BackendName,
        template: TemplateName,
        of: &SandboxRecord,
        ttl_ms: u64,
    ) -> Result<Limits, AskError> {
        let mounts = of.volumes.iter().map(|mounted| VolumeMount {
            volume: mounted.volume.clone(),
            at: mounted.at.clone(),
        });
        let ask = gateway_priv::Ask::LeaseOpen {
            sandbox: of.id.clone(),
            backend,
            template,
            limits: of.limits,
            ttl_ms,
            at_deadline: of.at_deadline,
            volumes: mounts.collect(),
        };
        match self.privd(ask, Vec::new(), ASK_TIMEOUT).await?.0 {
            gateway_priv::Answer::Leased { limits } => Ok(limits),
            _ => Err(AskError::Answer("privd")),
        }
    }

    /// See [`gateway_priv::Ask::LeaseSet`].
    pub(crate) async fn lease_set(&self, sandbox: SandboxId, ttl_ms: u64) -> Result<(), AskError> {
        self.lease_turn(sandbox, ttl_ms, None).await
    }

    /// The same, and perhaps what happens at the deadline.
    pub(crate) async fn lease_turn(
        &self,
        sandbox: SandboxId,
        ttl_ms: u64,
        at_deadline: Option<AtDeadline>,
    ) -> Result<(), AskError> {
        let ask = gateway_priv::Ask::LeaseSet {
            sandbox,
            ttl_ms,
            at_deadline,
        };
        self.privd_done(ask, ASK_TIMEOUT).await
    }

    /// See [`gateway_priv::Ask::LeaseEnd`].
    pub(crate) async fn lease_end(
        &self,
        sandbox: SandboxId,
        within: Duration,
    ) -> Result<(), AskError> {
        self.privd_done(gateway_priv::Ask::LeaseEnd { sandbox }, within)
            .await
    }

    /// Every lease privd holds.
    pub(crate) async fn leases(&self) -> Result<Vec<Lease>, AskError> {
        let mut all: Vec<Lease> = Vec::new();
        loop {
            let after = all.last().map(|lease| lease.sandbox.clone());
            let ask = gateway_priv::Ask::LeaseList { after };
            match self.privd(ask, Vec::new(), ASK_TIMEOUT).await?.0 {
                gateway_priv::Answer::Leases(page) => {
                    let last = page.len() < gateway_priv::LEASES_A_PAGE;
                    all.extend(page);
                    if last {
                        return Ok(all);
                    }
                }
                _ => return Err(AskError::Answer("privd")),
            }
        }
    }

    /// The lease of one sandbox; `None` when privd holds none.
    pub(crate) async fn lease(&self, sandbox: &SandboxId) -> Result<Option<Lease>, AskError> {
        let ask = gateway_priv::Ask::LeaseList {
            after: just_before(sandbox),
        };
        match self.privd(ask, Vec::new(), ASK_TIMEOUT).await?.0 {
            gateway_priv::Answer::Leases(page) => {
                Ok(page.into_iter().find(|lease| lease.sandbox == *sandbox))
            }
            _ => Err(AskError::Answer("privd")),
        }
    }

    /// See [`gateway_priv::Ask::LinkOpen`].
    pub(crate) async fn link_open(&self, sandbox: SandboxId) -> Result<OwnedFd, AskError> {
        let ask = gateway_priv::Ask::LinkOpen { sandbox };
        match self.privd(ask, Vec::new(), LINK_TIMEOUT).await? {
            (gateway_priv::Answer::Link, fds) => {
                let [fd]: [OwnedFd; 1] = fds.try_into().map_err(|_| AskError::Answer("privd"))?;
                Ok(fd)
            }
            _ => Err(AskError::Answer("privd")),
        }
    }

    /// Every template, in order of name.
    pub(crate) async fn templates(&self) -> Result<Vec<Template>, AskError> {
        let mut all: Vec<Template> = Vec::new();
        loop {
            let after = all.last().map(|template| template.name.clone());
            let ask = gateway_priv::Ask::TemplateList { after };
            match self.privd(ask, Vec::new(), ASK_TIMEOUT).await?.0 {
                gateway_priv::Answer::Templates(page) => {
                    let last = page.len() < gateway_priv::TEMPLATES_A_PAGE;
                    all.extend(page);
                    if last {
                        return Ok(all);
                    }
                }
                _ => return Err(AskError::Answer("privd")),
            }
        }
    }

    /// See [`gateway_priv::Ask::TemplateImport`]; `tar` is the reading end of a pipe.
    pub(crate) async fn template_import(
        &self,
        template: TemplateName,
        tar: OwnedFd,
    ) -> Result<(), AskError> {
        let ask = gateway_priv::Ask::TemplateImport { template };
        match self.privd(ask, vec![tar], IMPORT_TIMEOUT).await?.0 {
            gateway_priv::Answer::Done => Ok(()),
            _ => Err(AskError::Answer("privd")),
        }
    }

    /// See [`gateway_priv::Ask::TemplateRemove`].
    pub(crate) async fn template_remove(&self, template: TemplateName) -> Result<(), AskError> {
        self.privd_done(gateway_priv::Ask::TemplateRemove { template }, ASK_TIMEOUT)
            .await
    }

    /// See [`gateway_priv::Ask::SnapshotAllow`].
    pub(crate) async fn snapshot_allow(
        &self,
        sandbox: SandboxId,
        template: TemplateName,
        passing: bool,
    ) -> Result<(), AskError> {
        let ask = gateway_priv::Ask::SnapshotAllow {
            sandbox,
            template,
            passing,
        };
        self.privd_done(ask, ASK_TIMEOUT).await
    }

    /// See [`gateway_priv::Ask::VolumeCreate`].
    pub(crate) async fn volume_create(&self, volume: VolumeId) -> Result<(), AskError> {
        self.privd_done(gateway_priv::Ask::VolumeCreate { volume }, ASK_TIMEOUT)
            .await
    }

    /// See [`gateway_priv::Ask::VolumeRemove`]. All that is in it goes, which may take long.
    pub(crate) async fn volume_remove(&self, volume: VolumeId) -> Result<(), AskError> {
        self.privd_done(gateway_priv::Ask::VolumeRemove { volume }, REMOVE_TIMEOUT)
            .await
    }

    /// Every volume, in order of id.
    pub(crate) async fn volumes(&self) -> Result<Vec<VolumeId>, AskError> {
        let mut all: Vec<VolumeId> = Vec::new();
        loop {
            let after = all.last().cloned();
            let ask = gateway_priv::Ask::VolumeList { after };
            match self.privd(ask, Vec::new(), ASK_TIMEOUT).await?.0 {
                gateway_priv::Answer::Volumes(page) => {
                    let last = page.len() < gateway_priv::VOLUMES_A_PAGE;
                    all.extend(page);
                    if last {
                        return Ok(all);
                    }
                }
                _ => return Err(AskError::Answer("privd")),
            }
        }
    }

    /// See [`gateway_priv::Ask::HostReport`].
    pub(crate) async fn host_report(&self) -> Result<HostReport, AskError> {
        match self
            .privd(gateway_priv::Ask::HostReport, Vec::new(), ASK_TIMEOUT)
            .await?
            .0
        {
            gateway_priv::Answer::Host(report) => Ok(*report),
            _ => Err(AskError::Answer("privd")),
        }
    }

    /// See [`gateway_priv::Ask::Reload`]. The round of certificates, why the log file is the old one, and why what
    /// templates may use of the network is.
    pub(crate) async fn reload(&self) -> Result<(u32, [Option<warder_wire::Fault>; 2]), AskError> {
        match self
            .privd(gateway_priv::Ask::Reload, Vec::new(), ASK_TIMEOUT)
            .await?
            .0
        {
            gateway_priv::Answer::Reloaded {
                round,
                log,
                networks,
            } => Ok((round, [log, networks])),
            _ => Err(AskError::Answer("privd")),
        }
    }

    /// See [`gateway_priv::Ask::Usage`].
    pub(crate) async fn usage(&self, sandbox: SandboxId) -> Result<Usage, AskError> {
        match self
            .privd(
                gateway_priv::Ask::Usage { sandbox },
                Vec::new(),
                ASK_TIMEOUT,
            )
            .await?
            .0
        {
            gateway_priv::Answer::Usage(usage) => Ok(usage),
            _ => Err(AskError::Answer("privd")),
        }
    }

    /// See [`gateway_net::Ask::PolicySet`]. Whether nothing leaves.
    pub(crate) async fn policy_set(
        &self,
        sandbox: SandboxId,
        generation: u64,
        policy: warder_wire::Policy,
        within: Duration,
    ) -> Result<bool, AskError> {
        let ask = gateway_net::Ask::PolicySet {
            sandbox,
            generation,
            policy,
        };
        match on_current("netd", &self.net, ask, within).await? {
            gateway_net::Answer::InForce {
                generation: now,
                airgap,
            } if now == generation => Ok(airgap),
            gateway_net::Answer::Kept {
                generation: now,
                fault,
            } if now == generation => Err(AskError::Kept(fault)),
            _ => Err(AskError::Answer("netd")),
        }
    }

    /// See [`gateway_net::Ask::PolicyGet`].
    pub(crate) async fn policy_get(&self, sandbox: SandboxId) -> Result<Held, AskError> {
        let ask = gateway_net::Ask::PolicyGet { sandbox };
        match on_current("netd", &self.net, ask, ASK_TIMEOUT).await? {
            gateway_net::Answer::Policy {
                generation,
                policy,
                airgap,
                sealed,
            } => Ok(Held {
                generation,
                policy,
                airgap,
                sealed,
            }),
            gateway_net::Answer::InForce { .. } | gateway_net::Answer::Kept { .. } => {
                Err(AskError::Answer("netd"))
            }
        }
    }

    /// Asks the backend; `ask` is idempotent.
    pub(crate) async fn plugin(
        &self,
        ask: gateway_plugin::Ask,
        within: Duration,
    ) -> Result<gateway_plugin::Answer, AskError> {
        on_current("the plugin host", &self.plugin, ask, within).await
    }
}

/// The id before this one, so that a page that follows it begins with this one; `None` for the first there is.
fn just_before(id: &SandboxId) -> Option<SandboxId> {
    let mut text = id.as_str().as_bytes().to_vec();
    for byte in text.iter_mut().skip(1).rev() {
        match *byte {
            b'0' => *byte = b'z',
            b'a' => {
                *byte = b'9';
                break;
            }
            _ => {
                *byte -= 1;
                break;
            }
        }
    }
    let before = SandboxId::new(std::str::from_utf8(&text).ok()?).ok()?;
    (before < *id).then_some(before)
}

fn put<A, R, E>(
    slot: &Slot<A, R>,
    numbers: &AtomicU64,
    fd: OwnedFd,
) -> Result<(u64, Events<E>), IpcError>
where
    A: Serialize,
    R: DeserializeOwned + Send + 'static,
    E: DeserializeOwned + Send + 'static,
{
    let (caller, events) = Caller::new(Channel::from_fd(fd)?)?;
    let number = numbers.fetch_add(1, Ordering::Relaxed);
    slot.send_replace(Some((number, caller)));
    Ok((number, events))
}

fn clear<A, R>(slot: &Slot<A, R>, number: u64) {
    slot.send_if_modified(|current| {
        let ours = current.as_ref().is_some_and(|(n, _)| *n == number);
        if ours {
            *current = None;
        }
        ours
    });
}

/// Asks on the channel there is, or the next one to come; once more if it dies meanwhile.
async fn on_current<A, R>(
    who: &'static str,
    slot: &Slot<A, R>,
    ask: A,
    within: Duration,
) -> Result<R, AskError>
where
    A: Serialize + Clone,
    R: DeserializeOwned + Send + 'static,
{
    let deadline = Instant::now() + within;
    let mut current = slot.subscribe();
    let mut tried = 0;
    loop {
        let other = |c: &Option<(u64, Caller<A, R>)>| {
            c.as_ref().is_some_and(|(number, _)| *number != tried)
        };
        let found = match tokio::time::timeout_at(deadline, current.wait_for(other)).await {
            Ok(Ok(found)) => found.clone(),
            _ => None,
        };
        let Some((number, caller)) = found else {
            return Err(AskError::Unavailable(who));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        match caller.call(ask.clone(), Vec::new(), left).await {
            Ok((answer, fds)) => {
                warder_ipc::discard(fds);
                return Ok(answer);
            }
            Err(CallError::Closed | CallError::Ipc(_)) if tried == 0 => tried = number,
            Err(error) => return Err(AskError::from_call(who, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_after_the_id_before_begins_with_the_id() {
        for (id, before) in [
            ("iaaaaaaaaaaaaaaaaaaab", Some("iaaaaaaaaaaaaaaaaaaaa")),
            ("iaaaaaaaaaaaaaaaaaaaa", Some("iaaaaaaaaaaaaaaaaaaa9")),
            ("iaaaaaaaaaaaaaaaaaab0", Some("iaaaaaaaaaaaaaaaaaaaz")),
            ("i00000000000000000000", None),
        ] {
            let id = SandboxId::new(id).expect("id");
            let found = just_before(&id);
            assert_eq!(found.as_ref().map(SandboxId::as_str), before);
        }
    }
}
