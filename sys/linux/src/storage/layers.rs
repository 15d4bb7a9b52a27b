//! Layers: trees that never change again, of which templates and sandboxes are made.
//!
//! A manifest lists layers, one a line, the topmost first; the last one is a whole tree. A layer stays for as long as a
//! manifest, or a template being made, names it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags};
use warder_common::{At, HostError, Result};
use warder_wire::{SandboxId, TemplateName};

use super::{Store, write_all};

/// Most layers of a tree: there is a mount point for each.
pub const MOST_LAYERS: usize = 240;

/// Names of layers, the topmost first. One that many trees have is kept once.
pub(super) type Names = Arc<[Arc<str>]>;

/// What the manifests say.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    templates: BTreeMap<TemplateName, (Names, u64)>,
    pub(super) cells: BTreeMap<SandboxId, Names>,
    drafts: BTreeSet<TemplateName>,
    uses: BTreeMap<Arc<str>, u32>,
}

impl Manifests {
    pub(super) fn hold(&mut self, names: &Names) {
        for name in names.iter() {
            *self.uses.entry(name.clone()).or_default() += 1;
        }
    }

    /// Layers that nobody names any more.
    fn release(&mut self, names: &Names) -> Vec<Arc<str>> {
        let mut free = Vec::new();
        for name in names.iter() {
            match self.uses.get_mut(name) {
                Some(uses @ 2..) => *uses -= 1,
                _ => free.extend(self.uses.remove_entry(name).map(|(name, _)| name)),
            }
        }
        free
    }

    pub(super) fn of_template(&self, template: &TemplateName) -> Result<Names> {
        let (names, _) = self
            .templates
            .get(template)
            .ok_or(HostError::Invalid("no such template"))?;
        Ok(names.clone())
    }
}

/// A template being made: a layer of its own, and those below it.
#[derive(Debug)]
pub struct Draft {
    template: TemplateName,
    names: Names,
    passing: bool,
}

impl Draft {
    /// The template's name to be.
    #[must_use]
    pub fn template(&self) -> &TemplateName {
        &self.template
    }

    /// Without a manifest: the template goes with the process that made it, its layer with the last sandbox made of it.
    /// No disk is waited for.
    #[must_use]
    pub fn passing(self) -> Self {
        Self {
            passing: true,
            ..self
        }
    }

    /// Whether nothing is left to be done for it after [`Store::copy_changes`].
    #[must_use]
    pub fn whole_when_copied(&self) -> bool {
        self.passing
    }

    /// The layer's directory until it is whole. No layer's name begins with a dot.
    pub(super) fn place(&self) -> String {
        format!("layers/.{}", self.names[0])
    }
}

impl Store {
    /// Reads the manifests, and discards what none of them names.
    pub(super) fn load_layers(&mut self) -> Result<()> {
        self.sweep_drafts("templates")?;
        self.sweep_drafts("layers")?;
        for template in self.names("templates", |name| TemplateName::new(name).ok())? {
            let path = format!("templates/{template}");
            let names = self.read_manifest(&path)?;
            self.manifests.hold(&names);
            let created = self.created(&path)?;
            self.manifests.templates.insert(template, (names, created));
        }
        for sandbox in self.list()? {
            // One that was not whole yet has none, and is discarded by its owner.
            if let Ok(names) = self.read_manifest(&format!("cells/{sandbox}/layers")) {
                self.manifests.hold(&names);
                self.manifests.cells.insert(sandbox, names);
            }
        }
        let named = |name: &str| (!name.starts_with('.')).then(|| name.to_owned());
        for name in self.names("layers", named)? {
            if !self.manifests.uses.contains_key(&*name) {
                self.move_away(&format!("layers/{name}"))?;
            }
        }
        Ok(())
    }

    fn created(&self, path: &str) -> Result<u64> {
        let stat = rustix::fs::statat(&self.directory, path, AtFlags::SYMLINK_NOFOLLOW)
            .at("look at a manifest")?;
        Ok(u64::try_from(stat.st_mtime).unwrap_or(0))
    }

