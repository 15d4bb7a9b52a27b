//! `GET /v2/sandboxes` and `GET /sandboxes`.

use http::{HeaderName, HeaderValue, StatusCode};

use super::query::{Cursor, Query};
use super::view;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, json};
use crate::registry::record::SandboxRecord;

const NEXT: HeaderName = HeaderName::from_static("x-next-token");
const RUNNING: HeaderName = HeaderName::from_static("x-total-running");

fn started(record: &SandboxRecord) -> u64 {
    Micros::from(record.started).0
}

fn found(gateway: &Gateway, query: &Query) -> Vec<SandboxRecord> {
    let mut all: Vec<SandboxRecord> = gateway
        .registry
        .all()
        .iter()
        .filter(|sandbox| sandbox.is_shown())
        .map(|sandbox| sandbox.now())
        .filter(|now| query.matches(&now.record))
        .map(|now| now.record.clone())
        .collect();
    all.sort_by(|a, b| {
        query
            .order
            .compare((started(a), a.id.as_str()), (started(b), b.id.as_str()))
    });
    all
}

/// One page.
///
/// # Errors
/// 400.
pub(super) fn list(gateway: &Gateway, query: Option<&str>) -> Result<Answer, ApiError> {
    let query = Query::parse(query)?;
    let all = found(gateway, &query);
    let running = all.iter().filter(|one| one.paused.is_none()).count();
    let mut rest = all.iter().filter(|record| {
        query.after.as_ref().is_none_or(|after| {
            query
                .order
                .compare(
                    (started(record), record.id.as_str()),
                    (after.started, &after.id),
                )
                .is_gt()
        })
    });
    let page: Vec<&SandboxRecord> = rest.by_ref().take(query.limit).collect();
    let next = match (page.last(), rest.next()) {
        (Some(last), Some(_)) => Some(Cursor {
            started: started(last),
            id: last.id.as_str().to_owned(),
            order: query.order,
        }),
        _ => None,
    };
    let mut answer = json(
        StatusCode::OK,
        &page
            .iter()
            .map(|record| view::listed(record))
            .collect::<Vec<_>>(),
    );
    if let Some(token) = next.and_then(|cursor| cursor.encode().parse().ok()) {
        answer.headers_mut().insert(NEXT, token);
    }
    if query.running {
        answer
            .headers_mut()
            .insert(RUNNING, HeaderValue::from(running));
    }
    Ok(answer)
}

/// All that run, for old clients.
///
/// # Errors
/// 400.
pub(super) fn list_old(gateway: &Gateway, query: Option<&str>) -> Result<Answer, ApiError> {
    let mut query = Query::parse(query)?;
    query.paused = false;
    let all = found(gateway, &query);
    Ok(json(
        StatusCode::OK,
        &all.iter().map(view::listed).collect::<Vec<_>>(),
    ))
}
