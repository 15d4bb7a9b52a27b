//! Snapshots and forks: `POST /sandboxes/{id}/snapshots`, `POST /sandboxes/{id}/fork`, `GET /snapshots`.
//!
//! A snapshot is found by its id, or by its name and tag; of several with one name and tag the newest is
//! meant. Every key of an instance belongs to the one team there is.

use std::sync::Arc;

use http::{HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json as value};
use warder_wire::SandboxId;

use super::create::seconds;
use super::query::{Cursor, Order, PAGE, limit};
use super::{optional_body, sandbox, view};
use crate::auth::Caller;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, Request, error_value, json};
use crate::lifecycle;
use crate::limits;
use crate::proxy::host::bare_id;
use crate::registry::record::SnapshotRecord;
use crate::text::query_pairs;

/// The team in names.
const TEAM: &str = "local";
/// The tag that is meant when none is named.
pub(super) const DEFAULT_TAG: &str = "default";
/// Longest name and longest tag in bytes.
const LONGEST: usize = 128;
const NEXT: HeaderName = HeaderName::from_static("x-next-token");

/// `[team/]name[:tag]`, or an id in the place of the name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Reference {
    /// Whether the team was named.
    pub(super) namespaced: bool,
    /// The name, in lower case.
    pub(super) name: String,
    /// The tag, in lower case.
    pub(super) tag: Option<String>,
}

impl Reference {
    /// `None` for what names nothing here, another team's things too.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (path, tag) = match text.split_once(':') {
            Some((path, tag)) => (path, Some(tag.to_owned())),
            None => (text.as_str(), None),
        };
        let (namespaced, name) = match path.split_once('/') {
            Some((team, name)) => (team == TEAM, name),
            None => (false, path),
        };
        let plain = |text: &str, more: &str| {
            (1..=LONGEST).contains(&text.len())
                && text.chars().all(|c| {
                    c.is_ascii_lowercase()
                        || c.is_ascii_digit()
                        || "-_".contains(c)
                        || more.contains(c)
                })
        };
        let right = (namespaced || !path.contains('/'))
            && plain(name, "")
            && tag.as_deref().is_none_or(|tag| plain(tag, "."));
        right.then(|| Self {
            namespaced,
            name: name.to_owned(),
            tag,
        })
    }

    fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(DEFAULT_TAG)
    }
}

fn by_id(gateway: &Gateway, asked: &Reference) -> Option<SnapshotRecord> {
    let found = gateway.registry.snapshots.get(&asked.name)?;
    (!asked.namespaced && asked.tag() == DEFAULT_TAG).then_some(found)
}

/// The snapshot that is meant.
pub(super) fn newest(gateway: &Gateway, asked: &Reference) -> Option<SnapshotRecord> {
    by_id(gateway, asked).or_else(|| {
        let named = gateway
            .registry
            .snapshots
            .named(&asked.name, Some(asked.tag()));
        named.into_iter().next()
    })
}

/// All that go when this is deleted: the one with the id, or all with the name, and with the tag if one is named.
pub(super) fn all_of(gateway: &Gateway, asked: &Reference) -> Vec<SnapshotRecord> {
    match by_id(gateway, asked) {
        Some(found) => vec![found],
        None => gateway
            .registry
            .snapshots
            .named(&asked.name, asked.tag.as_deref()),
    }
}

/// SnapshotInfo. The newest of a name goes by that name, every other by its id.
fn info(gateway: &Gateway, record: &SnapshotRecord) -> Value {
    let id = format!("{}:{DEFAULT_TAG}", record.template);
    let Some((name, tag)) = &record.name else {
        return value!({ "snapshotID": id, "names": [] });
    };
    let named = gateway.registry.snapshots.named(name, Some(tag));
    let newest = named
        .first()
        .is_some_and(|one| one.template == record.template);
    let id = if newest {
        format!("{TEAM}/{name}:{tag}")
    } else {
        id
    };
    value!({ "snapshotID": id, "names": [format!("{TEAM}/{name}")] })
}

#[derive(Debug, Default, Deserialize)]
struct SnapshotBody {
    name: Option<String>,
    // SDKs send it as it is by default; here it changes nothing: a snapshot holds the disk.
    #[serde(rename = "memory")]
    _memory: Option<bool>,
}

/// `POST /sandboxes/{id}/snapshots`.
pub(super) async fn create(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    id: &str,
    request: Request,
) -> Result<Answer, ApiError> {
    let asked: SnapshotBody = optional_body(request).await?;
    let name = match asked.name {
        None => None,
        Some(text) => Some(new_name(gateway, &text).await?),
    };
    let sandbox = sandbox::find(gateway, id)?;
    let record = lifecycle::snapshot(gateway, &sandbox, name, caller).await?;
    Ok(json(StatusCode::CREATED, &info(gateway, &record)))
}

