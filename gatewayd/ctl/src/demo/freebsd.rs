//! What a FreeBSD host shows of an instance: its processes, and everything that bears its tag.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::doctor::{Ask, asked};

/// A process as ps(1) shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) uid: u32,
    /// Number of its jail; 0 for the host's own.
    pub(crate) jail: u32,
    /// When it began, as text.
    pub(crate) start: String,
    pub(crate) name: String,
}

/// Every process that has not ended; none if they cannot be listed. One that only waits to be reaped, by a parent
/// that is nobody's here, holds nothing.
pub(crate) fn processes() -> Vec<Process> {
    let columns = [
        "pid=", "ppid=", "uid=", "jid=", "state=", "lstart=", "comm=",
    ];
    let mut arguments = vec!["-axww"];
    for column in columns {
        arguments.extend(["-o", column]);
    }
    parse(&asked("/bin/ps", &arguments).unwrap_or_default())
}

/// `lstart` has five words; the name comes last and may have several.
fn parse(listing: &str) -> Vec<Process> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |n: usize| words.get(n)?.parse::<u32>().ok();
        if words.get(4)?.starts_with('Z') {
            return None;
        }
        Some(Process {
            pid: number(0)?,
            parent: number(1)?,
            uid: number(2)?,
            jail: number(3)?,
            start: words.get(5..10)?.join(" "),
            name: words.get(10..).filter(|name| !name.is_empty())?.join(" "),
        })
    };
    listing.lines().filter_map(line).collect()
}

/// A process and all below it, parents first.
pub(crate) fn below(all: &[Process], pid: u32) -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found: Vec<Process> = all.iter().filter(|p| p.pid == pid).cloned().collect();
    let mut at = 0;
    while let Some(process) = found.get(at) {
        let below = children.remove(&process.pid).unwrap_or_default();
        found.extend(below.into_iter().cloned());
        at += 1;
    }
    found
}

/// Every process below `up`, and the first process of each sandbox among them.
pub(crate) fn look(up: u32) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let shown = |process: &Process| process.jail == 0 || seen.insert(process.jail);
    let rows: Vec<Process> = below(&processes(), up).into_iter().filter(shown).collect();
    rows.iter().map(row).collect()
}

fn row(process: &Process) -> Value {
    // procstat(1): the flags of credentials have a C in capability mode.
    let pid = process.pid.to_string();
    let credentials = asked("/usr/bin/procstat", &["-h", "-s", &pid]).unwrap_or_default();
    let sandboxed = |line: &str| line.split_whitespace().any(|word| word == "C");
    let open = asked("/usr/bin/procstat", &["-h", "-f", &pid]);
    let open = open.map_or_else(
        || "?".to_owned(),
        |listing| {
            let is_number = |word: &&str| word.parse::<u32>().is_ok();
            let numbers = listing
                .lines()
                .filter_map(|line| line.split_whitespace().nth(2));
            numbers.filter(is_number).count().to_string()
        },
    );
    json!({
        "process": process.name,
        "pid": process.pid,
        "sandbox": process.jail != 0,
        "uid": process.uid.to_string(),
        "capabilityMode": credentials.lines().any(sandboxed),
        "descriptors": open,
    })
}

/// The table for people.
pub(crate) fn table(rows: &[Value]) -> String {
    let line = |row: &Value| {
        let name = crate::output::field(row, "process");
        let name = if row["sandbox"] == true {
            name + " (in a sandbox)"
        } else {
            name
        };
        let mode = if row["capabilityMode"] == true {
            "yes"
        } else {
            "no"
        };
        let [pid, uid, open] = ["pid", "uid", "descriptors"].map(|f| crate::output::field(row, f));
        vec![name, pid, uid, mode.to_owned(), open]
    };
    crate::output::table(
        &[
            "PROCESS",
            "PID",
            "UID",
            "CAPABILITY MODE",
            "OPEN DESCRIPTORS",
        ],
        &rows.iter().map(line).collect::<Vec<_>>(),
    )
}

/// What has the tag or the state directory in its name, each with its kind: jails, mounts of sandboxes, interfaces,
/// datasets of sandboxes, anchors of pf, rules of rctl. What cannot be listed counts as left.
pub(crate) fn named(tag: &str, state_dir: &Path) -> Vec<String> {
    named_by(&asked, tag, state_dir)
}

