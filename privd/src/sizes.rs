//! How large sandboxes may be, by the template they come from: the operator's `template_limits` lines.

use std::str::SplitAsciiWhitespace;

use warder_wire::{Limits, TemplateName};

use crate::by_template::{self, ByTemplate};
use crate::config::number;

/// What one line says, in the order of the fields of [`Limits`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Line([Option<u32>; 4]);

/// All lines. That of `*` is for templates without a line of their own, and for what other lines leave out.
pub(crate) type TemplateLimits = ByTemplate<Line>;

impl TemplateLimits {
    /// What holds for a sandbox whose tree is made of `lineage`. The origin decides; a line for a snapshot can only take away.
    #[must_use]
    pub(crate) fn of(&self, lineage: &[TemplateName]) -> Limits {
        if lineage.is_empty() {
            // Nothing is known of it.
            return Limits::LEAST;
        }
        let (own, others, snapshots) = self.lines(lineage);
        let others = others.unwrap_or_default().over(Limits::DEFAULT);
        let first = own.unwrap_or_default().over(others);
        snapshots.fold(first, |limits, line| limits.at_most(line.over(limits)))
    }
}

impl Line {
    /// What it says, and where it says nothing what is `below`.
    fn over(self, below: Limits) -> Limits {
        let below = below.each();
        Limits::of(std::array::from_fn(|n| self.0[n].unwrap_or(below[n])))
    }
}

impl by_template::Line for Line {
    const WORDS: [&'static str; 4] = ["memory_mib", "cpu_percent", "pids", "disk_mib"];

    fn take(&mut self, at: usize, rest: &mut SplitAsciiWhitespace<'_>) -> Result<bool, String> {
        let (least, most) = (Limits::LEAST.each()[at], Limits::MOST.each()[at]);
        let value = number(rest.next().unwrap_or_default(), least, most)?;
        Ok(self.0[at].replace(value).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::by_template::tests::{lines, names};

    #[test]
    fn a_line_is_read() {
        let limits: TemplateLimits = lines(&[
            "big memory_mib 65536 cpu_percent 1600",
            "small pids 64 disk_mib 512",
        ]);
        assert_eq!(
            limits.of(&names(&["big"])).each(),
            [65_536, 1600, 1024, 10_240]
        );
        assert_eq!(limits.of(&names(&["small"])).each(), [1024, 200, 64, 512]);
        assert_eq!(limits.of(&names(&["other"])), Limits::DEFAULT);
        assert_eq!(limits.of(&[]), Limits::LEAST);
    }

    #[test]
    fn a_wrong_line_is_refused() {
        let mut limits: TemplateLimits = lines(&["base pids 64"]);
        for bad in [
            "",
            "x",
            "X pids 64",
            "base pids 65",
            "x pids",
            "x pids 15",
            "x pids 32769",
            "x pids -1",
            "x pids 64 pids 65",
            "x memory_mib 63",
            "x memory_mib 1048577",
            "x memory_mib 1G",
            "x memory 1024",
            "x cpu_percent 9",
            "x cpu_percent 102401",
            "x disk_mib 63",
            "x disk_mib 99999999999999999999",
        ] {
            assert!(limits.add(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_origin_decides_and_a_snapshot_only_takes_away() {
        let limits: TemplateLimits = lines(&[
            "* memory_mib 512 pids 100",
            "big memory_mib 4096",
            "tight memory_mib 128 pids 200",
        ]);
        assert_eq!(limits.of(&names(&["base"])).each(), [512, 200, 100, 10_240]);
        assert_eq!(limits.of(&names(&["big"])).each(), [4096, 200, 100, 10_240]);
        assert_eq!(
            limits.of(&names(&["x", "big"])).each(),
            [4096, 200, 100, 10_240]
        );
        // Under whatever name a snapshot goes.
        assert_eq!(
            limits.of(&names(&["big", "base"])).each(),
            [512, 200, 100, 10_240]
        );
        assert_eq!(
            limits.of(&names(&["x", "tight", "big"])).each(),
            [128, 200, 100, 10_240]
        );
    }
}
