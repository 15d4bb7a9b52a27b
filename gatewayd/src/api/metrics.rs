//! Metrics: one sample, taken when asked. What this host does not count is said to be zero, and the
//! totals are the sandbox's limits.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use serde_json::json as value;
use warder_wire::SandboxId;

use super::sandbox::find;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, json};
use crate::sandbox::Sandbox;
use crate::text::query_pairs;

/// Most ids in one question.
const BATCH: usize = 100;
const MIB: u64 = 1024 * 1024;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sample {
    timestamp: Micros,
    timestamp_unix: u64,
    cpu_count: u32,
    cpu_used_pct: f64,
    mem_used: u64,
    mem_total: u64,
    mem_cache: u64,
    disk_used: u64,
    disk_total: u64,
}

async fn sample(gateway: &Gateway, sandbox: &Arc<Sandbox>) -> Result<Sample, ApiError> {
    let usage = gateway.peers.usage(sandbox.id.clone()).await?;
    let at = Micros::now();
    let mut now = sandbox.now();
    let limits = now.record.limits;
    // Since the last look, or since the start: an average, of one CPU.
    let (since, before) = now
        .cpu_seen
        .unwrap_or((Micros::from(now.record.started).0, 0));
    let used = usage.cpu_us.unwrap_or(0);
    now.cpu_seen = Some((at.0, used));
    let span = at.0.saturating_sub(since).max(1);
    #[expect(clippy::cast_precision_loss, reason = "microseconds far below 2^52")]
    let cpu_used_pct = used.saturating_sub(before) as f64 * 100.0 / span as f64;
    Ok(Sample {
        timestamp: at,
        timestamp_unix: at.0 / 1_000_000,
        cpu_count: limits.cpu_percent.div_ceil(100),
        cpu_used_pct: (cpu_used_pct * 100.0).round() / 100.0,
        mem_used: usage.memory.unwrap_or(0),
        mem_total: u64::from(limits.memory_mib) * MIB,
        mem_cache: 0,
        disk_used: 0,
        disk_total: u64::from(limits.disk_mib) * MIB,
    })
}

/// `GET /sandboxes/{id}/metrics`: the sample of now if now lies within what is asked for.
pub(super) async fn single(
    gateway: &Gateway,
    id: &str,
    query: Option<&str>,
) -> Result<Answer, ApiError> {
    let pairs = query_pairs(query.unwrap_or_default())
        .ok_or_else(|| ApiError::bad("the query has a broken escape"))?;
    let bound = |name: &str| {
        let given = pairs.iter().find(|(n, _)| n == name);
        given
            .map(|(_, v)| {
                v.parse::<u64>()
                    .map_err(|_| ApiError::bad(format!("{name} must be seconds since 1970")))
            })
            .transpose()
    };
    let (start, end) = (bound("start")?, bound("end")?);
    let sandbox = find(gateway, id)?;
    let sample = sample(gateway, &sandbox).await?;
    let within = start.is_none_or(|t| t <= sample.timestamp_unix)
        && end.is_none_or(|t| sample.timestamp_unix <= t);
    Ok(json(
        StatusCode::OK,
        &if within { vec![sample] } else { Vec::new() },
    ))
}

/// `GET /sandboxes/metrics?sandbox_ids=a,b`: those that are not known are left out.
pub(super) async fn batch(gateway: &Gateway, query: Option<&str>) -> Result<Answer, ApiError> {
    let pairs = query_pairs(query.unwrap_or_default())
        .ok_or_else(|| ApiError::bad("the query has a broken escape"))?;
    let ids: Vec<&str> = pairs
        .iter()
        .filter(|(name, _)| name == "sandbox_ids")
        .flat_map(|(_, value)| value.split(','))
        .filter(|id| !id.is_empty())
        .collect();
    if ids.is_empty() || ids.len() > BATCH {
        return Err(ApiError::bad(format!(
            "sandbox_ids must have 1 to {BATCH} ids"
        )));
    }
    let mut all = serde_json::Map::new();
    for id in ids {
        let Some(sandbox) = SandboxId::new(id)
            .ok()
            .and_then(|id| gateway.registry.get(&id))
        else {
            continue;
        };
        if let Ok(sample) = sample(gateway, &sandbox).await {
            all.insert(id.to_owned(), value!(sample));
        }
    }
    Ok(json(StatusCode::OK, &value!({ "sandboxes": all })))
}
