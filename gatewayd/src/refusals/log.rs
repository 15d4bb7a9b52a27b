//! The refusals of one sandbox: equal ones are one entry that counts, the oldest make room.

use std::collections::VecDeque;
use std::net::IpAddr;

use serde::Serialize;
use warder_wire::egress_gateway::{Refused, Why};
use warder_wire::policy::{HostName, Rule};

use crate::clock::Micros;
use crate::limits;
use crate::network::Denied;

/// What an entry takes besides its name, about.
const HEAD: usize = 96;
/// What a sandbox may tell those who follow the events: so many at once.
const BURST: f64 = 20.0;
/// And so many a second.
const RATE: f64 = 2.0;

/// What was refused, and how often.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    /// When last.
    pub(crate) last: Micros,
    first: Micros,
    protocol: u8,
    /// Where it was for, or who came; `None` if that is not known.
    address: Option<IpAddr>,
    port: u16,
    name: Option<HostName>,
    cause: Cause,
    generation: u64,
    count: u64,
}

/// What refused it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    /// On its way out, by egressd's word.
    Out(Why),
    /// A client, by the filters.
    Filtered(Denied),
    /// A client, for the traffic token it did not give, or gave wrongly.
    Token,
    /// A client of the agent, for the access token it did not give, or gave wrongly, while the sandbox was paused.
    NotWoken,
}

impl Entry {
    /// From egressd's word.
    pub(crate) fn new(refused: Refused, now: Micros) -> Self {
        Self {
            last: now,
            first: now,
            protocol: refused.protocol,
            address: Some(refused.address.into()),
            port: refused.port,
            name: refused.name,
            cause: Cause::Out(refused.why),
            generation: refused.generation,
            count: u64::from(refused.times),
        }
    }

    /// A client that was not let in to a port, by the policy of this generation.
    pub(crate) fn of_client(
        (client, port): (Option<IpAddr>, u16),
        cause: Cause,
        generation: u64,
    ) -> Self {
        let now = Micros::now();
        Self {
            last: now,
            first: now,
            protocol: 6,
            address: client,
            port,
            name: None,
            cause,
            generation,
            count: 1,
        }
    }

    fn comes_in(&self) -> bool {
        !matches!(self.cause, Cause::Out(_))
    }

    /// How often.
    pub(super) fn times(&self) -> u64 {
        self.count
    }

    fn like(&self, other: &Self) -> bool {
        let what = |e: &Self| (e.protocol, e.address, e.port, e.cause, e.generation);
        what(self) == what(other) && self.name == other.name
    }

    fn size(&self) -> usize {
        HEAD + self.name.as_ref().map_or(0, |name| name.as_str().len())
    }

    /// As clients see it.
    pub(crate) fn view(&self) -> View<'_> {
        let (reason, rule) = self.said();
        View {
            timestamp: self.last,
            first_seen: self.first,
            direction: if self.comes_in() { "in" } else { "out" },
            protocol: match self.protocol {
                1 => "icmp".to_owned(),
                6 => "tcp".to_owned(),
                17 => "udp".to_owned(),
                other => other.to_string(),
            },
            address: self.address,
            port: self.port,
            name: self.name.as_ref().map(HostName::as_str),
            reason,
            rule,
            count: self.count,
            generation: self.generation,
        }
    }

    /// A word for programs, and the rule for people.
    fn said(&self) -> (&'static str, String) {
        let of = |text: &str| text.to_owned();
        let why = match self.cause {
            Cause::Out(why) => why,
            Cause::Filtered(Denied::Entry(entry)) => {
                return ("ingress", format!("denyIn {entry}"));
            }
            Cause::Filtered(Denied::Unknown) => {
                let text = "allowIn or denyIn is set, and the client's IPv4 address is not known";
                return ("ingress_unknown", of(text));
            }
            Cause::NotWoken => {
                let text = "the access token is missing or wrong, and the sandbox is paused";
                return ("access_token", of(text));
            }
            Cause::Token => {
                return ("traffic_token", of("the traffic token is missing or wrong"));
            }
        };
        match why {
            Why::Address(Rule::AirGap) => ("air_gap", of("the air gap is on")),
            Why::Address(Rule::AlwaysDenied) => {
                ("always_denied", of("an address that no policy opens"))
            }
            Why::Address(Rule::Deny(cidr)) => ("denied", format!("denyOut {cidr}")),
            Why::Address(Rule::Allow(cidr)) => ("denied", format!("allowOut {cidr}")),
            Why::Address(Rule::Default) => ("denied", of("no rule allows it")),
            Why::Name => ("name", of("the name is not in allowOut")),
            Why::NoName => ("no_name", of("allowOut has names, and none was given")),
            Why::HiddenName => (
                "hidden_name",
                of("the name was hidden (encrypted ClientHello)"),
            ),
            Why::NotUnderstood => ("not_understood", of("neither HTTP nor TLS, or too slow")),
            Why::Unresolved => (
                "unresolved",
                of("the name has no address that may be reached"),
            ),
            Why::Resolver => (
                "resolver",
                of("the DNS server is not one that may be asked"),
            ),
            Why::Quic => ("quic", of("QUIC while allowOut has names")),
            Why::TooMany => ("too_many", of("too many flows at once")),
            Why::Proxy => ("proxy", of("egressProxy refused or could not be reached")),
        }
    }
}

