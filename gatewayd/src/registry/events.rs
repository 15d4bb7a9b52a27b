//! The event log: what happened to sandboxes, in order of number, bounded by count and bytes.
//!
//! Written down before whoever asked hears of it, so the end of this process loses none that was answered
//! for. All that is kept is also in memory, since it is searched by requests. The oldest is dropped when
//! the bound is reached; as numbers begin at 1 and none is left out, the oldest number kept says how many
//! were dropped. A number is a cursor: whoever remembers the last one seen misses nothing and sees nothing
//! twice.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, watch};
use warder_wire::SandboxId;

use super::Store;
use super::record::{Change, EventKind, EventRecord, SandboxRecord};
use crate::clock::Micros;
use crate::limits;

/// What a record takes besides its text, about.
const HEAD: usize = 160;

/// The log.
#[derive(Debug)]
pub(crate) struct Events {
    store: Store,
    log: Mutex<Log>,
    newest: watch::Sender<u64>,
    unwritten: AtomicU64,
    written: [AtomicU64; EventKind::ALL.len()],
    /// One permit for each who follows.
    pub(crate) followers: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Log {
    kept: VecDeque<Arc<EventRecord>>,
    bytes: usize,
    /// The number of the last event; zero before the first.
    last: u64,
}

fn size(record: &EventRecord) -> usize {
    HEAD + record.data.len()
}

impl Log {
    fn push(&mut self, record: Arc<EventRecord>) {
        self.bytes += size(&record);
        self.last = record.number;
        self.kept.push_back(record);
    }

    /// Drops the oldest until there is room for one more of this size.
    fn make_room(&mut self, more: usize) {
        while self.kept.len() >= limits::EVENTS || self.bytes + more > limits::EVENT_BYTES {
            let Some(gone) = self.kept.pop_front() else {
                return;
            };
            self.bytes -= size(&gone);
        }
    }

