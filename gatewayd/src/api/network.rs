//! A live sandbox's network policy and air gap.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::body;
use super::sandbox::find;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, Request, empty};
use crate::lifecycle::{self, Wanted};
use crate::network::{self, Update};
use crate::proxy::host::bare_id;

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
