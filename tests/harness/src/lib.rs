//! Trust: none; test code, run as root on a machine for tests.
//! Input: the stage directory (`scripts/build`), answers of the daemons under test.
//! May: start and end its own processes, talk HTTP to them.
//! Unsafe: forbidden.
//!
//! Starts a whole Warder for tests, with any of its parts replaced by a hostile one.
#![forbid(unsafe_code)]

mod agent;
pub mod alone;
mod disk;
pub mod http;
mod instance;
pub mod leftovers;
pub mod processes;
mod skip;
mod stage;
pub mod wait;

pub use agent::{Ran, exec};
pub use instance::{Builder, Instance};
pub use skip::skip;
pub use stage::Stage;
