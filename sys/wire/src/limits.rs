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
    /// What a sandbox gets of whose template the operator says nothing else.
    pub const DEFAULT: Self = Self::of([1024, 200, 1024, 10_240]);
    /// The lower bounds.
    pub const LEAST: Self = Self::of([64, 10, 16, 64]);
    /// The upper bounds.
    pub const MOST: Self = Self::of([1_048_576, 102_400, 32_768, 16_777_216]);

    /// In the order of the fields.
    #[must_use]
    pub const fn of([memory_mib, cpu_percent, pids, disk_mib]: [u32; 4]) -> Self {
        Self {
            memory_mib,
            cpu_percent,
            pids,
            disk_mib,
        }
    }

    /// In the order of the fields.
    #[must_use]
    pub const fn each(self) -> [u32; 4] {
        [self.memory_mib, self.cpu_percent, self.pids, self.disk_mib]
    }

    /// The lower of both, field by field.
    #[must_use]
    pub fn at_most(self, most: Self) -> Self {
        let (own, most) = (self.each(), most.each());
        Self::of(std::array::from_fn(|n| own[n].min(most[n])))
    }

    /// Whether every field lies within its bounds. The privileged side checks this again.
    #[must_use]
    pub fn in_bounds(self) -> bool {
        self.at_most(Self::MOST) == self && Self::LEAST.at_most(self) == Self::LEAST
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
