//! What the gateway sets after the sandbox starts (`POST /init`), and may set again later.

use std::collections::BTreeMap;

use warder_connect::Timestamp;
use warder_wire::Limits;

/// User that clients act as when they name none.
const DEFAULT_USER: &str = "user";

/// Defaults for requests and processes.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Variables of every process.
    pub(crate) env: BTreeMap<String, String>,
    /// What clients must show; none until the first `/init`.
    pub(crate) token: Option<String>,
    /// User when none is named.
    pub(crate) user: String,
    /// Directory for relative paths and processes; the user's home when absent.
    pub(crate) workdir: Option<String>,
    /// What the sandbox may use, if it was told.
    pub(crate) limits: Option<Limits>,
    /// Time of the newest `/init`, so that one that was overtaken changes nothing.
    pub(crate) stamp: Option<Timestamp>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            env: BTreeMap::from([("E2B_SANDBOX".to_owned(), "true".to_owned())]),
            token: None,
            user: DEFAULT_USER.to_owned(),
            workdir: None,
            limits: None,
            stamp: None,
        }
    }
}
