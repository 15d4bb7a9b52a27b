//! `/volume/…`: the content of a volume, for the gateway alone, on behalf of whoever has the volume's token.
//!
//! Served by an agent whose sandbox has nothing but the volume in it. The header `X-Volume-Root` says where
//! it is mounted. Its content is hostile: every path is resolved with the mount as its root, so that no link
//! and no rename leads out of it.

mod change;
mod file;
mod list;
mod place;
mod query;
mod stat;

use http::{Method, Request, Response, StatusCode};
use serde::Serialize;
use warder_wire::link::Role;

use crate::files::on_helper;
use crate::http::{ApiError, Body, RequestBody, json, no_content};
use place::Place;
use query::Query;

/// Whether the request is one of these. For clients there is no such path.
pub(crate) fn is_one(role: Role, path: &str) -> bool {
    role == Role::Control && path.starts_with("/volume/")
}

/// Answers it.
pub(crate) async fn serve(request: Request<RequestBody>) -> Response<Body> {
    route(request).await.unwrap_or_else(|error| refuse(&error))
}

async fn route(request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
    let query = Query::parse(request.uri().query())?;
    let root = request
        .headers()
        .get("x-volume-root")
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| ApiError::bad_request("X-Volume-Root is missing"))?;
    let place = Place::new(root, &query.path)?;
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/volume/path") => {
            let entry = helped(move || stat::entry(&place)).await?;
            Ok(json(&entry))
        }
        (&Method::PATCH, "/volume/path") => {
            let wanted = change::wanted(request).await?;
            let entry = helped(move || change::patch(&place, wanted)).await?;
            Ok(json(&entry))
        }
        (&Method::DELETE, "/volume/path") => {
            helped(move || change::remove(&place)).await?;
            Ok(no_content())
        }
        (&Method::GET, "/volume/dir") => {
            let depth = query.depth;
            let entries = helped(move || list::dir(&place, depth)).await?;
            Ok(json(&entries))
        }
        (&Method::POST, "/volume/dir") => {
            let entry = helped(move || change::make_dir(&place, &query)).await?;
            Ok(created(&entry))
        }
        (&Method::GET, "/volume/file") => file::get(place, request).await,
        (&Method::PUT, "/volume/file") => Ok(created(&file::put(place, query, request).await?)),
        (_, "/volume/path" | "/volume/dir" | "/volume/file") => Err(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this path has no such method",
        )),
        _ => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "there is no such path",
        )),
    }
}

/// Runs `work` on a helper thread.
async fn helped<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    on_helper(move || Ok(work()))
        .await
        .unwrap_or_else(|error| Err(ApiError::io("no helper thread", &error)))
}

fn created<T: Serialize>(entry: &T) -> Response<Body> {
    let mut response = json(entry);
    *response.status_mut() = StatusCode::CREATED;
    response
}

#[derive(Serialize)]
struct Refusal<'a> {
    code: &'static str,
    message: &'a str,
}

/// Here `code` is a word, not the status.
fn refuse(error: &ApiError) -> Response<Body> {
    let code = match error.status.as_u16() {
        400 | 405 => "bad_request",
        403 => "forbidden",
        404 => "not_found",
        409 => "conflict",
        503 => "unavailable",
        507 => "no_space",
        _ => "internal",
    };
    let mut response = json(&Refusal {
        code,
        message: &error.message,
    });
    *response.status_mut() = error.status;
    response
}
