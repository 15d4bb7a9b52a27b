//! Who may reach a sandbox's ports through the gateway, and as what.

use serde::{Deserialize, Serialize};

use super::filters::Filters;
use super::mask::Mask;
use crate::error::ApiError;

/// What an update replaces.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Ingress {
    /// `allowIn` as given.
    pub(crate) allow: Option<Vec<String>>,
    /// `denyIn` as given.
    pub(crate) deny: Option<Vec<String>>,
    /// `maskRequestHost` as given.
    pub(crate) mask: Option<String>,
}

impl Ingress {
    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.lists().iter().all(|list| list.is_empty()) && self.mask.is_none()
    }

    fn lists(&self) -> [&[String]; 2] {
        [&self.allow, &self.deny].map(|list| list.as_deref().unwrap_or_default())
    }

    fn read(&self) -> Result<(Filters, Option<Mask>), String> {
        let [allow, deny] = self.lists();
        let filters = Filters::parse(allow, deny)?;
        let mask = self.mask.as_deref().map(Mask::parse).transpose()?;
        Ok((filters, mask))
    }

    /// Whether the options mean something.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        let read = self.read().map(drop);
        read.map_err(|text| ApiError::bad(text).retry(false))
    }

    /// What is to be in force. What was checked once and is not understood any more lets nobody in.
    pub(crate) fn rules(&self) -> (Filters, Option<Mask>) {
        self.read().unwrap_or_else(|_| (Filters::closed(), None))
    }

    /// Entries that match no client that could be let in.
    pub(crate) fn not_effective(&self) -> Vec<&str> {
        let entries = self.lists().into_iter().flatten();
        entries
            .map(String::as_str)
            .filter(|entry| !Filters::is_effective(entry))
            .collect()
    }
}

/// What holds for the sandbox's life.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Fixed {
    /// `allowPublicTraffic` as given.
    pub(crate) public_traffic: Option<bool>,
    /// `httpsPorts` as given.
    pub(crate) https: Option<Vec<u16>>,
}
