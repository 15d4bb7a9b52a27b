//! One exchange with a sandbox.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, Version, header};
use http_body::Body as _;
use http_body_util::{Either, Full};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use warder_ipc::aio::GuestStream;
use warder_wire::link::Role;

use super::body::GuestBody;
use super::door::{Forbidden, Visit, while_let_in};
use super::headers;
use super::pool::{Connection, Outgoing, Purpose};
use crate::http_io::{Answer, Body};
use crate::limits;
use crate::link::LinkError;
use crate::sandbox::{Sandbox, watch};
use crate::turns::Paced;

/// Why a sandbox gave no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ForwardError {
    /// No stream to it.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It closed the connection or sent what is no HTTP.
    #[error("the server in the sandbox gave no proper answer")]
    NoAnswer,
    /// The port speaks TLS by its sandbox's options, and does not.
    #[error("the server in the sandbox does not speak TLS")]
    NoTls,
    /// Too many exchanges at once.
    #[error("too many connections to this sandbox")]
    TooMany,
    /// It is forbidden by now.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
}

/// Wants both: the client's end, and the protocol it asks for.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// The client's end, once answered.
    pub(crate) client: OnUpgrade,
    /// The protocol.
    pub(crate) protocol: HeaderValue,
}

/// Speaks HTTP/1.1 on a stream; the connection lives on a task of its own until either end closes it or
/// the sandbox ends or is paused.
pub(crate) async fn converse<S>(
    sandbox: &Arc<Sandbox>,
    stream: S,
) -> Result<Connection, ForwardError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(limits::HEAD_BYTES)
        .max_headers(limits::HEADERS)
        .handshake::<_, Outgoing>(TokioIo::new(Paced::new(stream)))
        .await
        .map_err(|_| ForwardError::NoAnswer)?;
    let streams = sandbox.streams();
    if sandbox.sleeps() {
        return Err(ForwardError::NoAnswer);
    }
    tokio::spawn(async move {
        tokio::select! {
            // What went wrong is known to whoever waits for the answer.
            _ = connection.with_upgrades() => {}
            () = streams.cancelled() => {}
        }
    });
    Ok(sender)
}

async fn connect(sandbox: &Arc<Sandbox>, purpose: Purpose) -> Result<Connection, ForwardError> {
    let stream = match purpose {
        Purpose::Agent => sandbox.api(Role::Client).await?,
        Purpose::Control => sandbox.api(Role::Control).await?,
        Purpose::Port(port) => {
            let stream = dial(sandbox, port).await?;
            let Some(https) = sandbox.https.get().filter(|https| https.speaks(port)) else {
                return converse(sandbox, stream).await;
            };
            let stream = https.connect(stream).await;
            return converse(sandbox, stream.map_err(|_| ForwardError::NoTls)?).await;
        }
    };
    converse(sandbox, stream).await
}

/// A server that was just started may not listen yet: asked again after growing pauses.
async fn dial(sandbox: &Arc<Sandbox>, port: u16) -> Result<GuestStream, LinkError> {
    for pause in limits::DIAL_PAUSES {
        match sandbox.port(port).await {
            Err(LinkError::Closed) => tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = sandbox.ended.cancelled() => return Err(LinkError::Broken),
            },
            done => return done,
        }
    }
    sandbox.port(port).await
}

/// Makes a socket to the agent ready for its first request. If it fails, that request makes its own.
pub(crate) async fn warm(sandbox: &Arc<Sandbox>) {
    if sandbox.pools.has_agent() {
        return;
    }
    if let Ok(socket) = sandbox.api_socket(Role::Client).await {
        sandbox.pools.keep_ahead(socket);
        // Whoever pauses or ends it drops what waits, and may have done so just before.
        if sandbox.sleeps() || sandbox.ended.is_cancelled() {
            drop(sandbox.pools.take_ahead());
        }
    }
}

/// A connection that was made before: one of this thread, or one for whoever comes first.
async fn waiting(sandbox: &Arc<Sandbox>, purpose: Purpose) -> Option<Connection> {
    if let Some(connection) = sandbox.pools.take(purpose) {
        return Some(connection);
    }
    let ahead = (purpose == Purpose::Agent).then(|| sandbox.pools.take_ahead());
    let stream = watch(ahead.flatten()?).ok()?;
    converse(sandbox, stream).await.ok()
}

