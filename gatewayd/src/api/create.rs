//! `POST /v2/sandboxes` and `POST /sandboxes`.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use sha2::{Digest, Sha256};
use warder_wire::gateway_priv::AtDeadline;

use super::template::{self, Source};
use super::{parse, view};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{self, Answer, Request};
use crate::lifecycle::{self, Begun, NewSandbox};
use crate::limits;
use crate::network::{self, Options, asks_for_something};
use crate::volumes;

/// Which form of the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Version {
    /// SDK up to 2.50; 15 seconds unless said otherwise.
    V1,
    /// SDK 2.51 and later; 300 seconds.
    V2,
}

/// The request. What is not understood here is kept as a value, so that it can be refused by name.
/// `secure` (v1) changes nothing, as every sandbox has a token; but who wants a private one must say it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(rename = "templateID")]
    template_id: String,
    timeout: Option<i64>,
    #[serde(rename = "allow_internet_access")]
    allow_internet_access: Option<bool>,
    metadata: Option<BTreeMap<String, String>>,
    env_vars: Option<BTreeMap<String, String>>,
    mcp: Option<Value>,
    secure: Option<bool>,
    network: Option<Options>,
    auto_pause: Option<bool>,
    auto_pause_memory: Option<bool>,
    auto_resume: Option<AutoResume>,
    iam: Option<Value>,
    volume_mounts: Option<Vec<MountBody>>,
}

/// One volume to mount.
#[derive(Debug, Deserialize)]
struct MountBody {
    name: String,
    path: String,
    /// With it, an array does not do for the object.
    #[serde(flatten)]
    _more: IgnoredAny,
}

#[derive(Debug, Deserialize)]
struct AutoResume {
    #[serde(default)]
    enabled: bool,
    /// See [`MountBody`].
    #[serde(flatten)]
    _more: IgnoredAny,
}

/// Handles both.
///
/// # Errors
/// [`ApiError`].
pub(super) async fn create(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    version: Version,
    request: Request,
) -> Result<Answer, ApiError> {
    let key = idempotency_key(request.headers())?;
    let bytes = http_io::read_body(request.into_body()).await?;
    let mut body: Body = parse(&bytes)?;
    let asked: Vec<(String, String)> = body
        .volume_mounts
        .take()
        .into_iter()
        .flatten()
        .map(|mount| (mount.name, mount.path))
        .collect();
    let source = template::source(gateway, &body.template_id)?;
    let mut new = check(version, body, source)?;
    // The old form documents no 404.
    let unknown = match version {
        Version::V1 => StatusCode::BAD_REQUEST,
        Version::V2 => StatusCode::NOT_FOUND,
    };
    new.volumes = volumes::mounts(&gateway.volumes, &asked, unknown)?;
    let claim = match key {
        None => None,
        Some(key) => match gateway
            .idempotency
            .begin(caller, &key, Sha256::digest(&bytes).into())?
        {
            Begun::New(claim) => Some(claim),
            Begun::Done(id) => {
                let made = gateway
                    .registry
                    .get(&id)
                    .ok_or_else(|| ApiError::no_sandbox(id.as_str()))?;
                return Ok(http_io::json(
                    StatusCode::CREATED,
                    &view::sandbox(gateway, &made.record()),
                ));
            }
        },
    };
    let sandbox = lifecycle::create(gateway, caller.clone(), new).await?;
    if let Some(claim) = claim {
        claim.made(&sandbox.id);
    }
    Ok(http_io::json(
        StatusCode::CREATED,
        &view::sandbox(gateway, &sandbox.record()),
    ))
}

/// Of two it cannot be known which is meant.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut lines = headers.get_all("idempotency-key").iter();
    let first = lines.next();
    if lines.next().is_some() {
        return Err(ApiError::bad("Idempotency-Key was sent twice"));
    }
    let text = first.map(|value| value.to_str().map(str::to_owned));
    text.transpose()
        .map_err(|_| ApiError::bad("Idempotency-Key is not ASCII"))
}

