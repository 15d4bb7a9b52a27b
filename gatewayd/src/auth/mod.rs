//! Who may call the API: keys, hashed at rest.

pub(crate) mod key;

use std::collections::HashMap;

use http::HeaderMap;
use subtle::ConstantTimeEq;

pub(crate) use key::ApiKey;

use crate::error::ApiError;
use crate::registry::record::{Change, KeyRecord};

/// Who asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Caller {
    /// The holder of this key (its id).
    Key(String),
    /// The operator, over the Unix listener.
    Operator,
}

impl Caller {
    /// For the audit.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Key(id) => id,
            Self::Operator => "operator",
        }
    }

    /// For records.
    pub(crate) fn key_id(&self) -> Option<String> {
        match self {
            Self::Key(id) => Some(id.clone()),
            Self::Operator => None,
        }
    }
}

/// All keys by the first bytes of their hash.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    by_hash: HashMap<[u8; 8], KeyRecord>,
}

fn head(hash: &[u8; 32]) -> [u8; 8] {
    let mut head = [0; 8];
    head.copy_from_slice(&hash[..8]);
    head
}

impl Keys {
    /// From their records.
    pub(crate) fn new(records: Vec<KeyRecord>) -> Self {
        Self {
            by_hash: records
                .into_iter()
                .map(|record| (head(&record.hash), record))
                .collect(),
        }
    }

    /// Applies a change that concerns keys; others are ignored.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Key(record) => {
                self.by_hash.insert(head(&record.hash), record);
            }
            Change::KeyGone(id) => self.by_hash.retain(|_, record| record.id != id),
            _ => {}
        }
    }

    /// The key's record. The lookup sees only a hash; the comparison takes the same time for every content.
    pub(crate) fn find(&self, key: &ApiKey) -> Option<&KeyRecord> {
        let hash = key.hash();
        let record = self.by_hash.get(&head(&hash))?;
        bool::from(record.hash.ct_eq(&hash)).then_some(record)
    }

    /// All, oldest first.
    pub(crate) fn list(&self) -> Vec<&KeyRecord> {
        let mut all: Vec<_> = self.by_hash.values().collect();
        all.sort_by_key(|record| (record.created, record.id.clone()));
        all
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Who the holder of this request's `X-API-KEY` is.
    ///
    /// # Errors
    /// 401.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let refused = |message: &str| ApiError::new(http::StatusCode::UNAUTHORIZED, message);
        let mut given = headers.get_all("x-api-key").iter();
        let (Some(value), None) = (given.next(), given.next()) else {
            return Err(refused(
                "An API key is needed: send exactly one X-API-KEY header",
            ));
        };
        let key = value.to_str().ok().and_then(ApiKey::parse);
        let record = key.as_ref().and_then(|key| self.find(key));
        record
            .map(|record| Caller::Key(record.id.clone()))
            .ok_or_else(|| refused("The API key is not valid"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Micros;

    fn record(key: &ApiKey) -> KeyRecord {
        KeyRecord {
            id: "k1".into(),
            name: "n".into(),
            hash: key.hash(),
            tail: key.tail(),
            created: Micros(1).into(),
        }
    }

    #[test]
    fn only_the_right_key_once() {
        let (mine, other) = (ApiKey::from_random(&[7; 20]), ApiKey::from_random(&[8; 20]));
        let mut keys = Keys::new(vec![record(&mine)]);
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-api-key", value.parse().expect("ascii"));
            }
            headers
        };
        assert_eq!(
            keys.caller(&with(&[mine.text()])).expect("known"),
            Caller::Key("k1".into())
        );
        for wrong in [
            &[][..],
            &[other.text()],
            &[""],
            &["e2b_"],
            &[mine.text(), mine.text()],
        ] {
            assert_eq!(
                keys.caller(&with(wrong)).expect_err("unknown").status,
                401,
                "{wrong:?}"
            );
        }
        keys.apply(Change::KeyGone("k1".into()));
        assert!(keys.caller(&with(&[mine.text()])).is_err());
    }
}
