//! HTTP/2, which is spoken over TLS only.
//!
//! Requests are made to look like those of HTTP/1.1, since that is what sandboxes and the rest of this process
//! speak: one Host, one Cookie line. There is no extended CONNECT: its setting is absent, so browsers open
//! WebSockets on HTTP/1.1.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use http::{HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::{Held, serve};
use crate::client_body::ClientBody;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{self, Answer, Half, Offered, Request};
use crate::limits;
use crate::proxy::Sender;

/// What the connection does.
#[derive(Debug, Default)]
struct Activity {
    /// Halves of exchanges under way.
    halves: Arc<AtomicUsize>,
    /// Requests begun.
    begun: AtomicU64,
    /// What is there for the client.
    offered: Mutex<Vec<Weak<Offered>>>,
}

impl Activity {
    /// Ends when nothing was under way for [`limits::IDLE_CLIENT`], or no request came within
    /// [`limits::HEAD_TIMEOUT`] of the start.
    async fn quiet(&self) {
        let mut wait = limits::HEAD_TIMEOUT;
        loop {
            let before = self.begun.load(Ordering::Acquire);
            sleep(wait).await;
            wait = limits::IDLE_CLIENT;
            let now = self.begun.load(Ordering::Acquire);
            if now == before && self.halves.load(Ordering::Acquire) == 0 {
                return;
            }
        }
    }

    /// An answer the client gets.
    fn offer(&self) -> Arc<Offered> {
        let offered = Arc::default();
        let mut all = self.lock();
        if all.len() > 2 * limits::STREAMS as usize {
            all.retain(|other| other.strong_count() > 0);
        }
        all.push(Arc::downgrade(&offered));
        offered
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Offered>>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when the client has taken nothing of an answer for [`limits::IDLE_CLIENT`]. The kernel sees only that
    /// the connection is alive: in HTTP/2 each stream has a window of its own.
    async fn stuck(&self) {
        loop {
            sleep(limits::IDLE_CLIENT / 20).await;
            let mut stuck = false;
            self.lock().retain(|offered| {
                let offered = offered.upgrade();
                let time = offered.as_ref().map(|offered| offered.time());
                stuck |= time.is_some_and(|time| time >= limits::IDLE_CLIENT);
                time.is_some()
            });
            if stuck {
                return;
            }
        }
    }
}

/// Serves a connection to its end.
pub(super) async fn connection<S>(gateway: Arc<Gateway>, stream: S, sender: Sender, _held: Held)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Arc::new(Activity::default());
    let seen = Arc::clone(&activity);
    let service = service_fn(move |request: http::Request<Incoming>| {
        seen.begun.fetch_add(1, Ordering::AcqRel);
        let (mut head, body) = request.into_parts();
        let body = ClientBody::new(body, &head.headers, Half::begin(&seen.halves));
        let half = Half::begin(&seen.halves);
        let (gateway, sender) = (Arc::clone(&gateway), sender.clone());
        async move {
            let answer = match adapt(&mut head) {
                Ok(()) => serve(&gateway, sender, Request::from_parts(head, body)).await,
                Err(error) => http_io::error(&error),
            };
            Ok::<_, Infallible>(answer.map(|body| body.of(half)))
        }
    });
    drive(stream, &activity, service).await;
}

