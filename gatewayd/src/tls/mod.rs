//! TLS for clients: certificates as privd hands them over, and handshakes within bounds.
//!
//! Keys are held in memory only. Whoever speaks TLS says by ALPN which HTTP follows; without ALPN it is HTTP/1.1.

mod certificates;
mod validity;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) use certificates::Certificates;

use crate::limits;
use crate::shares::Shares;

/// ALPN names, the preferred one first.
const H2: &[u8] = b"h2";
const HTTP11: &[u8] = b"http/1.1";

/// What every TLS listener shares.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    handshakes: Shares,
}

/// What came of a connection to a TLS listener.
pub(crate) enum Accepted {
    /// HTTP/1.1 follows.
    Http1(TlsStream<TcpStream>),
    /// HTTP/2 follows.
    Http2(TlsStream<TcpStream>),
    /// It speaks no TLS; perhaps HTTP.
    Plain(TcpStream),
}

impl Tls {
    /// With the certificates that `certificates` holds at each moment.
    ///
    /// # Errors
    /// Only when the cryptographic library lacks what it was built with.
    pub(crate) fn new(certificates: Arc<Certificates>) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(certificates);
        config.alpn_protocols = vec![H2.to_vec(), HTTP11.to_vec()];
        // A client that comes back is spared the signature, on any of this process's listeners.
        config.ticketer = ring::Ticketer::new()?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            handshakes: Shares::new(limits::HANDSHAKES, limits::HANDSHAKES_PER_CLIENT),
        })
    }

    /// Shakes hands, within [`limits::HANDSHAKE_TIMEOUT`] and not too many at once.
    ///
    /// # Errors
    /// What the client did wrong; it has been told what TLS has a word for.
    pub(crate) async fn accept(&self, stream: TcpStream, client: IpAddr) -> io::Result<Accepted> {
        let _turn = self
            .handshakes
            .begin(client)
            .ok_or(io::ErrorKind::WouldBlock)?;
        let accepted = async {
            let mut first = [0];
            // The first byte of TLS is the record's kind, 22; methods of HTTP are capitals.
            if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
                return Ok(Accepted::Plain(stream));
            }
            let stream = self.acceptor.accept(stream).await?;
            let http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
            Ok(if http2 {
                Accepted::Http2(stream)
            } else {
                Accepted::Http1(stream)
            })
        };
        timeout(limits::HANDSHAKE_TIMEOUT, accepted).await?
    }
}
