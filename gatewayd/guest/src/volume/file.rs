//! Contents of files.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use http::{HeaderValue, Request, Response, StatusCode, header};
use rustix::fs::{FileType, Mode, OFlags, fstat, ftruncate};
use rustix::io::Errno;

use super::change::{furnish, make_parents, set};
use super::helped;
use super::place::Place;
use super::query::{Query, Wanted};
use super::stat::{self, Entry};
use crate::files::{Sink, Source, plain};
use crate::http::{ApiError, Body, RequestBody};

fn regular(place: &Place, fd: &OwnedFd) -> Result<(), ApiError> {
    let about = fstat(fd).map_err(|errno| place.failed("opening", &errno.into()))?;
    match FileType::from_raw_mode(about.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(is_directory(place)),
        _ => Err(ApiError::bad_request(format_args!(
            "path '{place}' is not a regular file"
        ))),
    }
}

fn is_directory(place: &Place) -> ApiError {
    ApiError::bad_request(format_args!("path '{place}' is a directory"))
}

/// `GET /volume/file`, whole or in part.
pub(super) async fn get(
    place: Place,
    request: Request<RequestBody>,
) -> Result<Response<Body>, ApiError> {
    let opened = helped(move || {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = place.open(flags, Mode::empty());
        let fd = fd.map_err(|error| place.failed("opening", &error))?;
        regular(&place, &fd)?;
        Ok((place, File::from(fd)))
    });
    let (place, file) = opened.await?;
    let answer = plain(file, request.headers()).await;
    let mut answer = answer.map_err(|error| place.failed("reading", &error))?;
    let headers = answer.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(answer)
}

/// `PUT /volume/file`. What is there is overwritten, unless `force` is given as false; with it, missing
/// directories are made.
pub(super) async fn put(
    place: Place,
    query: Query,
    request: Request<RequestBody>,
) -> Result<Entry, ApiError> {
    let wanted = query.wanted()?;
    let force = query.force;
    let mut source = Source::new(request)?;
    let (place, fd) = helped(move || {
        let fd = open(&place, wanted, force)?;
        Ok((place, fd))
    })
    .await?;
    let mut sink = Sink::new(place.to_string().into(), File::from(fd));
    while let Some(chunk) = source.chunk().await? {
        sink.write(chunk).await?;
    }
    sink.close().await?;
    helped(move || stat::entry(&place)).await
}

fn open(place: &Place, wanted: Wanted, force: Option<bool>) -> Result<OwnedFd, ApiError> {
    let failed = |error: io::Error| place.failed("opening", &error);
    if place.name().is_none() {
        return Err(is_directory(place));
    }
    if force == Some(true) {
        make_parents(place, wanted).map_err(failed)?;
    }
    let parent = place.parent().map_err(failed)?;
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fresh = flags | OFlags::CREATE | OFlags::EXCL;
    let new = wanted.mode.unwrap_or(Mode::from_raw_mode(0o644));
    match place.open(fresh, new) {
        Ok(fd) => {
            // Said once more, as a mask may have taken some of it away.
            let wanted = Wanted {
                mode: Some(new),
                ..wanted
            };
            furnish(&fd, &parent, wanted).map_err(failed)?;
            Ok(fd)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && force != Some(false) => {
            // Through a link that leads nowhere yet a file can still be made.
            let fd = place.open(flags | OFlags::CREATE, new);
            let fd = fd.map_err(|error| match Errno::from_io_error(&error) {
                Some(Errno::ISDIR) => is_directory(place),
                _ => failed(error),
            })?;
            regular(place, &fd)?;
            set(&fd, wanted).map_err(failed)?;
            ftruncate(&fd, 0).map_err(|errno| failed(errno.into()))?;
            Ok(fd)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(ApiError::new(
            StatusCode::CONFLICT,
            format_args!("path '{place}' already exists"),
        )),
        Err(error) => Err(failed(error)),
    }
}
