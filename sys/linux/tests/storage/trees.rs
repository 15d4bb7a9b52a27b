//! Clones, templates and their removal.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags};
use warder_linux::HostError;
use warder_linux::dirs::{Access, detached, make_private_dir};
use warder_linux::process::{Exit, Process};
use warder_linux::storage::Store;
use warder_wire::TemplateName;

use crate::support::{self, Instance, LIMITS, base, ended, random_id};

pub(crate) fn a_hostile_tree_is_removed() {
    let mut instance = Instance::with_base();
    let sandbox = random_id();
    let ids = instance.users.range();
    instance
        .store
        .clone_template(&sandbox, &base(), ids, &[])
        .expect("clone");
    let outside = instance.dir.path().join("outside");
    std::fs::create_dir(&outside).expect("directory");
    std::fs::write(outside.join("kept"), "kept").expect("file");
    let up = instance.dir.path().join(format!("cells/{sandbox}/up"));
    // Deeper than PATH_MAX and than any stack would follow.
    let mut at: OwnedFd = File::open(&up).expect("upper").into();
    for depth in 0..1_000 {
        let name = format!("directory-number-{depth}");
        rustix::fs::mkdirat(&at, name.as_str(), Mode::RWXU).expect("mkdir");
        at = rustix::fs::openat(
            &at,
            name.as_str(),
            OFlags::DIRECTORY | OFlags::RDONLY,
            Mode::empty(),
        )
        .expect("open");
    }
    drop(at);
    symlink(&outside, up.join("way-out")).expect("link");
    symlink("..", up.join("up")).expect("link");
    std::fs::write(up.join("line\nbreak \u{1b}[31m -rf"), "").expect("file");
    rustix::fs::mkdirat(
        CWD,
        up.join(std::ffi::OsStr::from_encoded(b"\xff\xfe")),
        Mode::RWXU,
    )
    .expect("mkdir");
    std::fs::write(
        up.join(std::ffi::OsStr::from_encoded(b"\xff\xfe"))
            .join("f"),
        "",
    )
    .expect("file");
    for n in 0..60 {
        std::fs::create_dir_all(up.join(format!("wide/{n}/below"))).expect("directories");
        std::fs::write(up.join(format!("wide/{n}/file")), "").expect("file");
    }
    std::fs::create_dir_all(up.join("closed/inside")).expect("directory");
    std::fs::set_permissions(up.join("closed"), PermissionsExt::from_mode(0o0)).expect("mode");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(CWD, up.join("fifo"), fifo, Mode::RWXU, 0).expect("fifo");

    assert_eq!(
        instance.store.list().expect("list"),
        std::slice::from_ref(&sandbox)
    );
    assert!(instance.store.discard(&sandbox).expect("discard"));
    assert!(!instance.store.discard(&sandbox).expect("discard"), "once");
    assert_eq!(instance.store.list().expect("list"), []);
    let worker = Process::worker(&[instance.store.as_fd()], || {
        match instance.store.empty_trash() {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("{error:?}");
                1
            }
        }
    })
    .expect("worker");
    ended(&worker);
    assert_eq!(worker.try_wait().expect("wait"), Some(Exit::Code(0)));
    assert!(!instance.store.has_trash().expect("trash"));
    assert_eq!(
        std::fs::read_to_string(outside.join("kept")).expect("kept"),
        "kept"
    );
}

/// Names that are no text.
trait Encoded {
    fn from_encoded(bytes: &[u8]) -> &Self;
}

impl Encoded for std::ffi::OsStr {
    fn from_encoded(bytes: &[u8]) -> &Self {
        std::os::unix::ffi::OsStrExt::from_bytes(bytes)
    }
}

pub(crate) fn clones_are_whole_or_absent() {
    let mut instance = Instance::with_base();
    let sandbox = random_id();
    let ids = instance.users.range();
    let absent = TemplateName::new("absent").expect("name");
    let error = instance
        .store
        .clone_template(&sandbox, &absent, ids, &[])
        .expect_err("no such template");
    assert!(matches!(error, HostError::Invalid(_)));
    assert_eq!(instance.store.list().expect("list"), []);
    let resolvers = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().expect("address"));
    instance
        .store
        .clone_template(&sandbox, &base(), ids, &resolvers)
        .expect("clone");
    assert!(
        instance
            .store
            .clone_template(&sandbox, &base(), ids, &[])
            .is_err(),
        "taken"
    );
    let cell = instance.dir.path().join(format!("cells/{sandbox}"));
    let text = std::fs::read_to_string(cell.join("up/etc/resolv.conf")).expect("resolv.conf");
    assert_eq!(text, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n");
    let owner = |path: &str| {
        std::fs::metadata(cell.join(path))
            .map(|data| (data.uid(), data.mode() & 0o7777))
            .expect(path)
    };
    assert_eq!(owner("up"), (ids.first, 0o755));
    assert_eq!(owner("up/etc/hosts"), (ids.first, 0o644));
    assert_eq!(owner("usr-up"), (ids.first, 0o755));
    assert_eq!(
        owner(""),
        (0, 0o700),
        "guests' set-id files are out of everyone's reach"
    );
    let (free, total) = instance.store.room().expect("room");
    assert!(free > 0 && free <= total);
}

