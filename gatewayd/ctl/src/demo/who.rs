//! Who runs as what: from /proc, not from what a daemon says of itself.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::doctor::on_freebsd;
use crate::output::{field, table};

/// Names of capabilities by number (capabilities(7)).
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Every process below `up`, and the first process of each sandbox among them.
pub(crate) fn look(up: Option<u32>) -> Vec<Value> {
    if on_freebsd() {
        return super::freebsd::look(up.unwrap_or(0));
    }
    let ours = sockets("self");
    let mut rows = Vec::new();
    for pid in below(up.unwrap_or(0)) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let value = |name: &str| {
            let line = status
                .lines()
                .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        // Processes inside a sandbox have two numbers; only its first one is shown.
        let inside = value("NSpid").split_whitespace().nth(1).map(str::to_owned);
        if inside.as_deref().is_some_and(|n| n != "1") {
            continue;
        }
        let seccomp = match value("Seccomp").as_str() {
            "0" => "off",
            "1" => "strict",
            "2" => "filter",
            _ => "?",
        };
        // It may hold sockets of its own namespace and such as were handed to it.
        let mut known = sockets(&pid.to_string());
        known.extend(ours.clone());
        rows.push(json!({
            "process": value("Name"),
            "pid": pid,
            "sandbox": inside.is_some(),
            "uid": value("Uid").split_whitespace().nth(1).unwrap_or_default(),
            "capabilities": capabilities(&value("CapEff")),
            "noNewPrivs": value("NoNewPrivs") == "1",
            "seccomp": seccomp,
            "descriptors": descriptors(pid, &known),
        }));
    }
    rows
}

/// The table for people.
pub(crate) fn text(rows: &[Value]) -> String {
    if on_freebsd() {
        return super::freebsd::table(rows);
    }
    let mut lines = Vec::new();
    for row in rows {
        let name = field(row, "process")
            + if row["sandbox"] == true {
                " (in a sandbox)"
            } else {
                ""
            };
        let no_new_privs = if row["noNewPrivs"] == true {
            "yes"
        } else {
            "no"
        };
        let [pid, uid, all_caps, seccomp, open] =
            ["pid", "uid", "capabilities", "seccomp", "descriptors"].map(|f| field(row, f));
        let caps = brief(&all_caps);
        lines.push(vec![
            name,
            pid,
            uid,
            caps,
            no_new_privs.to_owned(),
            seccomp,
            open,
        ]);
    }
    table(
        &[
            "PROCESS",
            "PID",
            "UID",
            "CAPABILITIES",
            "NO NEW PRIVS",
            "SECCOMP",
            "OPEN DESCRIPTORS",
        ],
        &lines,
    )
}

/// A list of capabilities that fits a column; JSON has all of it.
fn brief(capabilities: &str) -> String {
    let count = capabilities.split(' ').count();
    if capabilities.starts_with("all") || count <= 3 {
        return capabilities.to_owned();
    }
    let strong = ["sys_admin", "net_admin", "sys_module", "sys_rawio"];
    let without = strong
        .into_iter()
        .filter(|s| !capabilities.split(' ').any(|c| c == *s));
    let without: Vec<&str> = without.collect();
    if without.is_empty() {
        format!("{count} of {}", CAPABILITIES.len())
    } else {
        format!(
            "{count} of {}, not {}",
            CAPABILITIES.len(),
            without.join(" ")
        )
    }
}

/// A process and all below it, parents first.
pub(crate) fn below(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for process in super::leaks::processes() {
        if let Some(parent) = parent(process) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        found.extend(children.remove(&found[at]).unwrap_or_default());
        at += 1;
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; state and parent come after the last one.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn capabilities(hex: &str) -> String {
    let Ok(bits) = u64::from_str_radix(hex, 16) else {
        return "?".to_owned();
    };
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok();
    let last = last
        .and_then(|t| t.trim().parse::<u32>().ok())
        .unwrap_or(40)
        .min(63);
    let all = u64::MAX >> (63 - last);
    let missing = all & !bits;
    let names = |bits: u64| {
        let set = CAPABILITIES
            .iter()
            .enumerate()
            .filter(|(n, _)| bits & (1 << n) != 0);
        set.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
    };
    match (bits, missing) {
        (0, _) => "none".to_owned(),
        (_, 0) => "all".to_owned(),
        (_, missing) if missing.count_ones() < 6 => format!("all but {}", names(missing)),
        (bits, _) => names(bits),
    }
}

/// Kinds of sockets by inode, of the network namespace that `process` is in.
fn sockets(process: &str) -> BTreeMap<String, &'static str> {
    let read =
        |name: &str| fs::read_to_string(format!("/proc/{process}/net/{name}")).unwrap_or_default();
    let mut found = BTreeMap::new();
    let mut add =
        |file: &str, inode_column: usize, kind: &dyn Fn(&[&str]) -> Option<&'static str>| {
            for line in read(file).lines().skip(1) {
                let words: Vec<&str> = line.split_whitespace().collect();
                if let (Some(inode), Some(kind)) = (words.get(inode_column), kind(&words)) {
                    found.insert((*inode).to_owned(), kind);
                }
            }
        };
    add(
        "unix",
        6,
        &|words| match (*words.get(4)?, *words.get(3)? == "00010000") {
            ("0001", true) => Some("unix listener"),
            ("0001", false) => Some("unix stream"),
            ("0002", _) => Some("unix datagram"),
            ("0005", true) => Some("seqpacket listener"),
            ("0005", false) => Some("seqpacket"),
            _ => None,
        },
    );
    let tcp = |words: &[&str]| {
        Some(if *words.get(3)? == "0A" {
            "tcp listener"
        } else {
            "tcp"
        })
    };
    add("tcp", 9, &tcp);
    add("tcp6", 9, &tcp);
    add("netlink", 9, &|_| Some("netlink"));
    found
}

/// How many descriptors of which kind: `9: 4 seqpacket, 3 null, 1 tcp listener, 1 dir`.
fn descriptors(pid: u32, sockets: &BTreeMap<String, &'static str>) -> String {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return "?".to_owned();
    };
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut total = 0;
    for entry in entries.flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        let kind = if let Some(inode) = target
            .strip_prefix("socket:[")
            .and_then(|t| t.strip_suffix(']'))
        {
            (*sockets.get(inode).unwrap_or(&"other socket")).to_owned()
        } else if let Some(name) = target.strip_prefix("anon_inode:") {
            name.trim_matches(['[', ']']).to_owned()
        } else if target.starts_with("pipe:") {
            "pipe".to_owned()
        } else if target == "/dev/null" {
            "null".to_owned()
        } else if let Some((name, _)) = target.split_once(":[") {
            format!("{name} namespace")
        } else if fs::metadata(entry.path()).is_ok_and(|m| m.is_dir()) {
            "dir".to_owned()
        } else {
            "file".to_owned()
        };
        *kinds.entry(kind).or_default() += 1;
        total += 1;
    }
    let mut kinds: Vec<(String, usize)> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let list: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    format!("{total}: {}", list.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_names() {
        assert_eq!(capabilities("0"), "none");
        assert_eq!(capabilities("0000000000001001"), "chown net_admin");
    }
}
