//! Time: deadlines of leases and every other timer of the loop.
//!
//! privd alone enforces deadlines. Within a boot they count on the monotonic clock, so that setting the
//! wall clock moves none; across boots, where that clock starts anew, on the wall clock.

use std::collections::BTreeSet;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use warder_wire::SandboxId;

use crate::supervise::Role;

/// Longest time from now until a deadline, in milliseconds: 30 days.
pub(crate) const MAX_TTL_MS: u64 = 30 * 24 * 3600 * 1000;

/// A moment on both clocks, in milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Now {
    /// Since some moment of this boot.
    pub mono: u64,
    /// Since 1970.
    pub wall: u64,
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    pub(crate) fn read() -> Self {
        let ms = |id| {
            let t = clock_gettime(id);
            u64::try_from(t.tv_sec).unwrap_or(0) * 1000
                + u64::try_from(t.tv_nsec).unwrap_or(0) / 1_000_000
        };
        Self {
            mono: ms(ClockId::Monotonic),
            wall: ms(ClockId::Realtime),
        }
    }
}

/// When a lease ends.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Deadline {
    /// On the monotonic clock of the boot the ledger names.
    pub mono: u64,
    /// The same moment on the wall clock.
    pub wall: u64,
}

impl Deadline {
    /// `ttl_ms` from `now`.
    #[must_use]
    pub(crate) fn after(now: Now, ttl_ms: u64) -> Self {
        let ttl = ttl_ms.min(MAX_TTL_MS);
        Self {
            mono: now.mono + ttl,
            wall: now.wall + ttl,
        }
    }

    /// The deadline in the boot of `now`, when it was set in an earlier one. A clock set back
    /// cannot make it longer than any lease may be.
    #[must_use]
    pub(crate) fn rebased(self, now: Now) -> Self {
        Self::after(now, self.wall.saturating_sub(now.wall))
    }

    /// Milliseconds left.
    #[must_use]
    pub(crate) fn left(self, now: Now) -> u64 {
        self.mono.saturating_sub(now.mono)
    }
}

/// What a timer is for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Timer {
    /// A lease may have run out.
    Lease(SandboxId),
    /// A cell has been in the making for as long as it may.
    Cell(SandboxId),
    /// Look again whether a cell stands still.
    Freeze(SandboxId),
    /// Try again to remove what a dead cell left in the kernel.
    Leftovers(SandboxId),
    /// A process is due to be started again.
    Start(Role),
    /// A process has had its time to become ready.
    Ready(Role),
    /// The trash is due to be emptied.
    Trash,
    /// What sandboxes use is due to be counted.
    Measure,
    /// A template has been unpacking for as long as it may.
    Job,
    /// Stopping has taken as long as it may.
    Stop,
}

/// All timers, by moment on the monotonic clock in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(u64, Timer)>);

impl Timers {
    /// Sets a timer. Firing is a hint: whoever handles it looks at the state itself.
    pub(crate) fn set(&mut self, at: u64, timer: Timer) {
        self.0.insert((at, timer));
    }

    /// Forgets the timer set for `at`.
    pub(crate) fn clear(&mut self, at: u64, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    /// Milliseconds until the next one.
    #[must_use]
    pub(crate) fn wait(&self, mono: u64) -> Option<u64> {
        self.0.first().map(|(at, _)| at.saturating_sub(mono))
    }

    /// Takes the next one that is due.
    pub(crate) fn due(&mut self, mono: u64) -> Option<Timer> {
        if self.0.first()?.0 > mono {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_boot_the_wall_clock_moves_nothing() {
        let deadline = Deadline::after(
            Now {
                mono: 1000,
                wall: 5_000_000,
            },
            500,
        );
        assert_eq!(
            deadline.left(Now {
                mono: 1100,
                wall: 1
            }),
            400
        );
        assert_eq!(
            deadline.left(Now {
                mono: 9000,
                wall: 1
            }),
            0
        );
    }

    #[test]
    fn across_boots_the_wall_clock_decides_within_bounds() {
        let deadline = Deadline::after(
            Now {
                mono: 9_000_000,
                wall: 5_000_000,
            },
            60_000,
        );
        assert_eq!(
            deadline
                .rebased(Now {
                    mono: 10,
                    wall: 5_020_000
                })
                .left(Now { mono: 10, wall: 0 }),
            40_000
        );
        assert_eq!(
            deadline
                .rebased(Now {
                    mono: 10,
                    wall: 6_000_000
                })
                .left(Now { mono: 10, wall: 0 }),
            0
        );
        let far = Deadline {
            mono: 0,
            wall: u64::MAX,
        };
        assert_eq!(
            far.rebased(Now { mono: 10, wall: 0 })
                .left(Now { mono: 10, wall: 0 }),
            MAX_TTL_MS
        );
    }

    #[test]
    fn timers_fire_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(30, Timer::Stop);
        timers.set(10, Timer::Start(Role::Net));
        timers.set(20, Timer::Ready(Role::Net));
        timers.clear(20, Timer::Ready(Role::Net));
        assert_eq!(timers.wait(4), Some(6));
        assert_eq!(timers.due(9), None);
        assert_eq!(timers.due(31), Some(Timer::Start(Role::Net)));
        assert_eq!(timers.due(31), Some(Timer::Stop));
        assert_eq!((timers.due(99), timers.wait(99)), (None, None));
    }
}
