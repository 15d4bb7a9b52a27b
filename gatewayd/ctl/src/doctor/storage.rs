//! Where sandboxes are stored on FreeBSD: below the dataset that `zfs_dataset` of warder.conf(5) names, else where the state
//! directory lies. privd does not start where neither is on ZFS. A server may not run, so its configuration is read here.

use std::io;
use std::path::{Path, PathBuf};

use warder_zfs::ZfsError;

use super::checks::{Check, Need};
use super::freebsd::Ask;
use crate::place::Place;

/// What rc.d/warder reads unless rc.conf(5) says otherwise.
const CONFIGURATION: &str = "/usr/local/etc/warder.conf";
/// Less than this is said: templates alone take more.
const LEAST: u64 = 1 << 30;

/// The configuration of an instance, as far as its storage goes.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Configured {
    /// What it names.
    dataset: Option<String>,
    /// A file that may be its and cannot be read, with the reason.
    unread: Option<String>,
}

impl Configured {
    /// Looks for it: the service's, and what `warder up` wrote at its last start.
    pub(super) fn find(place: &Place, ask: Ask<'_>) -> Self {
        let service = ask("/usr/sbin/sysrc", &["-n", "warder_conf"]);
        let service = service.as_deref().map(str::trim).filter(|p| !p.is_empty());
        let files = [
            PathBuf::from(service.unwrap_or(CONFIGURATION)),
            place.state_dir().join("privd.conf"),
        ];
        let own = |dir: &str| Place::new(Some(dir.into())).state_dir() == place.state_dir();
        let read = |file: &Path| std::fs::read_to_string(file);
        Self::among(&files, &own, &read)
    }

    /// The first of the files that is of the instance.
    fn among(
        files: &[PathBuf],
        own: &dyn Fn(&str) -> bool,
        read: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Self {
        let mut unread = None;
        for file in files {
            match read(file) {
                Ok(text) if value(&text, "state_dir").is_some_and(own) => {
                    return Self {
                        dataset: value(&text, "zfs_dataset").map(str::to_owned),
                        unread: None,
                    };
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    unread.get_or_insert(format!("{} cannot be read: {e}", file.display()));
                }
            }
        }
        Self {
            dataset: None,
            unread,
        }
    }
}

/// What a keyword of warder.conf(5) is given.
fn value<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix(keyword)?;
        let value = rest.trim_start();
        (value.len() < rest.len() && !value.is_empty()).then_some(value)
    })
}

/// The place, `there` being what there is of the state directory's path.
pub(super) fn look(state_dir: &Path, there: &Path, configured: &Configured, ask: Ask<'_>) -> Check {
    let asked = match &configured.dataset {
        Some(dataset) => dataset.clone(),
        None => there.to_string_lossy().into_owned(),
    };
    let columns = ["get", "-Hp", "-o", "name,value", "available"];
    // Of a path that is not on ZFS, and of a dataset that is not there, it prints nothing, and fails.
    let said = ask("/sbin/zfs", &[&columns[..], &[&asked]].concat());
    let unread = configured.unread.iter().map(|why| format!("; {why}"));
    let unread: String = unread.collect();
    let missing = |error: ZfsError| {
        let text = error.to_string();
        // What it found, and what to do.
        let (finding, fix) = text.split_once(": `").unwrap_or((&text, ""));
        Check {
            name: "place for sandboxes",
            need: Need::Required,
            present: false,
            finding: format!("{finding}{unread}"),
            fix: format!("`{fix}").into(),
        }
    };
    let Some(said) = said else {
        return missing(match &configured.dataset {
            Some(dataset) => ZfsError::Missing {
                dataset: dataset.clone(),
            },
            None => ZfsError::NotZfs {
                state_dir: state_dir.to_owned(),
                kind: kind(there, ask),
            },
        });
    };
    let row = said.lines().next().and_then(|line| line.split_once('\t'));
    let (dataset, free) = match row.map(|(dataset, free)| (dataset, free.parse::<u64>())) {
        Some((dataset, Ok(free))) => (dataset, free),
        _ => (asked.as_str(), 0),
    };
    Check {
        name: "place for sandboxes",
        need: Need::Useful,
        present: free >= LEAST,
        finding: format!("{} MiB free in {dataset}{unread}", free >> 20),
        fix: format!(
            "make room in its pool, or raise a quota (zfs list -o space {dataset}, and those above it)"
        )
        .into(),
    }
}

