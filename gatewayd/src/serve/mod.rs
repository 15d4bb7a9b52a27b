//! Listeners, connections, and the first decision about each request.

mod client_io;
mod first;
mod http1;
mod http2;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, header};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warder_ipc::aio::mind;

use crate::admin;
use crate::api;
use crate::auth::Caller;
use crate::carriers::Carriers;
use crate::client_link::{ClientLink, Cuttable};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{self, Answer, Request};
use crate::limits;
use crate::proxy::host::{Target, target};
use crate::proxy::{self, Sender, signed};
use crate::shares::{Share, Shares};
use crate::stats::{self, Class, Connected};
use crate::tls::{Accepted, Tls};

/// Pause after an accept that failed for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What a connection keeps others from having while it is open, and what says that it is. From the moment it was
/// accepted: whoever says nothing counts as everybody does.
type Held = (Option<OwnedSemaphorePermit>, Option<Share>, Connected);

/// Serves a TCP listener for ever, with TLS if it speaks that. A client with its share of connections gets no more.
pub(crate) async fn tcp(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    carriers: Arc<Carriers>,
    (room, shares): (Arc<Semaphore>, Arc<Shares>),
) {
    if tls.is_some() {
        // Clients wait in the listener's queue until there is something to show them.
        gateway.certificates.complete(0).await;
    }
    loop {
        let permit = admit(&room).await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(share) = shares.begin(peer.ip()) else {
                    continue;
                };
                let held = (permit, Some(share), gateway.stats.connected(false));
                let _ = stream.set_nodelay(true);
                // With user timeout: a client that stays away for ever keeps nothing for ever.
                let (silence, pause) = (limits::KEEPALIVE, limits::KEEPALIVE_PAUSE);
                let _ = mind(&stream, silence, pause, limits::IDLE_CLIENT);
                let (gateway, carriers) = (Arc::clone(&gateway), Arc::clone(&carriers));
                match &tls {
                    // What it is for is known only when most of the work is done.
                    Some(tls) => {
                        let tls = Arc::clone(tls);
                        carry(&carriers, stream, move |stream| {
                            secure(gateway, tls, stream, peer.ip(), held)
                        });
                    }
                    None => {
                        tokio::spawn(begin(gateway, carriers, stream, peer.ip(), held));
                    }
                }
            }
            Err(error) => accept_failed(&error).await,
        }
    }
}

/// Serves the administrator's listener for ever. The kernel has checked the socket file's mode already;
/// the peer's credentials are looked at once more.
pub(crate) async fn unix(
    gateway: Arc<Gateway>,
    listener: UnixListener,
    operators: Option<u32>,
    room: Arc<Semaphore>,
) {
    loop {
        let permit = admit(&room).await;
        match listener.accept().await {
            Ok((stream, _)) => match stream.peer_cred() {
                Ok(peer)
                    if peer.uid() == 0 || operators.is_some_and(|group| peer.gid() == group) =>
                {
                    let held = (permit, None, gateway.stats.connected(true));
                    tokio::spawn(http1::connection(
                        Arc::clone(&gateway),
                        stream,
                        Sender::Operator,
                        tokio::time::Instant::now() + limits::HEAD_TIMEOUT,
                        false,
                        held,
                    ));
                }
                Ok(peer) => {
                    let who = format!("uid {} gid {}", peer.uid(), peer.gid());
                    gateway.registry.audit(&who, "admin.refused", "", "");
                }
                Err(error) => accept_failed(&error).await,
            },
            Err(error) => accept_failed(&error).await,
        }
    }
}

async fn admit(room: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // Never closed; were it, nothing is admitted beyond what the descriptors allow.
    Arc::clone(room).acquire_owned().await.ok()
}

async fn accept_failed(error: &io::Error) {
    eprintln!("gatewayd: accept: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Hands a connection over to another thread.
fn carry<F>(
    carriers: &Carriers,
    stream: TcpStream,
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    // Fails only if there is no room to watch it, and closes it then.
    if let Ok(stream) = stream.into_std() {
        carriers.carry(async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                serve(stream).await;
            }
        });
    }
}

