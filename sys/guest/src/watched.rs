//! Waiting for a descriptor on tokio.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use crate::inotify::Inotify;
use crate::signals::Signals;

mod stable {
    /// What owns one descriptor, always the same, open until it is dropped.
    pub trait Stable: std::os::fd::AsRawFd {}
}
use stable::Stable;

impl Stable for OwnedFd {}
impl Stable for Signals {}
impl Stable for Inotify {}

/// A descriptor that the current runtime watches. It is never given out for change, so it stays the one
/// that was registered.
#[derive(Debug)]
pub struct Watched<T: Stable>(AsyncFd<T>);

impl<T: Stable> Watched<T> {
    /// Registers a non-blocking descriptor with the current runtime.
    ///
    /// # Errors
    /// Regular files cannot be watched; the kernel's limit of watched descriptors.
    pub fn new(inner: T) -> io::Result<Self>
    where
        T: AsRawFd,
    {
        Self::register(inner, Interest::READABLE | Interest::WRITABLE)
    }

    /// The same for what is only ever read: listeners, and sources of events, which a kqueue(2) refuses to watch
    /// for anything else.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn for_reading(inner: T) -> io::Result<Self>
    where
        T: AsRawFd,
    {
        Self::register(inner, Interest::READABLE)
    }

    fn register(inner: T, interest: Interest) -> io::Result<Self> {
        // SAFETY: `Stable` types own their descriptor and never change it, and `Watched` hands out shared
        // references only, so it stays open and the same until `AsyncFd` is dropped with it.
        unsafe { AsyncFd::register_with_interest(inner, interest) }
            .map(Self)
            .map_err(|failed| failed.into_parts().1)
    }

    /// The descriptor.
    #[must_use]
    pub fn get(&self) -> &T {
        self.0.get_ref()
    }

    /// Waits until it may be read, its end included.
    ///
    /// # Errors
    /// The runtime is ending.
    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, T>> {
        self.0.readable().await
    }

    /// As [`Self::readable`], for what polls.
    ///
    /// # Errors
    /// As [`Self::readable`].
    pub fn poll_readable<'a>(
        &'a self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'a, T>>> {
        self.0.poll_read_ready(cx)
    }

    /// As [`Self::writable`], for what polls.
    ///
    /// # Errors
    /// As [`Self::writable`].
    pub fn poll_writable<'a>(
        &'a self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'a, T>>> {
        self.0.poll_write_ready(cx)
    }

    /// Waits until it may be written, its end included.
    ///
    /// # Errors
    /// The runtime is ending.
    pub async fn writable(&self) -> io::Result<AsyncFdReadyGuard<'_, T>> {
        self.0.writable().await
    }
}
