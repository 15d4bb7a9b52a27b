//! Waking a paused sandbox: because it was asked for, or because a request wants to get in.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;
use warder_wire::gateway_priv::{AtDeadline, LeaseState};
use warder_wire::{FaultCode, OpId, gateway_plugin};

use super::create::init;
use super::network::{check, put_in_force_now};
use super::timeout::{Move, move_end};
use super::{alone, pause, save, settled, tell_end, to_its_end};
use crate::auth::Caller;
use crate::clock::Micros;
use crate::error::{ApiError, AskError};
use crate::gateway::Gateway;
use crate::limits;
use crate::random;
use crate::registry::record::{EventKind, Kept};
use crate::sandbox::{Now, Phase, Sandbox};

/// What a caller wants of a sandbox that may be paused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wish {
    /// Seconds to live from now.
    pub(crate) seconds: u64,
    /// Whether processes that were kept go on.
    pub(crate) memory: bool,
    /// Whether one that runs will do: its end is then moved, never to sooner.
    pub(crate) or_running: bool,
    /// What happens at its end from now on; as before if absent.
    pub(crate) at_deadline: Option<AtDeadline>,
}

/// Wakes the sandbox. True: it was paused; false: it ran already.
///
/// # Errors
/// 404 when it has ended, 409 while it is being ended or when it runs and that will not do; or what the
/// backend says, and then it is paused as before.
pub(crate) async fn resume(
    gateway: &Arc<Gateway>,
    sandbox: &Arc<Sandbox>,
    wish: Wish,
    caller: &Caller,
) -> Result<bool, ApiError> {
    let (gateway, sandbox) = (Arc::clone(gateway), Arc::clone(sandbox));
    let who = caller.name().to_owned();
    to_its_end(async move {
        let _one = alone(&sandbox).await;
        if settled(&sandbox)? == Phase::Running {
            if !wish.or_running {
                return Err(ApiError::new(
                    StatusCode::CONFLICT,
                    format!("Sandbox \"{}\" is already running", sandbox.id),
                ));
            }
            let moved = move_end(&gateway, &sandbox, wish.seconds, Move::Extend).await;
            // privd may have paused it a moment ago.
            if settled(&sandbox)? == Phase::Running {
                return moved.map(|()| false);
            }
        }
        wake(&gateway, &sandbox, wish, &who).await.map(|()| true)
    })
    .await
}

/// Why a request does not get in.
#[derive(Debug)]
pub(crate) enum Asleep {
    /// It has ended, or is paused and traffic does not wake it.
    Gone,
    /// It is changing its state, and that takes too long.
    Changing,
    /// Too many wait for it already.
    TooMany,
    /// It cannot be woken.
    Failed(ApiError),
}

/// Waits until the sandbox runs; wakes it if traffic may. However many requests wait, it is woken once, and
/// each gets the answer of that one try.
///
/// # Errors
/// [`Asleep`].
pub(crate) async fn awake(gateway: &Arc<Gateway>, sandbox: &Arc<Sandbox>) -> Result<(), Asleep> {
    if sandbox.runs() {
        return Ok(());
    }
    let before = {
        let now = sandbox.now();
        if now.killing
            || sandbox.ended.is_cancelled()
            || now.phase == Phase::Creating
            || (now.phase == Phase::Paused && !wakes(&now))
        {
            return Err(Asleep::Gone);
        }
        now.not_woken.0
    };
    let permit = Arc::clone(&sandbox.waiting)
        .try_acquire_owned()
        .map_err(|_| Asleep::TooMany)?;
    let (gateway, asleep) = (Arc::clone(gateway), Arc::clone(sandbox));
    // Boxed, as every request to a port has this future and few wake anybody.
    let woken = to_its_end(Box::pin(async move {
        let sandbox = asleep;
        // What waits goes on when its client has gone, and counts until it is over.
        let _permit = permit;
        let _one = alone(&sandbox).await;
        if settled(&sandbox)? == Phase::Running {
            return Ok(true);
        }
        let failed = {
            let now = sandbox.now();
            if !wakes(&now) {
                return Ok(false);
            }
            (now.not_woken.0 != before).then(|| now.not_woken.1.clone())
        };
        if let Some(Some(error)) = failed {
            return Err(error);
        }
        let wish = Wish {
            seconds: limits::WAKE_LIFE_S,
            memory: true,
            or_running: true,
            at_deadline: None,
        };
        wake(&gateway, &sandbox, wish, "traffic")
            .await
            .map(|()| true)
    }));
    match tokio::time::timeout(limits::WAKE_TIMEOUT, woken).await {
        Err(_) => Err(Asleep::Changing),
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Asleep::Gone),
        Ok(Err(error)) => {
            // Killed or ended while it was waited for.
            let gone = sandbox.now().killing || sandbox.ended.is_cancelled();
            Err(if gone || error.status == StatusCode::NOT_FOUND {
                Asleep::Gone
            } else {
                Asleep::Failed(error)
            })
        }
    }
}

