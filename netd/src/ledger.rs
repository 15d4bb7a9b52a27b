//! What outlives netd: an append-only file of records, intent before and result after.
//!
//! A record is its length, the CRC-32 of its body (both four bytes, little endian) and a postcard body. What
//! follows the first record that is not whole is cut off: it was being written when something died. Kernel
//! objects do not outlive a boot, so nothing is synced, and a ledger of another boot, or of a netd that wrote
//! other records, counts as empty.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};
use warder_wire::frame::MAX_FRAME;
use warder_wire::{Bounds, Policy, SandboxId};

const FILE: &str = "ledger";
const SCRATCH: &str = "ledger.new";
/// Goes up when records change their shape.
const FORMAT: u32 = 2;
/// A policy comes in a frame and makes the longest record; a length beyond it is not a length.
const MAX_RECORD: usize = MAX_FRAME;
/// Appended bytes after which the file is written anew, at least.
const REWRITE_AFTER: u64 = 1 << 20;

/// One record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Record {
    /// First of every file: the boot it belongs to, and the format of the rest.
    Boot(String),
    /// Counters below this may have been used.
    Counters(u32),
    /// Intent: from now on this policy holds, or a closed port.
    Policy {
        /// The sandbox.
        sandbox: SandboxId,
        /// Its generation.
        generation: u64,
        /// The policy, whole.
        policy: Policy,
    },
    /// Result: rules say so and no flow is left that they forbid.
    InForce {
        /// The sandbox.
        sandbox: SandboxId,
        /// The generation.
        generation: u64,
    },
    /// Intent: the sandbox gets this slot.
    Take {
        /// The sandbox.
        sandbox: SandboxId,
        /// The slot.
        slot: SlotRecord,
        /// What the operator says of its template.
        bounds: Bounds,
    },
    /// Intent: the operator says something else of the template of a sandbox that has a slot.
    Bounds {
        /// The sandbox.
        sandbox: SandboxId,
        /// What from now on.
        bounds: Bounds,
    },
    /// Result: its rules are in force.
    Taken {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// Intent: the slot goes, and the policy with it. The sandbox may take another meanwhile.
    Release {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// Result: this slot is gone, or what there is of a sandbox that has none.
    Released {
        /// The sandbox.
        sandbox: SandboxId,
        /// The slot's counter.
        counter: Option<u32>,
    },
    /// All ports are down, as the packet filter is not what it should be, and these would be if it were; none: it is again.
    Shut(Option<Vec<SandboxId>>),
}

/// What identifies a slot in the kernel.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SlotRecord {
    /// Its place in the block of addresses.
    pub index: u32,
    /// Its counter, which names its port.
    pub counter: u32,
    /// What tells its namespace from others: the inode. Zero where its name does, which has the counter in it.
    pub identity: u64,
}

/// What the records say of one sandbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Generation of the policy, zero if none was set.
    pub generation: u64,
    /// The policy.
    pub policy: Policy,
    /// What the operator said of its template.
    pub bounds: Bounds,
    /// Its slot, if it took one.
    pub slot: Option<SlotRecord>,
    /// Whether the last intent has its result.
    pub settled: bool,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            generation: 0,
            policy: Policy::CLOSED,
            bounds: Bounds::DEFAULT,
            slot: None,
            settled: false,
        }
    }
}

/// What the records say in all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Replay {
    /// Of each sandbox.
    pub sandboxes: BTreeMap<SandboxId, Kept>,
    /// Slots whose release is not finished, by counter.
    pub releasing: BTreeMap<u32, (SandboxId, SlotRecord)>,
    /// Counters below this may have been used.
    pub counters: u32,
    /// Which ports would be down if not all were, which they are unless it is none.
    pub shut: Option<Vec<SandboxId>>,
}

