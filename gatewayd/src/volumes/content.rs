//! Who serves a volume's content: an agent in a sandbox with nothing but the volume, made when somebody asks,
//! shared by all who ask meanwhile, and ended when nobody has for a while. Neither this process nor privd ever
//! walks a path that a guest made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use warder_wire::{GuestPath, TemplateName, VolumeId};

use super::no_volume;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::lifecycle::hidden;
use crate::limits;
use crate::registry::record::Mounted;
use crate::sandbox::Sandbox;
use crate::warm;

/// Where the volume is in such a sandbox.
pub(crate) const ROOT: &str = "/volume";
/// The template, which has no content of its own.
const TEMPLATE: &str = "bare";

/// Those there are, by volume.
#[derive(Debug, Default)]
pub(crate) struct Contents(Mutex<HashMap<VolumeId, Arc<Slot>>>);

#[derive(Debug)]
struct Slot {
    /// Held while it is made or ended, so that there is one.
    sandbox: tokio::sync::Mutex<Option<Arc<Sandbox>>>,
    used: Mutex<Instant>,
}

impl Slot {
    fn used(&self) -> MutexGuard<'_, Instant> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no request is under way in it, nor about to begin.
    fn is_unused(&self, sandbox: &Sandbox) -> bool {
        is_idle(sandbox) && self.used().elapsed() >= limits::CONTENT_GRACE
    }
}

impl Contents {
    fn lock(&self) -> MutexGuard<'_, HashMap<VolumeId, Arc<Slot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, id: &VolumeId) -> Arc<Slot> {
        let new = || {
            Arc::new(Slot {
                sandbox: tokio::sync::Mutex::new(None),
                used: Mutex::new(Instant::now()),
            })
        };
        Arc::clone(self.lock().entry(id.clone()).or_insert_with(new))
    }

    /// Whether this is the volume's slot still.
    fn has(&self, id: &VolumeId, slot: &Arc<Slot>) -> bool {
        self.lock()
            .get(id)
            .is_some_and(|now| Arc::ptr_eq(now, slot))
    }

    /// One that nobody uses now: the one unused for longest.
    fn idlest(&self) -> Option<(VolumeId, Arc<Slot>)> {
        let all = self.lock();
        let unused = all.iter().filter_map(|(id, slot)| {
            let held = slot.sandbox.try_lock().ok()?;
            let idle = held.as_ref().is_some_and(|sandbox| slot.is_unused(sandbox));
            idle.then(|| (*slot.used(), id, slot))
        });
        let (_, id, slot) = unused.min_by_key(|(used, ..)| *used)?;
        Some((id.clone(), Arc::clone(slot)))
    }
}

/// Whether no request is under way in it.
fn is_idle(sandbox: &Sandbox) -> bool {
    sandbox.exchanges.available_permits() == limits::EXCHANGES_PER_SANDBOX
}

/// The sandbox that serves a volume, for a request that begins at once.
///
/// # Errors
/// 404 when the volume is gone, or why it could not be made.
pub(crate) async fn open(gateway: &Arc<Gateway>, id: &VolumeId) -> Result<Arc<Sandbox>, ApiError> {
    let (gateway, id) = (Arc::clone(gateway), id.clone());
    // On a task of its own: what is begun is finished also when the client goes away.
    let opening = tokio::spawn(async move {
        loop {
            let contents = &gateway.volumes.contents;
            let slot = contents.slot(&id);
            *slot.used() = Instant::now();
            let mut held = slot.sandbox.lock().await;
            // One that was taken out meanwhile is nobody's to find, and so nobody's to fill.
            if !contents.has(&id, &slot) {
                continue;
            }
            *slot.used() = Instant::now();
            if let Some(sandbox) = held.as_ref().filter(|s| !s.ended.is_cancelled()) {
                return Ok(Arc::clone(sandbox));
            }
            // Whoever removes the volume has said so before it waits for this lock.
            if gateway.volumes.get(&id).is_none() {
                contents.lock().remove(&id);
                return Err(no_volume(id.as_str()));
            }
            let sandbox = make(&gateway, &id).await?;
            *slot.used() = Instant::now();
            *held = Some(Arc::clone(&sandbox));
            let kept = (Arc::clone(&slot), Arc::clone(&sandbox));
            tokio::spawn(keep(Arc::clone(&gateway), id.clone(), kept.0, kept.1));
            return Ok(sandbox);
        }
    });
    opening
        .await
        .map_err(|_| ApiError::internal("the volume's sandbox was lost"))?
}

