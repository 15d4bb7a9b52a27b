//! Making a sandbox.
//!
//! privd opens the lease; then netd gets the policy while the plugin host makes the cell (the slot is
//! closed until netd has the policy, so their order does not matter); then the agent gets its variables
//! and token. Whatever fails, the lease is ended, and with it everything that was made under it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};
use http_body_util::{Either, Full};
use serde::Serialize;
use tokio::time::Instant;
use warder_wire::gateway_priv::AtDeadline;
use warder_wire::{FaultCode, Limits, OpId, SandboxId, TemplateName, gateway_plugin};

use crate::auth::Caller;
use crate::auth::key::hex;
use crate::clock::Micros;
use crate::error::{ApiError, AskError};
use crate::gateway::Gateway;
use crate::limits;
use crate::network::{Network, Standing};
use crate::peers::Peers;
use crate::proxy::{self, Outgoing};
use crate::random;
use crate::registry::record::{EventKind, Mounted, SandboxRecord};
use crate::sandbox::{Phase, Sandbox};
use crate::warm;

/// What was asked for, checked.
#[derive(Clone, Debug)]
pub(crate) struct NewSandbox {
    /// What it is cloned from.
    pub(crate) from: TemplateName,
    /// The template that clients are told.
    pub(crate) template: TemplateName,
    /// That one's name for people, where it has another.
    pub(crate) alias: Option<String>,
    /// Seconds to live.
    pub(crate) timeout: u64,
    /// What happens then.
    pub(crate) at_deadline: AtDeadline,
    /// Whether traffic wakes it.
    pub(crate) auto_resume: bool,
    /// As given.
    pub(crate) metadata: BTreeMap<String, String>,
    /// For every process inside.
    pub(crate) variables: BTreeMap<String, String>,
    /// As given.
    pub(crate) network: Network,
    /// Whether it begins air-gapped.
    pub(crate) airgap: bool,
    /// As given, as JSON text.
    pub(crate) mcp: Option<String>,
    /// Where to mount which volumes.
    pub(crate) volumes: Vec<Mounted>,
    /// The sandbox it is a fork of.
    pub(crate) fork_of: Option<SandboxId>,
}

/// Makes the sandbox. It goes on to its end, or is undone, also when the caller stops waiting; as nobody
/// learns its id then, it is ended again.
///
/// # Errors
/// [`ApiError`]; no trace is left then.
pub(crate) async fn create(
    gateway: &Arc<Gateway>,
    caller: Caller,
    new: NewSandbox,
) -> Result<Arc<Sandbox>, ApiError> {
    let permit = Arc::clone(&gateway.creates)
        .try_acquire_owned()
        .map_err(|_| {
            ApiError::new(
                http::StatusCode::TOO_MANY_REQUESTS,
                "too many sandboxes are being created at once",
            )
        })?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let gateway = Arc::clone(gateway);
    tokio::spawn(async move {
        let _permit = permit;
        let result = match warm::claim(&gateway, &caller, &new).await {
            Some(sandbox) => {
                tell(&gateway, &caller, &sandbox, None);
                Ok(sandbox)
            }
            None => make(&gateway, &caller, new).await,
        };
        if let Err(Ok(sandbox)) = sender.send(result) {
            let _ = super::kill(&gateway, &sandbox.id, &caller).await;
        }
    });
    receiver
        .await
        .map_err(|_| ApiError::internal("the create was lost"))?
}

/// Says that it was made.
fn tell(gateway: &Gateway, caller: &Caller, sandbox: &Sandbox, fork_of: Option<SandboxId>) {
    let record = sandbox.record();
    let mut data = serde_json::json!({ "end_at": Micros::from(record.end) });
    if let Some(source) = fork_of {
        // Whoever forks elsewhere has its processes too: that they are missing is not to be found out by chance.
        data["fork_of"] = source.as_str().into();
        data["memory"] = false.into();
    }
    gateway.events.write(EventKind::Created, &record, data);
    gateway.registry.audit(
        caller.name(),
        "sandbox.create",
        record.id.as_str(),
        record.template.as_str(),
    );
}

