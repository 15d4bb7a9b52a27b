//! Log lines of a sandbox: its life as the event log has it, and what its agent tells.
//!
//! The agent's lines are in the sandbox and asked for when somebody wants them; they end with it. Lines of
//! its life stay as long as the event log has them.

mod agent;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use warder_wire::SandboxId;

use crate::clock::Micros;
use crate::gateway::Gateway;
use crate::limits;
use crate::registry::record::{EventKind, EventRecord};
use crate::sandbox::Sandbox;
pub(crate) use agent::AgentLines;

/// How much a line matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// By E2B's name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" => Self::Warn,
            "error" => Self::Error,
            _ => return None,
        })
    }
}

/// A line as E2B's `SandboxLogEntry` has it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Line {
    pub(crate) timestamp: Micros,
    pub(crate) message: String,
    pub(crate) level: Level,
    /// All of them text; `logger` is always there.
    pub(crate) fields: BTreeMap<&'static str, String>,
}

impl Line {
    fn new(timestamp: Micros, level: Level, logger: &str, message: impl Into<String>) -> Self {
        Self {
            timestamp,
            message: message.into(),
            level,
            fields: BTreeMap::from([("logger", logger.to_owned())]),
        }
    }
}

impl Line {
    /// What it takes in memory, about.
    fn size(&self) -> usize {
        let fields: usize = self.fields.values().map(|text| 64 + text.len()).sum();
        128 + self.message.len() + fields
    }
}

fn of_event(event: &EventRecord) -> Line {
    let data: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
    let message = match (event.kind, data["reason"].as_str(), &data["set_timeout"]) {
        (EventKind::Created, ..) => match data["fork_of"].as_str() {
            Some(source) => format!("sandbox created as a fork of {source}, without its processes"),
            None => "sandbox created".to_owned(),
        },
        (EventKind::Killed, reason, _) => format!(
            "sandbox ended ({}); lines of its agent ended with it",
            reason.unwrap_or("unknown")
        ),
        (EventKind::Updated, _, serde_json::Value::String(end)) => {
            format!("sandbox ends at {end}")
        }
        (EventKind::Updated, ..) => of_update(&data),
        (EventKind::Paused, reason, _) => match reason {
            Some(reason) => format!("sandbox paused ({reason})"),
            None => "sandbox paused".to_owned(),
        },
        (EventKind::Resumed, ..) => "sandbox resumed".to_owned(),
        (EventKind::Checkpointed, ..) => match data["forks"].as_u64() {
            Some(count) => format!("forked {count} times"),
            None => "snapshot taken".to_owned(),
        },
    };
    let mut line = Line::new(event.at.into(), Level::Info, "sandbox", message);
    line.fields.insert("event", event.kind.name().to_owned());
    line
}

/// What of it was changed, its end aside.
fn of_update(data: &serde_json::Value) -> String {
    if data["network_closed"] == true {
        return "network policy could not be put in force: all is closed".to_owned();
    }
    match (&data["air_gap"], &data["network_generation"]) {
        (serde_json::Value::Bool(true), _) => "air gap on".to_owned(),
        (serde_json::Value::Bool(false), _) => "air gap off".to_owned(),
        (_, serde_json::Value::Number(n)) => format!("network policy {n} in force"),
        _ => "sandbox updated".to_owned(),
    }
}

/// The last lines of its life and of its agent, oldest first; `None` for a sandbox nobody has heard of.
pub(crate) async fn lines(gateway: &Gateway, id: &SandboxId) -> Option<Vec<Line>> {
    // The newest: to read all there may be would keep others waiting.
    let newest = (0, limits::LOG_LINES);
    let mut events = gateway.events.page(Some(id), &[], false, newest);
    events.reverse();
    let sandbox = gateway.registry.get(id);
    if events.is_empty() && sandbox.is_none() {
        return None;
    }
    let mut lines: Vec<Line> = events.iter().map(|event| of_event(event)).collect();
    if let Some(sandbox) = sandbox {
        lines.extend(agent_lines(&sandbox, made(&events)).await);
        // Stable: what one source wrote at one time stays in its order.
        lines.sort_by_key(|line| line.timestamp);
    }
    Some(lines)
}

async fn agent_lines(sandbox: &Arc<Sandbox>, made: Micros) -> Vec<Line> {
    if !sandbox.runs() {
        return sandbox.agent_lines.kept();
    }
    match agent::fetch(sandbox, made).await {
        Ok(lines) => {
            sandbox.agent_lines.keep(lines.clone());
            lines
        }
        // Said where the lines would be; the sandbox's life can still be read.
        Err(error) => {
            let mut all = sandbox.agent_lines.kept();
            all.push(Line::new(
                Micros::now(),
                Level::Warn,
                "gateway",
                format!("lines of the agent cannot be read: {error}"),
            ));
            all
        }
    }
}

/// Fetches what the agent has and keeps the last of it, for while the sandbox is paused. An agent that does not
/// answer at once is not waited for.
pub(crate) async fn keep(gateway: &Gateway, sandbox: &Arc<Sandbox>) {
    let made = made(&gateway.events.page(Some(&sandbox.id), &[], true, (0, 1)));
    let fetched = tokio::time::timeout(limits::LOG_KEEP_TIMEOUT, agent::fetch(sandbox, made)).await;
    if let Ok(Ok(lines)) = fetched {
        sandbox.agent_lines.keep(lines);
    }
}

/// When the sandbox was made, by its first event; not since its start, which moves when it is resumed.
fn made(events: &[Arc<EventRecord>]) -> Micros {
    events
        .first()
        .filter(|event| event.kind == EventKind::Created)
        .map_or(Micros(0), |event| event.at.into())
}
