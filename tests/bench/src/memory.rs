//! Memory of idle sandboxes: the agents' share by the kernel's own accounting, and what the kernel itself uses.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::thread;
use std::time::Duration;

use crate::Outcome;
use crate::stats::Samples;
use crate::warder::Server;

const SANDBOXES: usize = 50;

pub(crate) fn measure(server: &Server, samples: &mut Samples) -> Outcome {
    let before = (agents(), Host::now()?);
    let mut api = server.connect()?;
    let mut made = Vec::new();
    for _ in 0..SANDBOXES {
        made.push(server.create(&mut api)?);
    }
    // Lets free pages settle on the lists that MemAvailable counts.
    thread::sleep(Duration::from_secs(1));
    let after = Host::now()?;
    let new: Vec<u32> = agents().difference(&before.0).copied().collect();
    let shares = new.iter().filter_map(|pid| pss(*pid));
    shares.for_each(|kib| samples.value("warder memory agent", kib));
    let each = |now: f64, then: f64| (now - then) / SANDBOXES as f64;
    samples.value(
        "warder memory whole",
        each(before.1.available, after.available),
    );
    samples.value("warder memory slab", each(after.slab, before.1.slab));
    for sandbox in &made {
        server.kill(&mut api, sandbox)?;
    }
    if new.len() != SANDBOXES {
        return Err(format!("{} agents found for {SANDBOXES} sandboxes", new.len()).into());
    }
    Ok(())
}

/// The agents on this host: processes called `envd` that are the first of a pid namespace below this one.
fn agents() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
        };
        let below: Vec<&str> = field("NSpid:").split_whitespace().collect();
        field("Name:").trim() == "envd" && below.len() > 1 && below.last() == Some(&"1")
    })
    .collect()
}

/// Proportional set size in KiB.
pub(crate) fn pss(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    kib(&text, "Pss:")
}

/// Memory of the whole host, in KiB.
#[derive(Clone, Copy, Debug)]
struct Host {
    available: f64,
    slab: f64,
}

impl Host {
    fn now() -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string("/proc/meminfo")?;
        let get = |name| kib(&text, name).ok_or_else(|| format!("no {name} in /proc/meminfo"));
        Ok(Self {
            available: get("MemAvailable:")?,
            slab: get("Slab:")?,
        })
    }
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
