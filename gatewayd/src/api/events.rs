//! Lifecycle events as E2B's API shows them.
//!
//! E2B keeps them for seven days; here they are kept by count and bytes (`limits::EVENTS`,
//! `limits::EVENT_BYTES`). The header `X-Warder-Oldest-Event` names the oldest number there is; numbers
//! begin at 1, so all below it were dropped.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Value;
use warder_wire::{SandboxId, TemplateName};

use super::template;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, json};
use crate::proxy::host::bare_id;
use crate::registry::record::{EventKind, EventRecord};
use crate::text::{query_pairs, uuid};

const OLDEST: HeaderName = HeaderName::from_static("x-warder-oldest-event");
/// Events on a page when nothing is said, and at most.
const PAGE: (usize, usize) = (10, 100);

/// One event. `sequence` is not E2B's: it is the event's number, a cursor for who follows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    version: &'static str,
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    event_category: &'static str,
    event_label: &'static str,
    event_data: Value,
    sandbox_id: &'a str,
    sandbox_execution_id: String,
    sandbox_template_id: &'a str,
    sandbox_build_id: Option<String>,
    sandbox_team_id: String,
    timestamp: Micros,
    sequence: u64,
}

/// The builds of templates, by name.
pub(crate) type Builds = HashMap<TemplateName, String>;

/// The builds there are now; events of templates that are gone name none.
pub(crate) async fn builds(gateway: &Gateway) -> Builds {
    let all = gateway.peers.templates().await.unwrap_or_default();
    all.iter()
        .map(|one| (one.name.clone(), template::build_id(one)))
        .collect()
}

/// Of a record.
pub(crate) fn view<'a>(gateway: &Gateway, builds: &Builds, event: &'a EventRecord) -> View<'a> {
    let since = Micros::from(event.since).0;
    View {
        version: "v2",
        // The same whenever it is asked for, and no other instance's.
        id: uuid(&format!("{} event {}", gateway.tag, event.number)),
        kind: event.kind.name(),
        event_category: "lifecycle",
        event_label: event.kind.label(),
        event_data: serde_json::from_str(&event.data).unwrap_or_default(),
        sandbox_id: event.sandbox.as_str(),
        sandbox_execution_id: uuid(&format!("{} {since}", event.sandbox)),
        sandbox_template_id: event.template.as_str(),
        sandbox_build_id: builds.get(&event.template).cloned(),
        // Every key of an instance belongs to the one team there is.
        sandbox_team_id: uuid(&format!("{} team", gateway.tag)),
        timestamp: event.at.into(),
        sequence: event.number,
    }
}

#[derive(Debug, Eq, PartialEq)]
struct Query {
    kinds: Vec<EventKind>,
    ascending: bool,
    offset: usize,
    limit: usize,
}

impl Query {
    fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let mut query = Self {
            kinds: Vec::new(),
            ascending: false,
            offset: 0,
            limit: PAGE.0,
        };
        let pairs = query_pairs(text.unwrap_or_default())
            .ok_or_else(|| ApiError::bad("the query has a broken escape"))?;
        for (name, value) in pairs {
            match name.as_str() {
                "offset" => {
                    query.offset = value
                        .parse()
                        .map_err(|_| ApiError::bad("offset must be a number from 0"))?;
                }
                "limit" => {
                    query.limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=PAGE.1).contains(limit))
                        .ok_or_else(|| {
                            ApiError::bad(format!("limit must be from 1 to {}", PAGE.1))
                        })?;
                }
                "orderAsc" => {
                    query.ascending = value
                        .parse()
                        .map_err(|_| ApiError::bad("orderAsc must be true or false"))?;
                }
                "types" => {
                    for name in value.split(',').filter(|name| !name.is_empty()) {
                        let kind = EventKind::parse(name)
                            .ok_or_else(|| ApiError::bad("there is no such type of event"))?;
                        query.kinds.push(kind);
                    }
                }
                _ => {}
            }
        }
        Ok(query)
    }
}

/// `GET /events/sandboxes` and `GET /events/sandboxes/{id}`; events outlive their sandboxes.
pub(super) async fn list(
    gateway: &Gateway,
    id: Option<&str>,
    query: Option<&str>,
) -> Result<Answer, ApiError> {
    let query = Query::parse(query)?;
    let id = match id {
        None => None,
        Some(text) => Some(
            bare_id(text)
                .and_then(|bare| SandboxId::new(bare).ok())
                .ok_or_else(|| ApiError::bad("Invalid sandbox ID"))?,
        ),
    };
    let page = gateway.events.page(
        id.as_ref(),
        &query.kinds,
        query.ascending,
        (query.offset, query.limit),
    );
    let builds = builds(gateway).await;
    let shown: Vec<View<'_>> = page.iter().map(|e| view(gateway, &builds, e)).collect();
    let mut answer = json(StatusCode::OK, &shown);
    answer
        .headers_mut()
        .insert(OLDEST, HeaderValue::from(gateway.events.oldest()));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_as_documented() {
        let query = Query::parse(Some(
            "types=sandbox.lifecycle.created&types=sandbox.lifecycle.killed&offset=5&limit=100&orderAsc=true",
        ))
        .expect("fine");
        assert_eq!(
            query,
            Query {
                kinds: vec![EventKind::Created, EventKind::Killed],
                ascending: true,
                offset: 5,
                limit: 100,
            }
        );
        for bad in [
            "limit=0",
            "limit=101",
            "offset=-1",
            "orderAsc=yes",
            "types=sandbox.exploded",
            "limit=%",
        ] {
            assert_eq!(Query::parse(Some(bad)).expect_err(bad).status, 400);
        }
    }
}
