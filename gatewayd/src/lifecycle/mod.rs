//! The life of sandboxes: made, kept, paused, copied, ended, and found again after a restart.

mod create;
mod events;
mod fork;
pub(crate) mod hidden;
mod idempotency;
mod kill;
mod network;
mod pause;
mod reconcile;
mod resume;
mod snapshot;
mod timeout;

use std::sync::Arc;

pub(crate) use create::{NewSandbox, create, init};
pub(crate) use events::follow;
use events::tell_end;
pub(crate) use fork::fork;
pub(crate) use idempotency::{Begun, Idempotency};
pub(crate) use kill::kill;
pub(crate) use network::{Wanted, change_network, check_all as check_networks, put_in_force_now};
pub(crate) use pause::pause;
pub(crate) use reconcile::reconcile;
pub(crate) use resume::{Asleep, Wish, awake, may_wake, resume};
pub(crate) use snapshot::{remove as remove_snapshot, snapshot};
pub(crate) use timeout::{Move, set_end};

use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::sandbox::{Phase, Sandbox};

/// Its phase, for who holds its lock.
///
/// # Errors
/// 404 when it has ended, 409 while it is being ended.
fn settled(sandbox: &Sandbox) -> Result<Phase, ApiError> {
    let now = sandbox.now();
    if now.killing {
        return Err(ApiError::being_killed(&sandbox.id));
    }
    if sandbox.ended.is_cancelled() {
        return Err(ApiError::no_sandbox(sandbox.id.as_str()));
    }
    Ok(now.phase)
}

/// Writes it down as it is. privd holds what counts; a record that lags is set right at the next start.
fn save(gateway: &Gateway, sandbox: &Sandbox) {
    // One that has ended meanwhile is not written down again.
    if gateway.registry.get_any(&sandbox.id).is_none() {
        return;
    }
    if let Err(error) = gateway.registry.save(sandbox) {
        eprintln!("gatewayd: {}: not written down: {error}", sandbox.id);
    }
}

/// Does it to its end, also when the caller stops waiting.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::spawn(work).await;
    done.map_err(|_| ApiError::internal("the operation was lost"))?
}

/// The sandbox for itself, once nothing else is done with it.
async fn alone(sandbox: &Arc<Sandbox>) -> tokio::sync::OwnedMutexGuard<()> {
    Arc::clone(&sandbox.moving).lock_owned().await
}
