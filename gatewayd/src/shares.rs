//! What there are so many of in all, and so many for each client, so that one who takes many leaves some to others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clients::neighbourhood;

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// Counts them.
#[derive(Debug)]
pub(crate) struct Shares {
    most: usize,
    most_each: usize,
    counts: Arc<Mutex<Counts>>,
}

/// One of them; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    counts: Arc<Mutex<Counts>>,
    client: IpAddr,
}

impl Shares {
    /// At most so many, and so many for each client.
    pub(crate) fn new(most: usize, most_each: usize) -> Self {
        Self {
            most,
            most_each,
            counts: Arc::default(),
        }
    }

    /// One more; `None` when there are too many.
    pub(crate) fn begin(&self, client: IpAddr) -> Option<Share> {
        let client = neighbourhood(client);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = counts.by_client.get(&client).copied().unwrap_or_default();
        if counts.all >= self.most || of_client >= self.most_each {
            return None;
        }
        counts.all += 1;
        counts.by_client.insert(client, of_client + 1);
        Some(Share {
            counts: Arc::clone(&self.counts),
            client,
        })
    }
}

impl Drop for Share {
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
        let shares = Shares::new(12, 10);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let greedy = address("192.0.2.1");
        let mut all: Vec<Share> = (0..20).map_while(|_| shares.begin(greedy)).collect();
        assert_eq!(all.len(), 10);
        let others: Vec<_> = (2..9)
            .map_while(|n| shares.begin(address(&format!("192.0.2.{n}"))))
            .collect();
        assert_eq!(others.len(), 2, "and no more in all");
        all.truncate(8);
        assert!(shares.begin(greedy).is_some());
        drop((all, others));
        let counts = shares.counts.lock().expect("no panic");
        assert_eq!((counts.all, counts.by_client.len()), (0, 0));
    }
}
