//! Names of datasets. All are made here, of identifiers that can hold neither `/` nor `@`.

use std::fmt;
use std::path::{Path, PathBuf};

use warder_wire::{InstanceTag, SandboxId, TemplateName, VolumeId};

use crate::error::{Result, ZfsError};

/// Longest name of the dataset an instance lies in: what lies below it stays within `ZFS_MAX_DATASET_NAME_LEN`
/// (256, its zero included).
const MOST_PARENT: usize = 128;

/// The three datasets that hold all others.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Shelf {
    Templates,
    Sandboxes,
    Volumes,
}

impl Shelf {
    pub(crate) const ALL: [Self; 3] = [Self::Templates, Self::Sandboxes, Self::Volumes];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Templates => "templates",
            Self::Sandboxes => "sandboxes",
            Self::Volumes => "volumes",
        }
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A dataset that holds a tree, as its place below the instance's own: `sandboxes/ID`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    pub(crate) shelf: Shelf,
    pub(crate) leaf: String,
}

impl Place {
    /// One version of a template.
    pub(crate) fn template(name: &TemplateName, stamp: u64) -> Self {
        Self {
            shelf: Shelf::Templates,
            leaf: format!("{name}.{stamp}"),
        }
    }

    pub(crate) fn sandbox(id: &SandboxId) -> Self {
        Self {
            shelf: Shelf::Sandboxes,
            leaf: id.to_string(),
        }
    }

    pub(crate) fn volume(id: &VolumeId) -> Self {
        Self {
            shelf: Shelf::Volumes,
            leaf: id.to_string(),
        }
    }

    /// Template and stamp of a template's leaf.
    pub(crate) fn version(&self) -> Option<(TemplateName, u64)> {
        let (name, stamp) = self.leaf.split_once('.')?;
        let name = TemplateName::new(name).ok()?;
        let plain = stamp.bytes().all(|b| b.is_ascii_digit());
        let stamp = stamp.parse().ok().filter(|_| plain)?;
        (self.shelf == Shelf::Templates).then_some((name, stamp))
    }

    pub(crate) fn sandbox_id(&self) -> Option<SandboxId> {
        let id = SandboxId::new(&self.leaf).ok();
        id.filter(|_| self.shelf == Shelf::Sandboxes)
    }

    pub(crate) fn volume_id(&self) -> Option<VolumeId> {
        let id = VolumeId::new(&self.leaf).ok();
        id.filter(|_| self.shelf == Shelf::Volumes)
    }

    /// Whether the leaf is a name that this crate gives.
    pub(crate) fn is_ours(&self) -> bool {
        match self.shelf {
            Shelf::Templates => self.version().is_some(),
            Shelf::Sandboxes => self.sandbox_id().is_some(),
            Shelf::Volumes => self.volume_id().is_some(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.shelf, self.leaf)
    }
}

/// Where an instance's datasets are, and where they are mounted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Layout {
    root: String,
    mountpoint: PathBuf,
}

impl Layout {
    /// Below the dataset `parent`, mounted below `state_dir`.
    pub(crate) fn new(parent: &str, tag: InstanceTag, state_dir: &Path) -> Result<Self> {
        check(parent)?;
        if state_dir.to_str().is_none() {
            return Err(ZfsError::Invalid("the state directory's name is not UTF-8"));
        }
        Ok(Self {
            root: format!("{parent}/warder-{tag}"),
            mountpoint: state_dir.join("zfs"),
        })
    }