async fn make(gateway: &Gateway, id: &VolumeId) -> Result<Arc<Sandbox>, ApiError> {
    let wrong = |_| ApiError::internal("a name of our own is none");
    let mounted = Mounted {
        name: String::new(),
        volume: id.clone(),
        at: GuestPath::new(ROOT).map_err(wrong)?,
    };
    let template = TemplateName::new(TEMPLATE).map_err(wrong)?;
    let (limits, ttl) = (limits::CONTENT_SANDBOX, limits::HIDDEN_TTL);
    loop {
        let (template, mounts) = (template.clone(), vec![mounted.clone()]);
        match hidden::make(gateway, template, limits, mounts, ttl).await {
            Err(error)
                if error.error_code == Some("sandbox_capacity_unavailable")
                    && warm::give_up(gateway).await => {}
            other => return other,
        }
    }
}

/// Moves its lease's end for as long as somebody uses it.
async fn keep(gateway: Arc<Gateway>, id: VolumeId, slot: Arc<Slot>, sandbox: Arc<Sandbox>) {
    let mut renewed = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(limits::CONTENT_IDLE / 6) => {}
            () = sandbox.ended.cancelled() => break,
        }
        let unused = || is_idle(&sandbox) && slot.used().elapsed() >= limits::CONTENT_IDLE;
        if unused() {
            let held = slot.sandbox.lock().await;
            if unused() {
                close(&gateway, held, &sandbox).await;
                break;
            }
        }
        if renewed.elapsed() >= limits::HIDDEN_TTL / 3 {
            let ttl = u64::try_from(limits::HIDDEN_TTL.as_millis()).unwrap_or(u64::MAX);
            match gateway.peers.lease_set(sandbox.id.clone(), ttl).await {
                Ok(()) => renewed = Instant::now(),
                Err(error) => eprintln!("gatewayd: {}: lease not renewed: {error}", sandbox.id),
            }
        }
    }
    gateway.registry.leave(&sandbox.id);
    let mut all = gateway.volumes.contents.lock();
    let unused = |slot: &Arc<Slot>| {
        let held = slot.sandbox.try_lock();
        held.is_ok_and(|held| held.as_ref().is_none_or(|s| s.ended.is_cancelled()))
    };
    if all.get(&id).is_some_and(unused) {
        all.remove(&id);
    }
}

type Held<'a> = tokio::sync::MutexGuard<'a, Option<Arc<Sandbox>>>;

async fn close(gateway: &Gateway, mut held: Held<'_>, sandbox: &Sandbox) {
    *held = None;
    hidden::end(gateway, sandbox).await;
}

/// Ends one that nobody uses, so that there is room for another. False: there is none.
pub(crate) async fn give_up(gateway: &Gateway) -> bool {
    let Some((_, slot)) = gateway.volumes.contents.idlest() else {
        return false;
    };
    let held = slot.sandbox.lock().await;
    match held.clone().filter(|sandbox| slot.is_unused(sandbox)) {
        Some(sandbox) => {
            close(gateway, held, &sandbox).await;
            true
        }
        None => false,
    }
}

/// Ends the sandbox that serves a volume, if there is one; requests under way break off.
pub(crate) async fn end(gateway: &Gateway, id: &VolumeId) {
    let slot = gateway.volumes.contents.lock().get(id).cloned();
    if let Some(slot) = slot {
        let held = slot.sandbox.lock().await;
        if let Some(sandbox) = held.clone() {
            close(gateway, held, &sandbox).await;
        }
    }
}
