//! Trees of sandboxes, and volumes.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use warder_freebsd::HostError;
use warder_freebsd::storage::Store;
use warder_freebsd::sys::mount;
use warder_wire::gateway_priv::VolumeMount;
use warder_wire::{GuestPath, VolumeId};

use super::pool::{POOL_MIB, bench, id, name, pool, run};

pub(crate) fn a_tree_is_made_limited_and_destroyed() {
    let mut bench = bench();
    let root = bench.clone(1, "bare");
    assert!(!root.path().exists(), "nothing is done yet");
    root.materialize(64).expect("makes");
    root.materialize(64).expect("again");
    let of = mount::of(root.path()).expect("there");
    assert_eq!((of.kind.as_str(), of.on.as_path()), ("zfs", root.path()));
    assert_eq!(of.flags & mount::MNT_NOSUID, 0, "setuid programs work");
    let hosts = std::fs::read_to_string(root.path().join("etc/hosts")).expect("there");
    assert!(hosts.contains(id(1).as_str()), "{hosts}");
    filled_at(&root.path().join("big"), 64);
    bench.store().measure().expect("measures");
    let used = bench.store().used(&id(1)).expect("known");
    assert!((40 << 20..80 << 20).contains(&used), "{used}");
    assert!(bench.store().discard(&id(1)).expect("discards"));
    bench.store().empty_trash().expect("empties");
    assert_eq!(bench.there(), ["templates/bare"]);
    assert!(!root.path().exists());
}

/// Writes what does not shrink into a file until that is refused, which has to be at about `mib`.
fn filled_at(file: &Path, mib: usize) {
    let mut file = std::fs::File::create(file).expect("makes");
    let mut block = [0_u8; 1 << 16];
    let mut seed = 1_u64;
    let mut written = 0;
    let full = loop {
        for word in block.chunks_exact_mut(8) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            word.copy_from_slice(&seed.to_le_bytes());
        }
        match file.write_all(&block) {
            Ok(()) => written += block.len(),
            Err(e) => break e,
        }
        assert!(written < (mib + 16) << 20, "the limit does not hold");
    };
    assert!(
        written > (mib * 3 / 4) << 20,
        "only {written} bytes: {full}"
    );
    assert_eq!(full.kind(), std::io::ErrorKind::QuotaExceeded, "{full}");
}

pub(crate) fn volumes_are_bounded() {
    let mut bench = bench();
    let [plain, bounded] = ["1", "2"].map(|n| VolumeId::new(&format!("v{n:0>20}")).expect("an id"));
    let store = bench.store();
    assert!(store.bound_volumes(None));
    assert!(store.create_volume(&plain).expect("notes"));
    store.sync_volumes(Some(&plain)).expect("makes");
    assert!(store.bound_volumes(Some(32 << 20)));
    assert!(store.create_volume(&bounded).expect("notes"));
    store.sync_volumes(Some(&bounded)).expect("makes");
    let mounts = [(&plain, "/plain"), (&bounded, "/bounded")].map(|(volume, at)| VolumeMount {
        volume: volume.clone(),
        at: GuestPath::new(at).expect("a path"),
    });
    let root = bench.clone(1, "bare").with_volumes(&mounts);
    root.materialize(64).expect("makes");
    let places: Vec<_> = root.volumes().map(|(from, _)| from).collect();
    filled_at(&places[1].join("big"), 32);
    std::fs::write(places[0].join("big"), vec![7; 40 << 20]).expect("no bound of its own");
}

pub(crate) fn a_store_is_found_again() {
    let mut bench = bench();
    let root = bench.clone(1, "bare");
    root.materialize(64).expect("makes");
    std::fs::write(root.path().join("file"), "text").expect("writes");
    // As after a boot: nothing is mounted, and zfs(8) mounts none of it.
    for found in mount::mounted().expect("lists").iter().rev() {
        if found.on.starts_with(&bench.state) {
            mount::unmount(found.fsid, true).expect("unmounts");
        }
    }
    run("/sbin/zfs", &["mount", "-a"]);
    assert!(!root.path().join("file").exists());
    bench.reopen();
    let root = bench.store().root(&id(1)).expect("a root");
    root.materialize(64).expect("mounts");
    let text = std::fs::read_to_string(root.path().join("file")).expect("there");
    assert_eq!(text, "text");
    // A tree that no record names goes.
    let state = bench.state.clone();
    std::fs::remove_file(state.join("store/sandboxes").join(id(1).as_str())).expect("removes");
    bench.reopen();
    assert!(bench.store().has_trash().expect("looks"));
    bench.store().empty_trash().expect("empties");
    assert_eq!(bench.there(), ["templates/bare"]);
}

fn refused(error: HostError) -> String {
    let HostError::System { errno, .. } = error else {
        panic!("{error}");
    };
    errno.to_string()
}

