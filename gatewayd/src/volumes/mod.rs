//! Volumes: directories that outlive sandboxes and may be in many of them.
//!
//! privd has the directories and knows them by id; names, tokens and who made them are kept here. Each step
//! is written down before privd is asked, so after a restart it is known which volume was never handed out and
//! which was being removed. What else privd has, and what is missing there, is reported and left alone.
//! Every key of an instance belongs to the one team there is: names are taken for all of them.

pub(crate) mod content;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use warder_wire::gateway_priv::MOST_VOLUMES;
use warder_wire::{FaultCode, GuestPath, VolumeId};

use crate::auth::Caller;
use crate::auth::key::hex;
use crate::clock::Micros;
use crate::error::{ApiError, AskError};
use crate::gateway::Gateway;
use crate::limits;
use crate::random;
use crate::registry::record::{Change, Mounted, VolumeRecord, VolumeState};

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    known: Mutex<BTreeMap<VolumeId, VolumeRecord>>,
    contents: content::Contents,
}

impl Volumes {
    /// With what was on disk.
    pub(crate) fn new(records: Vec<VolumeRecord>) -> Self {
        let known = records
            .into_iter()
            .map(|record| (record.id.clone(), record));
        Self {
            known: Mutex::new(known.collect()),
            contents: content::Contents::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<VolumeId, VolumeRecord>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every record, whatever is being done to it.
    pub(crate) fn all(&self) -> Vec<VolumeRecord> {
        self.lock().values().cloned().collect()
    }

    /// Those that are there, oldest first.
    pub(crate) fn list(&self) -> Vec<VolumeRecord> {
        let ready = |record: &&VolumeRecord| record.state == VolumeState::Ready;
        let mut all: Vec<_> = self.lock().values().filter(ready).cloned().collect();
        all.sort_by_key(|record| (record.created, record.id.clone()));
        all
    }

    /// One that is there.
    pub(crate) fn get(&self, id: &VolumeId) -> Option<VolumeRecord> {
        let ready = |record: &&VolumeRecord| record.state == VolumeState::Ready;
        self.lock().get(id).filter(ready).cloned()
    }

    /// Enters a new one, unless its name is taken or there are too many.
    fn enter(&self, record: VolumeRecord) -> Result<(), ApiError> {
        let mut known = self.lock();
        if known.values().any(|other| other.name == record.name) {
            let text = format!("there is a volume named '{}' already", record.name);
            return Err(ApiError::new(StatusCode::CONFLICT, text));
        }
        if known.len() >= limits::VOLUMES {
            let text = format!("there may be {} volumes at most", limits::VOLUMES);
            return Err(ApiError::new(StatusCode::FORBIDDEN, text));
        }
        known.insert(record.id.clone(), record);
        Ok(())
    }

    /// Marks one as being removed. What it was before.
    fn begin_removal(&self, id: &VolumeId) -> Result<VolumeRecord, ApiError> {
        let mut known = self.lock();
        match known.get_mut(id) {
            Some(record) if record.state == VolumeState::Ready => {
                let before = record.clone();
                record.state = VolumeState::Removing;
                Ok(before)
            }
            Some(record) if record.state == VolumeState::Removing => {
                let text = format!("volume '{}' is being removed", record.name);
                Err(ApiError::new(StatusCode::CONFLICT, text))
            }
            _ => Err(no_volume(id.as_str())),
        }
    }

    fn set(&self, record: VolumeRecord) {
        self.lock().insert(record.id.clone(), record);
    }

    fn forget(&self, id: &VolumeId) {
        self.lock().remove(id);
    }
}

/// 404 for a volume nobody knows.
pub(crate) fn no_volume(asked: &str) -> ApiError {
    let asked: String = asked
        .chars()
        .filter(char::is_ascii_graphic)
        .take(160)
        .collect();
    ApiError::new(StatusCode::NOT_FOUND, format!("volume '{asked}' not found"))
}

fn not_written(error: &std::io::Error) -> ApiError {
    let text = format!("the volume could not be written down: {error}");
    ApiError::new(StatusCode::INSUFFICIENT_STORAGE, text).retry(false)
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() || name.len() > limits::VOLUME_NAME || !name.bytes().all(plain) {
        return Err(ApiError::bad(format!(
            "a volume's name has 1 to {} of a-z, A-Z, 0-9, '_' and '-'",
            limits::VOLUME_NAME
        )));
    }
    Ok(())
}

/// Makes a volume. It goes on also when the caller stops waiting.
///
/// # Errors
/// 400, 409, or what privd says; no trace is left then.
pub(crate) async fn create(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    name: &str,
) -> Result<VolumeRecord, ApiError> {
    check_name(name)?;
    let record = VolumeRecord {
        id: VolumeId::from_random(&random::bytes()?),
        name: name.to_owned(),
        owner: caller.key_id(),
        token: hex(&random::bytes::<32>()?),
        created: Micros::now().into(),
        state: VolumeState::Making,
    };
    gateway.volumes.enter(record.clone())?;
    let (gateway, who) = (Arc::clone(gateway), caller.name().to_owned());
    let making = tokio::spawn(async move {
        let made = make(&gateway, record.clone()).await;
        match made {
            Ok(record) => {
                let (id, name) = (record.id.as_str(), record.name.as_str());
                gateway.registry.audit(&who, "volume.create", id, name);
                Ok(record)
            }
            Err((error, true)) => {
                gone(&gateway, &record.id);
                Err(error)
            }
            // As written down, "making", the next start asks privd and takes it back.
            Err((error, false)) => {
                gateway.volumes.forget(&record.id);
                Err(error)
            }
        }
    });
    making
        .await
        .map_err(|_| ApiError::internal("the volume's making was lost"))?
}

/// With an error comes whether it is certain that there is none.
async fn make(
    gateway: &Gateway,
    mut record: VolumeRecord,
) -> Result<VolumeRecord, (ApiError, bool)> {
    let registry = &gateway.registry;
    let written = registry.keep(Change::Volume(record.clone())).await;
    written.map_err(|error| (not_written(&error), true))?;
    match gateway.peers.volume_create(record.id.clone()).await {
        Ok(()) => {}
        // privd said no: there is none. Any other end leaves that open.
        Err(error @ AskError::Fault(_)) => return Err((error.into(), true)),
        Err(error) => return Err((error.into(), taken_back(gateway, &record.id).await)),
    }
    record.state = VolumeState::Ready;
    if let Err(error) = registry.keep(Change::Volume(record.clone())).await {
        return Err((not_written(&error), taken_back(gateway, &record.id).await));
    }
    gateway.volumes.set(record.clone());
    Ok(record)
}

/// Removes what may have been made; whether privd says that it is gone.
async fn taken_back(gateway: &Gateway, id: &VolumeId) -> bool {
    match gateway.peers.volume_remove(id.clone()).await {
        Ok(()) => true,
        Err(error) => error.fault() == Some(FaultCode::NotFound),
    }
}

/// Forgets a volume that is not there (any more). If that cannot be written down, the next start does it.
fn gone(gateway: &Gateway, id: &VolumeId) {
    if let Err(error) = gateway.registry.write(Change::VolumeGone(id.clone())) {
        eprintln!("gatewayd: {id}: end not written down: {error}");
    }
    gateway.volumes.forget(id);
}

/// Removes a volume and all that is in it. It goes on also when the caller stops waiting.
///
/// # Errors
/// 404, 409 while a sandbox has it, or what privd says; it is there as before then.
pub(crate) async fn remove(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    id: &VolumeId,
) -> Result<(), ApiError> {
    let before = gateway.volumes.begin_removal(id)?;
    let (gateway, who) = (Arc::clone(gateway), caller.name().to_owned());
    let removing = tokio::spawn(async move {
        let removed = take_away(&gateway, &before).await;
        match &removed {
            Ok(()) => {
                gone(&gateway, &before.id);
                let (id, name) = (before.id.as_str(), before.name.as_str());
                gateway.registry.audit(&who, "volume.remove", id, name);
            }
            Err(_) => still_there(&gateway, before),
        }
        removed
    });
    removing
        .await
        .map_err(|_| ApiError::internal("the volume's removal was lost"))?
}

fn still_there(gateway: &Gateway, mut record: VolumeRecord) {
    record.state = VolumeState::Ready;
    // As written before, "removing", the next start asks privd once more, which refuses or does it.
    if let Err(error) = gateway.registry.write(Change::Volume(record.clone())) {
        eprintln!("gatewayd: {}: not written down: {error}", record.id);
    }
    gateway.volumes.set(record);
}

async fn take_away(gateway: &Gateway, before: &VolumeRecord) -> Result<(), ApiError> {
    let in_use = |who: &str| {
        let text = format!("volume '{}' is mounted by {who}; end it first", before.name);
        ApiError::new(StatusCode::CONFLICT, text)
    };
    let all = gateway.registry.all();
    let has = |mounted: &Mounted| mounted.volume == before.id;
    if let Some(user) = all.iter().find(|s| s.now().record.volumes.iter().any(has)) {
        return Err(in_use(&format!("sandbox {}", user.id)));
    }
    let removing = VolumeRecord {
        state: VolumeState::Removing,
        ..before.clone()
    };
    let written = gateway.registry.keep(Change::Volume(removing)).await;
    written.map_err(|error| not_written(&error))?;
    content::end(gateway, &before.id).await;
    match gateway.peers.volume_remove(before.id.clone()).await {
        Err(error) if error.fault() == Some(FaultCode::Conflict) => Err(in_use("a sandbox")),
        Err(error) if error.fault() != Some(FaultCode::NotFound) => Err(error.into()),
        _ => Ok(()),
    }
}

/// What was asked for, by name, as it can be mounted.
///
/// # Errors
/// 400 for what cannot be, `unknown` for a name no volume has.
pub(crate) fn mounts(
    volumes: &Volumes,
    asked: &[(String, String)],
    unknown: StatusCode,
) -> Result<Vec<Mounted>, ApiError> {
    if asked.len() > MOST_VOLUMES {
        let text = format!("volumeMounts may have {MOST_VOLUMES} entries");
        return Err(ApiError::bad(text));
    }
    let all = volumes.list();
    let mut mounts: Vec<Mounted> = Vec::new();
    for (name, path) in asked {
        let at = GuestPath::new(path.trim_end_matches('/')).map_err(|_| {
            ApiError::bad(format!(
                "volumeMounts: '{}' cannot be mounted at; a path is absolute, has at most 255 bytes and 16 names, none of \
                 them '.' or '..', and lies outside of /dev, /proc, /run and /sys",
                path.chars().take(80).collect::<String>().escape_debug()
            ))
        })?;
        if let Some(other) = mounts.iter().find(|other| overlap(&other.at, &at)) {
            return Err(ApiError::bad(format!(
                "volumeMounts: '{at}' and '{}' are one place or one below the other",
                other.at
            )));
        }
        let Some(found) = all.iter().find(|record| record.name == *name) else {
            let mut error = no_volume(name);
            error.status = unknown;
            return Err(error.retry(false));
        };
        mounts.push(Mounted {
            name: found.name.clone(),
            volume: found.id.clone(),
            at,
        });
    }
    Ok(mounts)
}

fn overlap(a: &GuestPath, b: &GuestPath) -> bool {
    let below = |outer: &str, inner: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(a.as_str(), b.as_str()) || below(b.as_str(), a.as_str())
}

/// At start: finishes what the last process was at, and says what does not fit. `known` is what it left.
pub(crate) async fn reconcile(gateway: &Gateway, known: Vec<VolumeRecord>) {
    let held = match gateway.peers.volumes().await {
        Ok(held) => held,
        Err(error) if error.fault() == Some(FaultCode::Unsupported) && known.is_empty() => return,
        Err(error) => {
            eprintln!("gatewayd: volumes not reconciled: {error}");
            return;
        }
    };
    let registry = &gateway.registry;
    // Made meanwhile or removed meanwhile is neither unknown nor missing.
    let unknown = |id: &&VolumeId| !gateway.volumes.lock().contains_key(*id);
    for id in held.iter().filter(unknown) {
        if known.iter().any(|record| record.id == *id) {
            continue;
        }
        eprintln!("gatewayd: {id}: a volume nobody knows of is kept");
        registry.audit("gatewayd", "volume.unknown", id.as_str(), "it is kept");
    }
    for record in known {
        match (record.state, held.contains(&record.id)) {
            (VolumeState::Ready, true) => {}
            (VolumeState::Ready, false) if gateway.volumes.get(&record.id).is_none() => {}
            (VolumeState::Ready, false) => {
                eprintln!("gatewayd: {}: a volume's content is missing", record.id);
                let (id, name) = (record.id.as_str(), record.name.as_str());
                registry.audit("gatewayd", "volume.missing", id, name);
            }
            (_, false) => gone(gateway, &record.id),
            (_, true) => match gateway.peers.volume_remove(record.id.clone()).await {
                Ok(()) => gone(gateway, &record.id),
                Err(error) if error.fault() == Some(FaultCode::NotFound) => {
                    gone(gateway, &record.id);
                }
                Err(error) if error.fault() == Some(FaultCode::Conflict) => {
                    still_there(gateway, record);
                }
                Err(error) => eprintln!("gatewayd: {}: volume not removed: {error}", record.id),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8, name: &str, state: VolumeState) -> VolumeRecord {
        VolumeRecord {
            id: VolumeId::from_random(&[n; 20]),
            name: name.into(),
            owner: None,
            token: String::new(),
            created: Micros(u64::from(n)).into(),
            state,
        }
    }

    fn asked(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(name, path): &(&str, &str)| ((*name).to_owned(), (*path).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn names_are_taken_once_and_seen_when_ready() {
        let volumes = Volumes::new(vec![
            record(2, "b", VolumeState::Ready),
            record(1, "a", VolumeState::Ready),
            record(3, "c", VolumeState::Making),
        ]);
        let names: Vec<_> = volumes.list().into_iter().map(|r| r.name).collect();
        assert_eq!(names, ["a", "b"]);
        for taken in ["a", "c"] {
            let error = volumes.enter(record(4, taken, VolumeState::Making));
            assert_eq!(error.expect_err("taken").status, 409);
        }
        let id = VolumeId::from_random(&[1; 20]);
        volumes.begin_removal(&id).expect("ready");
        assert_eq!(volumes.begin_removal(&id).expect_err("twice").status, 409);
        assert!(volumes.get(&id).is_none());
        assert_eq!(
            volumes
                .begin_removal(&VolumeId::from_random(&[3; 20]))
                .expect_err("making")
                .status,
            404
        );
        for bad in ["", "a b", "a/b", "é", &"x".repeat(limits::VOLUME_NAME + 1)] {
            assert_eq!(check_name(bad).expect_err(bad).status, 400);
        }
        check_name("Data_1-x").expect("plain");
    }

    #[test]
    fn mounts_are_named_volumes_at_places_of_their_own() {
        let volumes = Volumes::new(vec![
            record(1, "a", VolumeState::Ready),
            record(2, "b", VolumeState::Ready),
        ]);
        let of = |pairs: &[(&str, &str)]| mounts(&volumes, &asked(pairs), StatusCode::NOT_FOUND);
        let found = of(&[("a", "/data/"), ("b", "/data2"), ("a", "/other/place")]).expect("fine");
        assert_eq!(found[0].at.as_str(), "/data");
        assert_eq!(found[1].volume, VolumeId::from_random(&[2; 20]));
        for bad in [
            &[("a", "data")][..],
            &[("a", "/")],
            &[("a", "/x/../y")],
            &[("a", "/proc/x")],
            &[("a", "/x"), ("b", "/x")],
            &[("a", "/x/y"), ("b", "/x")],
            &[("a", "/x"), ("a", "/x/y")],
        ] {
            assert_eq!(of(bad).expect_err("refused").status, 400, "{bad:?}");
        }
        assert_eq!(of(&[("c", "/x")]).expect_err("unknown").status, 404);
        let many: Vec<(String, String)> = (0..=MOST_VOLUMES)
            .map(|n| ("a".to_owned(), format!("/{n}")))
            .collect();
        let error = mounts(&volumes, &many, StatusCode::NOT_FOUND);
        assert_eq!(error.expect_err("too many").status, 400);
    }
}