    fn oldest(&self) -> u64 {
        self.kept
            .front()
            .map_or(self.last + 1, |first| first.number)
    }
}

impl Events {
    /// With what was on disk.
    pub(crate) fn new(store: Store, stored: Vec<EventRecord>) -> Self {
        let mut log = Log::default();
        let oldest = stored.last().map_or(0, |last| last.oldest);
        for record in stored.into_iter().filter(|r| r.number >= oldest) {
            log.make_room(size(&record));
            log.push(Arc::new(record));
        }
        Self {
            store,
            newest: watch::Sender::new(log.last),
            log: Mutex::new(log),
            unwritten: AtomicU64::new(0),
            written: Default::default(),
            followers: Arc::new(Semaphore::new(limits::EVENT_FOLLOWERS)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an event down; `data` is an object of E2B's `eventData`, or null. The sandbox's metadata is
    /// added to it, and to the end of an execution what it was.
    ///
    /// A full disk must not stop a kill, so failing to write is logged and counted, and the event is lost
    /// with this process.
    pub(crate) fn write(&self, kind: EventKind, sandbox: &SandboxRecord, data: Value) {
        let at = Micros::now();
        let data = event_data(kind, sandbox, data, at);
        let mut log = self.lock();
        log.make_room(HEAD + data.len());
        let mut record = EventRecord {
            number: log.last + 1,
            oldest: 0,
            at: at.into(),
            kind,
            sandbox: sandbox.id.clone(),
            template: sandbox.template.clone(),
            since: sandbox.started,
            data,
        };
        record.oldest = log.kept.front().map_or(record.number, |r| r.number);
        // Under the lock, so that numbers are in the order of the journal.
        if let Err(error) = self.store.write(Change::Event(record.clone())) {
            self.unwritten.fetch_add(1, Ordering::Relaxed);
            eprintln!(
                "gatewayd: event not written down ({} {}): {error}",
                kind.name(),
                sandbox.id
            );
        }
        let number = record.number;
        log.push(Arc::new(record));
        drop(log);
        self.written[kind as usize].fetch_add(1, Ordering::Relaxed);
        self.newest.send_replace(number);
    }

    /// The number of the newest event, and its changes.
    pub(crate) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The oldest number kept, or the next one when there is none. All smaller ones are dropped.
    pub(crate) fn oldest(&self) -> u64 {
        self.lock().oldest()
    }

    /// How many could not be written down.
    pub(crate) fn unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// How many of a kind there were since this process began.
    pub(crate) fn count(&self, kind: EventKind) -> u64 {
        self.written[kind as usize].load(Ordering::Relaxed)
    }

    /// Events with greater numbers than `cursor`, oldest first, at most so many.
    pub(crate) fn after(&self, cursor: u64, most: usize) -> Vec<Arc<EventRecord>> {
        let log = self.lock();
        let from = log.kept.partition_point(|record| record.number <= cursor);
        log.kept.range(from..).take(most).cloned().collect()
    }

    /// A page: of one sandbox or all, of some kinds or (when empty) all.
    pub(crate) fn page(
        &self,
        sandbox: Option<&SandboxId>,
        kinds: &[EventKind],
        ascending: bool,
        (offset, limit): (usize, usize),
    ) -> Vec<Arc<EventRecord>> {
        let log = self.lock();
        let wanted = |record: &&Arc<EventRecord>| {
            sandbox.is_none_or(|id| record.sandbox == *id)
                && (kinds.is_empty() || kinds.contains(&record.kind))
        };
        if ascending {
            let found = log.kept.iter().filter(wanted);
            found.skip(offset).take(limit).cloned().collect()
        } else {
            let found = log.kept.iter().rev().filter(wanted);
            found.skip(offset).take(limit).cloned().collect()
        }
    }

    /// Whether the end of this sandbox is written down already.
    pub(crate) fn ended(&self, sandbox: &SandboxId) -> bool {
        let newest = self.page(Some(sandbox), &[], false, (0, 1));
        newest.first().is_some_and(|e| e.kind == EventKind::Killed)
    }
}

fn event_data(kind: EventKind, sandbox: &SandboxRecord, data: Value, at: Micros) -> String {
    let mut all = match data {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    if matches!(kind, EventKind::Killed | EventKind::Paused) {
        let since = Micros::from(sandbox.started);
        all.insert(
            "execution".to_owned(),
            json!({
                "started_at": since,
                "vcpu_count": sandbox.limits.cpu_percent.div_ceil(100),
                "memory_mb": sandbox.limits.memory_mib,
                "execution_time": at.0.saturating_sub(since.0) / 1000,
            }),
        );
    }
    all.insert("sandbox_metadata".to_owned(), json!(sandbox.metadata));
    let text = Value::Object(all.clone()).to_string();
    if text.len() <= limits::EVENT_DATA_BYTES {
        return text;
    }
    all.remove("sandbox_metadata");
    all.insert("sandbox_metadata_omitted".to_owned(), Value::Bool(true));
    Value::Object(all).to_string()
}

impl EventKind {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Created,
        Self::Killed,
        Self::Updated,
        Self::Paused,
        Self::Resumed,
        Self::Checkpointed,
    ];

    /// E2B's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Created => "sandbox.lifecycle.created",
            Self::Killed => "sandbox.lifecycle.killed",
            Self::Updated => "sandbox.lifecycle.updated",
            Self::Paused => "sandbox.lifecycle.paused",
            Self::Resumed => "sandbox.lifecycle.resumed",
            Self::Checkpointed => "sandbox.lifecycle.checkpointed",
        }
    }

    /// E2B's older name for it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Created => "create",
            Self::Killed => "kill",
            Self::Updated => "update",
            Self::Paused => "pause",
            Self::Resumed => "resume",
            Self::Checkpointed => "checkpoint",
        }
    }

    /// By E2B's name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::os::fd::AsFd;

    use warder_wire::{Limits, TemplateName};

    use super::*;
    use crate::network::{Network, Standing};

