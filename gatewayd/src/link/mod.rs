//! The link to one sandbox's agent: how every byte gets in and out.
//!
//! The other end is hostile. Each answer must belong to a question, carry exactly the descriptor it
//! should and of the right kind; anything else ends the link, and the next use makes a new one.
//! Every descriptor that came from there is closed by the reaper, off the event loop.
//!
//! The agent of a virtual machine is reached by one stream of bytes instead: then `warder_mux` makes the streams, and
//! no descriptor comes from there at all.

mod seldom;
mod tickets;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
use tokio_util::sync::CancellationToken;
use warder_ipc::aio::{AsyncChannel, GuestSocket, GuestStream, Reaper};
use warder_ipc::{Channel, check};
use warder_mux::{Host, MuxError};
use warder_wire::link::{Ask, Refusal, Reply, Role};

use crate::limits::LINK_TIMEOUT;
use crate::random;
pub(crate) use seldom::Seldom;
use tickets::{Taken, Tickets};

/// Why there is no stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum LinkError {
    /// Nothing listens on the port.
    #[error("nothing listens there")]
    Closed,
    /// The guest did not answer in time, or has too many questions waiting.
    #[error("the sandbox does not answer")]
    Unresponsive,
    /// The link ended meanwhile.
    #[error("the link ended")]
    Broken,
    /// This process has no descriptor left, say.
    #[error("no stream could be made")]
    Local,
}

/// One connection to the agent's listener.
#[derive(Debug)]
pub(crate) struct Link {
    way: Way,
    tickets: Mutex<Tickets>,
    reaper: Reaper,
    over: CancellationToken,
}

/// How streams are asked for.
#[derive(Debug)]
enum Way {
    /// By messages with descriptors. None only while being dropped.
    Messages(Option<AsyncChannel>),
    /// On one stream.
    Stream(Host),
}

impl Link {
    /// Takes over a connected descriptor from privd and starts reading answers.
    ///
    /// # Errors
    /// [`LinkError::Local`] when it is neither a channel nor a stream.
    pub(crate) fn new(fd: OwnedFd, reaper: &Reaper) -> Result<Arc<Self>, LinkError> {
        warder_confine::limit_received(fd.as_fd()).map_err(|_| LinkError::Local)?;
        let way = if check::unix_stream(fd.as_fd()).is_ok() {
            let stream = GuestStream::new(fd, reaper).map_err(|_| LinkError::Local)?;
            let nonce = random::bytes().map_err(|_| LinkError::Local)?;
            Way::Stream(Host::start(stream, nonce))
        } else {
            let channel = Channel::from_fd(fd).and_then(AsyncChannel::new);
            Way::Messages(Some(channel.map_err(|_| LinkError::Local)?))
        };
        let link = Arc::new(Self {
            way,
            tickets: Mutex::new(Tickets::default()),
            reaper: reaper.clone(),
            over: CancellationToken::new(),
        });
        if matches!(link.way, Way::Messages(_)) {
            tokio::spawn(read(Arc::clone(&link)));
        }
        Ok(link)
    }

    /// Whether it can still be used.
    pub(crate) fn is_over(&self) -> bool {
        let ended = match &self.way {
            Way::Stream(host) => host.is_over(),
            Way::Messages(_) => false,
        };
        ended || self.over.is_cancelled()
    }

    /// Ends it: waiting questions fail.
    pub(crate) fn end(&self) {
        if let Way::Stream(host) = &self.way {
            host.end();
        }
        self.over.cancel();
    }

    /// Until it is known that somebody answers at the other end, where that is known at all. An agent of another
    /// version is for the operator to know of, but not with each request: `told` is the sandbox's.
    ///
    /// # Errors
    /// [`LinkError::Broken`] when the link ended before, or after a minute; [`LinkError::Unresponsive`] when the agent
    /// is one that cannot be talked to.
    pub(crate) async fn ready(&self, told: &Seldom) -> Result<(), LinkError> {
        let Way::Stream(host) = &self.way else {
            return Ok(());
        };
        match host.ready().await {
            Ok(()) => Ok(()),
            Err(why @ MuxError::Version(_)) => {
                if told.is_due() {
                    eprintln!("gatewayd: link: {why}: the machine's template is of another time");
                }
                Err(LinkError::Unresponsive)
            }
            Err(_) => Err(LinkError::Broken),
        }
    }

    /// A socket on which the agent serves its API.
    ///
    /// # Errors
    /// [`LinkError::Broken`] or [`LinkError::Local`].
    pub(crate) fn api(&self, role: Role) -> Result<GuestSocket, LinkError> {
        if self.is_over() {
            return Err(LinkError::Broken);
        }
        if let Way::Stream(host) = &self.way {
            let stream = host.agent(role).map_err(|error| match error {
                MuxError::TooMany => LinkError::Unresponsive,
                _ => LinkError::Local,
            })?;
            return Ok(GuestSocket::new(stream.into(), &self.reaper));
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|_| LinkError::Local)?;
        let socket = GuestSocket::new(ours, &self.reaper);
        // Queued and bounded: an agent that does not read its link ends it.
        let asked = self.channel()?.post(&Ask::Serve { role }, vec![theirs]);
        if asked.is_err() {
            self.end();
            return Err(LinkError::Broken);
        }
        Ok(socket)
    }

    /// Sends on what is queued; only needed when the agent was slow. One that reads nothing ends its link, and
    /// with it the descriptors that wait there.
    pub(crate) async fn flushed(&self) {
        let Ok(channel) = self.channel() else { return };
        match tokio::time::timeout(LINK_TIMEOUT, channel.flushed()).await {
            Ok(Ok(())) => {}
            _ => self.end(),
        }
    }