impl Replay {
    /// Takes in one more record.
    pub fn take(&mut self, record: Record) {
        match record {
            Record::Boot(_) => *self = Self::default(),
            Record::Counters(n) => self.counters = self.counters.max(n),
            Record::Shut(sealed) => self.shut = sealed,
            Record::Policy {
                sandbox,
                generation,
                policy,
            } => {
                let kept = self.sandboxes.entry(sandbox).or_default();
                (kept.generation, kept.policy, kept.settled) = (generation, policy, false);
            }
            Record::Take {
                sandbox,
                slot,
                bounds,
            } => {
                let kept = self.sandboxes.entry(sandbox).or_default();
                (kept.slot, kept.bounds, kept.settled) = (Some(slot), bounds, false);
            }
            Record::Bounds { sandbox, bounds } => {
                if let Some(kept) = self.sandboxes.get_mut(&sandbox) {
                    (kept.bounds, kept.settled) = (bounds, false);
                }
            }
            Record::InForce { sandbox, .. } | Record::Taken { sandbox } => {
                if let Some(kept) = self.sandboxes.get_mut(&sandbox) {
                    kept.settled = true;
                }
            }
            Record::Release { sandbox } => {
                if let Some(slot) = self.sandboxes.remove(&sandbox).and_then(|kept| kept.slot) {
                    self.releasing.insert(slot.counter, (sandbox, slot));
                }
            }
            Record::Released {
                sandbox,
                counter: Some(counter),
            } => {
                self.releasing.remove(&counter);
                let of = |kept: &Kept| kept.slot.is_some_and(|slot| slot.counter == counter);
                if self.sandboxes.get(&sandbox).is_some_and(of) {
                    self.sandboxes.remove(&sandbox);
                }
            }
            Record::Released { sandbox, .. } => drop(self.sandboxes.remove(&sandbox)),
        }
    }

    /// The fewest records that say the same.
    #[must_use]
    pub fn records(&self, boot: &str) -> Vec<Record> {
        let mut all = vec![begin(boot), Record::Counters(self.counters)];
        all.extend(self.shut.clone().map(|sealed| Record::Shut(Some(sealed))));
        for (sandbox, slot) in self.releasing.values() {
            let (sandbox, slot) = (sandbox.clone(), *slot);
            all.push(Record::Take {
                sandbox: sandbox.clone(),
                slot,
                bounds: Bounds::DEFAULT,
            });
            all.push(Record::Release { sandbox });
        }
        for (sandbox, kept) in &self.sandboxes {
            let sandbox = || sandbox.clone();
            if kept.generation > 0 || kept.slot.is_none() {
                all.push(Record::Policy {
                    sandbox: sandbox(),
                    generation: kept.generation,
                    policy: kept.policy.clone(),
                });
            }
            if let Some(slot) = kept.slot {
                let bounds = kept.bounds;
                all.push(Record::Take {
                    sandbox: sandbox(),
                    slot,
                    bounds,
                });
            }
            if kept.settled {
                all.push(Record::Taken { sandbox: sandbox() });
            }
        }
        all
    }
}

/// Reads records until the end or the first that is not whole; says how many bytes were good.
#[must_use]
pub fn replay(bytes: &[u8], boot: &str) -> (Replay, usize) {
    let mut replay = Replay::default();
    let mut of_this_boot = false;
    let mut good = 0;
    let own = begin(boot);
    while let Some((record, length)) = decode(&bytes[good..]) {
        if matches!(record, Record::Boot(_)) {
            of_this_boot = record == own;
        }
        if of_this_boot {
            replay.take(record);
        }
        good += length;
    }
    (replay, good)
}

fn begin(boot: &str) -> Record {
    Record::Boot(format!("{FORMAT} {boot}"))
}

fn decode(bytes: &[u8]) -> Option<(Record, usize)> {
    let length = usize::try_from(u32::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    let sum = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(8..8 + length.min(MAX_RECORD + 1))?;
    if length > MAX_RECORD || crc32(body) != sum {
        return None;
    }
    match postcard::take_from_bytes(body) {
        Ok((record, [])) => Some((record, 8 + length)),
        _ => None,
    }
}

fn encode(record: &Record) -> io::Result<Vec<u8>> {
    let mut bytes = postcard::to_extend(record, vec![0; 8]).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len() - 8).map_err(io::Error::other)?;
    let sum = crc32(&bytes[8..]);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

/// CRC-32 as in IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        (sum >> 8) ^ SUMS[usize::from(low ^ byte)]
    })
}

