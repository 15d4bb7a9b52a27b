//! What is in a directory of a volume.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, Mode, OFlags};

use super::place::Place;
use super::stat::{self, Entry};
use crate::http::ApiError;

/// Most entries of one answer. More are refused, not left out.
const MOST: usize = 100_000;

/// Everything `depth` levels down, each directory before what is in it, names in order. Links are not followed,
/// but for the one that `place` itself may be.
///
/// # Errors
/// 404, 400 for what is no directory or has too much in it.
pub(super) fn dir(place: &Place, depth: u32) -> Result<Vec<Entry>, ApiError> {
    let kind = place
        .open(OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())
        .and_then(|fd| Ok(rustix::fs::fstat(fd)?));
    let about = kind.map_err(|error| place.failed("listing", &error))?;
    if !rustix::fs::FileType::from_raw_mode(about.st_mode).is_dir() {
        let text = format!("path '{place}' is not a directory");
        return Err(ApiError::bad_request(text));
    }
    let shown = place.to_string();
    let shown = shown.trim_end_matches('/');
    let below = PathBuf::from(shown.trim_start_matches('/'));
    let mut found = Vec::new();
    // Depth first without recursion, and without a descriptor for each level: each directory is opened from the
    // root again.
    let top = read(place, &below, OFlags::empty());
    let mut waiting = vec![(
        PathBuf::new(),
        top.map_err(|error| place.failed("listing", &error))?,
    )];
    while let Some((path, entries)) = waiting.last_mut() {
        let Some(name) = entries.pop() else {
            waiting.pop();
            continue;
        };
        let path = path.join(&name);
        // Gone since it was listed: as if it had never been there.
        let Ok(entry) = look(
            place,
            &below.join(&path),
            &format!("{shown}/{}", path.display()),
        ) else {
            continue;
        };
        if found.len() >= MOST {
            return Err(ApiError::bad_request(format_args!(
                "there are more than {MOST} entries below '{place}'; list less deep"
            )));
        }
        let down = entry.is_dir() && waiting.len() < depth as usize;
        found.push(entry);
        if down && let Ok(entries) = read(place, &below.join(&path), OFlags::NOFOLLOW) {
            waiting.push((path, entries));
        }
    }
    Ok(found)
}

fn look(place: &Place, path: &Path, shown: &str) -> io::Result<Entry> {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str);
    let name = name.ok_or(io::ErrorKind::InvalidData)?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let dir = place.open_path(parent, flags, Mode::empty())?;
    stat::named(dir.as_fd(), name, shown.to_owned())
}

/// Names in falling order, to be popped.
fn read(place: &Place, path: &Path, more: OFlags) -> io::Result<Vec<String>> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | more;
    let fd = place.open_path(path, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(fd)? {
        // The API has no form for a name that is no UTF-8.
        if let Ok(name) = entry?.file_name().to_str()
            && !matches!(name, "." | "..")
        {
            names.push(name.to_owned());
        }
        if names.len() > MOST {
            return Err(rustix::io::Errno::OVERFLOW.into());
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}
