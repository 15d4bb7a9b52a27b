//! Snapshots: a sandbox's disk as a template, by an id of its own and perhaps a name.
//!
//! Each is written down before privd is asked to make it and after it is removed, so that none is left
//! behind by a gateway that dies in between.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;
use warder_wire::{FaultCode, OpId, SandboxId, TemplateName, gateway_plugin};

use super::{alone, settled, to_its_end};
use crate::auth::Caller;
use crate::clock::Micros;
use crate::error::{ApiError, AskError};
use crate::gateway::Gateway;
use crate::limits;
use crate::random;
use crate::registry::record::{EventKind, SnapshotRecord};
use crate::sandbox::{Phase, Sandbox};
use crate::warm;

/// Takes a snapshot. The sandbox runs on, stopped only while its disk is copied. When this returns, the
/// snapshot would survive the loss of power.
///
/// # Errors
/// 404 when the sandbox has ended, 409 when it is paused or being ended, or what the backend says; no trace
/// of the snapshot is left then.
pub(crate) async fn snapshot(
    gateway: &Arc<Gateway>,
    sandbox: &Arc<Sandbox>,
    name: Option<(String, String)>,
    caller: &Caller,
) -> Result<SnapshotRecord, ApiError> {
    let (gateway, sandbox, caller) = (Arc::clone(gateway), Arc::clone(sandbox), caller.clone());
    to_its_end(async move {
        let mut record = take(&gateway, &sandbox, name, &caller, false).await?;
        record.ready = true;
        let written = match gateway.registry.snapshots.put(record.clone()) {
            Ok(()) => gateway.registry.synced().await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            clear_away(&gateway, record);
            return Err(not_written(&error));
        }
        // Processes are not part of it, whatever was asked for.
        let data = json!({ "snapshot_id": record.template.as_str(), "memory": false });
        gateway
            .events
            .write(EventKind::Checkpointed, &sandbox.record(), data);
        gateway.registry.audit(
            caller.name(),
            "sandbox.snapshot",
            sandbox.id.as_str(),
            record.template.as_str(),
        );
        Ok(record)
    })
    .await
}

/// Takes one that is not ready yet: nobody sees it, and it is removed at the next start. A `passing` one waits for no disk,
/// and does not outlive this process.
///
/// # Errors
/// As [`snapshot`].
pub(super) async fn take(
    gateway: &Arc<Gateway>,
    sandbox: &Arc<Sandbox>,
    name: Option<(String, String)>,
    caller: &Caller,
    passing: bool,
) -> Result<SnapshotRecord, ApiError> {
    let _one = alone(sandbox).await;
    if settled(sandbox)? != Phase::Running {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("Sandbox \"{}\" is paused: resume it first", sandbox.id),
        ));
    }
    if gateway.registry.snapshots.len() >= limits::SNAPSHOTS {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("there may be {} snapshots at most", limits::SNAPSHOTS),
        ));
    }
    let record = SnapshotRecord {
        template: new_name()?,
        name,
        sandbox: sandbox.id.clone(),
        owner: caller.key_id(),
        created: Micros::now().into(),
        ready: false,
    };
    gateway
        .registry
        .snapshots
        .put(record.clone())
        .map_err(|error| not_written(&error))?;
    let ask = gateway_plugin::Ask::Snapshot {
        op: OpId(random::bytes()?),
        deadline_ms: u32::try_from(limits::STATE_TIMEOUT.as_millis()).unwrap_or(u32::MAX),
        sandbox: sandbox.id.clone(),
        template: record.template.clone(),
    };
    // What privd makes to last must be found again after a loss of power, if only to be removed.
    let (id, template) = (sandbox.id.clone(), record.template.clone());
    let made = async {
        gateway.peers.snapshot_allow(id, template, passing).await?;
        gateway.peers.plugin(ask, limits::STATE_TIMEOUT).await
    };
    let synced = async {
        match passing {
            true => Ok(()),
            false => gateway.registry.synced().await,
        }
    };
    let (answer, synced) = tokio::join!(made, synced);
    if let Err(error) = synced {
        clear_away(gateway, record);
        return Err(not_written(&error));
    }
    let error = match answer {
        Ok(gateway_plugin::Answer::Done) => return Ok(record),
        Ok(_) => AskError::Answer("the plugin host"),
        Err(error) => error,
    };
    let gone = error.fault() == Some(FaultCode::NotFound);
    clear_away(gateway, record);
    Err(if gone {
        ApiError::no_sandbox(sandbox.id.as_str())
    } else {
        error.into()
    })
}

fn not_written(error: &std::io::Error) -> ApiError {
    let text = format!("the snapshot could not be written down: {error}");
    ApiError::new(StatusCode::INSUFFICIENT_STORAGE, text).retry(false)
}

/// A name as sandboxes have, less the `i`.
fn new_name() -> Result<TemplateName, ApiError> {
    let id = SandboxId::from_random(&random::bytes()?);
    TemplateName::new(&id.as_str()[1..])
        .map_err(|_| ApiError::internal("a snapshot's name is none for privd"))
}

/// Removes a snapshot; sandboxes and snapshots made from it live on.
///
/// # Errors
/// What privd says. Nobody sees the snapshot any more then either, and removing it is tried again.
pub(crate) async fn remove(
    gateway: &Arc<Gateway>,
    mut record: SnapshotRecord,
    caller: &Caller,
) -> Result<(), ApiError> {
    record.ready = false;
    gateway
        .registry
        .snapshots
        .put(record.clone())
        .map_err(|error| not_written(&error))?;
    let template = record.template.clone();
    let who = caller.name();
    gateway
        .registry
        .audit(who, "snapshot.remove", template.as_str(), "");
    let removed = gateway.peers.template_remove(template.clone()).await;
    warm::changed(gateway, &template).await;
    match removed {
        Ok(()) => {}
        Err(error) if error.fault() == Some(FaultCode::NotFound) => {}
        Err(error) => {
            clear_away(gateway, record);
            return Err(error.into());
        }
    }
    gateway.registry.snapshots.remove(&template);
    Ok(())
}

/// Removes the template of a snapshot nobody may use, in the background and until it is gone. As one that is
/// not there yet may still be in the making, it is looked for until its making must be over.
pub(super) fn clear_away(gateway: &Arc<Gateway>, mut record: SnapshotRecord) {
    let gateway = Arc::clone(gateway);
    if record.ready {
        record.ready = false;
        if let Err(error) = gateway.registry.snapshots.put(record.clone()) {
            eprintln!("gatewayd: {}: not written down: {error}", record.template);
        }
    }
    tokio::spawn(async move {
        let template = record.template;
        let over = Instant::now() + limits::STATE_TIMEOUT;
        let mut pause = Duration::from_millis(100);
        loop {
            match gateway.peers.template_remove(template.clone()).await {
                Ok(()) => break,
                Err(error) if error.fault() == Some(FaultCode::NotFound) => {
                    if Instant::now() >= over {
                        break;
                    }
                }
                Err(error) => eprintln!("gatewayd: {template}: snapshot not removed: {error}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
        }
        gateway.registry.snapshots.remove(&template);
    });
}
