//! Trust: zone 3 (linked into privd and netd, which run as root).
//! Input: argument lists that privd and netd compose; what the tools print.
//! May: run one of the programs of [`Tool`], wait for it, and end it.
//! Unsafe: in `run`, for what a new process does between fork and exec.
//!
//! One careful exec for the base system's tools: zfs(8), pfctl(8), ifconfig(8) and a few more.
//!
//! A program is named by its absolute path, from a closed list. No shell reads its arguments, its environment holds
//! `LC_ALL=C` and nothing else (no `PATH`), its directory is `/`, it inherits no descriptor but the standard ones and is
//! killed with its caller. What it reads and prints is bounded, and so is its time.

mod call;
mod error;
mod run;

pub use call::{Call, Output, Tool};
pub use error::{Ended, ToolError};

/// A result of running a tool.
pub type Result<T> = std::result::Result<T, ToolError>;

/// What runs tools: [`Host`], or something that stands in for it in a test.
pub trait Run {
    /// Runs a tool and waits for it.
    ///
    /// # Errors
    /// [`ToolError`]; anything but exit code 0 is one.
    fn run(&self, call: &Call) -> Result<Output>;
}

/// This host's own tools.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host;

impl Run for Host {
    fn run(&self, call: &Call) -> Result<Output> {
        run::run(call)
    }
}

impl<T: Run + ?Sized> Run for &T {
    fn run(&self, call: &Call) -> Result<Output> {
        (**self).run(call)
    }
}
