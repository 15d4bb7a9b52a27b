//! Root trees of sandboxes, and the templates they are cloned from.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use warder_wire::gateway_priv::{Template, VolumeMount};
use warder_wire::{SandboxId, TemplateName, VolumeId};

use crate::cell::{IdRange, UserNamespace};
use crate::error::{Result, unsupported};
use crate::process::Process;

/// The state directory's storage.
#[derive(Debug)]
pub struct Store {
    directory: OwnedFd,
    volumes: BTreeSet<VolumeId>,
}

/// A template being made: a layer of its own, and those below it.
#[derive(Debug)]
pub struct Draft {
    template: TemplateName,
}

impl Draft {
    /// The template's name to be.
    #[must_use]
    pub fn template(&self) -> &TemplateName {
        &self.template
    }

    /// The same, to last no longer than this process.
    #[must_use]
    pub fn passing(self) -> Self {
        self
    }
}

/// Most layers of a tree.
pub const MOST_LAYERS: usize = 60;

/// A sandbox's root tree, as [`crate::cell::spawn`] takes it.
#[derive(Clone, Debug)]
pub struct Root {}

impl Root {
    /// The tree with volumes mounted in it.
    #[must_use]
    pub fn with_volumes(self, _volumes: &[VolumeMount]) -> Self {
        self
    }

    pub(crate) fn materialize(&self, _disk_mib: u32) -> Result<()> {
        unsupported("storage::Root::materialize")
    }

    pub(crate) fn path(&self) -> &Path {
        Path::new("/var/empty")
    }

    pub(crate) fn host_base(&self) -> bool {
        false
    }

    pub(crate) fn volumes(
        &self,
    ) -> impl Iterator<Item = (std::path::PathBuf, &warder_wire::GuestPath)> {
        std::iter::empty()
    }
}

impl Store {
    /// Opens, and where needed makes, the storage in `state_dir`.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn open(_state_dir: &Path) -> Result<Self> {
        unsupported("storage::Store::open")
    }

    /// Writes out everything that lies in the file system of the state directory.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn sync(&self) -> Result<()> {
        unsupported("storage::Store::sync")
    }

    /// Makes a sandbox's writable tree over a template.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn clone_template(
        &mut self,
        _sandbox: &SandboxId,
        _template: &TemplateName,
        _ids: IdRange,
        _resolvers: &[Ipv4Addr],
    ) -> Result<()> {
        unsupported("storage::Store::clone_template")
    }

    /// The tree of a sandbox.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn root(&self, _sandbox: &SandboxId) -> Result<Root> {
        unsupported("storage::Store::root")
    }

    /// Takes a sandbox's tree out of use; false if there is none.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn discard(&mut self, _sandbox: &SandboxId) -> Result<bool> {
        unsupported("storage::Store::discard")
    }

    /// Removes what was discarded. Slow: for a worker that keeps this store's descriptor.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn empty_trash(&self) -> Result<()> {
        unsupported("storage::Store::empty_trash")
    }

    /// Counts what each sandbox has written. Slow: for a worker that keeps this store's descriptor.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn measure(&self) -> Result<()> {
        unsupported("storage::Store::measure")
    }

    /// Bytes that a sandbox used when last counted.
    #[must_use]
    pub fn used(&self, _sandbox: &SandboxId) -> Option<u64> {
        None
    }

    /// Whether anything waits to be removed.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn has_trash(&self) -> Result<bool> {
        unsupported("storage::Store::has_trash")
    }

    /// Sandboxes that have a tree.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn list(&self) -> Result<Vec<SandboxId>> {
        unsupported("storage::Store::list")
    }

    /// Templates in order of name, those after `after`.
    pub fn templates(&self, _after: Option<&TemplateName>) -> impl Iterator<Item = Template> {
        std::iter::empty()
    }

    /// The templates that a sandbox's tree is made of, the topmost first; those of `template` before it has one.
    #[must_use]
    pub fn lineage(&self, _sandbox: &SandboxId, _template: &TemplateName) -> Vec<TemplateName> {
        Vec::new()
    }

    /// Whether a template of this name is there.
    #[must_use]
    pub fn has_template(&self, _template: &TemplateName) -> bool {
        false
    }

    /// Whether a template of this name is being made.
    #[must_use]
    pub fn is_drafted(&self, _template: &TemplateName) -> bool {
        false
    }

    /// Begins to make a template, above the layers of `sandbox` where one is named.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn draft(
        &mut self,
        _template: &TemplateName,
        _sandbox: Option<&SandboxId>,
    ) -> Result<Draft> {
        unsupported("storage::Store::draft")
    }

    /// Copies what a sandbox has changed into a draft above its layers.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn copy_changes(
        &self,
        _draft: &Draft,
        _sandbox: &SandboxId,
        _ids: IdRange,
        _reserve: u64,
    ) -> Result<()> {
        unsupported("storage::Store::copy_changes")
    }

    /// Puts a whole draft into use.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn keep(&self, _draft: &Draft) -> Result<()> {
        unsupported("storage::Store::keep")
    }

    /// Takes note of a draft that was kept, or discards it.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn settle(&mut self, _draft: Draft, _kept: bool) -> Result<()> {
        unsupported("storage::Store::settle")
    }

    /// Takes a template out of use; false if there is none.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn discard_template(&mut self, _template: &TemplateName) -> Result<bool> {
        unsupported("storage::Store::discard_template")
    }

    /// Bytes free for unprivileged use and in all.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn room(&self) -> Result<(u64, u64)> {
        unsupported("storage::Store::room")
    }

    /// Whether template `base` is there and as new as the host's programs.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn base_is_fresh(&self) -> Result<bool> {
        unsupported("storage::Store::base_is_fresh")
    }

    /// Makes the layer of template `base` anew. Slow: for a worker that keeps this store's descriptor.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn make_base(&self, _draft: &Draft) -> Result<()> {
        unsupported("storage::Store::make_base")
    }

    /// Starts unpacking a tar stream into a draft, without privilege; [`Self::import_end`] follows
    /// when the process has ended.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn import_start(
        &self,
        _draft: &Draft,
        _users: &UserNamespace,
        _tar: BorrowedFd<'_>,
    ) -> Result<Process> {
        unsupported("storage::Store::import_start")
    }

    /// Completes an unpacked draft.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn import_end(&self, _draft: &Draft) -> Result<()> {
        unsupported("storage::Store::import_end")
    }

    /// Makes an empty volume. False if there is one of that name.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn create_volume(&mut self, _volume: &VolumeId) -> Result<bool> {
        unsupported("storage::Store::create_volume")
    }

    /// Has it survive a loss of power that a volume was made, or that one was taken out of use.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn sync_volumes(&self, _made: Option<&VolumeId>) -> Result<()> {
        unsupported("storage::Store::sync_volumes")
    }

    /// Takes a volume out of use; false if there is none.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn discard_volume(&mut self, _volume: &VolumeId) -> Result<bool> {
        unsupported("storage::Store::discard_volume")
    }

    /// Volumes there are.
    #[must_use]
    pub fn volumes(&self) -> &BTreeSet<VolumeId> {
        &self.volumes
    }
}

impl AsFd for Store {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}