/// An entry as clients see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    timestamp: Micros,
    first_seen: Micros,
    /// Whether it was on its way out of the sandbox, or to one of its ports.
    direction: &'static str,
    protocol: String,
    address: Option<IpAddr>,
    port: u16,
    name: Option<&'a str>,
    reason: &'static str,
    rule: String,
    count: u64,
    generation: u64,
}

/// The entries of one sandbox, those of its clients for themselves: who is refused from outside pushes nothing out of
/// what the sandbox itself was refused.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    out: Kept,
    clients: Kept,
}

impl RefusalLog {
    /// One more. Whether those who follow the events are told: `None`, or how many were kept from them before.
    pub(crate) fn add(&mut self, entry: Entry) -> Option<u64> {
        if entry.comes_in() {
            self.clients.add(entry)
        } else {
            self.out.add(entry)
        }
    }

    /// All there are, in the order in which they were seen last.
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        let mut all: Vec<&Entry> = self.out.kept.iter().chain(&self.clients.kept).collect();
        all.sort_by_key(|entry| entry.last);
        all.into_iter()
    }

    /// How many refusals had to make room for newer ones.
    pub(crate) fn dropped(&self) -> u64 {
        self.out.dropped.saturating_add(self.clients.dropped)
    }
}

/// Entries in the order in which they were seen last.
#[derive(Debug, Default)]
struct Kept {
    kept: VecDeque<Entry>,
    bytes: usize,
    dropped: u64,
    /// What may be told now, as of when.
    tokens: Option<(f64, Micros)>,
    /// How many were not told since the last one that was.
    untold: u64,
}

impl Kept {
    /// As [`RefusalLog::add`].
    fn add(&mut self, entry: Entry) -> Option<u64> {
        let now = entry.last;
        match self.kept.iter().position(|known| known.like(&entry)) {
            Some(at) => {
                if let Some(mut known) = self.kept.remove(at) {
                    known.last = now;
                    known.count = known.count.saturating_add(entry.count);
                    self.kept.push_back(known);
                }
            }
            None => {
                self.make_room(entry.size());
                self.bytes += entry.size();
                self.kept.push_back(entry);
            }
        }
        self.may_tell(now)
    }

    fn make_room(&mut self, more: usize) {
        while self.kept.len() >= limits::REFUSALS || self.bytes + more > limits::REFUSAL_BYTES {
            let Some(gone) = self.kept.pop_front() else {
                return;
            };
            self.bytes -= gone.size();
            self.dropped = self.dropped.saturating_add(gone.count);
        }
    }

