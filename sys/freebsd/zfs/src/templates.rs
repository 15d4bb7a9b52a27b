//! Templates: made of a tree, of nothing, or of what a sandbox has become.
//!
//! A snapshot of a sandbox becomes a template in four steps: a snapshot of its tree, which takes no time to speak of; a clone
//! of that; `zfs promote`, by which the snapshot passes to the clone and the sandbox becomes a clone of it, so that the
//! sandbox can be destroyed; and a property that says it is whole. What a template itself was cloned from cannot be destroyed
//! before it: a template that was discarded waits in the trash until nothing is cloned from it any more.

use std::path::PathBuf;

use warder_wire::{SandboxId, TemplateName};

use crate::base;
use crate::calls::{self, HOST_BASE, KIND, LINEAGE, MADE_OF, STAMP};
use crate::error::{Result, ZfsError};
use crate::listing::{self, Kind};
use crate::names::Place;
use crate::plan::{self, Base};
use crate::record::lineage_text;
use crate::store::{Host, Store, stamp};

/// Most templates that a tree descends from. Their names fit in one property (8192 bytes, zfsprops(7)), and a listing of
/// 10,000 such templates with their snapshots, which inherit it, in what is read of one.
pub const MOST_LAYERS: usize = 60;

/// A template being made.
#[derive(Debug)]
pub struct Draft {
    template: TemplateName,
    stamp: u64,
    lineage: Vec<TemplateName>,
    host_base: bool,
    /// What it is a snapshot of.
    sandbox: Option<SandboxId>,
    passing: bool,
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
        Self {
            passing: true,
            ..self
        }
    }

    /// Whether nothing is left to be done for it after [`Store::copy_changes`].
    #[must_use]
    pub fn whole_when_copied(&self) -> bool {
        false
    }

    fn place(&self) -> Place {
        Place::template(&self.template, self.stamp)
    }
}

fn kept(place: &Place) -> String {
    format!("kept/{}", place.leaf)
}

impl<H: Host> Store<H> {
    /// Begins to make a template, of `sandbox` where one is named. [`Self::settle`] follows.
    ///
    /// # Errors
    /// `Invalid` when it would descend from too many, or there is no such sandbox.
    pub fn draft(&mut self, template: &TemplateName, sandbox: Option<&SandboxId>) -> Result<Draft> {
        let mut lineage = vec![template.clone()];
        let mut host_base = *template == base::name();
        if let Some(sandbox) = sandbox {
            let record = self.record_of(sandbox)?;
            lineage.extend_from_slice(&record.lineage);
            host_base = record.host_base;
        }
        if lineage.len() > MOST_LAYERS {
            return Err(ZfsError::Invalid("more layers than a tree can have"));
        }
        let stamp = stamp();
        self.drafts.insert(template.clone(), stamp);
        Ok(Draft {
            template: template.clone(),
            stamp,
            lineage,
            host_base,
            sandbox: sandbox.cloned(),
            passing: false,
        })
    }

    /// What a dataset of this draft says of itself.
    fn properties<T>(
        draft: &Draft,
        made_of: Option<&str>,
        with: impl FnOnce(&[(&str, &str)]) -> T,
    ) -> T {
        let (stamp, lineage) = (draft.stamp.to_string(), lineage_text(&draft.lineage));
        let mut properties = vec![
            (KIND, Kind::Draft.as_str()),
            (STAMP, &stamp),
            (LINEAGE, &lineage),
            (HOST_BASE, if draft.host_base { "yes" } else { "no" }),
        ];
        properties.extend(made_of.map(|made_of| (MADE_OF, made_of)));
        with(&properties)
    }

    /// Makes an empty tree for a draft that is not made of a sandbox; its directory.
    ///
    /// # Errors
    /// [`ZfsError`].
    pub fn make_tree(&self, draft: &Draft) -> Result<PathBuf> {
        self.make_tree_of(draft, None)
    }

    pub(crate) fn make_tree_of(&self, draft: &Draft, made_of: Option<&str>) -> Result<PathBuf> {
        Self::properties(draft, made_of, |properties| {
            self.at.make(&draft.place(), properties)
        })
    }

    /// Where that tree is.
    #[must_use]
    pub fn tree(&self, draft: &Draft) -> PathBuf {
        self.at.layout.path(&draft.place())
    }

    /// Takes the snapshot of a sandbox that a draft is made of, leaving `reserve` bytes free; [`Self::keep`] follows. No
    /// process of the sandbox may run meanwhile. What a process has mapped and not written back (msync(2)) is not in it, as
    /// after a loss of power.
    ///
    /// # Errors
    /// [`ZfsError`]; `Full` when there is less room than that.
    pub fn copy_changes(&self, draft: &Draft, sandbox: &SandboxId, reserve: u64) -> Result<()> {
        let place = Place::sandbox(sandbox);
        let dataset = self.at.layout.dataset(&place);
        if self.room()?.0 < reserve {
            return Err(ZfsError::Full {
                dataset,
                words: "less is free than `storage_reserve_mib`".to_owned(),
            });
        }
        // One that never had a cell has no tree yet.
        self.root(sandbox)?.materialize(None)?;
        let snapshot = self.at.layout.snapshot(&place, draft.stamp);
        let call = calls::snapshot(&snapshot, &[(KIND, Kind::Draft.as_str())]);
        self.at.run(&call, &dataset).map(drop)
    }

