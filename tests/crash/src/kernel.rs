//! What the kernel says there is of an instance, to be held against what its API lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use warder_harness::Instance;
use warder_wire::SandboxId;

/// privd's division of the host's ids: the first, so many for an instance, so many for a sandbox. The first
/// block of an instance is its daemons'.
const FIRST_ID: u32 = 0x2000_0000;
const IDS: u32 = 0x0600_0000;
const SANDBOX_IDS: u32 = 0x1_0000;

/// What privd has open of a cell made ahead: its process, its status, its orders.
const HELD_AHEAD: usize = 3;
/// What the names of cells made ahead begin with.
const AHEAD: &str = "iahead";

/// One look. Everything that names a sandbox is under its id; the rest are plain counts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Kernel {
    /// Sandboxes that have processes: id to number of processes in its pid namespace.
    pub running: BTreeMap<String, usize>,
    /// Sandboxes with a control group, by any controller.
    pub groups: BTreeSet<String>,
    /// Sandboxes with a directory under `cells/`.
    pub cells: BTreeSet<String>,
    /// Entries under `trash/`.
    pub trash: usize,
    /// Sandboxes named by a mount, in this namespace or privd's.
    pub mounted: BTreeSet<String>,
    /// Mounts of the instance in this namespace and in privd's.
    pub mounts: usize,
    /// Interfaces in the instance's router namespace.
    pub links: BTreeSet<String>,
    /// Interfaces that have rules of their own in the router namespace.
    pub ruled: BTreeSet<String>,
    /// Those sandboxes that are not behind the air gap, by a number of netd's.
    pub open: BTreeSet<String>,
    /// Interfaces whose rules deny every address.
    pub denied: BTreeSet<String>,
    /// Processes of the daemons' programs, privd's workers among them: name to number.
    pub daemons: BTreeMap<String, usize>,
    /// Descriptors they have open: name to number.
    pub descriptors: BTreeMap<String, usize>,
    /// Cells that privd has made ahead of need. Nothing above counts them.
    pub ahead: usize,
    /// Groups that were made ahead, and whose they are now.
    passed: BTreeMap<String, String>,
}

impl Kernel {
    /// Looks at everything that belongs to `instance`.
    #[must_use]
    pub fn look(instance: &Instance) -> Self {
        let tag = instance.tag().to_string();
        let mut found = Self::default();
        found.processes(
            &tag,
            &ids(instance),
            instance
                .state_dir()
                .parent()
                .unwrap_or(Path::new("/nowhere")),
        );
        found.groups = groups(&tag)
            .into_iter()
            .map(|name| found.passed.get(&name).cloned().unwrap_or(name))
            .collect();
        found.cells = names(&instance.state_dir().join("cells"))
            .into_iter()
            .filter(|name| is_id(name))
            .collect();
        let named = |name: &&String| name.starts_with(AHEAD);
        let ahead = found.cells.iter().filter(named).take(found.ahead);
        for name in ahead.cloned().collect::<Vec<_>>() {
            found.groups.remove(&name);
            found.cells.remove(&name);
            if let Some(held) = found.descriptors.get_mut("privd") {
                *held = held.saturating_sub(HELD_AHEAD);
            }
        }
        found.trash = names(&instance.state_dir().join("trash")).len();
        for process in ["self".to_owned(), instance.privd_pid().to_string()] {
            let table =
                fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
            let state = instance.state_dir().display().to_string();
            for line in table
                .lines()
                .filter(|line| line.contains(&tag) || line.contains(&state))
            {
                found.mounts += 1;
                found.mounted.extend(
                    line.split(|c: char| !c.is_ascii_alphanumeric())
                        .map(str::to_owned)
                        .filter(|name| is_id(name)),
                );
            }
        }
        found.links = links(&tag);
        found.rules(&tag);
        found
    }