    fn record(n: u8, note: usize) -> SandboxRecord {
        SandboxRecord {
            id: SandboxId::from_random(&[n; 20]),
            template: TemplateName::new("base").expect("name"),
            alias: None,
            owner: None,
            envd_token: String::new(),
            traffic_token: None,
            started: Micros(1_000_000).into(),
            end: Micros(2_000_000).into(),
            at_deadline: warder_wire::gateway_priv::AtDeadline::Destroy,
            auto_resume: false,
            paused: None,
            variables: BTreeMap::new(),
            metadata: BTreeMap::from([("note".to_owned(), "x".repeat(note))]),
            network: Network::default(),
            standing: Standing::NEW,
            limits: Limits::DEFAULT,
            mcp: None,
            volumes: Vec::new(),
        }
    }

    fn open(dir: &std::path::Path) -> Events {
        let fd = File::open(dir).expect("dir");
        let (store, loaded) = Store::open(fd.as_fd()).expect("opens");
        Events::new(store, loaded.events)
    }

    fn numbers(events: &[Arc<EventRecord>]) -> Vec<u64> {
        events.iter().map(|event| event.number).collect()
    }

    #[test]
    fn pages_and_cursors() {
        let dir = tempfile::tempdir().expect("tmp");
        let events = open(dir.path());
        assert_eq!((events.oldest(), events.after(0, 9).len()), (1, 0));
        let (a, b) = (record(1, 0), record(2, 0));
        events.write(EventKind::Created, &a, Value::Null);
        events.write(EventKind::Created, &b, Value::Null);
        events.write(EventKind::Updated, &a, json!({"set_timeout": "x"}));
        events.write(EventKind::Killed, &a, json!({"reason": "request"}));
        assert_eq!(*events.newest().borrow(), 4);
        let page = |id, kinds: &[_], up, at| numbers(&events.page(id, kinds, up, at));
        assert_eq!(page(None, &[], false, (0, 2)), [4, 3]);
        assert_eq!(page(Some(&a.id), &[], true, (1, 10)), [3, 4]);
        assert_eq!(page(None, &[EventKind::Created], false, (0, 10)), [2, 1]);
        assert_eq!(numbers(&events.after(2, 1)), [3]);
        assert!(events.ended(&a.id) && !events.ended(&b.id));
        let killed = events.after(3, 1);
        let data: Value = serde_json::from_str(&killed[0].data).expect("json");
        assert_eq!(
            data["execution"]["started_at"],
            "1970-01-01T00:00:01.000000Z"
        );
        assert_eq!(data["reason"], "request");
    }

    #[test]
    fn a_new_process_goes_on_where_the_last_was_killed() {
        let dir = tempfile::tempdir().expect("tmp");
        let events = open(dir.path());
        for n in 0..5 {
            events.write(EventKind::Created, &record(n, 0), Value::Null);
        }
        // As after kill -9: nothing was folded, only the journal has it.
        drop(events);
        let events = open(dir.path());
        assert_eq!(numbers(&events.after(0, 9)), [1, 2, 3, 4, 5]);
        events.write(EventKind::Killed, &record(0, 0), Value::Null);
        assert_eq!(*events.newest().borrow(), 6);
    }

    #[test]
    fn bounded_by_bytes_and_the_drop_is_visible_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("tmp");
        let events = open(dir.path());
        let big = record(1, 3000);
        let most = limits::EVENT_BYTES / 3000;
        for _ in 0..most + 10 {
            events.write(EventKind::Updated, &big, Value::Null);
        }
        let (oldest, kept) = (events.oldest(), events.after(0, usize::MAX).len() as u64);
        assert!(oldest > 10 && kept + oldest == (most + 10) as u64 + 1);
        assert!(events.lock().bytes <= limits::EVENT_BYTES);
        drop(events);
        assert_eq!(open(dir.path()).oldest(), oldest);
    }

    #[test]
    fn metadata_that_is_too_long_is_said_to_be_left_out() {
        let data = event_data(EventKind::Created, &record(1, 5000), Value::Null, Micros(1));
        assert_eq!(data, r#"{"sandbox_metadata_omitted":true}"#);
    }
}
