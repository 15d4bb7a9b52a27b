//! Numbers about this process, for whoever watches it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};

/// What a request is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Class {
    /// E2B's API.
    Api,
    /// Administration.
    Admin,
    /// A sandbox's agent.
    Agent,
    /// Another port of a sandbox.
    Port,
    /// Refused before it was known what for.
    None,
}

impl Class {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Api, Self::Admin, Self::Agent, Self::Port, Self::None];

    /// As shown.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Admin => "admin",
            Self::Agent => "agent",
            Self::Port => "port",
            Self::None => "none",
        }
    }

    /// Whether a sandbox chooses the statuses.
    fn is_inside(self) -> bool {
        matches!(self, Self::Agent | Self::Port)
    }
}

/// Upper bounds of a histogram's buckets, in microseconds.
pub(crate) const BUCKETS: [u64; 13] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

/// How long something took.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Each bucket alone; what is beyond the last is only in the count.
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    fn add(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(at) = BUCKETS.iter().position(|bound| us <= *bound) {
            self.buckets[at].fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// How many took at most each bound; how many in all; and their sum in microseconds.
    pub(crate) fn read(&self) -> ([u64; BUCKETS.len()], u64, u64) {
        let mut below = 0;
        let sums = std::array::from_fn(|at| {
            below += self.buckets[at].load(Ordering::Relaxed);
            below
        });
        // One may be in a bucket and not in the count yet: the count is never the smaller.
        let count = self.count.load(Ordering::Relaxed).max(below);
        (sums, count, self.sum_us.load(Ordering::Relaxed))
    }
}

/// An operation and what came of it.
type Outcomes = BTreeMap<(&'static str, &'static str), u64>;

/// The numbers.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    requests: Mutex<BTreeMap<(Class, u16), u64>>,
    durations: [Histogram; Class::ALL.len()],
    operations: Mutex<Outcomes>,
    network: Arc<AtomicUsize>,
    operator: Arc<AtomicUsize>,
    /// Channels from egressd, and how many there have been.
    egress: (Arc<AtomicUsize>, AtomicU64),
    /// The kernel's words on this process, opened before it was confined.
    pub(crate) process: OnceLock<File>,
}

/// A connection, or channel, that is open.
#[derive(Debug)]
pub(crate) struct Connected(Arc<AtomicUsize>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stats {
    /// egressd was started: its channel is open for as long as the answer lives.
    pub(crate) fn egress_came(&self) -> Connected {
        self.egress.1.fetch_add(1, Ordering::Relaxed);
        self.egress.0.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(&self.egress.0))
    }

    /// Whether egressd has a channel now, and how often it came.
    pub(crate) fn egress(&self) -> (bool, u64) {
        let (open, starts) = &self.egress;
        (
            open.load(Ordering::Relaxed) > 0,
            starts.load(Ordering::Relaxed),
        )
    }

    /// A connection is open for as long as the answer lives.
    pub(crate) fn connected(&self, operator: bool) -> Connected {
        let count = if operator {
            &self.operator
        } else {
            &self.network
        };
        count.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(count))
    }

    /// Connections open from the network and from the operator.
    pub(crate) fn connections(&self) -> (usize, usize) {
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (read(&self.network), read(&self.operator))
    }

    /// A request was answered: its head, `took` after its own head came.
    pub(crate) fn request(&self, class: Class, status: StatusCode, took: Duration) {
        let status = status.as_u16();
        // A sandbox could make up hundreds of statuses, each a series for ever.
        let status = if class.is_inside() {
            status / 100 * 100
        } else {
            status
        };
        *lock(&self.requests).entry((class, status)).or_default() += 1;
        self.durations[class as usize].add(took);
    }

    /// Requests by class and status; for sandboxes' own answers the status's hundred.
    pub(crate) fn requests(&self) -> BTreeMap<(Class, u16), u64> {
        lock(&self.requests).clone()
    }

    /// How long requests of a class took.
    pub(crate) fn durations(&self, class: Class) -> &Histogram {
        &self.durations[class as usize]
    }

    /// An operation was answered.
    pub(crate) fn operation(&self, name: &'static str, status: StatusCode) {
        let outcome = match status.as_u16() {
            ..400 => "done",
            400..500 => "refused",
            _ => "failed",
        };
        *lock(&self.operations).entry((name, outcome)).or_default() += 1;
    }

    /// Operations by name and outcome.
    pub(crate) fn operations(&self) -> Outcomes {
        lock(&self.operations).clone()
    }

    /// Bytes of memory this process has; `None` where the kernel does not say.
    pub(crate) fn memory(&self) -> Option<u64> {
        let mut text = [0; 4096];
        let length = self.process.get()?.read_at(&mut text, 0).ok()?;
        resident(std::str::from_utf8(text.get(..length)?).ok()?)
    }
}

