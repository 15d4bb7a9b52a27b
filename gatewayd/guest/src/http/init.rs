//! `POST /init`: the gateway says what the sandbox is. Never reachable for clients.

use std::collections::BTreeMap;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use warder_connect::Timestamp;
use warder_connect::json::parse;
use warder_wire::Limits;

use super::{ApiError, Body, RequestBody, no_content};
use crate::agent::Agent;

/// Largest body, in bytes.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// The fields of E2B's own agent. What is named here and not served is refused, not ignored.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Init {
    env_vars: Option<BTreeMap<String, String>>,
    access_token: Option<String>,
    timestamp: Option<Timestamp>,
    default_user: Option<String>,
    default_workdir: Option<String>,
    ca_bundle: Option<String>,
    volume_mounts: Option<Vec<serde_json::Value>>,
    /// Not E2B's: what the gateway made the sandbox with.
    limits: Option<Limits>,
}

pub(super) async fn post(
    agent: &Agent,
    request: Request<RequestBody>,
) -> Result<Response<Body>, ApiError> {
    let body = Limited::new(request.into_body(), MAX_BODY)
        .collect()
        .await
        .map_err(ApiError::bad_request)?
        .to_bytes();
    let init: Init = parse(&body).map_err(ApiError::bad_request)?;
    if init
        .ca_bundle
        .as_deref()
        .is_some_and(|bundle| !bundle.is_empty())
    {
        return Err(ApiError::bad_request("caBundle is not supported"));
    }
    if init.volume_mounts.is_some_and(|mounts| !mounts.is_empty()) {
        return Err(ApiError::bad_request("volumeMounts are not supported"));
    }
    if init.access_token.as_deref() == Some("") {
        return Err(ApiError::bad_request(
            "accessToken cannot be empty; leave it out to keep the one in force",
        ));
    }
    let mut settings = agent.settings.borrow_mut();
    // Requests can overtake each other; the newest decides.
    if init.timestamp.is_some() && init.timestamp <= settings.stamp {
        return Ok(no_content());
    }
    settings.stamp = init.timestamp.or(settings.stamp);
    agent.log.agent("settings received");
    settings.env.extend(init.env_vars.unwrap_or_default());
    settings.limits = init.limits.or(settings.limits);
    if let Some(token) = init.access_token {
        settings.token = Some(token);
    }
    if let Some(user) = init.default_user.filter(|user| !user.is_empty()) {
        settings.user = user;
    }
    if let Some(workdir) = init.default_workdir {
        settings.workdir = (!workdir.is_empty()).then_some(workdir);
    }
    Ok(no_content())
}
