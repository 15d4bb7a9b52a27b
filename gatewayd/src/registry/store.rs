//! The database file and the thread that folds the journal into it.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use rustix::fs::{Mode, OFlags, openat};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;
use warder_wire::TemplateName;

use super::journal::{Journal, Turn};
use super::record::{
    AuditRecord, Change, EventRecord, FORMAT, IdempotencyRecord, KeyRecord, SandboxRecord,
    SnapshotRecord, VolumeRecord,
};
use crate::limits;

const SANDBOXES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("sandboxes");
const KEYS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("keys");
const SNAPSHOTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("snapshots");
const IDEMPOTENCY: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("idempotency");
const AUDIT: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("audit");
const EVENTS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("events");
const VOLUMES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("volumes");
const POOLS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("pools");
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");

/// How long the predecessor may hold the file: it is dying, privd starts us when it is dead or nearly so.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// How long changes may wait before they are folded.
const FOLD_EVERY: Duration = Duration::from_secs(5);
/// Or how many bytes of them.
const FOLD_BYTES: usize = 4 * 1024 * 1024;

/// Why the state could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// A system call failed.
    #[error("{call} failed")]
    System {
        /// The call and file.
        call: &'static str,
        /// Its error.
        #[source]
        source: io::Error,
    },
    /// The database failed.
    #[error("the registry's database failed")]
    Database(#[source] Box<redb::Error>),
    /// The file is of another version.
    #[error("the registry is of format {0}, this gatewayd reads {FORMAT}")]
    Format(u64),
    /// A record cannot be read.
    #[error("a record of the registry cannot be read")]
    Record,
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// What was on disk.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Sandboxes.
    pub(crate) sandboxes: Vec<SandboxRecord>,
    /// Keys.
    pub(crate) keys: Vec<KeyRecord>,
    /// Volumes.
    pub(crate) volumes: Vec<VolumeRecord>,
    /// How many sandboxes of which template are kept ready.
    pub(crate) pools: Vec<(TemplateName, u32)>,
    /// Events, oldest first.
    pub(crate) events: Vec<EventRecord>,
    /// Snapshots.
    pub(crate) snapshots: Vec<SnapshotRecord>,
    /// Creates with an idempotency key.
    pub(crate) idempotency: Vec<IdempotencyRecord>,
}

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    wake: Condvar,
}

#[derive(Debug)]
struct Work {
    journal: Journal,
    synced: Vec<oneshot::Sender<bool>>,
}

/// Writes changes down. Clones write to the same files.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    shared: Arc<Shared>,
    database: Arc<Database>,
}

/// Opens a file of the state directory; privileges are still there, the directory is root's.
fn open_file(dir: BorrowedFd<'_>, name: &'static str) -> Result<File, StoreError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd: OwnedFd =
        openat(dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| StoreError::System {
            call: name,
            source: errno.into(),
        })?;
    Ok(File::from(fd))
}

impl Store {
    /// Opens or makes the files in the state directory, and reads what they hold.
    ///
    /// # Errors
    /// [`StoreError`]; the gateway does not start without its registry.
    pub(crate) fn open(dir: BorrowedFd<'_>) -> Result<(Self, Loaded), StoreError> {
        let database = open_database(dir)?;
        let (seen, mut loaded) = load(&database)?;
        // Under the database's lock, so the predecessor no longer writes to them.
        let journals = [open_file(dir, "journal.0")?, open_file(dir, "journal.1")?];
        let mut journal = Journal::open(journals).map_err(|source| StoreError::System {
            call: "journal",
            source,
        })?;
        for (_, change) in journal.unfolded().filter(|(number, _)| *number > seen) {
            loaded.apply(change);
        }
        journal.go_on_from(seen);
        let shared = Shared {
            work: Mutex::new(Work {
                journal,
                synced: Vec::new(),
            }),
            wake: Condvar::new(),
        };
        Ok((
            Self {
                shared: Arc::new(shared),
                database: Arc::new(database),
            },
            loaded,
        ))
    }

