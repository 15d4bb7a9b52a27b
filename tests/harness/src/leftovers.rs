//! What the kernel holds of an instance, by the base system's own tools, so that nothing is left unseen.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use warder_wire::{InstanceTag, RUN_DIR};

/// What is listed, by which program, with which arguments. A program, or a file, that is not there lists nothing: it is the
/// other system's.
const LISTS: &[(&str, &str, &[&str])] = &[
    // Says which part of a file system is mounted, which mount(8) does not.
    ("mount", "cat", &["/proc/self/mountinfo"]),
    ("mount", "mount", &[]),
    ("link", "ip", &["-o", "link"]),
    ("rules", "nft", &["list", "tables"]),
    ("interface", "ifconfig", &["-l"]),
    ("jail", "jls", &["name"]),
    // Templates and volumes are the instance's own files, as its state directory is.
    (SANDBOXES, "zfs", &["list", "-H", "-t", "all", "-o", "name"]),
    ("limit", "rctl", &[]),
    ("anchor", "pfctl", &["-v", "-s", "Anchors"]),
];

/// Datasets of sandboxes alone.
const SANDBOXES: &str = "dataset";

/// Where a directory with the instance's tag in its name would be a group or a socket of it.
const PLACES: &[&str] = &["/sys/fs/cgroup", RUN_DIR];

/// Everything that carries the tag or lies in `dir`.
#[must_use]
pub fn of(tag: &str, dir: &Path) -> BTreeSet<String> {
    // Names of interfaces have room for a part of the tag only.
    let short = format!("w{}", &tag[..tag.len().min(6)]);
    let dir = dir.display().to_string();
    let mut found = BTreeSet::new();
    for (what, program, args) in LISTS {
        let Ok(out) = Command::new(program).args(*args).output() else {
            continue;
        };
        for line in String::from_utf8_lossy(&out.stdout).lines() {
            if *what == SANDBOXES && !line.contains("/sandboxes/") {
                continue;
            }
            if line.contains(tag) || line.contains(&short) || line.contains(&dir) {
                found.insert(format!("{what} {}", line.trim()));
            }
        }
    }
    for place in PLACES {
        below(Path::new(place), tag, 2, &mut found);
    }
    found
}

/// Destroys the datasets that hold what an instance stored, when its state directory is about to go: as long as that is
/// there, they are its files. Only what privd has marked with the instance's tag (zfsprops(7), user properties).
pub fn destroy_datasets(tag: &InstanceTag) {
    let list = ["list", "-H", "-o", "name,org.warder:tag"];
    let Ok(out) = Command::new("zfs").args(list).output() else {
        return;
    };
    let tag = tag.to_string();
    let name = format!("/warder-{tag}");
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let Some((dataset, owner)) = line.split_once('\t') else {
            continue;
        };
        if owner != tag || !dataset.ends_with(&name) {
            continue;
        }
        let ended = Command::new("zfs")
            .args(["destroy", "-R", dataset])
            .status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("{dataset} is left");
        }
    }
}

fn below(dir: &Path, tag: &str, depth: u8, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(tag) {
            found.insert(format!("directory {}", entry.path().display()));
        } else if depth > 1 && entry.file_type().is_ok_and(|t| t.is_dir()) {
            below(&entry.path(), tag, depth - 1, found);
        }
    }
}
