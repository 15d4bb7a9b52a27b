//! Templates: what there is to clone from. Building them through the API comes later. Snapshots can be used as
//! templates and are deleted as such; they are listed on their own.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json as value};
use warder_wire::TemplateName;
use warder_wire::gateway_priv::Template;

use super::snapshot::{self, DEFAULT_TAG, Reference};
use crate::auth::Caller;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, empty, json};
use crate::lifecycle;
use crate::limits::ENVD_VERSION;
use crate::text::uuid;

/// Clients demand a UUID for a build. A template here has one build: its UUID follows from its name and
/// time.
pub(super) fn build_id(template: &Template) -> String {
    uuid(&format!("{}\0{}", template.name, template.created_unix))
}

/// One template as clients see it. What is not counted is zero.
pub(crate) fn view(template: &Template) -> Value {
    let made = Micros(template.created_unix.saturating_mul(1_000_000)).rfc3339();
    let name = template.name.as_str();
    value!({
        "templateID": name,
        "buildID": build_id(template),
        "envdVersion": ENVD_VERSION,
        "cpuCount": template.limits.cpu_percent.div_ceil(100),
        "memoryMB": template.limits.memory_mib,
        "diskSizeMB": template.limits.disk_mib,
        "spawnCount": 0,
        "buildCount": 1,
        "public": false,
        "aliases": [name],
        "names": [name],
        "createdAt": made,
        "updatedAt": made,
        "createdBy": null,
        "lastSpawnedAt": null,
        "buildStatus": "ready",
        "isDefault": name == "base",
    })
}

/// What a sandbox is made from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Source {
    /// privd's template.
    pub(crate) template: TemplateName,
    /// Its name for people, where it has another.
    pub(super) alias: Option<String>,
}

/// Finds a template or snapshot by id or name. Whether a template is there says privd.
///
/// # Errors
/// 404: what is no name of ours names no template.
pub(crate) fn source(gateway: &Gateway, asked: &str) -> Result<Source, ApiError> {
    let unknown = || ApiError::no_template(asked);
    let parsed = Reference::parse(asked).ok_or_else(unknown)?;
    if let Some(found) = snapshot::newest(gateway, &parsed) {
        return Ok(Source {
            template: found.template,
            alias: found.name.map(|(name, _)| name),
        });
    }
    let template = TemplateName::new(&parsed.name).map_err(|_| unknown())?;
    // One that is being made or removed is nobody's.
    if parsed.namespaced
        || parsed.tag.as_deref().is_some_and(|tag| tag != DEFAULT_TAG)
        || gateway.registry.snapshots.is_one(&template)
    {
        return Err(unknown());
    }
    Ok(Source {
        template,
        alias: None,
    })
}

/// `GET /templates`, `GET /v2/templates` and `GET /default-templates`. All on one page.
pub(super) async fn list(gateway: &Gateway) -> Result<Answer, ApiError> {
    let all = gateway.peers.templates().await?;
    Ok(json(
        StatusCode::OK,
        &all.iter()
            .filter(|template| !gateway.registry.snapshots.is_one(&template.name))
            .map(view)
            .collect::<Vec<_>>(),
    ))
}

/// `DELETE /templates/{id}`: snapshots; what the operator has imported only the operator removes.
pub(super) async fn delete(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    asked: &str,
) -> Result<Answer, ApiError> {
    let parsed = Reference::parse(asked).ok_or_else(|| ApiError::no_template(asked))?;
    let found = snapshot::all_of(gateway, &parsed);
    if found.is_empty() {
        let source = source(gateway, asked)?;
        let all = gateway.peers.templates().await?;
        return Err(if all.iter().any(|one| one.name == source.template) {
            ApiError::unsupported("Deleting a template that the operator has made")
        } else {
            ApiError::no_template(asked)
        });
    }
    for record in found {
        lifecycle::remove_snapshot(gateway, record, caller).await?;
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /templates/aliases/{alias}`.
pub(super) async fn alias(gateway: &Gateway, alias: &str) -> Result<Answer, ApiError> {
    let name = source(gateway, alias)?.template;
    let all = gateway.peers.templates().await?;
    let found = all
        .iter()
        .find(|template| template.name == name)
        .ok_or_else(|| ApiError::no_template(alias))?;
    Ok(json(
        StatusCode::OK,
        &value!({ "templateID": found.name.as_str(), "public": false }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_ids_are_uuids_and_stable() {
        let template = Template {
            name: TemplateName::new("base").expect("name"),
            created_unix: 1,
            limits: warder_wire::Limits::DEFAULT,
        };
        let id = build_id(&template);
        assert_eq!(id, build_id(&template));
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(id.as_bytes()[14], b'8');
    }
}
