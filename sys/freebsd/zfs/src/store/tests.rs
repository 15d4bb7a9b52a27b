//! The whole store on a fake host. Root's own: files get owners.

use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use tempfile::TempDir;
use warder_wire::GuestPath;
use warder_wire::InstanceTag;
use warder_wire::gateway_priv::VolumeMount;

use super::fake::Fake;
use super::*;
use crate::sandboxes::Root;

const MIB: u64 = 1 << 20;

struct Bench {
    dir: TempDir,
    fake: Fake,
    store: Store<Fake>,
}

fn tag() -> InstanceTag {
    InstanceTag::of_state_dir(b"a")
}

fn open(dir: &TempDir, fake: &Fake, parent: Option<&str>) -> Result<Store<Fake>> {
    let state = dir.path().join("state");
    std::fs::create_dir_all(&state).expect("makes");
    Store::open(fake.clone(), &state, tag(), parent, |line| panic!("{line}"))
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().expect("a directory");
    let fake = Fake::new(dir.path(), "zfs");
    let store = open(&dir, &fake, None).expect("opens");
    fake.log();
    Bench { dir, fake, store }
}

const ROOT: &str = "tank/state/warder-e40c292c";

fn id(n: u8) -> SandboxId {
    SandboxId::new(&format!("iabcdefghij00000000{n:02}")).expect("an id")
}

fn name(name: &str) -> TemplateName {
    TemplateName::new(name).expect("a name")
}

fn dataset(id: &SandboxId) -> String {
    format!("{ROOT}/sandboxes/{id}")
}

impl Bench {
    fn clone(&mut self, n: u8, template: &str) -> Root<Fake> {
        let resolver = Ipv4Addr::new(9, 9, 9, 9);
        self.store
            .clone_template(&id(n), &name(template), &[resolver])
            .expect("clones");
        self.store.root(&id(n)).expect("a root")
    }

    fn snapshot(&mut self, template: &str, n: u8) -> Result<()> {
        let draft = self.store.draft(&name(template), Some(&id(n)))?;
        let made = self
            .store
            .copy_changes(&draft, &id(n), 0)
            .and_then(|()| self.store.keep(&draft));
        self.store.settle(draft, made.is_ok())?;
        made
    }

    fn reopen(&mut self) {
        self.store = open(&self.dir, &self.fake, None).expect("opens again");
    }

    /// Datasets below the shelves, without their stamps.
    fn there(&self) -> Vec<String> {
        let below = |name: &String| {
            let place = name.strip_prefix(ROOT)?.strip_prefix('/')?;
            let dataset = place.contains('/') && !place.contains('@');
            dataset.then(|| place.split('.').next().unwrap_or_default().to_owned())
        };
        self.fake.names().iter().filter_map(below).collect()
    }
}

#[test]
fn an_instance_makes_its_datasets_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let fake = Fake::new(dir.path(), "zfs");
    let store = open(&dir, &fake, None).expect("opens");
    assert!(store.has_template(&name("bare")));
    for shelf in ["", "/templates", "/sandboxes", "/volumes"] {
        assert!(fake.names().contains(&format!("{ROOT}{shelf}")), "{shelf}");
    }
    assert_eq!(fake.property(ROOT, "canmount").as_deref(), Some("noauto"));
    assert_eq!(fake.property(ROOT, "snapdir").as_deref(), Some("disabled"));
    let names = fake.names();
    fake.log();
    fake.reboot();
    let store = open(&dir, &fake, None).expect("opens again");
    assert!(store.has_template(&name("bare")) && !store.has_trash().expect("looks"));
    assert_eq!(names, fake.names());
    let log = fake.log();
    assert!(
        log.iter().all(|line| line.starts_with("/sbin/zfs list ")),
        "{log:#?}"
    );
}

