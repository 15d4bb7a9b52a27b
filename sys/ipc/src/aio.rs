//! The asynchronous half, on tokio: callers, the raw channel, and streams from a guest.
//!
//! Everything here is made after the runtime and makes no thread but the [`Reaper`]'s, which must be
//! started before the process forbids itself to make threads.

use std::cell::{Cell, OnceCell};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use tokio::io::unix::AsyncFd;

use crate::Watchdog;

mod caller;
mod guest;
mod raw;

pub use caller::{CallError, Caller};
pub use guest::{GuestSocket, GuestStream, Reaper};
pub use raw::AsyncChannel;

/// How long a thread of the runtime may wait in the kernel for what it did not ask for.
const PATIENCE: Duration = Duration::from_millis(10);

/// A thread that was busy for so long is no longer watched when it rests. Before that it is left to the timer, which is not
/// set for each event then: one that comes to a thread at rest wakes it once for nothing.
const BUSY: Duration = Duration::from_millis(5);

thread_local! {
    static WATCHED: OnceCell<Watch> = const { OnceCell::new() };
}

#[derive(Debug)]
struct Watch {
    dog: Watchdog,
    since: Cell<Option<Instant>>,
}

impl Watch {
    fn works(&self) {
        if self.since.get().is_none() {
            self.dog.arm(PATIENCE);
            self.since.set(Some(Instant::now()));
        }
    }

    fn rests(&self) {
        if self
            .since
            .get()
            .is_some_and(|since| since.elapsed() >= BUSY)
        {
            self.dog.disarm();
            self.since.set(None);
        }
    }
}

/// Gives the calling thread a [`Watchdog`]; [`watched`] arms it.
///
/// # Errors
/// As [`Watchdog::new`].
pub fn watch_this_thread() -> std::io::Result<()> {
    let watch = Watch {
        dog: Watchdog::new()?,
        since: Cell::new(None),
    };
    WATCHED.with(|cell| {
        let _ = cell.set(watch);
    });
    Ok(())
}

/// A runtime whose threads are watched while they work, those that have called [`watch_this_thread`].
pub fn watched(builder: &mut tokio::runtime::Builder) -> &mut tokio::runtime::Builder {
    fn watch(act: impl FnOnce(&Watch)) {
        WATCHED.with(|cell| cell.get().map(act));
    }
    builder
        .on_thread_unpark(|| watch(Watch::works))
        .on_thread_park(|| watch(Watch::rests))
}

/// Whether [`mind`] has the kernel end those who are there and take nothing.
pub const ENDS_STUCK: bool = cfg!(target_os = "linux");

/// Has the kernel end a TCP connection whose peer is gone (asked after `silence`, then three times `pause` apart), or
/// takes nothing of what it is sent for as long as `stuck`. See tcp(7).
///
/// # Errors
/// When it is no TCP socket.
pub fn mind(
    socket: impl AsFd,
    silence: Duration,
    pause: Duration,
    stuck: Duration,
) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, silence)?;
    sockopt::set_tcp_keepintvl(&socket, pause)?;
    sockopt::set_tcp_keepcnt(&socket, 3)?;
    // FreeBSD has no such option; its retransmission timer ends what is not acknowledged, and who is there and takes
    // nothing is left to the caller.
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(
        &socket,
        u32::try_from(stuck.as_millis()).unwrap_or(u32::MAX),
    )?;
    #[cfg(not(target_os = "linux"))]
    let _ = stuck;
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What no reaper takes holds up no thread of a runtime for long either.
    #[test]
    fn threads_of_a_runtime_are_watched() {
        let mut single = tokio::runtime::Builder::new_current_thread();
        let mut many = tokio::runtime::Builder::new_multi_thread();
        many.worker_threads(2)
            .on_thread_start(|| watch_this_thread().expect("a timer"));
        // Made before any timer runs: a connect(2) that a signal ends is none on every system.
        let sockets = [(); 2].map(|()| crate::channel::hidden_socket());
        watch_this_thread().expect("a timer");
        for (builder, (hidden, _unread)) in [&mut single, &mut many].into_iter().zip(sockets) {
            let runtime = watched(builder).enable_all().build().expect("threads");
            let begin = Instant::now();
            runtime.block_on(async {
                let closing = tokio::spawn(async move {
                    // Not on the thread's first turn, before which it was never parked.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    drop(hidden);
                });
                closing.await.expect("no panic");
            });
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "waited for a close"
            );
        }
    }

    #[test]
    fn a_connection_is_minded() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let socket = std::net::TcpStream::connect(address).expect("loopback");
        let seconds = Duration::from_secs;
        mind(&socket, seconds(60), seconds(20), seconds(620)).expect("TCP");
        assert!(sockopt::socket_keepalive(&socket).expect("set"));
        assert_eq!(sockopt::tcp_keepidle(&socket).expect("set"), seconds(60));
        assert_eq!(sockopt::tcp_keepintvl(&socket).expect("set"), seconds(20));
        #[cfg(target_os = "linux")]
        assert_eq!(sockopt::tcp_user_timeout(&socket).expect("set"), 620_000);
        let (pair, _) = std::os::unix::net::UnixStream::pair().expect("socketpair");
        assert!(mind(&pair, seconds(1), seconds(1), seconds(1)).is_err());
    }
}
