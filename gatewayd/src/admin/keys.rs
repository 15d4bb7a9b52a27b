//! API keys: made, listed, revoked.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json as value};

use crate::auth::ApiKey;
use crate::auth::key::hex;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, Request, empty, json, read_body};
use crate::limits;
use crate::random;
use crate::registry::record::{Change, KeyRecord};

fn view(record: &KeyRecord) -> Value {
    value!({
        "id": record.id,
        "name": record.name,
        "tail": record.tail,
        "createdAt": Micros::from(record.created),
    })
}

pub(super) fn list(gateway: &Gateway) -> Answer {
    let all: Vec<Value> = gateway
        .registry
        .keys(|keys| keys.list().into_iter().map(view).collect());
    json(StatusCode::OK, &all)
}

#[derive(Debug, Default, Deserialize)]
struct NewKey {
    #[serde(default)]
    name: String,
    key: Option<String>,
}

pub(super) async fn create(gateway: &Gateway, request: Request) -> Result<Answer, ApiError> {
    let bytes = read_body(request.into_body()).await?;
    let asked: NewKey = if bytes.is_empty() {
        NewKey::default()
    } else {
        serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::bad(format!("Error when parsing request: {error}")))?
    };
    if asked.name.len() > 128 || asked.name.chars().any(char::is_control) {
        return Err(ApiError::bad(
            "a name may have 128 bytes and no control characters",
        ));
    }
    let key = match asked.key {
        None => ApiKey::from_random(&random::bytes()?),
        Some(text) => ApiKey::parse(&text)
            .ok_or_else(|| ApiError::bad("a key is 'e2b_' followed by 40 hex digits"))?,
    };
    // Who brings its own key may bring it again, after a restart say.
    if let Some(mut known) = gateway.registry.keys(|keys| keys.find(&key).map(view)) {
        known["key"] = Value::from(key.text());
        return Ok(json(StatusCode::OK, &known));
    }
    if gateway.registry.keys(crate::auth::Keys::len) >= limits::KEYS {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("there may be {} keys at most", limits::KEYS),
        ));
    }
    let record = KeyRecord {
        id: hex(&random::bytes::<8>()?),
        name: asked.name,
        hash: key.hash(),
        tail: key.tail(),
        created: Micros::now().into(),
    };
    let mut shown = view(&record);
    let id = record.id.clone();
    change(gateway, Change::Key(record)).await?;
    gateway.registry.audit("operator", "key.create", &id, "");
    shown["key"] = Value::from(key.text());
    Ok(json(StatusCode::CREATED, &shown))
}

pub(super) async fn revoke(gateway: &Gateway, id: &str) -> Result<Answer, ApiError> {
    if !gateway
        .registry
        .keys(|keys| keys.list().iter().any(|record| record.id == id))
    {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "there is no such key"));
    }
    change(gateway, Change::KeyGone(id.to_owned())).await?;
    gateway.registry.audit("operator", "key.revoke", id, "");
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn change(gateway: &Gateway, change: Change) -> Result<(), ApiError> {
    gateway.registry.change_keys(change).await.map_err(|error| {
        ApiError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            format!("the key could not be written down: {error}"),
        )
        .retry(false)
    })
}
