//! What instances of one host must not share: a number, and with it a block of ids and of addresses.
//!
//! `claims` in [`warder_wire::RUN_DIR`] has a line `NUMBER TAG STATE_DIR` for each claim; `lock` there is held
//! while it is read and written. A claim outlives its privd as long as sandboxes may.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use warder_host::cell::IdRange;
use warder_wire::InstanceTag;

/// Host ids below this one are left to the host and to other software.
const FIRST_ID: u32 = 0x2000_0000;
/// Ids of one instance.
const IDS: u32 = 0x0600_0000;
/// Ids of one sandbox.
const SANDBOX_IDS: u32 = 0x1_0000;
/// Instances on one host.
const INSTANCES: u16 = 37;
/// Sandboxes of one instance: the first range is the daemons'.
pub(crate) const SANDBOXES: u32 = IDS / SANDBOX_IDS - 1;
/// First address of instance 0's sandboxes; 4,096 addresses each.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 192, 0, 0);
const ADDRESSES: u32 = 4096;

/// What an instance may call its own on this host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Claim {
    /// The instance's number.
    pub instance: u16,
}

impl Claim {
    /// Ids of the sandbox with range `n`, counted from zero.
    #[must_use]
    pub(crate) fn range(self, n: u32) -> IdRange {
        IdRange {
            first: self.first_id() + (n + 1) * SANDBOX_IDS,
            count: SANDBOX_IDS,
        }
    }

    /// Id `n` of the daemons' own range.
    #[must_use]
    pub(crate) fn daemon(self, n: u32) -> u32 {
        self.first_id() + n
    }

    /// First address of its sandboxes.
    #[must_use]
    pub(crate) fn addresses(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(FIRST_ADDRESS.to_bits() + u32::from(self.instance) * ADDRESSES)
    }

    fn first_id(self) -> u32 {
        FIRST_ID + u32::from(self.instance) * IDS
    }
}

/// Why there is no claim.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// Another instance has the same tag.
    #[error("{} has the same tag; choose another state directory", .0.display())]
    SameTag(PathBuf),
    /// All numbers are claimed.
    #[error(
        "all {INSTANCES} instance numbers of this host are claimed (see {}/claims)",
        warder_wire::RUN_DIR
    )]
    Exhausted,
    /// A file operation failed.
    #[error("{0} failed")]
    File(&'static str, #[source] io::Error),
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Line {
    instance: u16,
    tag: String,
    state_dir: PathBuf,
}

/// The claims of a host.
#[derive(Debug)]
pub(crate) struct Claims<'a> {
    dir: &'a Path,
    tag: InstanceTag,
    state_dir: &'a Path,
}

impl<'a> Claims<'a> {
    /// The claims kept in `dir` ([`warder_wire::RUN_DIR`]), for the instance of `state_dir`.
    pub(crate) fn new(dir: &'a Path, tag: InstanceTag, state_dir: &'a Path) -> Self {
        Self {
            dir,
            tag,
            state_dir,
        }
    }

    /// Claims a number: the one held already, else `before`, else one nobody holds, else a stale one.
    /// `has_sandboxes` says whether the ledger in a state directory names any.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub(crate) fn take(
        &self,
        before: Option<u16>,
        has_sandboxes: impl Fn(&Path) -> bool,
    ) -> Result<Claim, ClaimError> {
        let _lock = self.lock()?;
        let mut lines = self.read()?;
        if let Some(other) = lines
            .iter()
            .find(|l| l.tag == self.tag.to_string() && l.state_dir != self.state_dir)
            && other.state_dir.exists()
        {
            return Err(ClaimError::SameTag(other.state_dir.clone()));
        }
        let held = |n: u16| lines.iter().any(|l| l.instance == n);
        let own = lines
            .iter()
            .find(|l| l.state_dir == self.state_dir)
            .map(|l| l.instance);
        let stale = |l: &&Line| {
            !l.state_dir.exists() || (!alive(&l.state_dir) && !has_sandboxes(&l.state_dir))
        };
        let instance = own
            .or_else(|| before.filter(|n| *n < INSTANCES && !held(*n)))
            .or_else(|| (0..INSTANCES).find(|n| !held(*n)))
            .or_else(|| lines.iter().find(stale).map(|l| l.instance))
            .ok_or(ClaimError::Exhausted)?;
        lines.retain(|l| l.instance != instance && l.state_dir != self.state_dir);
        lines.push(Line {
            instance,
            tag: self.tag.to_string(),
            state_dir: self.state_dir.to_owned(),
        });
        self.write(&lines)?;
        Ok(Claim { instance })
    }

    /// Gives the number back.
    ///
    /// # Errors
    /// [`ClaimError::File`].
    pub(crate) fn release(&self) -> Result<(), ClaimError> {
        let _lock = self.lock()?;
        let mut lines = self.read()?;
        let before = lines.len();
        lines.retain(|l| l.state_dir != self.state_dir);
        if lines.len() == before {
            return Ok(());
        }
        self.write(&lines)
    }

    fn lock(&self) -> Result<File, ClaimError> {
        lock_file(&self.dir.join("lock"), Duration::from_secs(5))
            .map_err(|e| ClaimError::File("locking the host's claims", e))
    }

    fn read(&self) -> Result<Vec<Line>, ClaimError> {
        match fs::read(self.dir.join("claims")) {
            Ok(text) => Ok(text.split(|b| *b == b'\n').filter_map(parse).collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(ClaimError::File("reading the host's claims", e)),
        }
    }

    fn write(&self, lines: &[Line]) -> Result<(), ClaimError> {
        if lines.is_empty() {
            return fs::remove_file(self.dir.join("claims"))
                .map_err(|e| ClaimError::File("removing the host's claims", e));
        }
        let mut text = Vec::new();
        for line in lines {
            text.extend(format!("{} {} ", line.instance, line.tag).into_bytes());
            text.extend(line.state_dir.as_os_str().as_bytes());
            text.push(b'\n');
        }
        let fresh = self.dir.join("claims.new");
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, self.dir.join("claims")))
            .map_err(|e| ClaimError::File("writing the host's claims", e))
    }
}

