//! Connections that leave nothing behind.

use std::net::{SocketAddr, SocketAddrV4};
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;
use warder_egress_sys::Origins;

/// Asked of a silent peer after this long, then three times `PAUSE` apart.
const SILENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(20);
/// How long a peer may take nothing of what it is sent.
const STUCK: Duration = Duration::from_secs(620);

/// How often it is looked whether a peer has taken everything.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(640);

/// A TCP connection that is reset when it is dropped: whatever ends a flow, its peers hear of it at once and the
/// kernel sends nothing more. [`Connection::finish`] is the other way to end one.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    reset: bool,
}

impl Connection {
    /// Takes over a connection.
    ///
    /// # Errors
    /// When the kernel refuses the options of one that is gone already.
    pub(crate) fn new(stream: TcpStream) -> std::io::Result<Self> {
        warder_ipc::aio::mind(&stream, SILENCE, PAUSE, STUCK)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            reset: true,
        })
    }

    /// Closes it in order: what was sent still arrives, then the end.
    pub(crate) fn finish(mut self) {
        self.reset = false;
    }

    /// The same once the peer has taken all of it, so that a policy can end it until then; its sending side must have
    /// been shut down. A peer that takes nothing any more is reset by the kernel.
    pub(crate) async fn finish_taken(self) {
        let mut pause = FIRST_PAUSE;
        while warder_egress_sys::is_on_its_way(self.stream.as_fd()) {
            tokio::time::sleep(pause).await;
            pause = LAST_PAUSE.min(2 * pause);
        }
        self.finish();
    }

    /// The address that `peer` meant, for one that was redirected here.
    pub(crate) fn meant(&self, origins: &Origins, peer: SocketAddrV4) -> Option<SocketAddrV4> {
        match self.stream.local_addr() {
            Ok(SocketAddr::V4(at)) => origins.of_connection(peer, at).ok(),
            _ => None,
        }
    }
}

impl Deref for Connection {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.reset {
            // The only way it fails is a connection that is gone already.
            let _ = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        }
    }
}
