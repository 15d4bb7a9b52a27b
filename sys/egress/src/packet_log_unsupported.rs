//! Other systems have no such log that could be handed over.

use std::io;
use std::os::fd::OwnedFd;

/// As on Linux.
#[derive(Debug)]
pub struct PacketLog(std::convert::Infallible);

impl PacketLog {
    /// As on Linux.
    pub const FORMAT: crate::LogFormat = crate::LogFormat::Nflog;

    /// As on Linux.
    #[must_use]
    pub fn piece(&self) -> usize {
        match self.0 {}
    }

    /// # Errors
    /// Always.
    pub fn new(_fd: OwnedFd) -> io::Result<Self> {
        Err(crate::unsupported("a log of refused packets"))
    }

    /// # Errors
    /// None; there is no such log.
    #[allow(clippy::unused_async, reason = "as on Linux")]
    pub async fn recv(&self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}
