//! Connections to one sandbox that wait for their next request, by what they are for and by their thread.
//!
//! A connection carries one exchange at a time, so bulk data never delays a keystroke.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;
use warder_ipc::aio::GuestSocket;

use crate::client_body::ClientBody;
use crate::limits;

/// What goes to a sandbox: a client's body, or one of our own.
pub(crate) type Outgoing = Either<ClientBody, Full<Bytes>>;
/// One HTTP/1.1 connection to a sandbox.
pub(crate) type Connection = SendRequest<Outgoing>;

/// What a connection is for. Connections of different purposes are never exchanged.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Purpose {
    /// The agent's API, on behalf of clients.
    Agent,
    /// The agent's API, on behalf of this gateway.
    Control,
    /// A port.
    Port(u16),
}

/// Whose a connection is. The thread that speaks on it serves the clients that use it: no request waits for another.
type Lane = (Purpose, ThreadId);

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// The waiting connections of one sandbox.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    idle: Mutex<HashMap<Lane, Vec<Idle>>>,
    // To the agent, and not any thread's yet.
    ahead: Mutex<Option<(GuestSocket, Instant)>>,
}

fn lane(purpose: Purpose) -> Lane {
    (purpose, thread::current().id())
}

impl Pools {
    fn lock(&self) -> MutexGuard<'_, HashMap<Lane, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ahead(&self) -> MutexGuard<'_, Option<(GuestSocket, Instant)>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of this thread that takes a request now.
    pub(crate) fn take(&self, purpose: Purpose) -> Option<Connection> {
        let mut pools = self.lock();
        let waiting = pools.get_mut(&lane(purpose))?;
        waiting.retain(|idle| !idle.connection.is_closed());
        // The latest first: the others may grow old and go.
        let found = waiting
            .iter()
            .rposition(|idle| idle.connection.is_ready())?;
        Some(waiting.remove(found).connection)
    }

    /// The socket made ahead of the first request to the agent.
    pub(crate) fn take_ahead(&self) -> Option<GuestSocket> {
        self.ahead().take().map(|(socket, _)| socket)
    }

    /// Makes `socket` that one.
    pub(crate) fn keep_ahead(&self, socket: GuestSocket) {
        *self.ahead() = Some((socket, Instant::now()));
    }

    /// Whether something waits for the next request to the agent, as far as clients' threads go.
    pub(crate) fn has_agent(&self) -> bool {
        let waits = |(lane, idle): (&Lane, &Vec<_>)| lane.0 == Purpose::Agent && !idle.is_empty();
        self.ahead().is_some() || self.lock().iter().any(waits)
    }

    /// Its exchange is over, on the thread on which it began.
    pub(crate) fn give_back(&self, purpose: Purpose, connection: Connection) {
        if connection.is_closed() {
            return;
        }
        let mut pools = self.lock();
        let waiting = pools.entry(lane(purpose)).or_default();
        if waiting.len() >= limits::IDLE_CONNECTIONS {
            waiting.remove(0);
        }
        waiting.push(Idle {
            connection,
            since: Instant::now(),
        });
    }

    /// Closes those that waited too long.
    pub(crate) fn prune(&self) {
        self.lock().retain(|_, waiting| {
            waiting.retain(|idle| {
                idle.since.elapsed() < limits::IDLE_TIMEOUT && !idle.connection.is_closed()
            });
            !waiting.is_empty()
        });
        self.ahead()
            .take_if(|(_, since)| since.elapsed() >= limits::IDLE_TIMEOUT);
    }

    /// Closes all.
    pub(crate) fn clear(&self) {
        self.lock().clear();
        self.ahead().take();
    }
}
