//! Trust: zone 3 (linked into privd, which runs as root).
//! Input: privd; what zfs(8) prints; the store's own files; trees that guests or archives filled.
//! May: run zfs(8), zpool(8) and pwd_mkdb(8); have datasets mounted; read and write in the state directory.
//! Unsafe: forbidden.
//!
//! Storage on ZFS: which datasets there are to be, by which commands they are made, what a listing means, and what of it is
//! garbage. It is compiled and tested on every system; what only FreeBSD can do is behind [`Host`].
//!
//! An instance has one dataset, `PARENT/warder-TAG`, and all it makes lies below that:
//!
//! - `templates/NAME.STAMP`, with the snapshot `@STAMP` that sandboxes are cloned from;
//! - `sandboxes/ID`, clones;
//! - `volumes/ID`.
//!
//! User properties say whose a dataset is and what it is for (zfsprops(7), "User Properties"): a dataset that lacks them is
//! never touched. The state directory has little: `zfs/`, where all of it is mounted, and in `store/`
//!
//! - `sandboxes/ID`: what the tree of a sandbox is cloned from. It is written before the clone is made, which takes longer
//!   than privd may wait, and a clone without it is garbage;
//! - `made/ID.STAMP`: that this clone is whole;
//! - `trash/KIND.NAME`: a template, volume or snapshot that is to be destroyed;
//! - `kept/LEAF`: what a new template refers to, until privd has read it;
//! - `used`: what was measured last.
#![forbid(unsafe_code)]

mod base;
mod calls;
mod error;
mod files;
mod listing;
mod measure;
mod names;
mod open;
mod plan;
mod record;
mod sandboxes;
mod store;
mod templates;
mod trash;
mod volumes;

pub use base::BASE_DIRS;
pub use error::{Result, ZfsError, sentence};
pub use sandboxes::Root;
pub use store::{Host, Lies, Store};
pub use templates::{Draft, MOST_LAYERS};
