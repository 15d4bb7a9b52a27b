//! `POST /files/compose`: one file from several, which then go.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use warder_connect::json::parse;

use super::access;
use super::body::on_helper;
use super::target;
use super::upload::Written;
use crate::agent::Agent;
use crate::http::{ApiError, Body, RequestBody, json};
use crate::paths;
use crate::users::User;

/// Largest request, in bytes.
const MAX_BODY: usize = 1024 * 1024;

#[derive(Deserialize)]
struct Compose {
    #[serde(alias = "sourcePaths")]
    source_paths: Vec<String>,
    destination: String,
    #[serde(default)]
    username: Option<String>,
}

pub(crate) async fn post(
    agent: &Agent,
    request: Request<RequestBody>,
) -> Result<Response<Body>, ApiError> {
    let body = Limited::new(request.into_body(), MAX_BODY)
        .collect()
        .await
        .map_err(ApiError::bad_request)?;
    let compose: Compose = parse(&body.to_bytes()).map_err(ApiError::bad_request)?;
    if compose.source_paths.is_empty() {
        return Err(ApiError::bad_request(
            "source_paths must name at least one file",
        ));
    }
    let user = access::user(agent, compose.username.as_deref())?;
    let workdir = agent.settings.borrow().workdir.clone();
    let resolve =
        |text: &str| paths::resolve(text, &user, workdir.as_deref()).map_err(ApiError::bad_request);
    let sources = compose
        .source_paths
        .iter()
        .map(|path| resolve(path))
        .collect::<Result<Vec<_>, _>>()?;
    let destination = resolve(&compose.destination)?;
    if sources.contains(&destination) {
        return Err(ApiError::bad_request(
            "destination must not be one of source_paths",
        ));
    }
    let answer = Written {
        path: paths::text(&destination),
        name: paths::text(&target::name_of(&destination)),
        kind: "file",
        metadata: std::collections::BTreeMap::new(),
    };
    on_helper(move || Ok(join(&sources, &destination, &user)))
        .await
        .unwrap_or_else(|error| Err(ApiError::io("error composing files", &error)))?;
    Ok(json(&answer))
}

/// All sources are opened before anything is written, and removed only after everything was.
fn join(sources: &[PathBuf], destination: &Path, user: &User) -> Result<(), ApiError> {
    let mut parts = Vec::with_capacity(sources.len());
    let mut size = 0;
    for path in sources {
        let shown = path.display();
        let about = fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ApiError::new(
                StatusCode::NOT_FOUND,
                format_args!("path '{shown}' does not exist"),
            ),
            _ => ApiError::io(format_args!("error opening file '{shown}'"), &error),
        })?;
        if !about.is_file() {
            return Err(ApiError::bad_request(format_args!(
                "path '{shown}' is not a regular file"
            )));
        }
        size += about.len();
        parts.push(path);
    }
    let mut out = target::open(destination, user, &[], Some(size))?;
    for path in parts {
        let copied = File::open(path).and_then(|mut part| io::copy(&mut part, &mut out));
        copied.map_err(|error| {
            ApiError::io(format_args!("error copying '{}'", path.display()), &error)
        })?;
    }
    for path in sources {
        // A source named twice is gone the second time.
        let _ = fs::remove_file(path);
    }
    Ok(())
}
