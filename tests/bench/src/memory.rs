//! Memory of idle sandboxes, and what it is made of: the agents' share by the kernel's own accounting, what the
//! kernel itself keeps for each, what the daemons grow by.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;

use crate::Outcome;
use crate::stats::Samples;
use crate::warder::Server;

const SANDBOXES: usize = 50;

/// What a sandbox uses beside its agent: the series, the field of /proc/meminfo.
const KERNEL: [(&str, &str); 4] = [
    ("slab", "Slab:"),
    ("stacks", "KernelStack:"),
    ("page tables", "PageTables:"),
    ("per-cpu", "Percpu:"),
];

pub(crate) fn measure(server: &Server, samples: &mut Samples) -> Outcome {
    let before = Reading::now()?;
    let mut api = server.connect()?;
    let mut made = Vec::new();
    for _ in 0..SANDBOXES {
        made.push(server.create(&mut api)?);
    }
    let after = Reading::now()?;
    for sandbox in &made {
        server.kill(&mut api, sandbox)?;
    }
    let new = after
        .agents
        .iter()
        .filter(|(pid, _)| !before.agents.iter().any(|(old, _)| old == pid));
    let new: Vec<_> = new.collect();
    if new.len() != SANDBOXES {
        return Err(format!("{} agents found for {SANDBOXES} sandboxes", new.len()).into());
    }
    for (_, agent) in new {
        samples.value("warder memory agent", agent.whole);
        samples.value("warder memory agent own", agent.own);
    }
    Ok(())
}

/// What each of `count` sandboxes that were made between two readings takes beside its agent. Other work on the
/// machine shows in it: the more sandboxes, the less of it.
pub(crate) fn shared(
    samples: &mut Samples,
    before: &Reading,
    after: &Reading,
    count: usize,
) -> Result<(), String> {
    let each = |now: f64, then: f64| (now - then) / count as f64;
    let host = |field| Ok::<_, String>((get(&after.host, field)?, get(&before.host, field)?));
    let (now, then) = host("MemAvailable:")?;
    samples.value("warder memory whole", each(then, now));
    for (series, field) in KERNEL {
        let (now, then) = host(field)?;
        samples.value(&format!("warder memory {series}"), each(now, then));
    }
    let (now, then): (f64, f64) = (after.daemons.values().sum(), before.daemons.values().sum());
    samples.value("warder memory daemons", each(now, then));
    Ok(())
}

/// The daemons as they are now, and their files.
pub(crate) fn daemons(_: &Server, samples: &mut Samples) -> Outcome {
    let stage = std::env::var("BENCH_STAGE").map_err(|_| "BENCH_STAGE is not set")?;
    for (name, proportional) in Reading::now()?.daemons {
        samples.value(&format!("{name} memory"), proportional);
    }
    for file in ["privd", "netd", "egressd", "gatewayd", "pluginhost", "envd"] {
        let size = fs::metadata(format!("{stage}/libexec/{file}"))?.len();
        samples.value(&format!("{file} file"), size as f64 / 1024.0);
    }
    Ok(())
}

/// Memory at one moment, in KiB.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Of the whole host: the text of /proc/meminfo.
    host: String,
    /// The agents, by number.
    agents: Vec<(u32, Share)>,
    /// The daemons, by name.
    daemons: BTreeMap<String, f64>,
}

impl Reading {
    /// Of the server that `BENCH_SERVER` numbers, or of all there are.
    pub(crate) fn now() -> Result<Self, Box<dyn Error>> {
        let server: Option<u32> = match std::env::var("BENCH_SERVER") {
            Ok(number) => Some(number.parse()?),
            Err(_) => None,
        };
        let mut reading = Self {
            host: fs::read_to_string("/proc/meminfo")?,
            agents: Vec::new(),
            daemons: BTreeMap::new(),
        };
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let name = field(&status, "Name:");
            let agent = name == "envd" && is_first_below(&status);
            let daemon = ["privd", "netd", "egressd", "gatewayd", "pluginhost"].contains(&name);
            if !(agent || daemon) || server.is_some_and(|server| !is_below(pid, server)) {
                continue;
            }
            let Some(share) = Share::of(pid) else {
                continue;
            };
            if agent {
                reading.agents.push((pid, share));
            } else {
                *reading.daemons.entry(name.to_owned()).or_default() += share.whole;
            }
        }
        Ok(reading)
    }
}

/// The process of the server that `BENCH_SERVER` numbers with this name.
pub(crate) fn daemon(name: &str) -> Option<u32> {
    let server: u32 = std::env::var("BENCH_SERVER").ok()?.parse().ok()?;
    let pids = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        field(&status, "Name:") == name && is_below(*pid, server)
    })
}

/// Whether a process is the first of a pid namespace below this one.
fn is_first_below(status: &str) -> bool {
    let numbers: Vec<&str> = field(status, "NSpid:").split_whitespace().collect();
    numbers.len() > 1 && numbers.last() == Some(&"1")
}

/// Whether a process descends from another.
fn is_below(mut pid: u32, ancestor: u32) -> bool {
    while pid > 1 {
        if pid == ancestor {
            return true;
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        pid = field(&status, "PPid:").parse().unwrap_or(0);
    }
    false
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let mut lines = status.lines();
    lines
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_default()
        .trim()
}

/// Proportional set size in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) whole: f64,
    /// Of it, memory that is no file's: shared with no other sandbox.
    own: f64,
}

impl Share {
    /// Of a process, if it is there.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        Some(Self {
            whole: kib(&text, "Pss:")?,
            own: kib(&text, "Pss_Anon:")?,
        })
    }
}

fn get(meminfo: &str, name: &str) -> Result<f64, String> {
    kib(meminfo, name).ok_or_else(|| format!("no {name} in /proc/meminfo"))
}

fn kib(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::kib;

    #[test]
    fn fields_are_found_by_whole_name() {
        let text = "Pss_Anon: 1 kB\nPss:   52 kB\n";
        assert_eq!(kib(text, "Pss:"), Some(52.0));
        assert_eq!(kib(text, "Swap:"), None);
    }
}
