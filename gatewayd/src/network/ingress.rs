//! Who may reach a sandbox's ports through the gateway.

use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// What an update replaces.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Ingress {}

impl Ingress {
    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the options mean something.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        Ok(())
    }
}

/// What holds for the sandbox's life.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Fixed {
    /// `allowPublicTraffic` as given.
    pub(crate) public_traffic: Option<bool>,
}

impl Fixed {
    /// Whether the options mean something.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        Ok(())
    }
}
