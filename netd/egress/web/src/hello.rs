//! The beginning of TLS: a ClientHello (RFC 8446, 4.1.2; RFC 5246, 7.4.1.2) and the server's name in it (RFC 6066, 3).
//!
//! Not rustls's `Acceptor`: that does not tell whether the true name is hidden in an encrypted ClientHello (RFC 9849).
//! A client without one to hide sends an arbitrary one in its place (GREASE, section 6.2), made so that nobody on the way
//! can tell; so both count as hidden.

use warder_wire::HostName;

use crate::Odd;
use crate::host::{self, Host};

/// What a ClientHello says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// Whom it is for; `None` if it does not say, or names an address.
    pub name: Option<HostName>,
    /// Another one, which only its server can read, may be in it.
    pub hidden: bool,
}

/// Reads a ClientHello from its records, which may cut it anywhere.
#[derive(Debug, Default)]
pub struct Reader {
    /// The beginning of a record, while it is not whole.
    head: Vec<u8>,
    /// Bytes that the record still has.
    left: usize,
    /// What the records so far carried.
    message: Vec<u8>,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEAD: usize = 5;
const MESSAGE_HEAD: usize = 4;
/// RFC 8446, section 5.1.
const MAX_FRAGMENT: usize = 1 << 14;

const SERVER_NAME: u16 = 0;
/// `encrypted_client_hello`, the drafts of it that were in use, and what came before it (ESNI).
const HIDDEN: [u16; 6] = [0xfe0d, 0xfe0c, 0xfe0a, 0xfe09, 0xfe08, 0xffce];

impl Reader {
    /// Takes the bytes that came. `Some` when the ClientHello is whole; what follows its last record is ignored.
    ///
    /// # Errors
    /// As soon as it is clear that this is no ClientHello, or a bad one.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Hello>, Odd> {
        let mut rest = bytes;
        while let Some((first, behind)) = rest.split_first() {
            if self.left == 0 {
                self.head.push(*first);
                rest = behind;
                if let Some(length) = fragment(&self.head)? {
                    self.left = length;
                    self.head.clear();
                }
                continue;
            }
            let (now, behind) = rest.split_at(self.left.min(rest.len()));
            self.message.extend_from_slice(now);
            self.left -= now.len();
            rest = behind;
            match whole(&self.message)? {
                Some(_) if self.left > 0 => return Err(BEHIND),
                Some(hello) => return Ok(Some(hello)),
                None => {}
            }
        }
        Ok(None)
    }
}

/// Nothing may follow it before the server has answered.
const BEHIND: Odd = Odd::Hello("another message in its record");

/// Length of the record that begins here, once that is known. What cannot be one is seen at its first bytes.
fn fragment(record: &[u8]) -> Result<Option<usize>, Odd> {
    if record.first().is_some_and(|kind| *kind != HANDSHAKE)
        || record.get(1).is_some_and(|major| *major != 3)
    {
        return Err(Odd::NotTls);
    }
    let Some(&[high, low]) = record.get(3..RECORD_HEAD) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    match length {
        1..=MAX_FRAGMENT => Ok(Some(length)),
        _ => Err(Odd::Hello("the length of a record")),
    }
}

/// The message, if it is all there.
fn whole(message: &[u8]) -> Result<Option<Hello>, Odd> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(Odd::NotTls);
    }
    let Some(&[a, b, c]) = message.get(1..MESSAGE_HEAD) else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if length > crate::sniff::MAX_HEAD {
        return Err(Odd::TooLong);
    }
    let body = &message[MESSAGE_HEAD..];
    match body.len().cmp(&length) {
        std::cmp::Ordering::Less => Ok(None),
        std::cmp::Ordering::Equal => parse(body).map(Some),
        std::cmp::Ordering::Greater => Err(BEHIND),
    }
}

/// Takes apart what has lengths in it.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Odd> {
        let (front, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(Odd::Hello("a length"))?;
        self.0 = rest;
        Ok(front)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Odd> {
        let bytes = self.take(bytes)?;
        Ok(bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)))
    }

    /// What follows its own length of so many bytes.
    fn vector(&mut self, bytes: usize) -> Result<&'a [u8], Odd> {
        let length = self.number(bytes)?;
        self.take(length)
    }
}

fn parse(body: &[u8]) -> Result<Hello, Odd> {
    let mut body = Cursor(body);
    let version = body.take(2)?;
    let _random = body.take(32)?;
    let session = body.vector(1)?;
    let suites = body.vector(2)?;
    let compression = body.vector(1)?;
    let plain = version[0] == 3
        && session.len() <= 32
        && !suites.is_empty()
        && suites.len().is_multiple_of(2)
        && !compression.is_empty();
    if !plain {
        return Err(Odd::Hello("its fixed part"));
    }
    let mut hello = Hello {
        name: None,
        hidden: false,
    };
    if body.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Cursor(body.vector(2)?);
    if !body.0.is_empty() {
        return Err(Odd::Hello("more behind its extensions"));
    }
    let mut seen = Vec::new();
    while !extensions.0.is_empty() {
        let kind = u16::try_from(extensions.number(2)?).unwrap_or_default();
        let data = extensions.vector(2)?;
        seen.push(kind);
        hello.hidden |= HIDDEN.contains(&kind);
        if kind == SERVER_NAME {
            hello.name = server_name(data)?.into_name();
        }
    }
    // Of two, one server would take the first and another the last.
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() != count {
        return Err(Odd::Hello("an extension twice"));
    }
    Ok(hello)
}

/// Exactly one, of the only kind there is.
fn server_name(data: &[u8]) -> Result<Host, Odd> {
    let mut data = Cursor(data);
    let mut list = Cursor(data.vector(2)?);
    let kind = list.number(1)?;
    let name = list.vector(2)?;
    if kind != 0 || !list.0.is_empty() || !data.0.is_empty() {
        return Err(Odd::Hello("its list of server names"));
    }
    host::bare(name).ok_or(Odd::Hello("its server name"))
}

#[cfg(test)]
mod tests;
