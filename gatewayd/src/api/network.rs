//! A live sandbox's network policy and air gap.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::body;
use super::sandbox::find;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, Request, empty, json};
use crate::lifecycle::{self, Wanted};
use crate::limits;
use crate::network::{self, Update};
use crate::proxy::host::bare_id;
use crate::refusals::{Entry, View};
use crate::text::query_pairs;

/// How many refusals had to make room for newer ones.
const DROPPED: HeaderName = HeaderName::from_static("x-warder-dropped");

/// `PUT /sandboxes/{id}/network`: all options anew; what is left out is cleared. In force when answered.
pub(super) async fn update(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    id: &str,
    request: Request,
) -> Result<Answer, ApiError> {
    bare_id(id).ok_or_else(|| ApiError::bad("Invalid sandbox ID"))?;
    let update: Update = body(request).await?;
    let network = network::of_update(update, || find(gateway, id).map(drop))?;
    let sandbox = find(gateway, id)?;
    let wanted = Wanted::Network(Box::new(network));
    let generation = lifecycle::change_network(gateway, &sandbox, wanted, caller).await?;
    Ok(no_content(generation))
}

#[derive(Debug, Deserialize)]
struct AirGapBody {
    enabled: bool,
}

/// `PUT /sandboxes/{id}/airgap`: nothing leaves, whatever the options say, or they hold again. A paused sandbox wakes
/// with it.
pub(super) async fn airgap(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    id: &str,
    request: Request,
) -> Result<Answer, ApiError> {
    bare_id(id).ok_or_else(|| ApiError::bad("Invalid sandbox ID"))?;
    let asked: AirGapBody = body(request).await?;
    let sandbox = find(gateway, id)?;
    let wanted = Wanted::AirGap(asked.enabled);
    let generation = lifecycle::change_network(gateway, &sandbox, wanted, caller).await?;
    Ok(no_content(generation))
}

/// 204 with the generation in force as `ETag`.
fn no_content(generation: u64) -> Answer {
    let mut answer = empty(StatusCode::NO_CONTENT);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{generation}\"")) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

/// Which entries of the log.
#[derive(Debug)]
struct Query {
    /// Milliseconds since 1970.
    cursor: Option<u64>,
    limit: usize,
    backward: bool,
}

impl Query {
    fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let mut query = Self {
            cursor: None,
            limit: limits::REFUSALS,
            backward: false,
        };
        let pairs = query_pairs(text.unwrap_or_default())
            .ok_or_else(|| ApiError::bad("the query has a broken escape"))?;
        for (name, value) in pairs {
            let bad = |what: &str| ApiError::bad(format!("{name} must be {what}"));
            match (name.as_str(), value.as_str()) {
                ("cursor", ms) => {
                    let ms = ms.parse().map_err(|_| bad("milliseconds since 1970"))?;
                    query.cursor = Some(ms);
                }
                ("limit", limit) => {
                    let limit = limit
                        .parse()
                        .ok()
                        .filter(|limit| (0..=1000).contains(limit));
                    query.limit = limit.ok_or_else(|| bad("from 0 to 1000"))?;
                }
                ("direction", "forward") => query.backward = false,
                ("direction", "backward") => query.backward = true,
                ("direction", _) => return Err(bad("forward or backward")),
                _ => {}
            }
        }
        Ok(query)
    }

    fn wants(&self, entry: &Entry) -> bool {
        let ms = entry.last.0 / 1000;
        self.cursor
            .is_none_or(|at| if self.backward { ms <= at } else { ms >= at })
    }
}

/// `GET /sandboxes/{id}/network/log`: what its policies refused, in the order in which it was seen last; from a time
/// on, or backward from it. Kept in memory, bounded; the header says how much was dropped.
pub(super) fn log(gateway: &Gateway, id: &str, query: Option<&str>) -> Result<Answer, ApiError> {
    let query = Query::parse(query)?;
    let sandbox = find(gateway, id)?;
    let log = sandbox.refusals();
    let wanted = log.entries().filter(|entry| query.wants(entry));
    let page: Vec<View<'_>> = if query.backward {
        wanted.rev().take(query.limit).map(Entry::view).collect()
    } else {
        wanted.take(query.limit).map(Entry::view).collect()
    };
    let mut answer = json(StatusCode::OK, &page);
    answer
        .headers_mut()
        .insert(DROPPED, HeaderValue::from(log.dropped()));
    Ok(answer)
}
