//! Finding the instance's datasets, or making them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use warder_wire::{InstanceTag, TemplateName};

use crate::base;
use crate::calls;
use crate::error::{At, Result, ZfsError};
use crate::files::Files;
use crate::listing::Row;
use crate::names::{Layout, Shelf};
use crate::plan;
use crate::store::{Host, Site, Store};

impl<H: Host> Store<H> {
    /// Opens, and where needed makes, the storage of the instance `tag`: below `parent`, or below the dataset that the state
    /// directory lies in. `tell` gets a line for each thing that is left alone. Nothing of the instance may be under way.
    ///
    /// # Errors
    /// [`ZfsError`]; `NotZfs` without a dataset, `Missing` and `Foreign` where it cannot be used.
    pub fn open(
        host: H,
        state_dir: &Path,
        tag: InstanceTag,
        parent: Option<&str>,
        mut tell: impl FnMut(String),
    ) -> Result<Self> {
        let parent = match parent {
            Some(parent) => parent.to_owned(),
            None => found(&host, state_dir)?,
        };
        let layout = Layout::new(&parent, tag, state_dir)?;
        let files = Files::open(state_dir)?;
        let at = Site {
            host,
            layout,
            files,
        };
        let rows = at.prepared(tag)?;
        let discarded: BTreeSet<String> = at.files.discarded()?.into_iter().collect();
        let found = plan::found(&at.layout, &rows, &discarded);
        for stranger in found.strangers {
            tell(format!(
                "dataset {stranger} is not of this version: it is left alone"
            ));
        }
        for name in found.trash {
            at.files.discard(&name)?;
        }
        for name in at.files.names("kept")? {
            at.files.remove(&format!("kept/{name}"))?;
        }
        let mut store = Self {
            at,
            templates: found.templates,
            drafts: BTreeMap::new(),
            sandboxes: BTreeMap::new(),
            volumes: found.volumes,
            volume_quota: None,
            orphans: false,
        };
        store.load_sandboxes()?;
        let stamps = store
            .sandboxes
            .iter()
            .map(|(id, record)| (id.clone(), record.stamp));
        let sweep = plan::sweep(
            &store.at.layout,
            &rows,
            &stamps.collect(),
            &BTreeSet::new(),
            &BTreeSet::new(),
        );
        store.orphans = !sweep.now.is_empty();
        store.make_bare()?;
        Ok(store)
    }

    /// Makes template `bare` if it is missing: nothing but what a cell mounts over.
    fn make_bare(&mut self) -> Result<()> {
        let bare = TemplateName::new("bare").map_err(|_| ZfsError::Invalid("template bare"))?;
        if self.has_template(&bare) {
            return Ok(());
        }
        let draft = self.draft(&bare, None)?;
        let made = self.make_tree(&draft).and_then(|tree| {
            base::make_mount_points(&tree)?;
            std::fs::create_dir(tree.join("volume")).at("make template bare")?;
            self.keep(&draft)
        });
        self.settle(draft, made.is_ok())?;
        made
    }
}

/// The dataset that the state directory lies in; its pool, where that is a boot environment: those are cloned, swapped and
/// destroyed by upgrades (bectl(8)).
fn found(host: &impl Host, state_dir: &Path) -> Result<String> {
    let lies = host
        .lies(state_dir)
        .at("find the file system of the state directory")?;
    if lies.kind != "zfs" {
        return Err(ZfsError::NotZfs {
            state_dir: state_dir.to_owned(),
            kind: lies.kind,
        });
    }
    let mut parts = lies.from.split('/');
    match (parts.next(), parts.next()) {
        (Some(pool), Some("ROOT")) => Ok(pool.to_owned()),
        _ => Ok(lies.from),
    }
}

impl<H: Host> Site<H> {
    /// Has the datasets that hold the others there and mounted; all there is below them.
    fn prepared(&self, tag: InstanceTag) -> Result<Vec<Row>> {
        let (layout, tag) = (&self.layout, tag.to_string());
        let root = layout.root();
        let mut rows = match self.list() {
            Err(ZfsError::Missing { .. }) => Vec::new(),
            rows => rows?,
        };
        if rows.is_empty() {
            let mountpoint = layout.mountpoint().to_str().unwrap_or_default();
            let create = calls::create_root(layout, &tag, mountpoint);
            self.run(&create, layout.parent())?;
        } else if rows
            .iter()
            .find(|row| row.name == root)
            .and_then(|row| row.tag.as_ref())
            != Some(&tag)
        {
            return Err(ZfsError::Foreign {
                dataset: root.to_owned(),
                tag,
            });
        }
        let mut made = rows.is_empty();
        for shelf in Shelf::ALL {
            let dataset = layout.shelf(shelf);
            if !rows.iter().any(|row| row.name == dataset) {
                self.run(&calls::create_shelf(layout, shelf), &dataset)?;
                made = true;
            }
        }
        if made {
            rows = self.list()?;
        }
        self.mount(root, layout.mountpoint())?;
        self.forbid_snapshot_directory();
        Ok(rows)
    }

    /// Snapshots are no matter of guests, and a mount below a tree would keep it busy. OpenZFS before 2.3 has no such value
    /// (zfsprops(7), `snapdir`): there `.zfs` is hidden, and a jail may mount no snapshot by it.
    fn forbid_snapshot_directory(&self) {
        let root = self.layout.root();
        if self
            .property("snapdir", root)
            .is_ok_and(|value| value != "disabled")
        {
            let _ = self.run(&calls::set(root, &[("snapdir", "disabled")]), root);
        }
    }
}
