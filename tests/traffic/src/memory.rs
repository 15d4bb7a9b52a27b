//! How much memory a process has had at most.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A process whose peak is watched.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    pid: u32,
    before: u64,
}

impl Watched {
    /// From now on.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    pub fn begin(pid: u32) -> Self {
        // Sets the peak back to what it has now (proc(5), clear_refs).
        fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("root may");
        let before = peak(pid);
        Self { pid, before }
    }

    /// KiB that it has had more at some time since.
    #[must_use]
    pub fn grown(&self) -> u64 {
        peak(self.pid).saturating_sub(self.before)
    }
}

fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let number = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no peak: {status}"))
}

/// The process of this host that runs the file `program` and is a descendant of `ancestor`.
///
/// # Panics
/// When there is none, or more than one.
#[must_use]
pub fn running(program: &Path, ancestor: u32) -> u32 {
    let wanted = fs::metadata(program).expect("the program");
    let same = |pid: &u32| {
        fs::metadata(format!("/proc/{pid}/exe"))
            .is_ok_and(|m| (m.dev(), m.ino()) == (wanted.dev(), wanted.ino()))
    };
    let all = fs::read_dir("/proc").expect("a host").flatten();
    let found: Vec<u32> = all
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(same)
        .filter(|pid| descends(*pid, ancestor))
        .collect();
    assert_eq!(found.len(), 1, "{}: {found:?}", program.display());
    found[0]
}

fn descends(pid: u32, ancestor: u32) -> bool {
    let parent = |pid: u32| -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("PPid:"))?;
        line.trim().parse().ok()
    };
    let mut at = pid;
    while at != ancestor {
        match parent(at) {
            Some(above) if above != 0 => at = above,
            _ => return false,
        }
    }
    true
}