/// The kind of file system that a path is on.
fn kind(there: &Path, ask: Ask<'_>) -> String {
    let listed = ask("/bin/df", &["-T", &there.to_string_lossy()]);
    let row = listed.as_deref().and_then(|text| text.lines().nth(1));
    let kind = row.and_then(|row| row.split_whitespace().nth(1));
    kind.unwrap_or("another").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/usr/local/etc/warder.conf";

    fn configured(text: io::Result<&str>) -> Configured {
        let text = text.map(str::to_owned).map_err(|e| e.kind());
        let files = [FILE.into(), "/var/db/warder/privd.conf".into()];
        Configured::among(
            &files,
            &|dir| dir == "/var/db/warder",
            &|file| match file.to_str() {
                Some(FILE) => text.clone().map_err(io::Error::from),
                _ => Err(io::ErrorKind::NotFound.into()),
            },
        )
    }

    fn named(dataset: &str) -> Configured {
        Configured {
            dataset: Some(dataset.to_owned()),
            unread: None,
        }
    }

    fn doctor(configured: &Configured, zfs: (&str, Option<&str>)) -> Check {
        let dir = Path::new("/var/db/warder");
        look(dir, dir, configured, &|program, arguments| match program {
            "/sbin/zfs" => {
                let properties = "get -Hp -o name,value available";
                assert_eq!(arguments.join(" "), format!("{properties} {}", zfs.0));
                zfs.1.map(str::to_owned)
            }
            "/bin/df" => Some(
                "Filesystem      Type 1K-blocks    Used    Avail Capacity  Mounted on\n\
                     /dev/gpt/rootfs ufs   20307196 1854256 16828368    10%    /\n"
                    .to_owned(),
            ),
            _ => None,
        })
    }

    #[test]
    fn a_configuration_is_read_when_it_is_of_the_instance() {
        let text =
            "# zfs_dataset tank/old\nstate_dir /var/db/warder\n  zfs_dataset\ttank/warder \n";
        assert_eq!(configured(Ok(text)), named("tank/warder"));
        for text in [
            "",
            "state_dir /var/db/warder\n#zfs_dataset tank/warder\n",
            "state_dir /var/db/warder\nzfs_datasets tank/warder\n",
            "state_dir /var/db/other\nzfs_dataset tank/warder\n",
        ] {
            assert_eq!(configured(Ok(text)), Configured::default(), "{text:?}");
        }
        let none = configured(Err(io::ErrorKind::NotFound.into()));
        assert_eq!(none, Configured::default());
    }

    #[test]
    fn a_host_without_a_pool_is_told_how_to_make_one() {
        let check = doctor(&Configured::default(), ("/var/db/warder", None));
        assert!(!check.present && check.need == Need::Required, "{check:?}");
        assert!(
            check
                .finding
                .starts_with("/var/db/warder is not on ZFS (but on ufs)"),
            "{check:?}"
        );
        let advice = check.advice().expect("advice");
        for line in [
            "`zfs create -o mountpoint=none POOL/warder`",
            "`zfs_dataset POOL/warder` in warder.conf",
            "`truncate -s 20g /var/db/warder.img`",
            "`zpool create -O mountpoint=none POOL /var/db/warder.img`",
        ] {
            assert!(advice.contains(line), "{line}: {advice}");
        }
    }

    #[test]
    fn what_freebsd_prints_is_read() {
        // zfs(8) of FreeBSD 15.1 prints of a dataset, and df(1) of a directory on UFS and of one on ZFS:
        let said = Some("tank/w\t20276006912\n");
        let check = doctor(&named("tank/w"), ("tank/w", said));
        assert_eq!(check.finding, "19336 MiB free in tank/w");
        let ufs = "Filesystem       Type  1K-blocks   Used   Avail Capacity  Mounted on
/dev/gpt/rootfs  ufs    10143484 541728 8790280     6%    /
";
        let zfs = "Filesystem Type 1K-blocks Used    Avail Capacity  Mounted on
tank/db    zfs   19805192 4404 19800788     0%    /var/db
";
        for (said, is) in [(ufs, "ufs"), (zfs, "zfs")] {
            let found = kind(Path::new("/var/db"), &|_, _| Some(said.to_owned()));
            assert_eq!(found, is);
        }
    }

    #[test]
    fn a_configuration_that_may_not_be_read_is_said() {
        let unread = configured(Err(io::ErrorKind::PermissionDenied.into()));
        let check = doctor(&unread, ("/var/db/warder", None));
        let said = "; /usr/local/etc/warder.conf cannot be read: ";
        assert!(!check.present && check.finding.contains(said), "{check:?}");
        let check = doctor(&unread, ("/var/db/warder", Some("tank/db\t21474836480\n")));
        assert!(check.present && check.finding.contains(said), "{check:?}");
    }

    #[test]
    fn the_dataset_that_is_named_is_looked_at() {
        let tank = named("tank/warder");
        let check = doctor(&tank, ("tank/warder", Some("tank/warder\t21474836480\n")));
        assert!(check.present, "{check:?}");
        assert_eq!(check.finding, "20480 MiB free in tank/warder");
        let check = doctor(&tank, ("tank/warder", Some("tank/warder\t104857600\n")));
        assert!(!check.present && check.need == Need::Useful, "{check:?}");
        assert!(
            check.fix.contains("zfs list -o space tank/warder"),
            "{check:?}"
        );
        let check = doctor(&tank, ("tank/warder", None));
        assert!(!check.present && check.need == Need::Required, "{check:?}");
        assert_eq!(check.finding, "dataset tank/warder does not exist");
        assert!(
            check
                .fix
                .starts_with("`zfs create -o mountpoint=none tank/warder`"),
            "{check:?}"
        );
    }

    #[test]
    fn the_state_directorys_own_dataset_will_do() {
        let said = Some("zroot/ROOT/default\t21474836480\n");
        let check = doctor(&Configured::default(), ("/var/db/warder", said));
        assert!(check.present && check.advice().is_none(), "{check:?}");
    }
}
