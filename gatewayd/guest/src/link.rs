//! The link: the gateway asks for streams, each on a message with descriptors.

mod dial;
mod stream;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use warder_guest_sys::start::Link;
use warder_guest_sys::watched::Watched;
use warder_ipc::aio::AsyncChannel;
use warder_ipc::{Channel, check};
use warder_wire::link::{Ask, Refusal, Reply};

use crate::agent::Agent;
use crate::http;

/// Connections being made to ports of the sandbox at any time.
const DIALS: usize = 128;
/// Pause when there are no descriptors for another link.
const BREATH: Duration = Duration::from_millis(50);

/// Serves whoever comes on the link, for as long as the sandbox lives.
pub(crate) async fn serve(agent: Agent, link: Link) -> io::Result<()> {
    match link {
        Link::Listener(listener) => accept(agent, listener).await,
        Link::Stream(stream) => stream::serve(agent, stream).await,
        Link::Console(path) => stream::serve_console(agent, &path).await,
    }
}

async fn accept(agent: Agent, listener: OwnedFd) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&listener, true)?;
    let listener = Watched::for_reading(listener)?;
    let dials = Rc::new(Semaphore::new(DIALS));
    loop {
        let mut ready = listener.readable().await?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match accept_with(listener.get(), flags) {
            Ok(fd) => {
                let Ok(channel) = Channel::from_fd(fd).and_then(AsyncChannel::new) else {
                    continue;
                };
                let dials = Rc::clone(&dials);
                tokio::task::spawn_local(answer(agent.clone(), Rc::new(channel), dials));
            }
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                drop(ready);
                tokio::time::sleep(BREATH).await;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Answers one gateway until it goes. Whatever is wrong on a link ends only that link.
async fn answer(agent: Agent, channel: Rc<AsyncChannel>, dials: Rc<Semaphore>) {
    while let Ok((ask, fds)) = channel.recv::<Ask>().await {
        match ask {
            Ask::Serve { role } => {
                let Some(stream) = fds.into_iter().next().and_then(|fd| stream(fd).ok()) else {
                    return;
                };
                tokio::task::spawn_local(http::serve(agent.clone(), stream, role));
            }
            Ask::Connect { ticket, port } => {
                let channel = Rc::clone(&channel);
                let dials = Rc::clone(&dials);
                tokio::task::spawn_local(async move {
                    let (reply, fds) = match dial::port(port, &dials).await {
                        Ok(fd) => (Reply::Connected { ticket }, vec![fd]),
                        Err(reason) => (Reply::Refused { ticket, reason }, Vec::new()),
                    };
                    // A link that is gone needs no answer.
                    let _ = channel.send(&reply, fds).await;
                });
            }
        }
    }
}

fn stream(fd: OwnedFd) -> Result<UnixStream, Refusal> {
    use std::os::fd::AsFd as _;
    check::unix_stream(fd.as_fd()).map_err(|_| Refusal::Closed)?;
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true).map_err(|_| Refusal::Closed)?;
    UnixStream::from_std(stream).map_err(|_| Refusal::Exhausted)
}
