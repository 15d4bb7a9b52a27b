//! Administration: HTTP on the Unix listener, for root and the operator's group only.
//!
//! | request | answer |
//! |---|---|
//! | `GET /admin/keys` | `[{id, name, tail, createdAt}]` |
//! | `POST /admin/keys` `{name, key?}` | 201 `{id, name, key, tail, createdAt}`, the key in the clear this once; 200 if the given key is there already |
//! | `DELETE /admin/keys/{id}` | 204 |
//! | `GET /admin/templates` | `[{name, createdAt}]` |
//! | `PUT` or `POST /admin/templates/{name}` tar stream | 201 `{name}` |
//! | `DELETE /admin/templates/{name}` | 204 |
//! | `GET /admin/pools` | `[{template, size, ready, making, error}]` |
//! | `PUT /admin/pools/{template}` `{size}` | `{template, size}`; so many sandboxes are kept ready; `template` as a create names it, in the answer its id |
//! | `GET /admin/host` | what this host offers |
//! | `GET /admin/audit?limit=100` | `[{at, who, what, on, note}]`, newest first |
//! | `GET /admin/events?after=&sandbox=&follow=&network=` | lifecycle events and what network policies refused as JSON lines, oldest first; goes on when following |
//! | `GET /admin/certificates` | `[{usable, names, notAfter, problem}]`, in the order of the configuration |
//! | `POST /admin/reload` | `{certificates, log, networks}`: log file and certificates opened anew, what the configuration says of templates (networks, sizes) read anew; the last two say why not, if not |
//! | `GET /admin/metrics` | numbers about the daemons and every sandbox, in Prometheus' text format |
//! | `GET /admin/instance` | `{tag, version, domain, backend, since, sandboxes, creating, netd, pluginHost, events}` |
//!
//! Everything else is E2B's API and sandbox traffic, as on the network, without a key or token.

mod events;
mod host;
mod keys;
mod metrics;
mod pools;
mod templates;

use std::sync::Arc;

use http::{Method, StatusCode};

use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{self, Answer, Request};
use crate::text::percent_decode;

/// Whether the request is administrative.
pub(crate) fn is_one(request: &Request) -> bool {
    request.uri().path().starts_with("/admin/")
}

/// Answers it. Only requests from the Unix listener come here.
pub(crate) async fn serve(gateway: &Arc<Gateway>, request: Request) -> Answer {
    match route(gateway, request).await {
        Ok(answer) => answer,
        Err(error) => http_io::error(&error),
    }
}

async fn route(gateway: &Arc<Gateway>, request: Request) -> Result<Answer, ApiError> {
    let path = request.uri().path().to_owned();
    let segments: Option<Vec<String>> = path.split('/').skip(2).map(percent_decode).collect();
    let segments = segments.ok_or_else(|| ApiError::bad("the path has a broken escape"))?;
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let method = request.method().clone();
    match (&method, path.as_slice()) {
        (&Method::GET, ["keys"]) => Ok(keys::list(gateway)),
        (&Method::POST, ["keys"]) => keys::create(gateway, request).await,
        (&Method::DELETE, ["keys", id]) => keys::revoke(gateway, id).await,
        (&Method::GET, ["templates"]) => templates::list(gateway).await,
        (&Method::PUT | &Method::POST, ["templates", name]) => {
            templates::import(gateway, name, request).await
        }
        (&Method::DELETE, ["templates", name]) => templates::remove(gateway, name).await,
        (&Method::GET, ["pools"]) => Ok(pools::list(gateway)),
        (&Method::PUT, ["pools", template]) => pools::set(gateway, template, request).await,
        (&Method::GET, ["host"]) => host::report(gateway).await,
        (&Method::GET, ["audit"]) => host::audit(gateway, request.uri().query()),
        (&Method::GET, ["metrics"]) => Ok(metrics::scrape(gateway).await),
        (&Method::GET, ["events"]) => events::stream(gateway, request.uri().query()),
        (&Method::GET, ["certificates"]) => host::certificates(gateway).await,
        (&Method::POST, ["reload"]) => host::reload(gateway).await,
        (&Method::GET, ["instance"]) => Ok(host::instance(gateway)),
        _ => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "there is no such administrative request",
        )),
    }
}
