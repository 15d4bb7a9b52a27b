//! HTTP/1.1 to gatewayd, over its Unix socket or TCP. One connection serves one request after another.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use crate::error::Error;
use crate::place::Place;

/// A request's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Most bytes of an answer that is kept whole.
const MOST: usize = 64 * 1024 * 1024;

/// A body that is there already.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Where gatewayd is reached, and as whom.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// As the operator.
    Admin { socket: PathBuf, state_dir: PathBuf },
    /// As a client with a key.
    Client { address: SocketAddr, key: String },
}

impl Target {
    pub(crate) fn admin(place: &Place) -> Self {
        Self::Admin {
            socket: place.admin_socket(),
            state_dir: place.state_dir().to_owned(),
        }
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<Connection, Error> {
        match self {
            Self::Admin { socket, state_dir } => {
                let stream = UnixStream::connect(socket)
                    .await
                    .map_err(|e| match e.kind() {
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                            Error::NoServer {
                                state_dir: state_dir.clone(),
                            }
                        }
                        io::ErrorKind::PermissionDenied => Error::NotOperator {
                            path: socket.clone(),
                        },
                        _ => Error::io(format!("connect to {}", socket.display()), e),
                    })?;
                start(TokioIo::new(stream), None).await
            }
            Self::Client { address, key } => {
                let stream = TcpStream::connect(address).await;
                let stream = stream.map_err(|e| Error::io(format!("connect to {address}"), e))?;
                stream
                    .set_nodelay(true)
                    .map_err(|e| Error::io("set TCP_NODELAY", e))?;
                start(TokioIo::new(stream), Some(key.clone())).await
            }
        }
    }
}

async fn start<T>(io: TokioIo<T>, key: Option<String>) -> Result<Connection, Error>
where
    TokioIo<T>: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(io).await?;
    tokio::spawn(async move {
        // Its errors also come out of the request that is under way.
        let _ = connection.await;
    });
    Ok(Connection { sender, key })
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    key: Option<String>,
}

impl Connection {
    /// Sends a request; the answer's body is still to be read.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(body)
            .map_err(|e| Error::Usage(format!("not fit for a request: {e}")))?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }
}

/// Reads a whole body.
pub(crate) async fn whole(response: Response<Incoming>) -> Result<Bytes, Error> {
    let body = http_body_util::Limited::new(response.into_body(), MOST);
    let collected = body
        .collect()
        .await
        .map_err(|e| Error::Answer(e.to_string()))?;
    Ok(collected.to_bytes())
}

/// The answer if it is a good one, else its error.
pub(crate) async fn good(response: Response<Incoming>) -> Result<Response<Incoming>, Error> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let bytes = whole(response).await?;
    let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let message = json["message"]
        .as_str()
        .map_or_else(|| status.to_string(), crate::output::clean);
    Err(Error::Refused {
        status: status.as_u16(),
        message,
    })
}

/// Percent-encodes what may not stand as it is in a query value or path segment.
pub(crate) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encode("/a b&c=é"), "%2Fa%20b%26c%3D%C3%A9");
    }
}
