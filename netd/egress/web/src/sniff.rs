//! The beginning of a connection, up to where it says whom it is for.

use std::time::Duration;

use warder_wire::HostName;

use crate::Odd;
use crate::hello::{self, Hello};
use crate::http::{Head, Requests, Step};

/// Bytes of a beginning at most: of a request's head, or of the records of a ClientHello. Browsers send 2 KiB of the
/// latter and up to 16 KiB of the former.
pub const MAX_HEAD: usize = 32 * 1024;
/// How long it may take to come.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What a connection has to speak, by its port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// Port 80.
    Http,
    /// Port 443.
    Tls,
}

impl Protocol {
    /// What is spoken on a port on which names can be judged.
    #[must_use]
    pub fn on(port: u16) -> Option<Self> {
        match port {
            80 => Some(Self::Http),
            443 => Some(Self::Tls),
            _ => None,
        }
    }
}

/// What a beginning says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// A request, whose head has so many bytes.
    Http(Box<Head>, usize),
    /// A ClientHello.
    Tls(Hello),
}

impl Seen {
    /// The name it gives.
    #[must_use]
    pub fn name(&self) -> Option<&HostName> {
        match self {
            Self::Http(head, _) => head.name.as_ref(),
            Self::Tls(hello) => hello.name.as_ref(),
        }
    }

    /// Whether it may hide another one.
    #[must_use]
    pub fn hidden(&self) -> bool {
        match self {
            Self::Http(..) => false,
            Self::Tls(hello) => hello.hidden,
        }
    }
}

/// Reads a beginning.
#[derive(Debug)]
pub struct Sniffer {
    bytes: Vec<u8>,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    Http(Requests),
    Tls(hello::Reader),
}

impl Sniffer {
    /// At the first byte.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        let reader = match protocol {
            Protocol::Http => Reader::Http(Requests::default()),
            Protocol::Tls => Reader::Tls(hello::Reader::default()),
        };
        Self {
            bytes: Vec::new(),
            reader,
        }
    }

    /// How many bytes more it takes at most.
    #[must_use]
    pub fn room(&self) -> usize {
        MAX_HEAD - self.bytes.len()
    }

    /// How many bytes it keeps.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Takes bytes, not more than there is [`Self::room`] for.
    ///
    /// # Errors
    /// As soon as it is clear that it cannot be understood.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Seen>, Odd> {
        self.bytes.extend_from_slice(bytes);
        let seen = match &mut self.reader {
            Reader::Tls(reader) => reader.push(bytes)?.map(Seen::Tls),
            Reader::Http(requests) => {
                // Taken out at once: one by one, each would move all that follow.
                let mut empty = 0;
                let step = loop {
                    match requests.step(&self.bytes[empty..]) {
                        Ok(Step::Empty(count)) => empty += count,
                        step => break step,
                    }
                };
                self.bytes.drain(..empty);
                match step? {
                    Step::Head(head, length) => Some(Seen::Http(head, length)),
                    Step::More | Step::Body(_) | Step::Empty(_) => None,
                }
            }
        };
        if seen.is_none() && self.room() == 0 {
            return Err(Odd::TooLong);
        }
        Ok(seen)
    }

    /// The bytes that came, to be sent on.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_says_what_is_spoken() {
        assert_eq!(Protocol::on(80), Some(Protocol::Http));
        assert_eq!(Protocol::on(443), Some(Protocol::Tls));
        assert_eq!(Protocol::on(8443), None);
    }

    #[test]
    fn a_request_is_seen_at_the_end_of_its_head_wherever_it_is_cut() {
        let bytes = b"\r\n\r\nPOST / HTTP/1.1\r\nHost: A.example\r\nContent-Length: 3\r\n\r\nabc";
        let end = bytes.len() - 3;
        for cut in 0..end {
            let mut sniffer = Sniffer::new(Protocol::Http);
            assert_eq!(sniffer.push(&bytes[..cut]), Ok(None), "{cut}");
            let seen = sniffer.push(&bytes[cut..]).expect("good").expect("whole");
            assert_eq!(seen.name().map(HostName::as_str), Some("a.example"));
            let Seen::Http(_, length) = seen else {
                panic!("{seen:?}")
            };
            assert_eq!(length, end - 4);
            assert_eq!(sniffer.into_bytes(), bytes[4..]);
        }
    }

    #[test]
    fn what_does_not_end_is_too_long() {
        let ends = |protocol, bytes: &[u8]| {
            let mut sniffer = Sniffer::new(protocol);
            let mut fed = 0;
            loop {
                let now = sniffer.room().min(bytes.len());
                match sniffer.push(&bytes[..now]) {
                    Ok(None) => fed += now,
                    other => return (other, fed),
                }
            }
        };
        let mut sniffer = Sniffer::new(Protocol::Http);
        assert_eq!(sniffer.push(b"GET / HTTP/1.1\r\nX: "), Ok(None));
        while sniffer.room() > 1 {
            assert_eq!(sniffer.push(b"x"), Ok(None));
        }
        assert_eq!(sniffer.push(b"x"), Err(Odd::TooLong));
        // Empty lines, for ever: they are not kept, and so bounded by time alone.
        let mut sniffer = Sniffer::new(Protocol::Http);
        for _ in 0..MAX_HEAD {
            assert_eq!(sniffer.push(b"\r\n"), Ok(None));
        }
        let all = b"\r\n".repeat(MAX_HEAD / 2);
        assert_eq!((sniffer.push(&all), sniffer.held()), (Ok(None), 0));
        // Records of one byte each, of a ClientHello that would not end soon.
        let mut sniffer = Sniffer::new(Protocol::Tls);
        let _ = sniffer.push(&[22, 3, 1, 0, 1, 1, 22, 3, 1, 0, 3, 0, 0x7f, 0xff]);
        let record = [22, 3, 1, 0, 1, 0];
        let (found, _) = {
            let mut found = Ok(None);
            while found == Ok(None) {
                let now = sniffer.room().min(record.len());
                found = sniffer.push(&record[..now]);
            }
            (found, ())
        };
        assert_eq!(found, Err(Odd::TooLong));
        assert_eq!(ends(Protocol::Tls, b"G").0, Err(Odd::NotTls));
        assert_eq!(
            ends(Protocol::Http, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").0,
            Err(Odd::Http2)
        );
        assert_eq!(
            ends(Protocol::Http, &[22, 3, 1]).0,
            Err(Odd::Http("its first byte"))
        );
        assert_eq!(ends(Protocol::Http, b"GET\0").0, Err(Odd::TooLong));
    }
}
