//! Templates: what there is to clone from. Building them through the API comes later.

use http::StatusCode;
use serde_json::{Value, json as value};
use warder_wire::gateway_priv::Template;

use super::create::template as name_of;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, json};
use crate::limits::{ENVD_VERSION, SANDBOX};
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
        "cpuCount": SANDBOX.cpu_percent.div_ceil(100),
        "memoryMB": SANDBOX.memory_mib,
        "diskSizeMB": SANDBOX.disk_mib,
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

/// `GET /templates`, `GET /v2/templates` and `GET /default-templates`. All on one page.
pub(super) async fn list(gateway: &Gateway) -> Result<Answer, ApiError> {
    let all = gateway.peers.templates().await?;
    Ok(json(
        StatusCode::OK,
        &all.iter().map(view).collect::<Vec<_>>(),
    ))
}

/// `GET /templates/aliases/{alias}`.
pub(super) async fn alias(gateway: &Gateway, alias: &str) -> Result<Answer, ApiError> {
    let name = name_of(alias)?;
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
    use warder_wire::TemplateName;

    use super::*;

    #[test]
    fn build_ids_are_uuids_and_stable() {
        let template = Template {
            name: TemplateName::new("base").expect("name"),
            created_unix: 1,
        };
        let id = build_id(&template);
        assert_eq!(id, build_id(&template));
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(id.as_bytes()[14], b'8');
    }
}
