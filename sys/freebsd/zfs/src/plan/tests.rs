use std::path::Path;

use warder_wire::InstanceTag;

use super::*;
use crate::listing;

fn layout() -> Layout {
    Layout::new("tank", InstanceTag::of_state_dir(b"a"), Path::new("/s")).expect("good")
}

/// `NAME ORIGIN KIND STAMP LINEAGE`, names below the instance's dataset.
fn rows(lines: &[&str]) -> Vec<Row> {
    let root = "tank/warder-e40c292c";
    let line = |line: &&str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [name, origin, kind, stamp, lineage] = <[&str; 5]>::try_from(fields).expect("five");
        let what = if name.contains('@') {
            "snapshot"
        } else {
            "filesystem"
        };
        let origin = if origin == "-" {
            origin.to_owned()
        } else {
            format!("{root}/{origin}")
        };
        format!(
            "{root}/{name}\t{what}\t1\t2\t{origin}\t3\te40c292c\t{kind}\t{stamp}\t{lineage}\tno\t-\n"
        )
    };
    let mut text = format!("{root}\tfilesystem\t1\t2\t-\t3\te40c292c\t-\t-\t-\t-\t-\n");
    text.extend(lines.iter().map(line));
    listing::parse(&text).expect("good")
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

const ONE: &str = "iabcdefghij0123456789";
const TWO: &str = "iabcdefghij0123456780";

#[test]
fn only_whole_templates_are_found() {
    let rows = rows(&[
        "templates - - - -",
        "templates/base.1 - template 1 base",
        "templates/base.1@1 - template 1 base",
        "templates/base.5 - template 5 base",
        "templates/base.5@5 - template 5 base",
        "templates/base.3 - template 3 base",
        "templates/base.3@3 - template 3 base",
        // No snapshot; a wrong stamp; no lineage; another's lineage; no name of ours; no kind.
        "templates/a.1 - template 1 a",
        "templates/b.1 - template 2 b",
        "templates/b.1@1 - template 2 b",
        "templates/c.1 - template 1 -",
        "templates/c.1@1 - template 1 -",
        "templates/d.1 - template 1 base",
        "templates/d.1@1 - template 1 base",
        "templates/mine - template 1 mine",
        "templates/e.1 - - 1 e",
        "templates/draft.1 - draft 1 draft",
        "templates/fork.1 - passing 1 fork",
        "templates/fork.1@1 - passing 1 fork",
        "templates/gone.1 - template 1 gone",
        "templates/gone.1@1 - template 1 gone",
        "volumes/vabcdefghij0123456789 - volume - -",
        "volumes/vabcdefghij0123456780 - draft - -",
        "volumes/backup - - - -",
        "elsewhere - - - -",
    ]);
    let found = found(&layout(), &rows, &set(&["templates/gone.1"]));
    let templates: Vec<&str> = found.templates.keys().map(TemplateName::as_str).collect();
    assert_eq!(templates, ["base"]);
    assert_eq!(found.templates.values().next().expect("one").stamp, 5);
    let mut trash = found.trash.clone();
    trash.sort_unstable();
    assert_eq!(
        trash,
        [
            "templates/base.1",
            "templates/base.3",
            "templates/draft.1",
            "templates/fork.1",
            "volumes/vabcdefghij0123456780"
        ]
    );
    assert_eq!(found.volumes.len(), 1);
    let strangers: Vec<&str> = found
        .strangers
        .iter()
        .filter_map(|name| name.rsplit('/').next())
        .collect();
    assert_eq!(
        strangers,
        [
            "a.1",
            "b.1",
            "c.1",
            "d.1",
            "mine",
            "e.1",
            "backup",
            "elsewhere"
        ]
    );
}

