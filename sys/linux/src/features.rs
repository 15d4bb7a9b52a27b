//! What this host offers.

use warder_wire::gateway_priv::Feature;

use crate::error::{At, Result};

/// An identifier of this boot: differs after every restart of the host.
///
/// # Errors
/// `System` when /proc is not there.
pub fn boot_id() -> Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").at("read boot_id")?;
    Ok(text.trim().to_owned())
}

/// Every feature looked at, for the host report.
#[must_use]
pub fn report() -> Vec<Feature> {
    Vec::new()
}
