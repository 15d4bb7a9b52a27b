//! Why storage failed, by dataset, with what to do about it.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use warder_common::{HostError, Said};
use warder_tool::{Call, ToolError};

/// A result of this crate.
pub type Result<T> = std::result::Result<T, ZfsError>;

/// Why an operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum ZfsError {
    /// The state directory is on another file system, and no dataset is named.
    #[error(
        "{} is not on ZFS (but on {kind}) and `zfs_dataset` names no dataset: `zfs create -o mountpoint=none POOL/warder`, then \
         `zfs_dataset POOL/warder` in warder.conf; on a host without a pool, first `truncate -s 20g /var/db/warder.img` and \
         `zpool create -O mountpoint=none POOL /var/db/warder.img`, with zfs_enable=\"YES\" in /etc/rc.conf",
        state_dir.display()
    )]
    NotZfs {
        /// The state directory.
        state_dir: PathBuf,
        /// The kind of its file system.
        kind: String,
    },
    /// A name that cannot be a dataset's.
    #[error(
        "`{0}` is no name for `zfs_dataset`: POOL/NAME of letters, digits, `-`, `_`, `.` and `:`, at most 128 bytes"
    )]
    BadName(String),
    /// A dataset is not there: the one that was named, or its pool.
    #[error(
        "dataset {dataset} does not exist: `zfs create -o mountpoint=none {dataset}`, after `zpool import` if its pool is not there"
    )]
    Missing {
        /// The dataset.
        dataset: String,
    },
    /// A name that is needed is taken.
    #[error(
        "dataset {dataset} exists and is not this instance's (it lacks org.warder:tag={tag}): rename it, or name another \
         `zfs_dataset`"
    )]
    Foreign {
        /// The dataset.
        dataset: String,
        /// The tag of this instance.
        tag: String,
    },
    /// Something else is mounted where a tree belongs.
    #[error("{from} is mounted on {}, where {dataset} belongs: unmount it", path.display())]
    Covered {
        /// The dataset.
        dataset: String,
        /// What is there.
        from: String,
        /// The place.
        path: PathBuf,
    },
    /// It is in use.
    #[error("dataset {dataset} is busy: {words}")]
    Busy {
        /// The dataset.
        dataset: String,
        /// What zfs(8) said.
        words: String,
    },
    /// The pool is full, or a quota above the instance's dataset is reached.
    #[error(
        "no space left for dataset {dataset}: {words} (see `zfs list -o space {dataset}` and those above it)"
    )]
    Full {
        /// The dataset.
        dataset: String,
        /// What zfs(8) said.
        words: String,
    },
    /// The pool is read-only, suspended or not there.
    #[error("the pool of dataset {dataset} cannot be used: {words} (see `zpool status -x`)")]
    Pool {
        /// The dataset.
        dataset: String,
        /// What zfs(8) said.
        words: String,
    },
    /// zfs(8) failed in another way.
    #[error("storage")]
    Tool(#[source] ToolError),
    /// A listing is not of the form that zfs-list(8) promises.
    #[error("`zfs list` printed a line that is not understood: {0:?}")]
    Listing(String),
    /// A mount failed.
    #[error("cannot {what} dataset {dataset} at {}", path.display())]
    Mount {
        /// Mount or unmount.
        what: &'static str,
        /// The dataset.
        dataset: String,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        errno: io::Error,
    },
    /// A file operation failed.
    #[error("{what}")]
    File {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        #[source]
        errno: io::Error,
    },
    /// The caller passed something this operation does not take.
    #[error("{0}")]
    Invalid(&'static str),
}

impl ZfsError {
    /// Whether there is no space left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let full = |errno: &io::Error| {
            let kind = errno.kind();
            matches!(
                kind,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        };
        match self {
            Self::Full { .. } => true,
            Self::File { errno, .. } | Self::Mount { errno, .. } => full(errno),
            _ => false,
        }
    }

    /// What a failed `call` on `dataset` means, by what zfs(8) said (the texts are those of libzfs, which has no other way to
    /// say it).
    pub(crate) fn of(call: &Call, dataset: &str, error: ToolError) -> Self {
        let words = error.words();
        let says = |texts: &[&str]| texts.iter().any(|text| words.contains(text));
        let dataset = dataset.to_owned();
        // `zfs create` of one whose parent is not there names the parent so.
        let missing = says(&[
            "dataset does not exist",
            "no such pool",
            "parent does not exist",
        ]);
        let what = words.to_owned();
        if error.code().is_none() {
            Self::Tool(error)
        } else if says(&["out of space"]) {
            Self::Full {
                dataset,
                words: what,
            }
        } else if says(&[
            "is busy",
            "has children",
            "has dependent clones",
            "unmount failed",
        ]) {
            Self::Busy {
                dataset,
                words: what,
            }
        } else if says(&[
            "read-only",
            "suspended",
            "pool is unavailable",
            "temporarily unavailable",
        ]) {
            Self::Pool {
                dataset,
                words: what,
            }
        } else if missing && call.args().first().is_some_and(|arg| arg != "promote") {
            Self::Missing { dataset }
        } else {
            Self::Tool(error)
        }
    }

    /// Whether zfs(8) said that a dataset exists already.
    pub(crate) fn says_exists(&self) -> bool {
        matches!(self, Self::Tool(error) if error.words().contains("already exists"))
    }
}