    /// Processes of sandboxes and of daemons. `programs` is where this instance's own copies of its programs lie.
    fn processes(&mut self, tag: &str, ids: &Range<u32>, programs: &Path) {
        let ids = ids.start + SANDBOX_IDS..ids.end;
        let mut namespaces: BTreeMap<PathBuf, usize> = BTreeMap::new();
        let mut first: BTreeMap<PathBuf, String> = BTreeMap::new();
        let own = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        for pid in names(Path::new("/proc")) {
            if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let dir = Path::new("/proc").join(&pid);
            let cgroup = fs::read_to_string(dir.join("cgroup")).unwrap_or_default();
            let group = format!("/warder_{tag}/");
            let mut id = cgroup.lines().find_map(|line| {
                let (_, rest) = line.split_once(&group)?;
                rest.split('/')
                    .next()
                    .map(str::to_owned)
                    .filter(|name| is_id(name))
            });
            let named = || {
                let name = fs::read_to_string(dir.join("root/etc/hostname")).unwrap_or_default();
                name.trim().to_owned()
            };
            if let Some(made) = id.take_if(|name| name.starts_with(AHEAD)) {
                // One that waits is in the host's root, and nobody's.
                id = Some(named()).filter(|name| is_id(name));
                if let Some(tenant) = &id {
                    self.passed.insert(made, tenant.clone());
                }
            }
            if let Ok(exe) = fs::read_link(dir.join("exe"))
                && exe.starts_with(programs)
                && let Some(name) = exe.file_name()
            {
                let name = name
                    .to_string_lossy()
                    .trim_end_matches(" (deleted)")
                    .to_owned();
                *self.descriptors.entry(name.clone()).or_default() += names(&dir.join("fd")).len();
                *self.daemons.entry(name).or_default() += 1;
            }
            // privd, and workers of it: they keep its command line, which names a file beside the programs.
            let line = fs::read(dir.join("cmdline")).unwrap_or_default();
            let space = fs::read_link(dir.join("ns/pid")).unwrap_or_default();
            if String::from_utf8_lossy(&line)
                .contains(&format!("{}/privd.conf", programs.display()))
            {
                if space != own {
                    self.ahead += 1;
                    continue;
                }
                let name = "privd".to_owned();
                *self.descriptors.entry(name.clone()).or_default() += names(&dir.join("fd")).len();
                *self.daemons.entry(name).or_default() += 1;
            }
            let Ok(namespace) = fs::read_link(dir.join("ns/pid")) else {
                continue;
            };
            // Where there are no control groups: by its user, who is of this instance's sandboxes, and its name.
            let owned = owner(&dir).is_some_and(|uid| ids.contains(&uid));
            let id = id.or_else(|| owned.then(named));
            if let Some(id) = id {
                first.insert(namespace.clone(), id);
            }
            if namespace != own {
                *namespaces.entry(namespace).or_default() += 1;
            }
        }
        for (namespace, id) in first {
            *self.running.entry(id).or_default() +=
                namespaces.get(&namespace).copied().unwrap_or(1);
        }
    }

    /// What netd has in the router namespace.
    fn rules(&mut self, tag: &str) {
        let table = format!("warder_{tag}");
        let text = in_router(tag, &["nft", "-j", "list", "table", "inet", &table]);
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        for item in json["nftables"].as_array().into_iter().flatten() {
            let chain = item["chain"]["name"].as_str().unwrap_or_default();
            self.ruled
                .extend(chain.strip_prefix("denied_").map(str::to_owned));
            if item["set"]["name"] == "open" {
                let marks = item["set"]["elem"].as_array().into_iter().flatten();
                self.open.extend(marks.map(ToString::to_string));
            }
            let denied = item["set"]["name"].as_str().unwrap_or_default();
            if let Some(port) = denied.strip_prefix("denied_")
                && let Some([all]) = item["set"]["elem"].as_array().map(Vec::as_slice)
                && all.to_string().contains("\"0.0.0.0\"")
            {
                self.denied.insert(port.to_owned());
            }
        }
    }

    /// What does not fit the list of the API: leaks, and sandboxes that are listed and not there.
    #[must_use]
    pub fn against(&self, listed: &BTreeSet<String>, at_start: &Self) -> Vec<String> {
        let mut wrong = Vec::new();
        let running: BTreeSet<String> = self.running.keys().cloned().collect();
        let mut hold = |what: &str, found: &BTreeSet<String>, all: bool| {
            let left: Vec<_> = found.difference(listed).collect();
            if !left.is_empty() {
                wrong.push(format!(
                    "{what} left of sandboxes that are not listed: {left:?}"
                ));
            }
            let missing: Vec<_> = listed.difference(found).collect();
            if all && !missing.is_empty() {
                wrong.push(format!("listed, but without {what}: {missing:?}"));
            }
        };
        hold("processes", &running, true);
        hold("control groups", &self.groups, false);
        hold("storage", &self.cells, true);
        hold("mounts", &self.mounted, false);
        if self.trash != 0 {
            wrong.push(format!("{} entries in trash/", self.trash));
        }
        // One interface for each sandbox beside those that were there, ready ones included, before there was any.
        let wanted = at_start.links.len() + listed.len();
        if self.links.len() != wanted {
            wrong.push(format!(
                "{} interfaces in the router namespace instead of {wanted}",
                self.links.len()
            ));
        }
        if self.ruled.len() != listed.len() || !self.ruled.is_subset(&self.links) {
            wrong.push(format!(
                "rules for {:?} with {} sandboxes and the interfaces {:?}",
                self.ruled,
                listed.len(),
                self.links
            ));
        }
        if self.daemons != at_start.daemons {
            wrong.push(format!(
                "daemons {:?} instead of {:?}",
                self.daemons, at_start.daemons
            ));
        }
        wrong
    }

