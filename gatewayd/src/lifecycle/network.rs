//! A sandbox's network policy: wanted first, written down, put in force by netd, and only then said to hold.
//!
//! Whoever dies in between leaves a record that says what is wanted and not in force; the next gateway, or this one
//! when the next netd comes, asks what netd holds and sets it again. A change that fails leaves the sandbox closed
//! until the next one; one that netd keeps, as the host's packet filter does not hold, is in force once that does.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use warder_wire::{Fault, FaultCode};

use super::{save, settled, to_its_end};
use crate::auth::Caller;
use crate::error::{ApiError, AskError};
use crate::gateway::Gateway;
use crate::limits;
use crate::network::{Network, egress_event, ingress_event};
use crate::registry::record::{EventKind, SandboxRecord};
use crate::sandbox::{Phase, Sandbox};

/// A change.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// These options instead of those.
    Network(Box<Network>),
    /// Nothing leaves, or the options hold again.
    AirGap(bool),
}

/// Tells netd what is wanted and notes that it holds, or that it is kept. For whoever has the sandbox's network to
/// himself: its creator, or the holder of its lock. Writing it down is left to the caller.
///
/// # Errors
/// What netd says; what holds then is closed, or what held before.
async fn put_in_force(
    gateway: &Gateway,
    sandbox: &Sandbox,
    within: Duration,
) -> Result<(), AskError> {
    let (mut generation, policy) = {
        let now = sandbox.now();
        let standing = &now.record.standing;
        let policy = now.record.network.policy(standing.closed());
        (standing.generation, policy)
    };
    let (peers, id) = (&gateway.peers, || sandbox.id.clone());
    let set = |generation| peers.policy_set(id(), generation, policy.clone(), within);
    let mut answer = set(generation).await;
    if answer.as_ref().err().and_then(AskError::fault) == Some(FaultCode::Conflict) {
        // netd has heard of a later one, whose record was lost with the power: this one comes after it.
        let held = peers.policy_get(id()).await?;
        generation = held.generation.saturating_add(1);
        answer = set(generation).await;
    }
    let mut now = sandbox.now();
    let standing = &mut now.record.standing;
    match answer {
        Ok(_) => standing.kept = false,
        Err(AskError::Kept(_)) => {
            (standing.generation, standing.in_force) = (generation, 0);
            standing.kept = true;
        }
        // Nothing is known.
        Err(_) => {}
    }
    let airgap = answer?;
    standing.generation = generation;
    standing.in_force = generation;
    if !policy.airgap {
        standing.by_operator = airgap;
    }
    Ok(())
}

/// As [`put_in_force`], for a sandbox that is undone, or sleeps again, when that fails: nothing is kept for it.
///
/// # Errors
/// What netd says.
pub(crate) async fn put_in_force_now(
    gateway: &Gateway,
    sandbox: &Sandbox,
    within: Duration,
) -> Result<(), AskError> {
    match put_in_force(gateway, sandbox, within).await {
        Err(AskError::Kept(fault)) => {
            sandbox.now().record.standing.kept = false;
            Err(AskError::Fault(fault))
        }
        put => put,
    }
}

/// Changes the policy or the air gap. Returns the generation that is in force then: no packet and no flow that it
/// forbids passes any more.
///
/// # Errors
/// 404 when the sandbox has ended, 409 when it does not run or is being ended (the air gap may change of one that is
/// paused), 403 for an air gap that the operator does not let be lifted, 507 for one of a paused sandbox that a loss of
/// power would undo, or 500: everything is closed then until the next change; or 503: it is closed until the host's packet
/// filter is whole again, and the change is in force then.
pub(crate) async fn change_network(
    gateway: &Arc<Gateway>,
    sandbox: &Arc<Sandbox>,
    wanted: Wanted,
    caller: &Caller,
) -> Result<u64, ApiError> {
    let (gateway, sandbox) = (Arc::clone(gateway), Arc::clone(sandbox));
    let who = caller.name().to_owned();
    to_its_end(async move {
        let _one = sandbox.network.lock().await;
        let phase = settled(&sandbox)?;
        if let (Wanted::Network(_), Some(state)) = (&wanted, named(phase)) {
            let text = format!("Sandbox \"{}\" is {state}", sandbox.id);
            return Err(ApiError::new(StatusCode::CONFLICT, text));
        }
        change(&gateway, &sandbox, wanted, &who).await
    })
    .await
}

/// What it is doing instead of running.
fn named(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Running => None,
        Phase::Creating => Some("being created"),
        Phase::Pausing => Some("being paused"),
        Phase::Paused => Some("paused"),
        Phase::Resuming => Some("being resumed"),
    }
}