    fn read_manifest(&self, path: &str) -> Result<Names> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, path, flags, Mode::empty())
            .at("open a manifest")?;
        let text = std::io::read_to_string(std::fs::File::from(file)).at("read a manifest")?;
        let known = |name: &str| {
            let known = self.manifests.uses.get_key_value(name);
            known.map_or_else(|| name.into(), |(known, _)| known.clone())
        };
        let names: Names = text.lines().map(known).collect();
        let plain =
            |name: &Arc<str>| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        if names.is_empty() || names.len() > MOST_LAYERS || !names.iter().all(plain) {
            return Err(HostError::Invalid("a manifest that lists no layers"));
        }
        Ok(names)
    }

    pub(super) fn write_manifest(&self, path: &str, names: &[Arc<str>]) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(&self.directory, path, flags, Mode::RUSR).at("make a manifest")?;
        write_all(&file, (names.join("\n") + "\n").as_bytes())?;
        Ok(file)
    }

    /// Begins to make a template, above the layers of `sandbox` where one is named. [`Self::settle`] follows.
    ///
    /// # Errors
    /// `NoSpace`, `System`; `Invalid` when that would be too many layers, or there is no such sandbox.
    pub fn draft(&mut self, template: &TemplateName, sandbox: Option<&SandboxId>) -> Result<Draft> {
        let mut names: Vec<Arc<str>> = vec![new_layer(template).into()];
        if let Some(sandbox) = sandbox {
            names.extend_from_slice(&self.layers_of(sandbox)?);
        }
        if names.len() > MOST_LAYERS {
            return Err(HostError::Invalid("more layers than a tree can have"));
        }
        let names: Names = names.into();
        let template = template.clone();
        let draft = Draft {
            template,
            names,
            passing: false,
        };
        rustix::fs::mkdirat(&self.directory, draft.place(), Mode::RWXU).at("make a layer")?;
        self.manifests.hold(&draft.names);
        self.manifests.drafts.insert(draft.template.clone());
        Ok(draft)
    }

    /// Puts a whole draft into use, in place of a template of that name; after that it survives a loss of power. Slow: for a worker that keeps this store's descriptor.
    ///
    /// # Errors
    /// `NoSpace`, `System`.
    pub fn keep(&self, draft: &Draft) -> Result<()> {
        self.put(draft, || rustix::fs::syncfs(&self.directory).at("syncfs"))
    }

    /// As [`Self::keep`], for a draft of nothing but directories: the disk is waited for by its manifest alone.
    pub(super) fn keep_plain(&self, draft: &Draft) -> Result<()> {
        self.put(draft, || Ok(()))
    }

    fn put(&self, draft: &Draft, sync: impl Fn() -> Result<()>) -> Result<()> {
        let manifest = format!("templates/.{}", draft.names[0]);
        let file = self.write_manifest(&manifest, &draft.names)?;
        self.put_layer(draft)?;
        // A manifest is not to be found after a crash of the host without what it names.
        sync()?;
        rustix::fs::fsync(file).at("fsync a manifest")?;
        let (store, template) = (&self.directory, format!("templates/{}", draft.template));
        rustix::fs::renameat(store, manifest, store, template).at("put a template in place")?;
        rustix::fs::fsync(self.open_dir("templates")?).at("fsync the templates")
    }

    pub(super) fn put_layer(&self, draft: &Draft) -> Result<()> {
        let (store, layer) = (&self.directory, format!("layers/{}", draft.names[0]));
        rustix::fs::renameat(store, draft.place(), store, layer).at("put a layer in place")
    }

    /// Takes note of a draft that was kept, or discards it.
    ///
    /// # Errors
    /// `System`.
    pub fn settle(&mut self, draft: Draft, kept: bool) -> Result<()> {
        let Draft {
            template,
            names,
            passing,
        } = draft;
        self.manifests.drafts.remove(&template);
        let path = format!("templates/{template}");
        if kept {
            let manifest = if passing { "layers" } else { &path };
            let entry = (names, self.created(manifest)?);
            return match self.manifests.templates.insert(template, entry) {
                Some((former, _)) => self.release(&former),
                None => Ok(()),
            };
        }
        self.move_away(&format!("templates/.{}", names[0]))?;
        if self.read_manifest(&path).is_ok_and(|kept| kept == names) {
            self.move_away(&path)?;
        }
        self.release(&names)
    }

    /// Discards layers that nobody names any more.
    pub(super) fn release(&mut self, names: &Names) -> Result<()> {
        for name in self.manifests.release(names) {
            self.move_away(&format!("layers/{name}"))?;
            self.move_away(&format!("layers/.{name}"))?;
        }
        Ok(())
    }

    pub(super) fn layers_of(&self, sandbox: &SandboxId) -> Result<Names> {
        let names = self.manifests.cells.get(sandbox).cloned();
        names.ok_or(HostError::Invalid("the sandbox has no tree"))
    }

    /// The templates whose layers a sandbox's tree is made of, the topmost first; those of `template` before it has one.
    /// Layers keep the name of the template they were made for, whatever becomes of it.
    #[must_use]
    pub fn lineage(
        &self,
        sandbox: Option<&SandboxId>,
        template: &TemplateName,
    ) -> Vec<TemplateName> {
        let tree = sandbox.and_then(|sandbox| self.manifests.cells.get(sandbox).cloned());
        let names = tree.or_else(|| self.manifests.of_template(template).ok());
        let made_for = |layer: &Arc<str>| TemplateName::new(layer.split_once('.')?.0).ok();
        let all = names.map(|names| names.iter().map(made_for).collect::<Option<_>>());
        all.flatten().unwrap_or_default()
    }

    /// Takes a template out of use; false if there is none. Sandboxes keep its layers.
    ///
    /// # Errors
    /// `System`.
    pub fn discard_template(&mut self, template: &TemplateName) -> Result<bool> {
        let there = self.move_away(&format!("templates/{template}"))?;
        match self.manifests.templates.remove(template) {
            Some((names, _)) => self.release(&names).map(|()| true),
            None => Ok(there),
        }
    }

    /// Whether a template of this name is there.
    #[must_use]
    pub fn has_template(&self, template: &TemplateName) -> bool {
        self.manifests.templates.contains_key(template)
    }

    /// Whether a template of this name is being made.
    #[must_use]
    pub fn is_drafted(&self, template: &TemplateName) -> bool {
        self.manifests.drafts.contains(template)
    }

    /// Templates in order of name, those after `after`, and when each was made, in seconds since 1970.
    pub fn templates(
        &self,
        after: Option<&TemplateName>,
    ) -> impl Iterator<Item = (TemplateName, u64)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let templates = &self.manifests.templates;
        templates
            .range::<TemplateName, _>((from, Unbounded))
            .map(|(name, (_, created))| (name.clone(), *created))
    }
}

/// A name no other layer has: two in one nanosecond do not get far.
fn new_layer(template: &TemplateName) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    format!("{template}.{}", now.unwrap_or_default().as_nanos())
}
