//! One sandbox: look, connect, keep alive, end.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use warder_wire::SandboxId;

use super::create::seconds;
use super::{body, optional_body, view};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, Request, empty, json};
use crate::lifecycle::{self, Move};
use crate::proxy::host::bare_id;
use crate::sandbox::{Phase, Sandbox};

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

fn find_running(gateway: &Gateway, id: &str) -> Result<Arc<Sandbox>, ApiError> {
    let sandbox = find(gateway, id)?;
    if sandbox.now().phase == Phase::Killing {
        return Err(ApiError::being_killed(&sandbox.id));
    }
    Ok(sandbox)
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
}

/// `POST /v2/sandboxes/{id}/connect` and the old one, where `timeout` must be there. On a running sandbox,
/// the only kind there is yet, it moves the end to later, never to sooner.
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
    let timeout = seconds(timeout, u64::from(default.is_some()))?;
    let sandbox = find_running(gateway, id)?;
    lifecycle::set_end(gateway, &sandbox, timeout, Move::Extend, caller).await?;
    Ok(json(
        StatusCode::OK,
        &view::sandbox(gateway, &sandbox.record()),
    ))
}

/// `POST /sandboxes/{id}/resume` of old clients: what runs cannot be resumed.
pub(super) fn resume(gateway: &Gateway, id: &str) -> Result<Answer, ApiError> {
    let sandbox = find(gateway, id)?;
    Err(ApiError::new(
        StatusCode::CONFLICT,
        format!("Sandbox \"{}\" is already running", sandbox.id),
    ))
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
    let sandbox = find_running(gateway, id)?;
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
    let sandbox = find_running(gateway, id)?;
    lifecycle::set_end(gateway, &sandbox, duration, Move::Extend, caller).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