#[test]
fn where_it_cannot_be_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let ufs = Fake::new(dir.path(), "ufs");
    let said = open(&dir, &ufs, None).expect_err("refused").to_string();
    for words in [
        "zfs create -o mountpoint=none POOL/warder",
        "zfs_dataset POOL/warder",
        "truncate -s 20g",
        "zpool create",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let said = open(&dir, &ufs, Some("tank/none"))
        .expect_err("refused")
        .to_string();
    assert!(
        said.contains("zfs create -o mountpoint=none tank/none"),
        "{said}"
    );
    assert!(matches!(
        open(&dir, &ufs, Some("tank@x")),
        Err(ZfsError::BadName(_))
    ));
    // Named, on a host of UFS, it works.
    ufs.add("tank/named");
    open(&dir, &ufs, Some("tank/named")).expect("opens");

    // A boot environment comes and goes.
    let mut swapped = Fake::new(dir.path(), "zfs");
    swapped.below = "tank/ROOT/default";
    open(&dir, &swapped, None).expect("opens");
    assert!(swapped.names().contains(&"tank/warder-e40c292c".to_owned()));

    let taken = Fake::new(dir.path(), "zfs");
    taken.add(ROOT);
    let error = open(&dir, &taken, None).expect_err("refused");
    assert!(
        matches!(&error, ZfsError::Foreign { dataset, .. } if dataset == ROOT),
        "{error}"
    );
    assert!(error.to_string().contains("rename it"), "{error}");
}

#[test]
fn a_tree_is_recorded_at_once_and_made_later() {
    let mut bench = bench();
    let root = bench.clone(1, "bare");
    assert!(bench.fake.log().is_empty(), "privd does not wait");
    assert_eq!(bench.store.list(), [id(1)]);
    root.materialize(Some(64 * MIB)).expect("makes");
    let log = bench.fake.log();
    assert_eq!(log.len(), 1, "one command a sandbox: {log:#?}");
    let refquota = bench.fake.property(&dataset(&id(1)), "refquota");
    assert_eq!(refquota, Some((64 * MIB + 100_000).to_string()));
    let file = |name: &str| std::fs::read_to_string(root.path().join(name)).expect(name);
    assert_eq!(
        file("etc/hosts"),
        format!("127.0.0.1 localhost {}\n", id(1))
    );
    assert_eq!(file("etc/resolv.conf"), "nameserver 9.9.9.9\n");
    // Again: nothing is cloned or written.
    std::fs::write(root.path().join("etc/hosts"), "the guest's").expect("writes");
    bench.fake.reboot();
    bench.reopen();
    bench.fake.log();
    bench
        .store
        .root(&id(1))
        .expect("a root")
        .materialize(None)
        .expect("is made");
    assert!(bench.fake.log().is_empty());
    assert_eq!(file("etc/hosts"), "the guest's");

    assert!(bench.store.discard(&id(1)).expect("discards"));
    assert!(!bench.store.discard(&id(1)).expect("discards"));
    bench.store.empty_trash().expect("empties");
    assert_eq!(bench.there(), ["templates/bare"]);
    assert!(
        bench
            .store
            .at
            .files
            .names("made")
            .expect("lists")
            .is_empty()
    );
}

#[test]
fn a_tree_of_a_child_that_was_killed_is_finished() {
    let mut bench = bench();
    let root = bench.clone(1, "bare");
    root.materialize(None).expect("makes");
    // Killed before it said so.
    let made = bench.store.at.files.names("made").expect("lists");
    bench
        .store
        .at
        .files
        .remove(&format!("made/{}", made[0]))
        .expect("removes");
    root.materialize(Some(MIB)).expect("finishes");
    assert_eq!(
        bench.fake.property(&dataset(&id(1)), "refquota"),
        Some((MIB + 100_000).to_string())
    );
    // The next sandbox of that name, before the former one is destroyed.
    bench.store.discard(&id(1)).expect("discards");
    let former = bench.fake.property(&dataset(&id(1)), "org.warder:stamp");
    bench.clone(1, "bare").materialize(None).expect("makes");
    assert_ne!(
        former,
        bench.fake.property(&dataset(&id(1)), "org.warder:stamp")
    );
    bench.store.empty_trash().expect("empties");
    assert!(
        bench.fake.names().contains(&dataset(&id(1))),
        "the new one stays"
    );
}

