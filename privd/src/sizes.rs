//! How large sandboxes may be, by the template they come from: the operator's `template_limits` lines.

use std::str::SplitAsciiWhitespace;

use warder_wire::{Limits, TemplateName};

use crate::by_template::{self, ByTemplate};
use crate::config::number;

/// The words of a line, in the order of the fields of [`Limits`].
const WORDS: [&str; 4] = ["memory_mib", "cpu_percent", "pids", "disk_mib"];

/// What one line says, in that order.
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
        let (own, others) = (own.unwrap_or_default(), others.unwrap_or_default());
        let default = Limits::DEFAULT.each();
        let of_origin = |n: usize| own.0[n].or(others.0[n]).unwrap_or(default[n]);
        snapshots.fold(
            Limits::of(std::array::from_fn(of_origin)),
            |limits, line| {
                let most = Limits::MOST.each();
                limits.at_most(Limits::of(std::array::from_fn(|n| {
                    line.0[n].unwrap_or(most[n])
                })))
            },
        )
    }
}

impl by_template::Line for Line {
    fn read(mut words: SplitAsciiWhitespace<'_>) -> Result<Self, String> {
        let mut line = Self::default();
        while let Some(word) = words.next() {
            let at = WORDS.iter().position(|known| *known == word);
            let at = at.ok_or_else(|| format!("`{word}` is none of {}", WORDS.join(", ")))?;
            let (least, most) = (Limits::LEAST.each()[at], Limits::MOST.each()[at]);
            let value = number(words.next().unwrap_or_default(), least, most)?;
            if line.0[at].replace(value).is_some() {
                return Err(format!("`{word}` given twice"));
            }
        }
        if line == Self::default() {
            return Err(format!("a template needs one of {}", WORDS.join(", ")));
        }
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> TemplateLimits {
        let mut limits = TemplateLimits::default();
        for line in lines {
            limits.add(line).expect(line);
        }
        limits
    }

    fn names(names: &[&str]) -> Vec<TemplateName> {
        let name = |name: &&str| TemplateName::new(name).expect("a name");
        names.iter().map(name).collect()
    }

    #[test]
    fn a_line_is_read() {
        let limits = lines(&[
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
        let mut limits = lines(&["base pids 64"]);
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
        let limits = lines(&[
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
