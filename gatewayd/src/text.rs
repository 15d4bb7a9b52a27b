//! Percent-encoding and query strings, decoded exactly as often as asked; and UUIDs.

use sha2::{Digest, Sha256};

/// A UUID that follows from the seed, in the form of RFC 9562 version 8.
pub(crate) fn uuid(seed: &str) -> String {
    let hash = Sha256::digest(seed);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::auth::key::hex(&bytes);
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// Decodes `%XX` once (RFC 3986); `None` when a `%` is not followed by two hex digits or the result
/// is not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    decode(text, false)
}

/// The same for a query's names and values, where `+` is a space.
pub(crate) fn query_decode(text: &str) -> Option<String> {
    decode(text, true)
}

fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' if plus_is_space => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok()
}

/// The parameters of a query string in order, decoded once. `None` when one cannot be decoded.
pub(crate) fn query_pairs(query: &str) -> Option<Vec<(String, String)>> {
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((query_decode(name)?, query_decode(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn broken_escapes_are_refused() {
        for bad in ["%", "%2", "%zz", "a%", "%ff"] {
            assert_eq!(percent_decode(bad), None, "{bad}");
        }
        assert_eq!(percent_decode("a%20b+c").as_deref(), Some("a b+c"));
        assert_eq!(query_decode("a%20b+c").as_deref(), Some("a b c"));
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in ".{0,40}") {
            let encoded: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
            prop_assert_eq!(percent_decode(&encoded), Some(text));
        }

        #[test]
        fn no_query_panics(text in ".{0,60}") {
            let _ = query_pairs(&text);
        }
    }
}