#[test]
fn a_name_that_is_taken_is_left_alone() {
    let mut bench = bench();
    bench.fake.add(&dataset(&id(1)));
    let error = bench
        .clone(1, "bare")
        .materialize(None)
        .expect_err("refused");
    assert!(
        matches!(&error, ZfsError::Foreign { dataset: d, .. } if *d == dataset(&id(1))),
        "{error}"
    );
    bench.store.discard(&id(1)).expect("discards");
    bench.store.empty_trash().expect("empties");
    assert!(bench.fake.names().contains(&dataset(&id(1))));
}

#[test]
fn a_link_in_a_hostile_tree_is_not_followed() {
    let mut bench = bench();
    let outside = bench.dir.path().join("outside");
    std::fs::create_dir(&outside).expect("makes");
    let root = bench.clone(1, "bare");
    root.materialize(None).expect("makes");
    let hosts = root.path().join("etc/hosts");
    std::fs::remove_file(&hosts).expect("removes");
    symlink(outside.join("hosts"), &hosts).expect("links");
    let made = bench.store.at.files.names("made").expect("lists");
    bench
        .store
        .at
        .files
        .remove(&format!("made/{}", made[0]))
        .expect("removes");
    root.materialize(None).expect("writes over the link");
    assert!(!hosts.is_symlink());
    std::fs::remove_dir_all(root.path().join("etc")).expect("removes");
    symlink(&outside, root.path().join("etc")).expect("links");
    bench
        .store
        .at
        .files
        .remove(&format!("made/{}", made[0]))
        .expect("removes");
    assert!(matches!(root.materialize(None), Err(ZfsError::Invalid(_))));
    assert!(std::fs::read_dir(&outside).expect("lists").next().is_none());
}

#[test]
fn a_snapshot_outlives_its_sandbox_and_says_what_it_comes_from() {
    let mut bench = bench();
    bench.clone(1, "bare").materialize(None).expect("makes");
    bench.snapshot("one", 1).expect("taken");
    assert_eq!(
        bench.store.lineage(Some(&id(9)), &name("one")),
        [name("one"), name("bare")]
    );
    bench.store.discard(&id(1)).expect("discards");
    bench.store.empty_trash().expect("empties");
    assert_eq!(bench.there(), ["templates/bare", "templates/one"]);
    // Of a sandbox that never ran, too; and through a restart.
    bench.clone(2, "one");
    bench.snapshot("two", 2).expect("taken");
    bench.reopen();
    let lineage = [name("two"), name("one"), name("bare")];
    assert_eq!(bench.store.lineage(Some(&id(9)), &name("two")), lineage);
    assert_eq!(
        bench.store.lineage(Some(&id(2)), &name("other")),
        lineage[1..]
    );
    // A template that others come from waits for them.
    assert!(
        bench
            .store
            .discard_template(&name("one"))
            .expect("discards")
    );
    assert!(!bench.store.has_template(&name("one")));
    bench.store.empty_trash().expect("empties");
    let sandbox = format!("sandboxes/{}", id(2));
    assert_eq!(
        bench.there(),
        [&sandbox, "templates/bare", "templates/one", "templates/two"]
    );
    bench.reopen();
    assert!(!bench.store.has_template(&name("one")) && bench.store.has_trash().expect("looks"));
    bench.store.discard(&id(2)).expect("discards");
    bench
        .store
        .discard_template(&name("two"))
        .expect("discards");
    bench.store.empty_trash().expect("empties");
    assert_eq!(bench.there(), ["templates/bare"]);
    assert!(!bench.store.has_trash().expect("looks"));
}

#[test]
fn a_discarded_template_waits_for_trees_that_are_only_recorded() {
    let mut bench = bench();
    bench.clone(1, "bare").materialize(None).expect("makes");
    bench.snapshot("one", 1).expect("taken");
    bench.store.discard(&id(1)).expect("discards");
    let root = bench.clone(2, "one");
    bench
        .store
        .discard_template(&name("one"))
        .expect("discards");
    bench.store.empty_trash().expect("empties");
    root.materialize(None).expect("is still there");
}

