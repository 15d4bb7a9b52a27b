//! The requests of a connection, one after the other.

use super::chunks::Chunks;
use super::{Body, Head, head_end};
use crate::Odd;
use crate::sniff::MAX_HEAD;

/// Where in its requests a connection is.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    at: At,
}

#[derive(Clone, Debug)]
enum At {
    /// In a head, the first bytes of which have no end.
    Head { scanned: usize },
    /// In a body of known length, so many bytes before its end.
    Length(u64),
    /// In chunks.
    Chunks(Chunks),
}

impl Default for At {
    fn default() -> Self {
        Self::Head { scanned: 0 }
    }
}

/// What the bytes that wait begin with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing that is whole: they wait until there are more.
    More,
    /// An empty line before a request, so many bytes; not sent on.
    Empty(usize),
    /// A head of so many bytes.
    Head(Box<Head>, usize),
    /// So many bytes, at least one, of a body.
    Body(usize),
}

impl Requests {
    /// Looks at the bytes that wait, all that have come and were not counted by a step before.
    ///
    /// # Errors
    /// When what follows cannot be read with one meaning, or a head is longer than [`MAX_HEAD`].
    pub fn step(&mut self, waiting: &[u8]) -> Result<Step, Odd> {
        if waiting.is_empty() {
            return Ok(Step::More);
        }
        match &mut self.at {
            At::Head { scanned } => {
                // RFC 9112, section 2.2: at least one such line is to be ignored.
                match waiting {
                    [b'\r', b'\n', ..] => {
                        *scanned = 0;
                        return Ok(Step::Empty(2));
                    }
                    [b'\r'] => return Ok(Step::More),
                    [first, ..] if !first.is_ascii_alphabetic() => {
                        return Err(Odd::Http("its first byte"));
                    }
                    _ => {}
                }
                let end = head_end(waiting, scanned);
                if end.unwrap_or(waiting.len()) > MAX_HEAD {
                    return Err(Odd::TooLong);
                }
                let Some(end) = end else {
                    return Ok(Step::More);
                };
                let head = Head::parse(&waiting[..end])?;
                self.at = match head.body {
                    Body::Length(0) => At::default(),
                    Body::Length(length) => At::Length(length),
                    Body::Chunked => At::Chunks(Chunks::new()),
                };
                Ok(Step::Head(Box::new(head), end))
            }
            At::Length(left) => {
                let now = usize::try_from(*left).map_or(waiting.len(), |n| n.min(waiting.len()));
                *left -= now as u64;
                if *left == 0 {
                    self.at = At::default();
                }
                Ok(Step::Body(now))
            }
            At::Chunks(chunks) => {
                let (now, ended) = chunks.take(waiting)?;
                if ended {
                    self.at = At::default();
                }
                Ok(Step::Body(now))
            }
        }
    }

    /// Whether the body of a request is not whole.
    #[must_use]
    pub fn within_body(&self) -> bool {
        !matches!(self.at, At::Head { .. })
    }
}
