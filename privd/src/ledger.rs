//! What this instance owns, as an append-only file: intent before, result after.
//!
//! A record is its length (u16), its CRC-32 (u32), both little endian, and a postcard body. The file is
//! allocated ahead, so zeroes follow the last record, and a removal can be written when the disk is
//! full. What follows the last whole record is a torn tail and is cut.
//!
//! While running it is synced only before a pause is answered, by the worker that writes out the sandbox's
//! disk: other cells do not survive a loss of power, their storage is found by the store's own list,
//! and so a lost tail only makes reconciliation remove more.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use warder_host::cell::CellHandle;
use warder_wire::gateway_priv::{AtDeadline, EndReason, VolumeMount};
use warder_wire::{BackendName, InstanceTag, Limits, LimitsInForce, OpId, SandboxId, TemplateName};

use crate::leases::Deadline;

/// Version of the records. Another one is refused: sandboxes of another version are not ours to judge.
const VERSION: u32 = 2;
const HEAD: usize = 6;
/// Allocated ahead in steps of this many bytes.
const STEP: u64 = 1024 * 1024;
/// New work is refused when less than this much of the allocated file is left; removals use it.
const RESERVE: u64 = 256 * 1024;
/// Rewritten when longer than this and more than eight times what it has to hold.
const REWRITE: u64 = 4 * STEP;

/// One line of the ledger. Only grows at the end.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Record {
    /// First in every file: monotonic times below belong to this boot.
    Start {
        version: u32,
        tag: InstanceTag,
        boot: String,
    },
    /// A lease was opened; ids of range `range` are its own until [`Record::Gone`].
    Lease {
        sandbox: SandboxId,
        lease: Lease,
        range: u32,
        deadline: Deadline,
    },
    /// Its deadline moved.
    Moved {
        sandbox: SandboxId,
        deadline: Deadline,
    },
    /// Its storage is about to be made.
    StorageBegun { sandbox: SandboxId, op: OpId },
    /// Its storage is whole.
    StorageMade { sandbox: SandboxId },
    /// Its storage is in the trash.
    StorageGone { sandbox: SandboxId },
    /// Its cell is about to be made.
    CellBegun { sandbox: SandboxId, op: OpId },
    /// Its cell runs.
    CellMade {
        sandbox: SandboxId,
        handle: CellHandle,
        limits: LimitsInForce,
    },
    /// No process of its cell is left.
    CellGone { sandbox: SandboxId },
    /// It is being removed.
    Ending {
        sandbox: SandboxId,
        reason: EndReason,
    },
    /// Nothing of it is left but, perhaps, trash.
    Gone { sandbox: SandboxId },
    /// It is paused, with or without its processes.
    Paused { sandbox: SandboxId, memory: bool },
    /// It runs again; its deadline counts.
    Woken { sandbox: SandboxId },
    /// Something else happens at its deadline than before.
    Turned {
        sandbox: SandboxId,
        at_deadline: AtDeadline,
    },
}

/// What the gateway permitted.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Lease {
    /// May make it.
    pub backend: BackendName,
    /// May be cloned.
    pub template: TemplateName,
    /// Upper bounds.
    pub limits: Limits,
    /// What happens at the deadline.
    pub at_deadline: AtDeadline,
    /// What its cell mounts.
    pub volumes: Vec<VolumeMount>,
}

/// A part of a sandbox: storage, or its cell with `T` to find it by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part<T> {
    /// Not there.
    None,
    /// Intended; how far it came is unknown.
    Begun(OpId),
    /// There.
    Made(OpId, T),
}

/// What the ledger holds of one sandbox.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// What was permitted.
    pub lease: Lease,
    /// Which id range it has.
    pub range: u32,
    /// When it ends.
    pub deadline: Deadline,
    /// Its writable root.
    pub storage: Part<()>,
    /// Its processes.
    pub cell: Part<(CellHandle, LimitsInForce)>,
    /// Whether it is paused, and if so with its processes.
    pub paused: Option<bool>,
    /// Why it is being removed.
    pub ending: Option<EndReason>,
}

