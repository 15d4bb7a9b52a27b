//! Datasets: `PARENT/warder-TAG` bears `org.warder:tag`, and below its three shelves each has an `org.warder:kind` of its own,
//! `draft` until it is whole (sys/freebsd/zfs). What is to be destroyed has a file in `store/trash` of the state directory.

use std::path::Path;

use super::super::checks::Check;
use super::super::freebsd::Ask;
use super::{Found, tagged, unlisted};

const NAME: &str = "datasets of Warder";
const TAG: &str = "org.warder:tag";
const KIND: &str = "org.warder:kind";
const SHELVES: [&str; 3] = ["templates", "sandboxes", "volumes"];

/// Looks; `runs` says whether there is a server.
pub(super) fn look(runs: bool, state_dir: &Path, ask: Ask<'_>) -> Check {
    let properties = format!("{TAG},{KIND},userrefs,clones");
    let arguments = [
        "get",
        "-Hp",
        "-t",
        "filesystem,volume,snapshot",
        "-o",
        "name,property,value,source",
        &properties,
    ];
    let Some(listing) = ask("/sbin/zfs", &arguments) else {
        return unlisted(NAME, "zfs");
    };
    let rows: Vec<Row<'_>> = listing.lines().filter_map(Row::read).collect();
    let roots: Vec<&str> = rows.iter().filter_map(Row::root).collect();
    let (mut foreign, mut held, mut cloned, mut drafts) = (vec![], vec![], vec![], vec![]);
    for row in &rows {
        let Some((root, place)) = roots
            .iter()
            .find_map(|root| Some((*root, row.below(root)?)))
        else {
            continue;
        };
        match row.property {
            KIND if row.value == "draft" => drafts.push(row.name),
            KIND if !place.contains('@') && !SHELVES.contains(&place) && row.source != "local" => {
                foreign.push(row.name);
            }
            "userrefs" if row.value.parse::<u64>().is_ok_and(|holds| holds > 0) => {
                held.push(row.name);
            }
            "clones" => {
                let all = row.value.split(',').filter(|name| name.contains('/'));
                cloned.extend(all.filter(|name| !name.starts_with(&format!("{root}/"))));
            }
            _ => {}
        }
    }
    let first = |names: &[&str]| names.first().copied().unwrap_or_default().to_owned();
    let mut found = Found::default();
    found.add(
        "busy, held by zfs-hold(8)",
        &held,
        format!("zfs holds {0}; then zfs release TAG {0}", first(&held)),
    );
    found.add(
        "cloned from Warder's by somebody else, which keeps those busy",
        &cloned,
        format!(
            "zfs destroy {} (a copy by zfs send would keep nothing)",
            first(&cloned)
        ),
    );
    found.add(
        "not Warder's, and keep those busy that they lie in",
        &foreign,
        format!(
            "zfs rename {0} to a place elsewhere, or zfs destroy {0}",
            first(&foreign)
        ),
    );
    // A server that runs is making them, or destroys them.
    if !runs {
        let fix =
            "service warder start: destroys them; service warder purge: removes all sandboxes too";
        found.add("half made", &drafts, fix);
        let trash = state_dir.join("store/trash");
        let trash = ask("/bin/ls", &["-1", &trash.to_string_lossy()]).unwrap_or_default();
        let waiting: Vec<&str> = trash.lines().collect();
        found.add("wait to be destroyed", &waiting, fix);
    }
    found.check(NAME)
}

#[derive(Debug)]
struct Row<'a> {
    name: &'a str,
    property: &'a str,
    value: &'a str,
    source: &'a str,
}

