//! Pausing a sandbox, because it was asked for or because privd did it at the deadline.

use std::sync::Arc;

use http::{Method, header};
use http_body_util::{Either, Full};
use serde_json::json;
use warder_wire::gateway_priv::{LeaseState, PauseReason};
use warder_wire::link::Role;
use warder_wire::{FaultCode, OpId, gateway_plugin};

use super::{alone, save, settled, to_its_end};
use crate::auth::Caller;
use crate::clock::Micros;
use crate::error::{ApiError, AskError};
use crate::gateway::Gateway;
use crate::limits;
use crate::logs;
use crate::proxy::{Outgoing, converse};
use crate::random;
use crate::registry::record::{EventKind, Kept};
use crate::sandbox::{Phase, Sandbox};

/// Pauses the sandbox, with its processes or only its disk. When this returns, its state would survive the
/// loss of power.
///
/// # Errors
/// 404 when it has ended, 409 when it is paused already or is being ended, 503 when its agent does not answer
/// and `healthy` demands that; or what the backend says, and then it runs on.
pub(crate) async fn pause(
    gateway: &Arc<Gateway>,
    sandbox: &Arc<Sandbox>,
    memory: bool,
    healthy: bool,
    caller: &Caller,
) -> Result<(), ApiError> {
    let (gateway, sandbox) = (Arc::clone(gateway), Arc::clone(sandbox));
    let who = caller.name().to_owned();
    to_its_end(async move {
        let _one = alone(&sandbox).await;
        if settled(&sandbox)? != Phase::Running {
            return Err(ApiError::paused(&sandbox.id));
        }
        if healthy && !answers(&sandbox).await {
            // Not 409, which the SDKs take for "paused already".
            return Err(ApiError::new(
                http::StatusCode::SERVICE_UNAVAILABLE,
                format!("the agent of sandbox \"{}\" does not answer", sandbox.id),
            )
            .code("sandbox_snapshot_guest_agent_unresponsive")
            .retry(false));
        }
        logs::keep(&gateway, &sandbox).await;
        sandbox.now().phase = Phase::Pausing;
        let (kept, synced) = tokio::join!(put_to_sleep(&gateway, &sandbox, memory), async {
            // What is known of it must be found again when it is.
            gateway.registry.synced().await
        });
        match kept {
            Ok(_) if sandbox.ended.is_cancelled() => {
                return Err(ApiError::no_sandbox(sandbox.id.as_str()));
            }
            Ok(kept) => paused(&gateway, &sandbox, kept, (&who, "request")),
            Err(error) => {
                sandbox.now().phase = Phase::Running;
                return Err(error);
            }
        }
        synced.map_err(|error| {
            let text = format!("the sandbox is paused, but that is not safe yet: {error}");
            ApiError::new(http::StatusCode::INSUFFICIENT_STORAGE, text).retry(false)
        })
    })
    .await
}

/// Asks the backend. If that fails, privd is asked what has become of it.
pub(super) async fn put_to_sleep(
    gateway: &Gateway,
    sandbox: &Sandbox,
    memory: bool,
) -> Result<Kept, ApiError> {
    let ask = gateway_plugin::Ask::Pause {
        op: OpId(random::bytes()?),
        deadline_ms: u32::try_from(limits::STATE_TIMEOUT.as_millis()).unwrap_or(u32::MAX),
        sandbox: sandbox.id.clone(),
        memory,
    };
    let error = match gateway.peers.plugin(ask, limits::STATE_TIMEOUT).await {
        Ok(gateway_plugin::Answer::Done) => return Ok(Kept::of(memory)),
        Ok(_) => AskError::Answer("the plugin host"),
        Err(error) => error,
    };
    match gateway.peers.lease(&sandbox.id).await {
        Ok(Some(lease)) => match lease.state {
            LeaseState::Paused { memory } => Ok(Kept::of(memory)),
            LeaseState::Ending => Err(ApiError::being_killed(&sandbox.id)),
            // Not 409, which the SDKs take for "paused already".
            LeaseState::Open | LeaseState::Running
                if error.fault() == Some(FaultCode::Conflict) =>
            {
                let busy = http::StatusCode::SERVICE_UNAVAILABLE;
                Err(ApiError::new(busy, error.to_string()).retry(true))
            }
            LeaseState::Open | LeaseState::Running => Err(error.into()),
        },
        Ok(None) => Err(ApiError::no_sandbox(sandbox.id.as_str())),
        Err(_) if error.fault() == Some(FaultCode::NotFound) => {
            Err(ApiError::no_sandbox(sandbox.id.as_str()))
        }
        Err(_) => Err(error.into()),
    }
}