/// All sandboxes of the instance.
pub(crate) type Book = BTreeMap<SandboxId, Entry>;

/// The ledger failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// The file system has no room for new work.
    #[error("no room for the ledger")]
    NoSpace,
    /// The file is not this instance's, or another version wrote it.
    #[error("the ledger is not this instance's or of another version")]
    Foreign,
    /// A call on the file failed.
    #[error("{0} the ledger failed")]
    File(&'static str, #[source] io::Error),
}

impl LedgerError {
    fn is_full(&self) -> bool {
        match self {
            Self::NoSpace => true,
            Self::File(_, e) => matches!(
                e.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            Self::Foreign => false,
        }
    }
}

/// The open ledger and what it says.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    used: u64,
    allocated: u64,
    book: Book,
    boot: String,
    tag: InstanceTag,
}

impl Ledger {
    /// Reads the ledger at `path`, cuts a torn tail, and starts a fresh file for this `boot`.
    /// `rebase` brings the deadlines of another boot into this one.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was changed.
    pub(crate) fn open(
        path: &Path,
        tag: InstanceTag,
        boot: &str,
        rebase: impl Fn(Deadline) -> Deadline,
    ) -> Result<Self, LedgerError> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(mut file) => file
                .read_to_end(&mut bytes)
                .map_err(|e| LedgerError::File("reading", e))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(LedgerError::File("opening", e)),
        };
        let mut records = Records(&bytes);
        let mut book = Book::new();
        match records.next() {
            Some(Record::Start {
                version: VERSION,
                tag: of,
                boot: mut then,
            }) if of == tag => {
                for record in &mut records {
                    apply(&mut book, &record);
                    if let Record::Start { boot, .. } = record {
                        then = boot;
                    }
                }
                if then != boot {
                    for entry in book.values_mut() {
                        entry.deadline = rebase(entry.deadline);
                    }
                }
            }
            None if bytes.iter().all(|b| *b == 0) => {}
            // Without its first record nothing says whose sandboxes these are.
            _ => return Err(LedgerError::Foreign),
        }
        let used = bytes.len() - records.0.len();
        let (file, used, allocated) = match write_whole(path, &book, tag, boot, true) {
            Err(e) if e.is_full() && used > 0 => go_on(path, &book, tag, boot, used, bytes.len())?,
            other => other?,
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            used,
            allocated,
            book,
            boot: boot.to_owned(),
            tag,
        })
    }

    /// Whether the ledger of the instance in `state_dir` names any sandbox. One that cannot be read
    /// may.
    pub(crate) fn names_sandboxes(state_dir: &Path) -> bool {
        Self::names(state_dir, |_| true)
    }

    /// Whether it names a paused one.
    pub(crate) fn names_paused(state_dir: &Path) -> bool {
        Self::names(state_dir, |entry| entry.paused.is_some())
    }

    fn names(state_dir: &Path, which: impl Fn(&Entry) -> bool) -> bool {
        let mut book = Book::new();
        match std::fs::read(state_dir.join("privd/ledger")) {
            Ok(bytes) => Records(&bytes).for_each(|record| apply(&mut book, &record)),
            Err(e) => return e.kind() != io::ErrorKind::NotFound,
        }
        book.values().any(which)
    }

    /// The file, for a worker that syncs it.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// All sandboxes.
    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    /// One sandbox.
    pub(crate) fn get(&self, sandbox: &SandboxId) -> Option<&Entry> {
        self.book.get(sandbox)
    }

    /// Whether new work may be recorded.
    ///
    /// # Errors
    /// [`LedgerError::NoSpace`] when the room for removals would be used.
    pub(crate) fn admit(&mut self) -> Result<(), LedgerError> {
        if self.allocated < self.used + RESERVE {
            self.allocated = allocate(&self.file, self.allocated)?;
        }
        Ok(())
    }

    /// Writes a record and applies it. It is applied even when the write fails: the kernel has
    /// changed, and reconciliation finds by itself what the file does not say.
    ///
    /// # Errors
    /// [`LedgerError::File`]; new work is then undone by the caller, a removal goes on.
    pub(crate) fn append(&mut self, record: Record) -> Result<(), LedgerError> {
        let result = frame(&record).and_then(|bytes| {
            self.file
                .write_all_at(&bytes, self.used)
                .map(|()| bytes.len())
        });
        apply(&mut self.book, &record);
        self.used += result.map_err(|e| LedgerError::File("writing", e))? as u64;
        self.allocated = self.allocated.max(self.used);
        Ok(())
    }

    /// Starts a fresh file when the old one is mostly history. Synced only where a paused sandbox relies on it.
    ///
    /// # Errors
    /// [`LedgerError`]; the old file stays in use.
    pub(crate) fn tidy(&mut self) -> Result<(), LedgerError> {
        let needed = self.book.len() as u64 * 512;
        if self.used > REWRITE.max(8 * needed) {
            let relied_on = self.book.values().any(|entry| entry.paused.is_some());
            (self.file, self.used, self.allocated) =
                write_whole(&self.path, &self.book, self.tag, &self.boot, relied_on)?;
        }
        Ok(())
    }
}

