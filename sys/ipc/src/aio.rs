//! The asynchronous half, on tokio: callers, the raw channel, and streams from a guest.
//!
//! Everything here is made after the runtime and makes no thread but the [`Reaper`]'s, which must be
//! started before the process forbids itself to make threads.

use std::cell::OnceCell;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use crate::Watchdog;

mod caller;
mod guest;
mod raw;

pub use caller::{CallError, Caller};
pub use guest::{GuestStream, Reaper};
pub use raw::AsyncChannel;

/// How long a thread of the runtime may wait in the kernel for what it did not ask for.
const PATIENCE: Duration = Duration::from_millis(10);

thread_local! {
    static WATCHDOG: OnceCell<Watchdog> = const { OnceCell::new() };
}

/// Gives the calling thread a [`Watchdog`]; [`watched`] arms it.
///
/// # Errors
/// As [`Watchdog::new`].
pub fn watch_this_thread() -> std::io::Result<()> {
    let watchdog = Watchdog::new()?;
    WATCHDOG.with(|cell| {
        let _ = cell.set(watchdog);
    });
    Ok(())
}

/// A runtime whose threads are watched while they work, those that have called [`watch_this_thread`].
pub fn watched(builder: &mut tokio::runtime::Builder) -> &mut tokio::runtime::Builder {
    fn watchdog(act: impl FnOnce(&Watchdog)) {
        WATCHDOG.with(|cell| cell.get().map(act));
    }
    builder
        .on_thread_unpark(|| watchdog(|w| w.arm(PATIENCE)))
        .on_thread_park(|| watchdog(Watchdog::disarm))
}

/// A descriptor that stays the same and open for as long as the runtime watches it.
#[derive(Debug)]
struct Watched(Arc<OwnedFd>);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Gives a descriptor to the current runtime; on failure it comes back.
fn watch(fd: Arc<OwnedFd>) -> Result<AsyncFd<Watched>, (Arc<OwnedFd>, std::io::Error)> {
    // SAFETY: `Watched` owns a share of the descriptor and always names the same one, so it is open and
    // unchanged until `AsyncFd` lets go of it.
    let registered = unsafe { AsyncFd::register(Watched(fd)) };
    registered.map_err(|error| {
        let (watched, error) = error.into_parts();
        (watched.0, error)
    })
}
