//! E2B's control API, one file for each group of resources.

mod content;
mod create;
pub(crate) mod events;
mod list;
mod logs;
mod metrics;
mod network;
mod query;
mod sandbox;
mod snapshot;
pub(crate) mod template;
mod unsupported;
mod view;
mod volume;

use std::sync::Arc;

use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{self, Answer, Request, allow_origins};
use crate::text::percent_decode;

/// Answers a request to the API. `trusted` is the operator over the Unix listener; anyone else needs a key.
pub(crate) async fn serve(
    gateway: &Arc<Gateway>,
    trusted: Option<Caller>,
    request: Request,
) -> Answer {
    let mut answer = match answer(gateway, trusted, request).await {
        Ok(answer) => answer,
        Err(error) => http_io::error(&error),
    };
    allow_origins(&mut answer);
    answer
}

async fn answer(
    gateway: &Arc<Gateway>,
    trusted: Option<Caller>,
    request: Request,
) -> Result<Answer, ApiError> {
    if request.method() == Method::OPTIONS {
        return Ok(http_io::empty(StatusCode::NO_CONTENT));
    }
    if content::is_one(&request) {
        return Ok(content::serve(gateway, trusted.is_some(), request).await);
    }
    if request.uri().path() == "/health" {
        return match *request.method() {
            Method::GET | Method::HEAD => Ok(http_io::empty(StatusCode::NO_CONTENT)),
            _ => Err(ApiError::wrong_method("GET, HEAD")),
        };
    }
    let caller = match trusted {
        Some(caller) => caller,
        None => gateway
            .registry
            .keys(|keys| keys.caller(request.headers()))?,
    };
    route(gateway, &caller, request).await
}

/// The path's segments, each decoded once (a template's name may hold an escaped slash).
fn segments(path: &str) -> Result<Vec<String>, ApiError> {
    path.trim_start_matches('/')
        .split('/')
        .map(|segment| {
            percent_decode(segment).ok_or_else(|| ApiError::bad("the path has a broken escape"))
        })
        .collect()
}

async fn route(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    request: Request,
) -> Result<Answer, ApiError> {
    let segments = segments(request.uri().path())?;
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let method = request.method().clone();
    match (method.as_str(), path.as_slice()) {
        ("POST", ["v2", "sandboxes"]) => {
            create::create(gateway, caller, create::Version::V2, request).await
        }
        ("POST", ["sandboxes"]) => {
            create::create(gateway, caller, create::Version::V1, request).await
        }
        ("GET", ["v2", "sandboxes"]) => list::list(gateway, request.uri().query()),
        ("GET", ["sandboxes"]) => list::list_old(gateway, request.uri().query()),
        ("POST", ["v2", "sandboxes", id, "connect"]) => {
            sandbox::connect(gateway, caller, id, Some(300), request).await
        }
        ("POST", ["sandboxes", id, "connect"]) => {
            sandbox::connect(gateway, caller, id, None, request).await
        }
        ("POST", ["sandboxes", id, "resume"]) => {
            sandbox::resume(gateway, caller, id, request).await
        }
        ("POST", ["sandboxes", id, "pause"]) => sandbox::pause(gateway, caller, id, request).await,
        ("POST", ["sandboxes", id, "snapshots"]) => {
            snapshot::create(gateway, caller, id, request).await
        }
        ("POST", ["sandboxes", id, "fork"]) => snapshot::fork(gateway, caller, id, request).await,
        ("GET", ["snapshots"]) => snapshot::list(gateway, request.uri().query()),
        ("DELETE", ["templates", name]) => template::delete(gateway, caller, name).await,
        ("POST", ["sandboxes", id, "timeout"]) => {
            sandbox::timeout(gateway, caller, id, request).await
        }
        ("POST", ["sandboxes", id, "refreshes"]) => {
            sandbox::refresh(gateway, caller, id, request).await
        }
        ("PUT", ["sandboxes", id, "network"]) => {
            network::update(gateway, caller, id, request).await
        }
        ("GET", ["sandboxes", id, "network", "log"]) => {
            network::log(gateway, id, request.uri().query())
        }
        ("PUT", ["sandboxes", id, "airgap"]) => network::airgap(gateway, caller, id, request).await,
        ("GET", ["sandboxes", "metrics"]) => metrics::batch(gateway, request.uri().query()).await,
        ("GET", ["sandboxes", id, "metrics"]) => {
            metrics::single(gateway, id, request.uri().query()).await
        }
        ("GET", ["sandboxes", id, "logs"]) => logs::v1(gateway, id, request.uri().query()).await,
        ("GET", ["v2", "sandboxes", id, "logs"]) => {
            logs::v2(gateway, id, request.uri().query()).await
        }
        ("GET", ["events", "sandboxes"]) => {
            events::list(gateway, None, request.uri().query()).await
        }
        ("GET", ["events", "sandboxes", id]) => {
            events::list(gateway, Some(id), request.uri().query()).await
        }
        ("GET", ["sandboxes", id]) => sandbox::detail(gateway, id),
        ("DELETE", ["sandboxes", id]) => sandbox::delete(gateway, caller, id).await,
        ("GET", ["templates" | "default-templates"] | ["v2", "templates"]) => {
            template::list(gateway).await
        }
        ("GET", ["templates", "aliases", alias]) => template::alias(gateway, alias).await,
        ("GET", ["volumes"]) => Ok(volume::list(gateway)),
        ("POST", ["volumes"]) => volume::create(gateway, caller, request).await,
        ("GET", ["volumes", id]) => volume::detail(gateway, id),
        ("DELETE", ["volumes", id]) => volume::delete(gateway, caller, id).await,
        (_, path) => Err(unsupported::explain(path)),
    }
}

/// Reads a JSON body. Unknown fields are ignored: newer clients send more.
async fn body<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    parse(&http_io::read_body(request.into_body()).await?)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // An array would do for a struct otherwise.
    if bytes.trim_ascii_start().first().is_some_and(|b| *b != b'{') {
        return Err(ApiError::bad("the body must be a JSON object"));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::bad(format!("Error when parsing request: {error}")))
}

/// The same where the whole body may be left out.
async fn optional_body<T: DeserializeOwned + Default>(request: Request) -> Result<T, ApiError> {
    let bytes = http_io::read_body(request.into_body()).await?;
    if bytes.is_empty() {
        Ok(T::default())
    } else {
        parse(&bytes)
    }
}
