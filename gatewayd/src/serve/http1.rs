//! HTTP/1.1: one exchange at a time.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderValue, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use warder_ipc::aio::ENDS_STUCK;

use super::client_io::{ClientIo, State};
use super::{Held, serve};
use crate::client_body::ClientBody;
use crate::client_link::{ClientLink, Cuttable, Transport};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{self, Answer, Body, Half, Request};
use crate::limits;
use crate::proxy::Sender;

/// Serves a connection from the network to its end. Its first head must be whole when it is `due`.
pub(super) async fn from_network<S>(
    gateway: Arc<Gateway>,
    stream: S,
    (peer, tls): (IpAddr, bool),
    due: Instant,
    held: Held,
) where
    S: Transport + 'static,
{
    let link = ClientLink::new(true);
    let sender = Sender::Network {
        peer,
        tls,
        link: link.clone(),
    };
    let stream = Cuttable::new(stream, link.clone());
    tokio::select! {
        () = connection(gateway, stream, sender, due, ENDS_STUCK, held) => {}
        () = link.is_cut() => {}
    }
}

/// Serves a connection to its end. `kernel_cuts` who takes nothing of it, or it is left to us.
pub(super) async fn connection<S>(
    gateway: Arc<Gateway>,
    stream: S,
    sender: Sender,
    due: Instant,
    kernel_cuts: bool,
    _held: Held,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    drive(stream, due, kernel_cuts, move |request| {
        let (gateway, sender) = (Arc::clone(&gateway), sender.clone());
        async move { serve(&gateway, sender, request).await }
    })
    .await;
}

