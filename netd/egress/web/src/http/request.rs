//! The head of one request.

use std::ops::Range;

use warder_wire::HostName;

use super::{Framing, MAX_FIELDS, framing, lines_are_plain};
use crate::Odd;
use crate::host::{self, Host};

/// What a request's head says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Head {
    /// Whom it is for; `None` if it names an address, or nobody.
    pub name: Option<HostName>,
    /// What follows it.
    pub body: Body,
    /// It asks for another protocol on this connection.
    pub upgrade: bool,
    /// Its answer has no body, whatever that says.
    pub head_only: bool,
    /// Lines of it that are not sent on: they ask for HTTP/2, whose requests could not be told apart any more. A client
    /// that asks so speaks HTTP/1 as well.
    pub withheld: Vec<Range<usize>>,
}

/// What follows a request's head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

impl Head {
    /// Reads a head that ends in its empty line.
    ///
    /// # Errors
    /// For whatever is not plain, or could mean something else to its receiver.
    pub fn parse(bytes: &[u8]) -> Result<Self, Odd> {
        if bytes.starts_with(b"PRI * HTTP/2.0\r\n") {
            return Err(Odd::Http2);
        }
        if !lines_are_plain(bytes) {
            return Err(Odd::Http("a line ends without CR"));
        }
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(end)) if end == bytes.len() => {}
            Ok(_) => return Err(Odd::Http("its head is cut")),
            Err(httparse::Error::HeaderName) => return Err(Odd::Http("a field's name")),
            Err(httparse::Error::HeaderValue) => return Err(Odd::Http("a field's value")),
            Err(httparse::Error::TooManyHeaders) => return Err(Odd::Http("too many fields")),
            Err(_) => return Err(Odd::Http("its first line")),
        }
        let method = request.method.unwrap_or_default();
        let old = request.version == Some(0);
        let fields: &[_] = request.headers;
        let name = whom(method, request.path.unwrap_or_default(), fields)?;
        let body = match framing(fields) {
            Some(Framing::Silent) => Body::Length(0),
            Some(Framing::Length(length)) => Body::Length(length),
            // HTTP/1.0 knows no chunks.
            Some(Framing::Chunked) if !old => Body::Chunked,
            _ => return Err(Odd::Http("where its body ends")),
        };
        let http2 = |field: &httparse::Header<'_>| {
            let named = |name: &str| field.name.eq_ignore_ascii_case(name);
            named("http2-settings") || (named("upgrade") && mentions_http(field.value))
        };
        let upgrades = |field: &&httparse::Header<'_>| {
            field.name.eq_ignore_ascii_case("upgrade") && !http2(field)
        };
        Ok(Self {
            name,
            body,
            upgrade: fields.iter().any(|field| upgrades(&field)),
            head_only: method == "HEAD",
            withheld: fields
                .iter()
                .filter(|f| http2(f))
                .map(|f| line_of(bytes, f))
                .collect(),
        })
    }

    /// The head as it goes on.
    pub fn sent_on<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let begins = std::iter::once(0).chain(self.withheld.iter().map(|line| line.end));
        let ends = self.withheld.iter().map(|line| line.start);
        begins
            .zip(ends.chain(std::iter::once(bytes.len())))
            .filter_map(|(from, to)| bytes.get(from..to))
    }
}

/// Whether a list of protocols has another HTTP: `h2c`, drafts of it, `HTTP/2.0`.
fn mentions_http(list: &[u8]) -> bool {
    let begins = |word: &[u8], with: &[u8]| {
        word.get(..with.len())
            .is_some_and(|front| front.eq_ignore_ascii_case(with))
    };
    list.split(|byte| matches!(byte, b',' | b' ' | b'\t'))
        .any(|word| begins(word, b"h2") || begins(word, b"http"))
}

/// The line that a field of this head stands in. Field names lie in `head`.
fn line_of(head: &[u8], field: &httparse::Header<'_>) -> Range<usize> {
    let from = field.name.as_ptr().addr() - head.as_ptr().addr();
    let length = head[from..].iter().position(|byte| *byte == b'\n');
    from..length.map_or(head.len(), |n| from + n + 1)
}

/// Whom a request is for: its Host field, and the target where that says so too (RFC 9112, section 3.2).
fn whom(
    method: &str,
    target: &str,
    fields: &[httparse::Header<'_>],
) -> Result<Option<HostName>, Odd> {
    let mut hosts = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("host"));
    let field = match (hosts.next(), hosts.next()) {
        (Some(field), None) => {
            host::with_port(field.value).ok_or(Odd::Http("its Host is no host name"))?
        }
        (None, _) => Host::NoName,
        (Some(_), Some(_)) => return Err(Odd::Http("it has more than one Host")),
    };
    if method == "CONNECT" {
        return Err(Odd::Http("CONNECT is for proxies"));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(field.into_name());
    }
    let scheme = target.get(..7).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("http://") {
        return Err(Odd::Http("its target"));
    }
    let authority = target[7..].split(['/', '?', '#']).next();
    let authority = host::with_port(authority.unwrap_or_default().as_bytes())
        .ok_or(Odd::Http("its target is for no host name"))?;
    // Receivers are to ignore the field then, and not all do.
    if authority != field {
        return Err(Odd::Http("its target and its Host differ"));
    }
    Ok(field.into_name())
}
