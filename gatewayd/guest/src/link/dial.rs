//! Connecting to a TCP port inside the sandbox.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use warder_wire::link::Refusal;

/// E2B's port of the agent itself, which is reached by a stream and not by TCP.
const OWN_PORT: u16 = 49983;
/// Time for all addresses together.
const LIMIT: Duration = Duration::from_secs(5);

/// Connects to `port`: 127.0.0.1 first, then ::1, then the sandbox's other addresses.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn port(port: u16, dials: &Semaphore) -> Result<OwnedFd, Refusal> {
    if port == 0 || port == OWN_PORT {
        return Err(Refusal::Closed);
    }
    tokio::time::timeout(LIMIT, async {
        let _turn = dials.acquire().await.map_err(|_| Refusal::Exhausted)?;
        connect(port).await
    })
    .await
    .unwrap_or(Err(Refusal::TimedOut))
}

async fn connect(port: u16) -> Result<OwnedFd, Refusal> {
    let loopback = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    for address in loopback {
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(stream) => return hand_over(stream),
            Err(error) if is_exhausted(&error) => return Err(Refusal::Exhausted),
            Err(_) => {}
        }
    }
    // Only looked up when needed: nearly everything listens on loopback or on all addresses.
    for address in warder_guest_sys::addresses::own().unwrap_or_default() {
        if address.is_loopback() {
            continue;
        }
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(stream) => return hand_over(stream),
            Err(error) if is_exhausted(&error) => return Err(Refusal::Exhausted),
            Err(_) => {}
        }
    }
    Err(Refusal::Closed)
}

fn hand_over(stream: TcpStream) -> Result<OwnedFd, Refusal> {
    // Interactive traffic should not wait for a full segment; the gateway may not set it on a guest's socket.
    let _ = stream.set_nodelay(true);
    stream
        .into_std()
        .map(OwnedFd::from)
        .map_err(|_| Refusal::Exhausted)
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
    )
}