    /// Puts a whole draft into use; after that it survives a loss of power: zfs(8) returns when what it did is on disk. Slow.
    ///
    /// # Errors
    /// [`ZfsError`].
    pub fn keep(&self, draft: &Draft) -> Result<()> {
        let (layout, place) = (&self.at.layout, draft.place());
        let dataset = layout.dataset(&place);
        let snapshot = layout.snapshot(&place, draft.stamp);
        if let Some(sandbox) = &draft.sandbox {
            let origin = layout.snapshot(&Place::sandbox(sandbox), draft.stamp);
            Self::properties(draft, None, |properties| {
                self.at
                    .run(&calls::clone(layout, &origin, &place, properties), &dataset)
            })?;
            self.at.run(&calls::promote(&dataset), &dataset)?;
        } else {
            self.at.unmount(&dataset, &layout.path(&place))?;
            self.at.run(&calls::snapshot(&snapshot, &[]), &dataset)?;
        }
        let kind = if draft.passing {
            Kind::Passing
        } else {
            Kind::Template
        };
        self.at
            .run(&calls::set(&dataset, &[(KIND, kind.as_str())]), &dataset)?;
        // What it looks like, for privd, which has no time to ask.
        let listed = self.at.run(&calls::list(&dataset), &dataset)?;
        self.at.files.write(&kept(&place), &listed.text())
    }

    /// Takes note of a draft that was kept, or discards it.
    ///
    /// # Errors
    /// `File`; `Listing` or `Invalid` when what was kept is not as it should be, which discards it.
    pub fn settle(&mut self, draft: Draft, kept: bool) -> Result<()> {
        self.drafts.remove(&draft.template);
        let place = draft.place();
        let made = if kept {
            self.made_of_draft(&place).map(Some)
        } else {
            Ok(None)
        };
        self.at.files.remove(&self::kept(&place))?;
        match made {
            Ok(Some(base)) => match self.templates.insert(draft.template.clone(), base) {
                Some(former) => {
                    let former = Place::template(&draft.template, former.stamp);
                    self.at.files.discard(&former.to_string())
                }
                None => Ok(()),
            },
            made => {
                self.at.files.discard(&place.to_string())?;
                if let Some(sandbox) = &draft.sandbox {
                    // Where it did not pass to the clone.
                    let place = Place::sandbox(sandbox);
                    self.at.files.discard(&format!("{place}@{}", draft.stamp))?;
                }
                made.map(drop)
            }
        }
    }

    fn made_of_draft(&self, place: &Place) -> Result<Base> {
        let listed = self.at.files.read(&kept(place))?.unwrap_or_default();
        let rows = listing::parse(&listed)?;
        let base = plan::base(&self.at.layout, &rows, place);
        base.ok_or(ZfsError::Invalid("a template that was kept is not whole"))
    }

    /// Takes a template out of use; false if there is none. Sandboxes and templates made of it keep what they share with it.
    ///
    /// # Errors
    /// `File`.
    pub fn discard_template(&mut self, template: &TemplateName) -> Result<bool> {
        let Some(base) = self.templates.remove(template) else {
            return Ok(false);
        };
        let place = Place::template(template, base.stamp);
        self.at.files.discard(&place.to_string())?;
        Ok(true)
    }

    /// The templates that a sandbox's tree descends from, its own first; those of `template` before it has one. Names stay,
    /// whatever becomes of the templates.
    #[must_use]
    pub fn lineage(
        &self,
        sandbox: Option<&SandboxId>,
        template: &TemplateName,
    ) -> Vec<TemplateName> {
        let record = sandbox.and_then(|sandbox| self.sandboxes.get(sandbox));
        let tree = record.map(|record| &record.lineage);
        let base = || self.templates.get(template).map(|base| &base.lineage);
        tree.or_else(base).cloned().unwrap_or_default()
    }

    /// Whether a template of this name is there.
    #[must_use]
    pub fn has_template(&self, template: &TemplateName) -> bool {
        self.templates.contains_key(template)
    }

    /// Whether a template of this name is being made.
    #[must_use]
    pub fn is_drafted(&self, template: &TemplateName) -> bool {
        self.drafts.contains_key(template)
    }

    /// Templates in order of name, those after `after`, and when each was made, in seconds since 1970.
    pub fn templates(
        &self,
        after: Option<&TemplateName>,
    ) -> impl Iterator<Item = (TemplateName, u64)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let templates = self.templates.range::<TemplateName, _>((from, Unbounded));
        templates.map(|(name, base)| (name.clone(), base.created))
    }
}
