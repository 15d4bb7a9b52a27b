//! Volumes: directories that outlive sandboxes, mounted in any number of cells.
//!
//! On disk their files have ids from 0 up; each cell's mount shows them as its own.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use rustix::fs::{Gid, Mode, RenameFlags, Uid};
use warder_common::{At, Result};
use warder_wire::VolumeId;

use super::Store;
use crate::quota::bound;

/// User `user` of every template: what cells do by default, they do as it.
const OWNER: u32 = 1000;

impl Store {
    /// What each volume made from now on may hold. Whether that is enforced: where the file system has quotas.
    #[must_use]
    pub fn bound_volumes(&mut self, bytes: Option<u64>) -> bool {
        self.volume_quota = bytes;
        bytes.is_none() || self.quotas.is_some()
    }

    /// Makes an empty volume; [`Self::sync_volumes`] follows. False if there is one of that name.
    ///
    /// # Errors
    /// `NoSpace`, `System`.
    pub fn create_volume(&mut self, volume: &VolumeId) -> Result<bool> {
        if self.volumes.contains(volume) {
            return Ok(false);
        }
        // No id begins with a dot.
        let draft = format!("volumes/.{volume}");
        self.move_away(&draft)?;
        rustix::fs::mkdirat(&self.directory, &draft, Mode::RWXU).at("make a volume")?;
        let directory = self.open_dir(&draft)?;
        self.make_counted(directory.as_fd(), "data")
            .at("make a volume")?;
        let data = self.open_dir(&format!("{draft}/data"))?;
        self.set_apart(&data)?;
        if self.quotas.is_some() {
            bound(&data, self.volume_quota)?;
        }
        rustix::fs::fchown(
            &data,
            Some(Uid::from_raw(OWNER)),
            Some(Gid::from_raw(OWNER)),
        )
        .at("fchown")?;
        rustix::fs::fchmod(&data, Mode::from_raw_mode(0o755)).at("fchmod")?;
        let place = format!("volumes/{volume}");
        rustix::fs::renameat_with(
            &self.directory,
            &draft,
            &self.directory,
            place,
            RenameFlags::NOREPLACE,
        )
        .at("put a volume in place")?;
        self.volumes.insert(volume.clone());
        Ok(true)
    }

    /// Takes a volume out of use; [`Self::sync_volumes`] follows. False if there is none. No cell may mount it.
    ///
    /// # Errors
    /// `System`.
    pub fn discard_volume(&mut self, volume: &VolumeId) -> Result<bool> {
        let there = self.retire(&format!("volumes/{volume}"), "data")?;
        self.volumes.remove(volume);
        Ok(there)
    }

    /// Has it survive a loss of power that a volume was made, or that one was taken out of use. Slow: for a worker that
    /// keeps this store's descriptor.
    ///
    /// # Errors
    /// `NoSpace`, `System`.
    pub fn sync_volumes(&self, made: Option<&VolumeId>) -> Result<()> {
        let made = made.map(|volume| [content(volume), format!("volumes/{volume}")]);
        let all = made.into_iter().flatten().chain(["volumes".to_owned()]);
        for directory in all {
            rustix::fs::fsync(self.open_dir(&directory)?).at("fsync a volume")?;
        }
        Ok(())
    }

    /// Volumes there are.
    #[must_use]
    pub fn volumes(&self) -> &BTreeSet<VolumeId> {
        &self.volumes
    }

    pub(super) fn load_volumes(&mut self) -> Result<()> {
        self.sweep_drafts("volumes")?;
        let found = self.names("volumes", |name| VolumeId::new(name).ok())?;
        self.volumes = found.into_iter().collect();
        Ok(())
    }

    /// Moves what was being made in `directory` when the last owner ended to the trash.
    pub(super) fn sweep_drafts(&self, directory: &str) -> Result<()> {
        let hidden = |name: &str| match name {
            "." | ".." => None,
            name => name.starts_with('.').then(|| name.to_owned()),
        };
        for name in self.names(directory, hidden)? {
            self.move_away(&format!("{directory}/{name}"))?;
        }
        Ok(())
    }
}

/// Where a volume's content is, below the state directory.
pub(super) fn content(volume: &VolumeId) -> String {
    format!("volumes/{volume}/data")
}
