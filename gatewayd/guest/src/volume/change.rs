//! Making, removing, giving away.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RawMode, chownat, fchmod, fchown, fstat, mkdirat, statat,
    unlinkat,
};
use rustix::io::Errno;
use serde::Deserialize;
use warder_connect::json::parse;

use super::place::Place;
use super::query::{Query, Wanted};
use super::stat::{self, Entry};
use crate::http::{ApiError, RequestBody};

/// Longest body of a change, in bytes.
const MAX_BODY: usize = 64 * 1024;

#[derive(Deserialize)]
struct Patch {
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<RawMode>,
}

/// What a PATCH asks for.
pub(super) async fn wanted(request: Request<RequestBody>) -> Result<Wanted, ApiError> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(ApiError::bad_request)?.to_bytes();
    if body.is_empty() {
        return Err(ApiError::bad_request("it says nothing"));
    }
    let patch: Patch = parse(&body).map_err(ApiError::bad_request)?;
    Wanted::new(patch.uid, patch.gid, patch.mode)
}

/// Changes owner and mode of what is at a place, not of what a link there leads to.
pub(super) fn patch(place: &Place, wanted: Wanted) -> Result<Entry, ApiError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    match place.open(flags, Mode::empty()) {
        Ok(fd) => set(&fd, wanted).map_err(|error| place.failed("changing", &error))?,
        Err(error) if is_special(place, &error) => {
            if wanted.mode.is_some() {
                let text = format!(
                    "the mode of '{place}' cannot be changed: it is a link or special file"
                );
                return Err(ApiError::bad_request(text));
            }
            let name = place.name().unwrap_or(".");
            place
                .parent()
                .and_then(|dir| {
                    let own = AtFlags::SYMLINK_NOFOLLOW;
                    Ok(chownat(dir, name, wanted.uid, wanted.gid, own)?)
                })
                .map_err(|error| place.failed("changing", &error))?;
        }
        Err(error) => return Err(place.failed("changing", &error)),
    }
    stat::entry(place)
}

/// Whether it is there and only cannot be opened: links, devices, sockets.
fn is_special(place: &Place, error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::LOOP | Errno::NXIO | Errno::ACCESS | Errno::OPNOTSUPP)
    ) && stat::entry(place).is_ok()
}

/// Sets what is wanted. The owner first: changing it takes the set-id bits away.
pub(super) fn set(fd: &OwnedFd, wanted: Wanted) -> io::Result<()> {
    if wanted.uid.is_some() || wanted.gid.is_some() {
        fchown(fd, wanted.uid, wanted.gid)?;
    }
    if let Some(mode) = wanted.mode {
        fchmod(fd, mode)?;
    }
    Ok(())
}

/// As [`set`], for something new: what is not said is taken from the directory it is in.
pub(super) fn furnish(fd: &OwnedFd, parent: &OwnedFd, wanted: Wanted) -> io::Result<()> {
    let above = fstat(parent)?;
    let wanted = Wanted {
        uid: wanted.uid.or(Some(rustix::fs::Uid::from_raw(above.st_uid))),
        gid: wanted.gid.or(Some(rustix::fs::Gid::from_raw(above.st_gid))),
        mode: wanted.mode,
    };
    set(fd, wanted)
}

/// Makes the directories above a place that are missing.
pub(super) fn make_parents(place: &Place, wanted: Wanted) -> io::Result<()> {
    let wanted = Wanted {
        mode: None,
        ..wanted
    };
    for depth in 1..place.depth() {
        match place.ancestor(depth) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(place, depth, wanted)?,
            other => drop(other?),
        }
    }
    Ok(())
}

/// Makes the directory of this depth. Someone may have been faster.
fn make(place: &Place, depth: usize, wanted: Wanted) -> io::Result<()> {
    let parent = place.ancestor(depth - 1)?;
    let name = place.name_at(depth);
    match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) if depth < place.depth() => return Ok(()),
        other => other?,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
    furnish(&made, &parent, wanted)
}

/// `POST /volume/dir`: with `force` also what is missing above it, and it may be there already.
pub(super) fn make_dir(place: &Place, query: &Query) -> Result<Entry, ApiError> {
    let wanted = query.wanted()?;
    let force = query.force == Some(true);
    let failed = |error: io::Error| place.failed("making directory", &error);
    let exists = |entry: Entry| {
        if force && entry.is_dir() {
            return Ok(entry);
        }
        let text = format!("path '{place}' already exists");
        Err(ApiError::new(StatusCode::CONFLICT, text))
    };
    if place.name().is_none() {
        return exists(stat::entry(place)?);
    }
    if force {
        make_parents(place, wanted).map_err(failed)?;
    }
    match make(place, place.depth(), wanted) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => exists(stat::entry(place)?),
        other => {
            other.map_err(failed)?;
            stat::entry(place)
        }
    }
}

/// Removes what is at a place, a directory with all in it. A link goes, not what it leads to.
pub(super) fn remove(place: &Place) -> Result<(), ApiError> {
    let Some(name) = place.name() else {
        return Err(ApiError::bad_request(
            "the volume itself cannot be removed here",
        ));
    };
    let work = || {
        let parent = place.parent()?;
        let about = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(about.st_mode).is_dir() {
            Ok(remove_tree(parent, name)?)
        } else {
            Ok(unlinkat(&parent, name, AtFlags::empty())?)
        }
    };
    work().map_err(|error| place.failed("removing", &error))
}

/// A directory with all in it. Every directory is entered by descriptor from the one above and no link is followed, so
/// whatever is exchanged meanwhile, nothing outside goes.
fn remove_tree(parent: OwnedFd, name: &str) -> rustix::io::Result<()> {
    // Depth first without recursion: a tree may be deeper than a helper's stack.
    let mut way: Vec<(Dir, CString)> = Vec::new();
    let mut next = Some(CString::new(name).map_err(|_| Errno::INVAL)?);
    loop {
        let here = way.last().map_or(Ok(parent.as_fd()), |(dir, _)| dir.fd())?;
        if let Some(name) = next.take() {
            match unlinkat(here, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // A directory; FreeBSD says it the second way (unlink(2)).
                Err(errno @ (Errno::ISDIR | Errno::PERM)) => {
                    let flags =
                        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let below =
                        rustix::fs::openat(here, &name, flags, Mode::empty()).map_err(|_| errno)?;
                    way.push((Dir::new(below)?, name));
                }
                Err(errno) => return Err(errno),
            }
        }
        let Some((dir, _)) = way.last_mut() else {
            return Ok(());
        };
        match dir.read() {
            Some(entry) => {
                let entry = entry?;
                next = Some(entry.file_name().to_owned()).filter(|n| !is_dots(n));
            }
            None => {
                let name = way.pop().map(|(_, name)| name).unwrap_or_default();
                let above = way.last().map_or(Ok(parent.as_fd()), |(dir, _)| dir.fd())?;
                match unlinkat(above, &name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
    }
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