async fn change(
    gateway: &Arc<Gateway>,
    sandbox: &Arc<Sandbox>,
    wanted: Wanted,
    who: &str,
) -> Result<u64, ApiError> {
    let before = sandbox.record();
    let lifts = matches!(wanted, Wanted::AirGap(false));
    let lets_in = matches!(wanted, Wanted::Network(_));
    let (what, note) = match &wanted {
        Wanted::Network(_) => ("sandbox.network", ""),
        Wanted::AirGap(true) => ("sandbox.airgap", "on"),
        Wanted::AirGap(false) => ("sandbox.airgap", "off"),
    };
    {
        let mut now = sandbox.now();
        let record = &mut now.record;
        match wanted {
            Wanted::Network(network) => record.network = before.network.updated(*network),
            Wanted::AirGap(on) => record.standing.airgap = on,
        }
        record.standing.generation += 1;
        record.standing.sealed = false;
    }
    // Before netd hears of it, so that whoever finds it not in force knows what was wanted.
    if let Err(error) = gateway.registry.save(sandbox) {
        eprintln!(
            "gatewayd: {}: network policy not written down: {error}",
            sandbox.id
        );
        let mut now = sandbox.now();
        now.record.network = before.network;
        now.record.standing = before.standing;
        return Err(ApiError::internal("Error updating sandbox network config"));
    }
    let ingress = async {
        match lets_in {
            true => sandbox.let_in().await,
            false => 0,
        }
    };
    // What the new rules keep out is out, also when netd fails.
    let (ended, egress) = tokio::join!(ingress, in_force(gateway, sandbox));
    let standing = sandbox.now().record.standing;
    let kept = match egress {
        Err(error) if !standing.kept => return Err(error),
        egress => egress.err(),
    };
    if lifts && standing.by_operator && kept.is_none() {
        if before.standing.airgap {
            // What was asked for before holds, should the operator ever loosen it.
            {
                let mut now = sandbox.now();
                now.record.standing.airgap = true;
                now.record.standing.generation += 1;
            }
            in_force(gateway, sandbox).await?;
        }
        let text = format!(
            "The air gap of sandbox \"{}\" is the operator's and cannot be lifted here",
            sandbox.id
        );
        return Err(ApiError::new(StatusCode::FORBIDDEN, text));
    }
    tell(gateway, sandbox, &before, ended);
    gateway.registry.audit(who, what, sandbox.id.as_str(), note);
    // One that runs ends with the power; one that is paused, or was while this went on, wakes with what the disk says.
    if sandbox.now().phase != Phase::Running {
        gateway.registry.synced().await.map_err(|error| {
            let text = format!("the change is in force, but that is not safe yet: {error}");
            ApiError::new(StatusCode::INSUFFICIENT_STORAGE, text).retry(false)
        })?;
    }
    // One that is kept comes into force without another word: it is told and written down as one that is.
    kept.map_or(Ok(standing.generation), Err)
}

/// What is written down is put in force, or everything is closed.
async fn in_force(gateway: &Arc<Gateway>, sandbox: &Arc<Sandbox>) -> Result<(), ApiError> {
    let error = match put_in_force(gateway, sandbox, limits::ASK_TIMEOUT).await {
        Ok(()) => {
            save(gateway, sandbox);
            return Ok(());
        }
        Err(error) => error,
    };
    if sandbox.ended.is_cancelled() || error.fault() == Some(FaultCode::NotFound) {
        return Err(ApiError::no_sandbox(sandbox.id.as_str()));
    }
    eprintln!(
        "gatewayd: {}: network policy not in force, closed: {error}",
        sandbox.id
    );
    let kept = matches!(error, AskError::Kept(_));
    if !kept {
        let mut now = sandbox.now();
        let standing = &mut now.record.standing;
        standing.generation += 1;
        // netd closes what it fails at. One that does not answer has left things as they were.
        if matches!(error, AskError::Fault(_)) {
            standing.in_force = 0;
        }
        (standing.sealed, standing.kept) = (true, false);
    }
    save(gateway, sandbox);
    gateway.registry.audit(
        "netd",
        "sandbox.network_closed",
        sandbox.id.as_str(),
        error.to_string(),
    );
    let data = json!({ "network_closed": true });
    gateway
        .events
        .write(EventKind::Updated, &sandbox.record(), data);
    if kept {
        let text = format!("Network config of the sandbox is {error}");
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text).retry(false));
    }
    tokio::spawn(settle(Arc::clone(gateway), Arc::clone(sandbox)));
    Err(ApiError::internal("Error applying network config to sandbox").retry(false))
}

/// Says what changed, and how many halves of exchanges through ports it ended.
fn tell(gateway: &Gateway, sandbox: &Sandbox, before: &SandboxRecord, ended: usize) {
    let record = sandbox.record();
    let mut data = json!({
        "network_egress": egress_event(&record.network),
        "network_ingress": ingress_event(&record.network),
        "network_generation": record.standing.generation,
    });
    if record.standing.airgap != before.standing.airgap {
        data["air_gap"] = json!(record.standing.airgap);
    }
    if !before.network.ingress.is_empty() && record.network.ingress.is_empty() {
        data["network_ingress_cleared"] = json!(true);
    }
    if ended > 0 {
        data["network_ingress_ended"] = json!(ended);
    }
    gateway.events.write(EventKind::Updated, &record, data);
}

