//! The host, the instance, the audit.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json as value};
use warder_wire::LimitState;

use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, json};
use crate::lifecycle::check_networks;
use crate::limits;
use crate::text::query_pairs;

fn word(state: LimitState) -> &'static str {
    match state {
        LimitState::Enforced => "enforced",
        LimitState::StandIn => "stand-in",
        LimitState::Absent => "absent",
    }
}

pub(super) async fn report(gateway: &Gateway) -> Result<Answer, ApiError> {
    let report = gateway.peers.host_report().await?;
    let features: Vec<Value> = report
        .features
        .iter()
        .map(|feature| value!({ "name": feature.name, "present": feature.present, "note": feature.note }))
        .collect();
    let limits = report.limits;
    Ok(json(
        StatusCode::OK,
        &value!({
            "tag": report.tag.to_string(),
            "limits": {
                "memory": word(limits.memory),
                "cpu": word(limits.cpu),
                "pids": word(limits.pids),
                "disk": word(limits.disk),
            },
            "sandboxes": report.sandboxes.1,
            "maxSandboxes": report.sandboxes.0,
            "storageFree": report.storage.0,
            "storageTotal": report.storage.1,
            "features": features,
        }),
    ))
}

pub(super) async fn certificates(gateway: &Gateway) -> Result<Answer, ApiError> {
    complete(gateway, 0).await?;
    Ok(json(StatusCode::OK, &gateway.certificates.report()))
}

/// What was opened anew, and what stays as it was because it could not be.
pub(super) async fn reload(gateway: &Arc<Gateway>) -> Result<Answer, ApiError> {
    let (round, faults) = gateway.peers.reload().await?;
    complete(gateway, round).await?;
    gateway.registry.audit("operator", "reload", "", "");
    // What templates may use of the network may have changed; netd hears that from privd, not from us.
    let looking = Arc::clone(gateway);
    tokio::spawn(async move {
        for pause in [Duration::ZERO, Duration::from_secs(1)] {
            tokio::time::sleep(pause).await;
            check_networks(Arc::clone(&looking)).await;
        }
    });
    let certificates = gateway.certificates.report();
    let [log, networks] = faults.map(|fault| fault.map(|f| f.detail));
    Ok(json(
        StatusCode::OK,
        &value!({ "certificates": certificates, "log": log, "networks": networks }),
    ))
}

/// Waits for the certificates of a round, which privd sends before it answers.
async fn complete(gateway: &Gateway, round: u32) -> Result<(), ApiError> {
    if gateway.tls {
        let all = gateway.certificates.complete(round);
        tokio::time::timeout(limits::ASK_TIMEOUT, all)
            .await
            .map_err(|_| ApiError::internal("privd sent no certificates"))?;
    }
    Ok(())
}

pub(super) fn audit(gateway: &Gateway, query: Option<&str>) -> Result<Answer, ApiError> {
    let pairs = query_pairs(query.unwrap_or_default()).unwrap_or_default();
    let limit = match pairs.iter().find(|(name, _)| name == "limit") {
        None => 100,
        Some((_, text)) => text
            .parse()
            .map_err(|_| ApiError::bad("limit must be a number"))?,
    };
    let most = usize::try_from(limits::AUDIT_LINES).unwrap_or(usize::MAX);
    let lines = gateway
        .registry
        .audit_lines(limit.min(most))
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let shown: Vec<Value> = lines
        .iter()
        .map(|line| {
            value!({
                "at": Micros::from(line.at),
                "who": line.who,
                "what": line.what,
                "on": line.on,
                "note": line.note,
            })
        })
        .collect();
    Ok(json(StatusCode::OK, &shown))
}

pub(super) fn instance(gateway: &Gateway) -> Answer {
    let (net, plugin) = gateway.peers.present();
    let creating = limits::PENDING_CREATES - gateway.creates.available_permits();
    json(
        StatusCode::OK,
        &value!({
            "tag": gateway.tag.to_string(),
            "version": env!("CARGO_PKG_VERSION"),
            "domain": gateway.domain(),
            "domains": gateway.domains,
            "backend": gateway.backend.as_str(),
            "since": gateway.since,
            "sandboxes": gateway.registry.all().len(),
            "creating": creating,
            "netd": net,
            "pluginHost": plugin,
            "events": {
                "oldest": gateway.events.oldest(),
                "newest": *gateway.events.newest().borrow(),
                "notWritten": gateway.events.unwritten(),
            },
        }),
    )
}
