//! A host that is switched off and on again: every process of an instance at once, and all that is in memory.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use warder_harness::Instance;

use crate::kernel::{ids, names, owner, tops};
use crate::settle::PATIENCE;

/// Ends everything of an instance as a loss of power does: nobody is asked, and nothing of it is left but its files, and a
/// line of its number in a file that all instances share.
///
/// # Panics
/// When something does not go.
pub fn cut(instance: &mut Instance) {
    let tag = instance.tag().to_string();
    let dir = instance.state_dir().parent().expect("its own").to_owned();
    instance.kill_privd();
    let end = Instant::now() + PATIENCE;
    // Whoever starts another process meanwhile is met the next time.
    loop {
        let left = processes(instance, &tag, &dir);
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "processes stay: {left:?}");
        let pids = left.iter().map(String::as_str);
        let _ = Command::new("kill").arg("-9").args(pids).output();
        // With the first kind of control groups the frozen end when they are thawed.
        for group in groups(&tag) {
            let _ = fs::write(group.join("freezer.state"), "THAWED");
        }
        thread::sleep(Duration::from_millis(10));
    }
    for mount in mounts(&tag, &dir) {
        let _ = Command::new("umount").arg("-l").arg(mount).status();
    }
    for group in groups(&tag) {
        while let Err(why) = fs::remove_dir(&group) {
            let here = group.display();
            assert!(Instant::now() < end, "{here} stays: {why}");
            thread::sleep(Duration::from_millis(10));
        }
    }
    let table = format!("warder_{tag}");
    let _ = Command::new("nft")
        .args(["delete", "table", "inet", &table])
        .output();
    // A tmpfs is empty after a start.
    let _ = fs::remove_dir_all(Path::new("/run/warder").join(&tag));
}

/// Processes of an instance's daemons and sandboxes.
fn processes(instance: &Instance, tag: &str, dir: &Path) -> BTreeSet<String> {
    let users = ids(instance);
    let group = format!("/warder_{tag}");
    let config = dir.join("privd.conf").display().to_string();
    let all = names(Path::new("/proc")).into_iter();
    let numbers = all.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    numbers
        .filter(|pid| {
            let of = Path::new("/proc").join(pid);
            let read = |name| fs::read(of.join(name)).unwrap_or_default();
            // One that has ended and waits for its parent has none.
            let program = fs::read_link(of.join("exe"));
            program.is_ok_and(|program| {
                program.starts_with(dir)
                    || owner(&of).is_some_and(|user| users.contains(&user))
                    || String::from_utf8_lossy(&read("cgroup")).contains(&group)
                    || String::from_utf8_lossy(&read("cmdline")).contains(&config)
            })
        })
        .collect()
}

/// Control groups of an instance, the innermost first.
fn groups(tag: &str) -> Vec<PathBuf> {
    fn below(group: PathBuf, found: &mut Vec<PathBuf>) {
        for inner in names(&group).iter().map(|name| group.join(name)) {
            if inner.is_dir() {
                below(inner, found);
            }
        }
        found.push(group);
    }
    let mut found = Vec::new();
    for top in tops(tag).into_iter().filter(|top| top.is_dir()) {
        below(top, &mut found);
    }
    found
}

/// Mounts of an instance, the innermost first.
fn mounts(tag: &str, dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc");
    let places = table.lines().filter_map(|line| line.split(' ').nth(4));
    let of = [format!("/run/warder/{tag}/"), format!("{}/", dir.display())];
    let mut found: Vec<_> = places
        .filter(|place| of.iter().any(|start| place.starts_with(start.as_str())))
        .map(str::to_owned)
        .collect();
    found.reverse();
    found
}