/// `VmRSS` of /proc/pid/status (proc_pid_status(5)), in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The operation a request to the API is, if it changes a sandbox's life.
pub(crate) fn operation(method: &Method, path: &str) -> Option<&'static str> {
    let path = path.strip_prefix("/v2").unwrap_or(path);
    let mut segments = path.strip_prefix("/sandboxes")?.split('/').skip(1);
    let verb = match (segments.next(), segments.next(), segments.next()) {
        (None, ..) => None,
        (Some(_), verb, None) => Some(verb),
        _ => return None,
    };
    match (method, verb) {
        (&Method::POST, None) => Some("create"),
        (&Method::DELETE, Some(None)) => Some("kill"),
        (&Method::POST, Some(Some(verb))) => [
            "connect",
            "resume",
            "pause",
            "timeout",
            "refreshes",
            "snapshots",
            "fork",
        ]
        .into_iter()
        .find(|known| *known == verb),
        (&Method::PUT, Some(Some("network"))) => Some("network"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_by_their_paths() {
        let of = |method: &Method, path: &str| operation(method, path);
        assert_eq!(of(&Method::POST, "/v2/sandboxes"), Some("create"));
        assert_eq!(of(&Method::POST, "/sandboxes"), Some("create"));
        assert_eq!(of(&Method::DELETE, "/sandboxes/i1"), Some("kill"));
        assert_eq!(of(&Method::POST, "/sandboxes/i1/pause"), Some("pause"));
        assert_eq!(of(&Method::PUT, "/sandboxes/i1/network"), Some("network"));
        for (method, path) in [
            (Method::GET, "/sandboxes"),
            (Method::POST, "/sandboxes/i1/nothing"),
            (Method::POST, "/sandboxes/i1/pause/x"),
            (Method::DELETE, "/templates/x"),
        ] {
            assert_eq!(of(&method, path), None, "{path}");
        }
    }

    #[test]
    fn buckets_add_up_and_a_sandbox_cannot_make_series() {
        let stats = Stats::default();
        for (ms, status) in [(0, 200), (3, 299), (20_000, 201)] {
            let status = StatusCode::from_u16(status).expect("one");
            stats.request(Class::Port, status, Duration::from_millis(ms));
        }
        let (below, count, _) = stats.durations(Class::Port).read();
        assert_eq!(
            (below[0], below[3], below[BUCKETS.len() - 1], count),
            (1, 2, 2, 3)
        );
        assert_eq!(stats.requests(), BTreeMap::from([((Class::Port, 200), 3)]));
        let open = stats.connected(false);
        assert_eq!(stats.connections(), (1, 0));
        drop(open);
        assert_eq!(stats.connections(), (0, 0));
    }

    #[test]
    fn memory_as_the_kernel_writes_it() {
        assert_eq!(
            resident("Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t3\n"),
            Some(1234 * 1024)
        );
        assert_eq!(resident("Name:\tkthreadd\n"), None);
        let stats = Stats::default();
        assert_eq!(stats.memory(), None);
        if let Ok(file) = File::open("/proc/self/status") {
            stats.process.set(file).expect("first");
            assert!(stats.memory().is_some_and(|bytes| bytes > 100_000));
        }
    }
}