pub(crate) fn base_is_made_anew_when_stale() {
    let mut instance = Instance::new();
    assert!(!instance.store.base_is_fresh().expect("fresh"));
    assert_eq!(instance.templates(), []);
    instance.make_base();
    assert!(instance.store.base_is_fresh().expect("fresh"));
    assert_eq!(instance.templates(), [base()]);
    // A live sandbox keeps the version it was made from.
    let running = instance.cell(&LIMITS);
    std::fs::write(instance.bottom("base").join("made-of"), "something else").expect("write");
    assert!(!instance.store.base_is_fresh().expect("fresh"));
    instance.make_base();
    assert!(instance.store.base_is_fresh().expect("fresh"));
    instance.store.empty_trash().expect("trash");
    assert_eq!(running.ok("grep -c ^user: /etc/passwd"), "1");
    assert_eq!(running.ok("ls /etc/pam.d | wc -l"), "3");
    instance.end(running);
    instance.store.empty_trash().expect("trash");
    assert!(!instance.store.has_trash().expect("trash"));
    let layers = std::fs::read_dir(instance.dir.path().join("layers")).expect("layers");
    assert_eq!(layers.count(), 2, "base as it is, and bare");
}

pub(crate) fn base_holds_no_secret() {
    let instance = Instance::with_base();
    let tree = instance.bottom("base").join("tree");
    let mut allowed: BTreeSet<_> = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]
        .map(str::to_owned)
        .into();
    allowed.extend(
        [
            "dev", "etc", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys",
            "tmp", "usr", "var",
        ]
        .map(str::to_owned),
    );
    for entry in std::fs::read_dir(&tree).expect("tree").flatten() {
        assert!(
            allowed.contains(&entry.file_name().into_string().expect("text")),
            "{entry:?}"
        );
    }
    for absent in [
        "etc/ssl/private",
        "etc/apt",
        "etc/gitconfig",
        "etc/ssh",
        "etc/shadow-",
        "etc/environment",
    ] {
        assert!(!tree.join(absent).exists(), "{absent}");
    }
    assert_eq!(
        std::fs::metadata(tree.join("etc/shadow"))
            .expect("shadow")
            .mode()
            & 0o7777,
        0o640
    );
    assert_eq!(
        std::fs::metadata(tree.join("etc/sudoers"))
            .expect("sudoers")
            .mode()
            & 0o7777,
        0o440
    );
    assert_eq!(
        std::fs::metadata(tree.join("home/user"))
            .expect("home")
            .uid(),
        1000
    );
    for empty in ["usr", "var/lib", "opt", "srv", "mnt", "tmp"] {
        assert_eq!(
            std::fs::read_dir(tree.join(empty)).expect(empty).count(),
            0,
            "{empty}"
        );
    }
    // Nothing in it carries rights on the host.
    let found = Command::new("find")
        .arg(&tree)
        .args([
            "(", "-perm", "/6000", "-o", "-type", "b", "-o", "-type", "c", ")",
        ])
        .output()
        .expect("find");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

pub(crate) fn a_full_disk_is_told() {
    let dir = tempfile::tempdir().expect("directory");
    let mount = dir.path().join("small");
    std::fs::create_dir(&mount).expect("directory");
    // In a mount namespace of this worker, so that the host's mount table stays as it is.
    let worker = Process::worker(&[], || {
        // SAFETY: takes an integer; this process has one thread and shares nothing.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
        rustix::mount::mount_change(
            "/",
            rustix::mount::MountPropagationFlags::PRIVATE
                | rustix::mount::MountPropagationFlags::REC,
        )
        .expect("private");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", &mount, "tmpfs", flags, c"size=3m,nr_inodes=2000")
            .expect("mount");
        for made in ["templates", "layers/own.1/tree"] {
            std::fs::create_dir_all(mount.join(made)).expect("template");
        }
        std::fs::write(mount.join("templates/own"), "own.1\n").expect("its manifest");
        let mut store = Store::open(&mount, None).expect("store");
        let _ = std::fs::write(mount.join("filler"), vec![0; 4 << 20]);
        let name = TemplateName::new("own").expect("name");
        let sandbox = random_id();
        let told = store.clone_template(&sandbox, &name, support::range(), &[]);
        assert!(matches!(told, Err(HostError::NoSpace { .. })), "{told:?}");
        assert_eq!(store.list().expect("list"), []);
        std::fs::remove_file(mount.join("filler")).expect("remove");
        store
            .clone_template(&sandbox, &name, support::range(), &[])
            .expect("room again");
        0
    })
    .expect("worker");
    ended(&worker);
    assert_eq!(worker.try_wait().expect("wait"), Some(Exit::Code(0)));
}

pub(crate) fn directories_end_at_themselves() {
    let dir = tempfile::tempdir().expect("directory");
    let inner = dir.path().join("inner");
    make_private_dir(&inner, 12, 34, 0o750).expect("make");
    let data = std::fs::metadata(&inner).expect("stat");
    assert_eq!(
        (data.uid(), data.gid(), data.mode() & 0o7777),
        (12, 34, 0o750)
    );
    make_private_dir(&inner, 0, 0, 0o700).expect("again");
    std::fs::write(dir.path().join("secret"), "x").expect("secret");
    symlink(dir.path(), inner.join("link")).expect("link");
    assert!(
        make_private_dir(&inner.join("link"), 0, 0, 0o700).is_err(),
        "a link"
    );

    let handed = detached(&inner, Access::ReadWrite).expect("detached");
    for path in ["../secret", "../../", "../inner/../secret", "./../secret"] {
        let found = rustix::fs::openat(&handed, path, OFlags::RDONLY, Mode::empty());
        if let Ok(found) = found {
            let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).expect("stat").st_ino;
            assert_eq!(inode(&found), inode(&handed), "{path} leads out");
        }
    }
    let made = OFlags::CREATE | OFlags::WRONLY;
    rustix::fs::openat(&handed, "file", made, Mode::RUSR).expect("writable");
    let handed = detached(&inner, Access::ReadOnly).expect("detached");
    rustix::fs::openat(&handed, "other", made, Mode::RUSR).expect_err("read-only");
}
