//! The Connect protocol over HTTP/1.1: unary calls, streams of events, streams of requests.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use warder_connect::json::parse;
use warder_connect::{Code, ConnectError, Decoder, END_STREAM, STREAM_JSON, UNARY_JSON, envelope};

use super::{Body, RequestBody, auth, json};
use crate::agent::Agent;
use crate::users::User;

/// Longest message, in bytes.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// Pause after which a stream sends a sign of life, unless the client wants another.
const KEEPALIVE: Duration = Duration::from_secs(90);
/// Header with that pause, in seconds.
const KEEPALIVE_HEADER: &str = "keepalive-ping-interval";
/// Header with the call's time limit.
const TIMEOUT_HEADER: &str = "connect-timeout-ms";

pub(crate) type Answer = Response<Body>;

#[derive(Clone, Copy, Eq, PartialEq)]
enum Shape {
    Unary,
    Stream,
}

/// What the head of a call says.
pub(crate) struct Caller {
    user: Result<Option<String>, ConnectError>,
    /// `None` is no limit.
    pub(crate) timeout: Option<Duration>,
    pub(crate) keepalive: Duration,
}

impl Caller {
    /// The user to act as.
    pub(crate) fn user(&self, agent: &Agent) -> Result<User, ConnectError> {
        auth::rpc_user(agent, self.user.clone()?.as_deref())
    }
}

/// A call that is not answered yet.
pub(crate) struct Call {
    caller: Caller,
    shape: Shape,
    body: RequestBody,
}

impl Call {
    /// Reads the head. The error is the answer.
    pub(super) fn new(request: Request<RequestBody>) -> Result<Self, Box<Answer>> {
        let (head, body) = request.into_parts();
        let headers = &head.headers;
        let content_type = text(headers, "content-type")
            .split(';')
            .next()
            .unwrap_or("")
            .trim();
        let shape = if content_type.eq_ignore_ascii_case(UNARY_JSON) {
            Shape::Unary
        } else if content_type.eq_ignore_ascii_case(STREAM_JSON) {
            Shape::Stream
        } else {
            return Err(Box::new(unsupported_media()));
        };
        let number = |name| text(headers, name).parse::<u64>().ok();
        let call = Self {
            caller: Caller {
                user: auth::basic_user(headers),
                timeout: number(TIMEOUT_HEADER)
                    .filter(|ms| *ms > 0)
                    .map(Duration::from_millis),
                keepalive: number(KEEPALIVE_HEADER)
                    .filter(|seconds| *seconds > 0)
                    .map_or(KEEPALIVE, |seconds| {
                        Duration::from_secs(seconds.min(86_400))
                    }),
            },
            shape,
            body,
        };
        let encoding = match shape {
            Shape::Unary => text(headers, "content-encoding"),
            Shape::Stream => text(headers, "connect-content-encoding"),
        };
        if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
            let error = ConnectError::new(
                Code::Unimplemented,
                format_args!("unknown compression {encoding:?}"),
            );
            return Err(Box::new(match shape {
                Shape::Unary => unary_error(&error),
                Shape::Stream => stream_end(Err(error)),
            }));
        }
        Ok(call)
    }

    /// One message in, one out.
    pub(crate) async fn unary<Q, A, F>(self, serve: impl FnOnce(Caller, Q) -> F) -> Answer
    where
        Q: DeserializeOwned,
        A: Serialize,
        F: Future<Output = Result<A, ConnectError>>,
    {
        if self.shape != Shape::Unary {
            return unsupported_media();
        }
        let served = async {
            let body = http_body_util::Limited::new(self.body, MAX_MESSAGE);
            let bytes = body
                .collect()
                .await
                .map_err(ConnectError::invalid)?
                .to_bytes();
            serve(self.caller, parse(&bytes)?).await
        };
        match served.await {
            Ok(answer) => json(&answer),
            Err(error) => unary_error(&error),
        }
    }

    /// One message in, many out.
    pub(crate) async fn stream<Q, F>(self, serve: impl FnOnce(Caller, Q) -> F) -> Answer
    where
        Q: DeserializeOwned,
        F: Future<Output = Result<EventStream, ConnectError>>,
    {
        if self.shape != Shape::Stream {
            return unsupported_media();
        }
        let served = async {
            let mut reader = Reader::new(self.body);
            let request = reader.next().await?;
            let request =
                request.ok_or_else(|| ConnectError::invalid("the request holds no message"))?;
            serve(self.caller, request).await
        };
        match served.await {
            Ok(events) => stream_answer(Body::stream(events)),
            Err(error) => stream_end(Err(error)),
        }
    }

    /// Many messages in, one out.
    pub(crate) async fn client_stream<A, F>(self, serve: impl FnOnce(Reader) -> F) -> Answer
    where
        A: Serialize,
        F: Future<Output = Result<A, ConnectError>>,
    {
        if self.shape != Shape::Stream {
            return unsupported_media();
        }
        let limit = self.caller.timeout;
        let serve = serve(Reader::new(self.body));
        let served = match limit {
            Some(limit) => tokio::time::timeout(limit, serve)
                .await
                .unwrap_or_else(|_| Err(deadline())),
            None => serve.await,
        };
        stream_end(served.map(|answer| envelope::message(&answer)))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
}