pub(crate) fn what_cannot_be_used_is_said() {
    let bench = pool();
    let missing = format!("{}/none", bench.pool);
    let said = refused(Store::open(&bench.state, Some(&missing)).expect_err("refused"));
    assert!(
        said.contains(&format!("zfs create -o mountpoint=none {missing}")),
        "{said}"
    );
    let gone = "warder-test-no-such-pool/x";
    let said = refused(Store::open(&bench.state, Some(gone)).expect_err("refused"));
    assert!(said.contains("zpool import"), "{said}");
    // Where the instance's own dataset would be.
    drop(Store::open(&bench.state, Some(&bench.pool)).expect("opens"));
    let listed = run(
        "/sbin/zfs",
        &["list", "-H", "-d", "1", "-o", "name", &bench.pool],
    );
    let own = listed.lines().nth(1).expect("one").to_owned();
    run("/sbin/zfs", &["inherit", "org.warder:tag", &own]);
    let said = refused(Store::open(&bench.state, Some(&bench.pool)).expect_err("refused"));
    assert!(said.contains(&own) && said.contains("rename it"), "{said}");
    // A state directory on tmpfs, and no dataset named.
    let other = bench.state.join("other");
    std::fs::create_dir(&other).expect("makes");
    let options = warder_freebsd::sys::Params::new().text("fspath", &other);
    mount::mount("tmpfs", &options, 0).expect("tmpfs");
    let said = refused(Store::open(&other, None).expect_err("refused"));
    assert!(
        said.contains("zfs_dataset") && said.contains("zpool create"),
        "{said}"
    );
}

pub(crate) fn volumes_outlive_trees() {
    let mut bench = bench();
    let volume = VolumeId::new("v00000000000000000001").expect("an id");
    let store = bench.store();
    assert!(store.create_volume(&volume).expect("notes"));
    store.sync_volumes(Some(&volume)).expect("makes");
    let mounts = [VolumeMount {
        volume: volume.clone(),
        at: GuestPath::new("/data").expect("a path"),
    }];
    for n in [1, 2] {
        let root = bench.clone(n, "bare").with_volumes(&mounts);
        root.materialize(64).expect("makes");
        let (from, _) = root.volumes().next().expect("one");
        assert_eq!(std::fs::metadata(&from).expect("there").uid(), 1000);
        let file = from.join("file");
        match n {
            1 => std::fs::write(file, "text").expect("writes"),
            _ => assert_eq!(std::fs::read_to_string(file).expect("there"), "text"),
        }
        assert!(bench.store().discard(&id(n)).expect("discards"));
        bench.store().empty_trash().expect("empties");
    }
    bench.reopen();
    assert!(bench.store().volumes().contains(&volume));
    assert!(bench.store().discard_volume(&volume).expect("discards"));
    bench.store().sync_volumes(None).expect("syncs");
    bench.store().empty_trash().expect("empties");
    assert_eq!(bench.there(), ["templates/bare"]);
    bench.store().close().expect("unmounts");
    let mounted = mount::mounted().expect("lists");
    assert!(
        !mounted
            .iter()
            .any(|found| found.on.starts_with(&bench.state))
    );
}

pub(crate) fn a_full_pool_is_named() {
    let mut bench = bench();
    let (free, all) = bench.store().room().expect("looks");
    assert!(free > 0 && all >= free && all < u64::from(POOL_MIB) << 20);
    let reserve = format!("reservation={}", free - (1 << 20));
    let hog = format!("{}/hog", bench.pool);
    run("/sbin/zfs", &["create", "-o", &reserve, &hog]);
    let (left, _) = bench.store().room().expect("looks");
    assert!(left < 8 << 20, "{left}");
    let draft = bench.store().draft(&name("full"), None).expect("drafts");
    bench.clone(1, "bare");
    let copied = bench
        .store()
        .copy_changes(&draft, &id(1), super::pool::IDS, 64 << 20);
    assert!(
        matches!(copied, Err(HostError::NoSpace { .. })),
        "{copied:?}"
    );
}

/// No figure is asserted: they are printed, for docs and for comparison.
pub(crate) fn what_a_tree_costs() {
    const ROUNDS: u32 = 20;
    let mut bench = bench();
    let start = Instant::now();
    for n in 0..ROUNDS {
        bench.clone(n, "bare");
    }
    let recorded = start.elapsed() / ROUNDS;
    let start = Instant::now();
    for n in 0..ROUNDS {
        let root = bench.store().root(&id(n)).expect("a root");
        root.materialize(64).expect("makes");
    }
    let made = start.elapsed() / ROUNDS;
    let start = Instant::now();
    bench.snapshot("one", 0);
    let kept = start.elapsed();
    let start = Instant::now();
    for n in 0..ROUNDS {
        assert!(bench.store().discard(&id(n)).expect("discards"));
    }
    bench.store().empty_trash().expect("empties");
    let destroyed = start.elapsed() / ROUNDS;
    println!(
        "a tree: {recorded:?} to record, {made:?} to clone and mount, {destroyed:?} to destroy; a snapshot: {kept:?}"
    );
}
