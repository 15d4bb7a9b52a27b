//! Root trees of sandboxes, and the templates they are cloned from: `warder-zfs` on this host.

mod host;
mod import;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use warder_common::{At, HostError, Result};
use warder_wire::gateway_priv::{Feature, VolumeMount};
use warder_wire::{GuestPath, InstanceTag, SandboxId, TemplateName, VolumeId};

pub use warder_zfs::{BASE_DIRS, Draft, MOST_LAYERS};

use crate::cell::IdRange;
use crate::sys;
use host::System;

/// The state directory's storage.
#[derive(Debug)]
pub struct Store {
    directory: OwnedFd,
    tag: InstanceTag,
    zfs: warder_zfs::Store<System>,
}

/// A sandbox's root tree, as [`crate::cell::spawn`] takes it.
#[derive(Clone, Debug)]
pub struct Root(warder_zfs::Root<System>);

impl Root {
    /// The tree with volumes mounted in it.
    #[must_use]
    pub fn with_volumes(self, volumes: &[VolumeMount]) -> Self {
        Self(self.0.with_volumes(volumes))
    }

    /// Where the tree is, once it is made: below the state directory, its last name the sandbox's.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Whether the tree wants [`BASE_DIRS`] of the host.
    #[must_use]
    pub fn host_base(&self) -> bool {
        self.0.host_base()
    }

    /// Each volume's content, and where it goes.
    pub fn volumes(&self) -> impl Iterator<Item = (PathBuf, &GuestPath)> {
        self.0.volumes()
    }

    /// Makes the tree if that was not done yet, with room for so much beside what it is cloned from, and mounts it and the
    /// volumes. Slow (zfs(8)): first thing in the child that sets up the cell.
    ///
    /// # Errors
    /// `NoSpace`, `System`; `Invalid` for a template whose /etc is no directory.
    pub fn materialize(&self, disk_mib: u32) -> Result<()> {
        Ok(self.0.materialize(Some(u64::from(disk_mib) << 20))?)
    }
}

impl Store {
    /// Opens, and where needed makes, the storage of the instance in `state_dir`: below `dataset`, or below the one that
    /// the state directory lies in.
    ///
    /// # Errors
    /// `System`, with the command that helps where there is no dataset to use, or one of another owner.
    pub fn open(state_dir: &Path, dataset: Option<&str>) -> Result<Self> {
        let path = std::fs::canonicalize(state_dir).at("find the state directory")?;
        let tag = InstanceTag::of_state_dir(path.as_os_str().as_encoded_bytes());
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(&path, flags, Mode::empty()).at("open the state directory")?;
        // Of a privd that was killed.
        import::end(&import::of_instance(tag))?;
        let zfs = warder_zfs::Store::open(System, &path, tag, dataset, |line| {
            eprintln!("storage: {line}");
        })?;
        Ok(Self {
            directory,
            tag,
            zfs,
        })
    }

    /// Writes out everything that lies in the pool, as its worker: this takes its time.
    ///
    /// # Errors
    /// `System`.
    pub fn sync(&self) -> Result<()> {
        Ok(self.zfs.sync()?)
    }

    /// Unmounts what the instance has mounted, when no sandbox is left.
    ///
    /// # Errors
    /// `System`.
    pub fn close(&self) -> Result<()> {
        Ok(self.zfs.close()?)
    }

    /// Records what a sandbox's tree is cloned from; [`Root::materialize`] makes it.
    ///
    /// # Errors
    /// `NoSpace`, `System`; `Invalid` when there is no such template.
    pub fn clone_template(
        &mut self,
        sandbox: &SandboxId,
        template: &TemplateName,
        _ids: IdRange,
        resolvers: &[Ipv4Addr],
    ) -> Result<()> {
        Ok(self.zfs.clone_template(sandbox, template, resolvers)?)
    }

    /// The tree of a sandbox.
    ///
    /// # Errors
    /// `Invalid` when it has none.
    pub fn root(&self, sandbox: &SandboxId) -> Result<Root> {
        Ok(Root(self.zfs.root(sandbox)?))
    }

