//! Warm pools.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json as value};

use crate::api::template::source;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, Request, json, read_body};
use crate::warm;

pub(super) fn list(gateway: &Gateway) -> Answer {
    let all: Vec<Value> = gateway
        .warm
        .list()
        .into_iter()
        .map(|pool| {
            value!({
                "template": pool.template.as_str(),
                "size": pool.size,
                "ready": pool.ready,
                "making": pool.making,
                "error": pool.error,
            })
        })
        .collect();
    json(StatusCode::OK, &all)
}

#[derive(Debug, Deserialize)]
struct Size {
    size: u32,
}

pub(super) async fn set(
    gateway: &Gateway,
    template: &str,
    request: Request,
) -> Result<Answer, ApiError> {
    let bytes = read_body(request.into_body()).await?;
    let asked: Size = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad(format!("Error when parsing request: {error}")))?;
    let listed = gateway.warm.list().into_iter().map(|pool| pool.template);
    // A pool may be of what is gone by now: it goes by the id that the list has.
    let template = match listed.into_iter().find(|one| one.as_str() == template) {
        Some(pool) => pool,
        None => source(gateway, template)?.template,
    };
    warm::resize(gateway, template.clone(), asked.size).await?;
    Ok(json(
        StatusCode::OK,
        &value!({ "template": template.as_str(), "size": asked.size }),
    ))
}
