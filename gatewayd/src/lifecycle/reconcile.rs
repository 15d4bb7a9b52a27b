//! At start: what the registry holds against what privd holds. privd is right.

use std::collections::HashMap;
use std::sync::Arc;

use warder_wire::SandboxId;
use warder_wire::gateway_priv::{Lease, LeaseState};

use crate::clock::Micros;
use crate::error::AskError;
use crate::gateway::Gateway;
use crate::limits;
use crate::registry::record::SandboxRecord;
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
                gateway.registry.enter(Sandbox::new(
                    record,
                    Phase::Running,
                    &gateway.peers,
                    &gateway.reaper,
                ));
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
    let unknown: Vec<SandboxId> = leases
        .into_values()
        .filter(|lease| lease.state != LeaseState::Ending)
        .map(|lease| lease.sandbox)
        .collect();
    eprintln!(
        "gatewayd: {live} sandboxes found again, {gone} gone, {} unknown leases ended",
        unknown.len()
    );
    let (gateway, volumes) = (Arc::clone(gateway), gateway.volumes.all());
    tokio::spawn(async move {
        for id in unknown {
            if let Err(error) = gateway
                .peers
                .lease_end(id.clone(), limits::KILL_TIMEOUT)
                .await
            {
                eprintln!("gatewayd: {id}: unknown lease not ended: {error}");
            }
        }
        // Afterwards, as they may hold volumes.
        volumes::reconcile(&gateway, volumes).await;
    });
    Ok(())
}
