//! Time in the forms the API and the registry need. The clock is read without a system call (vdso).

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, Serializer};

/// Microseconds since 1970.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Micros(pub(crate) u64);

impl Micros {
    /// Now. A clock before 1970 counts as 1970.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// This many seconds later.
    pub(crate) fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// Milliseconds from `now` until this moment; zero if it has passed.
    pub(crate) fn ms_from(self, now: Self) -> u64 {
        self.0.saturating_sub(now.0).div_ceil(1000)
    }

    /// RFC 3339 with microseconds, in UTC.
    pub(crate) fn rfc3339(self) -> String {
        let us = i64::try_from(self.0).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_microsecond(us).unwrap_or(jiff::Timestamp::MAX);
        format!("{time:.6}")
    }

    /// Reads RFC 3339; `None` when it is none or lies before 1970.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(time.as_microsecond()).ok().map(Self)
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            s.serialize_str(&self.rfc3339())
        } else {
            s.serialize_u64(self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_survive_text() {
        let time = Micros(1_700_000_000_000_001);
        assert_eq!(time.rfc3339(), "2023-11-14T22:13:20.000001Z");
        assert_eq!(Micros::parse(&time.rfc3339()), Some(time));
        assert_eq!(
            Micros::parse("2023-11-14T23:13:20.000001+01:00"),
            Some(time)
        );
        assert_eq!(Micros::parse("yesterday"), None);
    }
}
