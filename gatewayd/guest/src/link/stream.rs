//! The link of a virtual machine: one stream, on which the gateway opens others.

use std::io;
use std::net::TcpStream as Plain;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use warder_guest_sys::console::Console;
use warder_mux::frame::{CONSOLE_ROOM, SOCKET_ROOM, Target};
use warder_mux::{Guest, Incoming, MuxError};
use warder_wire::link::Refusal;

use super::{DIALS, dial};
use crate::agent::Agent;
use crate::http;

/// How long a device that hung up, or is not there yet, is left alone.
const PAUSE: Duration = Duration::from_millis(250);

/// Serves whoever speaks on a socket. When it has ended the sandbox lives on, though nobody reaches it.
pub(super) async fn serve(agent: Agent, stream: OwnedFd) -> io::Result<()> {
    let stream = std::os::unix::net::UnixStream::from(stream);
    stream.set_nonblocking(true)?;
    let stream = UnixStream::from_std(stream)?;
    let why = answer_all(&agent, stream, SOCKET_ROOM).await;
    eprintln!("envd: link: {why}");
    std::future::pending().await
}

/// Serves whoever speaks on a console, for as long as the machine lives.
pub(super) async fn serve_console(agent: Agent, path: &Path) -> io::Result<()> {
    let mut told = String::new();
    loop {
        let why = match Console::open(path) {
            Ok(console) => answer_all(&agent, console, CONSOLE_ROOM).await.to_string(),
            Err(error) => error.to_string(),
        };
        if why != told {
            eprintln!("envd: console {}: {why}", path.display());
            told = why;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Answers one gateway after the other until the stream ends; why it did.
async fn answer_all(agent: &Agent, stream: impl AsyncRead + AsyncWrite, room: u32) -> MuxError {
    let dials = Rc::new(Semaphore::new(DIALS));
    let ended = Guest::serve(stream, room, |incoming| {
        tokio::task::spawn_local(answer(agent.clone(), incoming, Rc::clone(&dials)));
    });
    match ended.await {
        Err(why) => why,
    }
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
