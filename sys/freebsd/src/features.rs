//! What this host offers.

use std::path::Path;

use warder_wire::gateway_priv::Feature;

use crate::error::{Result, unsupported};

/// An identifier of this boot: differs after every restart of the host.
///
/// # Errors
/// `Unsupported`.
pub fn boot_id() -> Result<String> {
    unsupported("features::boot_id")
}

/// Every feature looked at, for storage in `state_dir`.
#[must_use]
pub fn report(_state_dir: &Path) -> Vec<Feature> {
    vec![Feature {
        name: "jail backend".into(),
        present: false,
        note: "not written yet for FreeBSD".into(),
    }]
}
