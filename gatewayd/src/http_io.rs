//! Bodies and answers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full, Limited};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::client_body::{BodyError, ClientBody};
use crate::error::ApiError;
use crate::limits;
use crate::proxy::GuestBody;

/// What goes back to a client.
pub(crate) type Answer = Response<Body>;
/// What comes from a client.
pub(crate) type Request = http::Request<ClientBody>;

/// A body of our own, or one passed on from a sandbox; and a note that its half of the exchange ends with it.
#[derive(Debug)]
pub(crate) struct Body {
    source: Source,
    half: Option<Half>,
    offered: Option<Arc<Offered>>,
}

#[derive(Debug)]
enum Source {
    Own(Full<Bytes>),
    Parts(mpsc::Receiver<Bytes>),
    Guest(Box<GuestBody>),
}

/// One half of an exchange; the half is over when this is dropped. It counts the halves under way.
#[derive(Debug)]
pub(crate) struct Half(Arc<AtomicUsize>);

impl Half {
    /// One more.
    pub(crate) fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Body {
    /// Our own.
    pub(crate) fn own(body: Full<Bytes>) -> Self {
        Self {
            source: Source::Own(body),
            half: None,
            offered: None,
        }
    }

    /// Our own, in parts; it ends when the other end is dropped.
    pub(crate) fn parts(parts: mpsc::Receiver<Bytes>) -> Self {
        Self {
            source: Source::Parts(parts),
            half: None,
            offered: None,
        }
    }

    /// Passed on.
    pub(crate) fn guest(body: GuestBody) -> Self {
        Self {
            source: Source::Guest(Box::new(body)),
            half: None,
            offered: None,
        }
    }

    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self::own(Full::default())
    }

    /// The same, as this half of an exchange.
    pub(crate) fn of(mut self, half: Half) -> Self {
        self.half = Some(half);
        self
    }

    /// The same, noting how long the client takes nothing of it.
    pub(crate) fn noting(mut self, offered: Arc<Offered>) -> Self {
        self.offered = Some(offered);
        self
    }
}

/// For how long a client has taken nothing of an answer that is there for it.
#[derive(Debug)]
pub(crate) struct Offered {
    begun: Instant,
    /// Milliseconds since then and one more; zero while more is waited for.
    since: AtomicU64,
}

impl Default for Offered {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            since: AtomicU64::new(1),
        }
    }
}

impl Offered {
    fn note(&self, waits: bool) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        self.since
            .store(if waits { since } else { 0 }, Ordering::Relaxed);
    }

    /// For how long.
    pub(crate) fn time(&self) -> Duration {
        let since = self.since.load(Ordering::Relaxed).checked_sub(1);
        since.map_or(Duration::ZERO, |since| {
            let elapsed = self.begun.elapsed();
            elapsed.saturating_sub(Duration::from_millis(since))
        })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        let frame = match &mut body.source {
            Source::Own(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Source::Parts(parts) => parts
                .poll_recv(cx)
                .map(|part| part.map(|p| Ok(Frame::data(p)))),
            Source::Guest(body) => Pin::new(body).poll_frame(cx),
        };
        if let Some(offered) = &body.offered {
            offered.note(frame.is_ready());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(body) => body.is_end_stream(),
            Source::Parts(_) => false,
            Source::Guest(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(body) => body.size_hint(),
            Source::Parts(_) => SizeHint::default(),
            Source::Guest(body) => body.size_hint(),
        }
    }
}

/// A JSON answer.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    // Our own types always serialise; should one not, the client is told so rather than lied to.
    let (status, text) = match serde_json::to_vec(value) {
        Ok(text) => (status, text),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            br#"{"code":500,"message":"unserialisable answer"}"#.to_vec(),
        ),
    };
    let mut answer = Response::new(Body::own(Full::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    answer
}

/// An answer without body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: u16,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
}

fn error_body(error: &ApiError) -> ErrorBody<'_> {
    ErrorBody {
        code: error.status.as_u16(),
        message: &error.message,
        error_code: error.error_code,
    }
}

/// E2B's error body, as part of an answer.
pub(crate) fn error_value(error: &ApiError) -> serde_json::Value {
    serde_json::json!(error_body(error))
}

/// E2B's error body, with the headers its SDKs read.
pub(crate) fn error(error: &ApiError) -> Answer {
    let mut answer = json(error.status, &error_body(error));
    let headers = answer.headers_mut();
    if let Some(retry) = error.retry {
        headers.insert(
            "should-retry",
            HeaderValue::from_static(if retry { "true" } else { "false" }),
        );
    }
    if let Some(allow) = error.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    let may_retry = matches!(
        error.status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
    );
    if may_retry && error.retry != Some(false) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// Lets a page of any origin read an answer that no sandbox wrote itself.
pub(crate) fn allow_origins(answer: &mut Answer) {
    const ANY: HeaderValue = HeaderValue::from_static("*");
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ANY);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ANY);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
}

/// Reads a whole API body, bounded in size and time.
///
/// # Errors
/// 413, 408, or 400 when it breaks off.
pub(crate) async fn read_body(body: ClientBody) -> Result<Bytes, ApiError> {
    let too_long = || {
        let text = format!("the body may have {} bytes at most", limits::BODY_BYTES);
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    // Said at once where the client says it at once.
    if usize::try_from(body.size_hint().lower()).map_or(true, |least| least > limits::BODY_BYTES) {
        return Err(too_long());
    }
    let limited = Limited::new(body, limits::BODY_BYTES);
    match tokio::time::timeout(limits::BODY_TIMEOUT, limited.collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(ApiError::bad("the body broke off")),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body took too long",
        )),
    }
}