/// Makes it, in the caller's own time.
///
/// # Errors
/// [`ApiError`]; no trace is left then.
pub(super) async fn make(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    new: NewSandbox,
) -> Result<Arc<Sandbox>, ApiError> {
    let id = SandboxId::from_random(&random::bytes()?);
    let envd_token = hex(&random::bytes::<20>()?);
    let traffic_token = if new.network.fixed.public_traffic == Some(false) {
        Some(hex(&random::bytes::<20>()?))
    } else {
        None
    };
    let op = OpId(random::bytes()?);
    let started = Micros::now();
    let mut record = SandboxRecord {
        id: id.clone(),
        template: new.template,
        alias: new.alias,
        owner: caller.key_id(),
        envd_token,
        traffic_token,
        started: started.into(),
        end: started.plus_seconds(new.timeout).into(),
        at_deadline: new.at_deadline,
        auto_resume: new.auto_resume,
        paused: None,
        metadata: new.metadata,
        variables: new.variables,
        network: new.network,
        standing: Standing {
            airgap: new.airgap,
            ..Standing::NEW
        },
        // As much as its template gives: privd says how much that is.
        limits: Limits::MOST,
        mcp: new.mcp,
        volumes: new.volumes,
    };
    let deadline = Instant::now() + gateway.create_timeout;
    let mut opened = open(gateway, &record, (new.from.clone(), new.timeout)).await;
    while opened.as_ref().err().and_then(AskError::fault) == Some(FaultCode::Exhausted)
        && super::hidden::make_room(gateway).await
    {
        opened = open(gateway, &record, (new.from.clone(), new.timeout)).await;
    }
    match opened {
        Ok(limits) => record.limits = limits,
        // With volumes it may be one of them: privd's own words say which.
        Err(error) if error.fault() == Some(FaultCode::NotFound) && record.volumes.is_empty() => {
            return Err(ApiError::no_template(new.from.as_str()));
        }
        // privd said no: there is no lease. Any other end leaves that open.
        Err(error @ AskError::Fault(_)) => return Err(error.into()),
        Err(error) => {
            undo(gateway, &id).await;
            return Err(error.into());
        }
    }
    let sandbox = Sandbox::new(record, Phase::Creating, &gateway.peers, &gateway.reaper);
    // Entered, so that its end is noticed; not visible yet.
    gateway.registry.enter(Arc::clone(&sandbox));
    let result = furnish(gateway, &sandbox, op, new.from, deadline).await;
    if let Err(error) = result {
        gateway.registry.leave(&id);
        sandbox.end();
        undo(gateway, &id).await;
        gateway.registry.audit(
            caller.name(),
            "sandbox.create_failed",
            id.as_str(),
            error.to_string(),
        );
        return Err(error);
    }
    tell(gateway, caller, &sandbox, new.fork_of);
    Ok(sandbox)
}

async fn open(
    gateway: &Gateway,
    record: &SandboxRecord,
    (from, timeout): (TemplateName, u64),
) -> Result<Limits, AskError> {
    let ttl_ms = timeout.saturating_mul(1000);
    let backend = gateway.backend.clone();
    gateway
        .peers
        .lease_open(backend, from, record, ttl_ms)
        .await
}

async fn furnish(
    gateway: &Gateway,
    sandbox: &Arc<Sandbox>,
    op: OpId,
    from: TemplateName,
    deadline: Instant,
) -> Result<(), ApiError> {
    let record = sandbox.record();
    let left = || deadline.saturating_duration_since(Instant::now());
    let policy = super::network::put_in_force_now(gateway, sandbox, left());
    let inside = async {
        cell(&gateway.peers, &record, from, op, deadline).await?;
        init(sandbox, left()).await
    };
    let outside = async { policy.await.map_err(create_failed) };
    tokio::try_join!(outside, inside)?;
    // Written down before anybody can see it; it is forgotten again if the rest fails.
    gateway.registry.save(sandbox).map_err(|error| {
        let text = format!("the sandbox could not be written down: {error}");
        ApiError::new(http::StatusCode::INSUFFICIENT_STORAGE, text).retry(false)
    })?;
    if !sandbox.made() {
        gateway.registry.forget(&sandbox.id);
        return Err(ApiError::internal("the sandbox ended at once").code("sandbox_create_failed"));
    }
    Ok(())
}

/// Has the backend make what the lease allows.
pub(super) async fn cell(
    peers: &Peers,
    record: &SandboxRecord,
    from: TemplateName,
    op: OpId,
    deadline: Instant,
) -> Result<(), ApiError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let ask = gateway_plugin::Ask::Create {
        op,
        deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
        sandbox: record.id.clone(),
        template: from,
        limits: record.limits,
    };
    match peers.plugin(ask, left).await {
        Ok(gateway_plugin::Answer::Created { .. }) => Ok(()),
        Ok(_) => Err(create_failed(AskError::Answer("the plugin host"))),
        Err(error) => Err(create_failed(error)),
    }
}

