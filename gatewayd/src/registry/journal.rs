//! The journal: what has happened since the database was last written.
//!
//! redb's commits without sync live in the process and die with it, and its durable commits cost a sync.
//! So each change is first appended here with one write(2): from then on it survives the death of this
//! process (the page cache has it), though not a loss of power, after which no sandbox exists either.
//! A thread folds changes into the database. There are two files; one is written while the other, already
//! folded, is emptied. Records carry a number, so replaying both in order is always right.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};

use super::record::{Change, FORMAT};

/// Longest record in bytes; a sandbox's metadata is bounded well below it.
const LONGEST: usize = 2 * 1024 * 1024;
const SUM: usize = 8;
const HEAD: usize = 4 + SUM;

/// The two files and who is written.
#[derive(Debug)]
pub(crate) struct Journal {
    files: [File; 2],
    active: usize,
    next: u64,
    /// Written since the last turn, not folded yet.
    fresh: Vec<(u64, Change)>,
    bytes: usize,
}

/// Changes to fold, and which file may be emptied afterwards.
#[derive(Debug)]
pub(crate) struct Turn {
    /// The changes with their numbers, in order.
    pub(crate) changes: Vec<(u64, Change)>,
    file: usize,
}

impl Journal {
    /// Reads both files. What they hold counts as fresh; a torn last record is cut off.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn open(mut files: [File; 2]) -> io::Result<Self> {
        let mut fresh = Vec::new();
        for file in &mut files {
            let (changes, whole) = read_all(file)?;
            fresh.extend(changes);
            file.set_len(whole)?;
        }
        fresh.sort_by_key(|(number, _)| *number);
        let next = fresh.last().map_or(1, |(number, _)| number + 1);
        Ok(Self {
            files,
            active: 0,
            next,
            fresh,
            bytes: 0,
        })
    }

    /// Numbers go on from here; called once with what the database has seen.
    pub(crate) fn go_on_from(&mut self, seen: u64) {
        self.next = self.next.max(seen + 1);
    }

    /// What the files held that the database has not seen.
    pub(crate) fn unfolded(&self) -> impl Iterator<Item = &(u64, Change)> {
        self.fresh.iter()
    }

    /// Writes a change down.
    ///
    /// # Errors
    /// When the file system refuses; nothing of the record is left then.
    pub(crate) fn append(&mut self, change: Change) -> io::Result<()> {
        let number = self.next;
        let record = encode(number, &change)?;
        let file = &mut self.files[self.active];
        let end = file.seek(SeekFrom::End(0))?;
        if let Err(error) = file.write_all(&record) {
            let _ = file.set_len(end);
            return Err(error);
        }
        self.next += 1;
        self.bytes += record.len();
        self.fresh.push((number, change));
        Ok(())
    }

    /// Bytes written since the last turn.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits to be folded.
    pub(crate) fn is_empty(&self) -> bool {
        self.fresh.is_empty()
    }

    /// Hands out what is fresh and turns to the other file.
    pub(crate) fn turn(&mut self) -> Turn {
        let turn = Turn {
            changes: std::mem::take(&mut self.fresh),
            file: self.active,
        };
        self.active = 1 - self.active;
        self.bytes = 0;
        turn
    }

    /// The turn's changes are in the database for good: its file is emptied.
    ///
    /// # Errors
    /// When it cannot be; the records are then folded once more later, which changes nothing.
    pub(crate) fn folded(&mut self, turn: &Turn) -> io::Result<()> {
        self.files[turn.file].set_len(0)
    }

    /// The turn could not be folded: its changes are fresh again.
    pub(crate) fn not_folded(&mut self, turn: Turn) {
        let mut changes = turn.changes;
        changes.append(&mut self.fresh);
        self.fresh = changes;
    }
}

fn encode(number: u64, change: &Change) -> io::Result<Vec<u8>> {
    let body = postcard::to_stdvec(&(FORMAT, number, change)).map_err(io::Error::other)?;
    if body.len() > LONGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut record = Vec::with_capacity(HEAD + body.len());
    record.extend(length.to_le_bytes());
    record.extend(&Sha256::digest(&body)[..SUM]);
    record.extend(body);
    Ok(record)
}

/// All whole records, and how many bytes they take.
fn read_all(file: &mut File) -> io::Result<(Vec<(u64, Change)>, u64)> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    let (mut changes, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((change, after)) = decode(rest) {
        changes.push(change);
        rest = after;
    }
    Ok((changes, (bytes.len() - rest.len()) as u64))
}

fn decode(bytes: &[u8]) -> Option<((u64, Change), &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<SUM>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let body = rest.get(..length)?;
    if Sha256::digest(body)[..SUM] != sum[..] {
        return None;
    }
    let (format, number, change) = postcard::from_bytes::<(u32, u64, Change)>(body).ok()?;
    (format == FORMAT).then_some(((number, change), &rest[length..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn files() -> [File; 2] {
        [
            tempfile::tempfile().expect("tmp"),
            tempfile::tempfile().expect("tmp"),
        ]
    }

    fn again(journal: &Journal) -> Journal {
        Journal::open([
            journal.files[0].try_clone().expect("dup"),
            journal.files[1].try_clone().expect("dup"),
        ])
        .expect("reads")
    }

    #[test]
    fn both_files_replay_in_order() {
        let mut journal = Journal::open(files()).expect("empty");
        journal.append(Change::KeyGone("a".into())).expect("room");
        let turn = journal.turn();
        journal.append(Change::KeyGone("b".into())).expect("room");
        let names = |j: &Journal| {
            j.unfolded()
                .map(|(n, c)| {
                    (
                        *n,
                        if let Change::KeyGone(id) = c {
                            id.clone()
                        } else {
                            String::new()
                        },
                    )
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&again(&journal)), [(1, "a".into()), (2, "b".into())]);
        journal.folded(&turn).expect("truncates");
        assert_eq!(names(&again(&journal)), [(2, "b".into())]);
    }

    #[test]
    fn a_torn_record_is_cut_off_and_the_next_is_readable() {
        let mut journal = Journal::open(files()).expect("empty");
        journal.append(Change::KeyGone("a".into())).expect("room");
        journal.append(Change::KeyGone("b".into())).expect("room");
        let length = journal.files[0].metadata().expect("stat").len();
        journal.files[0].set_len(length - 1).expect("truncates");
        let mut journal = again(&journal);
        assert_eq!(journal.unfolded().count(), 1);
        journal.append(Change::KeyGone("c".into())).expect("room");
        assert_eq!(again(&journal).unfolded().count(), 2);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
