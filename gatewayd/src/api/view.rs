//! Sandboxes as clients see them.

use serde::Serialize;
use serde_json::{Value, json};
use warder_wire::gateway_priv::AtDeadline;

use crate::clock::Micros;
use crate::gateway::Gateway;
use crate::limits::{CLIENT_ID, ENVD_VERSION};
use crate::network::Shown;
use crate::registry::record::{Kept, SandboxRecord};

/// Answer to create and connect.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SandboxView<'a> {
    #[serde(rename = "templateID")]
    template_id: &'a str,
    #[serde(rename = "sandboxID")]
    sandbox_id: &'a str,
    #[serde(rename = "clientID")]
    client_id: &'static str,
    envd_version: &'static str,
    alias: &'a str,
    envd_access_token: &'a str,
    traffic_access_token: Option<&'a str>,
    domain: Option<&'a str>,
}

fn alias(record: &SandboxRecord) -> &str {
    record.alias.as_deref().unwrap_or(record.template.as_str())
}

/// Of a record.
pub(super) fn sandbox<'a>(gateway: &'a Gateway, record: &'a SandboxRecord) -> SandboxView<'a> {
    SandboxView {
        template_id: record.template.as_str(),
        sandbox_id: record.id.as_str(),
        client_id: CLIENT_ID,
        envd_version: ENVD_VERSION,
        alias: alias(record),
        envd_access_token: &record.envd_token,
        traffic_access_token: record.traffic_token.as_deref(),
        domain: gateway.domain(),
    }
}

/// An entry of a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed<'a> {
    #[serde(rename = "templateID")]
    template_id: &'a str,
    #[serde(rename = "sandboxID")]
    sandbox_id: &'a str,
    #[serde(rename = "clientID")]
    client_id: &'static str,
    envd_version: &'static str,
    alias: &'a str,
    started_at: Micros,
    end_at: Micros,
    cpu_count: u32,
    #[serde(rename = "memoryMB")]
    memory_mb: u32,
    #[serde(rename = "diskSizeMB")]
    disk_size_mb: u32,
    state: &'static str,
    metadata: &'a std::collections::BTreeMap<String, String>,
    volume_mounts: Vec<MountView<'a>>,
}

/// A volume in a sandbox.
#[derive(Debug, Serialize)]
struct MountView<'a> {
    name: &'a str,
    path: &'a str,
}

/// Of a record.
pub(super) fn listed(record: &SandboxRecord) -> Listed<'_> {
    Listed {
        template_id: record.template.as_str(),
        sandbox_id: record.id.as_str(),
        client_id: CLIENT_ID,
        envd_version: ENVD_VERSION,
        alias: alias(record),
        started_at: record.started.into(),
        end_at: record.end.into(),
        cpu_count: record.limits.cpu_percent.div_ceil(100),
        memory_mb: record.limits.memory_mib,
        disk_size_mb: record.limits.disk_mib,
        state: match record.paused {
            None => "running",
            Some(_) => "paused",
        },
        metadata: &record.metadata,
        volume_mounts: record
            .volumes
            .iter()
            .map(|mounted| MountView {
                name: &mounted.name,
                path: mounted.at.as_str(),
            })
            .collect(),
    }
}

/// Everything about one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Detail<'a> {
    #[serde(flatten)]
    listed: Listed<'a>,
    envd_access_token: &'a str,
    domain: Option<&'a str>,
    #[serde(flatten)]
    network: Shown<'a>,
    lifecycle: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp: Option<Value>,
}

/// Of a record.
pub(super) fn detail<'a>(gateway: &'a Gateway, record: &'a SandboxRecord) -> Detail<'a> {
    Detail {
        listed: listed(record),
        envd_access_token: &record.envd_token,
        domain: gateway.domain(),
        network: Shown::new(&record.network, &record.standing),
        lifecycle: json!({
            "autoResume": record.auto_resume,
            "onTimeout": match record.at_deadline {
                AtDeadline::Destroy => "kill",
                AtDeadline::Pause { .. } => "pause",
            },
        }),
        pause_mode: record.paused.map(|kept| match kept {
            Kept::Memory => "full",
            Kept::Disk => "filesystem",
        }),
        mcp: record
            .mcp
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok()),
    }
}
