//! How much disk sandboxes use. Without quotas nothing counts it, so a worker does now and then.
//!
//! Guests may change what is counted meanwhile: no link is followed and no `..` taken, what has gone is skipped, and
//! work and descriptors are bounded. A tree beyond the bounds is known to use at least what was counted.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use std::os::fd::OwnedFd;
use warder_common::{At, Result};
use warder_wire::SandboxId;

use super::{DIRECTORY, Store, write_all};

/// Levels of directories looked into; one descriptor each.
const MOST_DEPTH: usize = 64;
/// Entries looked at in one sandbox.
const MOST_ENTRIES: u32 = 100_000;
/// Bytes of a block of `st_blocks` (stat(3type)).
const BLOCK: u64 = 512;

impl Store {
    /// Counts what each sandbox has written. Slow: for a worker that keeps this store's descriptor.
    ///
    /// # Errors
    /// `System` when sandboxes cannot be listed or a count cannot be kept.
    pub fn measure(&self) -> Result<()> {
        let cells = self.open_dir("cells")?;
        let uncounted = |sandbox: &SandboxId| !self.bounds(sandbox);
        for sandbox in self.list()?.into_iter().filter(uncounted) {
            let Ok(cell) = rustix::fs::openat(&cells, sandbox.as_str(), DIRECTORY, Mode::empty())
            else {
                continue;
            };
            let mut entries = 0;
            let uppers = ["up", "usr-up"]
                .into_iter()
                .filter_map(|name| rustix::fs::openat(&cell, name, DIRECTORY, Mode::empty()).ok());
            let bytes: u64 = uppers.map(|upper| count(upper, &mut entries)).sum();
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
            let fresh = rustix::fs::openat(&cell, "used.new", flags, Mode::RUSR | Mode::WUSR)
                .at("keep a count")?;
            write_all(&fresh, bytes.to_string().as_bytes())?;
            rustix::fs::renameat(&cell, "used.new", &cell, "used").at("keep a count")?;
        }
        Ok(())
    }

    /// Bytes that a sandbox uses, or used when last counted.
    #[must_use]
    pub fn used(&self, sandbox: &SandboxId) -> Option<u64> {
        if let Some(bytes) = self.counted(sandbox) {
            return Some(bytes);
        }
        let path = self.path.join("cells").join(sandbox.as_str()).join("used");
        std::fs::read_to_string(path).ok()?.parse().ok()
    }
}

/// Bytes on disk of what is in `top`; a file with several names counts once for all of them.
fn count(top: OwnedFd, entries: &mut u32) -> u64 {
    let mut bytes = 0;
    let mut open: Vec<Dir> = Dir::new(top).into_iter().collect();
    while let Some(level) = open.last_mut() {
        let Some(Ok(entry)) = level.next() else {
            open.pop();
            continue;
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        *entries += 1;
        if *entries > MOST_ENTRIES {
            break;
        }
        let Ok(at) = level.fd() else { continue };
        let Ok(stat) = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let size = u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            bytes += size / stat.st_nlink.max(1);
            continue;
        }
        bytes += size;
        let below = rustix::fs::openat(at, name, DIRECTORY, Mode::empty());
        if let Ok(below) = below.and_then(Dir::new)
            && open.len() < MOST_DEPTH
        {
            open.push(below);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(top: &std::path::Path) -> (u64, u32) {
        let mut entries = 0;
        let top = rustix::fs::open(top, DIRECTORY, Mode::empty()).expect("opens");
        (count(top, &mut entries), entries)
    }

    #[test]
    fn each_file_counts_once_and_links_lead_nowhere() {
        let top = tempfile::tempdir().expect("a directory");
        let path = |name: &str| top.path().join(name);
        std::fs::create_dir(path("a")).expect("makes");
        std::fs::write(path("a/file"), vec![1; 1 << 20]).expect("writes");
        std::fs::hard_link(path("a/file"), path("again")).expect("links");
        std::os::unix::fs::symlink("/", path("root")).expect("links");
        let (bytes, entries) = counted(top.path());
        assert_eq!(entries, 4);
        assert!((1 << 20..(1 << 20) + 65_536).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_deep_tree_is_counted_as_far_as_descriptors_go() {
        let top = tempfile::tempdir().expect("a directory");
        let deep: std::path::PathBuf = std::iter::repeat_n("d", 3 * MOST_DEPTH).collect();
        std::fs::create_dir_all(top.path().join(deep)).expect("makes");
        assert_eq!(
            counted(top.path()).1,
            u32::try_from(MOST_DEPTH).expect("small")
        );
    }
}
