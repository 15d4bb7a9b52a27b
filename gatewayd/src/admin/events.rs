//! Lifecycle events, line by line, to their end or for as long as somebody listens.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json as value;
use tokio::sync::mpsc;
use warder_wire::SandboxId;

use crate::api::events::{builds, view};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, Body};
use crate::text::query_pairs;

/// Events read at once.
const PAGE: usize = 100;
/// Pages that wait for a slow reader; then the log waits, and may drop what was not read yet, visibly.
const AHEAD: usize = 2;

#[derive(Debug, Default)]
struct Query {
    after: u64,
    sandbox: Option<SandboxId>,
    follow: bool,
    /// The last line of refusals seen; `None` if they are not wanted.
    refusals: Option<u64>,
}

impl Query {
    fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let mut query = Self {
            refusals: Some(0),
            ..Self::default()
        };
        let pairs = query_pairs(text.unwrap_or_default())
            .ok_or_else(|| ApiError::bad("the query has a broken escape"))?;
        for (name, value) in pairs {
            let bad = || ApiError::bad(format!("{name} cannot be read"));
            match name.as_str() {
                "after" => query.after = value.parse().map_err(|_| bad())?,
                "sandbox" => query.sandbox = Some(SandboxId::new(&value).map_err(|_| bad())?),
                "network" => match value.as_str() {
                    "false" => query.refusals = None,
                    from => query.refusals = Some(from.parse().map_err(|_| bad())?),
                },
                "follow" => query.follow = value.parse().map_err(|_| bad())?,
                _ => return Err(ApiError::bad(format!("{name} means nothing here"))),
            }
        }
        Ok(query)
    }
}

/// `GET /admin/events?after=&sandbox=&follow=&network=`: JSON lines, oldest first. Where events were dropped before
/// they could be told, a line `{"type": "warder.events.dropped", "from", "to"}` says which numbers.
///
/// Behind them, what network policies refused, `{"type": "sandbox.network.refused"}`: the last ones, kept in memory,
/// with numbers of their own; `network` is the last of those seen, or `false`.
pub(super) fn stream(gateway: &Arc<Gateway>, query: Option<&str>) -> Result<Answer, ApiError> {
    let query = Query::parse(query)?;
    let permit = Arc::clone(&gateway.events.followers)
        .try_acquire_owned()
        .map_err(|_| {
            ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many follow the events already",
            )
        })?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let gateway = Arc::clone(gateway);
    tokio::spawn(async move {
        let _permit = permit;
        // Whoever listened has gone: there is nobody to tell.
        let _ = tell(&gateway, query, &sender).await;
    });
    let mut answer = Response::new(Body::parts(receiver));
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    Ok(answer)
}

async fn tell(
    gateway: &Gateway,
    query: Query,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), mpsc::error::SendError<Bytes>> {
    let mut newest = gateway.events.newest();
    let mut refused = gateway.refusals.newest();
    let (mut cursor, mut seen) = (query.after, query.refusals);
    loop {
        newest.borrow_and_update();
        refused.borrow_and_update();
        loop {
            let oldest = gateway.events.oldest();
            let page = gateway.events.after(cursor, PAGE);
            let mut lines = String::new();
            if oldest > cursor + 1 {
                let dropped = value!({
                    "type": "warder.events.dropped", "from": cursor + 1, "to": oldest - 1,
                });
                lines.push_str(&format!("{dropped}\n"));
                cursor = oldest - 1;
            }
            let wanted = |id: &SandboxId| query.sandbox.as_ref().is_none_or(|only| only == id);
            if page.iter().any(|event| wanted(&event.sandbox)) {
                let builds = builds(gateway).await;
                for event in page.iter().filter(|event| wanted(&event.sandbox)) {
                    let line = serde_json::to_string(&view(gateway, &builds, event));
                    lines.push_str(&line.unwrap_or_default());
                    lines.push('\n');
                }
            }
            if !lines.is_empty() {
                sender.send(Bytes::from(lines)).await?;
            }
            let Some(last) = page.last() else { break };
            cursor = last.number;
        }
        while let Some(before) = seen {
            let page = gateway.refusals.after(before, PAGE);
            let Some(last) = page.last() else { break };
            seen = Some(last.number);
            let only = query.sandbox.as_ref();
            let lines = page.iter().filter(|line| line.concerns(only));
            let lines: String = lines.map(|line| format!("{}\n", line.view())).collect();
            if !lines.is_empty() {
                sender.send(Bytes::from(lines)).await?;
            }
        }
        if !query.follow {
            return Ok(());
        }
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { return Ok(()) },
            changed = refused.changed(), if seen.is_some() => if changed.is_err() { return Ok(()) },
            () = sender.closed() => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in [
            "after=x",
            "sandbox=../etc",
            "follow=maybe",
            "types=x",
            "network=x",
            "%",
        ] {
            assert_eq!(Query::parse(Some(bad)).expect_err(bad).status, 400);
        }
        let query = Query::parse(Some("after=7&follow=true")).expect("fine");
        assert!(query.after == 7 && query.follow && query.refusals == Some(0));
        let query = Query::parse(Some("network=false")).expect("fine");
        assert_eq!(query.refusals, None);
    }
}
