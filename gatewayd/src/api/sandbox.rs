//! One sandbox: look, connect, pause, resume, keep alive, end.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use warder_wire::SandboxId;
use warder_wire::gateway_priv::AtDeadline;

use super::create::seconds;
use super::{body, optional_body, view};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, Request, empty, json};
use crate::lifecycle::{self, Move, Wish};
use crate::proxy::host::bare_id;
use crate::sandbox::Sandbox;

/// A sandbox by the id in a path; an old client part after a dash is dropped.
///
/// # Errors
/// 400 for what has the form of no id at all, 404 for what nobody knows.
pub(super) fn find(gateway: &Gateway, id: &str) -> Result<Arc<Sandbox>, ApiError> {
    let bare = bare_id(id).ok_or_else(|| ApiError::bad("Invalid sandbox ID"))?;
    SandboxId::new(bare)
        .ok()
        .and_then(|id| gateway.registry.get(&id))
        .ok_or_else(|| ApiError::no_sandbox(bare))
}

/// `GET /sandboxes/{id}`.
pub(super) fn detail(gateway: &Gateway, id: &str) -> Result<Answer, ApiError> {
    let record = find(gateway, id)?.record();
    Ok(json(StatusCode::OK, &view::detail(gateway, &record)))
}

/// `DELETE /sandboxes/{id}`.
pub(super) async fn delete(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    id: &str,
) -> Result<Answer, ApiError> {
    let sandbox = find(gateway, id)?;
    lifecycle::kill(gateway, &sandbox.id, caller).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

#[derive(Debug, Default, Deserialize)]
struct ConnectBody {
    timeout: Option<i64>,
    memory: Option<bool>,
}

/// `POST /v2/sandboxes/{id}/connect` and the old one, where `timeout` must be there. A running sandbox's end
/// is moved to later, never to sooner; a paused sandbox is woken, with its processes unless `memory` says no.
pub(super) async fn connect(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    id: &str,
    default: Option<i64>,
    request: Request,
) -> Result<Answer, ApiError> {
    let asked: ConnectBody = optional_body(request).await?;
    let timeout = asked
        .timeout
        .or(default)
        .ok_or_else(|| ApiError::bad("timeout is missing"))?;
    let sandbox = find(gateway, id)?;
    // Old clients may move the end of a running one by nothing at all.
    let least = default.is_some() || !sandbox.runs();
    let wish = Wish {
        seconds: seconds(timeout, u64::from(least))?,
        memory: asked.memory != Some(false),
        or_running: true,
        at_deadline: None,
    };
    let woken = lifecycle::resume(gateway, &sandbox, wish, caller).await?;
    let status = if woken {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(json(status, &view::sandbox(gateway, &sandbox.record())))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResumeBody {
    timeout: Option<i64>,
    auto_pause: Option<bool>,
    memory: Option<bool>,
}

/// `POST /sandboxes/{id}/resume` of old clients: what runs cannot be resumed.
pub(super) async fn resume(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    id: &str,
    request: Request,
) -> Result<Answer, ApiError> {
    let asked: ResumeBody = optional_body(request).await?;
    let sandbox = find(gateway, id)?;
    // One that pauses goes on to: to pause one that should end harms less than the reverse.
    let turn =
        asked.auto_pause == Some(true) && sandbox.now().record.at_deadline == AtDeadline::Destroy;
    let wish = Wish {
        seconds: seconds(asked.timeout.unwrap_or(15), 1)?,
        memory: asked.memory != Some(false),
        or_running: false,
        at_deadline: turn.then_some(AtDeadline::Pause { memory: true }),
    };
    lifecycle::resume(gateway, &sandbox, wish, caller).await?;
    let record = sandbox.record();
    Ok(json(StatusCode::CREATED, &view::sandbox(gateway, &record)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PauseBody {
    memory: Option<bool>,
    require_healthy_guest: Option<bool>,
}

/// `POST /sandboxes/{id}/pause`.
pub(super) async fn pause(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    id: &str,
    request: Request,
) -> Result<Answer, ApiError> {
    let asked: PauseBody = optional_body(request).await?;
    let sandbox = find(gateway, id)?;
    let memory = asked.memory != Some(false);
    let healthy = asked.require_healthy_guest == Some(true);
    lifecycle::pause(gateway, &sandbox, memory, healthy, caller).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

#[derive(Debug, Deserialize)]
struct TimeoutBody {
    timeout: i64,
}

/// `POST /sandboxes/{id}/timeout`.
pub(super) async fn timeout(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    id: &str,
    request: Request,
) -> Result<Answer, ApiError> {
    let asked: TimeoutBody = body(request).await?;
    let timeout = seconds(asked.timeout, 0)?;
    let sandbox = find(gateway, id)?;
    lifecycle::set_end(gateway, &sandbox, timeout, Move::Set, caller).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

#[derive(Debug, Default, Deserialize)]
struct RefreshBody {
    duration: Option<i64>,
}

/// `POST /sandboxes/{id}/refreshes` of old clients: at most an hour, only to later.
pub(super) async fn refresh(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    id: &str,
    request: Request,
) -> Result<Answer, ApiError> {
    let asked: RefreshBody = optional_body(request).await?;
    let duration = seconds(asked.duration.unwrap_or(15), 0)?;
    if duration > 3600 {
        return Err(ApiError::bad("duration may be 3600 seconds at most"));
    }
    let sandbox = find(gateway, id)?;
    lifecycle::set_end(gateway, &sandbox, duration, Move::Extend, caller).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
