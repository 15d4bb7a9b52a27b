//! Placing watches on a directory and those below it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use warder_guest_sys::inotify::Inotify;

/// A watched directory: the kernel's number, its place below the root, what was in it.
pub(super) type Placed = (i32, PathBuf, Vec<OsString>);

/// Watches `root/below` and, if asked, every directory in it; links are not followed. Each directory is
/// watched before it is listed, so nothing made meanwhile is missed. Gives what was placed, also when it
/// had to stop early: the caller knows which of these others need as well.
pub(super) fn place(
    inotify: &Inotify,
    root: &Path,
    below: &Path,
    recursive: bool,
) -> (Vec<Placed>, io::Result<()>) {
    let mut placed: Vec<Placed> = Vec::new();
    let mut waiting = vec![below.to_owned()];
    while let Some(below) = waiting.pop() {
        let path = root.join(&below);
        let number = match inotify.add(&path) {
            Ok(number) => number,
            // Removed or replaced meanwhile.
            Err(error) if !placed.is_empty() && is_gone(&error) => continue,
            Err(error) => return (placed, Err(error)),
        };
        let mut children = Vec::new();
        if recursive {
            for child in std::fs::read_dir(&path).into_iter().flatten().flatten() {
                if child.file_type().is_ok_and(|kind| kind.is_dir()) {
                    waiting.push(below.join(child.file_name()));
                }
                children.push(child.file_name());
            }
        }
        placed.push((number, below, children));
    }
    (placed, Ok(()))
}

pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
