//! What the kernel holds for an instance, so that nothing can be left behind unseen.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use warder_wire::InstanceTag;

/// Names of everything on the host that carries an instance's tag, or belongs to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot(pub BTreeSet<String>);

impl Snapshot {
    /// Everything of instance `tag` there is now.
    #[must_use]
    pub fn of(tag: InstanceTag) -> Self {
        let tag = tag.to_string();
        let mut found = BTreeSet::new();
        cgroups(&tag, &mut found);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        found.extend(
            mounts
                .lines()
                .filter(|l| l.contains(&tag))
                .map(|l| format!("mount {l}")),
        );
        for (what, command) in [
            ("link", ["ip", "-o", "link"].as_slice()),
            ("ruleset", &["nft", "list", "tables"]),
        ] {
            let out = Command::new(command[0]).args(&command[1..]).output();
            let text = out
                .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
                .unwrap_or_default();
            // Interface names have room for a part of the tag only.
            found.extend(
                text.lines()
                    .filter(|l| l.contains(&tag) || l.contains(&format!("w{}", &tag[..6])))
                    .map(|l| format!("{what} {l}")),
            );
        }
        let run_dir = format!("{}/{tag}", warder_wire::RUN_DIR);
        if fs::exists(&run_dir).unwrap_or(true) {
            found.insert(format!("directory {run_dir}"));
        }
        Self(found)
    }

    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn cgroups(tag: &str, found: &mut BTreeSet<String>) {
    let mut roots = vec!["/sys/fs/cgroup".to_owned()];
    roots.extend(
        fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path().display().to_string()),
    );
    for root in roots {
        let group = format!("{root}/warder_{tag}");
        if fs::exists(&group).unwrap_or(false) {
            let inner = fs::read_dir(&group).into_iter().flatten().flatten();
            let inner = inner
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
                .map(|e| e.path().display().to_string());
            found.extend(inner.map(|p| format!("cgroup {p}")));
            found.insert(format!("cgroup {group}"));
        }
    }
}