/// Whether traffic wakes it. One that lost its memory is not started anew behind its owner's back.
fn wakes(now: &Now) -> bool {
    now.record.auto_resume && now.record.paused == Some(Kept::Memory)
}

/// Whether a request may wake it, now or when it has been paused in a moment.
pub(crate) fn may_wake(sandbox: &Sandbox) -> bool {
    let now = sandbox.now();
    now.phase != Phase::Running && now.record.auto_resume && now.record.paused != Some(Kept::Disk)
}

/// Wakes it; its lock is held and it is paused.
async fn wake(
    gateway: &Arc<Gateway>,
    sandbox: &Arc<Sandbox>,
    wish: Wish,
    who: &str,
) -> Result<(), ApiError> {
    let mut kept = {
        let mut now = sandbox.now();
        now.phase = Phase::Resuming;
        now.record.paused.unwrap_or(Kept::Disk)
    };
    match start(gateway, sandbox, wish, &mut kept).await {
        Ok(_) if sandbox.ended.is_cancelled() => Err(ApiError::no_sandbox(sandbox.id.as_str())),
        Ok(memory) => {
            woken(gateway, sandbox, wish.seconds, Some(memory));
            let note = if memory {
                ""
            } else {
                "started anew from its disk"
            };
            let id = sandbox.id.as_str();
            gateway.registry.audit(who, "sandbox.resume", id, note);
            Ok(())
        }
        Err(error) => {
            back_to_sleep(gateway, sandbox, kept).await;
            let mut now = sandbox.now();
            now.not_woken = (now.not_woken.0 + 1, Some(error.clone()));
            Err(error)
        }
    }
}

/// It runs again; `memory` says whether its processes went on, if that is known.
fn woken(gateway: &Gateway, sandbox: &Sandbox, seconds: u64, memory: Option<bool>) {
    let end = {
        let mut now = sandbox.now();
        let start = Micros::now();
        now.phase = Phase::Running;
        now.record.paused = None;
        now.not_woken.1 = None;
        now.record.started = start.into();
        now.record.end = start.plus_seconds(seconds).into();
        Micros::from(now.record.end)
    };
    save(gateway, sandbox);
    let data = json!({ "memory": memory, "end_at": end });
    gateway
        .events
        .write(EventKind::Resumed, &sandbox.record(), data);
}

