//! netd: its events followed, and sockets asked of it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use warder_confine::limit_received;
use warder_ipc::aio::{CallError, Caller};
use warder_wire::FaultCode;
use warder_wire::net_egress::{Answer, Ask, Event};

use crate::accept::{self, TrafficError};
use crate::connection::Connection;
use crate::egress::Egress;
use crate::sandboxes::{Ended, Sandbox};

/// netd answers at once, after the asks before.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often netd is asked again while it is busy, and how long after.
const BUSY_TRIES: usize = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Events with the descriptors that came along.
pub(crate) type Events = mpsc::Receiver<(Event, Vec<OwnedFd>)>;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// netd does not allow the address.
    #[error("refused by netd")]
    Refused,
    /// Another policy is in force than the one it was judged by: judge again.
    #[error("judged by another policy")]
    Changed,
    /// netd gave no answer, or one that is none.
    #[error("netd gave no socket")]
    Netd(#[source] Option<CallError>),
    /// No connection in time.
    #[error("no connection in time")]
    TimedOut,
    /// No connection.
    #[error("no connection")]
    Failed(#[source] io::Error),
}

/// Where sockets come from.
#[derive(Debug)]
pub(crate) struct Netd(Caller<Ask, Answer>);

impl Netd {
    pub(crate) fn new(caller: Caller<Ask, Answer>) -> Self {
        Self(caller)
    }

    /// Asks in the sandbox's turn, and again while netd makes as many sockets as it will for all of them.
    async fn socket(&self, sandbox: &Sandbox, ask: Ask) -> Result<OwnedFd, DialError> {
        for _ in 0..BUSY_TRIES {
            match self.ask(sandbox, ask.clone()).await {
                Err(DialError::Netd(Some(CallError::Fault(fault))))
                    if fault.code == FaultCode::Exhausted =>
                {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                got => return got,
            }
        }
        self.ask(sandbox, ask).await
    }

    async fn ask(&self, sandbox: &Sandbox, ask: Ask) -> Result<OwnedFd, DialError> {
        sandbox.pace.turn().await;
        match self.0.call(ask, Vec::new(), ASK_TIMEOUT).await {
            Ok((Answer::Socket, fds)) => {
                let [fd]: [OwnedFd; 1] = fds.try_into().map_err(|_| DialError::Netd(None))?;
                limit_received(fd.as_fd()).map_err(|_| DialError::Netd(None))?;
                Ok(fd)
            }
            Err(CallError::Fault(fault)) => Err(match fault.code {
                FaultCode::Refused | FaultCode::NotFound => DialError::Refused,
                FaultCode::Conflict => DialError::Changed,
                _ => DialError::Netd(Some(CallError::Fault(fault))),
            }),
            Err(error) => Err(DialError::Netd(Some(error))),
        }
    }

    /// A connection to `to` on behalf of `sandbox`, judged by policy `generation`.
    ///
    /// # Errors
    /// [`DialError`].
    pub(crate) async fn dial(
        &self,
        sandbox: &Sandbox,
        generation: u64,
        to: SocketAddrV4,
    ) -> Result<Connection, DialError> {
        let ask = Ask::Dial {
            sandbox: sandbox.id.clone(),
            generation,
            to,
        };
        connected(self.socket(sandbox, ask).await?).await
    }

    /// A socket of its own for one question to the DNS server `server`.
    ///
    /// # Errors
    /// [`DialError`].
    pub(crate) async fn query(
        &self,
        sandbox: &Sandbox,
        generation: u64,
        server: Ipv4Addr,
    ) -> Result<tokio::net::UdpSocket, DialError> {
        let ask = Ask::Query {
            sandbox: sandbox.id.clone(),
            generation,
            server,
            stream: false,
        };
        let socket = UdpSocket::from(self.socket(sandbox, ask).await?);
        let ready = socket
            .set_nonblocking(true)
            .and_then(|()| tokio::net::UdpSocket::from_std(socket));
        ready.map_err(DialError::Failed)
    }

    /// The same over TCP.
    ///
    /// # Errors
    /// [`DialError`].
    pub(crate) async fn query_stream(
        &self,
        sandbox: &Sandbox,
        generation: u64,
        server: Ipv4Addr,
    ) -> Result<Connection, DialError> {
        let ask = Ask::Query {
            sandbox: sandbox.id.clone(),
            generation,
            server,
            stream: true,
        };
        connected(self.socket(sandbox, ask).await?).await
    }

    /// Has netd send a datagram to a port of `sandbox`, where this process cannot. It may be lost.
    pub(crate) async fn reply(&self, sandbox: &Sandbox, port: u16, bytes: Vec<u8>) {
        let ask = Ask::Reply {
            sandbox: sandbox.id.clone(),
            port,
            bytes,
        };
        // A channel that is gone ends the process elsewhere.
        let _ = self.0.post(ask, Vec::new()).await;
    }

    async fn settled(&self, serial: u64) {
        // A channel that is gone ends the process elsewhere.
        let _ = self.0.post(Ask::Settled { serial }, Vec::new()).await;
    }
}

/// Waits for a connection that was begun.
async fn connected(fd: OwnedFd) -> Result<Connection, DialError> {
    let made = async {
        let stream = TcpStream::from(fd);
        stream.set_nonblocking(true)?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        stream.writable().await?;
        match stream.take_error()? {
            Some(error) => Err(error),
            None => {
                stream.peer_addr()?;
                Connection::new(stream)
            }
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, made).await {
        Ok(made) => made.map_err(DialError::Failed),
        Err(_) => Err(DialError::TimedOut),
    }
}

/// Follows netd's events until its channel ends.
///
/// # Errors
/// [`TrafficError`] for sockets that are not what they should be.
pub(crate) async fn follow(egress: Arc<Egress>, mut events: Events) -> Result<(), TrafficError> {
    let mut traffic = false;
    while let Some((event, fds)) = events.recv().await {
        match event {
            Event::Traffic if traffic => return Err(TrafficError("sent twice")),
            Event::Traffic => {
                accept::begin(&egress, fds)?;
                traffic = true;
                continue;
            }
            Event::Policy {
                serial,
                sandbox,
                address,
                generation,
                policy,
                flows,
            } => {
                let all = &egress.sandboxes;
                settle(
                    &egress,
                    serial,
                    all.put(sandbox, address, generation, policy, flows),
                );
            }
            Event::Gone { serial, sandbox } => {
                let ended = egress.sandboxes.remove(&sandbox);
                settle(&egress, serial, ended.into_iter().collect());
            }
        }
        warder_ipc::discard(fds);
    }
    Ok(())
}

/// Tells netd when what a policy ended is gone. Others are put in force meanwhile.
fn settle(egress: &Arc<Egress>, serial: u64, ended: Vec<Ended>) {
    let egress = Arc::clone(egress);
    tokio::spawn(async move {
        for one in ended {
            one.settled().await;
        }
        egress.netd.settled(serial).await;
    });
}