fn check(version: Version, mut body: Body, source: Source) -> Result<NewSandbox, ApiError> {
    for (name, value) in [("iam", &body.iam)] {
        if value.as_ref().is_some_and(asks_for_something) {
            return Err(refused(name));
        }
    }
    let (at_deadline, auto_resume) = check_lifecycle(&body)?;
    let network = network::of_create(body.allow_internet_access, body.network.take())?;
    let private = network.fixed.public_traffic == Some(false);
    if version == Version::V1 && private && body.secure != Some(true) {
        let text = "You cannot create a sandbox without public access unless you enable secure envd access via \
                    'secure' flag.";
        return Err(ApiError::bad(text).retry(false));
    }
    let default = match version {
        Version::V1 => 15,
        Version::V2 => 300,
    };
    let metadata = body.metadata.unwrap_or_default();
    let variables = body.env_vars.unwrap_or_default();
    if metadata.len() > limits::MAP_ENTRIES || variables.len() > limits::MAP_ENTRIES {
        return Err(ApiError::bad(format!(
            "metadata and envVars may have {} entries each",
            limits::MAP_ENTRIES
        )));
    }
    for name in variables.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(ApiError::bad(
                "a name in envVars is empty or has '=' or NUL in it",
            ));
        }
    }
    if variables.values().any(|value| value.contains('\0')) {
        return Err(ApiError::bad("a value in envVars has NUL in it"));
    }
    Ok(NewSandbox {
        from: source.template.clone(),
        template: source.template,
        alias: source.alias,
        at_deadline,
        auto_resume,
        timeout: seconds(body.timeout.unwrap_or(default), 1)?,
        metadata,
        variables,
        network,
        airgap: false,
        mcp: body
            .mcp
            .filter(|value| !value.is_null())
            .map(|value| value.to_string()),
        volumes: Vec::new(),
        fork_of: None,
    })
}

/// A time to live in seconds, from `least` up.
///
/// # Errors
/// 400.
pub(super) fn seconds(asked: i64, least: u64) -> Result<u64, ApiError> {
    match u64::try_from(asked) {
        Ok(seconds) if seconds > limits::MAX_TIMEOUT_S => Err(ApiError::bad(format!(
            "Timeout cannot be greater than {} hours",
            limits::MAX_TIMEOUT_S / 3600
        ))),
        Ok(seconds) if seconds >= least => Ok(seconds),
        _ => Err(ApiError::bad(format!(
            "Timeout must be at least {least} seconds"
        ))),
    }
}

/// What happens at the deadline, and whether traffic wakes it afterwards.
fn check_lifecycle(body: &Body) -> Result<(AtDeadline, bool), ApiError> {
    let pause = body.auto_pause == Some(true);
    let resume = body.auto_resume.as_ref().is_some_and(|auto| auto.enabled);
    let memory = body.auto_pause_memory != Some(false);
    if !memory && !pause {
        return Err(ApiError::bad(
            "autoPauseMemory: false needs autoPause: true",
        ));
    }
    if !memory && resume {
        return Err(ApiError::bad(
            "autoResume cannot wake what autoPauseMemory: false keeps only the disk of",
        ));
    }
    let at_deadline = if pause {
        AtDeadline::Pause { memory }
    } else {
        AtDeadline::Destroy
    };
    Ok((at_deadline, resume))
}

