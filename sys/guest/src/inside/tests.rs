use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

type Open = fn(BorrowedFd<'_>, &Path, OFlags, Mode) -> io::Result<OwnedFd>;
/// The one in use, and the one that needs no help of the kernel.
const BOTH: [Open; 2] = [super::open, super::walk::open];

fn read(opened: io::Result<OwnedFd>) -> String {
    let mut text = String::new();
    File::from(opened.expect("opens"))
        .read_to_string(&mut text)
        .expect("reads");
    text
}

fn errno(opened: io::Result<OwnedFd>) -> Option<Errno> {
    Errno::from_io_error(&opened.expect_err("refused"))
}

#[test]
fn nothing_leads_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("etc")).expect("made");
    fs::write(root.join("etc/passwd"), "inside").expect("written");
    symlink("/etc/passwd", root.join("absolute")).expect("linked");
    symlink("../../../../etc/passwd", root.join("etc/up")).expect("linked");
    symlink("/", root.join("etc/top")).expect("linked");
    symlink("etc//./", root.join("slash")).expect("linked");
    let fd = File::open(&root).expect("opens");
    for open in BOTH {
        for path in [
            "absolute",
            "etc/up",
            "../../etc/passwd",
            "/etc/passwd",
            "etc/../../etc/passwd",
            "etc/top/absolute",
            "etc/top/../slash/passwd",
        ] {
            let opened = open(fd.as_fd(), path.as_ref(), OFlags::RDONLY, Mode::empty());
            assert_eq!(read(opened), "inside", "{path}");
        }
    }
}

#[test]
fn links_are_followed_or_refused_as_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path();
    fs::create_dir(root.join("d")).expect("made");
    fs::write(root.join("f"), "f").expect("written");
    symlink("circle", root.join("circle")).expect("linked");
    symlink("d", root.join("to-d")).expect("linked");
    symlink("f", root.join("to-f")).expect("linked");
    let fd = File::open(root).expect("opens");
    for (n, open) in BOTH.into_iter().enumerate() {
        let open = |path: &str, flags: OFlags| {
            let mode = if flags.contains(OFlags::CREATE) {
                Mode::RUSR
            } else {
                Mode::empty()
            };
            open(fd.as_fd(), path.as_ref(), flags, mode)
        };
        let read_only = OFlags::RDONLY;
        let not_followed = read_only | OFlags::NOFOLLOW;
        assert_eq!(errno(open("circle", read_only)), Some(Errno::LOOP));
        assert_eq!(errno(open("circle/x", read_only)), Some(Errno::LOOP));
        assert_eq!(errno(open("to-f", not_followed)), Some(Errno::LOOP));
        assert_eq!(errno(open("f/x", read_only)), Some(Errno::NOTDIR));
        assert_eq!(errno(open("f/", read_only)), Some(Errno::NOTDIR));
        assert_eq!(errno(open("no/x", read_only)), Some(Errno::NOENT));
        assert_eq!(
            errno(open("to-f", read_only | OFlags::DIRECTORY)),
            Some(Errno::NOTDIR)
        );
        for directory in [".", "/", "..", "to-d", "to-d/", "d/..", "d/."] {
            assert!(open(directory, read_only | OFlags::DIRECTORY).is_ok());
        }
        // Made where a link leads, but not in place of one.
        let new = format!("new{n}");
        symlink(&new, root.join(format!("to-new{n}"))).expect("linked");
        let making = OFlags::WRONLY | OFlags::CREATE;
        let to_new = format!("to-new{n}");
        assert_eq!(
            errno(open(&to_new, making | OFlags::EXCL)),
            Some(Errno::EXIST)
        );
        assert!(open(&to_new, making).is_ok());
        assert!(root.join(new).is_file());
    }
}