/// Until the client goes, is idle, or is stuck.
async fn drive<S, F>(stream: S, due: Instant, kernel_cuts: bool, answer: impl Fn(Request) -> F)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: Future<Output = Answer>,
{
    let stream = ClientIo::new(stream, due, kernel_cuts);
    let state = stream.state();
    let answer = &answer;
    let service = service_fn(|request: http::Request<Incoming>| {
        let (head, body) = request.into_parts();
        let body = ClientBody::new(body, &head.headers, Half::begin(&state.halves));
        let request = Request::from_parts(head, body);
        state.begun.store(true, Ordering::Release);
        let refusal = state.begin().or_else(|| without_host(&request));
        let half = Half::begin(&state.halves);
        let state = state.clone();
        async move {
            let answer = match refusal {
                None => answer(request).await,
                Some(error) => {
                    let mut answer = http_io::error(&error);
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                    answer
                }
            };
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                state.upgraded.store(true, Ordering::Release);
            }
            let answer = with_its_length(answer);
            Ok::<_, Infallible>(answer.map(|body| body.of(half)))
        }
    });
    // Errors here are the client's: it broke off, or spoke no HTTP and was told so (see `client_io`).
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::IDLE_CLIENT)
        .max_headers(limits::HEADERS)
        .max_buf_size(limits::HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

/// Since HTTP/1.1 every request names its host, also where its target does (RFC 9112, 3.2).
fn without_host(request: &Request) -> Option<ApiError> {
    let missing =
        request.version() >= Version::HTTP_11 && !request.headers().contains_key(header::HOST);
    missing.then(|| ApiError::bad("a request of HTTP/1.1 must have a Host"))
}

/// An answer whose length, if it tells one, the library can take: of one without a body nobody has looked at it, and one
/// that is no number would be the end of the connection. A 304 tells the length of what it does not send (RFC 9110, 8.6),
/// which the library takes out where it knows that nothing comes; it sends nothing anyway.
fn with_its_length(mut answer: Answer) -> Answer {
    let mut told = answer.headers().get_all(header::CONTENT_LENGTH).iter();
    let is_number = |value: &HeaderValue| {
        let digits = value.as_bytes();
        let decimal = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        decimal && value.to_str().is_ok_and(|text| text.parse::<u64>().is_ok())
    };
    match (told.next(), told.next()) {
        (None, _) => answer,
        (Some(length), None) if is_number(length) => {
            if answer.status() == StatusCode::NOT_MODIFIED {
                let (_, nothing) = mpsc::channel(1);
                return answer.map(|_| Body::parts(nothing));
            }
            answer
        }
        _ => {
            answer.headers_mut().remove(header::CONTENT_LENGTH);
            answer
        }
    }
}

impl State {
    /// A request's head has been read. Why it must be refused, if it must.
    fn begin(&self) -> Option<ApiError> {
        if self.too_long.swap(false, Ordering::AcqRel) {
            let text = format!("a head may have {} bytes at most", limits::HEAD_BYTES);
            return Some(ApiError::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                text,
            ));
        }
        self.two_lengths.swap(false, Ordering::AcqRel).then(|| {
            ApiError::bad("a request must not have both Transfer-Encoding and Content-Length")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::{sleep, timeout};

    use super::*;

    const ASKED: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const LITTLE: Duration = Duration::from_secs(1);

    /// A connection that has asked for one answer, of these parts, and how it is served.
    async fn asked(body: mpsc::Receiver<Bytes>) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (mut client, server) = tokio::io::duplex(16 * 1024);
        let body = std::sync::Mutex::new(Some(body));
        let serving = tokio::spawn(async move {
            let due = Instant::now() + limits::HEAD_TIMEOUT;
            drive(server, due, false, |_| {
                let body = body.lock().expect("no panic").take().expect("one request");
                async move { Answer::new(Body::parts(body)) }
            })
            .await;
        });
        client.write_all(ASKED).await.expect("open");
        (client, serving)
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_kept_for_its_time_and_no_longer() {
        let (parts, body) = mpsc::channel(1);
        drop(parts);
        let (mut client, serving) = asked(body).await;
        let mut read = [0; 1024];
        assert!(client.read(&mut read).await.expect("an answer") > 0);
        sleep(limits::IDLE_CLIENT - LITTLE).await;
        assert!(!serving.is_finished());
        sleep(2 * LITTLE).await;
        assert!(serving.is_finished());
        assert_eq!(client.read(&mut read).await.expect("closed"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_has_the_time_of_a_head() {
        let (_client, server) = tokio::io::duplex(1024);
        let due = Instant::now() + limits::HEAD_TIMEOUT;
        let served = drive(server, due, false, |_| async {
            unreachable!("nothing was asked")
        });
        timeout(limits::HEAD_TIMEOUT + LITTLE, served)
            .await
            .expect("closed");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_an_answer_is_cut_off() {
        let (parts, body) = mpsc::channel(4);
        let (mut client, serving) = asked(body).await;
        for _ in 0..4 {
            parts.try_send(vec![0; 16 * 1024].into()).expect("room");
        }
        // Who takes a little of it in time goes on.
        for _ in 0..3 {
            sleep(limits::IDLE_CLIENT - LITTLE).await;
            client.read_exact(&mut [0; 8 * 1024]).await.expect("open");
        }
        assert!(!serving.is_finished());
        sleep(limits::IDLE_CLIENT + LITTLE).await;
        assert!(serving.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_more_of_an_answer_is_not_stuck() {
        let (parts, body) = mpsc::channel(4);
        let (mut client, serving) = asked(body).await;
        parts.try_send(vec![0; 64 * 1024].into()).expect("room");
        // Time passes while the answer waits, too.
        sleep(LITTLE).await;
        client.read_exact(&mut [0; 64 * 1024]).await.expect("open");
        sleep(limits::IDLE_CLIENT * 3).await;
        assert!(!serving.is_finished());
        drop(parts);
        let mut rest = Vec::new();
        while !rest.ends_with(b"0\r\n\r\n") {
            assert!(client.read_buf(&mut rest).await.expect("open") > 0);
        }
    }

    /// What the API says to a body of ten bytes of which these come, and then one each `pause`; and whether the
    /// connection is over when all the time for what nobody wants has passed.
    async fn told(first: &[u8], pause: Duration) -> (String, bool) {
        let (mut client, server) = tokio::io::duplex(16 * 1024);
        let due = Instant::now() + limits::HEAD_TIMEOUT;
        let serving = tokio::spawn(drive(server, due, false, |request| async {
            match http_io::read_body(request.into_body()).await {
                Ok(_) => Answer::new(Body::empty()),
                Err(error) => http_io::error(&error),
            }
        }));
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n";
        client.write_all(head).await.expect("open");
        client.write_all(first).await.expect("open");
        let mut answer = [0; 1024];
        let (mut left, mut patience) = (10 - first.len(), true);
        let read = loop {
            match timeout(pause, client.read(&mut answer)).await {
                Ok(read) => break read.expect("an answer"),
                Err(_) if left > 0 => {
                    left -= 1;
                    client.write_all(b"x").await.expect("open");
                }
                Err(_) => assert!(std::mem::take(&mut patience), "no answer"),
            }
        };
        sleep(limits::REST_TIMEOUT + LITTLE).await;
        let answer = String::from_utf8_lossy(&answer[..read]);
        let status = answer.lines().next().unwrap_or_default().to_owned();
        (status, serving.is_finished())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_for_the_api_has_its_time_however_it_dribbles() {
        let late = ("HTTP/1.1 408 Request Timeout".to_owned(), true);
        assert_eq!(told(b"abc", limits::BODY_TIMEOUT * 2).await, late);
        assert_eq!(told(b"abc", limits::BODY_TIMEOUT / 6).await, late);
        let whole = ("HTTP/1.1 200 OK".to_owned(), false);
        assert_eq!(told(b"abc", limits::BODY_TIMEOUT / 8).await, whole);
    }
}
