//! Destroying what is out of use.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::calls;
use warder_wire::SandboxId;

use crate::error::{At, Result, ZfsError};
use crate::names::{Place, Shelf};
use crate::plan::{self, Garbage};
use crate::record::Record;
use crate::sandboxes::made;
use crate::store::{Host, Store, stamp};

/// How long is waited for what is mounted in trees: it is unmounted when the last process of a cell is dead, while the tree
/// is discarded.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 600 } else { 5000 });
/// Younger drafts may be another process's, in nanoseconds.
const YOUNG: u64 = 60_000_000_000;
const LOOK: Duration = Duration::from_millis(50);

impl<H: Host> Store<H> {
    /// Whether anything waits to be destroyed.
    ///
    /// # Errors
    /// `File`.
    pub fn has_trash(&self) -> Result<bool> {
        Ok(self.orphans || !self.at.files.discarded()?.is_empty())
    }

    /// Destroys what is out of use and what nothing else is cloned from; the rest waits. Slow. One that cannot be destroyed
    /// keeps none of the others.
    ///
    /// # Errors
    /// The first one; `Busy` where something still holds a tree.
    pub fn empty_trash(&self) -> Result<()> {
        let (site, layout) = (&self.at, &self.at.layout);
        let mut discarded: BTreeSet<String> = site.files.discarded()?.into_iter().collect();
        // Of a version that was discarded after these records were made, clones may still come.
        let unmade = self.sandboxes.iter().filter_map(|(id, record)| {
            let is_made = site.files.has(&made(id, record.stamp));
            (!is_made).then(|| origin(record))
        });
        let wanted: BTreeSet<Place> = unmade.collect();
        let rows = site.list()?;
        // Of this moment, some may not have been begun yet when this process was forked.
        let before = stamp().saturating_sub(YOUNG);
        let stale = |stamp| stamp < before && !self.drafts.values().any(|draft| *draft == stamp);
        discarded.extend(plan::forgotten(layout, &rows, stale));
        // After the listing: a record comes before its clone.
        let records = self.records()?;
        let sweep = plan::sweep(layout, &rows, &records, &discarded, &wanted);
        let until = Instant::now() + PATIENCE;
        let mut failed = None;
        for name in &sweep.gone {
            site.files.destroyed(name)?;
        }
        for garbage in &sweep.now {
            match self.destroy(garbage, until) {
                Ok(()) => self.snapshots_gone(garbage, &discarded)?,
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        for dataset in sweep.held {
            failed.get_or_insert(ZfsError::Busy {
                dataset,
                words: "datasets that this instance did not make lie below it".to_owned(),
            });
        }
        failed.map_or(Ok(()), Err)
    }

    fn records(&self) -> Result<BTreeMap<SandboxId, u64>> {
        let mut records = BTreeMap::new();
        for name in self.at.files.names("sandboxes")? {
            let id = SandboxId::new(&name);
            let text = self.at.files.read(&format!("sandboxes/{name}"))?;
            if let (Ok(id), Some(text)) = (id, text) {
                records.insert(id, Record::parse(&text)?.stamp);
            }
        }
        Ok(records)
    }

    /// With a tree its snapshots went.
    fn snapshots_gone(&self, garbage: &Garbage, discarded: &BTreeSet<String>) -> Result<()> {
        let Garbage::Tree(place, _) = garbage else {
            return Ok(());
        };
        let of = format!("{place}@");
        let mut gone = discarded.iter().filter(|name| name.starts_with(&of));
        gone.try_for_each(|name| self.at.files.destroyed(name))
    }

    fn destroy(&self, garbage: &Garbage, until: Instant) -> Result<()> {
        let (site, layout) = (&self.at, &self.at.layout);
        match garbage {
            Garbage::Tree(place, stamp) => {
                let (dataset, path) = (layout.dataset(place), layout.path(place));
                // The unmounting of the tree is forced, and would leave those mounts without a place.
                while !site.host.mounts_below(&path).at("list mounts")?.is_empty() {
                    if Instant::now() >= until {
                        return Err(ZfsError::Busy {
                            dataset,
                            words: format!("something is mounted below {}", path.display()),
                        });
                    }
                    std::thread::sleep(LOOK);
                }
                site.unmount(&dataset, &path)?;
                site.run(&calls::destroy(&dataset), &dataset)?;
                if let (Some(id), Some(stamp)) = (place.sandbox_id(), stamp) {
                    site.files.remove(&made(&id, *stamp))?;
                }
                if place.shelf != Shelf::Sandboxes {
                    site.files.destroyed(&place.to_string())?;
                }
                Ok(())
            }
            Garbage::Snapshot(place, name) => {
                let snapshot = format!("{}@{name}", layout.dataset(place));
                site.run(&calls::destroy_snapshot(&snapshot), &snapshot)?;
                site.files.destroyed(&format!("{place}@{name}"))
            }
        }
    }
}

fn origin(record: &Record) -> Place {
    Place {
        shelf: Shelf::Templates,
        leaf: record.origin.clone(),
    }
}