    /// Nothing is cloned ahead of need here.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn pass(&mut self, _: &SandboxId, _: &SandboxId, _: &TemplateName) -> Result<bool> {
        Err(HostError::Unsupported {
            operation: "storage::Store::pass",
        })
    }

    /// As [`Self::pass`].
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn rename(&self, _: &SandboxId) -> Result<()> {
        Err(HostError::Unsupported {
            operation: "storage::Store::rename",
        })
    }

    /// Takes a sandbox's tree out of use; false if there is none. No process may run in it, and nothing be mounted below
    /// it.
    ///
    /// # Errors
    /// `System`.
    pub fn discard(&mut self, sandbox: &SandboxId) -> Result<bool> {
        Ok(self.zfs.discard(sandbox)?)
    }

    /// Destroys what was discarded, but for what something else is cloned from. Slow: for a worker that keeps this store's
    /// descriptor.
    ///
    /// # Errors
    /// `System` when something cannot be destroyed.
    pub fn empty_trash(&self) -> Result<()> {
        Ok(self.zfs.empty_trash()?)
    }

    /// Asks what each sandbox has written. Slow: for a worker that keeps this store's descriptor.
    ///
    /// # Errors
    /// `System`.
    pub fn measure(&self) -> Result<()> {
        Ok(self.zfs.measure()?)
    }

    /// Bytes that a sandbox used when last asked.
    #[must_use]
    pub fn used(&self, sandbox: &SandboxId) -> Option<u64> {
        self.zfs.used(sandbox)
    }

    /// Whether anything waits to be destroyed.
    ///
    /// # Errors
    /// `System`.
    pub fn has_trash(&self) -> Result<bool> {
        Ok(self.zfs.has_trash()?)
    }

    /// Sandboxes that have a tree, or a record of what it is to be.
    ///
    /// # Errors
    /// None here.
    pub fn list(&self) -> Result<Vec<SandboxId>> {
        Ok(self.zfs.list())
    }

    /// Templates in order of name, those after `after`, and when each was made, in seconds since 1970.
    pub fn templates(
        &self,
        after: Option<&TemplateName>,
    ) -> impl Iterator<Item = (TemplateName, u64)> {
        self.zfs.templates(after)
    }

    /// The templates that a sandbox's tree descends from, its own first; those of `template` before it has one.
    #[must_use]
    pub fn lineage(
        &self,
        sandbox: Option<&SandboxId>,
        template: &TemplateName,
    ) -> Vec<TemplateName> {
        self.zfs.lineage(sandbox, template)
    }

    /// Whether a template of this name is there.
    #[must_use]
    pub fn has_template(&self, template: &TemplateName) -> bool {
        self.zfs.has_template(template)
    }

    /// Whether a template of this name is being made.
    #[must_use]
    pub fn is_drafted(&self, template: &TemplateName) -> bool {
        self.zfs.is_drafted(template)
    }

    /// Begins to make a template, of what `sandbox` has become where one is named. [`Self::settle`] follows.
    ///
    /// # Errors
    /// `Invalid` when it would descend from too many, or there is no such sandbox.
    pub fn draft(&mut self, template: &TemplateName, sandbox: Option<&SandboxId>) -> Result<Draft> {
        Ok(self.zfs.draft(template, sandbox)?)
    }

    /// Takes the snapshot that a draft is made of, leaving `reserve` bytes free; [`Self::keep`] follows. No process of the
    /// sandbox may run meanwhile. Slow: for a worker that keeps this store's descriptor.
    ///
    /// # Errors
    /// `NoSpace`, `System`.
    pub fn copy_changes(
        &self,
        draft: &Draft,
        sandbox: &SandboxId,
        _ids: IdRange,
        reserve: u64,
    ) -> Result<()> {
        Ok(self.zfs.copy_changes(draft, sandbox, reserve)?)
    }

    /// Puts a whole draft into use; after that it survives a loss of power. Slow: for a worker that keeps this store's
    /// descriptor.
    ///
    /// # Errors
    /// `NoSpace`, `System`.
    pub fn keep(&self, draft: &Draft) -> Result<()> {
        Ok(self.zfs.keep(draft)?)
    }

    /// Takes note of a draft that was kept, or discards it.
    ///
    /// # Errors
    /// `System`.
    pub fn settle(&mut self, draft: Draft, kept: bool) -> Result<()> {
        if !kept {
            import::end(&import::of_draft(self.tag, &draft))?;
        }
        Ok(self.zfs.settle(draft, kept)?)
    }

    /// Takes a template out of use; false if there is none. Sandboxes keep what they share with it.
    ///
    /// # Errors
    /// `System`.
    pub fn discard_template(&mut self, template: &TemplateName) -> Result<bool> {
        Ok(self.zfs.discard_template(template)?)
    }

    /// Bytes free for unprivileged use and in all, where sandboxes write.
    ///
    /// # Errors
    /// `System`.
    pub fn room(&self) -> Result<(u64, u64)> {
        Ok(self.zfs.room()?)
    }

    /// Whether template `base` is there and was made of the host's files as they are.
    ///
    /// # Errors
    /// None here.
    pub fn base_is_fresh(&self) -> Result<bool> {
        Ok(self.zfs.base_is_fresh())
    }

    /// Makes the tree of template `base` anew; those of live sandboxes stay as they are. [`Self::keep`] follows. Slow: for
    /// a worker that keeps this store's descriptor.
    ///
    /// # Errors
    /// `NoSpace`, `System`.
    pub fn make_base(&self, draft: &Draft) -> Result<()> {
        Ok(self.zfs.make_base(draft)?)
    }

    /// Completes an unpacked draft.
    ///
    /// # Errors
    /// `System`; `Invalid` when the archive has something else where a cell needs a directory, or what unpacked it has not
    /// ended.
    pub fn import_end(&self, draft: &Draft) -> Result<()> {
        // Or it could lead astray whoever works in the tree from here on, as root of the host.
        if !import::end(&import::of_draft(self.tag, draft))? {
            return Err(HostError::Invalid("the archive left something running"));
        }
        import::forget_locale(&self.zfs.tree(draft));
        Ok(self.zfs.import_end(draft)?)
    }

    /// Whether a sandbox is held to its limit of disk: each tree is a dataset with a quota of its own.
    #[must_use]
    pub fn bounds(&self, _sandbox: &SandboxId) -> bool {
        true
    }

    /// What each volume made from now on may hold. Whether that is enforced: each is a dataset with a quota of its own.
    pub fn bound_volumes(&mut self, bytes: Option<u64>) -> bool {
        self.zfs.bound_volumes(bytes);
        true
    }

    /// Takes note of an empty volume; [`Self::sync_volumes`] makes it. False if there is one of that name.
    ///
    /// # Errors
    /// None here.
    pub fn create_volume(&mut self, volume: &VolumeId) -> Result<bool> {
        Ok(self.zfs.create_volume(volume))
    }

    /// Makes a volume, or has it survive a loss of power that one was taken out of use. Slow: for a worker that keeps this
    /// store's descriptor.
    ///
    /// # Errors
    /// `NoSpace`, `System`.
    pub fn sync_volumes(&self, made: Option<&VolumeId>) -> Result<()> {
        Ok(self.zfs.sync_volumes(made)?)
    }

    /// Takes a volume out of use; [`Self::sync_volumes`] follows. False if there is none. No cell may mount it.
    ///
    /// # Errors
    /// `System`.
    pub fn discard_volume(&mut self, volume: &VolumeId) -> Result<bool> {
        Ok(self.zfs.discard_volume(volume)?)
    }

    /// Volumes there are.
    #[must_use]
    pub fn volumes(&self) -> &BTreeSet<VolumeId> {
        self.zfs.volumes()
    }
}

impl AsFd for Store {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// What storage in `state_dir` finds on this host.
pub(crate) fn features(state_dir: &Path) -> [Feature; 1] {
    let kind = sys::mount::of(state_dir).map(|of| of.kind);
    [Feature {
        name: "state directory on ZFS".to_owned(),
        present: kind.is_ok_and(|kind| kind == "zfs"),
        note: "else zfs_dataset POOL/NAME in warder.conf says where sandboxes are stored"
            .to_owned(),
    }]
}
