//! What can be seen from here, without a server and without root.

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Value, json};

use super::{filter, freebsd, leftovers, linux, reserve, storage};
use crate::place::Place;

/// Whether Warder works without it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Need {
    /// It does not.
    Required,
    /// It does, with less.
    Useful,
}

/// One thing looked at.
#[derive(Debug)]
pub(crate) struct Check {
    pub(super) name: &'static str,
    pub(crate) need: Need,
    pub(crate) present: bool,
    pub(super) finding: String,
    /// The command that gets it, or what else to do.
    pub(super) fix: Cow<'static, str>,
}

impl Check {
    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "required": self.need == Need::Required,
            "present": self.present,
            "finding": self.finding,
            "fix": if self.present { Value::Null } else { self.fix.as_ref().into() },
        })
    }

    pub(crate) fn row(&self) -> Vec<String> {
        let word = match (self.present, self.need) {
            (true, _) => "ok",
            (false, Need::Required) => "MISSING",
            (false, Need::Useful) => "absent",
        };
        vec![word.to_owned(), self.name.to_owned(), self.finding.clone()]
    }

    pub(crate) fn advice(&self) -> Option<String> {
        (!self.present && !self.fix.is_empty()).then(|| format!("{}: {}", self.name, self.fix))
    }
}

/// Looks at everything.
pub(crate) fn all(place: &Place) -> Vec<Check> {
    let system = rustix::system::uname();
    let name = system.sysname().to_string_lossy().into_owned();
    let release = system.release().to_string_lossy().into_owned();
    let mut checks = vec![root()];
    match name.as_str() {
        "Linux" => checks.extend(linux::all(&release)),
        "FreeBSD" => {
            checks.extend(freebsd::all(&release, &freebsd::asked));
            checks.extend(filter::all(place.tag(), &freebsd::asked));
            checks.push(storage::look(
                place.state_dir(),
                nearest(place),
                &storage::Configured::find(place, &freebsd::asked),
                &freebsd::asked,
            ));
            checks.push(reserve::look(
                place.state_dir(),
                nearest(place),
                &freebsd::asked,
            ));
            checks.extend(leftovers::all(place.state_dir(), &freebsd::asked));
        }
        _ => checks.push(Check {
            name: "system",
            need: Need::Required,
            present: false,
            finding: format!("there are no sandboxes on {name}"),
            fix: "use FreeBSD 14.3, Linux 6.1, or a newer one".into(),
        }),
    }
    checks.push(room(place));
    checks
}

/// Whether `release` (`6.1.0-18-amd64`) is at least `wanted`.
pub(super) fn at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|n| n.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    found >= wanted
}

fn root() -> Check {
    let root = rustix::process::geteuid().is_root();
    Check {
        name: "root",
        // Only `up` and `demo` need it, and they say so.
        need: Need::Useful,
        present: root,
        finding: if root {
            "yes"
        } else {
            "`up` and `demo` need it"
        }
        .to_owned(),
        fix: "run them with sudo".into(),
    }
}

/// The state directory, or what is there of its path.
fn nearest(place: &Place) -> &Path {
    let mut above = place.state_dir().ancestors();
    above.find(|d| d.exists()).unwrap_or(Path::new("/"))
}

/// Free space where sandboxes are stored, or will be.
fn room(place: &Place) -> Check {
    const LEAST: u64 = 1 << 30;
    let free =
        rustix::fs::statvfs(nearest(place)).map_or(0, |s| s.f_bavail.saturating_mul(s.f_frsize));
    Check {
        name: "disk",
        need: Need::Useful,
        present: free >= LEAST,
        finding: format!(
            "{} MiB free for {}",
            free >> 20,
            place.state_dir().display()
        ),
        fix: "make room, or use --state-dir on a larger file system".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert!(at_least("6.1.0-18-amd64", (6, 1)));
        assert!(at_least("6.18.44", (6, 9)));
        assert!(!at_least("5.19.0", (6, 1)));
        assert!(!at_least("nonsense", (6, 1)));
    }

    #[test]
    fn what_is_missing_comes_with_advice() {
        for check in all(&Place::new(Some("/nowhere".into()))) {
            assert!(check.present || !check.fix.is_empty(), "{}", check.name);
        }
    }
}
