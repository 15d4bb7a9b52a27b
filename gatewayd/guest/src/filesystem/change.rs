//! Making, moving and removing.

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use warder_connect::filesystem::EntryInfo;
use warder_connect::{Code, ConnectError};

use super::{entry, failed, transfer};
use crate::files::make_dirs;
use crate::users::{Names, User};

fn describe(path: &Path) -> Result<EntryInfo, ConnectError> {
    entry::info(path, &Names::load()).map_err(|error| failed("getting info of", path, &error))
}

/// Makes a directory and its parents for `user`.
pub(super) fn make_dir(path: &Path, user: &User) -> Result<EntryInfo, ConnectError> {
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => {
            return Err(ConnectError::new(
                Code::AlreadyExists,
                format_args!("directory already exists: {}", path.display()),
            ));
        }
        Ok(_) => return Err(in_the_way(path)),
        Err(_) => {}
    }
    match make_dirs(path, user) {
        Ok(()) => describe(path),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTDIR) => Err(in_the_way(path)),
        // A broken link of that name.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(in_the_way(path)),
        Err(error) => Err(failed("creating directory", path, &error)),
    }
}

fn in_the_way(path: &Path) -> ConnectError {
    ConnectError::invalid(format_args!(
        "path already exists but it is not a directory: {}",
        path.display()
    ))
}

/// Renames, making the destination's parent for `user`.
pub(super) fn rename(
    source: &Path,
    destination: &Path,
    user: &User,
) -> Result<EntryInfo, ConnectError> {
    fs::symlink_metadata(source).map_err(|error| failed("moving", source, &error))?;
    if let Some(parent) = destination.parent() {
        make_dirs(parent, user).map_err(|error| failed("creating directory", parent, &error))?;
    }
    match fs::rename(source, destination) {
        Ok(()) => {}
        // Another file system, or a directory of the template, which an overlay does not rename.
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            transfer::across(source, destination)
                .map_err(|error| failed("moving", source, &error))?;
        }
        Err(error) => return Err(failed("moving", source, &error)),
    }
    describe(destination)
}

/// Removes a file or a directory with all in it. What is not there is removed already.
pub(super) fn remove(path: &Path) -> Result<(), ConnectError> {
    if path == Path::new("/") {
        return Err(ConnectError::invalid(
            "the root directory cannot be removed",
        ));
    }
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error)
            if !matches!(
                Errno::from_io_error(&error),
                Some(Errno::NOENT | Errno::NOTDIR)
            ) =>
        {
            Err(failed("removing", path, &error))
        }
        _ => Ok(()),
    }
}
