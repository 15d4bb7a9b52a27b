//! Names resolved for dialling.

use std::net::Ipv4Addr;

use warder_wire::HostName;

use crate::egress::Egress;
use crate::sandboxes::Sandbox;

/// What was resolved for one sandbox.
#[derive(Debug, Default)]
pub(crate) struct Cache;

/// Why a name has no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ResolveError {
    /// There is no such name, or it has no address that may be reached.
    #[error("no address")]
    NoAddress,
    /// No server has answered.
    #[error("no answer")]
    NoAnswer,
}

impl Egress {
    /// The addresses of `name` that may be dialled for `sandbox`, at least one, in the order to try them in.
    ///
    /// # Errors
    /// [`ResolveError`].
    #[allow(clippy::unused_async, reason = "asks the operator's servers")]
    pub(crate) async fn resolve(
        &self,
        _sandbox: &Sandbox,
        _name: &HostName,
    ) -> Result<Vec<Ipv4Addr>, ResolveError> {
        Err(ResolveError::NoAnswer)
    }
}
