//! The link of a virtual machine: one stream, on which the gateway opens others.

use std::io;
use std::net::TcpStream as Plain;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use warder_mux::frame::Target;
use warder_mux::{Guest, Incoming};
use warder_wire::link::Refusal;

use super::{DIALS, dial};
use crate::agent::Agent;
use crate::http;

/// Serves the one gateway there is. Without it the sandbox lives on, though nobody reaches it.
pub(super) async fn serve(agent: Agent, stream: OwnedFd) -> io::Result<()> {
    let stream = std::os::unix::net::UnixStream::from(stream);
    stream.set_nonblocking(true)?;
    let dials = Rc::new(Semaphore::new(DIALS));
    let ended = Guest::serve(UnixStream::from_std(stream)?, |incoming| {
        tokio::task::spawn_local(answer(agent.clone(), incoming, Rc::clone(&dials)));
    });
    if let Err(why) = ended.await {
        eprintln!("envd: link: {why}");
    }
    std::future::pending().await
}

async fn answer(agent: Agent, incoming: Incoming, dials: Rc<Semaphore>) {
    match incoming.target {
        Target::Agent(role) => {
            let Ok((ours, theirs)) = UnixStream::pair() else {
                return incoming.refuse(Refusal::Exhausted).await;
            };
            tokio::task::spawn_local(http::serve(agent, ours, role));
            incoming.join(theirs).await;
        }
        Target::Port(port) => {
            let connected = match dial::port(port, &dials).await {
                Ok(fd) => TcpStream::from_std(Plain::from(fd)).map_err(|_| Refusal::Exhausted),
                Err(why) => Err(why),
            };
            match connected {
                Ok(socket) => incoming.join(socket).await,
                Err(why) => incoming.refuse(why).await,
            }
        }
    }
}