/// A name for a new snapshot; templates of the operator keep theirs.
async fn new_name(gateway: &Gateway, text: &str) -> Result<(String, String), ApiError> {
    let parsed = Reference::parse(text).ok_or_else(|| {
        ApiError::bad(format!(
            "a snapshot's name is NAME, NAME:TAG or {TEAM}/NAME:TAG with at most {LONGEST} of a-z, 0-9, '-' and '_' \
             in each part, in the tag '.' too"
        ))
    })?;
    let tag = parsed.tag().to_owned();
    if is_uuid(&tag) {
        return Err(ApiError::bad("a tag must not look like a UUID"));
    }
    let taken = ApiError::new(
        StatusCode::CONFLICT,
        format!("a template has the name '{}' already", parsed.name),
    );
    if gateway.registry.snapshots.get(&parsed.name).is_some() {
        return Err(taken);
    }
    let templates = gateway.peers.templates().await?;
    if templates.iter().any(|one| one.name.as_str() == parsed.name) {
        return Err(taken);
    }
    Ok((parsed.name, tag))
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12]
        && parts
            .iter()
            .all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `GET /snapshots`, newest first.
pub(super) fn list(gateway: &Gateway, query: Option<&str>) -> Result<Answer, ApiError> {
    let pairs = query_pairs(query.unwrap_or_default())
        .ok_or_else(|| ApiError::bad("the query has a broken escape"))?;
    let mut all = gateway.registry.snapshots.ready();
    let (mut most, mut after) = (PAGE, None);
    for (name, text) in pairs.into_iter().filter(|(_, text)| !text.is_empty()) {
        match name.as_str() {
            "sandboxID" => {
                let bare = bare_id(&text).ok_or_else(|| ApiError::bad("Invalid sandbox ID"))?;
                let of = SandboxId::new(bare).ok();
                all.retain(|one| Some(&one.sandbox) == of.as_ref());
            }
            "name" => {
                let asked = Reference::parse(&text);
                all.retain(|one| asked.as_ref().is_some_and(|asked| matches(asked, one)));
            }
            "limit" => most = limit(&text)?,
            "nextToken" => {
                let cursor = Cursor::decode(&text)
                    .filter(|cursor| cursor.order == Order::Desc)
                    .ok_or_else(|| ApiError::bad("nextToken is not one of ours"))?;
                after = Some(cursor);
            }
            _ => {}
        }
    }
    let place = |one: &SnapshotRecord| (Micros::from(one.created).0, one.template.to_string());
    if let Some(after) = after {
        all.retain(|one| place(one) < (after.started, after.id.clone()));
    }
    let more = all.len() > most;
    all.truncate(most);
    let shown: Vec<Value> = all.iter().map(|one| info(gateway, one)).collect();
    let mut answer = json(StatusCode::OK, &shown);
    if let Some(last) = all.last().filter(|_| more) {
        let (started, id) = place(last);
        let cursor = Cursor {
            started,
            id,
            order: Order::Desc,
        };
        if let Ok(token) = cursor.encode().parse() {
            answer.headers_mut().insert(NEXT, token);
        }
    }
    Ok(answer)
}

fn matches(asked: &Reference, one: &SnapshotRecord) -> bool {
    let by_id = one.template.as_str() == asked.name && !asked.namespaced;
    by_id
        || one.name.as_ref().is_some_and(|(name, tag)| {
            *name == asked.name && asked.tag.as_ref().is_none_or(|asked| asked == tag)
        })
}

#[derive(Debug, Default, Deserialize)]
struct ForkBody {
    timeout: Option<i64>,
    count: Option<u64>,
}

/// `POST /sandboxes/{id}/fork`.
pub(super) async fn fork(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    id: &str,
    request: Request,
) -> Result<Answer, ApiError> {
    let asked: ForkBody = optional_body(request).await?;
    let timeout = seconds(asked.timeout.unwrap_or(15), 1)?;
    let count = asked.count.unwrap_or(1);
    if !(1..=limits::FORKS).contains(&count) {
        return Err(ApiError::bad(format!(
            "count must be 1 to {}",
            limits::FORKS
        )));
    }
    let source = sandbox::find(gateway, id)?;
    let forks = lifecycle::fork(gateway, &source, (count, timeout), caller).await?;
    let shown: Vec<Value> = forks
        .iter()
        .map(|fork| match fork {
            Ok(made) => value!({ "sandbox": view::sandbox(gateway, &made.record()) }),
            Err(error) => value!({ "error": error_value(error) }),
        })
        .collect();
    Ok(json(StatusCode::CREATED, &shown))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_in_every_form() {
        let of = |namespaced, name: &str, tag: Option<&str>| {
            Some(Reference {
                namespaced,
                name: name.into(),
                tag: tag.map(str::to_owned),
            })
        };
        for (text, wanted) in [
            ("base", of(false, "base", None)),
            ("Base:V1.2", of(false, "base", Some("v1.2"))),
            ("local/a-b_c", of(true, "a-b_c", None)),
            ("local/a:default", of(true, "a", Some("default"))),
            ("other/a", None),
            ("a/b/c", None),
            ("../x", None),
            ("a:", None),
            (":a", None),
            ("a:b:c", None),
            ("", None),
            ("a b", None),
        ] {
            assert_eq!(Reference::parse(text), wanted, "{text}");
        }
        assert!(Reference::parse(&"a".repeat(129)).is_none());
    }

    #[test]
    fn uuids_are_told_from_tags() {
        assert!(is_uuid("01234567-89ab-cdef-0123-456789abcdef"));
        assert!(!is_uuid("v1-2-3-4-5"));
        assert!(!is_uuid("01234567-89ab-cdef-0123-456789abcdeg"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = Reference::parse(&text);
        }
    }
}