fn refused(name: &str) -> ApiError {
    ApiError::bad(format!(
        "{name} is not supported by this server yet; leave it out"
    ))
    .code("sandbox_create_refused")
    .retry(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source() -> Source {
        Source {
            template: warder_wire::TemplateName::new("base").expect("name"),
            alias: None,
        }
    }

    fn checked(body: Value) -> Result<NewSandbox, ApiError> {
        let body = serde_json::from_value(body).map_err(|e| ApiError::bad(e.to_string()))?;
        check(Version::V2, body, source())
    }

    #[test]
    fn what_happens_at_the_deadline() {
        let of = |body: Value| {
            let mut whole = json!({"templateID": "base"});
            whole
                .as_object_mut()
                .expect("object")
                .extend(body.as_object().expect("object").clone());
            checked(whole).map(|new| (new.at_deadline, new.auto_resume))
        };
        let pause = |memory| AtDeadline::Pause { memory };
        for (body, wanted) in [
            (json!({}), (AtDeadline::Destroy, false)),
            (
                json!({"autoPause": null, "autoPauseMemory": true}),
                (AtDeadline::Destroy, false),
            ),
            (json!({"autoPause": true}), (pause(true), false)),
            (
                json!({"autoPause": true, "autoPauseMemory": false}),
                (pause(false), false),
            ),
            (
                json!({"autoPause": true, "autoResume": {"enabled": true}}),
                (pause(true), true),
            ),
            (
                json!({"autoResume": {"enabled": true}}),
                (AtDeadline::Destroy, true),
            ),
        ] {
            assert_eq!(of(body.clone()).expect("allowed"), wanted, "{body}");
        }
        for body in [
            json!({"autoPauseMemory": false}),
            json!({"autoPause": true, "autoPauseMemory": false, "autoResume": {"enabled": true}}),
            json!({"autoPause": 1}),
            json!({"autoResume": true}),
        ] {
            assert_eq!(of(body.clone()).expect_err("refused").status, 400, "{body}");
        }
    }

    #[test]
    fn what_the_sdks_send_without_options_is_accepted() {
        let v1 = json!({"templateID": "base", "timeout": 300, "autoPause": false, "autoPauseMemory": true, "secure": true,
            "allow_internet_access": true, "network": {"allowPublicTraffic": true}, "metadata": {}, "envVars": {},
            "mcp": null, "autoResume": {"enabled": false}, "volumeMounts": [], "somethingNew": {"a": 1}});
        let new = checked(v1).expect("plain");
        assert_eq!(
            (
                new.timeout,
                new.network.internet,
                new.network.fixed.public_traffic
            ),
            (300, Some(true), Some(true))
        );
        let new = checked(json!({"templateID": "base:default"})).expect("shortest");
        assert_eq!(
            (new.timeout, new.network.internet, new.template.as_str()),
            (300, None, "base")
        );
        let body = serde_json::from_value(json!({"templateID": "base"})).expect("shortest");
        assert_eq!(
            check(Version::V1, body, source())
                .expect("shortest")
                .timeout,
            15
        );
    }

    #[test]
    fn what_would_be_ignored_is_refused_by_name() {
        let rules = json!({"a.b": [{"transform": {"headers": {"a": "b"}}}]});
        for (field, value) in [("rules", rules), ("egressOff", json!(true))] {
            let error =
                checked(json!({"templateID": "base", "network": {field: value}})).expect_err(field);
            assert!(error.message.contains(&format!("network.{field}")));
        }
        let iam = json!({"tokens": {"a": {"audience": "b", "tokenType": "JWT-SVID"}}});
        let error = checked(json!({"templateID": "base", "iam": iam})).expect_err("iam");
        assert!(
            error.status == 400 && error.message.contains("iam"),
            "{}",
            error.message
        );
    }

    #[test]
    fn times_and_names_have_bounds() {
        for bad in [0, -1, 30 * 24 * 3600 + 1] {
            assert_eq!(
                checked(json!({"templateID": "base", "timeout": bad}))
                    .expect_err("bound")
                    .status,
                400
            );
        }
        assert_eq!(
            checked(json!({"templateID": "base", "envVars": {"A=B": "c"}}))
                .expect_err("name")
                .status,
            400
        );
        assert_eq!(
            checked(json!({"timeout": 5}))
                .expect_err("no template")
                .status,
            400
        );
    }
}
