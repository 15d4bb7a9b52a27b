//! Trust: zone 2 (loaded by pluginhost; runs as the plugin's user, confined).
//! Input: calls from pluginhost, answers of privd through it.
//! May: ask privd for storage and cells of its own sandboxes.
//! Unsafe: forbidden.
//!
//! The FreeBSD backend: a sandbox's cell is a jail below that of its network, with devfs rules and rctl limits, on a
//! ZFS clone.
#![forbid(unsafe_code)]

use warder_sdk::cells::{Cells, Kind};

/// What a cell is made of here.
#[derive(Debug)]
pub struct Jails;

impl Kind for Jails {
    const TITLE: &'static str = concat!("FreeBSD jails ", env!("CARGO_PKG_VERSION"));
}

/// The backend.
pub type Jail = Cells<Jails>;

warder_sdk::export_backend!(Jail);