#[test]
fn what_is_cloned_goes_after_its_clones() {
    let rows = rows(&[
        &format!("sandboxes/{ONE} templates/two.2@2 sandbox 7 -"),
        "templates/one.1 - template 1 one",
        "templates/one.1@1 - template 1 one",
        "templates/two.2 templates/one.1@1 template 2 two,one",
        "templates/two.2@2 - template 2 two,one",
    ]);
    let both = set(&["templates/one.1", "templates/two.2"]);
    let records = |stamp: Option<u64>| {
        let record = stamp.map(|stamp| (SandboxId::new(ONE).expect("an id"), stamp));
        record.into_iter().collect::<BTreeMap<_, _>>()
    };
    let order = |records, discarded: &BTreeSet<String>| {
        let sweep = sweep(&layout(), &rows, &records, discarded, &BTreeSet::new());
        let name = |garbage: &Garbage| match garbage {
            Garbage::Tree(place, _) => place.to_string(),
            Garbage::Snapshot(place, name) => format!("{place}@{name}"),
        };
        sweep.now.iter().map(name).collect::<Vec<_>>()
    };
    assert!(
        order(records(Some(7)), &both).is_empty(),
        "a live sandbox holds both"
    );
    let sandbox = format!("sandboxes/{ONE}");
    let all = [sandbox.as_str(), "templates/two.2", "templates/one.1"];
    assert_eq!(order(records(None), &both), all);
    assert_eq!(
        order(records(Some(8)), &both),
        all,
        "a record of another tree does not hold this one"
    );
    assert_eq!(
        order(records(None), &set(&["templates/one.1"])),
        all[..1],
        "a template above holds it"
    );
    assert_eq!(order(records(None), &BTreeSet::new()), all[..1]);
}

#[test]
fn a_snapshot_that_nobody_wanted_goes_alone() {
    let rows = rows(&[
        &format!("sandboxes/{ONE} templates/one.1@1 sandbox 7 -"),
        &format!("sandboxes/{ONE}@9 - draft 7 -"),
        &format!("sandboxes/{ONE}@daily - sandbox 7 -"),
        &format!("sandboxes/{TWO} templates/one.1@1 sandbox 8 -"),
        &format!("sandboxes/{TWO}@9 - draft 8 -"),
        &format!("templates/two.9 sandboxes/{TWO}@9 draft 9 two,one"),
        "templates/one.1 - template 1 one",
        "templates/one.1@1 - template 1 one",
    ]);
    let [one, two] = [ONE, TWO].map(|id| format!("sandboxes/{id}@9"));
    let found = found(&layout(), &rows, &BTreeSet::new());
    assert_eq!(found.trash, [one.as_str(), two.as_str(), "templates/two.9"]);
    let records =
        [(ONE, 7), (TWO, 8)].map(|(id, stamp)| (SandboxId::new(id).expect("an id"), stamp));
    let discarded = set(&[&one, &two, "sandboxes/iabcdefghij0123456788@1"]);
    let sweep = sweep(
        &layout(),
        &rows,
        &records.into(),
        &discarded,
        &BTreeSet::new(),
    );
    let place = Place::sandbox(&SandboxId::new(ONE).expect("an id"));
    assert_eq!(sweep.now, [Garbage::Snapshot(place, "9".to_owned())]);
    assert_eq!(sweep.gone, ["sandboxes/iabcdefghij0123456788@1"]);
}

#[test]
fn drafts_of_the_dead_are_forgotten() {
    let rows = rows(&[
        &format!("sandboxes/{ONE} templates/one.1@1 sandbox 7 -"),
        &format!("sandboxes/{ONE}@9 - draft 7 -"),
        &format!("sandboxes/{ONE}@40 - draft 7 -"),
        &format!("sandboxes/{ONE}@daily - sandbox 7 -"),
        "templates/old.9 - draft 9 old",
        "templates/new.40 - draft 40 new",
        "templates/one.1 - template 1 one",
        "templates/one.1@1 - draft 1 one",
        "volumes/vabcdefghij0123456780 - draft - -",
    ]);
    let forgotten = forgotten(&layout(), &rows, |stamp| stamp < 40);
    assert_eq!(
        forgotten,
        [format!("sandboxes/{ONE}@9"), "templates/old.9".to_owned()]
    );
}
