//! Handshakes under way: so many in all, so many for each client, so that slow ones cost the slow client only.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clients::neighbourhood;
use crate::limits;

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct Handshakes(Arc<Mutex<Counts>>);

/// One of them; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    counts: Arc<Mutex<Counts>>,
    client: IpAddr,
}

impl Handshakes {
    /// One more; `None` when there are too many.
    pub(super) fn begin(&self, client: IpAddr) -> Option<Turn> {
        let client = neighbourhood(client);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = counts.by_client.get(&client).copied().unwrap_or_default();
        if counts.all >= limits::HANDSHAKES || of_client >= limits::HANDSHAKES_PER_CLIENT {
            return None;
        }
        counts.all += 1;
        counts.by_client.insert(client, of_client + 1);
        Some(Turn {
            counts: Arc::clone(&self.0),
            client,
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        let left = counts
            .by_client
            .get(&self.client)
            .map_or(0, |n| n.saturating_sub(1));
        if left == 0 {
            counts.by_client.remove(&self.client);
        } else {
            counts.by_client.insert(self.client, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_with_many_leaves_room_for_others() {
        let handshakes = Handshakes::default();
        let greedy: IpAddr = "192.0.2.1".parse().expect("an address");
        let mut turns: Vec<Turn> = (0..limits::HANDSHAKES_PER_CLIENT)
            .map_while(|_| handshakes.begin(greedy))
            .collect();
        assert_eq!(turns.len(), limits::HANDSHAKES_PER_CLIENT);
        assert!(handshakes.begin(greedy).is_none());
        let other = handshakes.begin("192.0.2.2".parse().expect("an address"));
        assert!(other.is_some());
        turns.pop();
        assert!(handshakes.begin(greedy).is_some());
        drop((turns, other));
        let counts = handshakes.0.lock().expect("no panic");
        assert_eq!((counts.all, counts.by_client.len()), (0, 0));
    }
}
