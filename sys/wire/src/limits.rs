//! Resource limits of a sandbox, and what the host made of them.

use serde::{Deserialize, Serialize};

/// What a sandbox may use.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Limits {
    /// Memory in MiB, 64 to 1,048,576.
    pub memory_mib: u32,
    /// Processor time in hundredths of one CPU, 10 to 102,400.
    pub cpu_percent: u32,
    /// Processes and threads, 16 to 32,768.
    pub pids: u32,
    /// Disk in MiB, 64 to 16,777,216.
    pub disk_mib: u32,
}

impl Limits {
    /// Whether every field lies within its bounds. The privileged side checks this again.
    #[must_use]
    pub fn in_bounds(&self) -> bool {
        (64..=1_048_576).contains(&self.memory_mib)
            && (10..=102_400).contains(&self.cpu_percent)
            && (16..=32_768).contains(&self.pids)
            && (64..=16_777_216).contains(&self.disk_mib)
    }
}

/// Whether one limit holds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum LimitState {
    /// The kernel enforces it for the sandbox as a whole.
    Enforced,
    /// A weaker stand-in holds (a per-user process count for `pids`, say).
    StandIn,
    /// This host has nothing to enforce it with.
    Absent,
}

/// Whether each limit holds, as reported by the privileged side.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LimitsInForce {
    /// Of [`Limits::memory_mib`].
    pub memory: LimitState,
    /// Of [`Limits::cpu_percent`].
    pub cpu: LimitState,
    /// Of [`Limits::pids`].
    pub pids: LimitState,
    /// Of [`Limits::disk_mib`].
    pub disk: LimitState,
}