/// Records of a byte string up to its end or to the first that is not whole.
struct Records<'a>(&'a [u8]);

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let (head, rest) = self.0.split_first_chunk::<HEAD>()?;
        let length = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let crc = u32::from_le_bytes([head[2], head[3], head[4], head[5]]);
        let body = rest
            .get(..length)
            .filter(|body| !body.is_empty() && crc32(body) == crc)?;
        let record = postcard::from_bytes(body).ok()?;
        self.0 = &rest[length..];
        Some(record)
    }
}

fn apply(book: &mut Book, record: &Record) {
    let mut with = |sandbox: &SandboxId, change: &mut dyn FnMut(&mut Entry)| {
        if let Some(entry) = book.get_mut(sandbox) {
            change(entry);
        }
    };
    match record {
        Record::Start { .. } => {}
        Record::Lease {
            sandbox,
            lease,
            range,
            deadline,
        } => {
            let entry = Entry {
                lease: lease.clone(),
                range: *range,
                deadline: *deadline,
                storage: Part::None,
                cell: Part::None,
                paused: None,
                ending: None,
            };
            book.insert(sandbox.clone(), entry);
        }
        Record::Moved { sandbox, deadline } => with(sandbox, &mut |e| e.deadline = *deadline),
        Record::StorageBegun { sandbox, op } => {
            with(sandbox, &mut |e| e.storage = Part::Begun(*op));
        }
        Record::StorageMade { sandbox } => with(sandbox, &mut |e| {
            if let Part::Begun(op) = e.storage {
                e.storage = Part::Made(op, ());
            }
        }),
        Record::StorageGone { sandbox } => with(sandbox, &mut |e| {
            e.storage = Part::None;
            e.paused = None;
        }),
        Record::CellBegun { sandbox, op } => with(sandbox, &mut |e| e.cell = Part::Begun(*op)),
        Record::CellMade {
            sandbox,
            handle,
            limits,
        } => with(sandbox, &mut |e| {
            if let Part::Begun(op) = e.cell {
                e.cell = Part::Made(op, (handle.clone(), *limits));
            }
        }),
        Record::CellGone { sandbox } => with(sandbox, &mut |e| {
            e.cell = Part::None;
            // Its disk is all that is left.
            e.paused = e.paused.map(|_| false);
        }),
        Record::Ending { sandbox, reason } => with(sandbox, &mut |e| e.ending = Some(*reason)),
        Record::Gone { sandbox } => {
            book.remove(sandbox);
        }
        Record::Paused { sandbox, memory } => with(sandbox, &mut |e| e.paused = Some(*memory)),
        Record::Woken { sandbox } => with(sandbox, &mut |e| e.paused = None),
        Record::Turned {
            sandbox,
            at_deadline,
        } => with(sandbox, &mut |e| e.lease.at_deadline = *at_deadline),
    }
}

