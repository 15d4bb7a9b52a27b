//! A small HTTP/1.1 client on one kept connection: the load generator must cost less than what it measures.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Nothing measured may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    request: Vec<u8>,
    host: &'static str,
}

/// The head of an answer; its body is read next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    length: Length,
}

#[derive(Clone, Copy, Debug)]
enum Length {
    Known(usize),
    Chunked,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reader = BufReader::with_capacity(64 * 1024, stream);
        Ok(Self {
            reader,
            request: Vec::with_capacity(1024),
            host: "localhost",
        })
    }

    /// Asks for another host.
    pub(crate) fn host(self, host: &'static str) -> Self {
        Self { host, ..self }
    }

    /// Sends a request in one write and reads the head of the answer.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Head> {
        self.request.clear();
        write!(
            self.request,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n",
            self.host
        )?;
        for (name, value) in headers {
            write!(self.request, "{name}: {value}\r\n")?;
        }
        write!(self.request, "Content-Length: {}\r\n\r\n", body.len())?;
        self.request.extend_from_slice(body);
        self.reader.get_mut().write_all(&self.request)?;
        self.head()
    }

    /// Sends the head of a request whose body of `length` bytes is written to what comes back.
    pub(crate) fn begin(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        length: u64,
    ) -> io::Result<&mut TcpStream> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        let stream = self.reader.get_mut();
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {length}\r\n\r\n"));
        stream.write_all(text.as_bytes())?;
        Ok(stream)
    }

    /// Reads the answer to it, which must have this status.
    pub(crate) fn answer(&mut self, status: u16) -> io::Result<()> {
        let head = self.head()?;
        let body = self.body(head)?;
        if head.status == status {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&body);
        Err(bad(format!("status {}: {text}", head.status)))
    }

    fn head(&mut self) -> io::Result<Head> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.ok_or_else(|| bad(format!("no status line: {line:?}")))?;
        let mut length = Length::Known(0);
        loop {
            line.clear();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(bad("the head was cut".to_owned()));
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                return Ok(Head { status, length });
            };
            if name.eq_ignore_ascii_case("content-length") {
                let value = value.trim().parse();
                length = Length::Known(value.map_err(|_| bad(format!("length {line:?}")))?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                length = Length::Chunked;
            }
        }
    }

    /// The next piece of the body, as it came: nothing at its end.
    pub(crate) fn piece(&mut self, head: &mut Head, into: &mut Vec<u8>) -> io::Result<bool> {
        let size = match &mut head.length {
            Length::Known(0) => return Ok(false),
            Length::Known(left) => {
                let size = (*left).min(64 * 1024);
                *left -= size;
                size
            }
            Length::Chunked => {
                let mut line = String::new();
                self.reader.read_line(&mut line)?;
                let size = usize::from_str_radix(line.trim_end(), 16);
                size.map_err(|_| bad(format!("chunk {line:?}")))?
            }
        };
        let before = into.len();
        into.resize(before + size, 0);
        self.reader.read_exact(&mut into[before..])?;
        if matches!(head.length, Length::Chunked) {
            self.reader.read_exact(&mut [0; 2])?;
            if size == 0 {
                head.length = Length::Known(0);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The whole body.
    pub(crate) fn body(&mut self, mut head: Head) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while self.piece(&mut head, &mut body)? {}
        Ok(body)
    }
}

/// An error about what was received.
pub(crate) fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
