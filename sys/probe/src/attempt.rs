//! What an attempt is, and what comes of one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::call::{self, Arg};

/// What came of an attempt, as the kernel put it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    /// Whether the sandbox held.
    pub holds: bool,
    /// The kernel's answer, in a line.
    pub seen: String,
}

impl Said {
    /// It held.
    #[must_use]
    pub fn held(seen: impl Into<String>) -> Self {
        Self {
            holds: true,
            seen: seen.into(),
        }
    }

    /// It did not.
    #[must_use]
    pub fn broke(seen: impl Into<String>) -> Self {
        Self {
            holds: false,
            seen: seen.into(),
        }
    }

    /// It held if the attempt failed with one of `refusals`, numbers of errno(2) or intro(2).
    #[must_use]
    pub fn of<T: Into<String>>(tried: io::Result<T>, refusals: &[i32]) -> Self {
        match tried {
            Ok(done) => Self::broke(done),
            Err(error) => Self {
                holds: error.raw_os_error().is_some_and(|n| refusals.contains(&n)),
                seen: errno_name(&error),
            },
        }
    }
}

/// An error's own name, where it is one that attempts meet.
#[must_use]
pub(crate) fn errno_name(error: &io::Error) -> String {
    const NAMES: [(i32, &str); 26] = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::EBADF, "EBADF"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::EROFS, "EROFS"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ELOOP, "ELOOP"),
        (libc::ENOTSUP, "ENOTSUP"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (libc::ENETUNREACH, "ENETUNREACH"),
        (libc::EHOSTUNREACH, "EHOSTUNREACH"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::EPROTOTYPE, "EPROTOTYPE"),
    ];
    let number = error.raw_os_error();
    let known = NAMES.iter().find(|(n, _)| Some(*n) == number);
    known.map_or_else(|| error.to_string(), |(_, name)| (*name).to_owned())
}

/// Who makes an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Who {
    /// Root in the sandbox and its user.
    Both,
    /// The user alone: for root it is no escape.
    User,
}

/// One attempt.
#[derive(Debug)]
pub struct Attempt {
    /// A word, unique on its kernel.
    pub name: &'static str,
    /// What is tried, for a reader.
    pub tries: &'static str,
    /// Who has to be refused.
    pub who: Who,
    pub(crate) act: Act,
}

#[derive(Debug)]
pub(crate) enum Act {
    /// A system call that has to fail with one of these.
    Call(i64, &'static [Arg], &'static [i32]),
    /// Several, each of which has to.
    Calls(
        &'static [(&'static str, i64, &'static [Arg])],
        &'static [i32],
    ),
    /// Files and devices that must not open for reading anything or for writing.
    Open(&'static [&'static str]),
    /// Files that must not open for writing.
    #[cfg(target_os = "linux")]
    Write(&'static [&'static str]),
    /// Anything else.
    Do(fn() -> Said),
}

impl Attempt {
    pub(crate) const fn new(name: &'static str, tries: &'static str, act: Act) -> Self {
        Self {
            name,
            tries,
            who: Who::Both,
            act,
        }
    }

    pub(crate) const fn users(self) -> Self {
        Self {
            who: Who::User,
            ..self
        }
    }

    /// Makes it.
    #[must_use]
    pub fn make(&self) -> Said {
        match self.act {
            Act::Call(number, args, refusals) => Said::of(
                call::call(number, args).map(|n| format!("answered {n}")),
                refusals,
            ),
            Act::Calls(calls, refusals) => {
                let mut all = Vec::new();
                for (what, number, args) in calls {
                    let said = Said::of(
                        call::call(*number, args).map(|n| format!("answered {n}")),
                        refusals,
                    );
                    if !said.holds {
                        return Said::broke(format!("{what}: {}", said.seen));
                    }
                    all.push(format!("{what} {}", said.seen));
                }
                Said::held(all.join(", "))
            }
            Act::Open(paths) => closed(paths, opens),
            #[cfg(target_os = "linux")]
            Act::Write(paths) => closed(paths, |path| opens_for_writing(Path::new(path))),
            Act::Do(what) => what(),
        }
    }
}

/// How a path can be used although it must not be; `None` when it cannot.
pub(crate) fn opens(path: &str) -> Option<String> {
    let open = |options: &mut OpenOptions| options.custom_flags(libc::O_NONBLOCK).open(path);
    if let Ok(mut file) = open(OpenOptions::new().read(true))
        && !is_null(&file)
    {
        // A file that shows nothing is as good as none.
        let mut byte = [0];
        match file.read(&mut byte) {
            Ok(0) => {}
            Ok(_) => return Some(format!("{path} can be read")),
            Err(error) if error.raw_os_error() == Some(libc::EISDIR) => {}
            Err(error)
                if file.metadata().is_ok_and(|m| {
                    m.file_type().is_char_device() || m.file_type().is_block_device()
                }) =>
            {
                return Some(format!("{path} opens ({})", errno_name(&error)));
            }
            Err(_) => {}
        }
    }
    opens_for_writing(Path::new(path))
}

/// How a path can be written to; `None` when it cannot.
pub(crate) fn opens_for_writing(path: &Path) -> Option<String> {
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    match opened {
        Ok(file) if !is_null(&file) => Some(format!("{} opens for writing", path.display())),
        _ => None,
    }
}

/// Holds when none of the paths can be used.
fn closed(paths: &[&str], used: fn(&str) -> Option<String>) -> Said {
    let broken = paths.iter().find_map(|path| used(path));
    broken.map_or_else(
        || Said::held(format!("{} closed", paths.len())),
        Said::broke,
    )
}

/// Whether it is /dev/null, which may stand in for a file that is hidden.
fn is_null(file: &File) -> bool {
    let number = |m: std::fs::Metadata| m.rdev();
    match (
        file.metadata().map(number),
        std::fs::metadata("/dev/null").map(number),
    ) {
        (Ok(one), Ok(null)) => one == null && one != 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opens_is_told() {
        let file = std::env::temp_dir().join(format!("warder-probe-{}", std::process::id()));
        std::fs::write(&file, "x").expect("a temporary file");
        let path = file.to_str().expect("plain");
        assert_eq!(opens(path), Some(format!("{path} can be read")));
        std::fs::remove_file(&file).expect("ours");
        assert_eq!(opens(path), None);
        assert_eq!(opens("/dev/null"), None);
        let refused = io::Error::from_raw_os_error(libc::EPERM);
        assert_eq!(
            Said::of::<String>(Err(refused), &[libc::EPERM]),
            Said::held("EPERM")
        );
        let other = io::Error::from_raw_os_error(libc::EINVAL);
        assert!(!Said::of::<String>(Err(other), &[libc::EPERM]).holds);
        assert!(!Said::of(Ok("done"), &[libc::EPERM]).holds);
    }
}
