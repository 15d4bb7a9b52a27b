//! Forks: sandboxes made of another one's disk as it is. A snapshot that nobody else sees carries it over.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use warder_wire::FaultCode;

use super::create::{NewSandbox, make};
use super::snapshot::{clear_away, take};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::limits;
use crate::registry::record::{EventKind, SandboxRecord};
use crate::sandbox::Sandbox;

/// One fork: the sandbox, or why there is none.
pub(crate) type Forked = Result<Arc<Sandbox>, ApiError>;

/// Makes `count` sandboxes that begin with the disk of this one, each for `seconds`. The source runs on, with
/// its id and end. It goes on to its end also when the caller stops waiting; the forks are ended again then.
///
/// # Errors
/// As for a snapshot. What goes wrong with one fork is said in its place.
pub(crate) async fn fork(
    gateway: &Arc<Gateway>,
    source: &Arc<Sandbox>,
    (count, seconds): (u64, u64),
    caller: &Caller,
) -> Result<Vec<Forked>, ApiError> {
    let (gateway, source, caller) = (Arc::clone(gateway), Arc::clone(source), caller.clone());
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        let result = split(&gateway, &source, (count, seconds), &caller).await;
        if let Err(Ok(forks)) = sender.send(result) {
            for sandbox in forks.into_iter().flatten() {
                let _ = super::kill(&gateway, &sandbox.id, &caller).await;
            }
        }
    });
    receiver
        .await
        .map_err(|_| ApiError::internal("the fork was lost"))?
}

async fn split(
    gateway: &Arc<Gateway>,
    source: &Arc<Sandbox>,
    (count, seconds): (u64, u64),
    caller: &Caller,
) -> Result<Vec<Forked>, ApiError> {
    let carrier = take(gateway, source, None, caller, true).await?;
    let record = source.record();
    // As for a snapshot that stays; what carries the forks over has no name for anybody.
    let data = json!({ "forks": count, "memory": false });
    gateway.events.write(EventKind::Checkpointed, &record, data);
    let room = Arc::new(Semaphore::new(limits::FORKS_AT_ONCE));
    let mut making = JoinSet::new();
    for _ in 0..count {
        let new = like(&record, carrier.template.clone(), seconds);
        let (gateway, caller, room) = (Arc::clone(gateway), caller.clone(), Arc::clone(&room));
        making.spawn(async move {
            // Neither is ever closed.
            let _turn = room.acquire().await;
            let _permit = gateway.creates.acquire().await;
            make(&gateway, &caller, new).await
        });
    }
    let mut forks = Vec::new();
    while let Some(made) = making.join_next().await {
        forks.push(made.unwrap_or_else(|_| Err(ApiError::internal("the fork was lost"))));
    }
    match gateway
        .peers
        .template_remove(carrier.template.clone())
        .await
    {
        Ok(()) => gateway.registry.snapshots.remove(&carrier.template),
        Err(error) if error.fault() == Some(FaultCode::NotFound) => {
            gateway.registry.snapshots.remove(&carrier.template);
        }
        Err(error) => {
            eprintln!(
                "gatewayd: {}: carrier of a fork not removed: {error}",
                source.id
            );
            clear_away(gateway, carrier);
        }
    }
    Ok(forks)
}

/// All that the source was made with, and nothing of what opens it.
fn like(record: &SandboxRecord, from: warder_wire::TemplateName, seconds: u64) -> NewSandbox {
    NewSandbox {
        from,
        template: record.template.clone(),
        alias: record.alias.clone(),
        timeout: seconds,
        at_deadline: record.at_deadline,
        auto_resume: record.auto_resume,
        metadata: record.metadata.clone(),
        variables: record.variables.clone(),
        network: record.network.clone(),
        airgap: record.standing.closed(),
        mcp: record.mcp.clone(),
        volumes: record.volumes.clone(),
        fork_of: Some(record.id.clone()),
    }
}