/// Until the client goes, is quiet, or is stuck.
async fn drive<S, H>(stream: S, activity: &Arc<Activity>, service: H)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Service<http::Request<Incoming>, Response = Answer, Error = Infallible>,
    H::Future: Send + 'static,
{
    let service = service_fn(|request| {
        let (answer, activity) = (service.call(request), Arc::clone(activity));
        async move {
            // Offered from here on: until now it was waited for.
            let answer = answer.await?;
            Ok::<_, Infallible>(answer.map(|body| body.noting(activity.offer())))
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::STREAMS)
        .max_header_list_size(u32::try_from(limits::HEAD_BYTES).unwrap_or(u32::MAX))
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_send_buf_size(limits::STREAM_BUFFER)
        .max_pending_accept_reset_streams(limits::PENDING_RESETS)
        .max_local_error_reset_streams(limits::ERROR_RESETS)
        .keep_alive_interval(limits::PING_INTERVAL)
        .keep_alive_timeout(limits::PING_TIMEOUT);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // Errors are the client's: it broke off, or broke the protocol's rules and was told so.
        _ = served.as_mut() => return,
        () = activity.stuck() => return,
        () = activity.quiet() => served.as_mut().graceful_shutdown(),
    }
    // What came at this very moment is still answered.
    let _ = timeout(limits::HEAD_TIMEOUT, served).await;
}

/// Makes a head what it would be in HTTP/1.1.
fn adapt(head: &mut http::request::Parts) -> Result<(), ApiError> {
    if head.headers.len() > limits::HEADERS {
        let text = format!(
            "a request may have {} header lines at most",
            limits::HEADERS
        );
        return Err(ApiError::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            text,
        ));
    }
    if head.method == Method::CONNECT {
        return Err(ApiError::wrong_method(
            "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        ));
    }
    // The library looks at the first only, and the sandbox's server perhaps at the last.
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    if lengths.nth(1).is_some() {
        return Err(ApiError::bad("a request must have one Content-Length"));
    }
    // RFC 9113, 8.3.1: the authority takes the place of Host, and where both are sent they are the same.
    if let Some(authority) = head.uri.authority() {
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| ApiError::bad(":authority is not ASCII"))?;
        let mut others = head.headers.get_all(header::HOST).iter();
        if others.any(|other| !other.as_bytes().eq_ignore_ascii_case(host.as_bytes())) {
            return Err(ApiError::bad("Host and :authority differ"));
        }
        head.headers.insert(header::HOST, host);
    }
    // RFC 9113, 8.2.3: a cookie may come in pieces, which HTTP/1.1 does not know.
    if head.headers.get_all(header::COOKIE).iter().nth(1).is_some() {
        let pieces: Vec<&[u8]> = head
            .headers
            .get_all(header::COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        let whole = HeaderValue::from_bytes(&pieces.join(&b"; "[..]))
            .map_err(|_| ApiError::bad("the cookie is none"))?;
        head.headers.insert(header::COOKIE, whole);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, lines: &[(&str, &str)]) -> http::request::Parts {
        let mut builder = http::Request::builder().uri(uri);
        for (name, value) in lines {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn the_authority_is_the_host_and_a_cookie_is_one_line() {
        let mut parts = head(
            "https://8000-i.box.example/x",
            &[("cookie", "a=1"), ("cookie", "b=2"), ("x-kept", "1")],
        );
        adapt(&mut parts).expect("good");
        assert_eq!(parts.headers[header::HOST], "8000-i.box.example");
        let cookies: Vec<_> = parts.headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
        assert_eq!(parts.headers["x-kept"], "1");
        let mut same = head("https://a.example/", &[("host", "A.example")]);
        adapt(&mut same).expect("good");
        for bad in [
            head("https://a.example/", &[("host", "b.example")]),
            head("https://a.example/", &[("x", "1"); limits::HEADERS + 1]),
            head(
                "https://a.example/",
                &[("content-length", "0"), ("content-length", "5")],
            ),
        ] {
            assert!(adapt(&mut { bad }).is_err());
        }
    }

    /// Whether a client with such a window, who asks for one answer, gets it after a while and reads nothing of it, is
    /// still served after it may be stuck.
    async fn lasts(window: u32, wait: std::time::Duration) -> bool {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let activity = Arc::new(Activity::default());
        let seen = Arc::clone(&activity);
        let (parts, all) = tokio::sync::mpsc::channel(2);
        for _ in 0..2 {
            let part = bytes::Bytes::from_static(&[0; 100]);
            parts.try_send(part).expect("room");
        }
        let all = Mutex::new(Some(all));
        let service = service_fn(move |_| {
            seen.begun.fetch_add(1, Ordering::AcqRel);
            let all = all.lock().expect("no panic").take().expect("one request");
            let body = http_io::Body::parts(all).of(Half::begin(&seen.halves));
            async move {
                sleep(wait).await;
                Ok(Answer::new(body))
            }
        });
        let serving = tokio::spawn(async move { drive(server, &activity, service).await });
        let (mut sender, connection) =
            hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(window)
                .handshake::<_, http_body_util::Empty<bytes::Bytes>>(TokioIo::new(client))
                .await
                .expect("HTTP/2");
        tokio::spawn(connection);
        let answer = sender.send_request(http::Request::default()).await;
        let answer = answer.expect("a head");
        sleep(limits::IDLE_CLIENT + limits::IDLE_CLIENT / 10).await;
        let lasts = !serving.is_finished();
        drop((answer, sender, parts));
        lasts
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_an_answer_is_cut_off() {
        let no_time = std::time::Duration::ZERO;
        assert!(!lasts(10, no_time).await);
        // Who waits for more is not stuck, nor who waits for the first.
        assert!(lasts(1000, no_time).await);
        assert!(lasts(1000, limits::IDLE_CLIENT * 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_is_quiet_sooner_than_who_did() {
        let activity = Activity::default();
        assert!(
            timeout(limits::HEAD_TIMEOUT * 2, activity.quiet())
                .await
                .is_ok()
        );
        let half = Half::begin(&activity.halves);
        let long = limits::IDLE_CLIENT * 3;
        assert!(
            timeout(long, activity.quiet()).await.is_err(),
            "an exchange is under way"
        );
        drop(half);
        activity.begun.fetch_add(1, Ordering::AcqRel);
        assert!(timeout(long, activity.quiet()).await.is_ok());
    }
}