fn named_by(ask: Ask<'_>, tag: &str, state_dir: &Path) -> Vec<String> {
    const LISTS: [(&str, &str, &[&str]); 6] = [
        ("jail", "/usr/sbin/jls", &["name"]),
        ("mount", "/sbin/mount", &["-p"]),
        ("interface", "/sbin/ifconfig", &["-l"]),
        ("dataset", "/sbin/zfs", &["list", "-H", "-o", "name"]),
        ("anchor", "/sbin/pfctl", &["-v", "-s", "Anchors"]),
        ("limit", "/usr/bin/rctl", &[]),
    ];
    let state = state_dir.to_string_lossy().into_owned();
    // rctl(8) lists nothing where nothing is accounted.
    let accounts = ask("/sbin/sysctl", &["-n", "kern.racct.enable"]);
    let accounts = accounts.is_none_or(|value| value.trim() != "0");
    let mut found = Vec::new();
    for (kind, program, arguments) in LISTS {
        if kind == "limit" && !accounts {
            continue;
        }
        let Some(listing) = ask(program, arguments) else {
            found.push(format!("{kind}: cannot be listed, {program} failed"));
            continue;
        };
        let entries = entries(kind, &listing);
        let left = entries.filter(|entry| is_left(kind, entry, tag, &state));
        found.extend(left.map(|entry| format!("{kind} {entry}")));
    }
    found
}

fn entries<'a>(kind: &str, listing: &'a str) -> Box<dyn Iterator<Item = &'a str> + 'a> {
    if kind == "interface" {
        Box::new(listing.split_whitespace())
    } else {
        Box::new(listing.lines().map(str::trim))
    }
}

/// Templates stay as long as the state directory: they are no leftovers of sandboxes.
fn is_left(kind: &str, entry: &str, tag: &str, state: &str) -> bool {
    let ours = entry.contains(tag) || entry.contains(state);
    match kind {
        "mount" | "dataset" => ours && entry.contains("/sandboxes/"),
        _ => ours,
    }
}

/// Removes the instance's datasets, templates and all: its state directory is about to go.
pub(crate) fn forget(tag: &str) -> Result<(), String> {
    let root = own_root(&asked, tag)?;
    // Neither what is mounted or held, nor clones elsewhere: that fails.
    asked("/sbin/zfs", &["destroy", "-r", &root])
        .map(drop)
        .ok_or_else(|| format!("zfs destroy -r {root} failed"))
}

