//! What a client says first.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use warder_web::Odd;
use warder_web::sniff::{PATIENCE, Protocol, Seen, Sniffer};
use warder_wire::HostName;

use super::held::Held;
use super::io::read_some;
use crate::connection::Connection;

/// The first bytes of a connection, and what they say.
#[derive(Debug)]
pub(super) struct Beginning {
    /// They wait to be sent on.
    pub(super) bytes: Vec<u8>,
    /// `None` if there were none.
    pub(super) seen: Option<Result<Seen, Odd>>,
    held: Held,
}

impl Beginning {
    /// Nothing.
    pub(super) fn none() -> Self {
        Self {
            bytes: Vec::new(),
            seen: None,
            held: Held::new(0),
        }
    }

    /// The bytes, and what they say. They are the relay's now.
    pub(super) fn into_parts(self) -> (Vec<u8>, Option<Result<Seen, Odd>>) {
        (self.bytes, self.seen)
    }

    /// Whether it was given up because too much is held for others.
    pub(super) fn is_too_much(&self) -> bool {
        self.seen.as_ref().is_none_or(Result::is_err) && self.held.is_too_much()
    }

    /// The name that was seen.
    pub(super) fn name(&self) -> Option<&HostName> {
        self.seen().and_then(Result::ok).and_then(Seen::name)
    }

    /// As it is judged.
    pub(super) fn seen(&self) -> Option<Result<&Seen, Odd>> {
        self.seen
            .as_ref()
            .map(|seen| seen.as_ref().map_err(|odd| *odd))
    }

    /// What was odd about it.
    pub(super) fn odd(&self) -> Option<Odd> {
        self.seen().and_then(Result::err)
    }

    /// Reads it. `None` when the connection is lost meanwhile.
    pub(super) async fn read(client: &Connection, protocol: Protocol) -> Option<Self> {
        Self::read_within(client, protocol, PATIENCE).await
    }

    async fn read_within(
        client: &Connection,
        protocol: Protocol,
        patience: Duration,
    ) -> Option<Self> {
        let deadline = Instant::now() + patience;
        let mut sniffer = Sniffer::new(protocol);
        let (mut some, mut held) = (false, Held::new(0));
        let seen = loop {
            let room = sniffer.room();
            let read = read_some(client, room, |bytes| match bytes {
                [] => Err(Odd::CutShort),
                bytes => {
                    some = true;
                    // Here, and as the message that is put together.
                    held.add(2 * bytes.len());
                    sniffer.push(bytes)
                }
            });
            match timeout_at(deadline, read).await {
                Ok(Ok(Ok(None))) if held.is_too_much() => break Err(Odd::TooLong),
                Ok(Ok(Ok(None))) => {}
                Ok(Ok(Ok(Some(seen)))) => break Ok(seen),
                Ok(Ok(Err(odd))) => break Err(odd),
                Ok(Err(_)) => return None,
                Err(_) => break Err(Odd::TooSlow),
            }
        };
        Some(Self {
            bytes: sniffer.into_bytes(),
            seen: some.then_some(seen),
            held,
        })
    }
}
