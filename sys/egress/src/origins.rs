//! What redirected flows were for.
//!
//! On Linux the sockets are transparent: a connection's own address is the one the guest meant. On FreeBSD pf(4)
//! rewrites the destination, and its state table is asked (`DIOCNATLOOK`) over a descriptor that can do nothing else.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

#[cfg(any(target_os = "freebsd", test))]
pub mod natlook;

/// Of the internet protocols.
#[cfg(not(target_os = "linux"))]
pub(crate) const UDP: u8 = 17;
const TCP: u8 = 6;

/// Knows them.
#[derive(Debug, Default)]
pub struct Origins {
    #[cfg(not(target_os = "linux"))]
    filter: Option<OwnedFd>,
}

impl Origins {
    /// With what netd gave for asking: nothing where sockets say it themselves.
    ///
    /// # Errors
    /// When it is missing, or too much, or does not answer.
    #[cfg(target_os = "linux")]
    pub fn new(filter: Option<OwnedFd>) -> io::Result<Self> {
        match filter {
            None => Ok(Self {}),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "one too many")),
        }
    }

    /// With what netd gave for asking: pf(4), open for reading and limited to the one question.
    ///
    /// # Errors
    /// When it is missing, or does not answer.
    #[cfg(target_os = "freebsd")]
    pub fn new(filter: Option<OwnedFd>) -> io::Result<Self> {
        let filter = filter.ok_or(io::ErrorKind::NotFound)?;
        natlook::check(&filter)?;
        Ok(Self {
            filter: Some(filter),
        })
    }

    /// There are none.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    pub fn new(_filter: Option<OwnedFd>) -> io::Result<Self> {
        Err(crate::unsupported("asking what a flow was for"))
    }

    /// What a TCP connection from `from` was for that was accepted at `at`, its own address.
    ///
    /// # Errors
    /// The kernel's; such a connection must not be served.
    pub fn of_connection(&self, from: SocketAddrV4, at: SocketAddrV4) -> io::Result<SocketAddrV4> {
        self.of(TCP, from, at)
    }

    /// What a flow was for.
    #[cfg(target_os = "linux")]
    #[allow(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "as on FreeBSD"
    )]
    fn of(&self, _protocol: u8, _from: SocketAddrV4, at: SocketAddrV4) -> io::Result<SocketAddrV4> {
        Ok(at)
    }

    /// What a flow was for.
    #[cfg(target_os = "freebsd")]
    pub(crate) fn of(
        &self,
        protocol: u8,
        from: SocketAddrV4,
        at: SocketAddrV4,
    ) -> io::Result<SocketAddrV4> {
        let filter = self.filter.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        natlook::ask(filter, protocol, from, at)
    }

    /// What a flow was for.
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    pub(crate) fn of(
        &self,
        _protocol: u8,
        _from: SocketAddrV4,
        _at: SocketAddrV4,
    ) -> io::Result<SocketAddrV4> {
        let _ = &self.filter;
        Err(crate::unsupported("asking what a flow was for"))
    }
}
