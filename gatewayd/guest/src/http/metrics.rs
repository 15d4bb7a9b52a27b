//! `GET /metrics`: what the sandbox uses.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Response;
use serde::Serialize;
use warder_guest_sys::usage::{self, Processors};

use super::{ApiError, Body, json};
use crate::agent::Agent;

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

pub(super) fn get(agent: &Agent) -> Result<Response<Body>, ApiError> {
    let mut memory = usage::memory();
    // Where the system shows the machine's, the sandbox's own limit is smaller.
    let limits = agent.settings.borrow().limits;
    let limit = limits.map_or(u64::MAX, |limits| u64::from(limits.memory_mib) * MIB);
    memory.total = memory.total.min(limit);
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

/// Average since the beginning when asked for the first time.
fn cpu_used() -> f64 {
    thread_local!(static LAST: Cell<Processors> = Cell::new(Processors::default()));
    let now = usage::processors();
    now.percent_since(&LAST.replace(now))
}
