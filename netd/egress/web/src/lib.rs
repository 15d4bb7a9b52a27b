//! Trust: zone 1 (linked into egressd).
//! Input: egressd: the bytes of connections out of sandboxes, of the servers they are for, and of SOCKS5 proxies.
//! May: nothing; pure.
//! Unsafe: forbidden.
//!
//! As much of HTTP/1, TLS and SOCKS5 as it takes to know whom a connection is for, to see to it that it stays so, and
//! to refuse it in words its client understands. Everything takes bytes as they come, cut anywhere, and keeps few.
#![forbid(unsafe_code)]

pub mod answer;
pub mod hello;
pub mod host;
pub mod http;
pub mod judge;
pub mod sniff;
pub mod socks;

/// What came is not what may come here, or not plain enough to be sure that its receiver understands it alike.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Odd {
    /// Not a TLS record with a ClientHello.
    #[error("it is no TLS ClientHello")]
    NotTls,
    /// A ClientHello that breaks the rules of TLS.
    #[error("its TLS ClientHello is malformed: {0}")]
    Hello(&'static str),
    /// Not HTTP/1, or a head that breaks its rules.
    #[error("it is no HTTP/1 request: {0}")]
    Http(&'static str),
    /// HTTP/2 without TLS.
    #[error("HTTP/2 without TLS is not understood here; use HTTP/1.1")]
    Http2,
    /// More bytes than [`sniff::MAX_HEAD`] before its end.
    #[error("its beginning is longer than {} bytes", sniff::MAX_HEAD)]
    TooLong,
    /// No end within [`sniff::PATIENCE`].
    #[error("its beginning took longer than {} seconds", sniff::PATIENCE.as_secs())]
    TooSlow,
    /// It ended before its beginning was whole.
    #[error("it ended before it said whom it is for")]
    CutShort,
}
