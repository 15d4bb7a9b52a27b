//! Sandboxes that no user sees: in no list, no count, no record and no event. For all others they are being
//! made, for as long as they live; a gateway that dies leaves leases nobody knows of, which the next one ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use warder_wire::gateway_priv::AtDeadline;
use warder_wire::{Limits, OpId, SandboxId, TemplateName};

use super::create::{cell, undo};
use crate::auth::key::hex;
use crate::clock::Micros;
use crate::error::{ApiError, AskError};
use crate::gateway::Gateway;
use crate::network::{Network, Standing};
use crate::random;
use crate::registry::record::{Mounted, SandboxRecord};
use crate::sandbox::{Phase, Sandbox};
use crate::volumes::content;
use crate::warm;

/// Makes one without network, as netd is told of none, with what its template gives but no more than `limits`. Its lease
/// runs out after `ttl` unless it is moved.
///
/// # Errors
/// [`ApiError`]; no trace is left then.
pub(crate) async fn make(
    gateway: &Gateway,
    template: TemplateName,
    limits: Limits,
    volumes: Vec<Mounted>,
    ttl: Duration,
) -> Result<Arc<Sandbox>, ApiError> {
    let op = OpId(random::bytes()?);
    let now = Micros::now();
    let mut record = SandboxRecord {
        id: SandboxId::from_random(&random::bytes()?),
        template: template.clone(),
        alias: None,
        owner: None,
        envd_token: hex(&random::bytes::<20>()?),
        traffic_token: None,
        started: now.into(),
        end: now.into(),
        at_deadline: AtDeadline::Destroy,
        auto_resume: false,
        paused: None,
        metadata: BTreeMap::new(),
        variables: BTreeMap::new(),
        network: Network::default(),
        standing: Standing::NEW,
        limits,
        mcp: None,
        volumes,
    };
    let id = record.id.clone();
    let deadline = Instant::now() + gateway.create_timeout;
    // Its cell, and then its agent, may take as long each.
    let ttl = ttl.max(gateway.create_timeout * 2);
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let backend = gateway.backend.clone();
    let peers = &gateway.peers;
    match peers
        .lease_open(backend, template.clone(), &record, ttl_ms)
        .await
    {
        Ok(limits) => record.limits = limits,
        Err(error @ AskError::Fault(_)) => return Err(error.into()),
        Err(error) => {
            undo(gateway, &id).await;
            return Err(error.into());
        }
    }
    let sandbox = Sandbox::new(record, Phase::Creating, peers, &gateway.reaper);
    gateway.registry.enter(Arc::clone(&sandbox));
    let made = cell(peers, &sandbox.record(), template, op, deadline).await;
    if made.is_err() || sandbox.ended.is_cancelled() {
        end(gateway, &sandbox).await;
        made?;
        return Err(ApiError::internal("the sandbox ended at once"));
    }
    Ok(sandbox)
}

/// Ends one.
pub(crate) async fn end(gateway: &Gateway, sandbox: &Sandbox) {
    gateway.registry.leave(&sandbox.id);
    sandbox.end();
    undo(gateway, &sandbox.id).await;
}

/// Gives one of them up, so that one can be made that a user asked for. False: there is none to spare.
pub(crate) async fn make_room(gateway: &Gateway) -> bool {
    warm::give_up(gateway).await || content::give_up(gateway).await
}
