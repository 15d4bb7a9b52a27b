//! A small file system for a state directory.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One of so many MiB; gone at the end.
#[derive(Debug)]
pub(crate) enum Disk {
    /// In memory, mounted there.
    Memory(PathBuf),
    /// A dataset with a quota, which bounds what is made below it as well.
    Dataset(String),
}

impl Disk {
    /// Mounts one at `at`. Where sandboxes are `datasets` it is one too.
    pub(crate) fn make(at: &Path, mib: u32, datasets: bool) -> Self {
        if datasets {
            return Self::dataset(at, mib);
        }
        let size = format!("size={mib}m,mode=0755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "test"])
            .arg(at)
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "tests run as root, who may mount"
        );
        Self::Memory(at.to_owned())
    }

    /// Below the dataset that `at` lies in. A part of it is the daemons' own, as it has to be where operators make one for a
    /// state directory: what lies below is what sandboxes fill.
    fn dataset(at: &Path, mib: u32) -> Self {
        let around = Command::new("zfs")
            .args(["list", "-H", "-o", "name"])
            .arg(at)
            .output()
            .expect("zfs(8)");
        let around = String::from_utf8_lossy(&around.stdout).trim().to_owned();
        assert!(
            !around.is_empty(),
            "{} lies in no dataset: TMPDIR has to",
            at.display()
        );
        // The directory above has a name of its own.
        let own = at.parent().and_then(Path::file_name).unwrap_or_default();
        let dataset = format!("{around}/{}", own.to_string_lossy());
        let made = Command::new("zfs")
            .args(["create", "-o", &format!("quota={mib}m")])
            .args(["-o", &format!("refreservation={}m", mib / 3)])
            .args(["-o", &format!("mountpoint={}", at.display()), &dataset])
            .status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "tests run as root, who may make {dataset}"
        );
        Self::Dataset(dataset)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = match self {
            Self::Memory(at) => Command::new("umount").arg("-l").arg(at).status(),
            Self::Dataset(name) => Command::new("zfs").args(["destroy", "-R", name]).status(),
        };
    }
}
