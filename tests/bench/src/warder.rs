//! The server under test, asked as the SDKs ask it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{Connection, bad};

/// Where the server is, and the key.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    api: SocketAddr,
    edge: SocketAddr,
    key: String,
}

/// A sandbox and its agent's token.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    token: String,
}

/// When things happened to a command, counted from its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    /// The first output.
    pub(crate) output: Duration,
    /// The event that ended it.
    pub(crate) end: Duration,
}

/// A program and its arguments.
pub(crate) type Program<'a> = (&'a str, &'a [&'a str]);

/// What a command is in E2B's SDKs.
pub(crate) const SHELL_ECHO: Program<'_> = ("/bin/bash", &["-l", "-c", "echo hello"]);
/// The same output by what the peers are measured with.
pub(crate) const ECHO: Program<'_> = ("/bin/echo", &["hello"]);

impl Server {
    pub(crate) fn from_environment() -> Result<Self, String> {
        let get = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
        Ok(Self {
            api: address(&get("E2B_API_URL")?)?,
            edge: address(&get("E2B_SANDBOX_URL")?)?,
            key: get("E2B_API_KEY")?,
        })
    }

    /// A connection for the control API.
    pub(crate) fn connect(&self) -> io::Result<Connection> {
        Connection::open(self.api)
    }

    /// A connection that leads into sandboxes.
    pub(crate) fn connect_edge(&self) -> io::Result<Connection> {
        Connection::open(self.edge)
    }

    pub(crate) fn create(&self, api: &mut Connection) -> io::Result<Sandbox> {
        self.create_from(api, "base")
    }

    pub(crate) fn create_from(&self, api: &mut Connection, template: &str) -> io::Result<Sandbox> {
        let body = json!({ "templateID": template, "timeout": 900 });
        let made = self.ask(api, "POST", "/v2/sandboxes", &body, 201)?;
        let text = |field: &str| made[field].as_str().map(str::to_owned);
        match (text("sandboxID"), text("envdAccessToken")) {
            (Some(id), Some(token)) => Ok(Sandbox { id, token }),
            _ => Err(bad(format!("create: {made}"))),
        }
    }

    /// One request to the control API, and its answer's JSON.
    pub(crate) fn ask(
        &self,
        api: &mut Connection,
        method: &str,
        path: &str,
        body: &Value,
        wanted: u16,
    ) -> io::Result<Value> {
        let body = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let headers = [
            ("X-API-KEY", self.key.as_str()),
            ("Content-Type", "application/json"),
        ];
        let head = api.send(method, path, &headers, &body)?;
        let body = api.body(head)?;
        if head.status == wanted {
            return Ok(serde_json::from_slice(&body).unwrap_or_default());
        }
        Err(bad(format!(
            "{method} {path}: {} {}",
            head.status,
            String::from_utf8_lossy(&body)
        )))
    }

    pub(crate) fn kill(&self, api: &mut Connection, sandbox: &Sandbox) -> io::Result<()> {
        let path = format!("/sandboxes/{}", sandbox.id);
        self.ask(api, "DELETE", &path, &Value::Null, 204).map(drop)
    }
}