/// The dataset of the instance, by the mark that it bears itself; an error if anything below it is not the instance's.
fn own_root(ask: Ask<'_>, tag: &str) -> Result<String, String> {
    let get = |more: &[&str]| {
        let mut arguments = vec!["get", "-H", "-t", "filesystem,volume"];
        arguments.extend(["-o", "name,property,value,source"]);
        arguments.extend(more);
        let listing = ask("/sbin/zfs", &arguments);
        let listing = listing.ok_or_else(|| format!("zfs {} failed", arguments.join(" ")))?;
        let rows = listing.lines().map(|line| {
            let row: Vec<String> = line.split('\t').map(str::to_owned).collect();
            <[String; 4]>::try_from(row).map_err(|_| format!("zfs get said {line:?}"))
        });
        rows.collect::<Result<Vec<_>, String>>()
    };
    let all = get(&["org.warder:tag"])?;
    let marked = |row: &&[String; 4]| row[2] == tag && row[3] == "local";
    let name = format!("warder-{tag}");
    let roots: Vec<&String> = all.iter().filter(marked).map(|row| &row[0]).collect();
    let root = match roots[..] {
        [root] if root.rsplit('/').next() == Some(&name) => root,
        _ => return Err(format!("no dataset {name} to destroy, but {roots:?}")),
    };
    for [dataset, _, _, source] in get(&["-r", "org.warder:kind", root])? {
        let below = dataset.strip_prefix(root.as_str()).unwrap_or_default();
        let shelf = matches!(below, "" | "/templates" | "/sandboxes" | "/volumes");
        // What somebody else makes in there has no mark of its own.
        if !shelf && source != "local" {
            return Err(format!(
                "{dataset} is not of this run: {root} is not destroyed"
            ));
        }
    }
    Ok(root.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the form that ps(1) shows.
    const LISTING: &str = "    0     0     0   0 DLs Sun Nov 22 00:00:01 2026     kernel\n\
         812     1     0   0 Ss Sun Nov 22 01:20:02 2026     warder\n\
         813   812     0   0 Ss Sun Nov 22 01:20:02 2026     privd\n\
         820   813  1001   0 SCs Sun Nov 22 01:20:03 2026     gatewayd\n\
         900   813     0   7 SsJ Sun Nov 22 01:20:09 2026     envd\n\
         901   900  1000   7 I+J Sun Nov 22 01:20:09 2026     a name\n\
         902     1  1000   7 ZJ Sun Nov 22 01:20:10 2026     <defunct>\n\
         no line\n";

    #[test]
    fn processes_are_read_and_found_below_another() {
        let all = parse(LISTING);
        assert_eq!(all.len(), 6);
        let pids = |pid| {
            let found = below(&all, pid);
            found.iter().map(|p| p.pid).collect::<Vec<_>>()
        };
        assert_eq!(pids(812), [812, 813, 820, 900, 901]);
        assert_eq!(pids(4), [0; 0]);
        assert_eq!(all[5].name, "a name");
        assert_eq!((all[5].jail, all[5].uid), (7, 1000));
        assert_eq!(all[5].start, "Sun Nov 22 01:20:09 2026");
    }

    #[test]
    fn what_freebsd_prints_is_read() {
        // ps(1) of FreeBSD 15.1 prints, asked as `processes` does:
        let listing = "    0     0         0   0 DLs Sun Nov 22 13:42:21 2026 kernel
    1     0         0   0 ILs Sun Nov 22 13:42:21 2026 init
48167 48092         0   0 R<  Sun Nov 22 15:03:05 2026 privd
48245 48167         0   0 S<s Sun Nov 22 15:03:11 2026 netd
48306 48245         0   0 S<  Sun Nov 22 15:03:14 2026 netd
48312 48167 536870914   0 SCs Sun Nov 22 15:03:14 2026 egressd
48353 48167 536870913   0 SCs Sun Nov 22 15:03:16 2026 gatewayd
";
        let all = parse(listing);
        assert_eq!(all.len(), 7);
        let names: Vec<_> = below(&all, 48167).into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["privd", "netd", "egressd", "gatewayd", "netd"]);
        assert_eq!(all[5].uid, 536_870_914);
        assert_eq!(all[5].start, "Sun Nov 22 15:03:14 2026");
    }

    #[test]
    fn what_bears_the_tag_is_left_but_for_templates() {
        let left = |kind, entry| is_left(kind, entry, "0a1b2c3d", "/tmp/demo/state");
        assert!(left("jail", "w0a1b2c3d-5.i123"));
        assert!(!left("jail", "web"));
        assert!(left("dataset", "tank/warder-0a1b2c3d/sandboxes/i123"));
        assert!(!left("dataset", "tank/warder-0a1b2c3d/templates/base.1"));
        assert!(left(
            "mount",
            "/bin /tmp/demo/state/zfs/sandboxes/i1/bin nullfs ro 0 0"
        ));
        assert!(!left("mount", "tank/home /home zfs rw 0 0"));
        let all: Vec<_> = entries("interface", "em0 lo0 w0a1b2c3d5a\n").collect();
        assert_eq!(all, ["em0", "lo0", "w0a1b2c3d5a"]);
    }

    #[test]
    fn what_cannot_be_listed_is_left() {
        let named = |ask: Ask<'_>| named_by(ask, "0a1b2c3d", Path::new("/s"));
        assert_eq!(named(&|_, _| None).len(), 6);
        let without = |program: &'static str| {
            move |asked: &str, _: &[&str]| (asked != program).then(String::new)
        };
        assert_eq!(named(&without("")), [""; 0]);
        assert_eq!(
            named(&without("/sbin/pfctl")),
            ["anchor: cannot be listed, /sbin/pfctl failed"]
        );
        // Where nothing is accounted there is nothing to list.
        let plain = |program: &str, _: &[&str]| match program {
            "/sbin/sysctl" => Some("0\n".to_owned()),
            "/usr/bin/rctl" => None,
            _ => Some(String::new()),
        };
        assert_eq!(named(&plain), [""; 0]);
    }

    #[test]
    fn only_a_dataset_that_bears_the_tag_itself_is_destroyed() {
        let root = |marks: &'static str, kinds: &'static str| {
            let ask = move |_: &str, arguments: &[&str]| {
                let below = arguments.contains(&"-r");
                Some(if below { kinds } else { marks }.to_owned())
            };
            own_root(&ask, "0a")
        };
        let marks = "tank\torg.warder:tag\t-\t-\n\
            tank/w/warder-0a\torg.warder:tag\t0a\tlocal\n\
            tank/w/warder-0a/templates\torg.warder:tag\t0a\tinherited from tank/w/warder-0a\n\
            tank/warder-0b\torg.warder:tag\t0b\tlocal\n";
        let kinds = "tank/w/warder-0a\torg.warder:kind\t-\t-\n\
            tank/w/warder-0a/templates\torg.warder:kind\t-\t-\n\
            tank/w/warder-0a/templates/base.1\torg.warder:kind\ttemplate\tlocal\n";
        assert_eq!(root(marks, kinds).as_deref(), Ok("tank/w/warder-0a"));
        // Of another's making, within or of the same name.
        let foreign = "tank/w/warder-0a/templates/base.1/mine\torg.warder:kind\ttemplate\tinherited from tank\n";
        assert!(root(marks, foreign).is_err());
        assert!(root("tank/warder-0a\torg.warder:tag\t-\t-\n", kinds).is_err());
        assert!(root("tank/mine\torg.warder:tag\t0a\tlocal\n", kinds).is_err());
        assert!(root("what is this\n", kinds).is_err());
        assert!(own_root(&|_, _| None, "0a").is_err());
    }
}
