//! At start: what the registry holds against what privd holds. privd is right.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use warder_wire::gateway_priv::{Lease, LeaseState};
use warder_wire::{SandboxId, TemplateName};

use super::snapshot::clear_away;
use super::{pause, resume};

use crate::clock::Micros;
use crate::error::AskError;
use crate::gateway::Gateway;
use crate::limits;
use crate::registry::record::{Kept, SandboxRecord};
use crate::sandbox::{Phase, Sandbox};
use crate::volumes;

/// Enters the sandboxes that live, forgets those that do not, and ends leases nobody knows of: creates
/// that died with the last process.
///
/// # Errors
/// When privd does not say what it holds.
pub(crate) async fn reconcile(
    gateway: &Arc<Gateway>,
    records: Vec<SandboxRecord>,
) -> Result<(), AskError> {
    let leases = gateway.peers.leases().await?;
    let mut leases: HashMap<SandboxId, Lease> = leases
        .into_iter()
        .map(|lease| (lease.sandbox.clone(), lease))
        .collect();
    let (mut live, mut gone) = (0_u32, 0_u32);
    for record in records {
        match leases.remove(&record.id) {
            Some(lease) if lease.state != LeaseState::Ending => {
                live += 1;
                enter(gateway, record, &lease);
            }
            _ => {
                gone += 1;
                // Nobody said why: past its end it was that.
                let over = Micros::from(record.end) <= Micros::now();
                super::tell_end(gateway, &record, if over { "timeout" } else { "lost" });
                gateway.registry.forget(&record.id);
                gateway.registry.audit(
                    "gatewayd",
                    "sandbox.ended",
                    record.id.as_str(),
                    "it was gone at start",
                );
            }
        }
    }
    tokio::spawn(super::network::check_all(Arc::clone(gateway)));
    let unknown: Vec<SandboxId> = leases
        .into_values()
        .filter(|lease| lease.state != LeaseState::Ending)
        .map(|lease| lease.sandbox)
        .collect();
    eprintln!(
        "gatewayd: {live} sandboxes found again, {gone} gone, {} unknown leases ended",
        unknown.len()
    );
    let (ending, volumes) = (Arc::clone(gateway), gateway.volumes.all());
    tokio::spawn(async move {
        for id in unknown {
            if let Err(error) = ending
                .peers
                .lease_end(id.clone(), limits::KILL_TIMEOUT)
                .await
            {
                eprintln!("gatewayd: {id}: unknown lease not ended: {error}");
            }
        }
        // Afterwards, as they may hold volumes.
        volumes::reconcile(&ending, volumes).await;
    });
    snapshots(gateway).await
}

/// Enters a sandbox as privd has it, and tells what happened to it while nobody looked.
fn enter(gateway: &Arc<Gateway>, record: SandboxRecord, lease: &Lease) {
    let known = record.paused;
    let phase = match (lease.state, known) {
        (LeaseState::Paused { .. }, Some(_)) => Phase::Paused,
        (LeaseState::Running | LeaseState::Open, Some(_)) => Phase::Resuming,
        _ => Phase::Running,
    };
    let end = Micros::from(record.end);
    let sandbox = Sandbox::new(record, phase, &gateway.peers, &gateway.reaper);
    gateway.registry.enter(Arc::clone(&sandbox));
    match (lease.state, known) {
        (LeaseState::Paused { memory }, None) => {
            let over = end <= Micros::now();
            let why = if over { "timeout" } else { "request" };
            pause::paused(gateway, &sandbox, Kept::of(memory), ("privd", why));
            if over {
                sandbox.now().record.end = end.into();
                super::save(gateway, &sandbox);
            }
        }
        (LeaseState::Paused { memory: false }, Some(Kept::Memory)) => {
            pause::memory_lost(gateway, &sandbox);
        }
        (LeaseState::Running | LeaseState::Open, Some(_)) => {
            tokio::spawn(resume::finish(Arc::clone(gateway), sandbox, lease.ttl_ms));
        }
        _ => {}
    }
}

/// Snapshots that were being made or removed, or carried a fork, are removed; those privd has lost are forgotten.
async fn snapshots(gateway: &Arc<Gateway>) -> Result<(), AskError> {
    let all = gateway.registry.snapshots.all();
    if all.is_empty() {
        return Ok(());
    }
    let there: HashSet<TemplateName> = gateway
        .peers
        .templates()
        .await?
        .into_iter()
        .map(|template| template.name)
        .collect();
    for record in all {
        if !record.ready {
            clear_away(gateway, record);
        } else if !there.contains(&record.template) {
            gateway.registry.snapshots.remove(&record.template);
            gateway.registry.audit(
                "gatewayd",
                "snapshot.lost",
                record.template.as_str(),
                "it was gone at start",
            );
        }
    }
    Ok(())
}
