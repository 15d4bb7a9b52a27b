//! Which connections were asked for and not answered yet. Bounded, whatever the guest does.

use std::collections::HashMap;

use tokio::sync::oneshot;
use warder_ipc::aio::GuestSocket;
use warder_wire::link::Refusal;

use crate::limits::PENDING_TICKETS;

type Sender = oneshot::Sender<Result<GuestSocket, Refusal>>;
type Receiver = oneshot::Receiver<Result<GuestSocket, Refusal>>;

/// Open questions by ticket; `None` where the asker has given up.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    last: u64,
    open: HashMap<u64, Option<(u16, Sender)>>,
}

/// What an answered ticket was.
#[derive(Debug)]
pub(super) enum Taken {
    /// Somebody waits for this port.
    Waiting {
        /// The port asked for.
        port: u16,
        /// Who waits.
        sender: Sender,
    },
    /// Asked once, nobody waits any more.
    GivenUp,
    /// Never asked, or answered already.
    Unknown,
}

impl Tickets {
    /// A new question; `None` when too many are open.
    pub(super) fn issue(&mut self, port: u16) -> Option<(u64, Receiver)> {
        if self.open.len() >= PENDING_TICKETS {
            return None;
        }
        self.last += 1;
        let (sender, receiver) = oneshot::channel();
        self.open.insert(self.last, Some((port, sender)));
        Some((self.last, receiver))
    }

    /// The asker is gone. Nothing happens if the answer has come.
    pub(super) fn give_up(&mut self, ticket: u64) {
        if let Some(entry) = self.open.get_mut(&ticket) {
            *entry = None;
        }
    }

    /// The answer has come.
    pub(super) fn take(&mut self, ticket: u64) -> Taken {
        match self.open.remove(&ticket) {
            Some(Some((port, sender))) => Taken::Waiting { port, sender },
            Some(None) => Taken::GivenUp,
            None => Taken::Unknown,
        }
    }

    /// The link is over.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_guest_holds_a_bounded_number() {
        let mut tickets = Tickets::default();
        let kept: Vec<_> = std::iter::from_fn(|| tickets.issue(80))
            .take(PENDING_TICKETS * 2)
            .collect();
        assert_eq!(kept.len(), PENDING_TICKETS);
        for (ticket, _) in &kept {
            tickets.give_up(*ticket);
        }
        assert!(tickets.issue(80).is_none(), "given up is not answered");
        assert!(matches!(tickets.take(kept[0].0), Taken::GivenUp));
        assert!(matches!(tickets.take(kept[0].0), Taken::Unknown));
        assert!(tickets.issue(80).is_some());
    }
}
