//! A sandbox's answer on its way to the client: passed on piece by piece, nothing gathered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::door::{Forbidden, Visit};
use super::pool::{Connection, Purpose};
use crate::client_body::BodyError;
use crate::sandbox::Sandbox;

/// The body, and what it holds while it runs.
#[derive(Debug)]
pub(crate) struct GuestBody {
    incoming: Incoming,
    // Goes back to the pool at the end; dropped before it, the connection is closed.
    connection: Option<Connection>,
    purpose: Purpose,
    sandbox: Arc<Sandbox>,
    visit: Option<Visit>,
    _permit: OwnedSemaphorePermit,
}

impl GuestBody {
    /// Around an answer that has a body to come.
    pub(crate) fn new(
        incoming: Incoming,
        connection: Connection,
        purpose: Purpose,
        sandbox: Arc<Sandbox>,
        (visit, permit): (Option<Visit>, OwnedSemaphorePermit),
    ) -> Self {
        Self {
            incoming,
            connection: Some(connection),
            purpose,
            sandbox,
            visit,
            _permit: permit,
        }
    }

    fn over(&mut self) {
        self.visit = None;
        if let Some(connection) = self.connection.take() {
            self.sandbox.pools.give_back(self.purpose, connection);
        }
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(visit) = &self.visit
            && visit.poll_forbidden(cx).is_ready()
        {
            self.connection = None;
            self.visit = None;
            return Poll::Ready(Some(Err(Forbidden.into())));
        }
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            None => self.over(),
            Some(Ok(_)) if self.incoming.is_end_stream() => self.over(),
            Some(Ok(_)) => {}
            // The client's stream is cut too: an answer that broke off must not look whole.
            Some(Err(_)) => self.connection = None,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
