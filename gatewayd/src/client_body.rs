//! A client's body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;

use crate::http_io::Half;
use crate::limits;
use crate::proxy::{Forbidden, Visit};
use crate::turns::Turns;

/// Why a body breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Its sender went away, or framed it wrongly.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// It must not go on.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
}

/// What a client sends behind its head. What nobody has read of it when it is dropped is read and thrown
/// away, within bounds: closing a socket with something unread in it resets the connection, and the client
/// may lose an answer that was sent.
#[derive(Debug)]
pub(crate) struct ClientBody {
    incoming: Option<Incoming>,
    /// The client waits to be asked for it; reading would be asking.
    waits: bool,
    half: Option<Half>,
    visit: Option<Visit>,
    turns: Turns,
}

impl ClientBody {
    /// The body behind a head with these lines.
    pub(crate) fn new(incoming: Incoming, headers: &HeaderMap, half: Half) -> Self {
        Self {
            half: Some(half).filter(|_| !incoming.is_end_stream()),
            incoming: Some(incoming),
            waits: headers.contains_key(header::EXPECT),
            visit: None,
            turns: Turns::default(),
        }
    }

    /// The same, breaking off when this is forbidden.
    pub(crate) fn under(mut self, visit: Visit) -> Self {
        self.visit = Some(visit);
        self
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let rest = self.incoming.take().filter(|body| !body.is_end_stream());
        if let (Some(rest), false, Ok(runtime)) = (rest, self.waits, Handle::try_current()) {
            let half = self.half.take();
            runtime.spawn(async move {
                let _half = half;
                let _ = tokio::time::timeout(limits::REST_TIMEOUT, drain(rest)).await;
            });
        }
    }
}

async fn drain(mut rest: Incoming) {
    let mut left = limits::REST_BYTES;
    while let Some(Ok(frame)) = rest.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(less) => left = less,
            None => return,
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        if let Some(visit) = &body.visit
            && visit.poll_forbidden(cx).is_ready()
        {
            body.half = None;
            body.visit = None;
            return Poll::Ready(Some(Err(Forbidden.into())));
        }
        ready!(body.turns.poll_turn(cx));
        body.waits = false;
        let frame = match &mut body.incoming {
            Some(incoming) => ready!(Pin::new(incoming).poll_frame(cx)),
            None => None,
        };
        if body.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            body.half = None;
            body.visit = None;
        } else if let Some(Ok(frame)) = &frame {
            body.turns.moved(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(SizeHint::default, Incoming::size_hint)
    }
}
