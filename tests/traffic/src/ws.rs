//! A WebSocket client (RFC 6455) that sends whatever it is told, right or wrong.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::{Site, answer};

/// Opcodes (RFC 6455, 5.2).
pub const CONTINUATION: u8 = 0;
/// UTF-8.
pub const TEXT: u8 = 1;
/// Bytes.
pub const BINARY: u8 = 2;
/// The end.
pub const CLOSE: u8 = 8;
/// A question whether the other side is there.
pub const PING: u8 = 9;
/// Its answer.
pub const PONG: u8 = 10;

/// The example of RFC 6455, 1.3, with the answer that belongs to it.
const KEY: (&str, &str) = ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");

/// An open connection.
#[derive(Debug)]
pub struct WebSocket {
    stream: BufReader<TcpStream>,
}

impl WebSocket {
    /// Opens one through the gateway.
    ///
    /// # Panics
    /// When the handshake is not what the RFC says.
    #[must_use]
    pub fn open(site: &Site, target: &str) -> Self {
        let lines = format!(
            "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n",
            KEY.0
        );
        let mut stream = BufReader::new(site.ask("GET", target, &lines));
        let (status, headers) = answer(&mut stream);
        assert_eq!(status, 101, "{headers:?}");
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-accept", KEY.1),
        ] {
            let found = headers.iter().find(|(n, _)| n == name);
            assert!(
                found.is_some_and(|(_, v)| v.eq_ignore_ascii_case(value)),
                "{headers:?}"
            );
        }
        Self { stream }
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// When they are not taken.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("taken");
    }

    /// Sends a frame, masked as a client's must be.
    pub fn send(&mut self, last: bool, opcode: u8, payload: &[u8]) {
        let first = opcode | if last { 0x80 } else { 0 };
        let bytes = frame(first, payload, Some([0xa1, 0x5c, 0x00, 0xff]));
        self.raw(&bytes);
    }

    /// The next frame: its first byte and its payload. None at the end of the stream.
    ///
    /// # Panics
    /// When it is cut, or masked, which a server's never is.
    pub fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        if self.stream.read(&mut head[..1]).expect("open") == 0 {
            return None;
        }
        self.stream.read_exact(&mut head[1..]).expect("whole");
        assert_eq!(head[1] & 0x80, 0, "a server's frame was masked");
        let mut long = [0; 8];
        let length = match head[1] {
            126 => {
                self.stream.read_exact(&mut long[6..]).expect("whole");
                usize::try_from(u64::from_be_bytes(long)).expect("small")
            }
            127 => {
                self.stream.read_exact(&mut long).expect("whole");
                usize::try_from(u64::from_be_bytes(long)).expect("small")
            }
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).expect("whole");
        Some((head[0], payload))
    }

    /// Expects a whole message or control frame.
    ///
    /// # Panics
    /// When another comes.
    pub fn expect(&mut self, opcode: u8, payload: &[u8]) {
        let (first, got) = self.receive().expect("a frame");
        assert_eq!(first, 0x80 | opcode, "{:?}", head(&got));
        assert!(got == payload, "{:?} for {:?}", head(&got), head(payload));
    }

    /// Expects a close frame with this code, and the end.
    ///
    /// # Panics
    /// When something else comes.
    pub fn expect_close(&mut self, code: u16) {
        self.expect(CLOSE, &code.to_be_bytes());
        assert_eq!(self.receive(), None, "something behind the end");
    }

    /// Says that nothing more will come from this side.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn end_sending(&mut self) {
        self.stream
            .get_mut()
            .shutdown(Shutdown::Write)
            .expect("open");
    }
}

fn head(bytes: &[u8]) -> (usize, String) {
    let most = bytes.len().min(40);
    (
        bytes.len(),
        String::from_utf8_lossy(&bytes[..most]).into_owned(),
    )
}

/// A frame with this first byte.
#[must_use]
pub fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(masked | u8::try_from(length).unwrap_or_default()),
        length @ 126..65_536 => {
            bytes.push(masked | 126);
            bytes.extend(u16::try_from(length).unwrap_or_default().to_be_bytes());
        }
        length => {
            bytes.push(masked | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    match mask {
        Some(key) => {
            bytes.extend(key);
            let start = bytes.len();
            bytes.extend(payload);
            for (n, byte) in bytes[start..].iter_mut().enumerate() {
                *byte ^= key[n % 4];
            }
        }
        None => bytes.extend(payload),
    }
    bytes
}
