//! Watches.
#[derive(Debug, Default)]
pub(crate) struct Watches;
