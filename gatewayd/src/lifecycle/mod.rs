//! The life of sandboxes: made, kept, ended, and found again after a restart.

mod create;
mod events;
pub(crate) mod hidden;
mod idempotency;
mod kill;
mod reconcile;
mod timeout;

pub(crate) use create::{NewSandbox, create};
pub(crate) use events::follow;
use events::tell_end;
pub(crate) use idempotency::{Begun, Idempotency};
pub(crate) use kill::kill;
pub(crate) use reconcile::reconcile;
pub(crate) use timeout::{Move, set_end};