/// Sets its deadline and asks the backend. Returns whether its processes went on; otherwise the agent has been
/// told its variables and token again. If it fails, `kept` says what is worth keeping: not the processes of a
/// sandbox that was started anew, for its agent asks nobody for a token yet and its network may be closed.
async fn start(
    gateway: &Gateway,
    sandbox: &Arc<Sandbox>,
    wish: Wish,
    kept: &mut Kept,
) -> Result<bool, ApiError> {
    let memory = wish.memory && kept.memory();
    let ttl_ms = wish.seconds.saturating_mul(1000);
    let (id, at_deadline) = (sandbox.id.clone(), wish.at_deadline);
    match gateway.peers.lease_turn(id, ttl_ms, at_deadline).await {
        Err(error) if error.fault() == Some(FaultCode::NotFound) => {
            return Err(ApiError::no_sandbox(sandbox.id.as_str()));
        }
        other => other?,
    }
    if let Some(at_deadline) = at_deadline {
        sandbox.now().record.at_deadline = at_deadline;
    }
    let ask = gateway_plugin::Ask::Resume {
        op: OpId(random::bytes()?),
        deadline_ms: u32::try_from(limits::STATE_TIMEOUT.as_millis()).unwrap_or(u32::MAX),
        sandbox: sandbox.id.clone(),
        memory,
        limits: sandbox.now().record.limits,
    };
    if !memory {
        *kept = Kept::Disk;
    }
    let cell = async {
        match gateway.peers.plugin(ask, limits::STATE_TIMEOUT).await? {
            gateway_plugin::Answer::Resumed { memory } => Ok(memory),
            _ => Err(AskError::Answer("the plugin host")),
        }
    };
    let went_on = if memory {
        cell.await?
    } else {
        tokio::try_join!(cell, policy_again(gateway, sandbox))?.0
    };
    // A try whose end nobody knows may have started it anew.
    let in_doubt = sandbox.now().not_woken.1.is_some();
    if went_on && !in_doubt {
        return Ok(true);
    }
    if !went_on {
        *kept = Kept::Disk;
    }
    if memory {
        policy_again(gateway, sandbox).await?;
    }
    init(sandbox, limits::AGENT_TIMEOUT.max(gateway.create_timeout)).await?;
    check(gateway, sandbox).await?;
    Ok(went_on)
}

/// A sandbox that starts anew gets a new place in the network: netd is told its policy again, in case it does not
/// have it any more.
async fn policy_again(gateway: &Gateway, sandbox: &Sandbox) -> Result<(), AskError> {
    let _one = sandbox.network.lock().await;
    put_in_force_now(gateway, sandbox, limits::ASK_TIMEOUT).await
}

/// It could not be woken, or not whole: it is paused again, as privd has it.
async fn back_to_sleep(gateway: &Gateway, sandbox: &Arc<Sandbox>, kept: Kept) {
    let mut state = gateway.peers.lease(&sandbox.id).await;
    if let Ok(Some(lease)) = &mut state
        && matches!(lease.state, LeaseState::Running | LeaseState::Open)
    {
        // Started anew, and its agent does not answer: only the disk counts. With its processes, they go on
        // counting too.
        match pause::put_to_sleep(gateway, sandbox, kept.memory()).await {
            Ok(kept) => {
                lease.state = LeaseState::Paused {
                    memory: kept.memory(),
                }
            }
            Err(error) => eprintln!(
                "gatewayd: {}: neither awake nor paused: {error}",
                sandbox.id
            ),
        }
    }
    let kept = match state {
        Ok(None) => {
            sandbox.end();
            tell_end(gateway, &sandbox.record(), "lost");
            gateway.registry.remove(&sandbox.id);
            return;
        }
        Ok(Some(lease)) => match lease.state {
            LeaseState::Paused { memory } => Kept::of(memory),
            _ => kept,
        },
        Err(_) => kept,
    };
    let before = {
        let mut now = sandbox.now();
        now.phase = Phase::Paused;
        now.record.paused.replace(kept)
    };
    sandbox.cut();
    if (before, kept) == (Some(Kept::Memory), Kept::Disk) {
        pause::memory_lost(gateway, sandbox);
    } else {
        save(gateway, sandbox);
    }
}

/// After a restart: privd has woken it, and the gateway that asked for it died before it was done. The agent
/// may not have heard its token, so it is told again.
pub(super) async fn finish(gateway: Arc<Gateway>, sandbox: Arc<Sandbox>, ttl_ms: u64) {
    let _one = alone(&sandbox).await;
    let kept = sandbox.now().record.paused;
    // One of which only the disk was kept was started anew; of another nobody knows.
    let went_on = (kept == Some(Kept::Disk)).then_some(false);
    let told = async {
        policy_again(&gateway, &sandbox).await?;
        init(&sandbox, limits::AGENT_TIMEOUT.max(gateway.create_timeout)).await?;
        check(&gateway, &sandbox).await.map_err(ApiError::from)
    };
    match told.await {
        Ok(()) => woken(&gateway, &sandbox, ttl_ms / 1000, went_on),
        Err(error) => {
            eprintln!("gatewayd: {}: not woken: {error}", sandbox.id);
            back_to_sleep(&gateway, &sandbox, Kept::Disk).await;
        }
    }
}
