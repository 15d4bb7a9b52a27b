//! What each row of the table does.

mod cell;
mod lease;
mod link;
mod op;
mod report;
mod storage;
pub(crate) mod template;
mod volume;