    /// The instance's own dataset.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// The dataset it lies in.
    pub(crate) fn parent(&self) -> &str {
        self.root.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    /// The pool.
    pub(crate) fn pool(&self) -> &str {
        self.root.split('/').next().unwrap_or_default()
    }

    /// Where the instance's own dataset is mounted.
    pub(crate) fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    pub(crate) fn shelf(&self, shelf: Shelf) -> String {
        format!("{}/{shelf}", self.root)
    }

    pub(crate) fn dataset(&self, place: &Place) -> String {
        format!("{}/{place}", self.root)
    }

    pub(crate) fn snapshot(&self, place: &Place, stamp: u64) -> String {
        format!("{}/{place}@{stamp}", self.root)
    }

    /// Where a dataset's tree is mounted.
    pub(crate) fn path(&self, place: &Place) -> PathBuf {
        self.mountpoint.join(place.shelf.as_str()).join(&place.leaf)
    }

    /// The place that a dataset's name stands for; what lies deeper is none.
    pub(crate) fn place(&self, dataset: &str) -> Option<Place> {
        let below = dataset.strip_prefix(&self.root)?.strip_prefix('/')?;
        let (shelf, leaf) = below.split_once('/')?;
        let shelf = Shelf::ALL.into_iter().find(|s| s.as_str() == shelf)?;
        let plain = !leaf.is_empty() && !leaf.contains(['/', '@']);
        plain.then(|| Place {
            shelf,
            leaf: leaf.to_owned(),
        })
    }
}

/// Whether a text can be the name of a dataset to make others in (zfsconcepts(7), zfs-create(8)). Spaces, which ZFS takes
/// too, are refused.
fn check(dataset: &str) -> Result<()> {
    let plain = |part: &str| {
        let first = part.bytes().next();
        first.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    if dataset.len() > MOST_PARENT || !dataset.split('/').all(plain) {
        return Err(ZfsError::BadName(dataset.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let tag = InstanceTag::of_state_dir(b"a");
        Layout::new("tank/warder", tag, Path::new("/var/db/warder")).expect("good")
    }

    #[test]
    fn names_go_both_ways() {
        let layout = layout();
        assert_eq!(layout.root(), "tank/warder/warder-e40c292c");
        assert_eq!((layout.parent(), layout.pool()), ("tank/warder", "tank"));
        let name = TemplateName::new("base").expect("a name");
        let place = Place::template(&name, 17);
        assert_eq!(
            layout.snapshot(&place, 17),
            "tank/warder/warder-e40c292c/templates/base.17@17"
        );
        assert_eq!(
            layout.path(&place),
            Path::new("/var/db/warder/zfs/templates/base.17")
        );
        assert_eq!(layout.place(&layout.dataset(&place)), Some(place.clone()));
        assert_eq!(place.version(), Some((name, 17)));
        for other in [
            "tank/warder",
            "tank/warder/warder-e40c292c",
            "tank/warder/warder-e40c292c/templates",
            "tank/warder/warder-e40c292c/templates/base.17/deeper",
            "tank/warder/warder-e40c292c/templates/base.17@17",
            "tank/warder/warder-e40c292c/elsewhere/x",
            "tank/warder/warder-e40c292cx/templates/base.17",
        ] {
            assert_eq!(layout.place(other), None, "{other}");
        }
    }

    #[test]
    fn a_leaf_of_somebody_else_is_not_ours() {
        let ours = |name: &str| {
            let place = layout().place(&format!("{}/{name}", layout().root()));
            place.expect("a place").is_ours()
        };
        assert!(ours("templates/base.17"));
        assert!(ours("sandboxes/iabcdefghij0123456789"));
        assert!(ours("volumes/vabcdefghij0123456789"));
        for name in [
            "templates/base",
            "templates/base.+1",
            "templates/base.1.2",
            "sandboxes/vabcdefghij0123456789",
            "volumes/backup",
        ] {
            assert!(!ours(name), "{name}");
        }
    }

    #[test]
    fn a_parent_is_a_plain_name() {
        let tag = InstanceTag::of_state_dir(b"a");
        for bad in [
            "", "/tank", "tank/", "tank//a", "-tank", "tank@a", "tank#a", "a b", "tank/..", "t\n",
        ] {
            assert!(Layout::new(bad, tag, Path::new("/s")).is_err(), "{bad:?}");
        }
        let long = "t".repeat(129);
        assert!(Layout::new(&long, tag, Path::new("/s")).is_err());
    }
}
