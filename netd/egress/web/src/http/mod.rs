//! HTTP/1 (RFC 9112) as strictly as it takes for a server to find the same requests in a connection as were judged.
//!
//! Requests are read with one meaning or refused: no line that ends in LF alone, no folded field, no two lengths, no second
//! Host. Answers are followed only to know when a request's upgrade was granted, and when all were answered.

mod chunks;
mod request;
mod requests;
mod responses;

pub use request::{Body, Head};
pub use requests::{Requests, Step};
pub use responses::{Asked, Responses, Upgrade};

/// Fields of a head at most.
const MAX_FIELDS: usize = 128;

/// Where the head that begins at the beginning ends, its empty line included. The first `scanned` bytes were looked at
/// before; afterwards it says how many need not be again.
fn head_end(bytes: &[u8], scanned: &mut usize) -> Option<usize> {
    // Three bytes back: the end may straddle two reads.
    let from = scanned.saturating_sub(3);
    let found = bytes[from..].windows(4).position(|w| w == b"\r\n\r\n");
    *scanned = bytes.len();
    found.map(|at| from + at + 4)
}

/// Whether every LF has its CR in front.
fn lines_are_plain(head: &[u8]) -> bool {
    let mut before = 0;
    head.iter().all(|byte| {
        let plain = *byte != b'\n' || before == b'\r';
        before = *byte;
        plain
    })
}

/// A Content-Length: digits alone, not too many.
fn length(value: &[u8]) -> Option<u64> {
    let plain = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| plain)?
        .parse()
        .ok()
}

/// How a message's head says that its body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Framing {
    /// It does not say.
    Silent,
    /// After so many bytes.
    Length(u64),
    /// With its last chunk.
    Chunked,
}

/// From all fields of a head (RFC 9112, section 6). `None` if they can be understood in two ways.
fn framing(fields: &[httparse::Header<'_>]) -> Option<Framing> {
    let mut found = Framing::Silent;
    for field in fields {
        let now = if field.name.eq_ignore_ascii_case("content-length") {
            Framing::Length(length(field.value)?)
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            // Another coding below the chunks is allowed by the letter, and understood by almost nobody.
            field
                .value
                .eq_ignore_ascii_case(b"chunked")
                .then_some(Framing::Chunked)?
        } else {
            continue;
        };
        if found != Framing::Silent {
            return None;
        }
        found = now;
    }
    Some(found)
}

#[cfg(test)]
mod smuggling;
#[cfg(test)]
mod tests;
