//! `/volumes`.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json as value};
use warder_wire::VolumeId;

use super::body;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, Request, empty, json};
use crate::registry::record::VolumeRecord;
use crate::volumes::{self, no_volume};

fn view(gateway: &Gateway, record: &VolumeRecord) -> Value {
    value!({
        "volumeID": record.id.as_str(),
        "name": record.name,
        "token": record.token,
        "domain": gateway.domain(),
    })
}

fn id_of(text: &str) -> Result<VolumeId, ApiError> {
    VolumeId::new(text).map_err(|_| no_volume(text))
}

/// `GET /volumes`.
pub(super) fn list(gateway: &Gateway) -> Answer {
    let all = gateway.volumes.list();
    let shown = all
        .iter()
        .map(|record| value!({ "volumeID": record.id.as_str(), "name": record.name }));
    json(StatusCode::OK, &shown.collect::<Vec<_>>())
}

/// `GET /volumes/{id}`.
pub(super) fn detail(gateway: &Gateway, id: &str) -> Result<Answer, ApiError> {
    let found = gateway.volumes.get(&id_of(id)?);
    let record = found.ok_or_else(|| no_volume(id))?;
    Ok(json(StatusCode::OK, &view(gateway, &record)))
}

#[derive(Debug, Deserialize)]
struct NewVolume {
    name: String,
}

/// `POST /volumes`.
pub(super) async fn create(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    request: Request,
) -> Result<Answer, ApiError> {
    let asked: NewVolume = body(request).await?;
    let record = volumes::create(gateway, caller, &asked.name).await?;
    Ok(json(StatusCode::CREATED, &view(gateway, &record)))
}

/// `DELETE /volumes/{id}`.
pub(super) async fn delete(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    id: &str,
) -> Result<Answer, ApiError> {
    volumes::remove(gateway, caller, &id_of(id)?).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
