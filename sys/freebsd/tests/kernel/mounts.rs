//! Mounts.

use std::path::Path;

use rustix::io::Errno;
use warder_freebsd::sys::mount::{self, MNT_NOSUID, MNT_RDONLY};
use warder_freebsd::sys::{Params, kld};

/// Unmounts all that the test left below a directory.
struct Unmounted<'a>(&'a Path);

impl Drop for Unmounted<'_> {
    fn drop(&mut self) {
        for found in mount::mounted().unwrap_or_default().iter().rev() {
            if found.on.starts_with(self.0) {
                let _ = mount::unmount(found.fsid, true);
            }
        }
    }
}

pub(crate) fn mounts_come_and_go() {
    for module in ["tmpfs", "nullfs"] {
        assert!(
            kld::has(module),
            "{module}_load=\"YES\" in /boot/loader.conf, or kldload {module}"
        );
    }
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().canonicalize().expect("there");
    let (from, on) = (path.join("from"), path.join("on"));
    for dir in [&from, &on] {
        std::fs::create_dir(dir).expect("mkdir");
    }
    let _unmounted = Unmounted(&path);
    let options = Params::new().text("fspath", &from).text("size", "1048576");
    mount::mount("tmpfs", &options, MNT_NOSUID).expect("tmpfs");
    std::fs::write(from.join("file"), "text").expect("writable");
    let options = Params::new().text("fspath", &on).text("target", &from);
    mount::mount("nullfs", &options, MNT_RDONLY).expect("nullfs");
    assert_eq!(
        std::fs::read_to_string(on.join("file")).expect("seen"),
        "text"
    );
    let refused = std::fs::write(on.join("file"), "more").expect_err("read-only");
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));

    let all = mount::mounted().expect("getfsstat");
    let below: Vec<_> = all
        .iter()
        .filter(|found| found.on.starts_with(&path))
        .collect();
    assert_eq!(below.len(), 2, "{below:?}");
    assert_eq!(
        (below[0].kind.as_str(), below[1].kind.as_str()),
        ("tmpfs", "nullfs")
    );
    assert_eq!((&below[1].on, &below[1].from), (&on, &from));
    assert_ne!(below[1].flags & MNT_RDONLY, 0);
    assert_ne!(below[0].flags & MNT_NOSUID, 0);
    let seen = mount::of(&on.join("file")).expect("statfs");
    assert_eq!((seen.fsid, &seen.on), (below[1].fsid, &on));
    let file = std::fs::File::open(from.join("file")).expect("open");
    let seen = mount::of_fd(std::os::fd::AsFd::as_fd(&file)).expect("fstatfs");
    assert_eq!(seen.fsid, below[0].fsid);
    assert!(
        seen.block * seen.blocks <= 2 << 20,
        "the size asked for: {seen:?}"
    );

    mount::unmount(below[1].fsid, false).expect("unmount");
    assert_eq!(
        mount::unmount(below[0].fsid, false),
        Err(Errno::BUSY),
        "a file is open"
    );
    drop(file);
    mount::unmount(below[0].fsid, false).expect("unmount");
    assert!(
        mount::unmount(below[0].fsid, true).is_err(),
        "not mounted any more"
    );
    assert!(!from.join("file").exists());
}

pub(crate) fn refusals_say_why() {
    let dir = tempfile::tempdir().expect("directory");
    let options = Params::new().text("fspath", dir.path());
    let unknown = mount::mount("warderfs", &options, 0).expect_err("no such kind");
    assert_eq!(unknown.errno, Errno::INVAL, "{unknown}");
    assert_eq!(unknown.text, "Invalid fstype");
    let options = options.text("warder", "nonsense");
    let refused = mount::mount("tmpfs", &options, 0).expect_err("no such option");
    assert_eq!(refused.errno, Errno::INVAL, "{refused}");
    assert!(
        refused.text.contains("warder"),
        "the kernel names it: {refused}"
    );
    let nowhere = Params::new().text("fspath", dir.path().join("none"));
    let nowhere = mount::mount("tmpfs", &nowhere, 0).expect_err("no such directory");
    assert_eq!(nowhere.errno, Errno::NOENT, "{nowhere}");
}
