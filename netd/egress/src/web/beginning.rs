//! What a client says first.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use warder_web::Odd;
use warder_web::sniff::{PATIENCE, Protocol, Seen, Sniffer};
use warder_wire::HostName;

use super::held::{Held, Share};
use super::io::read_some;
use crate::connection::Connection;

/// The first bytes of a connection, and what they say.
#[derive(Debug)]
pub(super) struct Beginning<'a> {
    /// They wait to be sent on.
    pub(super) bytes: Vec<u8>,
    /// `None` if there were none.
    pub(super) seen: Option<Result<Seen, Odd>>,
    held: Held<'a>,
}

impl<'a> Beginning<'a> {
    /// Nothing.
    pub(super) fn none(share: &'a Share) -> Self {
        Self {
            bytes: Vec::new(),
            seen: None,
            held: Held::new(share, 0),
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
    pub(super) async fn read(
        client: &Connection,
        share: &'a Share,
        protocol: Protocol,
    ) -> Option<Self> {
        Self::read_within(client, share, protocol, PATIENCE).await
    }

    async fn read_within(
        client: &Connection,
        share: &'a Share,
        protocol: Protocol,
        patience: Duration,
    ) -> Option<Self> {
        let deadline = Instant::now() + patience;
        let mut sniffer = Sniffer::new(protocol);
        let (mut some, mut held) = (false, Held::new(share, 0));
        let seen = loop {
            let room = sniffer.room();
            let read = read_some(client, room, |bytes| match bytes {
                [] => Err(Odd::CutShort),
                bytes => {
                    some = true;
                    let seen = sniffer.push(bytes);
                    // There, and as the message that is put together.
                    held.set(2 * sniffer.held());
                    seen
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
