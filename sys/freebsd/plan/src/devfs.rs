//! The rules by which a cell's /dev shows what every program may use and nothing else (devfs(8)), and by which that of a
//! machine's bhyve(8) shows what that needs.
//!
//! Rulesets are numbers of the whole host and carry no names. The first rule of ours therefore hides a device
//! that there never is and whose name says whose the set is, and which rules it is meant to have.

use std::collections::BTreeSet;

use warder_wire::InstanceTag;

/// The lowest number given to a set of ours, far above those of devfs.rules(5) and of administrators.
const LOWEST: u16 = 22_272;

/// What a cell finds in /dev.
const SHOWN: [&str; 13] = [
    "null", "zero", "full", "random", "urandom", "fd", "fd/*", "stdin", "stdout", "stderr", "ptmx",
    "pts", "pts/*",
];

/// What bhyve(8) finds there. Machines of other jails are not seen in the same directories (`devfs_prison_check` of
/// devfs_vnops.c); its tap is shown to each by itself.
const MACHINE: [&str; 14] = [
    "null", "zero", "random", "urandom", "fd", "fd/*", "stdin", "stdout", "stderr", "vmmctl",
    "vmm", "vmm/*", "vmm.io", "vmm.io/*",
];

/// Whose /dev.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Of {
    /// A cell's.
    Cells,
    /// A machine's.
    Machines,
}

impl Of {
    fn shown(self) -> &'static [&'static str] {
        match self {
            Self::Cells => &SHOWN,
            Self::Machines => &MACHINE,
        }
    }
}

/// A rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Its number in the set.
    pub number: u16,
    /// Which paths below /dev; every one where there is none.
    pub pattern: Option<String>,
    /// Whether they are shown; else they are hidden.
    pub shown: bool,
}

/// The rules of an instance's set, in order.
#[must_use]
pub fn rules(tag: InstanceTag, of: Of) -> Vec<Rule> {
    let rule = |number, pattern, shown| Rule {
        number,
        pattern,
        shown,
    };
    let mut rules = vec![
        rule(1, Some(mark(tag, of)), false),
        // Also whatever the kernel will have later.
        rule(2, None, false),
    ];
    let shown = (3..).zip(of.shown());
    rules.extend(shown.map(|(number, &name)| rule(number, Some(name.to_owned()), true)));
    rules
}

/// Name of the device that there never is. A version of Warder with other rules makes another set: cells of the
/// one before keep theirs.
fn mark(tag: InstanceTag, of: Of) -> String {
    let rules = InstanceTag::of_state_dir(of.shown().join(" ").as_bytes());
    format!("{}{rules}", prefix(tag))
}

fn prefix(tag: InstanceTag) -> String {
    format!("warder.{tag}.")
}

/// Whether a set whose rule 1 has this pattern is the one that new ones use.
#[must_use]
pub fn is_current(tag: InstanceTag, of: Of, first: &str) -> bool {
    first == mark(tag, of)
}

/// Whether it was made by this instance, in whatever version.
#[must_use]
pub fn is_own(tag: InstanceTag, first: &str) -> bool {
    first.starts_with(&prefix(tag))
}

/// A number that no set has; `None` when there is none.
#[must_use]
pub fn free_number(taken: &BTreeSet<u16>) -> Option<u16> {
    (LOWEST..=u16::MAX).find(|number| !taken.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_hidden_before_anything_is_shown() {
        for of in [Of::Cells, Of::Machines] {
            shows_what_is_safe(&rules(InstanceTag::of_state_dir(b"/a"), of));
        }
    }

    fn shows_what_is_safe(rules: &[Rule]) {
        assert!(rules.windows(2).all(|two| two[0].number < two[1].number));
        assert!(rules.iter().all(|rule| rule.number > 0));
        let all = rules.iter().position(|rule| rule.pattern.is_none());
        assert_eq!(all, Some(1));
        assert!(!rules[0].shown && !rules[1].shown && rules[2..].iter().all(|r| r.shown));
        let shown: Vec<&str> = rules.iter().filter_map(|r| r.pattern.as_deref()).collect();
        for never in [
            "mem", "kmem", "io", "pci", "pf", "bpf", "zfs", "devctl", "ada0", "*", "pts*", "tap*",
        ] {
            assert!(!shown.contains(&never), "{never}");
        }
    }

    #[test]
    fn a_foreign_set_is_never_taken_for_ours() {
        let (a, b) = (
            InstanceTag::of_state_dir(b"/a"),
            InstanceTag::of_state_dir(b"/b"),
        );
        let first = rules(a, Of::Cells)[0].pattern.clone().expect("the mark");
        assert!(is_current(a, Of::Cells, &first) && is_own(a, &first));
        assert!(!is_current(b, Of::Cells, &first) && !is_own(b, &first));
        assert!(!is_current(a, Of::Machines, &first));
        let before = format!("warder.{a}.00000000");
        assert!(!is_current(a, Of::Cells, &before) && is_own(a, &before));
        assert!(!is_own(a, "null") && !is_own(a, ""));
    }

    #[test]
    fn a_number_in_use_is_never_chosen() {
        assert_eq!(free_number(&BTreeSet::from([1, 4, 10])), Some(LOWEST));
        let some = BTreeSet::from([LOWEST, LOWEST + 2]);
        assert_eq!(free_number(&some), Some(LOWEST + 1));
        assert_eq!(free_number(&(LOWEST..=u16::MAX).collect()), None);
    }
}
