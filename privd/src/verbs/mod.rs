//! What each row of the table does.

mod cell;
mod lease;
mod link;
mod op;
pub(crate) mod pause;
mod report;
pub(crate) mod snapshot;
mod storage;
pub(crate) mod template;
mod volume;