#[test]
fn a_passing_template_goes_with_the_process() {
    let mut bench = bench();
    bench.clone(1, "bare").materialize(None).expect("makes");
    let draft = bench
        .store
        .draft(&name("fork"), Some(&id(1)))
        .expect("drafts")
        .passing();
    bench.store.copy_changes(&draft, &id(1), 0).expect("copies");
    bench.store.keep(&draft).expect("keeps");
    bench.store.settle(draft, true).expect("settles");
    bench.clone(2, "fork").materialize(None).expect("makes");
    bench.reopen();
    assert!(!bench.store.has_template(&name("fork")));
    assert_eq!(
        bench.store.lineage(Some(&id(2)), &name("x")),
        [name("fork"), name("bare")]
    );
    bench.store.discard(&id(1)).expect("discards");
    bench.store.discard(&id(2)).expect("discards");
    bench.store.empty_trash().expect("empties");
    assert_eq!(bench.there(), ["templates/bare"]);
}

#[test]
fn a_draft_that_is_not_wanted_leaves_nothing() {
    let mut bench = bench();
    bench.clone(1, "bare").materialize(None).expect("makes");
    let names = bench.fake.names();
    for steps in 0..3 {
        let draft = bench
            .store
            .draft(&name("one"), Some(&id(1)))
            .expect("drafts");
        if steps > 0 {
            bench.store.copy_changes(&draft, &id(1), 0).expect("copies");
        }
        if steps > 1 {
            bench.store.keep(&draft).expect("keeps");
        }
        assert!(bench.store.is_drafted(&name("one")));
        bench.store.settle(draft, false).expect("settles");
        assert!(!bench.store.has_template(&name("one")) && !bench.store.is_drafted(&name("one")));
        bench.store.empty_trash().expect("empties");
        if steps < 2 {
            assert_eq!(names, bench.fake.names(), "{steps}");
        }
    }
    // The last one had become what its sandbox is a clone of.
    bench.store.discard(&id(1)).expect("discards");
    bench.store.empty_trash().expect("empties");
    assert_eq!(bench.there(), ["templates/bare"]);
    let full = bench.store.draft(&name("one"), None).expect("drafts");
    assert!(
        bench
            .store
            .copy_changes(&full, &id(1), u64::MAX)
            .expect_err("refused")
            .is_full()
    );
}

#[test]
fn power_may_fail_after_any_command() {
    // Makes a sandbox, two templates of it and a volume, and destroys some of it.
    let story = |bench: &mut Bench| -> Result<()> {
        let resolver = Ipv4Addr::new(9, 9, 9, 9);
        bench
            .store
            .clone_template(&id(1), &name("bare"), &[resolver])?;
        bench.store.root(&id(1))?.materialize(Some(MIB))?;
        bench.snapshot("one", 1)?;
        bench
            .store
            .clone_template(&id(2), &name("one"), &[resolver])?;
        bench.store.root(&id(2))?.materialize(None)?;
        let volume = VolumeId::new("vabcdefghij0123456789").expect("an id");
        bench.store.create_volume(&volume);
        bench.store.sync_volumes(Some(&volume))?;
        bench.snapshot("two", 2)?;
        bench.store.discard_template(&name("one"))?;
        bench.store.discard(&id(1))?;
        bench.store.empty_trash()
    };
    let mut whole = bench();
    story(&mut whole).expect("runs through");
    let commands = whole.fake.log().len();
    assert!(commands > 15, "{commands}");
    for cut in 0..commands {
        let mut bench = bench();
        bench.fake.cut_after(Some(cut));
        story(&mut bench).expect_err("the power fails");
        bench.fake.cut_after(None);
        bench.fake.reboot();
        bench.reopen();
        bench.store.empty_trash().expect("empties");
        // Every template that is there can be cloned, and says what it comes from.
        let templates: Vec<_> = bench.store.templates(None).map(|(name, _)| name).collect();
        for (n, template) in (10..).zip(&templates) {
            bench
                .clone(n, template.as_str())
                .materialize(None)
                .expect("makes");
            let lineage = bench.store.lineage(Some(&id(n)), template);
            assert_eq!(
                (lineage.first(), lineage.last()),
                (Some(template), Some(&name("bare")))
            );
        }
        for sandbox in bench.store.list() {
            bench
                .store
                .root(&sandbox)
                .expect("a root")
                .materialize(None)
                .expect("can be made");
            bench.store.discard(&sandbox).expect("discards");
        }
        for template in templates.iter().filter(|t| t.as_str() != "bare") {
            bench.store.discard_template(template).expect("discards");
        }
        for volume in bench.store.volumes().clone() {
            bench.store.discard_volume(&volume).expect("discards");
        }
        bench.store.empty_trash().expect("empties");
        assert_eq!(bench.there(), ["templates/bare"], "cut after {cut}");
        bench.reopen();
        assert!(!bench.store.has_trash().expect("looks"), "cut after {cut}");
        let snapshots = bench
            .fake
            .names()
            .iter()
            .filter(|name| name.contains('@'))
            .count();
        assert_eq!(snapshots, 1, "cut after {cut}");
    }
}