fn parse(line: &[u8]) -> Option<Line> {
    let mut parts = line.splitn(3, |b| *b == b' ');
    let instance = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let tag = std::str::from_utf8(parts.next()?).ok()?.to_owned();
    let state_dir = PathBuf::from(std::ffi::OsStr::from_bytes(parts.next()?));
    (instance < INSTANCES && state_dir.is_absolute()).then_some(Line {
        instance,
        tag,
        state_dir,
    })
}

/// Whether a privd holds the lock of `state_dir`.
fn alive(state_dir: &Path) -> bool {
    let Ok(file) = File::open(state_dir.join("privd/lock")) else {
        return false;
    };
    flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
}

/// Opens (making it if needed) and locks a file for this process alone, waiting for at most `patience`.
///
/// # Errors
/// `WouldBlock` when another process still holds it; others from open(2).
pub(crate) fn lock_file(path: &Path, patience: Duration) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let end = Instant::now() + patience;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(root: &Path, name: &str) -> PathBuf {
        let dir = root.join(name);
        fs::create_dir_all(dir.join("privd")).expect("temporary directory");
        dir
    }

    fn claims<'a>(root: &'a Path, state_dir: &'a Path) -> Claims<'a> {
        Claims::new(
            root,
            InstanceTag::of_state_dir(state_dir.as_os_str().as_bytes()),
            state_dir,
        )
    }

    #[test]
    fn numbers_are_kept_given_back_and_preferred() {
        let root = tempfile::tempdir().expect("temporary directory");
        let (a, b) = (state(root.path(), "a"), state(root.path(), "b with space"));
        let none = |_: &Path| false;
        assert_eq!(
            claims(root.path(), &a)
                .take(None, none)
                .expect("free")
                .instance,
            0
        );
        assert_eq!(
            claims(root.path(), &b)
                .take(Some(0), none)
                .expect("free")
                .instance,
            1
        );
        assert_eq!(
            claims(root.path(), &b)
                .take(None, none)
                .expect("own")
                .instance,
            1
        );
        claims(root.path(), &a).release().expect("held");
        assert_eq!(
            claims(root.path(), &a)
                .take(Some(7), none)
                .expect("free")
                .instance,
            7
        );
    }

    #[test]
    fn only_stale_numbers_are_taken_from_others() {
        let root = tempfile::tempdir().expect("temporary directory");
        for n in 0..INSTANCES {
            let dir = state(root.path(), &format!("s{n}"));
            claims(root.path(), &dir)
                .take(None, |_| true)
                .expect("free");
        }
        let late = state(root.path(), "late");
        assert!(matches!(
            claims(root.path(), &late).take(None, |_| true),
            Err(ClaimError::Exhausted)
        ));
        let held = lock_file(&root.path().join("s0/privd/lock"), Duration::ZERO).expect("free");
        let second_only = |dir: &Path| !dir.ends_with("s0") && !dir.ends_with("s1");
        assert_eq!(
            claims(root.path(), &late)
                .take(None, second_only)
                .expect("s1 is stale")
                .instance,
            1
        );
        drop(held);
    }

    #[test]
    fn blocks_do_not_overlap() {
        let last = Claim {
            instance: INSTANCES - 1,
        };
        let end = last.range(SANDBOXES - 1);
        assert!(end.first.checked_add(end.count).is_some());
        assert_eq!(
            Claim { instance: 1 }.daemon(0),
            Claim { instance: 0 }.range(SANDBOXES - 1).first + SANDBOX_IDS
        );
        assert_eq!(
            Claim { instance: 1 }.addresses(),
            Ipv4Addr::new(10, 192, 16, 0)
        );
    }
}
