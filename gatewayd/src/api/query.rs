//! The query of a list: filters, order, and the cursor from page to page.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::snapshot::Reference;
use crate::clock::Micros;
use crate::error::ApiError;
use crate::registry::record::SandboxRecord;
use crate::text::{percent_decode, query_pairs};

/// Most entries on a page, and how many there are unless asked otherwise.
pub(super) const PAGE: usize = 100;

/// By start time, ties by id.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Order {
    /// Newest first.
    #[default]
    Desc,
    /// Oldest first.
    Asc,
}

impl Order {
    /// How two positions compare on a page.
    pub(super) fn compare(self, a: (u64, &str), b: (u64, &str)) -> Ordering {
        match self {
            Self::Asc => a.cmp(&b),
            Self::Desc => b.cmp(&a),
        }
    }
}

/// The entry a page ended with. Entries that come and go between pages move no other one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Cursor {
    /// Its start, microseconds since 1970.
    pub(super) started: u64,
    /// Its id.
    pub(super) id: String,
    /// The order it was made for.
    pub(super) order: Order,
}

impl Cursor {
    /// As the client carries it.
    pub(super) fn encode(&self) -> String {
        let order = match self.order {
            Order::Desc => "",
            Order::Asc => "__asc",
        };
        URL_SAFE_NO_PAD.encode(format!("{}__{}{order}", self.started, self.id))
    }

    /// Reads what [`Self::encode`] made.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let plain = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (plain, order) = plain
            .strip_suffix("__asc")
            .map_or((plain.as_str(), Order::Desc), |rest| (rest, Order::Asc));
        let (started, id) = plain.split_once("__")?;
        let right = !id.is_empty()
            && id
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        Some(Self {
            started: started.parse().ok()?,
            id: id.to_owned(),
            order,
        })
        .filter(|_| right)
    }
}

/// A list's query.
#[derive(Debug)]
pub(super) struct Query {
    /// All must match.
    pub(super) metadata: BTreeMap<String, String>,
    /// Whether running ones are wanted.
    pub(super) running: bool,
    /// Whether paused ones are.
    pub(super) paused: bool,
    /// The order.
    pub(super) order: Order,
    /// Not started before.
    pub(super) started_after: Option<Micros>,
    /// Of this template.
    pub(super) template: Option<String>,
    /// Entries on a page.
    pub(super) limit: usize,
    /// After this entry.
    pub(super) after: Option<Cursor>,
}

impl Query {
    /// Reads it.
    ///
    /// # Errors
    /// 400.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let pairs = query_pairs(query.unwrap_or_default())
            .ok_or_else(|| ApiError::bad("the query has a broken escape"))?;
        let mut parsed = Self {
            metadata: BTreeMap::new(),
            running: true,
            paused: true,
            order: Order::Desc,
            started_after: None,
            template: None,
            limit: PAGE,
            after: None,
        };
        let mut states: Vec<String> = Vec::new();
        for (name, value) in pairs {
            match name.as_str() {
                "metadata" => parsed.metadata.extend(metadata(&value)?),
                "state" => states.extend(
                    value
                        .split(',')
                        .filter(|s| !s.is_empty())
                        .map(str::to_owned),
                ),
                "order" => parsed.order = order(&value)?,
                "startedAfter" => parsed.started_after = Some(time(&value)?),
                "template" if !value.is_empty() => {
                    // Of a snapshot's whole name only the bare one is kept with a sandbox.
                    let named = Reference::parse(&value).map(|named| named.name);
                    parsed.template = Some(named.unwrap_or(value));
                }
                "limit" => parsed.limit = limit(&value)?,
                "nextToken" if !value.is_empty() => {
                    let cursor = Cursor::decode(&value)
                        .ok_or_else(|| ApiError::bad("nextToken is not one of ours"))?;
                    parsed.after = Some(cursor);
                }
                _ => {}
            }
        }
        if let Some(other) = states
            .iter()
            .find(|state| !matches!(state.as_str(), "running" | "paused"))
        {
            let other: String = other
                .chars()
                .filter(char::is_ascii_graphic)
                .take(40)
                .collect();
            return Err(ApiError::bad(format!(
                "state must be running, paused or both, not '{other}'"
            )));
        }
        let wants = |state: &str| states.is_empty() || states.iter().any(|asked| asked == state);
        (parsed.running, parsed.paused) = (wants("running"), wants("paused"));
        if parsed
            .after
            .as_ref()
            .is_some_and(|cursor| cursor.order != parsed.order)
        {
            return Err(ApiError::bad("nextToken was issued for the other order"));
        }
        Ok(parsed)
    }

    /// Whether a sandbox passes the filters (not the cursor).
    pub(super) fn matches(&self, record: &SandboxRecord) -> bool {
        let wanted = match record.paused {
            None => self.running,
            Some(_) => self.paused,
        };
        wanted
            && self
                .metadata
                .iter()
                .all(|(name, value)| record.metadata.get(name) == Some(value))
            && self
                .started_after
                .is_none_or(|after| Micros::from(record.started) >= after)
            && self.template.as_ref().is_none_or(|template| {
                record.template.as_str() == template || record.alias.as_ref() == Some(template)
            })
    }
}

