//! The lines a client exports, in a file only its reader may see.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use rustix::fs::{Gid, Uid, fchown};

use crate::error::Error;

/// Removes an earlier file, if there is one.
pub(crate) fn remove(file: &Path) -> Result<(), Error> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", file.display()), e))
        }
        _ => Ok(()),
    }
}

/// Writes the file whole, 0600, for the one who typed sudo.
pub(crate) fn write(file: &Path, lines: &str) -> Result<(), Error> {
    replace(file, lines, caller())
}

/// Replaces `file` in one step; never follows a link that waits in its place.
pub(crate) fn replace(file: &Path, text: &str, owner: Option<(Uid, Gid)>) -> Result<(), Error> {
    let failed = |e: io::Error| Error::io(format!("write {}", file.display()), e);
    let parent = file.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = parent.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let mut new = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    new.write_all(text.as_bytes()).map_err(failed)?;
    let meta = fs::Permissions::from_mode(0o600);
    new.as_file().set_permissions(meta).map_err(failed)?;
    if let Some((user, group)) = owner {
        fchown(new.as_file(), Some(user), Some(group)).map_err(|e| failed(e.into()))?;
    }
    new.persist(file).map(|_| ()).map_err(|e| failed(e.error))
}

/// Who called sudo, if somebody did.
fn caller() -> Option<(Uid, Gid)> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let (user, group) = (number("SUDO_UID")?, number("SUDO_GID")?);
    Some((Uid::from_raw(user), Gid::from_raw(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole_and_private_and_follows_no_link() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, victim) = (dir.path().join("env"), dir.path().join("victim"));
        fs::write(&victim, "untouched").expect("writes");
        std::os::unix::fs::symlink(&victim, &file).expect("links");
        replace(&file, "a\nb\nc\n", None).expect("writes");
        assert_eq!(fs::read_to_string(&victim).expect("reads"), "untouched");
        let meta = fs::symlink_metadata(&file).expect("is there");
        assert!(meta.is_file());
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&file).expect("reads");
        assert_eq!(text.lines().count(), 3);
        remove(&file).expect("removes");
        remove(&file).expect("is gone already");
    }
}
