//! Warm pools: sandboxes made before anybody asks for one.
//!
//! Each has a lease of its own, which is renewed; its agent knows its token, its network is as open as one gets
//! that says nothing, and connections to its agent wait. A create that wants nothing else takes one out, once and
//! for good, and gives it what is its own: a deadline, variables, a record. If that fails it is ended and the create
//! goes on without it. No user code has ever run in one that is handed out.

mod pools;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::Semaphore;
use warder_wire::gateway_priv::AtDeadline;
use warder_wire::{FaultCode, Limits, TemplateName};

use pools::Place;
pub(crate) use pools::WarmPools;

use crate::auth::Caller;
use crate::auth::key::hex;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::lifecycle::{NewSandbox, hidden, init, put_in_force_now};
use crate::limits;
use crate::peers::Peers;
use crate::proxy::Https;
use crate::random;
use crate::registry::record::Change;
use crate::sandbox::{Phase, Sandbox};

/// Made at once.
const FILLERS: usize = 2;
/// Pause between looks when nothing is to be made.
const TICK: Duration = Duration::from_secs(1);
/// How long after a create its first commands have the machine to themselves.
const QUIET: Duration = Duration::from_millis(30);

/// Keeps so many sandboxes of a template ready.
///
/// # Errors
/// 404 for a template nobody knows, 400 for too many.
pub(crate) async fn resize(
    gateway: &Gateway,
    template: TemplateName,
    size: u32,
) -> Result<(), ApiError> {
    if size > limits::POOL {
        let text = format!("a pool may have {} sandboxes at most", limits::POOL);
        return Err(ApiError::bad(text));
    }
    if size > 0 {
        let all = gateway.peers.templates().await?;
        if !all.iter().any(|known| known.name == template) {
            return Err(ApiError::no_template(template.as_str()));
        }
    }
    let written = gateway.registry.keep(Change::Pool(template.clone(), size));
    written.await.map_err(|error| {
        let text = format!("the pool could not be written down: {error}");
        ApiError::new(StatusCode::INSUFFICIENT_STORAGE, text).retry(false)
    })?;
    let (name, note) = (template.as_str(), size.to_string());
    gateway.registry.audit("operator", "pool.set", name, note);
    let size = usize::try_from(size).unwrap_or(0);
    gateway.warm.resize(template, size);
    Ok(())
}

/// A template changes: what was made of it before is not handed out any more.
pub(crate) async fn changed(gateway: &Gateway, template: &TemplateName) {
    for sandbox in gateway.warm.changed(template) {
        hidden::end(gateway, &sandbox).await;
    }
}

/// Ends one, so that there is room for a sandbox that a user asked for. False: there is none.
pub(crate) async fn give_up(gateway: &Gateway) -> bool {
    match gateway.warm.give_up() {
        Some(sandbox) => {
            hidden::end(gateway, &sandbox).await;
            true
        }
        None => false,
    }
}

/// A sandbox as asked for, out of its template's pool; `None` when there is none that will do.
pub(crate) async fn claim(
    gateway: &Gateway,
    caller: &Caller,
    new: &NewSandbox,
) -> Option<Arc<Sandbox>> {
    if !new.volumes.is_empty() || new.airgap {
        return None;
    }
    let sandbox = gateway.warm.take(&new.from)?;
    match adopt(gateway, caller, &sandbox, new).await {
        Ok(()) => Some(sandbox),
        Err(error) => {
            eprintln!("gatewayd: {}: not handed out: {error}", sandbox.id);
            gateway.registry.forget(&sandbox.id);
            hidden::end(gateway, &sandbox).await;
            None
        }
    }
}

