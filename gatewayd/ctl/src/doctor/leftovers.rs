//! What there is of Warder on a FreeBSD host beside what a running server knows of: jails, interfaces and datasets that a server
//! left, that are half made or dying, and what somebody else has under a name of Warder's. Of every instance.

use std::path::Path;

use super::checks::{Check, Need};
use super::freebsd::Ask;

mod datasets;
mod interfaces;
mod jails;

/// What the next start takes over or removes, and who wants neither removes at once.
const OVER: &str =
    "service warder start: takes them over, or removes them; service warder purge: removes all";

/// Looks, for the instance of a state directory.
pub(super) fn all(state_dir: &Path, ask: Ask<'_>) -> [Check; 3] {
    // Guests may call their processes so too.
    let runs = ask("/bin/pgrep", &["-j", "none", "-x", "privd"]).is_some();
    [
        jails::look(runs, ask),
        interfaces::look(runs, ask),
        datasets::look(runs, state_dir, ask),
    ]
}

/// What was found, each with what to do.
#[derive(Debug, Default)]
struct Found {
    wrong: Vec<(String, String)>,
    /// What is as it should be, and yet of use to know.
    note: String,
}

impl Found {
    /// Adds things of one kind, if there are any.
    fn add(&mut self, what: &str, names: &[&str], fix: impl Into<String>) {
        if !names.is_empty() {
            let finding = format!("{what}: {}", some(names));
            self.wrong.push((finding, fix.into()));
        }
    }

    fn check(self, name: &'static str) -> Check {
        let (findings, mut fixes): (Vec<_>, Vec<_>) = self.wrong.into_iter().unzip();
        fixes.dedup();
        Check {
            name,
            need: Need::Useful,
            present: findings.is_empty(),
            finding: match findings.is_empty() {
                true => self.note,
                false => findings.join("; "),
            },
            fix: fixes.join("; ").into(),
        }
    }
}

/// What cannot be listed.
fn unlisted(name: &'static str, program: &str) -> Check {
    Check {
        name,
        need: Need::Useful,
        present: false,
        finding: format!("cannot be listed: {program} fails"),
        fix: "run it as root, on the host".into(),
    }
}

/// The first few names, and how many more there are.
fn some(names: &[&str]) -> String {
    const FEW: usize = 3;
    let few = names[..names.len().min(FEW)].join(", ");
    match names.len().saturating_sub(FEW) {
        0 => few,
        more => format!("{few} and {more} more"),
    }
}

/// What follows an instance's tag at the beginning of a text, and the tag: eight digits to the base of 16.
fn tagged(text: &str) -> Option<(&str, &str)> {
    let (tag, rest) = text.split_at_checked(8)?;
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    tag.bytes().all(digit).then_some((tag, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_names_are_enough() {
        assert_eq!(some(&["a"]), "a");
        assert_eq!(some(&["a", "b", "c"]), "a, b, c");
        assert_eq!(some(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }

    #[test]
    fn a_tag_is_what_instances_have() {
        let tag = warder_wire::InstanceTag::of_state_dir(b"a").to_string();
        assert_eq!(tagged(&format!("{tag}-7")), Some((tag.as_str(), "-7")));
        for text in ["", "e40c292", "E40C292C-7", "e40c292g-7", "ésé40c29c"] {
            assert_eq!(tagged(text), None, "{text}");
        }
    }

    #[test]
    fn a_host_without_anything_is_well() {
        let ask = |program: &str, _: &[&str]| match program {
            "/bin/pgrep" | "/bin/ls" => None,
            _ => Some(String::new()),
        };
        for check in all(Path::new("/var/db/warder"), &ask) {
            assert!(check.present && check.finding.is_empty(), "{check:?}");
        }
    }

    #[test]
    fn what_cannot_be_listed_is_said() {
        for check in all(Path::new("/var/db/warder"), &|_, _| None) {
            assert!(!check.present && check.advice().is_some(), "{check:?}");
        }
    }
}
