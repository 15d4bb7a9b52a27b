//! Proof that nothing is left: what the kernel shows before and after.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::demo::server::Server;
use crate::demo::{freebsd, who};
use crate::doctor::on_freebsd;
use crate::error::Error;

/// Kinds of namespaces (namespaces(7)).
const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
/// The kernel takes namespaces and links down after the last process has gone, and empty anchors when pf next looks, every
/// ten seconds (pf.conf(5), `interval`); it gets this long.
const GRACE: Duration = Duration::from_secs(30);

/// What an instance left in the kernel while it ran.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    processes: BTreeSet<(u32, u64)>,
    /// On FreeBSD, with their start as text.
    started: BTreeSet<(u32, String)>,
    /// There as well: what ran could not be listed.
    missed: bool,
    namespaces: BTreeSet<String>,
}

impl Traces {
    /// Notes every process below the server and every namespace it is in that is not ours.
    pub(crate) fn record(&mut self, server: &Server) {
        if on_freebsd() {
            let below = freebsd::below(&freebsd::processes(), server.pid().unwrap_or(0));
            self.missed |= below.is_empty();
            self.started
                .extend(below.into_iter().map(|p| (p.pid, p.start)));
            return;
        }
        let own = namespaces("self");
        for pid in who::below(server.pid().unwrap_or(0)) {
            if let Some(start) = start_time(pid) {
                self.processes.insert((pid, start));
            }
            self.namespaces
                .extend(namespaces(&pid.to_string()).difference(&own).cloned());
        }
    }
}

/// What there was before.
#[derive(Debug)]
pub(crate) struct Before {
    mounts: BTreeSet<String>,
    interfaces: BTreeSet<String>,
}

impl Before {
    pub(crate) fn look() -> Self {
        Self {
            mounts: mounts(),
            interfaces: names_in("/sys/class/net"),
        }
    }

    /// Fails with everything that is left, once the kernel had time to tidy up.
    pub(crate) fn compare(&self, traces: &Traces, server: &Server) -> Result<(), Error> {
        let end = Instant::now() + GRACE;
        loop {
            let left = self.left(traces, server);
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Error::Failed(format!(
                    "left behind:\n        {}",
                    left.join("\n        ")
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn left(&self, traces: &Traces, server: &Server) -> Vec<String> {
        let place = server.place();
        let tag = place.tag().to_string();
        let mut left = Vec::new();
        if on_freebsd() {
            let lives = |p: &freebsd::Process| traces.started.contains(&(p.pid, p.start.clone()));
            let all = freebsd::processes();
            if all.is_empty() || traces.missed {
                left.push("process: cannot be listed, /bin/ps failed".to_owned());
            }
            let processes = all.into_iter().filter(lives);
            left.extend(processes.map(|p| format!("process {} {}", p.pid, p.name)));
            left.extend(freebsd::named(&tag, place.state_dir()));
        }
        for pid in processes() {
            let known =
                start_time(pid).is_some_and(|start| traces.processes.contains(&(pid, start)));
            let inside = namespaces(&pid.to_string())
                .intersection(&traces.namespaces)
                .next()
                .cloned();
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if known {
                left.push(format!("process {pid} {}", name.trim()));
            } else if let Some(namespace) = inside {
                left.push(format!(
                    "namespace {namespace}, held by process {pid} {}",
                    name.trim()
                ));
            }
        }
        // Others come and go on this machine: what is new counts when it carries this instance's name.
        let named = |text: &str| {
            text.contains(&tag) || text.contains(&*place.state_dir().to_string_lossy())
        };
        let held = |mount: &str| traces.namespaces.iter().any(|n| mount.contains(n.as_str()));
        for mount in mounts().difference(&self.mounts) {
            if named(mount) || held(mount) {
                left.push(format!("mount {mount}"));
            }
        }
        for name in names_in("/sys/class/net").difference(&self.interfaces) {
            if named(name) {
                left.push(format!("interface {name}"));
            }
        }
        left.extend(
            groups(Path::new("/sys/fs/cgroup"), &tag)
                .into_iter()
                .map(|g| format!("cgroup {}", g.display())),
        );
        left.extend(
            files(&place.run_dir())
                .into_iter()
                .map(|f| format!("file {}", f.display())),
        );
        for kind in ["cells", "trash"] {
            left.extend(
                files(&place.state_dir().join(kind))
                    .into_iter()
                    .map(|f| format!("file {}", f.display())),
            );
        }
        left.extend(tables(&tag).into_iter().map(|t| format!("nftables {t}")));
        left
    }
}

/// Every process.
pub(crate) fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect()
}

/// When a process began, in clock ticks since boot (proc(5), field 22); a number used again differs.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

fn namespaces(pid: &str) -> BTreeSet<String> {
    let link = |kind: &&str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let links = NAMESPACES.iter().filter_map(link);
    links.map(|l| l.to_string_lossy().into_owned()).collect()
}

fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn names_in(dir: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Control groups that carry the tag, in every hierarchy.
fn groups(root: &Path, tag: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                if entry.file_name().to_string_lossy().contains(tag) {
                    found.push(entry.path());
                } else {
                    waiting.push(entry.path());
                }
            }
        }
    }
    found
}

/// What is left in a directory that should be empty or gone.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| e.path()).collect()
}

/// nftables tables of this network namespace that carry the tag. Without nft(8) nobody can tell, and
/// the instance's rules are in a namespace of its own that is gone.
fn tables(tag: &str) -> Vec<String> {
    let listed = std::process::Command::new("nft")
        .args(["list", "tables"])
        .output();
    let text = listed
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    text.lines()
        .filter(|l| l.contains(tag))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let own = std::process::id();
        if on_freebsd() {
            assert!(freebsd::processes().iter().any(|p| p.pid == own));
            return;
        }
        assert!(processes().contains(&own));
        assert!(start_time(own).is_some());
        assert!(!namespaces("self").is_empty());
    }
}