    /// A connection to a TCP port inside the sandbox.
    ///
    /// # Errors
    /// [`LinkError`].
    pub(crate) async fn port(&self, port: u16) -> Result<GuestSocket, LinkError> {
        if self.is_over() {
            return Err(LinkError::Broken);
        }
        if let Way::Stream(host) = &self.way {
            return match tokio::time::timeout(LINK_TIMEOUT, host.port(port)).await {
                Ok(Ok(stream)) => Ok(GuestSocket::new(stream.into(), &self.reaper)),
                Ok(Err(MuxError::Refused(Refusal::Closed))) => Err(LinkError::Closed),
                Ok(Err(MuxError::Refused(_) | MuxError::TooMany)) | Err(_) => {
                    Err(LinkError::Unresponsive)
                }
                Ok(Err(MuxError::Io(_))) => Err(LinkError::Local),
                Ok(Err(_)) => Err(LinkError::Broken),
            };
        }
        let (ticket, answer) = self.tickets().issue(port).ok_or(LinkError::Unresponsive)?;
        let _given_up = GiveUp { link: self, ticket };
        let asked = async {
            if self
                .channel()?
                .send(&Ask::Connect { ticket, port }, Vec::new())
                .await
                .is_err()
            {
                self.end();
                return Err(LinkError::Broken);
            }
            match answer.await {
                Ok(Ok(socket)) => Ok(socket),
                Ok(Err(Refusal::Closed)) => Err(LinkError::Closed),
                Ok(Err(Refusal::TimedOut | Refusal::Exhausted)) => Err(LinkError::Unresponsive),
                Err(_) => Err(LinkError::Broken),
            }
        };
        match tokio::time::timeout(LINK_TIMEOUT, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(LinkError::Unresponsive),
        }
    }

    fn channel(&self) -> Result<&AsyncChannel, LinkError> {
        match &self.way {
            Way::Messages(Some(channel)) => Ok(channel),
            Way::Messages(None) | Way::Stream(_) => Err(LinkError::Broken),
        }
    }

    fn tickets(&self) -> std::sync::MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles one answer. False: it was none, the link must end.
    fn answered(&self, reply: Reply, mut fds: Vec<OwnedFd>) -> bool {
        let (ticket, answer) = match reply {
            Reply::Connected { ticket } => (ticket, Ok(fds.pop())),
            Reply::Refused { ticket, reason } => (ticket, Err(reason)),
        };
        let surplus = !fds.is_empty();
        for fd in fds {
            self.reaper.close(fd);
        }
        let answer = match answer {
            Ok(Some(fd)) => Ok(fd),
            Ok(None) => return false,
            Err(reason) => Err(reason),
        };
        match self.tickets().take(ticket) {
            _ if surplus => {
                if let Ok(fd) = answer {
                    self.reaper.close(fd);
                }
                false
            }
            Taken::Waiting { port, sender } => match answer {
                Ok(fd) => match self.admit(fd, port) {
                    Some(socket) => {
                        // Nobody waits any more: the socket's own drop goes to the reaper.
                        let _ = sender.send(Ok(socket));
                        true
                    }
                    None => false,
                },
                Err(reason) => {
                    let _ = sender.send(Err(reason));
                    true
                }
            },
            Taken::GivenUp => {
                if let Ok(fd) = answer {
                    self.reaper.close(fd);
                }
                true
            }
            Taken::Unknown => {
                if let Ok(fd) = answer {
                    self.reaper.close(fd);
                }
                false
            }
        }
    }

    fn admit(&self, fd: OwnedFd, port: u16) -> Option<GuestSocket> {
        // It came with all the rights that the guest has to it.
        let sound = check::connected_tcp(fd.as_fd(), port).is_ok()
            && warder_confine::limit_received(fd.as_fd()).is_ok();
        if !sound {
            self.reaper.close(fd);
            return None;
        }
        // Without it small answers wait for acknowledgements; the guest may turn it off again, at its own cost.
        let _ = sockopt::set_tcp_nodelay(&fd, true);
        Some(GuestSocket::new(fd, &self.reaper))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        match &mut self.way {
            Way::Messages(channel) => {
                if let Some(channel) = channel.take() {
                    channel.bury(&self.reaper);
                }
            }
            Way::Stream(host) => host.end(),
        }
    }
}

/// A question whose asker is gone keeps its ticket until the answer comes, so that it is recognised.
struct GiveUp<'a> {
    link: &'a Link,
    ticket: u64,
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        self.link.tickets().give_up(self.ticket);
    }
}

async fn read(link: Arc<Link>) {
    while let Ok(channel) = link.channel() {
        let message = tokio::select! {
            message = channel.recv::<Reply>() => message,
            () = link.over.cancelled() => break,
        };
        let Ok((reply, fds)) = message else {
            break;
        };
        if !link.answered(reply, fds) {
            break;
        }
    }
    link.end();
    // Dropping the senders wakes every waiting question with `Broken`.
    link.tickets().clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_reads_nothing_ends_its_link() {
        let (ours, _theirs) = Channel::pair().expect("socketpair");
        let reaper = Reaper::start().expect("thread");
        let ours = ours.into_fd();
        let same = ours.try_clone().expect("room");
        let link = Link::new(ours, &reaper).expect("a channel");
        // The kernel keeps little for it.
        sockopt::set_socket_send_buffer_size(&same, 4096).expect("set");
        let streams: Vec<_> = (0..100).map(|_| link.api(Role::Client)).collect();
        assert!(streams.iter().all(Result::is_ok));
        let flushed = tokio::time::timeout(LINK_TIMEOUT * 2, link.flushed());
        flushed.await.expect("in time");
        assert!(link.is_over());
    }
}
