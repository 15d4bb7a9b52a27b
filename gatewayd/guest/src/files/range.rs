//! `Range` and the conditional headers (RFC 9110, sections 13 and 14).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// Which part of a file to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// `length` bytes from `start`; both within the file, `length` at least 1.
    Some { start: u64, length: u64 },
    /// The range lies outside: 416.
    Outside,
}

/// Reads a range of one part. Anything else about it (several parts, another unit, bad syntax) means all
/// of the file, which a server may always send.
pub(super) fn part(headers: &HeaderMap, size: u64, modified: SystemTime) -> Part {
    let Some(text) = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok())
    else {
        return Part::Whole;
    };
    if let Some(condition) = headers.get(header::IF_RANGE) {
        // There are no entity tags here, so only a date can match.
        let date = condition
            .to_str()
            .ok()
            .and_then(|text| httpdate::parse_http_date(text).ok());
        if date != Some(whole_seconds(modified)) {
            return Part::Whole;
        }
    }
    let Some(spec) = text.trim().strip_prefix("bytes=") else {
        return Part::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Part::Whole;
    };
    let number = |text: &str| {
        let text = text.trim();
        // `parse` takes a sign, a range does not. More digits than fit are far outside.
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (None, Some(tail)) if first.trim().is_empty() => match tail.min(size) {
            0 => Part::Outside,
            length => Part::Some {
                start: size - length,
                length,
            },
        },
        (Some(start), end) if end.is_some() || last.trim().is_empty() => {
            let end = end.unwrap_or(u64::MAX);
            if end < start {
                Part::Whole
            } else if start >= size {
                Part::Outside
            } else {
                let length = (end - start).min(size - start - 1) + 1;
                Part::Some { start, length }
            }
        }
        _ => Part::Whole,
    }
}

/// What the conditional headers say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Condition {
    Send,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Judges the conditions in their order of precedence.
pub(super) fn condition(headers: &HeaderMap, modified: SystemTime) -> Condition {
    let modified = whole_seconds(modified);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let date = |name| text(name).and_then(|text| httpdate::parse_http_date(text).ok());
    if let Some(tags) = text(header::IF_MATCH) {
        if tags.trim() != "*" {
            return Condition::Failed;
        }
    } else if date(header::IF_UNMODIFIED_SINCE).is_some_and(|limit| modified > limit) {
        return Condition::Failed;
    }
    if let Some(tags) = text(header::IF_NONE_MATCH) {
        if tags.trim() == "*" {
            return Condition::NotModified;
        }
    } else if date(header::IF_MODIFIED_SINCE).is_some_and(|since| modified <= since) {
        return Condition::NotModified;
    }
    Condition::Send
}

/// As far as a date header can say it.
pub(super) fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// Whether any of these headers is there: then the answer is never compressed.
pub(super) fn any(headers: &HeaderMap) -> bool {
    [
        header::RANGE,
        header::IF_RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
    ]
    .iter()
    .any(|name| headers.contains_key(name))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("a value"))])
    }

    #[test]
    fn ranges() {
        let time = SystemTime::UNIX_EPOCH;
        for (text, want) in [
            (
                "bytes=0-3",
                Part::Some {
                    start: 0,
                    length: 4,
                },
            ),
            (
                "bytes=8-",
                Part::Some {
                    start: 8,
                    length: 2,
                },
            ),
            (
                "bytes=-4",
                Part::Some {
                    start: 6,
                    length: 4,
                },
            ),
            (
                "bytes=-40",
                Part::Some {
                    start: 0,
                    length: 10,
                },
            ),
            (
                "bytes=9-99999999999999999999999",
                Part::Some {
                    start: 9,
                    length: 1,
                },
            ),
            ("bytes=10-", Part::Outside),
            ("bytes=-0", Part::Outside),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=0-3", Part::Whole),
        ] {
            assert_eq!(part(&with(header::RANGE, text), 10, time), want, "{text}");
        }
    }

    #[test]
    fn conditions() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_500);
        let same = httpdate::fmt_http_date(time);
        let earlier = httpdate::fmt_http_date(time - Duration::from_secs(5));
        for (name, value, want) in [
            (
                header::IF_MODIFIED_SINCE,
                same.as_str(),
                Condition::NotModified,
            ),
            (header::IF_MODIFIED_SINCE, &earlier, Condition::Send),
            (header::IF_UNMODIFIED_SINCE, &earlier, Condition::Failed),
            (header::IF_UNMODIFIED_SINCE, &same, Condition::Send),
            (header::IF_NONE_MATCH, "*", Condition::NotModified),
            (header::IF_NONE_MATCH, "\"x\"", Condition::Send),
            (header::IF_MATCH, "\"x\"", Condition::Failed),
            (header::IF_MODIFIED_SINCE, "nonsense", Condition::Send),
        ] {
            assert_eq!(
                condition(&with(name.clone(), value), time),
                want,
                "{name}: {value}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_file(text in "bytes=[0-9]{0,21}-[0-9]{0,21}|\\PC{0,20}", size: u64) {
            let Ok(value) = HeaderValue::from_str(&text) else { return Ok(()) };
            let headers = HeaderMap::from_iter([(header::RANGE, value)]);
            if let Part::Some { start, length } = part(&headers, size, SystemTime::UNIX_EPOCH) {
                prop_assert!(length >= 1);
                prop_assert!(start.checked_add(length).is_some_and(|end| end <= size));
            }
        }
    }
}