/// Tries until what is wanted is in force, or the sandbox has ended.
async fn settle(gateway: Arc<Gateway>, sandbox: Arc<Sandbox>) {
    let mut pause = Duration::from_millis(100);
    loop {
        {
            let _one = sandbox.network.lock().await;
            if sandbox.ended.is_cancelled() || sandbox.now().record.standing.settled() {
                return;
            }
            match put_in_force(&gateway, &sandbox, limits::ASK_TIMEOUT).await {
                Ok(()) => return save(&gateway, &sandbox),
                Err(error) if error.fault() == Some(FaultCode::NotFound) => return,
                // netd says when it is.
                Err(AskError::Kept(_)) => return save(&gateway, &sandbox),
                Err(error) => {
                    eprintln!(
                        "gatewayd: {}: network policy not in force: {error}",
                        sandbox.id
                    );
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = sandbox.ended.cancelled() => return,
        }
        pause = (pause * 2).min(Duration::from_secs(30));
    }
}

/// After a start of this process or of netd: sees to it that netd holds what is wanted for every sandbox.
pub(crate) async fn check_all(gateway: Arc<Gateway>) {
    for sandbox in gateway.registry.everything() {
        if !recheck(&gateway, sandbox).await {
            return;
        }
    }
}

/// netd has closed a sandbox of its own accord: tries to put in force again what is wanted. Nothing is said to be until
/// it is.
pub(crate) async fn sealed(gateway: Arc<Gateway>, sandbox: Arc<Sandbox>) {
    recheck(&gateway, sandbox).await;
}

/// netd has closed all sandboxes, as the host's packet filter does not hold, or opened them again: both are told, and
/// what is in force is asked for.
pub(crate) async fn all_closed(gateway: Arc<Gateway>, why: Option<Fault>) {
    let (what, note) = match &why {
        Some(fault) => ("network.closed", fault.to_string()),
        None => ("network.opened", String::new()),
    };
    gateway.registry.audit("netd", what, "", note);
    for sandbox in gateway.registry.everything() {
        if sandbox.now().phase == Phase::Running {
            let data = json!({ "network_closed": why.is_some() });
            gateway
                .events
                .write(EventKind::Updated, &sandbox.record(), data);
        }
    }
    check_all(gateway).await;
}

/// Sees to it that netd holds what is wanted for a sandbox. False: there is no netd; the next one is asked about all.
async fn recheck(gateway: &Arc<Gateway>, sandbox: Arc<Sandbox>) -> bool {
    let Err(error) = check(gateway, &sandbox).await else {
        return true;
    };
    if matches!(error, AskError::Unavailable(_)) {
        return false;
    }
    // It says when it opens.
    let kept = matches!(error, AskError::Kept(_));
    if kept {
        save(gateway, &sandbox);
    }
    let lost = kept || error.fault() == Some(FaultCode::NotFound);
    if !lost && !sandbox.ended.is_cancelled() {
        eprintln!(
            "gatewayd: {}: netd does not say what is in force: {error}",
            sandbox.id
        );
        sandbox.now().record.standing.in_force = 0;
        tokio::spawn(settle(Arc::clone(gateway), sandbox));
    }
    true
}

/// Sees to it that netd holds what is wanted: after a start of this process or of netd, and when a sandbox has woken. While
/// it did, privd may have taken its place in the network away and given it another, for which netd knows no policy.
pub(super) async fn check(gateway: &Gateway, sandbox: &Arc<Sandbox>) -> Result<(), AskError> {
    let _one = sandbox.network.lock().await;
    let (standing, policy) = {
        let now = sandbox.now();
        let standing = now.record.standing;
        (standing, now.record.network.policy(standing.closed()))
    };
    // Nobody has told netd yet: whoever makes the sandbox does.
    if sandbox.now().phase == Phase::Creating && !standing.settled() {
        return Ok(());
    }
    let held = gateway.peers.policy_get(sandbox.id.clone()).await?;
    if held.generation == standing.generation && held.policy == policy && !held.sealed {
        let mut now = sandbox.now();
        now.record.standing.in_force = standing.generation;
        now.record.standing.kept = false;
        if !policy.airgap {
            now.record.standing.by_operator = held.airgap;
        }
    } else {
        sandbox.now().record.standing.in_force = 0;
        put_in_force(gateway, sandbox, limits::ASK_TIMEOUT).await?;
    }
    let changed = sandbox.now().record.standing != standing;
    if changed && sandbox.now().phase != Phase::Creating {
        save(gateway, sandbox);
    }
    Ok(())
}
