//! Moving a sandbox's end.

use std::sync::Arc;

use warder_wire::FaultCode;

use crate::auth::Caller;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::registry::record::EventKind;
use crate::sandbox::Sandbox;

/// How the end may move.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Move {
    /// To now and so many seconds, sooner or later than before; zero ends the sandbox.
    Set,
    /// Only to later.
    Extend,
}

/// Moves the end to `seconds` from now. privd's lease is moved first: it is what counts.
///
/// # Errors
/// 404 when it has ended meanwhile, or what privd says.
pub(crate) async fn set_end(
    gateway: &Arc<Gateway>,
    sandbox: &Arc<Sandbox>,
    seconds: u64,
    how: Move,
    caller: &Caller,
) -> Result<(), ApiError> {
    if seconds == 0 && how == Move::Set {
        return super::kill(gateway, &sandbox.id, caller).await;
    }
    // One at a time for each sandbox, or the later answer of two could belong to the earlier question.
    let _one = sandbox.moving.lock().await;
    let now = Micros::now();
    let end = now.plus_seconds(seconds);
    if how == Move::Extend && Micros::from(sandbox.now().record.end) >= end {
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
    sandbox.now().record.end = end.into();
    // privd has the deadline; a record that lags shows an old end after a restart and moves nothing.
    if let Err(error) = gateway.registry.save(sandbox) {
        eprintln!(
            "gatewayd: {}: new end not written down: {error}",
            sandbox.id
        );
    }
    gateway.events.write(
        EventKind::Updated,
        &sandbox.record(),
        serde_json::json!({ "set_timeout": end }),
    );
    Ok(())
}