#[test]
fn base_is_made_anew_beside_the_former_one() {
    let mut bench = bench();
    let base = name("base");
    let make = |bench: &mut Bench| {
        let draft = bench.store.draft(&base, None).expect("drafts");
        bench.store.make_base(&draft).expect("makes");
        let tree = bench.store.tree(&draft);
        for path in [
            "etc/master.passwd",
            "usr/bin",
            "libexec",
            "home/user/.profile",
        ] {
            assert!(tree.join(path).exists(), "{path}");
        }
        assert_eq!(
            std::fs::metadata(tree.join("home/user"))
                .expect("there")
                .uid(),
            1000
        );
        bench.store.keep(&draft).expect("keeps");
        bench.store.settle(draft, true).expect("settles");
    };
    assert!(!bench.store.base_is_fresh());
    make(&mut bench);
    assert!(
        bench
            .fake
            .log()
            .iter()
            .any(|line| line.starts_with("/usr/sbin/pwd_mkdb "))
    );
    assert!(bench.store.base_is_fresh());
    let root = bench.clone(1, "base");
    assert!(root.host_base());
    root.materialize(None).expect("makes");
    make(&mut bench);
    bench.store.empty_trash().expect("empties");
    assert_eq!(
        bench
            .there()
            .iter()
            .filter(|name| *name == "templates/base")
            .count(),
        2
    );
    bench.reopen();
    assert!(bench.store.base_is_fresh());
    bench.snapshot("one", 1).expect("taken");
    assert!(
        bench.clone(2, "one").host_base(),
        "what comes of it needs the host too"
    );
    assert!(!bench.clone(3, "bare").host_base());
}

#[test]
fn a_volume_gets_the_quota_of_its_day() {
    let mut bench = bench();
    for (n, quota) in [(1, None), (2, Some(1 << 30)), (3, None)] {
        bench.store.bound_volumes(quota);
        let volume = VolumeId::new(&format!("v{n:020}")).expect("an id");
        assert!(bench.store.create_volume(&volume));
        bench.store.sync_volumes(Some(&volume)).expect("makes");
        let dataset = bench.store.at.layout.dataset(&Place::volume(&volume));
        let set = bench.store.at.property("refquota", &dataset);
        let set = set.expect("reads");
        assert_eq!(set.parse().ok(), quota, "{set}");
    }
}

