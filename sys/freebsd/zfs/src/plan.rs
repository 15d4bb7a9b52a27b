//! What a listing means: which templates and volumes there are, and what of it all is garbage. Pure.

use std::collections::{BTreeMap, BTreeSet};

use warder_wire::{SandboxId, TemplateName, VolumeId};

use crate::listing::{Kind, Row};
use crate::names::{Layout, Place, Shelf};
use crate::record;

/// What a sandbox can be cloned from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Base {
    pub(crate) stamp: u64,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) referenced: u64,
    /// The templates it descends from, itself first.
    pub(crate) lineage: Vec<TemplateName>,
    pub(crate) host_base: bool,
    pub(crate) made_of: Option<String>,
}

/// What is there when an instance starts.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Found {
    pub(crate) templates: BTreeMap<TemplateName, Base>,
    pub(crate) volumes: BTreeSet<VolumeId>,
    /// What is to be destroyed and was not known to be: drafts, former versions, what lasts no longer than its maker.
    pub(crate) trash: Vec<String>,
    /// What lies among our datasets and is not ours.
    pub(crate) strangers: Vec<String>,
}

/// Reads a listing at the start of an instance, when nothing is being made. `discarded` is to be destroyed already.
pub(crate) fn found(layout: &Layout, rows: &[Row], discarded: &BTreeSet<String>) -> Found {
    let mut found = Found::default();
    for row in rows {
        if let (dataset, Some(snapshot)) = row.split() {
            // Of a sandbox, by a snapshot that was not finished.
            let of_sandbox = layout
                .place(dataset)
                .filter(|p| p.shelf == Shelf::Sandboxes);
            if let Some(place) = of_sandbox.filter(|_| row.kind == Some(Kind::Draft)) {
                found.trash.push(format!("{place}@{snapshot}"));
            }
            continue;
        }
        let Some((place, kind)) = row.own(layout) else {
            let shelves = Shelf::ALL.map(|shelf| layout.shelf(shelf));
            if row.name != layout.root() && !shelves.contains(&row.name) {
                found.strangers.push(row.name.clone());
            }
            continue;
        };
        let name = place.to_string();
        if discarded.contains(&name) {
            continue;
        }
        match (place.shelf, kind) {
            (Shelf::Sandboxes, Kind::Sandbox) => {}
            (Shelf::Volumes, Kind::Volume) => found.volumes.extend(place.volume_id()),
            (Shelf::Templates, Kind::Template) => {
                let version = place.version().zip(base(layout, rows, &place));
                let Some(((template, stamp), base)) = version else {
                    found.strangers.push(row.name.clone());
                    continue;
                };
                let former = found.templates.get(&template).map(|former| former.stamp);
                if former.is_some_and(|former| former > stamp) {
                    found.trash.push(name);
                    continue;
                }
                if let Some(former) = former {
                    found
                        .trash
                        .push(Place::template(&template, former).to_string());
                }
                found.templates.insert(template, base);
            }
            (Shelf::Templates, Kind::Passing | Kind::Draft) | (Shelf::Volumes, Kind::Draft) => {
                found.trash.push(name);
            }
            _ => found.strangers.push(row.name.clone()),
        }
    }
    found.trash.retain(|name| !discarded.contains(name));
    found
}

/// The version of a template at `place`, if it is whole: it has its snapshot, and says what it descends from.
pub(crate) fn base(layout: &Layout, rows: &[Row], place: &Place) -> Option<Base> {
    let (template, stamp) = place.version()?;
    let dataset = layout.dataset(place);
    let row = rows.iter().find(|row| row.name == dataset)?;
    let snapshot = layout.snapshot(place, stamp);
    let snapshot = rows.iter().find(|row| row.name == snapshot)?;
    let lineage = record::lineage(row.lineage.as_deref()?)?;
    let whole = matches!(row.kind, Some(Kind::Template | Kind::Passing))
        && row.stamp == Some(stamp)
        && lineage.first() == Some(&template);
    whole.then(|| Base {
        stamp,
        created: row.created,
        referenced: snapshot.referenced,
        lineage,
        host_base: row.host_base,
        made_of: row.made_of.clone(),
    })
}

