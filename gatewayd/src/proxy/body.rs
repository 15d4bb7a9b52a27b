//! A sandbox's answer on its way to the client: passed on piece by piece, nothing gathered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::pool::{Connection, Purpose};
use crate::sandbox::Sandbox;

/// The body, and what it holds while it runs.
#[derive(Debug)]
pub(crate) struct GuestBody {
    incoming: Incoming,
    // Goes back to the pool at the end; dropped before it, the connection is closed.
    connection: Option<Connection>,
    purpose: Purpose,
    sandbox: Arc<Sandbox>,
    _permit: OwnedSemaphorePermit,
}

impl GuestBody {
    /// Around an answer that has a body to come.
    pub(crate) fn new(
        incoming: Incoming,
        connection: Connection,
        purpose: Purpose,
        sandbox: Arc<Sandbox>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            incoming,
            connection: Some(connection),
            purpose,
            sandbox,
            _permit: permit,
        }
    }

    fn over(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.sandbox.pools.give_back(self.purpose, connection);
        }
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            None => self.over(),
            Some(Ok(_)) if self.incoming.is_end_stream() => self.over(),
            Some(Ok(_)) => {}
            // The client's stream is cut too: an answer that broke off must not look whole.
            Some(Err(_)) => self.connection = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
