//! Clients, told apart by address, and how often each may do what costs.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits;

/// Who counts as one client: an IPv4 address, or a /64 of IPv6, which is what one customer gets.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// So many at once, so many a second on average.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    then: Instant,
}

impl Bucket {
    fn full(burst: f64) -> Self {
        Self {
            level: burst,
            then: Instant::now(),
        }
    }

    fn level(&self, (burst, rate): (f64, f64)) -> f64 {
        (self.level + self.then.elapsed().as_secs_f64() * rate).min(burst)
    }

    fn take(&mut self, speed: (f64, f64)) -> bool {
        let level = self.level(speed);
        let admitted = level >= 1.0;
        *self = Self {
            level: if admitted { level - 1.0 } else { level },
            then: Instant::now(),
        };
        admitted
    }
}

/// Bounds something for each client, so that one cannot use up what is there for others, and for all together.
#[derive(Debug)]
pub(crate) struct Rates(Mutex<State>);

#[derive(Debug)]
struct State {
    all: Bucket,
    by_client: HashMap<IpAddr, Bucket>,
    /// For clients that found the table full.
    others: Bucket,
    /// When those that rested were last forgotten.
    swept: Instant,
}

/// For one client: burst, and a second.
const ONE: (f64, f64) = (limits::SIGNATURE_BURST, limits::SIGNATURE_RATE);
/// The same for all.
const ALL: (f64, f64) = (limits::SIGNATURE_BURST_ALL, limits::SIGNATURE_RATE_ALL);

/// How often clients that rested are looked for, at most.
const SWEEP: Duration = Duration::from_secs(1);

impl Default for Rates {
    fn default() -> Self {
        Self(Mutex::new(State {
            all: Bucket::full(ALL.0),
            by_client: HashMap::new(),
            others: Bucket::full(ONE.0),
            swept: Instant::now(),
        }))
    }
}

impl Rates {
    /// Whether this client may, now. `None` is the operator, who counts only towards all.
    pub(crate) fn admit(&self, client: Option<IpAddr>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = match client.map(neighbourhood) {
            None => true,
            Some(client) => state.of(client).take(ONE),
        };
        // Who is refused takes nothing from the others.
        admitted && state.all.take(ALL)
    }
}

impl State {
    fn of(&mut self, client: IpAddr) -> &mut Bucket {
        let full = |state: &Self| state.by_client.len() >= limits::SIGNATURE_CLIENTS;
        if full(self) && !self.by_client.contains_key(&client) {
            // Seldom: whoever comes from everywhere must not make this walk each time.
            if self.swept.elapsed() >= SWEEP {
                self.swept = Instant::now();
                // A full bucket says no more than none.
                self.by_client.retain(|_, bucket| bucket.level(ONE) < ONE.0);
            }
            if full(self) {
                return &mut self.others;
            }
        }
        self.by_client
            .entry(client)
            .or_insert_with(|| Bucket::full(ONE.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> Option<IpAddr> {
        Some(IpAddr::from(n.to_be_bytes()))
    }

    fn admitted(rates: &Rates, client: Option<IpAddr>) -> usize {
        (0..1000).filter(|_| rates.admit(client)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_does_not_starve_another() {
        let rates = Rates::default();
        assert_eq!(admitted(&rates, address(1)), 100);
        assert_eq!(admitted(&rates, address(2)), 100);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(&rates, address(1)), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_so_are_all_together() {
        let rates = Rates::default();
        let all = (0..100_000).filter(|n| rates.admit(address(*n))).count();
        assert_eq!(all, 2000);
        let held = |rates: &Rates| rates.0.lock().expect("no panic").by_client.len();
        assert_eq!(held(&rates), limits::SIGNATURE_CLIENTS);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(rates.admit(address(200_000)));
        assert_eq!(held(&rates), 1, "those that rested are forgotten");
    }

    #[test]
    fn a_customers_network_is_one_client() {
        let of = |text: &str| neighbourhood(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.2"), of("192.0.2.1"));
    }
}