/// The records that make `book` again.
fn records_of<'a>(
    book: &'a Book,
    tag: InstanceTag,
    boot: &str,
) -> impl Iterator<Item = Record> + use<'a> {
    let start = Record::Start {
        version: VERSION,
        tag,
        boot: boot.to_owned(),
    };
    std::iter::once(start).chain(book.iter().flat_map(|(sandbox, entry)| {
        let sandbox = || sandbox.clone();
        let mut out = vec![Record::Lease {
            sandbox: sandbox(),
            lease: entry.lease.clone(),
            range: entry.range,
            deadline: entry.deadline,
        }];
        if let Part::Begun(op) | Part::Made(op, ()) = entry.storage {
            out.push(Record::StorageBegun {
                sandbox: sandbox(),
                op,
            });
        }
        if let Part::Made(..) = entry.storage {
            out.push(Record::StorageMade { sandbox: sandbox() });
        }
        if let Part::Begun(op) | Part::Made(op, _) = entry.cell {
            out.push(Record::CellBegun {
                sandbox: sandbox(),
                op,
            });
        }
        if let Part::Made(_, (handle, limits)) = &entry.cell {
            out.push(Record::CellMade {
                sandbox: sandbox(),
                handle: handle.clone(),
                limits: *limits,
            });
        }
        out.extend(entry.paused.map(|memory| Record::Paused {
            sandbox: sandbox(),
            memory,
        }));
        out.extend(entry.ending.map(|reason| Record::Ending {
            sandbox: sandbox(),
            reason,
        }));
        out
    }))
}

fn write_whole(
    path: &Path,
    book: &Book,
    tag: InstanceTag,
    boot: &str,
    sync: bool,
) -> Result<(File, u64, u64), LedgerError> {
    let fresh = path.with_extension("new");
    let failed = |what| move |e| LedgerError::File(what, e);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(failed("making"))?;
    let mut bytes = Vec::new();
    for record in records_of(book, tag, boot) {
        bytes.extend(frame(&record).map_err(failed("encoding"))?);
    }
    file.write_all(&bytes).map_err(failed("writing"))?;
    let used = file.seek(SeekFrom::End(0)).map_err(failed("writing"))?;
    // A full disk must not keep privd from starting: it has sandboxes to end.
    let allocated = match allocate(&file, used) {
        Ok(allocated) => allocated,
        Err(LedgerError::NoSpace) => used,
        Err(e) => return Err(e),
    };
    if sync {
        file.sync_data().map_err(failed("syncing"))?;
    }
    std::fs::rename(&fresh, path).map_err(failed("replacing"))?;
    Ok((file, used, allocated))
}

/// Goes on in the old file, for want of room for a fresh one: privd must start to be able to remove
/// sandboxes. Its torn tail becomes zeroes; what was rebased to this boot is written behind.
fn go_on(
    path: &Path,
    book: &Book,
    tag: InstanceTag,
    boot: &str,
    used: usize,
    length: usize,
) -> Result<(File, u64, u64), LedgerError> {
    let failed = |what| move |e| LedgerError::File(what, e);
    // It may have come into being and hold the last blocks.
    let _ = std::fs::remove_file(path.with_extension("new"));
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(failed("opening"))?;
    let mut tail = vec![0; length - used];
    let start = Record::Start {
        version: VERSION,
        tag,
        boot: boot.to_owned(),
    };
    let moved = book.iter().map(|(sandbox, entry)| Record::Moved {
        sandbox: sandbox.clone(),
        deadline: entry.deadline,
    });
    let mut news = Vec::new();
    for record in std::iter::once(start).chain(moved) {
        news.extend(frame(&record).map_err(failed("encoding"))?);
    }
    let fits = tail.get_mut(..news.len());
    fits.ok_or(LedgerError::NoSpace)?.copy_from_slice(&news);
    file.write_all_at(&tail, used as u64)
        .map_err(failed("writing"))?;
    Ok((file, (used + news.len()) as u64, length as u64))
}

