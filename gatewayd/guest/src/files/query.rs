//! The query of `/files`.

use std::borrow::Cow;

use crate::http::ApiError;

/// What `/files` takes. The first of several values counts; unknown names are ignored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Query {
    pub(super) path: Option<String>,
    pub(super) username: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) expiration: Option<i64>,
}

impl Query {
    /// Parses `a=b&c=d` as HTML forms write it.
    ///
    /// # Errors
    /// 400 for text that is no UTF-8 and for an expiration that is no integer.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let mut query = Self::default();
        for pair in text
            .unwrap_or("")
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            let field = match name.as_str() {
                "path" => &mut query.path,
                "username" => &mut query.username,
                "signature" => &mut query.signature,
                "signature_expiration" => {
                    let number = value.parse().map_err(|_| {
                        ApiError::bad_request("signature_expiration must be Unix seconds")
                    })?;
                    query.expiration.get_or_insert(number);
                    continue;
                }
                _ => continue,
            };
            field.get_or_insert(value);
        }
        Ok(query)
    }
}

/// `+` is a space, `%41` a byte; a `%` without two digits stands for itself.
///
/// # Errors
/// 400 for text that is no UTF-8.
pub(crate) fn decode(text: &str) -> Result<String, ApiError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                if let (Some(high), Some(low)) = (hex(*high), hex(*low)) {
                    bytes.push(high << 4 | low);
                    rest = after;
                } else {
                    bytes.push(b'%');
                }
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).map_err(|_| ApiError::bad_request("the query is not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// As [`decode`] wants it back; for tests and for header values.
pub(super) fn encode(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields() {
        let query = Query::parse(Some("path=%2Fa+b%20%c3%a9&x=1&path=second&username=&signature_expiration=12&signature=v1_a%2Bb%")).expect("valid");
        assert_eq!(query.path.as_deref(), Some("/a b é"));
        assert_eq!(query.username.as_deref(), Some(""));
        assert_eq!(query.signature.as_deref(), Some("v1_a+b%"));
        assert_eq!(query.expiration, Some(12));
        assert!(Query::parse(Some("path=%ff")).is_err());
        assert!(Query::parse(Some("signature_expiration=soon")).is_err());
    }

    proptest! {
        #[test]
        fn encoded_text_reads_back(text in "\\PC{0,40}") {
            prop_assert_eq!(decode(&encode(&text)).expect("UTF-8"), text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[%+&=a-f0-9]{0,40}|\\PC{0,40}") {
            let _ = Query::parse(Some(&text));
        }
    }
}
