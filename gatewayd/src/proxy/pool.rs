//! Connections to one sandbox that wait for their next request, by what they are for.
//!
//! A connection carries one exchange at a time, so bulk data never delays a keystroke.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

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

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// The waiting connections of one sandbox.
#[derive(Debug, Default)]
pub(crate) struct Pools(Mutex<HashMap<Purpose, Vec<Idle>>>);

impl Pools {
    fn lock(&self) -> MutexGuard<'_, HashMap<Purpose, Vec<Idle>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that takes a request now.
    pub(crate) fn take(&self, purpose: Purpose) -> Option<Connection> {
        let mut pools = self.lock();
        let waiting = pools.get_mut(&purpose)?;
        waiting.retain(|idle| !idle.connection.is_closed());
        // The latest first: the others may grow old and go.
        let found = waiting
            .iter()
            .rposition(|idle| idle.connection.is_ready())?;
        Some(waiting.remove(found).connection)
    }

    /// Whether one may be waiting.
    pub(crate) fn has(&self, purpose: Purpose) -> bool {
        self.lock().get(&purpose).is_some_and(|w| !w.is_empty())
    }

    /// Its exchange is over.
    pub(crate) fn give_back(&self, purpose: Purpose, connection: Connection) {
        if connection.is_closed() {
            return;
        }
        let mut pools = self.lock();
        let waiting = pools.entry(purpose).or_default();
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
    }

    /// Closes all.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }
}