/// Of each byte.
const SUMS: [u32; 256] = {
    let mut sums = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
            bit += 1;
        }
        sums[byte] = sum;
        byte += 1;
    }
    sums
};

/// The open file.
#[derive(Debug)]
pub struct Ledger {
    dir: OwnedFd,
    boot: String,
    file: File,
    length: u64,
    rewrite_at: u64,
    now: Replay,
}

impl Ledger {
    /// Reads the ledger in `dir`, and writes it anew without what is past.
    ///
    /// # Errors
    /// Those of open(2), read(2) and write(2).
    pub fn open(dir: OwnedFd, boot: &str) -> io::Result<(Self, Replay)> {
        let mut bytes = Vec::new();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&dir, FILE, flags, Mode::empty()) {
            Ok(file) => File::from(file).read_to_end(&mut bytes).map(|_| ())?,
            Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let (now, _) = replay(&bytes, boot);
        let (file, length) = rewrite(dir.as_fd(), &now, boot)?;
        let boot = boot.to_owned();
        let rewrite_at = length + REWRITE_AFTER.max(length);
        let ledger = Self {
            dir,
            boot,
            file,
            length,
            rewrite_at,
            now: now.clone(),
        };
        Ok((ledger, now))
    }

    /// Appends a record. When it fails, the file is as before.
    ///
    /// # Errors
    /// Those of write(2); a full disk above all.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let bytes = encode(record)?;
        if let Err(error) = self.file.write_all(&bytes) {
            // Part of a record may be there; later ones behind it would be lost with it.
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.now.take(record.clone());
        if self.length >= self.rewrite_at {
            // The record is there. A file that cannot be written anew goes on growing until the next try.
            if let Ok(whole) = rewrite(self.dir.as_fd(), &self.now, &self.boot) {
                (self.file, self.length) = whole;
            }
            self.rewrite_at = self.length + REWRITE_AFTER.max(self.length);
        }
        Ok(())
    }

    /// Removes the ledger: nothing is left to remember.
    ///
    /// # Errors
    /// Those of unlinkat(2).
    pub fn remove(self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.dir, FILE, AtFlags::empty())?)
    }
}