fn unsupported_media() -> Answer {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response.headers_mut().insert(
        "accept-post",
        HeaderValue::from_static("application/json, application/connect+json"),
    );
    response
}

fn unary_error(error: &ConnectError) -> Answer {
    let mut response = json(error);
    *response.status_mut() =
        StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn stream_answer(body: Body) -> Answer {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(STREAM_JSON));
    response
}

/// A stream that is over already. Errors are HTTP 200 with the error inside.
fn stream_end(outcome: Result<Bytes, ConnectError>) -> Answer {
    let mut bytes = Vec::new();
    let error = match outcome {
        Ok(message) => {
            bytes.extend_from_slice(&message);
            None
        }
        Err(error) => Some(error),
    };
    bytes.extend_from_slice(&envelope::end(error));
    stream_answer(bytes.into())
}

fn deadline() -> ConnectError {
    ConnectError::new(
        Code::DeadlineExceeded,
        "the call ran longer than its time limit",
    )
}

/// The messages of a request, as they come.
pub(crate) struct Reader {
    body: RequestBody,
    decoder: Decoder,
    ended: bool,
}

impl Reader {
    fn new(body: RequestBody) -> Self {
        Self {
            body,
            decoder: Decoder::new(MAX_MESSAGE),
            ended: false,
        }
    }

    /// The next message, or `None` at the end.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ConnectError> {
        loop {
            match self.decoder.next_message()? {
                Some((flags, _)) if flags & END_STREAM != 0 => return Ok(None),
                Some((_, message)) => return parse(&message).map(Some),
                None if self.ended => {
                    self.decoder.finish()?;
                    return Ok(None);
                }
                None => match self.body.frame().await {
                    Some(Ok(frame)) => {
                        if let Some(data) = frame.data_ref() {
                            self.decoder.push(data);
                        }
                    }
                    Some(Err(error)) => {
                        return Err(ConnectError::new(Code::Canceled, error));
                    }
                    None => self.ended = true,
                },
            }
        }
    }
}

/// A stream of encoded events as a response body, with signs of life and a time limit. Dropping it, as
/// happens when the client goes away, ends the subscription and nothing else.
pub(crate) struct EventStream {
    events: mpsc::Receiver<Bytes>,
    pause: Duration,
    keepalive: Bytes,
    timer: Pin<Box<Sleep>>,
    limit: Option<Pin<Box<Sleep>>>,
    over: bool,
    /// Kept until the stream ends.
    _guard: Option<Box<dyn std::any::Any>>,
}

impl EventStream {
    pub(crate) fn new(
        events: mpsc::Receiver<Bytes>,
        pause: Duration,
        keepalive: Bytes,
        limit: Option<Instant>,
    ) -> Self {
        Self {
            events,
            pause,
            keepalive,
            timer: Box::pin(tokio::time::sleep(pause)),
            limit: limit.map(|limit| Box::pin(tokio::time::sleep_until(limit))),
            over: false,
            _guard: None,
        }
    }

    /// Drops `guard` with the stream.
    pub(crate) fn guarded(mut self, guard: impl std::any::Any) -> Self {
        self._guard = Some(Box::new(guard));
        self
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        // First, so that a command that was killed for its time limit ends with that reason.
        if let Some(limit) = &mut self.limit
            && limit.as_mut().poll(cx).is_ready()
        {
            self.over = true;
            return Poll::Ready(envelope::end(Some(deadline())));
        }
        if let Poll::Ready(event) = self.events.poll_recv(cx) {
            let next = Instant::now() + self.pause;
            self.timer.as_mut().reset(next);
            let event = event.unwrap_or_else(|| envelope::end(None));
            self.over = event.first().is_some_and(|flags| flags & END_STREAM != 0);
            return Poll::Ready(event);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            let next = Instant::now() + self.pause;
            self.timer.as_mut().reset(next);
            // Registers for the new time.
            let _ = self.timer.as_mut().poll(cx);
            return Poll::Ready(self.keepalive.clone());
        }
        Poll::Pending
    }
}

impl http_body::Body for EventStream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        this.poll_event(cx)
            .map(|event| Some(Ok(Frame::data(event))))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}
