//! Volumes: datasets that outlive sandboxes, mounted in any number of cells.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown};

use warder_wire::VolumeId;

use crate::calls::{self, KIND};
use crate::error::{At, Result};
use crate::listing::Kind;
use crate::names::Place;
use crate::store::{Host, Store};

/// User `user` of every template: what cells do by default, they do as it.
const OWNER: u32 = 1000;

impl<H: Host> Store<H> {
    /// What each volume made from now on may hold, in bytes (zfsprops(7), refquota).
    pub fn bound_volumes(&mut self, bytes: Option<u64>) {
        self.volume_quota = bytes;
    }

    /// Takes note of a volume; [`Self::sync_volumes`] makes it. False if there is one of that name.
    pub fn create_volume(&mut self, volume: &VolumeId) -> bool {
        self.volumes.insert(volume.clone())
    }

    /// Takes a volume out of use; [`Self::sync_volumes`] follows. False if there is none. No cell may mount it.
    ///
    /// # Errors
    /// `File`.
    pub fn discard_volume(&mut self, volume: &VolumeId) -> Result<bool> {
        if !self.volumes.remove(volume) {
            return Ok(false);
        }
        self.at.files.discard(&Place::volume(volume).to_string())?;
        Ok(true)
    }

    /// Makes a volume, or has it survive a loss of power that one was taken out of use. Slow.
    ///
    /// # Errors
    /// [`crate::ZfsError`].
    pub fn sync_volumes(&self, made: Option<&VolumeId>) -> Result<()> {
        let Some(volume) = made else {
            return self.at.files.sync("trash");
        };
        let place = Place::volume(volume);
        let quota = self.volume_quota.map(|bytes| bytes.to_string());
        let mut properties = vec![(KIND, Kind::Draft.as_str())];
        properties.extend(quota.iter().map(|quota| ("refquota", quota.as_str())));
        let path = self.at.make(&place, &properties)?;
        chown(&path, Some(OWNER), Some(OWNER)).at("chown")?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).at("chmod")?;
        let dataset = self.at.layout.dataset(&place);
        let whole = calls::set(&dataset, &[(KIND, Kind::Volume.as_str())]);
        self.at.run(&whole, &dataset).map(drop)
    }

    /// Volumes there are.
    #[must_use]
    pub fn volumes(&self) -> &BTreeSet<VolumeId> {
        &self.volumes
    }
}
