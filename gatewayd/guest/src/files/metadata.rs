//! What a client keeps with a file: headers at upload, extended attributes on disk.

use std::collections::BTreeMap;
use std::path::Path;

use http::HeaderMap;

use crate::http::ApiError;

/// Prefix of the headers (names are lower-case once parsed).
const HEADER_PREFIX: &str = "x-metadata-";
/// Prefix of the attributes.
pub(crate) const PREFIX: &str = "user.e2b.";
/// Longest key, in bytes: an attribute's name has 255 with the prefix.
const MAX_KEY: usize = 246;
/// Most bytes of keys and values together.
const MAX_TOTAL: usize = 4096;

/// Collects the metadata of an upload.
///
/// # Errors
/// 400 with what to change.
pub(super) fn from_headers(headers: &HeaderMap) -> Result<Vec<(String, String)>, ApiError> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut total = 0;
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(HEADER_PREFIX) else {
            continue;
        };
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(ApiError::bad_request(format_args!(
                "a metadata key must have 1 to {MAX_KEY} bytes"
            )));
        }
        let value = value.as_bytes();
        let printable = value.iter().all(|byte| (0x20..0x7f).contains(byte));
        let Some(value) = std::str::from_utf8(value).ok().filter(|_| printable) else {
            return Err(ApiError::bad_request(format_args!(
                "metadata value of '{key}' must be printable ASCII"
            )));
        };
        total += key.len() + value.len();
        if total > MAX_TOTAL {
            return Err(ApiError::bad_request(format_args!(
                "metadata must have at most {MAX_TOTAL} bytes in all"
            )));
        }
        match found.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => value.clone_into(known),
            None => found.push((key.to_owned(), value.to_owned())),
        }
    }
    Ok(found)
}

/// The metadata of a file on disk; what is not text was not written by us and is left out.
pub(crate) fn read(path: &Path) -> BTreeMap<String, String> {
    warder_guest_sys::xattr::list(path, PREFIX)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(key, value)| Some((key, String::from_utf8(value).ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &[u8])]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                    HeaderValue::from_bytes(value).expect("a value"),
                )
            })
            .collect()
    }

    #[test]
    fn keys_are_lower_case_and_bounds_hold() {
        let found = from_headers(&headers(&[("X-Metadata-Key", b"v 1"), ("other", b"x")]));
        assert_eq!(
            found.expect("valid"),
            [("key".to_owned(), "v 1".to_owned())]
        );
        let long = "x".repeat(MAX_KEY + 1);
        for bad in [
            headers(&[(&format!("x-metadata-{long}"), b"v")]),
            headers(&[("x-metadata-", b"v")]),
            headers(&[("x-metadata-a", "é".as_bytes())]),
            headers(&[("x-metadata-a", b"a\tb")]),
            headers(&[
                ("x-metadata-a", &[b'a'; 2048]),
                ("x-metadata-b", &[b'a'; 2048]),
            ]),
        ] {
            assert!(from_headers(&bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_fits(keys in proptest::collection::vec(("[a-z]{1,300}", proptest::collection::vec(32_u8.., 0..2000)), 0..4)) {
            let mut map = HeaderMap::new();
            for (key, value) in keys {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    map.append(HeaderName::from_bytes(format!("x-metadata-{key}").as_bytes()).expect("a name"), value);
                }
            }
            if let Ok(found) = from_headers(&map) {
                let total: usize = found.iter().map(|(k, v)| k.len() + v.len()).sum();
                prop_assert!(total <= MAX_TOTAL);
                prop_assert!(found.iter().all(|(k, _)| k.len() <= MAX_KEY));
            }
        }
    }
}