impl Sandbox {
    /// Headers of a request to one of its ports.
    pub(crate) fn headers<'a>(&'a self, port: &'a str) -> [(&'a str, &'a str); 3] {
        [
            ("E2b-Sandbox-Id", &self.id),
            ("E2b-Sandbox-Port", port),
            ("X-Access-Token", &self.token),
        ]
    }

    /// Runs a program that prints `hello`, and checks that it did and ended well.
    pub(crate) fn run(&self, edge: &mut Connection, program: Program<'_>) -> io::Result<Ran> {
        let start = Instant::now();
        let message = json!({ "process": { "cmd": program.0, "args": program.1 }, "stdin": false })
            .to_string();
        let body = enveloped(&message)?;
        let [id, port, token] = self.headers("49983");
        let headers = [
            id,
            port,
            token,
            ("Content-Type", "application/connect+json"),
            ("Connect-Protocol-Version", "1"),
            ("Connect-Timeout-Ms", "60000"),
            ("Keepalive-Ping-Interval", "50"),
        ];
        let mut head = edge.send("POST", "/process.Process/Start", &headers, &body)?;
        let (mut received, mut output, mut end) = (Vec::new(), None, None);
        loop {
            let more = edge.piece(&mut head, &mut received)?;
            let now = start.elapsed();
            while let Some((flags, message)) = envelope(&mut received)? {
                let event = &message["event"];
                if event["data"]["stdout"] == "aGVsbG8K" {
                    output = output.or(Some(now));
                } else if event["end"]["status"] == "exit status 0" {
                    end = end.or(Some(now));
                } else if event.get("start").is_none()
                    && (flags != 2 || message.get("error").is_some())
                {
                    return Err(bad(format!("{program:?}: {message}")));
                }
            }
            if !more {
                break;
            }
        }
        match (head.status, output, end) {
            (200, Some(output), Some(end)) => Ok(Ran { output, end }),
            _ => Err(bad(format!(
                "{program:?}: status {}, output {output:?}, end {end:?}",
                head.status
            ))),
        }
    }

    /// Whether its agent answers.
    pub(crate) fn healthy(&self, edge: &mut Connection) -> io::Result<bool> {
        let head = edge.send("GET", "/health", &self.headers("49983"), b"")?;
        edge.body(head)?;
        Ok(head.status < 300)
    }

    /// Reads a file through its agent.
    pub(crate) fn download(&self, edge: &mut Connection, path: &str) -> io::Result<String> {
        let [id, port, token] = self.headers("49983");
        let path = format!("/files?path={path}");
        let head = edge.send("GET", &path, &[id, port, token], b"")?;
        let body = String::from_utf8_lossy(&edge.body(head)?).into_owned();
        if head.status == 200 {
            return Ok(body);
        }
        Err(bad(format!("download: {} {body}", head.status)))
    }

    /// Writes a file through its agent.
    pub(crate) fn upload(&self, edge: &mut Connection, path: &str, data: &[u8]) -> io::Result<()> {
        let [id, port, token] = self.headers("49983");
        let headers = [
            id,
            port,
            token,
            ("Content-Type", "application/octet-stream"),
        ];
        let head = edge.send("POST", &format!("/files?path={path}"), &headers, data)?;
        let body = edge.body(head)?;
        if head.status == 200 {
            return Ok(());
        }
        Err(bad(format!(
            "upload: {} {}",
            head.status,
            String::from_utf8_lossy(&body)
        )))
    }
}

/// A message as it stands in a Connect stream.
pub(crate) fn enveloped(message: &str) -> io::Result<Vec<u8>> {
    let length = u32::try_from(message.len()).map_err(|e| bad(e.to_string()))?;
    Ok([&[0], length.to_be_bytes().as_slice(), message.as_bytes()].concat())
}

/// Takes the first message of a Connect stream off `received`, if it is whole.
pub(crate) fn envelope(received: &mut Vec<u8>) -> io::Result<Option<(u8, Value)>> {
    let Some((head, rest)) = received.split_at_checked(5) else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let Some(data) = rest.get(..length) else {
        return Ok(None);
    };
    let message = (
        head[0],
        serde_json::from_slice(data).map_err(|e| bad(e.to_string()))?,
    );
    received.drain(..5 + length);
    Ok(Some(message))
}

fn address(url: &str) -> Result<SocketAddr, String> {
    let host = url
        .strip_prefix("http://")
        .ok_or_else(|| format!("{url}: only http:// is measured"))?;
    let host = host.trim_end_matches('/');
    let mut found = host.to_socket_addrs().map_err(|e| format!("{url}: {e}"))?;
    found.next().ok_or_else(|| format!("{url}: no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_come_off_one_by_one() {
        let mut received = b"\0\0\0\0\x02{}\x02\0\0\0\x09{\"a\":[1]}\0\0\0\0\x05{".to_vec();
        assert_eq!(envelope(&mut received).ok().flatten(), Some((0, json!({}))));
        assert_eq!(
            envelope(&mut received).ok().flatten(),
            Some((2, json!({ "a": [1] })))
        );
        assert!(matches!(envelope(&mut received), Ok(None)));
        assert_eq!(received.len(), 6);
    }

    #[test]
    fn urls_lead_to_addresses() {
        assert_eq!(
            address("http://127.0.0.1:3000/"),
            Ok(SocketAddr::from(([127, 0, 0, 1], 3000)))
        );
        assert!(address("https://127.0.0.1:3000").is_err());
    }
}
