//! A bounded series of samples, 20 bytes each.

use std::collections::VecDeque;

use warder_wire::gateway_priv::Usage;

use crate::clock::Micros;
use crate::limits;

const KIB: u64 = 1024;

/// What a sandbox used at one time. What the host does not count is zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sample {
    /// Seconds since 1970.
    at: u32,
    /// Of the processor time it may have, since the sample before; in hundredths of a percent.
    cpu: u32,
    memory_kib: u32,
    cache_kib: u32,
    disk_kib: u32,
}

impl Sample {
    /// Seconds since 1970.
    pub(crate) fn at(self) -> u64 {
        u64::from(self.at)
    }

    /// Percent of the processor time it may have.
    pub(crate) fn cpu_percent(self) -> f64 {
        f64::from(self.cpu) / 100.0
    }

    /// Memory without page cache, in bytes.
    pub(crate) fn memory(self) -> u64 {
        u64::from(self.memory_kib.saturating_sub(self.cache_kib)) * KIB
    }

    /// Page cache in bytes.
    pub(crate) fn cache(self) -> u64 {
        u64::from(self.cache_kib) * KIB
    }

    /// Its writable layer in bytes.
    pub(crate) fn disk(self) -> u64 {
        u64::from(self.disk_kib) * KIB
    }

    /// Whether the next one is due.
    pub(crate) fn is_old(self, now: Micros) -> bool {
        now.0 / 1_000_000 >= self.at() + limits::SAMPLE_EVERY.as_secs()
    }
}

/// The last samples of a sandbox, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Series {
    kept: VecDeque<Sample>,
    /// When and at how much processor time the last look was, in microseconds.
    seen: Option<(u64, u64)>,
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn kib(bytes: Option<u64>) -> u32 {
    small(bytes.unwrap_or(0).div_ceil(KIB))
}

impl Series {
    /// Adds what was seen now. The first sample's rate is since the sandbox started.
    pub(crate) fn push(
        &mut self,
        at: Micros,
        started: Micros,
        cpu_limit_percent: u32,
        usage: &Usage,
    ) -> Sample {
        let (since, before) = self.seen.unwrap_or((started.0, 0));
        let used = usage.cpu_us.unwrap_or(0);
        self.seen = Some((at.0, used));
        let span = u128::from(at.0.saturating_sub(since).max(1));
        // A counter that fell began anew with other processes.
        let spent = u128::from(used.saturating_sub(before));
        let share = spent * 1_000_000 / (span * u128::from(cpu_limit_percent.max(1)));
        let sample = Sample {
            at: small(at.0 / 1_000_000),
            cpu: u32::try_from(share).unwrap_or(u32::MAX),
            memory_kib: kib(usage.memory),
            cache_kib: kib(usage.memory_cache),
            disk_kib: kib(usage.disk),
        };
        if self.kept.len() >= limits::SAMPLES {
            self.kept.pop_front();
        } else if self.kept.len() == self.kept.capacity() {
            // By a quarter: most sandboxes live for minutes.
            let more = (self.kept.len() / 4).clamp(8, limits::SAMPLES - self.kept.len());
            self.kept.reserve_exact(more);
        }
        self.kept.push_back(sample);
        sample
    }

    /// It does not run now: no time passes for it.
    pub(crate) fn rest(&mut self, at: Micros) {
        if let Some((when, _)) = &mut self.seen {
            *when = at.0;
        }
    }

    /// The last one.
    pub(crate) fn newest(&self) -> Option<Sample> {
        self.kept.back().copied()
    }

    /// Those within two times, in seconds since 1970, both included.
    pub(crate) fn within(&self, start: Option<u64>, end: Option<u64>) -> Vec<Sample> {
        let within = |sample: &&Sample| {
            start.is_none_or(|t| t <= sample.at()) && end.is_none_or(|t| sample.at() <= t)
        };
        self.kept.iter().filter(within).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(cpu_us: u64) -> Usage {
        Usage {
            cpu_us: Some(cpu_us),
            memory: Some(10 * KIB),
            memory_cache: Some(4 * KIB),
            disk: None,
            pids: None,
        }
    }

    fn at(seconds: u64) -> Micros {
        Micros(seconds * 1_000_000)
    }

    #[test]
    fn rates_are_of_what_it_may_use() {
        let mut series = Series::default();
        // One second of processor time in ten, of two processors.
        let first = series.push(at(110), at(100), 200, &usage(1_000_000));
        assert!((first.cpu_percent() - 5.0).abs() < 1e-9);
        assert_eq!(
            (first.memory(), first.cache(), first.disk()),
            (6 * KIB, 4 * KIB, 0)
        );
        let busy = series.push(at(115), at(100), 200, &usage(11_000_000));
        assert!((busy.cpu_percent() - 100.0).abs() < 1e-9);
        // Paused for an hour, then one second in five; and a counter that began anew.
        series.rest(at(3715));
        let woken = series.push(at(3720), at(100), 200, &usage(12_000_000));
        assert!((woken.cpu_percent() - 10.0).abs() < 1e-9);
        assert!(series.push(at(3725), at(100), 200, &usage(5)).cpu_percent() < 1e-9);
        assert!(busy.is_old(at(120)) && !busy.is_old(at(119)));
    }

    #[test]
    fn an_hour_is_kept_in_twenty_bytes_a_sample() {
        let mut series = Series::default();
        for n in 0..2000 {
            series.push(at(1000 + 5 * n), at(1000), 200, &usage(n));
        }
        assert_eq!(series.kept.len(), limits::SAMPLES);
        assert!(series.kept.capacity() * size_of::<Sample>() <= 16 * 1024);
        assert_eq!(size_of::<Sample>(), 20);
        let newest = series.newest().expect("some").at();
        assert_eq!(series.within(Some(newest - 9), None).len(), 2);
        assert_eq!(series.within(None, Some(1000)), []);
    }
}
