//! The answers on a connection, as far as they can be followed.
//!
//! Nothing is withheld or changed by what is found here. Where it is not plain what a server sends, all that is lost is
//! that no upgrade is believed any more.

use std::collections::VecDeque;

use super::chunks::Chunks;
use super::{Framing, MAX_FIELDS, framing, head_end, lines_are_plain};
use crate::sniff::MAX_HEAD;

/// What was asked, as far as it tells how the answer ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Asked {
    /// The answer has no body.
    pub head_only: bool,
    /// 101 is an answer to it.
    pub upgrade: bool,
}

/// What became of an upgrade that was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Upgrade {
    /// None was asked for, or the answer was no.
    Not,
    /// Not answered yet.
    Asked,
    /// From here on the connection speaks another protocol.
    Granted,
    /// It cannot be told.
    Unknown,
}

/// Where in its answers a connection is.
#[derive(Clone, Debug)]
pub struct Responses {
    asked: VecDeque<Asked>,
    at: At,
    head: Vec<u8>,
    scanned: usize,
}

#[derive(Clone, Debug)]
enum At {
    Head,
    Length(u64),
    Chunks(Chunks),
    /// In a body that ends with the connection.
    Rest,
    Upgraded,
    Lost,
}

impl Default for Responses {
    fn default() -> Self {
        Self {
            asked: VecDeque::new(),
            at: At::Head,
            head: Vec::new(),
            scanned: 0,
        }
    }
}

impl Responses {
    /// A request goes on to the server.
    pub fn asked(&mut self, asked: Asked) {
        // Once lost, answers are not counted any more.
        if asked.upgrade || self.waiting().is_some() {
            self.asked.push_back(asked);
        }
    }

    /// How many requests have no whole answer yet; `None` if that cannot be told.
    #[must_use]
    pub fn waiting(&self) -> Option<usize> {
        match self.at {
            At::Lost | At::Upgraded => None,
            _ => Some(self.asked.len()),
        }
    }

    /// What became of the last upgrade.
    #[must_use]
    pub fn upgrade(&self) -> Upgrade {
        let asked = self.asked.iter().any(|asked| asked.upgrade);
        match self.at {
            At::Upgraded => Upgrade::Granted,
            At::Lost if asked => Upgrade::Unknown,
            _ if asked => Upgrade::Asked,
            _ => Upgrade::Not,
        }
    }

    /// The server sent this.
    pub fn saw(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = match &mut self.at {
                At::Head => self.head(bytes),
                At::Length(left) => {
                    let now = usize::try_from(*left).map_or(bytes.len(), |n| n.min(bytes.len()));
                    *left -= now as u64;
                    if *left == 0 {
                        self.answered();
                    }
                    now
                }
                At::Chunks(chunks) => match chunks.take(bytes) {
                    Ok((now, ended)) => {
                        if ended {
                            self.answered();
                        }
                        now
                    }
                    Err(_) => self.lose(),
                },
                At::Rest | At::Upgraded | At::Lost => return,
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// How many bytes of a head that is not whole are kept.
    #[must_use]
    pub fn held(&self) -> usize {
        self.head.len()
    }

    /// Keeps nothing and follows no more, as if what the server sends could not be understood.
    pub fn give_up(&mut self) {
        self.lose();
    }

    fn answered(&mut self) {
        self.asked.pop_front();
        self.at = At::Head;
    }

    fn lose(&mut self) -> usize {
        self.at = At::Lost;
        self.head = Vec::new();
        usize::MAX
    }

    /// Takes bytes up to the end of a head.
    fn head(&mut self, bytes: &[u8]) -> usize {
        let before = self.head.len();
        let room = MAX_HEAD - before;
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let Some(end) = head_end(&self.head, &mut self.scanned) else {
            return if self.head.len() == MAX_HEAD {
                self.lose()
            } else {
                bytes.len()
            };
        };
        self.scanned = 0;
        let head = std::mem::take(&mut self.head);
        match self
            .asked
            .front()
            .and_then(|asked| next(&head[..end], *asked))
        {
            Some(Next::Interim) => {}
            Some(Next::Body(at)) => self.at = at,
            Some(Next::End) => self.answered(),
            None => return self.lose(),
        }
        end - before
    }
}

/// What follows the head of an answer.
enum Next {
    /// The answer itself.
    Interim,
    /// Its body.
    Body(At),
    /// The next answer.
    End,
}

/// RFC 9112, section 6.3.
fn next(head: &[u8], asked: Asked) -> Option<Next> {
    if !lines_are_plain(head) {
        return None;
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let whole = response.parse(head).ok()?;
    if whole != httparse::Status::Complete(head.len()) {
        return None;
    }
    let framing = framing(response.headers)?;
    Some(match (response.code?, framing) {
        (101, _) => return asked.upgrade.then_some(Next::Body(At::Upgraded)),
        (100..=199, _) => Next::Interim,
        (204 | 304, _) => Next::End,
        _ if asked.head_only => Next::End,
        (_, Framing::Length(0)) => Next::End,
        (_, Framing::Length(length)) => Next::Body(At::Length(length)),
        (_, Framing::Chunked) => Next::Body(At::Chunks(Chunks::new())),
        (_, Framing::Silent) => Next::Body(At::Rest),
    })
}