/// Passes a request on and its answer back. The request is stripped already; `upgrade` puts its lines back.
///
/// # Errors
/// [`ForwardError`]; the client has seen nothing then.
pub(crate) async fn forward(
    sandbox: &Arc<Sandbox>,
    purpose: Purpose,
    mut request: http::Request<Outgoing>,
    upgrade: Option<Upgrade>,
    visit: Option<Visit>,
) -> Result<Answer, ForwardError> {
    let permit = Arc::clone(&sandbox.exchanges)
        .try_acquire_owned()
        .map_err(|_| ForwardError::TooMany)?;
    *request.version_mut() = Version::HTTP_11;
    if let Some(upgrade) = &upgrade {
        let lines = request.headers_mut();
        lines.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        lines.insert(header::UPGRADE, upgrade.protocol.clone());
    }
    let exchanged = while_let_in(visit.as_ref(), exchange(sandbox, purpose, request)).await?;
    // If it failed, it may be because the request's body broke off.
    if visit.as_ref().is_some_and(Visit::is_forbidden) {
        return Err(Forbidden.into());
    }
    let (connection, answer) = exchanged?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switch(sandbox, answer, upgrade, (visit, permit));
    }
    let (mut parts, incoming) = answer.into_parts();
    headers::strip(&mut parts.headers);
    parts.version = Version::HTTP_11;
    let body = if incoming.is_end_stream() {
        sandbox.pools.give_back(purpose, connection);
        Body::empty()
    } else {
        if let Some(visit) = &visit {
            visit.answered()?;
        }
        Body::guest(GuestBody::new(
            incoming,
            connection,
            purpose,
            Arc::clone(sandbox),
            (visit, permit),
        ))
    };
    Ok(Answer::from_parts(parts, body))
}

async fn exchange(
    sandbox: &Arc<Sandbox>,
    purpose: Purpose,
    mut request: http::Request<Outgoing>,
) -> Result<(Connection, http::Response<hyper::body::Incoming>), ForwardError> {
    while let Some(mut waiting) = waiting(sandbox, purpose).await {
        let again = repeatable(&request);
        match waiting.try_send_request(request).await {
            Ok(answer) => return Ok((waiting, answer)),
            Err(mut error) => match (error.take_message(), again) {
                // It was closed at this moment, and not a byte of the request had been sent: the next one.
                (Some(unsent), _) => request = unsent,
                // Sent into a connection that its server was closing.
                (None, Some(again)) if !error.error().is_parse() => {
                    request = again;
                    break;
                }
                _ => return Err(ForwardError::NoAnswer),
            },
        }
    }
    // Boxed: it is seldom needed, and makes the future that every request has several times as large.
    let mut fresh = Box::pin(connect(sandbox, purpose)).await?;
    match fresh.send_request(request).await {
        Ok(answer) => Ok((fresh, answer)),
        Err(_) => Err(ForwardError::NoAnswer),
    }
}

/// The same request once more, if asking twice is as good as asking once (RFC 9110, 9.2.2) and no body has to come again.
fn repeatable(request: &http::Request<Outgoing>) -> Option<http::Request<Outgoing>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut again = http::Request::new(Either::Right(Full::default()));
    request.method().clone_into(again.method_mut());
    request.uri().clone_into(again.uri_mut());
    request.headers().clone_into(again.headers_mut());
    Some(again)
}

/// Both sides change to the other protocol: from here bytes pass through unread.
fn switch(
    sandbox: &Arc<Sandbox>,
    answer: http::Response<hyper::body::Incoming>,
    upgrade: Option<Upgrade>,
    (visit, permit): (Option<Visit>, OwnedSemaphorePermit),
) -> Result<Answer, ForwardError> {
    // A switch nobody asked for.
    let upgrade = upgrade.ok_or(ForwardError::NoAnswer)?;
    let (mut parts, protocol) = {
        let protocol = answer.headers().get(header::UPGRADE).cloned();
        let mut answer = answer;
        let inside = hyper::upgrade::on(&mut answer);
        let streams = sandbox.streams();
        if sandbox.sleeps() {
            return Err(ForwardError::NoAnswer);
        }
        if let Some(visit) = &visit {
            visit.answered()?;
        }
        tokio::spawn(async move {
            let _permit = permit;
            let pass = async {
                let (client, inside) = tokio::try_join!(upgrade.client, inside).ok()?;
                let (mut client, mut inside) = (TokioIo::new(client), TokioIo::new(inside));
                tokio::io::copy_bidirectional(&mut client, &mut inside)
                    .await
                    .ok()
            };
            tokio::select! {
                _ = while_let_in(visit.as_ref(), pass) => {}
                () = streams.cancelled() => {}
            }
        });
        (answer.into_parts().0, protocol)
    };
    headers::strip(&mut parts.headers);
    parts.version = Version::HTTP_11;
    parts
        .headers
        .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    parts
        .headers
        .insert(header::UPGRADE, protocol.unwrap_or(upgrade.protocol));
    Ok(Answer::from_parts(parts, Body::empty()))
}