#[test]
fn a_volume_is_mounted_by_whoever_comes_first() {
    let mut bench = bench();
    let volume = VolumeId::new("vabcdefghij0123456789").expect("an id");
    assert!(bench.store.create_volume(&volume) && !bench.store.create_volume(&volume));
    bench.store.sync_volumes(Some(&volume)).expect("makes");
    bench.fake.reboot();
    bench.reopen();
    assert!(bench.store.volumes().contains(&volume));
    let mounts = [VolumeMount {
        volume: volume.clone(),
        at: GuestPath::new("/data").expect("a path"),
    }];
    for n in [1, 2] {
        let root = bench.clone(n, "bare").with_volumes(&mounts);
        root.materialize(None).expect("makes");
        let (path, at) = root.volumes().next().expect("one");
        assert_eq!(at.as_str(), "/data");
        assert_eq!(std::fs::metadata(path).expect("there").uid(), 1000);
    }
    assert!(bench.store.discard_volume(&volume).expect("discards"));
    assert!(!bench.store.discard_volume(&volume).expect("discards"));
    bench.store.sync_volumes(None).expect("syncs");
    bench.store.close().expect("unmounts");
    let state = bench.dir.path().join("state");
    assert!(bench.fake.mounts_below(&state).expect("lists").is_empty());
    bench.reopen();
    assert!(bench.store.volumes().is_empty());
    bench.store.empty_trash().expect("empties");
    assert!(
        !bench
            .there()
            .iter()
            .any(|name| name.starts_with("volumes/"))
    );
}

#[test]
fn a_busy_tree_keeps_no_other_and_is_named() {
    let mut bench = bench();
    for n in [1, 2] {
        bench.clone(n, "bare").materialize(None).expect("makes");
        bench.store.discard(&id(n)).expect("discards");
    }
    let busy = dataset(&id(1));
    bench.fake.break_at(
        &format!("destroy -r -f {busy}"),
        "cannot unmount '/x': pool or dataset is busy",
    );
    let error = bench.store.empty_trash().expect_err("busy");
    assert!(
        matches!(&error, ZfsError::Busy { dataset, .. } if *dataset == busy),
        "{error}"
    );
    assert_eq!(
        bench.there(),
        [format!("sandboxes/{}", id(1)), "templates/bare".to_owned()]
    );
    bench.fake.mend();
    // What a cell has mounted goes first, or the tree stays.
    let dev = bench
        .store
        .at
        .layout
        .path(&Place::sandbox(&id(1)))
        .join("dev");
    bench.fake.mount("tank", &dev).expect("mounts");
    let error = bench.store.empty_trash().expect_err("busy");
    assert!(error.to_string().contains("mounted below"), "{error}");
    let after = Duration::from_millis(300);
    let fake = bench.fake.clone();
    fake.unmount_after(dev, after);
    bench.store.empty_trash().expect("empties");
    // What somebody made below one of ours holds it.
    bench.clone(3, "bare").materialize(None).expect("makes");
    bench.fake.add(&format!("{}/mine", dataset(&id(3))));
    bench.store.discard(&id(3)).expect("discards");
    let error = bench.store.empty_trash().expect_err("held");
    assert!(error.to_string().contains("did not make"), "{error}");

    bench
        .fake
        .break_at("clone", "cannot create 'x': out of space");
    assert!(
        bench
            .clone(4, "bare")
            .materialize(None)
            .expect_err("full")
            .is_full()
    );
    bench
        .fake
        .break_at("clone", "cannot create 'x': pool is read-only");
    let error = bench
        .store
        .root(&id(4))
        .expect("a root")
        .materialize(None)
        .expect_err("stuck");
    assert!(error.to_string().contains("zpool status"), "{error}");
}

#[test]
fn what_sandboxes_use_is_asked_once_for_all() {
    let mut bench = bench();
    for n in [1, 2] {
        bench.clone(n, "bare").materialize(None).expect("makes");
    }
    assert_eq!(bench.store.used(&id(1)), None);
    bench.fake.log();
    bench.store.measure().expect("measures");
    assert_eq!(bench.fake.log().len(), 1);
    assert!(bench.store.used(&id(1)).expect("known") < bench.store.used(&id(2)).expect("known"));
    let (free, all) = bench.store.room().expect("looks");
    assert!(free == 1 << 30 && all > free);
    bench.store.sync().expect("syncs");
    assert_eq!(bench.fake.log(), ["/sbin/zpool sync tank"]);
    bench.fake.reboot();
    assert!(bench.store.room().is_err(), "not of another file system");
}
