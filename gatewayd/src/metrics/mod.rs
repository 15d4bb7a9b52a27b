//! What sandboxes use, sampled every few seconds into a bounded series of each.
//!
//! Looks are spread over the interval by id, so that a thousand sandboxes are no burst for privd. A paused
//! sandbox is not looked at: it uses no processor time. The series is in memory only: it begins anew with
//! this process.

mod series;

use std::sync::{Arc, PoisonError};

use sha2::{Digest, Sha256};
use tokio::time::MissedTickBehavior;
use warder_wire::SandboxId;

use crate::clock::Micros;
use crate::error::AskError;
use crate::gateway::Gateway;
use crate::limits;
use crate::sandbox::Sandbox;
pub(crate) use series::{Sample, Series};

/// Looks are taken in so many portions.
const SLOTS: u8 = 10;

fn slot(id: &SandboxId) -> u8 {
    Sha256::digest(id.as_str())[0] % SLOTS
}

/// Samples every running sandbox for ever.
pub(crate) async fn sample_all(gateway: Arc<Gateway>) {
    let mut tick = tokio::time::interval(limits::SAMPLE_EVERY / u32::from(SLOTS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut now = 0;
    loop {
        tick.tick().await;
        now = (now + 1) % SLOTS;
        for sandbox in gateway.registry.all() {
            if slot(&sandbox.id) != now {
                continue;
            }
            if !sandbox.runs() {
                sandbox.series().rest(Micros::now());
                continue;
            }
            // One that has ended meanwhile has no use; a privd that does not answer is not asked on.
            if let Err(AskError::TimedOut(_) | AskError::Unavailable(_)) =
                sample(&gateway, &sandbox).await
            {
                break;
            }
        }
    }
}

/// Looks now.
///
/// # Errors
/// [`AskError`].
pub(crate) async fn sample(gateway: &Gateway, sandbox: &Sandbox) -> Result<Sample, AskError> {
    let usage = gateway.peers.usage(sandbox.id.clone()).await?;
    let (started, limits) = {
        let now = sandbox.now();
        (Micros::from(now.record.started), now.record.limits)
    };
    Ok(sandbox
        .series()
        .push(Micros::now(), started, limits.cpu_percent, &usage))
}

/// The newest sample; a new one where there is none or it is old and the sandbox runs.
pub(crate) async fn newest(gateway: &Gateway, sandbox: &Sandbox) -> Option<Sample> {
    let newest = sandbox.series().newest();
    let fresh = newest.is_some_and(|sample| !sample.is_old(Micros::now()));
    if fresh || !sandbox.runs() {
        return newest;
    }
    sample(gateway, sandbox).await.ok().or(newest)
}

impl Sandbox {
    /// What it used lately; never held across an await.
    pub(crate) fn series(&self) -> std::sync::MutexGuard<'_, Series> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_spread() {
        let mut portions = [0; SLOTS as usize];
        for n in 0..=255 {
            portions[usize::from(slot(&SandboxId::from_random(&[n; 20])))] += 1;
        }
        // 256 over 10; ids made of one byte repeated are few, so not all that even.
        assert!(portions.iter().all(|n| *n > 0), "{portions:?}");
    }
}