/// It is paused now: nothing leads into it any more. `by` says who did it and why.
pub(super) fn paused(gateway: &Gateway, sandbox: &Sandbox, kept: Kept, by: (&str, &str)) {
    {
        let mut now = sandbox.now();
        now.phase = Phase::Paused;
        now.record.paused = Some(kept);
        now.record.end = Micros::now().into();
    }
    sandbox.cut();
    save(gateway, sandbox);
    let (who, why) = by;
    let data = json!({ "reason": why, "memory": kept.memory() });
    gateway
        .events
        .write(EventKind::Paused, &sandbox.record(), data);
    let note = match kept {
        Kept::Memory => why.to_owned(),
        Kept::Disk => format!("{why}; only its disk is kept"),
    };
    gateway
        .registry
        .audit(who, "sandbox.pause", sandbox.id.as_str(), note);
}

/// Its processes are gone though they had been kept.
pub(super) fn memory_lost(gateway: &Gateway, sandbox: &Sandbox) {
    sandbox.now().record.paused = Some(Kept::Disk);
    save(gateway, sandbox);
    let data = json!({ "reason": "memory_lost", "memory": false });
    gateway
        .events
        .write(EventKind::Updated, &sandbox.record(), data);
    gateway
        .registry
        .audit("privd", "sandbox.memory_lost", sandbox.id.as_str(), "");
}

/// privd says that it has paused the sandbox, or that its memory is gone. What was asked meanwhile is waited
/// for; then privd's lease is looked at, as the event may be older than that.
pub(super) async fn told(gateway: Arc<Gateway>, sandbox: Arc<Sandbox>, why: PauseReason) {
    let _one = alone(&sandbox).await;
    while sandbox.now().phase == Phase::Creating && !sandbox.ended.is_cancelled() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let phase = settled(&sandbox);
    if !matches!(phase, Ok(Phase::Running | Phase::Paused)) {
        return;
    }
    let Some(kept) = kept_by_privd(&gateway, &sandbox).await else {
        return;
    };
    let known = sandbox.now().record.paused;
    match (phase, known) {
        (Ok(Phase::Running), _) => {
            let why = match why {
                PauseReason::Expired => "timeout",
                PauseReason::Asked => "request",
                PauseReason::MemoryLost => "memory_lost",
            };
            paused(&gateway, &sandbox, kept, ("privd", why));
        }
        (_, Some(Kept::Memory)) if kept == Kept::Disk => memory_lost(&gateway, &sandbox),
        _ => {}
    }
}

/// Whether privd has paused it without our knowing; then it is known from here on.
pub(super) async fn found_paused(gateway: &Gateway, sandbox: &Sandbox) -> bool {
    match kept_by_privd(gateway, sandbox).await {
        Some(kept) => {
            paused(gateway, sandbox, kept, ("privd", "timeout"));
            true
        }
        None => false,
    }
}

async fn kept_by_privd(gateway: &Gateway, sandbox: &Sandbox) -> Option<Kept> {
    match gateway.peers.lease(&sandbox.id).await {
        Ok(lease) => match lease?.state {
            LeaseState::Paused { memory } => Some(Kept::of(memory)),
            _ => None,
        },
        Err(error) => {
            eprintln!(
                "gatewayd: {}: its lease cannot be seen: {error}",
                sandbox.id
            );
            None
        }
    }
}

/// Whether the agent answers.
async fn answers(sandbox: &Arc<Sandbox>) -> bool {
    let asked = async {
        let stream = sandbox.api(Role::Control).await.ok()?;
        let mut connection = converse(sandbox, stream).await.ok()?;
        let request: http::Request<Outgoing> = http::Request::builder()
            .method(Method::GET)
            .uri("/health")
            .header(header::HOST, "localhost")
            .body(Either::Right(Full::default()))
            .ok()?;
        let answer = connection.send_request(request).await.ok()?;
        Some(answer.status().is_success())
    };
    let answer = tokio::time::timeout(limits::HEALTH_TIMEOUT, asked).await;
    matches!(answer, Ok(Some(true)))
}
