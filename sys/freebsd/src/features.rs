//! What this host offers.

use warder_wire::gateway_priv::Feature;

use crate::error::{Result, unsupported};

/// An identifier of this boot: differs after every restart of the host.
///
/// # Errors
/// `Unsupported`.
pub fn boot_id() -> Result<String> {
    unsupported("features::boot_id")
}

/// Every feature looked at, for the host report.
#[must_use]
pub fn report() -> Vec<Feature> {
    vec![Feature {
        name: "jail backend".into(),
        present: false,
        note: "not written yet for FreeBSD".into(),
    }]
}
