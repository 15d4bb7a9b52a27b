//! What the kernel holds of an instance, by the base system's own tools, so that nothing is left unseen.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use warder_wire::RUN_DIR;

/// What is listed, by which program, with which arguments. A program that is not there lists nothing: it is the other
/// system's.
const LISTS: &[(&str, &str, &[&str])] = &[
    ("mount", "mount", &[]),
    ("link", "ip", &["-o", "link"]),
    ("rules", "nft", &["list", "tables"]),
    ("interface", "ifconfig", &["-l"]),
    ("jail", "jls", &["name"]),
    ("dataset", "zfs", &["list", "-H", "-t", "all", "-o", "name"]),
    ("limit", "rctl", &[]),
    ("anchor", "pfctl", &["-v", "-s", "Anchors"]),
];

/// Where a directory with the instance's tag in its name would be a group or a socket of it.
const PLACES: &[&str] = &["/sys/fs/cgroup", RUN_DIR];

/// Everything that carries the tag or lies in `dir`.
pub(crate) fn of(tag: &str, dir: &Path) -> BTreeSet<String> {
    // Names of interfaces have room for a part of the tag only.
    let short = format!("w{}", &tag[..tag.len().min(6)]);
    let dir = dir.display().to_string();
    let mut found = BTreeSet::new();
    for (what, program, args) in LISTS {
        let Ok(out) = Command::new(program).args(*args).output() else {
            continue;
        };
        for line in String::from_utf8_lossy(&out.stdout).lines() {
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

fn below(dir: &Path, tag: &str, depth: u8, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(tag) {
            found.insert(format!("directory {}", entry.path().display()));
        } else if depth > 1 && entry.file_type().is_ok_and(|t| t.is_dir()) {
            below(&entry.path(), tag, depth - 1, found);
        }
    }
}
