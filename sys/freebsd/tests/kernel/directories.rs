//! Directories made for, or handed to, other processes.

use std::os::unix::fs::MetadataExt;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use warder_freebsd::dirs::{Access, detached, make_private_dir};
use warder_freebsd::process::{Exit, Process};

use crate::runner::ended;

pub(crate) fn directories_are_private() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("made");
    for (uid, mode) in [(7, 0o700), (0, 0o750)] {
        make_private_dir(&path, uid, 5, mode).expect("made, and taken as it is");
        let found = std::fs::symlink_metadata(&path).expect("there");
        assert_eq!(
            (found.uid(), found.gid(), found.mode() & 0o7777),
            (uid, 5, u32::from(mode))
        );
    }
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).expect("symlink");
    assert!(
        make_private_dir(&link, 0, 0, 0o700).is_err(),
        "a link is followed"
    );
}

/// Of one whose holder is in capability mode, and what it may do in it.
pub(crate) fn no_name_leads_out_of_a_tree() {
    let dir = tempfile::tempdir().expect("directory");
    std::fs::write(dir.path().join("secret"), "s").expect("file");
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).expect("mkdir");
    std::fs::write(tree.join("own"), "o").expect("file");
    std::os::unix::fs::symlink("../secret", tree.join("link")).expect("symlink");
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let given = detached(&tree, access).expect("detached");
        let worker = Process::worker(&[std::os::fd::AsFd::as_fd(&given)], || {
            // SAFETY: takes nothing; changes only what this process may do.
            if unsafe { libc::cap_enter() } != 0 {
                return 1;
            }
            let open = |name: &str, flags| openat(&given, name, flags, Mode::RUSR);
            for name in ["..", "../secret", "link", "/etc/passwd", "a/../../secret"] {
                match open(name, OFlags::RDONLY) {
                    Err(Errno::NOTCAPABLE | Errno::NOENT) => {}
                    _ => return 2,
                }
            }
            if open("own", OFlags::RDONLY).is_err() {
                return 3;
            }
            let written = open("new", OFlags::WRONLY | OFlags::CREATE).is_ok();
            if written != (access == Access::ReadWrite) {
                return 4;
            }
            let removed = rustix::fs::unlinkat(&given, "new", rustix::fs::AtFlags::empty());
            i32::from(removed.is_ok() != written) * 5
        });
        assert_eq!(ended(&worker.expect("worker")), Exit::Code(0), "{access:?}");
    }
}