/// Allocates one step more, as zeroes. A file system that cannot (ZFS) keeps no reserve.
fn allocate(file: &File, from: u64) -> Result<u64, LedgerError> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    let step = || fallocate(file, FallocateFlags::empty(), from, STEP);
    match rustix::io::retry_on_intr(step) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(from + STEP),
        Err(Errno::NOSPC | Errno::DQUOT) => Err(LedgerError::NoSpace),
        Err(errno) => Err(LedgerError::File("allocating", errno.into())),
    }
}

fn frame(record: &Record) -> io::Result<Vec<u8>> {
    let mut bytes = postcard::to_extend(record, vec![0; HEAD]).map_err(io::Error::other)?;
    let length = u16::try_from(bytes.len() - HEAD).map_err(io::Error::other)?;
    let crc = crc32(&bytes[HEAD..]);
    bytes[..2].copy_from_slice(&length.to_le_bytes());
    bytes[2..HEAD].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// CRC-32 as in IEEE 802.3, bit by bit: records are short.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAG: &[u8] = b"/state";

    fn id(n: u8) -> SandboxId {
        SandboxId::from_random(&[n; 20])
    }

    fn lease(n: u8) -> Record {
        Record::Lease {
            sandbox: id(n),
            lease: Lease {
                backend: BackendName::new("namespace").expect("a name"),
                template: TemplateName::new("base").expect("a name"),
                limits: Limits {
                    memory_mib: 64,
                    cpu_percent: 100,
                    pids: 16,
                    disk_mib: 64,
                },
                at_deadline: AtDeadline::Destroy,
                volumes: Vec::new(),
            },
            range: u32::from(n),
            deadline: Deadline { mono: 5, wall: 7 },
        }
    }

    /// Any record but [`Record::CellMade`], whose handle is the system layer's own.
    fn record() -> impl Strategy<Value = Record> {
        (0..11_u8, 0..4_u8, any::<[u8; 16]>(), any::<u64>()).prop_map(
            |(kind, n, op, ms)| match kind {
                0 => Record::Moved {
                    sandbox: id(n),
                    deadline: Deadline { mono: ms, wall: ms },
                },
                1 => Record::StorageBegun {
                    sandbox: id(n),
                    op: OpId(op),
                },
                2 => Record::StorageMade { sandbox: id(n) },
                3 => Record::StorageGone { sandbox: id(n) },
                4 => Record::CellBegun {
                    sandbox: id(n),
                    op: OpId(op),
                },
                5 => Record::CellGone { sandbox: id(n) },
                6 => Record::Ending {
                    sandbox: id(n),
                    reason: EndReason::Expired,
                },
                7 => Record::Gone { sandbox: id(n) },
                8 => Record::Paused {
                    sandbox: id(n),
                    memory: ms.is_multiple_of(2),
                },
                9 => Record::Woken { sandbox: id(n) },
                _ => lease(n),
            },
        )
    }

    fn open(path: &Path, boot: &str) -> Result<Ledger, LedgerError> {
        let later = |d: Deadline| Deadline {
            mono: d.mono + 1000,
            wall: d.wall,
        };
        Ledger::open(path, InstanceTag::of_state_dir(TAG), boot, later)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_written_is_read_and_a_torn_tail_is_cut(
            records in proptest::collection::vec(record(), 1..40),
            torn in any::<proptest::sample::Index>(),
            junk in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let dir = tempfile::tempdir().expect("temporary directory");
            let path = dir.path().join("ledger");
            let mut books = vec![Book::new()];
            let mut ends = Vec::new();
            {
                let mut ledger = open(&path, "boot").expect("new");
                ends.push(ledger.used);
                for record in records {
                    ledger.admit().expect("room");
                    ledger.append(record).expect("room");
                    books.push(ledger.book().clone());
                    ends.push(ledger.used);
                }
            }
            let whole = std::fs::read(&path).expect("there");
            let cut = usize::try_from(ends[0]).expect("small") + torn.index(usize::try_from(ends[ends.len() - 1] - ends[0]).expect("small") + 1);
            let mut bytes = whole[..cut].to_vec();
            let last = ends.iter().rposition(|end| usize::try_from(*end).expect("small") <= cut).expect("the first is");
            // Junk after a cut could complete a record only by forging its checksum.
            bytes.extend(&junk);
            std::fs::write(&path, &bytes).expect("room");
            let expected = if cut + junk.len() >= ends.get(last + 1).map_or(usize::MAX, |e| usize::try_from(*e).expect("small"))
                && whole.starts_with(&bytes[..usize::try_from(ends[last + 1]).expect("small")]) { last + 1 } else { last };
            let again = open(&path, "boot").expect("own");
            prop_assert_eq!(again.book(), &books[expected]);
            drop(again);
            let rewritten = open(&path, "boot").expect("own");
            prop_assert_eq!(rewritten.book(), &books[expected]);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Records(&bytes).count();
        }
    }

    #[test]
    fn another_boot_moves_deadlines_and_another_tag_is_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("ledger");
        open(&path, "first")
            .expect("new")
            .append(lease(1))
            .expect("room");
        assert_eq!(
            open(&path, "first")
                .expect("own")
                .get(&id(1))
                .expect("there")
                .deadline
                .mono,
            5
        );
        assert_eq!(
            open(&path, "second")
                .expect("own")
                .get(&id(1))
                .expect("there")
                .deadline
                .mono,
            1005
        );
        let other = Ledger::open(&path, InstanceTag::of_state_dir(b"/other"), "first", |d| d);
        assert!(matches!(other, Err(LedgerError::Foreign)));
        std::fs::write(&path, b"\x05\0garbage").expect("room");
        assert!(matches!(open(&path, "first"), Err(LedgerError::Foreign)));
    }

    #[test]
    fn a_pause_is_remembered_and_without_processes_only_the_disk() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(dir.path().join("privd")).expect("own");
        let path = dir.path().join("privd/ledger");
        let sandbox = || id(1);
        let mut ledger = open(&path, "boot").expect("new");
        for (record, paused) in [
            (lease(1), None),
            (
                Record::Paused {
                    sandbox: sandbox(),
                    memory: true,
                },
                Some(true),
            ),
            (Record::CellGone { sandbox: sandbox() }, Some(false)),
            (Record::Woken { sandbox: sandbox() }, None),
            (Record::CellGone { sandbox: sandbox() }, None),
        ] {
            ledger.append(record).expect("room");
            assert_eq!(ledger.get(&sandbox()).expect("there").paused, paused);
            assert_eq!(Ledger::names_paused(dir.path()), paused.is_some());
            assert!(Ledger::names_sandboxes(dir.path()));
        }
    }

    #[test]
    fn a_long_history_is_rewritten() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("ledger");
        let mut ledger = open(&path, "boot").expect("new");
        ledger.append(lease(1)).expect("room");
        while ledger.used <= REWRITE {
            ledger.admit().expect("room");
            ledger
                .append(Record::Moved {
                    sandbox: id(1),
                    deadline: Deadline { mono: 9, wall: 9 },
                })
                .expect("room");
        }
        ledger.tidy().expect("room");
        assert!(ledger.used < 4096);
        ledger.append(lease(2)).expect("room");
        drop(ledger);
        assert_eq!(open(&path, "boot").expect("own").book().len(), 2);
    }

    #[test]
    fn the_checksum_is_crc32() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
