//! A path in a volume.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use http::StatusCode;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use warder_guest_sys::inside;

use crate::http::ApiError;

/// Longest path in bytes.
const LONGEST: usize = 4096;

/// A volume and names below it; without names, the volume itself.
#[derive(Debug)]
pub(super) struct Place {
    root: File,
    names: Vec<String>,
}

/// The path as the client knows it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.names.join("/"))
    }
}

impl Place {
    /// `.` and `..` are taken out of `path` by text alone.
    pub(super) fn new(root: &str, path: &str) -> Result<Self, ApiError> {
        if path.contains('\0') || path.len() > LONGEST {
            return Err(ApiError::bad_request(format_args!(
                "a path has {LONGEST} bytes at most and no zero byte"
            )));
        }
        let mut names = Vec::new();
        for name in path.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    names.pop();
                }
                name => names.push(name.to_owned()),
            }
        }
        let root = File::open(root).map_err(|error| ApiError::io("no volume", &error))?;
        Ok(Self { root, names })
    }

    /// Its last name; none for the volume itself.
    pub(super) fn name(&self) -> Option<&str> {
        self.names.last().map(String::as_str)
    }

    /// How many names.
    pub(super) fn depth(&self) -> usize {
        self.names.len()
    }

    fn relative(&self, depth: usize) -> PathBuf {
        let names = self.names.iter().take(depth);
        if depth == 0 {
            PathBuf::from(".")
        } else {
            names.collect()
        }
    }

    /// Opens it.
    pub(super) fn open(&self, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        self.open_path(&self.relative(self.depth()), flags, mode)
    }

    /// Opens a path below the volume.
    pub(super) fn open_path(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        inside::open(self.root.as_fd(), path, flags, mode)
    }

    /// The directory made of its first names, to work in.
    pub(super) fn ancestor(&self, depth: usize) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.open_path(&self.relative(depth), flags, Mode::empty())
    }

    /// The directory it is in.
    pub(super) fn parent(&self) -> io::Result<OwnedFd> {
        self.ancestor(self.depth().saturating_sub(1))
    }

    /// Its name at this depth, from 1.
    pub(super) fn name_at(&self, depth: usize) -> &str {
        &self.names[depth - 1]
    }

    /// What went wrong there, for the client.
    pub(super) fn failed(&self, what: &str, error: &io::Error) -> ApiError {
        let path = self.to_string();
        let status = match Errno::from_io_error(error) {
            Some(Errno::NOENT | Errno::NOTDIR) => {
                let text = format!("path '{path}' does not exist");
                return ApiError::new(StatusCode::NOT_FOUND, text);
            }
            Some(Errno::EXIST | Errno::NOTEMPTY | Errno::BUSY) => StatusCode::CONFLICT,
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => StatusCode::FORBIDDEN,
            // An owner this volume cannot have is invalid or does not fit.
            Some(Errno::INVAL | Errno::OVERFLOW | Errno::XDEV | Errno::NXIO) => {
                StatusCode::BAD_REQUEST
            }
            _ => return ApiError::io(format_args!("{what} '{path}'"), error),
        };
        ApiError::new(status, format_args!("{what} '{path}': {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_what_they_say() {
        let of = |path: &str| Place::new("/", path).expect(path).to_string();
        for (given, want) in [
            ("", "/"),
            ("/", "/"),
            ("a/b", "/a/b"),
            ("//a/./b/", "/a/b"),
            ("/a/../../b", "/b"),
        ] {
            assert_eq!(of(given), want, "{given}");
        }
        assert!(Place::new("/", "a\0b").is_err());
        assert!(Place::new("/", &"x".repeat(LONGEST + 1)).is_err());
    }
}
