//! A pool in a file, with a store on it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use warder_freebsd::cell::IdRange;
use warder_freebsd::storage::{Root, Store};
use warder_freebsd::sys::{kld, mount};
use warder_wire::{SandboxId, TemplateName};

pub(crate) const IDS: IdRange = IdRange {
    first: 0x2000_0000,
    count: 0x1_0000,
};
/// Size of the pool in MiB; its file has holes.
pub(crate) const POOL_MIB: u32 = 512;
const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

/// Goes with its pool.
pub(crate) struct Bench {
    pub(crate) pool: String,
    pub(crate) state: PathBuf,
    pub(crate) store: Option<Store>,
    _file: tempfile::TempDir,
    _state: tempfile::TempDir,
}

pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect(program);
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A pool alone.
pub(crate) fn pool() -> Bench {
    assert!(
        kld::has("zfs"),
        "zfs_load=\"YES\" in /boot/loader.conf, or kldload zfs"
    );
    let file = tempfile::tempdir_in("/var/tmp").expect("directory");
    let state = tempfile::tempdir_in("/var/tmp").expect("directory");
    let image = file.path().join("image");
    let pool = super::runner::own_name();
    let opened = std::fs::File::create(&image).expect("image");
    opened.set_len(u64::from(POOL_MIB) << 20).expect("size");
    let image = image.to_str().expect("text");
    run(
        "/sbin/zpool",
        &["create", "-f", "-O", "mountpoint=none", &pool, image],
    );
    Bench {
        pool,
        state: state.path().canonicalize().expect("there"),
        store: None,
        _file: file,
        _state: state,
    }
}

/// A pool with a store on it.
pub(crate) fn bench() -> Bench {
    let mut bench = pool();
    bench.reopen();
    bench
}

pub(crate) fn id(n: u32) -> SandboxId {
    SandboxId::new(&format!("i{n:020}")).expect("an id")
}

pub(crate) fn name(name: &str) -> TemplateName {
    TemplateName::new(name).expect("a name")
}

impl Bench {
    pub(crate) fn reopen(&mut self) {
        let opened = Store::open(&self.state, Some(&self.pool));
        self.store = Some(opened.expect("opens"));
    }

    pub(crate) fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("opened")
    }

    pub(crate) fn clone(&mut self, n: u32, template: &str) -> Root {
        let store = self.store();
        let cloned = store.clone_template(&id(n), &name(template), IDS, &[RESOLVER]);
        cloned.expect("records");
        store.root(&id(n)).expect("a root")
    }

    pub(crate) fn snapshot(&mut self, template: &str, n: u32) {
        let store = self.store();
        let draft = store.draft(&name(template), Some(&id(n))).expect("drafts");
        store.copy_changes(&draft, &id(n), IDS, 0).expect("copies");
        store.keep(&draft).expect("keeps");
        store.settle(draft, true).expect("settles");
    }

    /// Datasets below the shelves, without their stamps.
    pub(crate) fn there(&self) -> Vec<String> {
        let listed = run("/sbin/zfs", &["list", "-H", "-r", "-o", "name", &self.pool]);
        let below = |line: &str| {
            let (_, place) = line.strip_prefix(&self.pool)?.split_once("/warder-")?;
            let (_, place) = place.split_once('/')?;
            let plain = || place.split('.').next().unwrap_or_default().to_owned();
            place.contains('/').then(plain)
        };
        listed.lines().filter_map(below).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let below = |path: &Path| path.starts_with(&self.state);
        for found in mount::mounted().unwrap_or_default().iter().rev() {
            if below(&found.on) {
                let _ = mount::unmount(found.fsid, true);
            }
        }
        let _ = Command::new("/sbin/zpool")
            .args(["destroy", "-f", &self.pool])
            .status();
    }
}
