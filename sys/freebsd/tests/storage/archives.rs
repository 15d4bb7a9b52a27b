//! Templates from archives.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use warder_freebsd::HostError;
use warder_freebsd::cell::UserNamespace;
use warder_freebsd::process::Exit;
use warder_freebsd::storage::Draft;

use super::pool::{Bench, IDS, bench, name};
use super::runner::ended;

/// Whether this host unpacks archives. Where it cannot, that is said, by the store and by this.
fn unpacks(bench: &mut Bench, test: &str) -> bool {
    const TAR: &str = "/rescue/tar";
    if Path::new(TAR).exists() {
        return true;
    }
    let store = bench.store();
    let draft = store.draft(&name("none"), None).expect("drafts");
    let users = UserNamespace::new(IDS).expect("users");
    let null = File::open("/dev/null").expect("opens");
    let refused = store.import_start(&draft, &users, null.as_fd());
    assert!(
        matches!(&refused, Err(HostError::Missing { what: TAR, .. })),
        "{:?}",
        refused.err()
    );
    store.settle(draft, false).expect("settles");
    eprintln!("skipped {test}: no {TAR} on this host (package FreeBSD-rescue of pkgbase)");
    false
}

/// Unpacks what tar(1) makes with these arguments in `from`; the draft, and how the unpacking ended.
fn unpack(bench: &mut Bench, template: &str, from: &Path, args: &[&str]) -> (Draft, Exit) {
    let mut tar = Command::new("/usr/bin/tar");
    tar.args(["-c", "-f", "-", "--format", "pax"]).args(args);
    let made = tar
        .env("LC_ALL", "C.UTF-8")
        .current_dir(from)
        .stdout(Stdio::piped())
        .spawn();
    let mut made = made.expect("tar");
    let archive = made.stdout.take().expect("piped");
    let store = bench.store();
    let draft = store.draft(&name(template), None).expect("drafts");
    let users = UserNamespace::new(IDS).expect("users");
    let process = store
        .import_start(&draft, &users, archive.as_fd())
        .expect("starts");
    drop(archive);
    let exit = ended(&process);
    made.wait().expect("tar ends");
    (draft, exit)
}

pub(crate) fn an_archive_becomes_a_template() {
    let mut bench = bench();
    if !unpacks(&mut bench, "an_archive_becomes_a_template") {
        return;
    }
    let from = tempfile::tempdir().expect("directory");
    let path = |name: &str| from.path().join(name);
    for directory in ["etc", "dev", "bin"] {
        std::fs::create_dir(path(directory)).expect("makes");
    }
    std::fs::write(path("bin/F\u{151}tan\u{fa}s"), "text").expect("writes");
    std::fs::hard_link(path("bin/F\u{151}tan\u{fa}s"), path("bin/again")).expect("links");
    std::fs::write(path("dev/null"), "not a device").expect("writes");
    let (draft, exit) = unpack(&mut bench, "mine", from.path(), &["."]);
    assert_eq!(exit, Exit::Code(0));
    let store = bench.store();
    store.import_end(&draft).expect("whole");
    store.keep(&draft).expect("keeps");
    store.settle(draft, true).expect("settles");
    let root = bench.clone(1, "mine");
    assert!(!root.host_base());
    root.materialize(64).expect("makes");
    let there = |name: &str| root.path().join(name).symlink_metadata().is_ok();
    assert!(there("bin/F\u{151}tan\u{fa}s") && there("bin/again") && there("tmp") && there("dev"));
    assert!(!there("dev/null") && !there(".warder-locale"));
}

pub(crate) fn a_hostile_archive_stays_inside() {
    let mut bench = bench();
    if !unpacks(&mut bench, "a_hostile_archive_stays_inside") {
        return;
    }
    let from = tempfile::tempdir().expect("directory");
    let outside = tempfile::tempdir_in("/var/tmp").expect("directory");
    let target = outside.path().to_str().expect("text").to_owned();
    // A link, and then what goes through it.
    let path = |name: &str| from.path().join(name);
    symlink(&target, path("way")).expect("links");
    let (draft, _) = unpack(&mut bench, "link", from.path(), &["way"]);
    bench.store().settle(draft, false).expect("settles");
    std::fs::create_dir_all(path("deep")).expect("makes");
    std::fs::write(path("deep/file"), "x").expect("writes");
    let through = format!(",^deep,{target},");
    let args = ["-P", "-s", &through, "deep"];
    let (draft, _) = unpack(&mut bench, "absolute", from.path(), &args);
    bench.store().settle(draft, false).expect("settles");
    let up = ",^deep,../../../../../../../../var/tmp,";
    let (draft, _) = unpack(&mut bench, "up", from.path(), &["-P", "-s", up, "deep"]);
    bench.store().settle(draft, false).expect("settles");
    assert!(!Path::new("/var/tmp/file").exists());
    assert!(
        std::fs::read_dir(outside.path())
            .expect("lists")
            .next()
            .is_none()
    );
    // A device, and a place that a cell needs.
    let (draft, exit) = unpack(
        &mut bench,
        "device",
        Path::new("/"),
        &["-s", ",^dev/null,null,", "dev/null"],
    );
    assert_ne!(exit, Exit::Code(0), "a device node was made");
    bench.store().settle(draft, false).expect("settles");
    std::fs::remove_dir_all(path("deep")).expect("removes");
    symlink("/etc", path("tmp")).expect("links");
    let (draft, exit) = unpack(&mut bench, "place", from.path(), &["tmp"]);
    assert_eq!(exit, Exit::Code(0));
    bench
        .store()
        .import_end(&draft)
        .expect_err("not a directory");
    bench.store().settle(draft, false).expect("settles");
    // No tar at all.
    let (draft, exit) = {
        let store = bench.store();
        let draft = store.draft(&name("noise"), None).expect("drafts");
        let users = UserNamespace::new(IDS).expect("users");
        let noise = File::open("/bin/sh").expect("opens");
        let process = store
            .import_start(&draft, &users, noise.as_fd())
            .expect("starts");
        let exit = ended(&process);
        (draft, exit)
    };
    assert_ne!(exit, Exit::Code(0));
    bench.store().settle(draft, false).expect("settles");
    bench.store().empty_trash().expect("empties");
    assert_eq!(bench.there(), ["templates/bare"]);
}
