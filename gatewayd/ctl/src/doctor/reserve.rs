//! Room that sandboxes cannot take from the daemons. On ZFS all of a pool's datasets draw on what is free in it; what is
//! reserved for the state directory's (zfsprops(7), `refreservation`) is the daemons' alone.

use std::path::Path;

use super::checks::{Check, Need};
use super::freebsd::Ask;

/// What docs/freebsd.md has an operator set aside.
const ENOUGH: u64 = 256 << 20;
/// Less than this to go is said: what the daemons keep themselves takes from it, rightly.
const LEAST: u64 = 64 << 20;

/// The dataset that holds the state directory, `there` being what there is of its path.
pub(super) fn look(state_dir: &Path, there: &Path, ask: Ask<'_>) -> Check {
    let asked = there.to_string_lossy();
    let columns = ["get", "-Hp", "-o", "name,property,value"];
    let properties = ["referenced,usedbyrefreservation", &asked];
    // Of a path that is not on ZFS it prints nothing, and fails.
    let said = ask("/sbin/zfs", &[&columns[..], &properties[..]].concat());
    let holder = said.as_deref().map(Holder::read);
    let (present, finding, fix) = match holder {
        None => (
            true,
            "not on ZFS: no sandbox takes room from it".to_owned(),
            String::new(),
        ),
        Some(None) => (
            false,
            "zfs get says what is not understood".to_owned(),
            format!("look at: zfs get refreservation {asked}"),
        ),
        Some(Some(holder)) if state_dir != there => (
            false,
            format!(
                "{} does not exist: it would share the room of {}",
                state_dir.display(),
                holder.dataset
            ),
            holder.made(state_dir),
        ),
        Some(Some(holder)) => (
            holder.left >= LEAST,
            format!(
                "{} MiB left of what is reserved for {}",
                holder.left >> 20,
                holder.dataset
            ),
            holder.set(),
        ),
    };
    Check {
        name: "room of the daemons' own",
        need: Need::Useful,
        present,
        finding,
        fix: fix.into(),
    }
}

#[derive(Debug, Eq, PartialEq)]
struct Holder {
    dataset: String,
    referenced: u64,
    /// Of the reservation, what nothing was written to: it shrinks as the dataset grows.
    left: u64,
}

impl Holder {
    /// Reads what `zfs get -Hp -o name,property,value` prints.
    fn read(text: &str) -> Option<Self> {
        let value = |wanted: &str| {
            text.lines().find_map(|line| {
                let words: Vec<&str> = line.split('\t').collect();
                match words[..] {
                    [name, property, value] if property == wanted => {
                        Some((name, value.parse::<u64>().ok()?))
                    }
                    _ => None,
                }
            })
        };
        let (name, referenced) = value("referenced")?;
        let (_, left) = value("usedbyrefreservation")?;
        Some(Self {
            dataset: name.to_owned(),
            referenced,
            left,
        })
    }

    /// A reservation counts from the dataset's first byte.
    fn set(&self) -> String {
        let mebibytes = self.referenced.saturating_add(ENOUGH).div_ceil(1 << 20);
        format!("zfs set refreservation={mebibytes}m {}", self.dataset)
    }

    fn made(&self, state_dir: &Path) -> String {
        let pool = self.dataset.split('/').next().unwrap_or_default();
        format!(
            "zfs create -o refreservation={}m -o mountpoint={} {pool}/warder",
            ENOUGH >> 20,
            state_dir.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What zfs(8) of 15.1 prints of a dataset made as docs/freebsd.md says.
    const RESERVED: &str =
        "tank/warder\treferenced\t98304\ntank/warder\tusedbyrefreservation\t268337152\n";
    /// The same one with 300 MB in it: all of what was reserved is used.
    const OUTGROWN: &str =
        "tank/warder\treferenced\t314900480\ntank/warder\tusedbyrefreservation\t0\n";
    const NEVER: &str =
        "zroot/ROOT/default\treferenced\t2147483648\nzroot/ROOT/default\tusedbyrefreservation\t0\n";

    fn doctor(there: &str, said: Option<&str>) -> Check {
        let state_dir = Path::new("/var/db/warder");
        look(state_dir, Path::new(there), &|program, arguments| {
            assert_eq!(program, "/sbin/zfs");
            let properties = "get -Hp -o name,property,value referenced,usedbyrefreservation";
            assert_eq!(arguments.join(" "), format!("{properties} {there}"));
            said.map(str::to_owned)
        })
    }

    #[test]
    fn a_reservation_is_seen() {
        let check = doctor("/var/db/warder", Some(RESERVED));
        assert!(check.present, "{check:?}");
        assert_eq!(
            check.finding,
            "255 MiB left of what is reserved for tank/warder"
        );
        assert_eq!(check.advice(), None);
    }

    #[test]
    fn a_reservation_that_lacks_or_is_used_up_comes_with_its_line() {
        for (said, line) in [
            (OUTGROWN, "zfs set refreservation=557m tank/warder"),
            (NEVER, "zfs set refreservation=2304m zroot/ROOT/default"),
        ] {
            let check = doctor("/var/db/warder", Some(said));
            assert!(!check.present && check.need == Need::Useful, "{check:?}");
            assert_eq!(check.fix, line);
        }
    }

    #[test]
    fn who_has_no_state_directory_yet_is_told_to_make_it_a_dataset() {
        let check = doctor("/var/db", Some(NEVER));
        assert!(!check.present, "{check:?}");
        assert_eq!(
            check.fix,
            "zfs create -o refreservation=256m -o mountpoint=/var/db/warder zroot/warder"
        );
    }

    #[test]
    fn what_is_not_on_zfs_is_not_asked_for_any() {
        assert!(doctor("/var/db/warder", None).present);
        assert!(doctor("/", None).present);
    }

    #[test]
    fn what_is_not_understood_is_no_reservation() {
        for said in [
            "",
            "tank/warder\treferenced\t98304\n",
            "tank/warder\tusedbyrefreservation\t268337152\n",
            "tank/warder\treferenced\t98304\ntank/warder\tusedbyrefreservation\tnone\n",
            "tank/warder referenced 98304\ntank/warder usedbyrefreservation 268337152\n",
        ] {
            let check = doctor("/var/db/warder", Some(said));
            assert!(
                !check.present && check.advice().is_some(),
                "{said:?}: {check:?}"
            );
        }
    }
}