fn rewrite(dir: BorrowedFd<'_>, now: &Replay, boot: &str) -> io::Result<(File, u64)> {
    let flags =
        OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(
        dir,
        SCRATCH,
        flags,
        Mode::RUSR | Mode::WUSR,
    )?);
    let mut bytes = Vec::new();
    for record in now.records(boot) {
        bytes.extend_from_slice(&encode(&record)?);
    }
    file.write_all(&bytes)?;
    rustix::fs::renameat(dir, SCRATCH, dir, FILE)?;
    Ok((file, bytes.len() as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use warder_wire::Cidr;

    use super::*;

    fn id(n: u8) -> SandboxId {
        SandboxId::from_random(&[n; 20])
    }

    fn policy() -> impl Strategy<Value = Policy> {
        let list = || proptest::collection::vec((any::<u32>(), 0_u8..=32), 0..4);
        (any::<bool>(), list(), list()).prop_map(|(airgap, allow, deny)| {
            let list = |list: Vec<(u32, u8)>| {
                let cidr = |(a, bits): (u32, u8)| Cidr::new(a.into(), bits).expect("fits");
                list.into_iter().map(cidr).collect()
            };
            Policy {
                airgap,
                allow: list(allow),
                deny: list(deny),
                ..Policy::OPEN
            }
        })
    }

    fn bounds() -> impl Strategy<Value = Bounds> {
        (any::<bool>(), 1_u64..9).prop_map(|(airgapped, upload)| Bounds {
            airgapped,
            upload,
            ..Bounds::DEFAULT
        })
    }

    fn record() -> impl Strategy<Value = Record> {
        let slot =
            (any::<u32>(), any::<u32>(), any::<u64>()).prop_map(|(index, counter, identity)| {
                SlotRecord {
                    index,
                    counter,
                    identity,
                }
            });
        let sandbox = (0_u8..4).prop_map(id);
        prop_oneof![
            any::<u32>().prop_map(Record::Counters),
            (sandbox.clone(), any::<u64>(), policy()).prop_map(|(sandbox, generation, policy)| {
                Record::Policy {
                    sandbox,
                    generation,
                    policy,
                }
            }),
            (sandbox.clone(), any::<u64>()).prop_map(|(sandbox, generation)| Record::InForce {
                sandbox,
                generation
            }),
            (sandbox.clone(), slot, bounds()).prop_map(|(sandbox, slot, bounds)| Record::Take {
                sandbox,
                slot,
                bounds
            }),
            (sandbox.clone(), bounds())
                .prop_map(|(sandbox, bounds)| Record::Bounds { sandbox, bounds }),
            sandbox
                .clone()
                .prop_map(|sandbox| Record::Taken { sandbox }),
            sandbox
                .clone()
                .prop_map(|sandbox| Record::Release { sandbox }),
            (sandbox, any::<Option<u32>>())
                .prop_map(|(sandbox, counter)| Record::Released { sandbox, counter }),
            proptest::option::of(proptest::collection::vec(0_u8..4, 0..3))
                .prop_map(|ids| Record::Shut(ids.map(|ids| ids.into_iter().map(id).collect()))),
        ]
    }

    fn written(records: &[Record]) -> Vec<u8> {
        let all = [&[begin("b")], records].concat();
        all.iter()
            .flat_map(|r| encode(r).expect("encodes"))
            .collect()
    }

    proptest! {
        #[test]
        fn a_torn_tail_is_cut_and_the_rest_stands(
            records in proptest::collection::vec(record(), 0..40), cut in any::<prop::sample::Index>(),
        ) {
            let bytes = written(&records);
            let cut = cut.index(bytes.len() + 1);
            let (got, good) = replay(&bytes[..cut], "b");
            prop_assert!(good <= cut);
            let (again, all) = replay(&bytes[..good], "b");
            prop_assert_eq!((&got, good), (&again, all));
            if cut == bytes.len() {
                let mut wanted = Replay::default();
                records.into_iter().for_each(|r| wanted.take(r));
                prop_assert_eq!(got, wanted);
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (_, good) = replay(&bytes, "b");
            prop_assert!(good <= bytes.len());
        }

        #[test]
        fn a_flipped_bit_ends_the_ledger_there(
            records in proptest::collection::vec(record(), 1..20),
            at in any::<prop::sample::Index>(), bit in 0_u8..8,
        ) {
            let mut bytes = written(&records);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let (_, good) = replay(&bytes, "b");
            prop_assert!(good <= at);
        }

        #[test]
        fn what_is_written_anew_says_the_same(records in proptest::collection::vec(record(), 0..40)) {
            let mut state = Replay::default();
            records.into_iter().for_each(|r| state.take(r));
            let bytes: Vec<u8> =
                state.records("b").iter().flat_map(|r| encode(r).expect("encodes")).collect();
            let (mut got, good) = replay(&bytes, "b");
            prop_assert_eq!(good, bytes.len());
            for kept in state.sandboxes.values_mut().chain(got.sandboxes.values_mut()) {
                // What nobody set, and bounds of a sandbox without a slot, are not kept.
                if kept.generation == 0 && kept.slot.is_some() {
                    kept.policy = Policy::CLOSED;
                }
                if kept.slot.is_none() {
                    kept.bounds = Bounds::DEFAULT;
                }
            }
            prop_assert_eq!(got, state);
        }
    }

    #[test]
    fn a_slot_taken_while_the_last_one_goes_is_kept() {
        let sandbox = || id(1);
        let slot = |counter| SlotRecord {
            index: counter,
            counter,
            identity: 7,
        };
        let mut state = Replay::default();
        for record in [
            Record::Take {
                sandbox: sandbox(),
                slot: slot(1),
                bounds: Bounds::DEFAULT,
            },
            Record::Release { sandbox: sandbox() },
            Record::Take {
                sandbox: sandbox(),
                slot: slot(2),
                bounds: Bounds::DEFAULT,
            },
        ] {
            state.take(record);
        }
        for gone in [false, true] {
            if gone {
                state.take(Record::Released {
                    sandbox: sandbox(),
                    counter: Some(1),
                });
            }
            assert_eq!(state.sandboxes[&sandbox()].slot, Some(slot(2)));
            let left: Vec<u32> = state.releasing.keys().copied().collect();
            assert_eq!(left, if gone { vec![] } else { vec![1] });
        }
    }

    #[test]
    fn another_boot_is_another_ledger() {
        let bytes = written(&[Record::Counters(7)]);
        assert_eq!(replay(&bytes, "b").0.counters, 7);
        assert_eq!(replay(&bytes, "c").0, Replay::default());
    }

    #[test]
    fn a_ledger_of_other_records_is_empty() {
        // The first format: the boot alone, then a policy that was a number and a flag.
        let old = encode(&Record::Boot("b".into())).expect("encodes");
        let counters = encode(&Record::Counters(7)).expect("encodes");
        let (got, _) = replay(&[old.clone(), counters.clone()].concat(), "b");
        assert_eq!(got, Replay::default());
        let body = [2, 1, 3, b'a', 5, 1];
        let mut policy = vec![6, 0, 0, 0];
        policy.extend(crc32(&body).to_le_bytes());
        policy.extend(body);
        let own = encode(&begin("b")).expect("encodes");
        let (got, _) = replay(&[old, policy, own, counters].concat(), "b");
        assert_eq!(got, Replay::default(), "what follows cannot be told apart");
    }

    #[test]
    fn the_largest_policy_is_kept() {
        let network = |n: u32| Cidr::new((n << 3).into(), 32).expect("fits");
        let list = || (0..1000).map(network).collect();
        let policy = Policy {
            allow: list(),
            deny: list(),
            ..Policy::OPEN
        };
        assert!(policy.in_bounds());
        let record = Record::Policy {
            sandbox: id(1),
            generation: 1,
            policy: policy.clone(),
        };
        let (got, _) = replay(&written(&[record]), "b");
        assert_eq!(got.sandboxes[&id(1)].policy, policy);
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_record_that_is_there_was_not_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let fd = OwnedFd::from(File::open(dir.path()).expect("there"));
        let (mut ledger, _) = Ledger::open(fd, "b").expect("opens");
        // It cannot be written anew.
        std::fs::create_dir(dir.path().join(SCRATCH)).expect("made");
        for counter in 1..200_000 {
            ledger.append(&Record::Counters(counter)).expect("appends");
        }
        let bytes = std::fs::read(dir.path().join(FILE)).expect("there");
        assert_eq!(replay(&bytes, "b").0.counters, 199_999);
        std::fs::remove_dir(dir.path().join(SCRATCH)).expect("removed");
        for counter in 200_000..500_000 {
            ledger.append(&Record::Counters(counter)).expect("appends");
        }
        let size = std::fs::metadata(dir.path().join(FILE)).expect("there");
        assert!(size.len() < bytes.len() as u64, "written anew");
    }

    #[test]
    fn a_ledger_is_opened_again_and_written_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || {
            let fd = OwnedFd::from(File::open(dir.path()).expect("there"));
            Ledger::open(fd, "b").expect("opens")
        };
        let (mut ledger, empty) = open();
        assert_eq!(empty, Replay::default());
        let policy = |generation| Record::Policy {
            sandbox: id(1),
            generation,
            policy: Policy::OPEN,
        };
        for generation in 1..30_000 {
            ledger.append(&policy(generation)).expect("appends");
        }
        drop(ledger);
        let size = std::fs::metadata(dir.path().join(FILE))
            .expect("there")
            .len();
        assert!(size < REWRITE_AFTER + 1024, "{size}");
        let (ledger, replay) = open();
        assert_eq!(replay.sandboxes[&id(1)].generation, 29_999);
        ledger.remove().expect("removes");
        assert_eq!(open().1, Replay::default());
    }
}
