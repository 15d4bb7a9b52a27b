//! A client that sends exactly what it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Longest wait for anything.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Read and write.
pub(crate) trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// One connection.
pub(crate) struct Client {
    stream: BufReader<Box<dyn Wire>>,
}

/// An answer with its whole body.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.text()))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Panics unless it is E2B's error body with this status.
    pub(crate) fn is_error(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.text());
        let json = self.json();
        assert_eq!(json["code"], status, "{json}");
        assert!(
            json["message"].as_str().is_some_and(|m| !m.is_empty()),
            "{json}"
        );
        self
    }
}

fn is_cut(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

impl Client {
    /// Over TCP.
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, SOON).expect("connects");
        stream.set_read_timeout(Some(SOON)).expect("set");
        stream.set_nodelay(true).expect("set");
        Self {
            stream: BufReader::new(Box::new(stream)),
        }
    }

    /// Over a Unix socket.
    pub(crate) fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("connects");
        stream.set_read_timeout(Some(SOON)).expect("set");
        Self {
            stream: BufReader::new(Box::new(stream)),
        }
    }

    /// Over whatever there is.
    pub(crate) fn over(wire: Box<dyn Wire>) -> Self {
        Self {
            stream: BufReader::new(wire),
        }
    }

    /// Sends bytes.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("open");
    }

    /// Sends bytes as far as the other end takes them: one that answers early, or is cut off, reads no more.
    pub(crate) fn raw_until_cut(&mut self, bytes: &[u8]) {
        let sent = self.stream.get_mut().write_all(bytes);
        if let Err(error) = sent {
            assert!(is_cut(&error), "{error}");
        }
    }

    /// The next status; none when the other end went without one.
    pub(crate) fn status_until_cut(&mut self) -> Option<u16> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => {
                let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
                Some(status.unwrap_or_else(|| panic!("no status: {line:?}")))
            }
            Err(error) => {
                assert!(is_cut(&error), "{error}");
                None
            }
        }
    }

    /// Reads so many bytes.
    pub(crate) fn exactly(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        self.stream.read_exact(&mut bytes).expect("comes");
        bytes
    }

    /// Whether the other end has closed it (or closes it soon).
    pub(crate) fn closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }

    /// Whether the other end has ended it, with whatever was on its way (or does so soon).
    pub(crate) fn cut(&mut self) -> bool {
        let mut bytes = [0; 65536];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("host")) {
            text.push_str("Host: localhost:3000\r\n");
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let framed = headers
            .iter()
            .any(|(n, _)| n.eq_ignore_ascii_case("transfer-encoding"));
        if !framed && (!body.is_empty() || matches!(method, "POST" | "PUT")) {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        self.raw(text.as_bytes());
        self.raw(body);
    }

    /// The next head: status and headers.
    pub(crate) fn head(&mut self) -> (u16, Vec<(String, String)>) {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("an answer");
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| panic!("no status: {line:?}"));
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("an answer");
            let line = line.trim_end();
            if line.is_empty() {
                return (status, headers);
            }
            let (name, value) = line.split_once(':').expect("a header");
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// One chunk of a chunked body; empty at its end.
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a chunk");
        let length = usize::from_str_radix(line.trim(), 16)
            .unwrap_or_else(|_| panic!("no length: {line:?}"));
        let data = self.exactly(length);
        assert_eq!(self.exactly(2), b"\r\n");
        data
    }

    /// A whole answer to a request that was not HEAD.
    pub(crate) fn answer(&mut self) -> Answer {
        let (status, headers) = self.head();
        let find = |name: &str| {
            headers
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.clone())
        };
        let mut body = Vec::new();
        if find("transfer-encoding").as_deref() == Some("chunked") {
            loop {
                let chunk = self.chunk();
                if chunk.is_empty() {
                    break;
                }
                body.extend(chunk);
            }
        } else if let Some(length) = find("content-length") {
            body = self.exactly(length.parse().expect("a number"));
        } else if status != 204 && status != 304 && status != 101 {
            self.stream.read_to_end(&mut body).expect("until the end");
        }
        Answer {
            status,
            headers,
            body,
        }
    }

    /// Sends and waits.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.send(method, path, headers, body);
        self.answer()
    }
}
