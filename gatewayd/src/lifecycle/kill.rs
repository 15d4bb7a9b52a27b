//! Ending a sandbox because it was asked for.

use std::sync::Arc;
use std::time::Duration;

use warder_wire::{FaultCode, OpId, SandboxId, gateway_plugin};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::limits;
use crate::random;
use crate::sandbox::Sandbox;

/// How long the backend may take before privd is asked to do it without it.
const BACKEND_PATIENCE: Duration = Duration::from_secs(10);

/// Ends the sandbox; when this returns, no process of it can run any more. It goes on also when the
/// caller stops waiting. Asked again meanwhile, both wait for the one end.
///
/// # Errors
/// 404 when nobody knows it, or what privd says.
pub(crate) async fn kill(
    gateway: &Arc<Gateway>,
    id: &SandboxId,
    caller: &Caller,
) -> Result<(), ApiError> {
    let sandbox = gateway
        .registry
        .get(id)
        .ok_or_else(|| ApiError::no_sandbox(id.as_str()))?;
    // Seen at once, also by whatever is under way.
    sandbox.now().killing = true;
    let (gateway, who) = (Arc::clone(gateway), caller.name().to_owned());
    let ending = tokio::spawn(async move {
        let _one = Arc::clone(&sandbox.moving).lock_owned().await;
        if gateway.registry.get(&sandbox.id).is_none() {
            return Ok(());
        }
        sandbox.now().killing = true;
        end(&gateway, &sandbox, &who).await
    });
    ending
        .await
        .map_err(|_| ApiError::internal("the kill was lost"))?
}

async fn end(gateway: &Gateway, sandbox: &Arc<Sandbox>, who: &str) -> Result<(), ApiError> {
    sandbox.end();
    let id = &sandbox.id;
    let op = OpId(random::bytes()?);
    let ask = gateway_plugin::Ask::Destroy {
        op,
        deadline_ms: u32::try_from(BACKEND_PATIENCE.as_millis()).unwrap_or(u32::MAX),
        sandbox: id.clone(),
    };
    // A backend that fails or is gone is not needed: ending the lease removes what is left. A conflict says that
    // privd is at it already.
    if let Err(error) = gateway.peers.plugin(ask, BACKEND_PATIENCE).await
        && !matches!(
            error.fault(),
            Some(FaultCode::NotFound | FaultCode::Conflict)
        )
    {
        eprintln!("gatewayd: {id}: backend did not end it: {error}");
    }
    match gateway
        .peers
        .lease_end(id.clone(), limits::KILL_TIMEOUT)
        .await
    {
        Err(error) if error.fault() != Some(FaultCode::NotFound) => {
            // It still exists: say so, and let the next try begin.
            sandbox.now().killing = false;
            return Err(error.into());
        }
        _ => {}
    }
    if gateway.registry.get(id).is_some() {
        // First, so that its end is known whenever it is gone.
        super::tell_end(gateway, &sandbox.record(), "request");
        gateway.registry.remove(id);
        gateway.registry.audit(who, "sandbox.kill", id.as_str(), "");
    }
    Ok(())
}