async fn adopt(
    gateway: &Gateway,
    caller: &Caller,
    sandbox: &Arc<Sandbox>,
    new: &NewSandbox,
) -> Result<(), ApiError> {
    // Until it is its owner's; see `renew`.
    let _one = sandbox.moving.lock().await;
    let traffic_token = match new.network.fixed.public_traffic {
        Some(false) => Some(hex(&random::bytes::<20>()?)),
        _ => None,
    };
    let started = Micros::now();
    // Open is what it has been since it was made, unless netd was lost meanwhile.
    let _network = sandbox.network.lock().await;
    let open = sandbox.now().record.standing.settled() && new.network.policy(false).is_open();
    {
        let mut now = sandbox.now();
        let record = &mut now.record;
        record.owner = caller.key_id();
        record.started = started.into();
        record.end = started.plus_seconds(new.timeout).into();
        record.template.clone_from(&new.template);
        record.alias.clone_from(&new.alias);
        record.at_deadline = new.at_deadline;
        record.auto_resume = new.auto_resume;
        record.metadata.clone_from(&new.metadata);
        record.variables.clone_from(&new.variables);
        record.network.clone_from(&new.network);
        record.traffic_token.clone_from(&traffic_token);
        record.mcp.clone_from(&new.mcp);
        if !open {
            record.standing.generation += 1;
        }
    }
    if let Some(token) = traffic_token {
        sandbox.traffic_token.get_or_init(|| token);
    }
    if let Some(ports) = &new.network.fixed.https {
        sandbox.https.get_or_init(|| Https::new(ports.clone()));
    }
    sandbox.let_in().await;
    let lease = async {
        let ttl_ms = new.timeout.saturating_mul(1000);
        let at = (new.at_deadline != AtDeadline::Destroy).then_some(new.at_deadline);
        let moved = gateway.peers.lease_turn(sandbox.id.clone(), ttl_ms, at);
        moved.await.map_err(ApiError::from)
    };
    let policy = async {
        if !open {
            put_in_force_now(gateway, sandbox, limits::ASK_TIMEOUT).await?;
        }
        Ok(())
    };
    let inside = async {
        if !new.variables.is_empty() {
            init(sandbox, limits::AGENT_TIMEOUT).await?;
        }
        Ok(())
    };
    tokio::try_join!(lease, policy, inside)?;
    // As for any other: written down before anybody can see it.
    gateway.registry.save(sandbox).map_err(|error| {
        let text = format!("the sandbox could not be written down: {error}");
        ApiError::new(StatusCode::INSUFFICIENT_STORAGE, text).retry(false)
    })?;
    if sandbox.made() {
        Ok(())
    } else {
        Err(ApiError::internal("it has ended"))
    }
}

/// Fills, renews and thins out, for as long as this process lives.
pub(crate) async fn tend(gateway: Arc<Gateway>) {
    let fillers = Arc::new(Semaphore::new(FILLERS));
    loop {
        for sandbox in gateway.warm.surplus() {
            hidden::end(&gateway, &sandbox).await;
        }
        for sandbox in gateway.warm.aging() {
            renew(&gateway.peers, &sandbox).await;
        }
        // Never closed.
        let Ok(permit) = Arc::clone(&fillers).acquire_owned().await else {
            return;
        };
        let busy = gateway.creates.available_permits() < limits::PENDING_CREATES;
        let quiet = !busy && gateway.warm.unclaimed_for(QUIET);
        let pause = match quiet.then(|| gateway.warm.begin()) {
            Some(Some(place)) => {
                let gateway = Arc::clone(&gateway);
                tokio::spawn(async move {
                    fill(&gateway, &place).await;
                    drop(permit);
                });
                continue;
            }
            Some(None) => TICK,
            None => QUIET,
        };
        drop(permit);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = gateway.warm.wake.notified() => {}
        }
    }
}

/// One that is being taken out, or was, gets or has a deadline of its own, which this must not move.
async fn renew(peers: &Peers, sandbox: &Sandbox) {
    let Ok(_one) = sandbox.moving.try_lock() else {
        return;
    };
    if sandbox.now().phase != Phase::Creating {
        return;
    }
    let ttl_ms = u64::try_from(limits::HIDDEN_TTL.as_millis()).unwrap_or(u64::MAX);
    match peers.lease_set(sandbox.id.clone(), ttl_ms).await {
        Ok(()) => {}
        // Gone, and privd's word of it on its way.
        Err(error) if error.fault() == Some(FaultCode::NotFound) => sandbox.end(),
        Err(error) => eprintln!("gatewayd: {}: lease not renewed: {error}", sandbox.id),
    }
}

async fn fill(gateway: &Gateway, place: &Place) {
    match prepare(gateway, place.template.clone()).await {
        Ok(sandbox) => {
            if let Some(unwanted) = gateway.warm.filled(place, sandbox) {
                hidden::end(gateway, &unwanted).await;
            }
        }
        Err(error) => {
            if gateway.warm.failed(place, error.message.clone()) {
                eprintln!("gatewayd: pool of {}: {error}", place.template);
            }
        }
    }
}

