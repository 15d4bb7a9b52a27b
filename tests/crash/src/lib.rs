//! Trust: none; test code, run as root on a machine for tests.
//! Input: answers of the daemons under test, /proc and /sys of this host.
//! May: start a Warder of its own and end its processes, by their ids.
//! Unsafe: forbidden.
//!
//! What the crash rounds need: a seed that is printed, clients that create and destroy all the time, others
//! that pause and wake, resident sandboxes whose life is watched, and the kernel's own view of what there is.
#![forbid(unsafe_code)]

mod churn;
mod kernel;
pub mod power;
mod resident;
mod seed;
mod settle;
mod sleeper;

pub use churn::{Churn, Tally, ask};
pub use kernel::Kernel;
pub use resident::Resident;
pub use seed::Seed;
pub use settle::{PATIENCE, listed, settle, steady, usable};
pub use sleeper::{Restless, Sleeper};