impl<'a> Row<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut columns = line.split('\t');
        Some(Self {
            name: columns.next()?,
            property: columns.next()?,
            value: columns.next()?,
            source: columns.next()?,
        })
    }

    /// Its name, if it is an instance's own dataset.
    fn root(&self) -> Option<&'a str> {
        let (_, leaf) = self.name.rsplit_once('/')?;
        let (tag, rest) = tagged(leaf.strip_prefix("warder-")?)?;
        let marked = self.property == TAG && self.value == tag && self.source == "local";
        (marked && rest.is_empty()).then_some(self.name)
    }

    /// Its place below one.
    fn below(&self, root: &str) -> Option<&'a str> {
        self.name.strip_prefix(root)?.strip_prefix('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "tank/w/warder-e40c292c";

    /// What zfs(8) prints of a dataset or a snapshot.
    fn rows(name: &str, kind: (&str, &str), refs: &str, clones: &str) -> String {
        let inherited = format!("inherited from {ROOT}");
        format!(
            "{name}\t{TAG}\te40c292c\t{inherited}\n{name}\t{KIND}\t{}\t{}\n{name}\tuserrefs\t{refs}\t-\n\
             {name}\tclones\t{clones}\t-\n",
            kind.0, kind.1
        )
    }

    fn whole() -> String {
        let mut all = format!(
            "tank\t{TAG}\t-\t-\ntank\t{KIND}\t-\t-\ntank@daily\tuserrefs\t1\t-\n{ROOT}\t{TAG}\te40c292c\tlocal\n\
             {ROOT}\t{KIND}\t-\t-\n"
        );
        for shelf in SHELVES {
            all += &rows(&format!("{ROOT}/{shelf}"), ("-", "-"), "-", "-");
        }
        let sandbox = format!("{ROOT}/sandboxes/iabcdefghij0123456789");
        let template = format!("{ROOT}/templates/py.7");
        let inherited = format!("inherited from {template}");
        all += &rows(&template, ("template", "local"), "-", "-");
        all += &rows(
            &format!("{template}@7"),
            ("template", &inherited),
            "0",
            &sandbox,
        );
        all + &rows(&sandbox, ("sandbox", "local"), "-", "-")
    }

    fn doctor(runs: bool, listing: &str, trash: &str) -> Check {
        look(runs, Path::new("/var/db/warder"), &|program, arguments| {
            let said = match (program, arguments.join(" ").as_str()) {
                (
                    "/sbin/zfs",
                    "get -Hp -t filesystem,volume,snapshot -o name,property,value,source \
                     org.warder:tag,org.warder:kind,userrefs,clones",
                ) => listing,
                ("/bin/ls", "-1 /var/db/warder/store/trash") => trash,
                other => panic!("{other:?}"),
            };
            Some(said.to_owned())
        })
    }

    #[test]
    fn what_is_whole_and_warders_is_well() {
        for runs in [true, false] {
            let check = doctor(runs, &whole(), "");
            assert!(check.present && check.finding.is_empty(), "{check:?}");
        }
    }

    #[test]
    fn what_keeps_a_dataset_busy_is_named() {
        let template = format!("{ROOT}/templates/py.7");
        let inherited = format!("inherited from {template}");
        let held = rows(
            &format!("{template}@mine"),
            ("template", &inherited),
            "2",
            "",
        );
        let copied = rows(
            &format!("{template}@8"),
            ("template", &inherited),
            "0",
            "tank/mine",
        );
        let foreign = rows(
            &format!("{template}/mine"),
            ("template", &inherited),
            "-",
            "-",
        );
        let beside = rows(&format!("{ROOT}/mine"), ("-", "-"), "-", "-");
        for (rows, name, fix) in [
            (held, format!("{template}@mine"), "zfs holds"),
            (copied, "tank/mine".to_owned(), "zfs destroy tank/mine"),
            (foreign, format!("{template}/mine"), "zfs rename"),
            (beside, format!("{ROOT}/mine"), "zfs rename"),
        ] {
            let check = doctor(true, &(whole() + &rows), "");
            assert!(!check.present, "{check:?}");
            assert!(check.finding.ends_with(&format!(": {name}")), "{check:?}");
            assert!(check.fix.contains(fix), "{check:?}");
        }
    }

    #[test]
    fn what_a_server_left_half_made_or_undestroyed_is_told_without_one() {
        let draft = rows(
            &format!("{ROOT}/templates/js.9"),
            ("draft", "local"),
            "-",
            "-",
        );
        let listing = whole() + &draft;
        let trash = "templates:py.5\nvolumes:vabcdefghij0123456789\n";
        assert!(doctor(true, &listing, trash).present);
        let check = doctor(false, &listing, trash);
        assert_eq!(
            check.finding,
            format!(
                "half made: {ROOT}/templates/js.9; wait to be destroyed: templates:py.5, volumes:vabcdefghij0123456789"
            )
        );
        assert!(check.fix.contains("service warder start"), "{check:?}");
    }
}