    /// Starts the folding thread; after the process has confined itself and before its last filter.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub(crate) fn start(&self) -> io::Result<()> {
        let store = self.clone();
        std::thread::Builder::new()
            .name("registry".into())
            .spawn(move || store.fold_for_ever())?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        // Poisoned only by a panic, which ends the process (panic = "abort").
        self.shared
            .work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a change down; it survives the end of this process from here on.
    ///
    /// # Errors
    /// When the file system refuses it.
    pub(crate) fn write(&self, change: Change) -> io::Result<()> {
        let mut work = self.lock();
        let was_empty = work.journal.is_empty();
        work.journal.append(change)?;
        if was_empty || work.journal.bytes() > FOLD_BYTES {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// Waits until everything written before is in the database and synced. False: it failed.
    pub(crate) async fn synced(&self) -> bool {
        let (sender, receiver) = oneshot::channel();
        self.lock().synced.push(sender);
        self.shared.wake.notify_one();
        receiver.await.unwrap_or(false)
    }

    /// The last lines of the audit, newest first. Reads the database: those not folded yet come from memory.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn audit(&self, most: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let mut lines: Vec<AuditRecord> = Vec::new();
        {
            let work = self.lock();
            lines.extend(
                work.journal
                    .unfolded()
                    .filter_map(|(_, change)| match change {
                        Change::Audit(line) => Some(line.clone()),
                        _ => None,
                    }),
            );
        }
        lines.reverse();
        lines.truncate(most);
        let read = self.database.begin_read()?;
        let table = read.open_table(AUDIT)?;
        for entry in table.iter()?.rev() {
            if lines.len() >= most {
                break;
            }
            lines.push(decode(entry?.1.value())?);
        }
        Ok(lines)
    }

    fn fold_for_ever(&self) {
        loop {
            let (turn, synced) = self.next_turn();
            let result = fold(&self.database, &turn.changes);
            let mut work = self.lock();
            match &result {
                Ok(()) => {
                    if let Err(error) = work.journal.folded(&turn) {
                        eprintln!("gatewayd: journal not emptied: {error}");
                    }
                }
                Err(error) => {
                    eprintln!("gatewayd: registry not written, will try again: {error}");
                    work.journal.not_folded(turn);
                }
            }
            drop(work);
            for waiting in synced {
                let _ = waiting.send(result.is_ok());
            }
            if result.is_err() {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }

    /// Waits until there is something to fold and it is time.
    fn next_turn(&self) -> (Turn, Vec<oneshot::Sender<bool>>) {
        let mut work = self.lock();
        let mut since: Option<Instant> = None;
        loop {
            let due = since.is_some_and(|t: Instant| t.elapsed() >= FOLD_EVERY);
            if !work.synced.is_empty() || due || work.journal.bytes() > FOLD_BYTES {
                let synced = std::mem::take(&mut work.synced);
                return (work.journal.turn(), synced);
            }
            if work.journal.is_empty() {
                since = None;
                work = self
                    .shared
                    .wake
                    .wait(work)
                    .unwrap_or_else(PoisonError::into_inner);
            } else {
                let begun = *since.get_or_insert_with(Instant::now);
                let left = FOLD_EVERY.saturating_sub(begun.elapsed());
                work = self
                    .shared
                    .wake
                    .wait_timeout(work, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
    }
}

fn open_database(dir: BorrowedFd<'_>) -> Result<Database, StoreError> {
    let begun = Instant::now();
    loop {
        let file = FileBackend::new(open_file(dir, "registry.redb")?);
        match file.and_then(|file| Database::builder().create_with_backend(file)) {
            Ok(database) => return Ok(database),
            Err(redb::DatabaseError::DatabaseAlreadyOpen) if begun.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn load(database: &Database) -> Result<(u64, Loaded), StoreError> {
    let write = database.begin_write()?;
    let tables = write.list_tables()?.count();
    let (seen, format) = {
        // Opened for writing so that all tables exist from the first start on.
        write.open_table(SANDBOXES)?;
        write.open_table(KEYS)?;
        write.open_table(AUDIT)?;
        write.open_table(EVENTS)?;
        write.open_table(VOLUMES)?;
        write.open_table(POOLS)?;
        write.open_table(SNAPSHOTS)?;
        write.open_table(IDEMPOTENCY)?;
        let mut meta = write.open_table(META)?;
        let format = meta.get("format")?.map(|v| v.value());
        if format.is_none() {
            meta.insert("format", u64::from(FORMAT))?;
        }
        let seen = meta.get("seen")?.map_or(0, |v| v.value());
        (seen, format)
    };
    match format {
        None => write.commit()?,
        Some(format) if format == u64::from(FORMAT) => {
            // An older gatewayd may have made fewer.
            if write.list_tables()?.count() == tables {
                write.abort()?;
            } else {
                write.commit()?;
            }
        }
        Some(other) => return Err(StoreError::Format(other)),
    }
    let read = database.begin_read()?;
    let loaded = Loaded {
        sandboxes: all(&read.open_table(SANDBOXES)?)?,
        keys: all(&read.open_table(KEYS)?)?,
        volumes: all(&read.open_table(VOLUMES)?)?,
        pools: all(&read.open_table(POOLS)?)?,
        events: all(&read.open_table(EVENTS)?)?,
        snapshots: all(&read.open_table(SNAPSHOTS)?)?,
        idempotency: all(&read.open_table(IDEMPOTENCY)?)?,
    };
    Ok((seen, loaded))
}

fn all<K: redb::Key + 'static, T: DeserializeOwned>(
    table: &impl ReadableTable<K, &'static [u8]>,
) -> Result<Vec<T>, StoreError> {
    table
        .iter()?
        .map(|entry| decode(entry?.1.value()))
        .collect()
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| StoreError::Record)
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_stdvec(value).map_err(|_| StoreError::Record)
}

/// A client's key holds no space.
fn key_of(caller: &str, key: &str) -> String {
    format!("{key} {caller}")
}

/// One transaction, synced when it returns.
fn fold(database: &Database, changes: &[(u64, Change)]) -> Result<(), StoreError> {
    let Some((last, _)) = changes.last() else {
        return Ok(());
    };
    let write = database.begin_write()?;
    {
        let mut sandboxes = write.open_table(SANDBOXES)?;
        let mut keys = write.open_table(KEYS)?;
        let mut audit = write.open_table(AUDIT)?;
        let mut events = write.open_table(EVENTS)?;
        let mut volumes = write.open_table(VOLUMES)?;
        let mut pools = write.open_table(POOLS)?;
        let mut snapshots = write.open_table(SNAPSHOTS)?;
        let mut idempotency = write.open_table(IDEMPOTENCY)?;
        let mut oldest = 0;
        for (number, change) in changes {
            match change {
                Change::Sandbox(record) => {
                    sandboxes.insert(record.id.as_str(), encode(record)?.as_slice())?;
                }
                Change::SandboxGone(id) => {
                    sandboxes.remove(id.as_str())?;
                }
                Change::Key(record) => {
                    keys.insert(record.id.as_str(), encode(record)?.as_slice())?;
                }
                Change::KeyGone(id) => {
                    keys.remove(id.as_str())?;
                }
                Change::Audit(line) => {
                    audit.insert(number, encode(line)?.as_slice())?;
                }
                Change::Volume(record) => {
                    volumes.insert(record.id.as_str(), encode(record)?.as_slice())?;
                }
                Change::VolumeGone(id) => {
                    volumes.remove(id.as_str())?;
                }
                Change::Pool(template, 0) => {
                    pools.remove(template.as_str())?;
                }
                Change::Pool(template, size) => {
                    pools.insert(template.as_str(), encode(&(template, size))?.as_slice())?;
                }
                Change::Event(event) => {
                    events.insert(event.number, encode(event)?.as_slice())?;
                    oldest = event.oldest;
                }
                Change::Snapshot(record) => {
                    snapshots.insert(record.template.as_str(), encode(record)?.as_slice())?;
                }
                Change::SnapshotGone(template) => {
                    snapshots.remove(template.as_str())?;
                }
                Change::Idempotency(record) => {
                    let name = key_of(&record.caller, &record.key);
                    idempotency.insert(name.as_str(), encode(record)?.as_slice())?;
                }
                Change::IdempotencyGone(caller, key) => {
                    idempotency.remove(key_of(caller, key).as_str())?;
                }
            }
        }
        events.retain_in(..oldest, |_, _| false)?;
        // Numbers count all changes, so fewer than the bound may be kept; never more.
        audit.retain_in(..last.saturating_sub(limits::AUDIT_LINES), |_, _| false)?;
        write.open_table(META)?.insert("seen", *last)?;
    }
    write.commit()?;
    Ok(())
}

impl Loaded {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Sandbox(record) => {
                self.sandboxes.retain(|known| known.id != record.id);
                self.sandboxes.push(SandboxRecord::clone(record));
            }
            Change::SandboxGone(id) => self.sandboxes.retain(|known| known.id != *id),
            Change::Key(record) => {
                self.keys.retain(|known| known.id != record.id);
                self.keys.push(record.clone());
            }
            Change::KeyGone(id) => self.keys.retain(|known| known.id != *id),
            Change::Volume(record) => {
                self.volumes.retain(|known| known.id != record.id);
                self.volumes.push(record.clone());
            }
            Change::VolumeGone(id) => self.volumes.retain(|known| known.id != *id),
            Change::Pool(template, size) => {
                self.pools.retain(|(known, _)| known != template);
                if *size > 0 {
                    self.pools.push((template.clone(), *size));
                }
            }
            Change::Event(event) => {
                self.events.retain(|known| known.number < event.number);
                self.events.push(event.clone());
            }
            Change::Snapshot(record) => {
                self.snapshots.retain(|s| s.template != record.template);
                self.snapshots.push(record.clone());
            }
            Change::SnapshotGone(template) => self.snapshots.retain(|s| s.template != *template),
            Change::Idempotency(record) => {
                self.free(&record.caller, &record.key);
                self.idempotency.push(record.clone());
            }
            Change::IdempotencyGone(caller, key) => self.free(caller, key),
            Change::Audit(_) => {}
        }
    }

    fn free(&mut self, caller: &str, key: &str) {
        self.idempotency
            .retain(|known| (known.caller.as_str(), known.key.as_str()) != (caller, key));
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::clock::Micros;

    fn key(id: &str) -> KeyRecord {
        KeyRecord {
            id: id.into(),
            name: String::new(),
            hash: [1; 32],
            tail: String::new(),
            created: Micros(1).into(),
        }
    }

    #[test]
    fn what_was_written_is_there_again_folded_or_not() {
        let dir = tempfile::tempdir().expect("tmp");
        let fd = File::open(dir.path()).expect("dir");
        let (store, loaded) = Store::open(fd.as_fd()).expect("new");
        assert!(loaded.keys.is_empty());
        store.write(Change::Key(key("a"))).expect("room");
        store.write(Change::Key(key("b"))).expect("room");
        // As after kill -9: nothing was folded, only the journal has it.
        drop(store);
        let (store, loaded) = Store::open(fd.as_fd()).expect("again");
        assert_eq!(loaded.keys.len(), 2);
        store.write(Change::KeyGone("a".into())).expect("room");
        let turn = store.lock().journal.turn();
        fold(&store.database, &turn.changes).expect("folds");
        // As when killed between the commit and the emptying of the journal.
        drop(store);
        let (_store, loaded) = Store::open(fd.as_fd()).expect("again");
        assert_eq!(
            loaded
                .keys
                .iter()
                .map(|k| k.id.as_str())
                .collect::<Vec<_>>(),
            ["b"]
        );
    }
}