/// Names what was tried with a file.
pub(crate) trait At<T> {
    fn at(self, what: &'static str) -> Result<T>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, what: &'static str) -> Result<T> {
        self.map_err(|errno| ZfsError::File {
            what,
            errno: errno.into(),
        })
    }
}

impl<T> At<T> for io::Result<T> {
    fn at(self, what: &'static str) -> Result<T> {
        self.map_err(|errno| ZfsError::File { what, errno })
    }
}

impl From<ZfsError> for HostError {
    fn from(error: ZfsError) -> Self {
        let call = "storage";
        if let ZfsError::Invalid(why) = error {
            return Self::Invalid(why);
        }
        let text = sentence(&error);
        if error.is_full() {
            // Which dataset is full has no place in it.
            eprintln!("{call}: {text}");
            return Self::NoSpace { call };
        }
        let errno = match error {
            ZfsError::Missing { .. } | ZfsError::NotZfs { .. } => Errno::NOENT,
            ZfsError::Foreign { .. } | ZfsError::Covered { .. } => Errno::EXIST,
            ZfsError::Busy { .. } => Errno::BUSY,
            _ => Errno::IO,
        };
        Self::System {
            call,
            errno: Said { errno, text }.into(),
        }
    }
}

/// An error with all its causes.
#[must_use]
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use warder_tool::Tool;

    fn of(args: &[&str], code: i32, words: &str) -> ZfsError {
        let call = Call::new(Tool::Zfs, args.iter().copied());
        ZfsError::of(&call, "tank/w/x", ToolError::failed(&call, code, words))
    }

    #[test]
    fn what_zfs_says_is_understood() {
        let clone = ["clone", "tank/w/t@1", "tank/w/x"];
        let full = of(&clone, 1, "cannot create 'tank/w/x': out of space");
        assert!(full.is_full());
        assert!(full.to_string().contains("tank/w/x"), "{full}");
        for words in [
            "cannot unmount '/x': pool or dataset is busy",
            "cannot destroy 'tank/w/x': dataset is busy",
            "cannot destroy 'tank/w/x': filesystem has children\nuse '-r' to destroy the following datasets:",
            "cannot destroy 'tank/w/x': filesystem has dependent clones",
        ] {
            assert!(
                matches!(of(&["destroy", "x"], 1, words), ZfsError::Busy { .. }),
                "{words}"
            );
        }
        for words in [
            "cannot create 'tank/w/x': pool is read-only",
            "cannot open 'tank/w/x': pool I/O is currently suspended",
        ] {
            assert!(
                matches!(of(&clone, 1, words), ZfsError::Pool { .. }),
                "{words}"
            );
        }
        // zfs(8) of FreeBSD 15.1 prints, of a dataset, of a snapshot and of a pool, and zpool(8).
        for words in [
            "cannot open 'tank/w/x': dataset does not exist",
            "cannot open 'tank/w@x': dataset does not exist",
            "cannot open 'tank': dataset does not exist",
            "cannot open 'tank': no such pool",
        ] {
            let missing = of(&["list", "x"], 1, words);
            assert!(matches!(missing, ZfsError::Missing { .. }), "{words}");
        }
        assert!(
            of(
                &clone,
                1,
                "cannot create 'tank/w/x': dataset already exists"
            )
            .says_exists()
        );
        let other = of(&clone, 2, "invalid option 'q'");
        assert!(matches!(other, ZfsError::Tool(_)));
    }
}