async fn prepare(gateway: &Gateway, template: TemplateName) -> Result<Arc<Sandbox>, ApiError> {
    let (limits, ttl) = (Limits::MOST, limits::HIDDEN_TTL);
    let sandbox = hidden::make(gateway, template, limits, Vec::new(), ttl).await?;
    let outside = async {
        let open = put_in_force_now(gateway, &sandbox, limits::ASK_TIMEOUT);
        open.await.map_err(ApiError::from)
    };
    // Its connections wait for the create and for the client's first request.
    let inside = init(&sandbox, gateway.create_timeout);
    match tokio::try_join!(outside, inside) {
        Ok(_) => Ok(sandbox),
        Err(error) => {
            hidden::end(gateway, &sandbox).await;
            Err(error)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use warder_ipc::Channel;
    use warder_ipc::aio::Reaper;
    use warder_wire::gateway_priv::{Answer, Ask, Event};
    use warder_wire::{Message, Request, SandboxId};

    use super::*;
    use crate::network::{Network, Standing};
    use crate::registry::record::SandboxRecord;

    /// A record that says little.
    pub(crate) fn record() -> SandboxRecord {
        SandboxRecord {
            id: SandboxId::from_random(&[1; 20]),
            template: TemplateName::new("base").expect("name"),
            alias: None,
            owner: None,
            envd_token: String::new(),
            traffic_token: None,
            started: Micros(1).into(),
            end: Micros(2).into(),
            at_deadline: AtDeadline::Destroy,
            auto_resume: false,
            paused: None,
            variables: BTreeMap::new(),
            metadata: BTreeMap::new(),
            network: Network::default(),
            standing: Standing::NEW,
            limits: Limits::DEFAULT,
            mcp: None,
            volumes: Vec::new(),
        }
    }

    #[tokio::test]
    async fn the_deadline_of_one_that_is_taken_out_is_not_touched() {
        let (ours, mut privd) = Channel::pair().expect("socketpair");
        let (peers, _events) = Peers::new(ours).expect("watched");
        let peers = Arc::new(peers);
        let reaper = Reaper::start().expect("thread");
        let sandbox = Sandbox::new(record(), Phase::Creating, &peers, &reaper);
        let answers = async {
            loop {
                if let Some((ask, _)) = privd.recv::<Request<Ask>>().expect("open") {
                    assert!(matches!(
                        ask.body,
                        Ask::LeaseSet {
                            ttl_ms: 120_000,
                            ..
                        }
                    ));
                    let (seq, result) = (ask.seq, Ok(Answer::Done));
                    let reply = Message::<Answer, Event>::Reply { seq, result };
                    return privd.send(&reply, Vec::new()).expect("room");
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(renew(&peers, &sandbox), answers);
        // A create is at it.
        let adopting = sandbox.moving.lock().await;
        renew(&peers, &sandbox).await;
        assert!(sandbox.made());
        drop(adopting);
        // And has it: the pool's list of those to renew may be older than that.
        renew(&peers, &sandbox).await;
        assert!(privd.recv::<Request<Ask>>().expect("open").is_none());
    }

    #[tokio::test]
    async fn one_that_has_ended_is_left_to_be_put_away() {
        let (ours, _privd) = Channel::pair().expect("socketpair");
        let (peers, _events) = Peers::new(ours).expect("watched");
        let (peers, reaper) = (Arc::new(peers), Reaper::start().expect("thread"));
        let pools = WarmPools::default();
        let template = TemplateName::new("base").expect("name");
        pools.resize(template.clone(), 2);
        for n in [1, 2] {
            let id = SandboxId::from_random(&[n; 20]);
            let one = SandboxRecord { id, ..record() };
            let one = Sandbox::new(one, Phase::Creating, &peers, &reaper);
            if n == 2 {
                one.end();
            }
            let place = pools.begin().expect("wanted");
            assert!(pools.filled(&place, one).is_none());
        }
        let taken = pools.take(&template).expect("one is well");
        assert_eq!(taken.id, record().id);
        assert!(pools.take(&template).is_none());
        let left = pools.surplus();
        assert_eq!(left.len(), 1, "nobody else would take it off the registry");
        assert!(left[0].ended.is_cancelled());
    }
}
