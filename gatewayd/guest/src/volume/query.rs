//! The query of `/volume/…`.

use std::str::FromStr;

use rustix::fs::{Gid, Mode, RawMode, Uid};

use crate::files::decode;
use crate::http::ApiError;

/// Deepest listing.
const DEEPEST: u32 = 64;

/// What may be asked. The last of several values counts; unknown names are ignored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Query {
    pub(super) path: String,
    pub(super) depth: u32,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mode: Option<RawMode>,
    pub(super) force: Option<bool>,
}

/// An owner and a mode, of whatever is given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub(super) uid: Option<Uid>,
    pub(super) gid: Option<Gid>,
    pub(super) mode: Option<Mode>,
}

impl Query {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let mut query = Self {
            depth: 1,
            ..Self::default()
        };
        let mut path = None;
        let pairs = text.unwrap_or("").split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            match name.as_str() {
                "path" => path = Some(value),
                "depth" => query.depth = number(&name, &value)?,
                "uid" => query.uid = Some(number(&name, &value)?),
                "gid" => query.gid = Some(number(&name, &value)?),
                "mode" => query.mode = Some(number(&name, &value)?),
                "force" => {
                    query.force = Some(match value.as_str() {
                        "true" | "1" => true,
                        "false" | "0" => false,
                        _ => return Err(ApiError::bad_request("force must be true or false")),
                    });
                }
                _ => {}
            }
        }
        query.path = path.ok_or_else(|| ApiError::bad_request("path is missing"))?;
        if !(1..=DEEPEST).contains(&query.depth) {
            return Err(ApiError::bad_request(format_args!(
                "depth must be from 1 to {DEEPEST}"
            )));
        }
        Ok(query)
    }

    pub(super) fn wanted(&self) -> Result<Wanted, ApiError> {
        Wanted::new(self.uid, self.gid, self.mode)
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, ApiError> {
    let text = format!("{name} must be a number from 0");
    value.parse().map_err(|_| ApiError::bad_request(text))
}

impl Wanted {
    /// # Errors
    /// 400 for what is no owner or mode.
    pub(super) fn new(
        uid: Option<u32>,
        gid: Option<u32>,
        mode: Option<RawMode>,
    ) -> Result<Self, ApiError> {
        // The largest number means "leave it" to the kernel.
        if [uid, gid].contains(&Some(u32::MAX)) {
            return Err(ApiError::bad_request("there is no such owner"));
        }
        if mode.is_some_and(|mode| mode > 0o7777) {
            return Err(ApiError::bad_request("mode has 12 bits (octal 7777)"));
        }
        Ok(Self {
            uid: uid.map(Uid::from_raw),
            gid: gid.map(Gid::from_raw),
            mode: mode.map(Mode::from_raw_mode),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let query = Query::parse(Some(
            "path=%2Fa+b&uid=1&gid=2&mode=420&force=true&depth=3&x=y",
        ))
        .expect("valid");
        assert_eq!(
            query,
            Query {
                path: "/a b".into(),
                depth: 3,
                uid: Some(1),
                gid: Some(2),
                mode: Some(0o644),
                force: Some(true),
            }
        );
        for bad in [
            "",
            "depth=1",
            "path=/&depth=0",
            "path=/&depth=65",
            "path=/&uid=-1",
            "path=/&force=maybe",
            "path=%ff",
        ] {
            assert!(Query::parse(Some(bad)).is_err(), "{bad}");
        }
        assert!(Wanted::new(Some(u32::MAX), None, None).is_err());
        assert!(Wanted::new(None, None, Some(0o10000)).is_err());
    }
}
