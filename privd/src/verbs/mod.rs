//! What each row of the table does.

mod cell;
mod lease;
mod link;
mod op;
mod report;
mod storage;
mod template;
mod volume;
