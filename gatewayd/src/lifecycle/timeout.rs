//! Moving a sandbox's end.

use std::sync::Arc;

use warder_wire::FaultCode;
use warder_wire::gateway_priv::AtDeadline;

use crate::auth::Caller;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::registry::record::EventKind;
use crate::sandbox::{Phase, Sandbox};

/// How the end may move.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Move {
    /// To now and so many seconds, sooner or later than before; zero ends the sandbox.
    Set,
    /// Only to later.
    Extend,
}

/// How near the old end may be for privd to have paused the sandbox already without our knowing.
const NEAR_END_MS: u64 = 2000;

/// Moves the end to `seconds` from now.
///
/// # Errors
/// 404 when it has ended meanwhile or is paused, 409 while it is being ended, or what privd says.
pub(crate) async fn set_end(
    gateway: &Arc<Gateway>,
    sandbox: &Arc<Sandbox>,
    seconds: u64,
    how: Move,
    caller: &Caller,
) -> Result<(), ApiError> {
    if seconds == 0 && how == Move::Set {
        let at_deadline = sandbox.now().record.at_deadline;
        return match at_deadline {
            AtDeadline::Destroy => super::kill(gateway, &sandbox.id, caller).await,
            AtDeadline::Pause { memory } => {
                super::pause(gateway, sandbox, memory, false, caller).await
            }
        };
    }
    // One at a time for each sandbox, or the later answer of two could belong to the earlier question.
    let _one = sandbox.moving.lock().await;
    if super::settled(sandbox)? != Phase::Running {
        return Err(ApiError::not_running(&sandbox.id));
    }
    move_end(gateway, sandbox, seconds, how).await
}

/// The same with the sandbox's lock held. privd's lease is moved first: it is what counts.
///
/// # Errors
/// As [`set_end`].
pub(super) async fn move_end(
    gateway: &Gateway,
    sandbox: &Arc<Sandbox>,
    seconds: u64,
    how: Move,
) -> Result<(), ApiError> {
    let now = Micros::now();
    let end = now.plus_seconds(seconds);
    let (old, at_deadline) = {
        let now = sandbox.now();
        (Micros::from(now.record.end), now.record.at_deadline)
    };
    if how == Move::Extend && old >= end {
        return Ok(());
    }
    match gateway
        .peers
        .lease_set(sandbox.id.clone(), end.ms_from(now))
        .await
    {
        Ok(()) => {}
        Err(error) if error.fault() == Some(FaultCode::NotFound) => {
            return Err(ApiError::no_sandbox(sandbox.id.as_str()));
        }
        Err(error) => return Err(error.into()),
    }
    // The deadline of one that privd paused a moment ago moves without waking it.
    if at_deadline != AtDeadline::Destroy
        && old.ms_from(now) < NEAR_END_MS
        && super::pause::found_paused(gateway, sandbox).await
    {
        return Err(ApiError::not_running(&sandbox.id));
    }
    sandbox.now().record.end = end.into();
    // privd has the deadline; a record that lags shows an old end after a restart and moves nothing.
    super::save(gateway, sandbox);
    gateway.events.write(
        EventKind::Updated,
        &sandbox.record(),
        serde_json::json!({ "set_timeout": end }),
    );
    Ok(())
}
