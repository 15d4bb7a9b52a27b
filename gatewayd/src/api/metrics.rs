//! Metrics: samples of what sandboxes use. What this host does not count is said to be zero, and the totals are
//! the sandbox's limits.

use http::StatusCode;
use serde::Serialize;
use serde_json::json as value;
use warder_wire::{Limits, SandboxId};

use super::sandbox::find;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, json};
use crate::metrics::{self, Sample};
use crate::text::query_pairs;

/// Most ids in one question.
const BATCH: usize = 100;
const MIB: u64 = 1024 * 1024;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
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

fn view(sample: Sample, limits: &Limits) -> View {
    View {
        timestamp: Micros(sample.at() * 1_000_000),
        timestamp_unix: sample.at(),
        cpu_count: limits.cpu_percent.div_ceil(100),
        cpu_used_pct: sample.cpu_percent(),
        mem_used: sample.memory(),
        mem_total: u64::from(limits.memory_mib) * MIB,
        mem_cache: sample.cache(),
        disk_used: sample.disk(),
        disk_total: u64::from(limits.disk_mib) * MIB,
    }
}

/// `GET /sandboxes/{id}/metrics`: the series, between two times (Unix seconds) if they are given. A sandbox nobody
/// has looked at yet is looked at now.
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
    if let (Some(start), Some(end)) = (start, end)
        && end < start
    {
        return Err(ApiError::bad("end must not lie before start"));
    }
    let sandbox = find(gateway, id)?;
    metrics::newest(gateway, &sandbox).await;
    let limits = sandbox.now().record.limits;
    let shown: Vec<View> = sandbox
        .series()
        .within(start, end)
        .into_iter()
        .map(|sample| view(sample, &limits))
        .collect();
    Ok(json(StatusCode::OK, &shown))
}

/// `GET /sandboxes/metrics?sandbox_ids=a,b`: the newest sample of each; those that are not known are left out.
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
        if let Some(sample) = metrics::newest(gateway, &sandbox).await {
            let limits = sandbox.now().record.limits;
            all.insert(id.to_owned(), value!(view(sample, &limits)));
        }
    }
    Ok(json(StatusCode::OK, &value!({ "sandboxes": all })))
}