/// A template that privd has and the backend cannot find, say, is a fault of this server, not of the request.
fn create_failed(error: AskError) -> ApiError {
    match error.fault() {
        Some(FaultCode::NotFound | FaultCode::Conflict) => {
            ApiError::internal(error.to_string()).code("sandbox_create_failed")
        }
        _ => error.into(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Init<'a> {
    env_vars: &'a BTreeMap<String, String>,
    access_token: &'a str,
    timestamp: String,
    /// Ours alone: not every system lets a sandbox see what holds for it.
    limits: Limits,
}

/// Tells the agent its variables and its token, on a stream that only the gateway gets. A machine may still be starting:
/// it has `patience` to answer at all.
pub(crate) async fn init(sandbox: &Arc<Sandbox>, patience: Duration) -> Result<(), ApiError> {
    let (variables, limits) = {
        let now = sandbox.now();
        (now.record.variables.clone(), now.record.limits)
    };
    let failed = |what: &str| {
        ApiError::new(
            http::StatusCode::GATEWAY_TIMEOUT,
            format!("the sandbox was started and its agent {what}"),
        )
        .code("sandbox_create_failed")
    };
    let told = async {
        let body = Init {
            env_vars: &variables,
            access_token: &sandbox.envd_token,
            timestamp: sandbox.later().rfc3339(),
            limits,
        };
        let body =
            serde_json::to_vec(&body).map_err(|_| ApiError::internal("variables are no JSON"))?;
        let request: http::Request<Outgoing> = http::Request::builder()
            .method(Method::POST)
            .uri("/init")
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Either::Right(Full::new(Bytes::from(body))))
            .map_err(|_| ApiError::internal("the agent's request could not be put together"))?;
        // While the agent thinks, a stream for the first client is made ready.
        let (answer, ()) = tokio::join!(proxy::control(sandbox, request), proxy::warm(sandbox));
        let answer = answer.map_err(|error| failed(&format!("could not be told: {error}")))?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(failed("refused its variables"))
        }
    };
    let reached = sandbox.reached(patience).await;
    reached.map_err(|error| failed(&format!("could not be reached: {error}")))?;
    match tokio::time::timeout(limits::INIT_TIMEOUT, told).await {
        Ok(result) => result,
        Err(_) => Err(failed("did not answer in time")),
    }
}

/// Ends the lease, and with it all that was made under it. It is tried until privd has heard it: the
/// lease would otherwise live until its deadline.
pub(super) async fn undo(gateway: &Gateway, id: &SandboxId) {
    for pause in [10, 100, 1000] {
        match gateway
            .peers
            .lease_end(id.clone(), limits::KILL_TIMEOUT)
            .await
        {
            Ok(()) => return,
            Err(error) if error.fault() == Some(FaultCode::NotFound) => return,
            Err(error) => eprintln!("gatewayd: {id}: lease not ended: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

#[cfg(test)]
mod tests {
    use warder_ipc::Channel;
    use warder_wire::gateway_plugin::{Answer, Ask, Event};
    use warder_wire::{LimitState, LimitsInForce, Message, Request};

    use super::*;
    use crate::warm::tests::record;

    /// Whether a cell was made in `given` by a backend that takes so long, and how long that one was told it has.
    async fn made(given: Duration, takes: Duration) -> (bool, Duration) {
        let (ours, _privd) = Channel::pair().expect("socketpair");
        let (peers, _events) = Peers::new(ours).expect("watched");
        let (theirs, mut backend) = Channel::pair().expect("socketpair");
        let _events = peers.plugin_started(theirs.into_fd()).expect("watched");
        let record = record();
        let deadline = Instant::now() + given;
        let making = cell(
            &peers,
            &record,
            record.template.clone(),
            OpId([1; 16]),
            deadline,
        );
        let answers = async {
            // The clock stands still until the question has come: this is never idle.
            let (ask, _) = loop {
                match backend.recv::<Request<Ask>>().expect("open") {
                    Some(came) => break came,
                    None => tokio::task::yield_now().await,
                }
            };
            let Ask::Create { deadline_ms, .. } = ask.body else {
                panic!("{ask:?}");
            };
            tokio::time::sleep(takes).await;
            let limits = LimitsInForce {
                memory: LimitState::Enforced,
                cpu: LimitState::Enforced,
                pids: LimitState::Enforced,
                disk: LimitState::Enforced,
            };
            let (seq, result) = (ask.seq, Ok(Answer::Created { limits }));
            let reply = Message::<Answer, Event>::Reply { seq, result };
            // Nobody reads it who has given up.
            let _ = backend.send(&reply, Vec::new());
            Duration::from_millis(deadline_ms.into())
        };
        let (made, told) = tokio::join!(making, answers);
        (made.is_ok(), told)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_backend_has_as_long_as_the_operator_says() {
        let seconds = Duration::from_secs;
        for (given, takes, whole) in [
            (10, 54, false),
            (55, 56, false),
            (55, 54, true),
            (600, 599, true),
        ] {
            let (made, told) = made(seconds(given), seconds(takes)).await;
            assert_eq!(
                (made, told),
                (whole, seconds(given)),
                "{takes} of {given} s"
            );
        }
    }
}
