//! What a name stands for.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use warder_connect::Timestamp;
use warder_connect::filesystem::{EntryInfo, FileType};

use crate::files::read_metadata;
use crate::paths;
use crate::users::Names;

/// Describes a path. Of a link, type and mode are those of what it leads to; the rest is the link's.
///
/// # Errors
/// It cannot be looked up.
pub(crate) fn info(path: &Path, names: &Names) -> io::Result<EntryInfo> {
    let own = fs::symlink_metadata(path)?;
    let mut entry = EntryInfo {
        name: path
            .file_name()
            .map_or_else(|| "/".to_owned(), |name| paths::text(name.as_ref())),
        file_type: file_type(&own),
        path: paths::text(path),
        size: own.len().cast_signed(),
        mode: own.mode() & 0o777,
        permissions: permissions(own.mode()),
        owner: names.user(own.uid()),
        group: names.group(own.gid()),
        modified_time: Some(Timestamp {
            seconds: own.mtime(),
            nanos: u32::try_from(own.mtime_nsec()).unwrap_or(0),
        }),
        symlink_target: None,
        metadata: read_metadata(path),
        // Unset, as E2B's own agent left it when its tests were written: newest SDKs would report links.
        is_symlink: false,
    };
    if own.is_symlink() {
        let target = fs::canonicalize(path).and_then(|target| Ok((fs::metadata(&target)?, target)));
        let (kind, mode, target) = match target {
            Ok((about, target)) => (file_type(&about), about.mode() & 0o777, target),
            Err(_) => (FileType::Unspecified, entry.mode, path.to_owned()),
        };
        entry.file_type = kind;
        entry.mode = mode;
        entry.symlink_target = Some(paths::text(&target));
    }
    Ok(entry)
}

fn file_type(about: &Metadata) -> FileType {
    if about.is_file() {
        FileType::File
    } else if about.is_dir() {
        FileType::Directory
    } else if about.is_symlink() {
        FileType::Symlink
    } else {
        FileType::Unspecified
    }
}

/// In the notation of Go's `fs.FileMode`: kind and special bits as letters (`-` for none), then nine of
/// `rwx`.
fn permissions(mode: u32) -> String {
    const KIND: u32 = 0o170_000;
    let mut out = String::with_capacity(12);
    out.push_str(match mode & KIND {
        0o040_000 => "d",
        0o120_000 => "L",
        0o060_000 | 0o020_000 => "D",
        0o010_000 => "p",
        0o140_000 => "S",
        _ => "",
    });
    for (bit, letter) in [(0o4000, 'u'), (0o2000, 'g')] {
        if mode & bit != 0 {
            out.push(letter);
        }
    }
    if mode & KIND == 0o020_000 {
        out.push('c');
    }
    if mode & 0o1000 != 0 {
        out.push('t');
    }
    if out.is_empty() {
        out.push('-');
    }
    for (shift, letter) in (0..9).rev().zip("rwxrwxrwx".chars()) {
        out.push(if mode >> shift & 1 == 1 { letter } else { '-' });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation() {
        for (mode, want) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o120_777, "Lrwxrwxrwx"),
            (0o041_777, "dtrwxrwxrwx"),
            (0o104_755, "urwxr-xr-x"),
            (0o020_666, "Dcrw-rw-rw-"),
            (0o060_660, "Drw-rw----"),
            (0o010_600, "prw-------"),
            (0o140_700, "Srwx------"),
        ] {
            assert_eq!(permissions(mode), want);
        }
    }

    #[test]
    fn links_show_what_they_lead_to() {
        let dir = tempfile::tempdir().expect("dir");
        let base = fs::canonicalize(dir.path()).expect("path");
        let names = Names::load();
        fs::create_dir(base.join("d")).expect("dir");
        std::os::unix::fs::symlink("d", base.join("l")).expect("link");
        std::os::unix::fs::symlink("nowhere", base.join("b")).expect("link");
        let link = info(&base.join("l"), &names).expect("info");
        assert_eq!((link.file_type, link.mode), (FileType::Directory, 0o755));
        // On Linux a link has every permission, elsewhere what the umask left (symlink(7)).
        let own = fs::symlink_metadata(base.join("l")).expect("there").mode();
        assert_eq!(link.permissions, permissions(own));
        assert!(link.permissions.starts_with("Lrwx"));
        assert_eq!(link.symlink_target, Some(paths::text(&base.join("d"))));
        let broken = info(&base.join("b"), &names).expect("info");
        assert_eq!(broken.file_type, FileType::Unspecified);
        assert_eq!(broken.symlink_target, Some(broken.path));
    }
}