/// Drafts that nobody makes any more, as [`crate::files::Files::discard`] names them: what a process that was killed still
/// had the kernel make. `stale` says it of a draft's stamp.
pub(crate) fn forgotten(layout: &Layout, rows: &[Row], stale: impl Fn(u64) -> bool) -> Vec<String> {
    let name = |row: &Row| {
        let (dataset, snapshot) = row.split();
        let place = layout.place(dataset).filter(Place::is_ours)?;
        if row.kind != Some(Kind::Draft) {
            return None;
        }
        match (place.shelf, snapshot) {
            (Shelf::Templates, None) => row.stamp.filter(|s| stale(*s)).map(|_| place.to_string()),
            (Shelf::Sandboxes, Some(snapshot)) => {
                let old = snapshot.parse().is_ok_and(&stale);
                old.then(|| format!("{place}@{snapshot}"))
            }
            _ => None,
        }
    };
    rows.iter().filter_map(name).collect()
}

/// One thing to destroy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Garbage {
    /// A tree with its snapshots, made with this stamp.
    Tree(Place, Option<u64>),
    /// A snapshot alone: its tree, and its name.
    Snapshot(Place, String),
}

/// What can be destroyed now, in this order; the rest of what is discarded waits until nothing is cloned from it.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Sweep {
    pub(crate) now: Vec<Garbage>,
    /// Discarded, and gone.
    pub(crate) gone: Vec<String>,
    /// To be destroyed, but somebody made datasets below.
    pub(crate) held: Vec<String>,
}

/// Compares a listing with what is wanted. `records` are the trees of sandboxes by their stamps, read after the listing was
/// made: a record is written before its clone, so a clone without one is garbage. `wanted` are versions of templates that
/// are still to be cloned.
pub(crate) fn sweep(
    layout: &Layout,
    rows: &[Row],
    records: &BTreeMap<SandboxId, u64>,
    discarded: &BTreeSet<String>,
    wanted: &BTreeSet<Place>,
) -> Sweep {
    let mut sweep = Sweep::default();
    let mut waiting: BTreeMap<&str, (Place, Option<u64>)> = BTreeMap::new();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    for row in rows {
        let Some((place, kind)) = row.own(layout) else {
            continue;
        };
        let dead = match (place.sandbox_id(), kind) {
            (Some(id), Kind::Sandbox) => {
                row.stamp.is_none() || records.get(&id) != row.stamp.as_ref()
            }
            (Some(_), _) => false,
            (None, _) => discarded.contains(&place.to_string()) && !wanted.contains(&place),
        };
        if !dead {
            continue;
        }
        let below = format!("{}/", row.name);
        if names
            .range(below.as_str()..)
            .next()
            .is_some_and(|name| name.starts_with(&below))
        {
            sweep.held.push(row.name.clone());
        } else {
            waiting.insert(&row.name, (place, row.stamp));
        }
    }
    // Whatever is cloned from one goes before it.
    let clones = |of: &str| {
        rows.iter()
            .filter(|row| row.origin.as_deref().and_then(|o| o.split('@').next()) == Some(of))
            .map(|row| row.name.as_str())
            .collect::<Vec<_>>()
    };
    let mut destroyed: BTreeSet<&str> = BTreeSet::new();
    loop {
        let free: Vec<&str> = waiting
            .keys()
            .copied()
            .filter(|name| clones(name).iter().all(|clone| destroyed.contains(clone)))
            .collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            destroyed.insert(name);
            let tree = waiting.remove(name);
            sweep
                .now
                .extend(tree.map(|(place, stamp)| Garbage::Tree(place, stamp)));
        }
    }
    for what in discarded {
        let name = format!("{}/{what}", layout.root());
        if !names.contains(name.as_str()) {
            sweep.gone.push(what.clone());
        } else if let Some((dataset, snapshot)) = name.split_once('@')
            && let Some(place) = layout.place(dataset)
            && !destroyed.contains(dataset)
            && !rows.iter().any(|row| row.origin.as_deref() == Some(&name))
        {
            sweep
                .now
                .push(Garbage::Snapshot(place, snapshot.to_owned()));
        }
    }
    sweep
}

#[cfg(test)]
mod tests;