/// A connection to a listener that speaks no TLS: one that is for a sandbox is carried.
async fn begin(
    gateway: Arc<Gateway>,
    carriers: Arc<Carriers>,
    stream: TcpStream,
    peer: IpAddr,
    held: Held,
) {
    let due = tokio::time::Instant::now() + limits::HEAD_TIMEOUT;
    let first = first::is_for_a_sandbox(&stream, &gateway.domains);
    match tokio::time::timeout_at(due, first).await {
        Ok(Ok(true)) => carry(&carriers, stream, move |stream| {
            http1::from_network(gateway, stream, (peer, false), due, held)
        }),
        Ok(Ok(false)) => http1::from_network(gateway, stream, (peer, false), due, held).await,
        // It has said nothing.
        Ok(Err(_)) | Err(_) => {}
    }
}

/// A connection to a listener that speaks TLS.
async fn secure(gateway: Arc<Gateway>, tls: Arc<Tls>, stream: TcpStream, peer: IpAddr, held: Held) {
    match tls.accept(stream, peer).await {
        Ok(Accepted::Http1(stream)) => {
            let due = tokio::time::Instant::now() + limits::HEAD_TIMEOUT;
            http1::from_network(gateway, stream, (peer, true), due, held).await;
        }
        Ok(Accepted::Http2(stream)) => {
            let link = ClientLink::new(false);
            let sender = Sender::Network {
                peer,
                tls: true,
                link: link.clone(),
            };
            let stream = Cuttable::new(stream, link.clone());
            tokio::select! {
                () = http2::connection(gateway, stream, sender, held) => {}
                () = link.is_cut() => {}
            }
        }
        Ok(Accepted::Plain(stream)) => plain(stream, held).await,
        // The client's doing; the library has told it what TLS has a word for.
        Err(_) => {}
    }
}

/// Somebody speaks HTTP where HTTPS is spoken: told so, whatever is asked.
async fn plain(stream: TcpStream, _held: Held) {
    let service = service_fn(|_| async {
        let error = ApiError::bad("this port speaks HTTPS: write https:// instead of http://");
        let mut answer = http_io::error(&error);
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
        Ok::<_, Infallible>(answer)
    });
    let _ = server::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIMEOUT)
        .max_buf_size(limits::HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn serve(gateway: &Arc<Gateway>, sender: Sender, request: Request) -> Answer {
    let begun = Instant::now();
    let (class, answer) = decide(gateway, sender, request).await;
    let status = answer.status();
    gateway.stats.request(class, status, begun.elapsed());
    answer
}

/// What is not about a request to a port is boxed: the future is moved as a whole, for each request.
async fn decide(gateway: &Arc<Gateway>, sender: Sender, request: Request) -> (Class, Answer) {
    if sender.is_operator() && admin::is_one(&request) {
        return (Class::Admin, Box::pin(admin::serve(gateway, request)).await);
    }
    match target(request.uri(), request.headers(), &gateway.domains) {
        Ok(Target::Sandbox { id, port }) => {
            let class = match port {
                limits::AGENT_PORT => Class::Agent,
                _ => Class::Port,
            };
            let answer = proxy::to_sandbox(gateway, sender, &id, port, request).await;
            (class, answer)
        }
        Ok(Target::Api | Target::Unnamed) if signed::is_one(&request) => {
            let answer = Box::pin(signed::serve(gateway, sender, request)).await;
            (Class::Agent, answer)
        }
        Ok(Target::Api) => {
            let operation = stats::operation(request.method(), request.uri().path());
            let trusted = sender.is_operator().then_some(Caller::Operator);
            let answer = Box::pin(api::serve(gateway, trusted, request)).await;
            if let Some(name) = operation {
                gateway.stats.operation(name, answer.status());
            }
            (Class::Api, answer)
        }
        Ok(Target::Unnamed) => {
            let answer = proxy::malformed(
                request.headers(),
                "say which sandbox: E2b-Sandbox-Id and E2b-Sandbox-Port are missing",
            );
            (Class::None, answer)
        }
        Err(error) => (Class::None, proxy::malformed(request.headers(), error.0)),
    }
}
