//! Moving where the kernel cannot rename: copy everything, then remove the source.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, lchown, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};

/// Moves a tree with owners, modes, times and metadata. When the copy fails the source stays whole and what
/// was copied is removed.
///
/// # Errors
/// The destination exists, or the first step that failed.
pub(super) fn across(source: &Path, destination: &Path) -> io::Result<()> {
    let is_dir = fs::symlink_metadata(source)?.is_dir();
    if is_dir && destination.starts_with(source) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // As rename does it: a file replaces a file, an empty directory an empty directory.
    match fs::symlink_metadata(destination) {
        Ok(about) if about.is_dir() && is_dir => fs::remove_dir(destination)?,
        Ok(about) if about.is_dir() => return Err(io::Error::from(io::ErrorKind::IsADirectory)),
        Ok(_) if is_dir => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
        Ok(_) => fs::remove_file(destination)?,
        Err(_) => {}
    }
    copy(source, destination).inspect_err(|_| {
        let _ = remove(destination);
    })?;
    remove(source)
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

fn kind_of(kind: fs::FileType) -> FileType {
    match kind {
        kind if kind.is_dir() => FileType::Directory,
        kind if kind.is_file() => FileType::RegularFile,
        kind if kind.is_symlink() => FileType::Symlink,
        kind if kind.is_fifo() => FileType::Fifo,
        kind if kind.is_socket() => FileType::Socket,
        kind if kind.is_char_device() => FileType::CharacterDevice,
        kind if kind.is_block_device() => FileType::BlockDevice,
        _ => FileType::Unknown,
    }
}

fn copy(source: &Path, destination: &Path) -> io::Result<()> {
    let about = fs::symlink_metadata(source)?;
    let kind = kind_of(about.file_type());
    match kind {
        FileType::Directory => {
            fs::create_dir(destination)?;
            for child in fs::read_dir(source)? {
                let name = child?.file_name();
                copy(&source.join(&name), &destination.join(&name))?;
            }
        }
        FileType::RegularFile => {
            fs::copy(source, destination)?;
        }
        FileType::Symlink => symlink(fs::read_link(source)?, destination)?,
        _ => mknodat(CWD, destination, kind, Mode::empty(), about.rdev())?,
    }
    lchown(destination, Some(about.uid()), Some(about.gid()))?;
    if kind == FileType::Symlink {
        return Ok(());
    }
    let metadata: Vec<_> = crate::files::read_metadata(source).into_iter().collect();
    if !metadata.is_empty() {
        use std::os::fd::AsFd as _;
        let file = fs::File::open(destination)?;
        warder_guest_sys::xattr::replace(file.as_fd(), crate::files::METADATA_PREFIX, &metadata)?;
    }
    // After the owner, which clears special bits.
    fs::set_permissions(destination, about.permissions())?;
    let time = |seconds, nanos: i64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time(about.atime(), about.atime_nsec()),
        last_modification: time(about.mtime(), about.mtime_nsec()),
    };
    Ok(utimensat(
        CWD,
        destination,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_tree_arrives_whole_and_the_source_goes() {
        let dir = tempfile::tempdir().expect("dir");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub")).expect("dirs");
        fs::write(from.join("sub/f"), "x").expect("file");
        fs::set_permissions(from.join("sub/f"), fs::Permissions::from_mode(0o640)).expect("mode");
        symlink("sub/f", from.join("l")).expect("link");
        let before = fs::metadata(from.join("sub/f")).expect("info");
        across(&from, &to).expect("moves");
        let after = fs::metadata(to.join("sub/f")).expect("info");
        assert_eq!(
            (after.mode(), after.mtime()),
            (before.mode(), before.mtime())
        );
        assert_eq!(
            fs::read_link(to.join("l")).expect("link"),
            Path::new("sub/f")
        );
        assert!(!from.exists());
        fs::create_dir(&from).expect("dir");
        fs::write(from.join("f"), "x").expect("file");
        assert!(
            across(&from, &to).is_err(),
            "a directory that is not empty is in the way"
        );
        assert!(from.join("f").exists() && to.join("sub/f").exists());
        assert!(across(&from, &from.join("below")).is_err());
    }
}
