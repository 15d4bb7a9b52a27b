//! From /proc and the sandbox's own cgroup.

use std::fs;
use std::time::Duration;

use super::{Memory, Processors};

/// Of the sandbox's own cgroup where it shows, else what /proc says; zeros where there is neither.
#[must_use]
pub fn memory() -> Memory {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    };
    let host = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let host_kib = |name| field(&host, name).unwrap_or(0) * 1024;
    if let Some(current) = number("/sys/fs/cgroup/memory.current") {
        let stat = fs::read_to_string("/sys/fs/cgroup/memory.stat").unwrap_or_default();
        let cache = field(&stat, "file").unwrap_or(0);
        return Memory {
            total: number("/sys/fs/cgroup/memory.max").unwrap_or_else(|| host_kib("MemTotal")),
            used: current.saturating_sub(cache),
            cache,
        };
    }
    let total = host_kib("MemTotal");
    Memory {
        total,
        used: total.saturating_sub(host_kib("MemAvailable")),
        cache: host_kib("Cached"),
    }
}

/// Of the whole system, since it started (proc(5), /proc/stat).
#[must_use]
pub fn processors() -> Processors {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or("")
        .split_whitespace()
        .skip(1)
        // user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user.
        .take(8)
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let all: u64 = fields.iter().sum();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    // Hundredths of a second (USER_HZ).
    let time = |ticks: u64| Duration::from_millis(ticks.saturating_mul(10));
    Processors {
        all: time(all),
        busy: time(all.saturating_sub(idle)),
    }
}
