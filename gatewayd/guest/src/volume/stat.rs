//! What is at a place, in the volume API's form.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, RawMode, Stat, readlinkat, statat};
use serde::Serialize;
use warder_connect::Timestamp;

use super::place::Place;
use crate::http::ApiError;

/// `VolumeEntryStat`. Of a link, all is the link's own.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    name: String,
    path: String,
    #[serde(rename = "type")]
    kind: &'static str,
    size: u64,
    mode: RawMode,
    uid: u32,
    gid: u32,
    atime: String,
    mtime: String,
    ctime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

fn time(seconds: i64, nanos: impl TryInto<u32>) -> String {
    let nanos = nanos.try_into().unwrap_or(0);
    Timestamp { seconds, nanos }.to_string()
}

/// Describes what `name` is in `dir`; `path` is how the client knows it.
pub(super) fn named(dir: BorrowedFd<'_>, name: &str, path: String) -> io::Result<Entry> {
    let about = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mut entry = of(&about, name, path);
    if entry.kind == "symlink" {
        let target = readlinkat(dir, name, Vec::new())?;
        entry.target = Some(target.to_string_lossy().into_owned());
    }
    Ok(entry)
}

fn of(about: &Stat, name: &str, path: String) -> Entry {
    let kind = match FileType::from_raw_mode(about.st_mode) {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        _ => "unknown",
    };
    Entry {
        name: name.to_owned(),
        path,
        kind,
        size: u64::try_from(about.st_size).unwrap_or(0),
        mode: about.st_mode & 0o7777,
        uid: about.st_uid,
        gid: about.st_gid,
        atime: time(about.st_atime, about.st_atime_nsec),
        mtime: time(about.st_mtime, about.st_mtime_nsec),
        ctime: time(about.st_ctime, about.st_ctime_nsec),
        target: None,
    }
}

impl Entry {
    /// Whether it is a directory.
    pub(super) fn is_dir(&self) -> bool {
        self.kind == "directory"
    }
}

/// Describes a place.
///
/// # Errors
/// 404 when nothing is there.
pub(super) fn entry(place: &Place) -> Result<Entry, ApiError> {
    let look = || {
        let parent = place.parent()?;
        let name = place.name().unwrap_or(".");
        let mut entry = named(std::os::fd::AsFd::as_fd(&parent), name, place.to_string())?;
        if place.name().is_none() {
            entry.name = "/".to_owned();
        }
        Ok(entry)
    };
    look().map_err(|error: io::Error| place.failed("looking at", &error))
}
