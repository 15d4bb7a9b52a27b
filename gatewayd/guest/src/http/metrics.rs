//! `GET /metrics`: what the sandbox uses.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Response;
use serde::Serialize;

use super::{ApiError, Body, json};

#[derive(Serialize)]
struct Metrics {
    /// Seconds since 1970.
    ts: u64,
    cpu_count: usize,
    /// Percent of all processors since the last question.
    cpu_used_pct: f64,
    mem_total: u64,
    mem_used: u64,
    mem_cache: u64,
    mem_total_mib: u64,
    mem_used_mib: u64,
    disk_used: u64,
    disk_total: u64,
}

const MIB: u64 = 1024 * 1024;

pub(super) fn get() -> Result<Response<Body>, ApiError> {
    let memory = memory();
    let disk = rustix::fs::statvfs("/").map_err(|errno| ApiError::io("statvfs", &errno.into()))?;
    Ok(json(&Metrics {
        ts: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        cpu_count: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        cpu_used_pct: cpu_used(),
        mem_total: memory.total,
        mem_used: memory.used,
        mem_cache: memory.cache,
        mem_total_mib: memory.total / MIB,
        mem_used_mib: memory.used / MIB,
        disk_used: (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        disk_total: disk.f_blocks * disk.f_frsize,
    }))
}

#[derive(Default)]
struct Memory {
    total: u64,
    used: u64,
    cache: u64,
}

/// Of the sandbox's own cgroup where it shows, else what /proc says; zeros where there is neither.
fn memory() -> Memory {
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

/// Average since the system started when asked for the first time.
fn cpu_used() -> f64 {
    thread_local!(static LAST: std::cell::Cell<(u64, u64)> = const { std::cell::Cell::new((0, 0)) });
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
    let total: u64 = fields.iter().sum();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    let (last_total, last_idle) = LAST.replace((total, idle));
    let span = total.saturating_sub(last_total);
    if span == 0 {
        return 0.0;
    }
    let busy = span.saturating_sub(idle.saturating_sub(last_idle));
    #[expect(clippy::cast_precision_loss, reason = "a percentage with two digits")]
    let percent = busy as f64 * 100.0 / span as f64;
    (percent * 100.0).round() / 100.0
}