    fn may_tell(&mut self, now: Micros) -> Option<u64> {
        let (left, since) = self.tokens.unwrap_or((BURST, now));
        let gained = now.0.saturating_sub(since.0) as f64 / 1_000_000.0 * RATE;
        let left = (left + gained).min(BURST);
        let enough = left >= 1.0;
        self.tokens = Some((if enough { left - 1.0 } else { left }, now));
        if enough {
            Some(std::mem::take(&mut self.untold))
        } else {
            self.untold += 1;
            None
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use warder_wire::SandboxId;

    use super::*;

    /// A refusal at a second.
    pub(crate) fn entry(second: u64, port: u16, name: Option<&str>) -> Entry {
        let refused = Refused {
            sandbox: SandboxId::from_random(&[1; 20]),
            generation: 1,
            protocol: 6,
            address: [8, 8, 8, 8].into(),
            port,
            name: name.map(|name| HostName::new(name).expect("a name")),
            why: Why::Name,
            times: 2,
        };
        Entry::new(refused, Micros(second * 1_000_000))
    }

    #[test]
    fn equal_ones_are_one_that_counts() {
        let mut log = RefusalLog::default();
        for second in 1..=3 {
            log.add(entry(second, 443, None));
            log.add(entry(second, 80, Some("a.example")));
        }
        let seen: Vec<_> = log
            .entries()
            .map(|e| (e.port, e.count, e.first.0, e.last.0))
            .collect();
        assert_eq!(
            seen,
            [
                (443, 6, 1_000_000, 3_000_000),
                (80, 6, 1_000_000, 3_000_000)
            ]
        );
    }

    #[test]
    fn refused_clients_push_out_nothing_else() {
        let mut log = RefusalLog::default();
        assert_eq!(log.add(entry(1, 443, None)), Some(0));
        let told = (1..=1000).filter(|n| {
            let client = IpAddr::from([192, 0, (n / 256) as u8, (n % 256) as u8]);
            let refused = Entry::of_client((Some(client), 80), Cause::Token, 1);
            log.add(refused).is_some()
        });
        assert!((20..100).contains(&told.count()));
        assert_eq!(log.entries().count(), limits::REFUSALS + 1);
        assert_eq!(log.dropped(), 1000 - limits::REFUSALS as u64);
        let shown: Vec<_> = log.entries().map(|e| e.view().direction).collect();
        assert_eq!((shown[0], shown[1]), ("out", "in"));
        assert!(log.entries().is_sorted_by_key(|entry| entry.last));
        // Nor do they keep what it was refused from being told.
        assert_eq!(log.add(entry(1, 444, None)), Some(0));
        let unknown = Entry::of_client((None, 80), Cause::Filtered(Denied::Unknown), 1);
        let view = serde_json::to_value(unknown.view()).expect("JSON");
        assert_eq!(view["address"], serde_json::Value::Null);
        assert_eq!(view["reason"], "ingress_unknown");
    }

    #[test]
    fn it_is_bounded_by_count_and_bytes_and_says_what_it_dropped() {
        let mut log = RefusalLog::default();
        for port in 1..=1000 {
            log.add(entry(1, port, None));
        }
        assert_eq!(log.out.kept.len(), limits::REFUSALS);
        assert_eq!(log.dropped(), 2 * (1000 - limits::REFUSALS as u64));
        let long = format!("{}a", "a.".repeat(126));
        for port in 1..=1000 {
            log.add(entry(1, port, Some(&long)));
        }
        assert!(log.out.kept.len() < limits::REFUSALS && log.out.bytes <= limits::REFUSAL_BYTES);
        let bytes: usize = log.entries().map(Entry::size).sum();
        assert_eq!(bytes, log.out.bytes);
    }

    #[test]
    fn those_who_follow_are_told_so_many_and_how_many_more_there_were() {
        let mut log = RefusalLog::default();
        let told = (1..=100).filter_map(|port| log.add(entry(10, port, None)));
        assert_eq!(told.collect::<Vec<_>>(), [0; 20]);
        assert_eq!(log.add(entry(11, 1, None)), Some(80));
        // A clock that is set back gives nothing away.
        let back = (1..=100)
            .filter(|port| log.add(entry(5, *port, None)).is_some())
            .count();
        assert_eq!(back, 1);
    }

    #[test]
    fn as_clients_see_it() {
        let view = serde_json::to_value(entry(1, 443, Some("A.example")).view()).expect("json");
        assert_eq!(
            view,
            serde_json::json!({
                "timestamp": "1970-01-01T00:00:01.000000Z", "firstSeen": "1970-01-01T00:00:01.000000Z",
                "direction": "out", "protocol": "tcp", "address": "8.8.8.8", "port": 443, "name": "a.example", "reason": "name",
                "rule": "the name is not in allowOut", "count": 2, "generation": 1,
            })
        );
    }
}