    /// What is left when no sandbox is: everything has to be as it was at the start.
    #[must_use]
    pub fn empty_again(&self, at_start: &Self) -> Vec<String> {
        let mut wrong = self.against(&BTreeSet::new(), at_start);
        if self.mounts != at_start.mounts {
            wrong.push(format!(
                "{} mounts instead of {}",
                self.mounts, at_start.mounts
            ));
        }
        if self.descriptors != at_start.descriptors {
            wrong.push(format!(
                "descriptors {:?} instead of {:?}",
                self.descriptors, at_start.descriptors
            ));
        }
        wrong
    }
}

/// The user of a process.
pub(crate) fn owner(dir: &Path) -> Option<u32> {
    let status = fs::read_to_string(dir.join("status")).ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    uids.split_ascii_whitespace().next()?.parse().ok()
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn is_id(name: &str) -> bool {
    SandboxId::new(name).is_ok()
}

/// Where `warder_<tag>` is in every hierarchy there may be.
pub(crate) fn tops(tag: &str) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let mut roots: Vec<PathBuf> = names(base).iter().map(|name| base.join(name)).collect();
    roots.push(base.to_owned());
    let top = |root: PathBuf| root.join(format!("warder_{tag}"));
    roots.into_iter().map(top).collect()
}

/// Ids of the groups under `warder_<tag>`, in every hierarchy.
fn groups(tag: &str) -> BTreeSet<String> {
    let groups = tops(tag).into_iter().flat_map(|top| names(&top));
    groups.filter(|name| is_id(name)).collect()
}

/// The host's ids that are the instance's.
pub(crate) fn ids(instance: &Instance) -> Range<u32> {
    let number = instance.state_dir().join("privd/instance");
    let number = fs::read_to_string(number).expect("privd has noted its number");
    let first = FIRST_ID + number.trim().parse::<u32>().expect("a number") * IDS;
    first..first + IDS
}

/// What a command says that looks at the router namespace.
fn in_router(tag: &str, command: &[&str]) -> String {
    let output = Command::new("nsenter")
        .arg(format!("--net=/run/warder/{tag}/router"))
        .args(command)
        .output();
    output
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default()
}

/// Names of the interfaces in the router namespace, its loopback aside.
fn links(tag: &str) -> BTreeSet<String> {
    let text = in_router(tag, &["cat", "/proc/net/dev"]);
    let names = text
        .lines()
        .skip(2)
        .filter_map(|line| line.split(':').next());
    names
        .map(|name| name.trim().to_owned())
        .filter(|name| name != "lo")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> String {
        format!("i{n:020}")
    }

    #[test]
    fn leaks_and_losses_are_told_apart() {
        let start = Kernel {
            links: ["up".to_owned()].into(),
            ..Kernel::default()
        };
        let whole = Kernel {
            running: [(id(1), 3)].into(),
            cells: [id(1)].into(),
            ruled: ["s1".to_owned()].into(),
            links: ["up".to_owned(), "s1".to_owned()].into(),
            ..Kernel::default()
        };
        assert_eq!(whole.against(&[id(1)].into(), &start), Vec::<String>::new());
        let leaked = whole.against(&BTreeSet::new(), &start).join("\n");
        for what in [
            "processes left",
            "storage left",
            "2 interfaces",
            "rules for",
        ] {
            assert!(leaked.contains(what), "{leaked}");
        }
        let lost = whole.against(&[id(1), id(2)].into(), &start).join("\n");
        assert!(lost.contains("listed, but without processes"), "{lost}");
    }
}
