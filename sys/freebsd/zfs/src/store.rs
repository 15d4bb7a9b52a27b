//! The store: what is in memory of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use warder_tool::{Call, Output, Run};
use warder_wire::{SandboxId, TemplateName, VolumeId};

use crate::calls;
use crate::error::{At, Result, ZfsError};
use crate::files::Files;
use crate::listing::{self, Row};
use crate::names::{Layout, Place};
use crate::plan::Base;
use crate::record::Record;

/// The file system that a path lies in (statfs(2)).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lies {
    /// Its kind: `zfs`, `ufs`.
    pub kind: String,
    /// What is mounted: a dataset.
    pub from: String,
    /// Where.
    pub on: PathBuf,
    /// Bytes free for everybody.
    pub free: u64,
}

/// What only the system itself can do.
pub trait Host: Run + Clone {
    /// The file system that a path lies in.
    ///
    /// # Errors
    /// Those of statfs(2).
    fn lies(&self, path: &Path) -> io::Result<Lies>;

    /// Mounts a dataset on a directory (nmount(2)), with the options that its properties say.
    ///
    /// # Errors
    /// Those of nmount(2); `EBUSY` when it is mounted already.
    fn mount(&self, dataset: &str, on: &Path) -> io::Result<()>;

    /// Unmounts what is mounted on a directory, by force (unmount(2)).
    ///
    /// # Errors
    /// Those of unmount(2).
    fn unmount(&self, on: &Path) -> io::Result<()>;

    /// What is mounted below a directory, what was mounted first in front (getfsstat(2)).
    ///
    /// # Errors
    /// Those of getfsstat(2).
    fn mounts_below(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
}

/// An instance's storage.
#[derive(Debug)]
pub struct Store<H> {
    pub(crate) at: Site<H>,
    pub(crate) templates: BTreeMap<TemplateName, Base>,
    /// Templates being made, by their stamps.
    pub(crate) drafts: BTreeMap<TemplateName, u64>,
    pub(crate) sandboxes: BTreeMap<SandboxId, Record>,
    pub(crate) volumes: BTreeSet<VolumeId>,
    /// What a new one may hold, in bytes.
    pub(crate) volume_quota: Option<u64>,
    /// Clones that no record names were found when it was opened.
    pub(crate) orphans: bool,
}

/// Host, datasets and files of an instance: all that its commands need.
#[derive(Clone, Debug)]
pub(crate) struct Site<H> {
    pub(crate) host: H,
    pub(crate) layout: Layout,
    pub(crate) files: Files,
}

impl<H: Host> Site<H> {
    /// Runs a command that is about `dataset`.
    pub(crate) fn run(&self, call: &Call, dataset: &str) -> Result<Output> {
        let run = self.host.run(call);
        run.map_err(|error| ZfsError::of(call, dataset, error))
    }

    /// Everything that is there.
    pub(crate) fn list(&self) -> Result<Vec<Row>> {
        self.list_below(self.layout.root())
    }

    pub(crate) fn list_below(&self, dataset: &str) -> Result<Vec<Row>> {
        let output = self.run(&calls::list(dataset), dataset)?;
        listing::parse(&output.text())
    }

    /// One property of a dataset, which may be none.
    pub(crate) fn property(&self, name: &str, dataset: &str) -> Result<String> {
        let output = self.run(&calls::get(name, dataset), dataset)?;
        Ok(output.text().trim().to_owned())
    }

    /// Has a dataset mounted where it belongs. False if it was already.
    pub(crate) fn mount(&self, dataset: &str, path: &Path) -> Result<bool> {
        if self.is_mounted(dataset, path)? {
            return Ok(false);
        }
        std::fs::create_dir_all(path).at("make a mount point")?;
        match self.host.mount(dataset, path) {
            Ok(()) => Ok(true),
            // By somebody else, meanwhile: volumes are mounted by whichever cell comes first.
            Err(_) if self.is_mounted(dataset, path)? => Ok(false),
            Err(errno) => Err(ZfsError::Mount {
                what: "mount",
                dataset: dataset.to_owned(),
                path: path.to_owned(),
                errno,
            }),
        }
    }

    /// Has nothing mounted there, and the mount point removed.
    pub(crate) fn unmount(&self, dataset: &str, path: &Path) -> Result<()> {
        if self.is_mounted(dataset, path)? {
            self.host.unmount(path).map_err(|errno| ZfsError::Mount {
                what: "unmount",
                dataset: dataset.to_owned(),
                path: path.to_owned(),
                errno,
            })?;
        }
        // It is made again for the next one; where something is in it, it stays.
        let _ = std::fs::remove_dir(path);
        Ok(())
    }

    pub(crate) fn is_mounted(&self, dataset: &str, path: &Path) -> Result<bool> {
        let lies = match self.host.lies(path) {
            Ok(lies) => lies,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e).at("look at a mount point"),
        };
        if lies.on != path {
            return Ok(false);
        }
        if lies.from != dataset {
            return Err(ZfsError::Covered {
                dataset: dataset.to_owned(),
                from: lies.from,
                path: path.to_owned(),
            });
        }
        Ok(true)
    }

    /// Makes an empty dataset and mounts it; its tree.
    pub(crate) fn make(&self, place: &Place, properties: &[(&str, &str)]) -> Result<PathBuf> {
        let dataset = self.layout.dataset(place);
        self.run(&calls::create(&self.layout, place, properties), &dataset)?;
        let path = self.layout.path(place);
        self.mount(&dataset, &path)?;
        Ok(path)
    }
}

impl<H: Host> Store<H> {
    /// Writes everything out, not to the intent log only: a worker's job.
    ///
    /// # Errors
    /// What zpool(8) says.
    pub fn sync(&self) -> Result<()> {
        // Where the store's own files are, too.
        rustix::fs::sync();
        let pool = self.at.layout.pool();
        self.at.run(&calls::sync(pool), pool).map(drop)
    }

    /// Unmounts everything, when no sandbox is left; it is mounted again when the store is opened.
    ///
    /// # Errors
    /// Those of unmount(2).
    pub fn close(&self) -> Result<()> {
        let (host, layout) = (&self.at.host, &self.at.layout);
        let below = host.mounts_below(layout.mountpoint());
        for path in below.at("list mounts")?.iter().rev() {
            host.unmount(path).at("unmount a tree or volume")?;
        }
        self.at.unmount(layout.root(), layout.mountpoint())
    }

    /// Bytes free for everybody where sandboxes write, and in all: what is free and what the instance used when last
    /// measured.
    ///
    /// # Errors
    /// Those of statfs(2).
    pub fn room(&self) -> Result<(u64, u64)> {
        let layout = &self.at.layout;
        // Or it would be another file system's.
        if !self.at.is_mounted(layout.root(), layout.mountpoint())? {
            return Err(ZfsError::Invalid(
                "the instance's dataset is not mounted any more",
            ));
        }
        let lies = self.at.host.lies(layout.mountpoint());
        let free = lies.at("statfs")?.free;
        Ok((free, free.saturating_add(self.used_by("").unwrap_or(0))))
    }
}

/// A number no other dataset has: two in one nanosecond do not get far.
pub(crate) fn stamp() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
