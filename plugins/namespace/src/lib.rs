//! Trust: zone 2 (loaded by pluginhost; runs as the plugin's user, confined).
//! Input: calls from pluginhost, answers of privd through it.
//! May: ask privd for storage and cells of its own sandboxes.
//! Unsafe: forbidden.
//!
//! The Linux backend: a sandbox's cell is namespaces, control groups and a range of ids.
#![forbid(unsafe_code)]

use warder_sdk::cells::{Cells, Kind};

/// What a cell is made of here.
#[derive(Debug)]
pub struct Namespaces;

impl Kind for Namespaces {
    const TITLE: &'static str = concat!("Linux namespaces ", env!("CARGO_PKG_VERSION"));
}

/// The backend.
pub type Namespace = Cells<Namespaces>;

warder_sdk::export_backend!(Namespace);
