//! A file that is being written for a user.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use http::StatusCode;
use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, ftruncate};
use rustix::io::Errno;

use super::metadata;
use crate::http::ApiError;
use crate::users::User;

/// Makes a directory and its parents. New ones belong to `user` and have mode 0755.
pub(crate) fn make_dirs(path: &Path, user: &User) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => return Ok(()),
        Ok(_) => return Err(Errno::NOTDIR.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if let Some(parent) = path.parent() {
        make_dirs(parent, user)?;
    }
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)),
        // Someone was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens the file to be written: parents made, content gone, owner `user`, metadata exactly `wanted`. A new
/// one has mode 0644. `size` is how much is to come, if known.
///
/// Whoever watches the directory sees it appear, then change owner, then be written, in this order.
///
/// # Errors
/// 400 for what is no regular file, 507 for a full disk.
pub(super) fn open(
    path: &Path,
    user: &User,
    wanted: &[(String, String)],
    size: Option<u64>,
) -> Result<File, ApiError> {
    let shown = path.display();
    let parent = path.parent().ok_or_else(|| is_directory(path))?;
    make_dirs(parent, user).map_err(|error| {
        ApiError::io(
            format_args!("error creating directories for '{shown}'"),
            &error,
        )
    })?;
    let existing = match fs::metadata(path) {
        Ok(about) if about.is_dir() => return Err(is_directory(path)),
        Ok(about) if !about.is_file() => {
            return Err(ApiError::bad_request(format_args!(
                "path '{shown}' is not a regular file"
            )));
        }
        Ok(about) => Some(about),
        Err(_) => None,
    };
    let freed = existing.as_ref().map_or(0, |about| about.blocks() * 512);
    check_space(parent, size.unwrap_or(0), freed)?;
    let failed =
        |errno: Errno| ApiError::io(format_args!("error opening file '{shown}'"), &errno.into());
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)) {
        Err(Errno::ISDIR) => return Err(is_directory(path)),
        other => other.map_err(failed)?,
    };
    fchown(
        &fd,
        Some(Uid::from_raw(user.uid)),
        Some(Gid::from_raw(user.gid)),
    )
    .map_err(failed)?;
    if existing.is_some_and(|about| about.len() > 0) {
        ftruncate(&fd, 0).map_err(failed)?;
    }
    warder_guest_sys::xattr::replace(fd.as_fd(), metadata::PREFIX, wanted).map_err(|error| {
        ApiError::io(format_args!("error keeping metadata of '{shown}'"), &error)
    })?;
    Ok(File::from(fd))
}

fn is_directory(path: &Path) -> ApiError {
    ApiError::bad_request(format_args!("path '{}' is a directory", path.display()))
}

/// Refuses early what cannot fit, so that the old content is not lost for nothing.
fn check_space(parent: &Path, size: u64, freed: u64) -> Result<(), ApiError> {
    let Ok(about) = rustix::fs::statvfs(parent) else {
        return Ok(());
    };
    // File systems without a limit report no blocks at all.
    let free = about
        .f_bavail
        .saturating_mul(about.f_frsize)
        .saturating_add(freed);
    if about.f_blocks > 0 && size > free {
        return Err(ApiError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            format_args!(
                "not enough disk space available: {size} bytes required, {free} bytes free"
            ),
        ));
    }
    Ok(())
}

/// The last part of a path, for answers.
pub(super) fn name_of(path: &Path) -> PathBuf {
    path.file_name()
        .map_or_else(|| PathBuf::from("/"), PathBuf::from)
}