/// `k=v&k2=v2`, decoded once already as a query value. Names and values are still encoded twice over: the
/// SDKs quote each, encode the pairs as a form, and that again as a query value.
fn metadata(value: &str) -> Result<Vec<(String, String)>, ApiError> {
    let twice =
        |text: &str| percent_decode(text).and_then(|once| percent_decode(&once).or(Some(once)));
    value
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((twice(name)?, twice(value)?))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| {
            ApiError::bad("metadata must be k=v&k2=v2, names and values percent-encoded")
        })
}

fn order(value: &str) -> Result<Order, ApiError> {
    match value {
        "desc" => Ok(Order::Desc),
        "asc" => Ok(Order::Asc),
        _ => Err(ApiError::bad("order must be asc or desc")),
    }
}

fn time(value: &str) -> Result<Micros, ApiError> {
    // A '+' of the zone that was not encoded has become a space.
    Micros::parse(&value.replace(' ', "+"))
        .ok_or_else(|| ApiError::bad("startedAfter must be an RFC 3339 time"))
}

pub(super) fn limit(value: &str) -> Result<usize, ApiError> {
    match value.parse() {
        Ok(limit @ 1..=PAGE) => Ok(limit),
        _ => Err(ApiError::bad(format!("limit must be 1 to {PAGE}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quote(text: &str) -> String {
        text.bytes()
            .map(|b| {
                if b.is_ascii_alphanumeric() {
                    char::from(b).to_string()
                } else {
                    format!("%{b:02X}")
                }
            })
            .collect()
    }

    #[test]
    fn the_recorded_filter() {
        let query = Query::parse(Some(
            "metadata=a%252520k%3Db%252520c%252526d&limit=7&state=running%2Cpaused",
        ))
        .expect("query");
        assert_eq!(
            query.metadata,
            BTreeMap::from([("a k".into(), "b c&d".into())])
        );
        assert!(query.running && query.limit == 7);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for bad in [
            "state=dead",
            "limit=0",
            "limit=101",
            "limit=x",
            "order=up",
            "startedAfter=now",
            "nextToken=!!",
            "metadata=abc",
            "metadata=%",
        ] {
            assert_eq!(Query::parse(Some(bad)).expect_err(bad).status, 400);
        }
        let cursor = Cursor {
            started: 5,
            id: "i0".into(),
            order: Order::Asc,
        };
        assert!(
            Query::parse(Some(&format!("nextToken={}", cursor.encode()))).is_err(),
            "issued for the other order"
        );
        assert!(Query::parse(Some(&format!("order=asc&nextToken={}", cursor.encode()))).is_ok());
        let paused = Query::parse(Some("state=paused")).expect("fine");
        assert!(paused.paused && !paused.running);
        let both = Query::parse(None).expect("fine");
        assert!(both.paused && both.running);
        assert!(Query::parse(Some("startedAfter=2026-01-01T00:00:00+01:00")).is_ok());
    }

    proptest! {
        #[test]
        fn filters_as_the_sdks_encode_them(name in ".{1,12}", value in ".{0,12}") {
            let form = format!("{}={}", quote(&quote(&name)), quote(&quote(&value)));
            let query = Query::parse(Some(&format!("metadata={}", quote(&form)))).expect("encoded");
            prop_assert_eq!(query.metadata.get(&name), Some(&value));
        }

        #[test]
        fn cursors_read_back(started: u64, id in "i[a-z0-9]{20}", asc: bool) {
            let cursor = Cursor { started, id, order: if asc { Order::Asc } else { Order::Desc } };
            prop_assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }

        #[test]
        fn no_query_panics(text in ".{0,80}") {
            let _ = Query::parse(Some(&text));
            let _ = Cursor::decode(&text);
        }
    }
}
