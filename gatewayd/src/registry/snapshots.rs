//! Snapshots by id and by name. Several may bear one name and tag: the newest of them is meant by it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{PoisonError, RwLock};

use warder_wire::TemplateName;

use super::Store;
use super::record::{Change, SnapshotRecord};
use crate::clock::Micros;

/// All snapshots, also those being made.
#[derive(Debug)]
pub(crate) struct Snapshots {
    store: Store,
    all: RwLock<BTreeMap<TemplateName, SnapshotRecord>>,
}

impl Snapshots {
    /// With what was on disk.
    pub(super) fn new(store: Store, stored: Vec<SnapshotRecord>) -> Self {
        let all = stored.into_iter().map(|one| (one.template.clone(), one));
        Self {
            store,
            all: RwLock::new(all.collect()),
        }
    }

    /// Writes one down, new or changed.
    ///
    /// # Errors
    /// When it cannot be; nothing is changed then.
    pub(crate) fn put(&self, record: SnapshotRecord) -> io::Result<()> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        self.store.write(Change::Snapshot(record.clone()))?;
        all.insert(record.template.clone(), record);
        Ok(())
    }

    /// One is gone. If that cannot be written down, the next start finds no template for it and does it then.
    pub(crate) fn remove(&self, template: &TemplateName) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(template);
        if let Err(error) = self.store.write(Change::SnapshotGone(template.clone())) {
            eprintln!("gatewayd: {template}: end of a snapshot not written down: {error}");
        }
    }

    /// Whether privd's template of this name is a snapshot, ready or not, and no template of the operator's.
    pub(crate) fn is_one(&self, template: &TemplateName) -> bool {
        self.read(|all| all.contains_key(template))
    }

    /// How many there are, also of those being made.
    pub(crate) fn len(&self) -> usize {
        self.read(BTreeMap::len)
    }

    /// Every snapshot, ready or not, in order of id.
    pub(crate) fn all(&self) -> Vec<SnapshotRecord> {
        self.read(|all| all.values().cloned().collect())
    }

    /// Those that can be used, newest first.
    pub(crate) fn ready(&self) -> Vec<SnapshotRecord> {
        let mut found = self.all();
        found.retain(|one| one.ready);
        found.sort_by(|a, b| age(b).cmp(&age(a)));
        found
    }

    /// The one with this id.
    pub(crate) fn get(&self, template: &str) -> Option<SnapshotRecord> {
        let template = TemplateName::new(template).ok()?;
        self.read(|all| all.get(&template).filter(|one| one.ready).cloned())
    }

    /// All that bear this name, and this tag if one is given; newest first.
    pub(crate) fn named(&self, name: &str, tag: Option<&str>) -> Vec<SnapshotRecord> {
        let mut found = self.ready();
        found.retain(|one| {
            one.name
                .as_ref()
                .is_some_and(|(n, t)| n == name && tag.is_none_or(|tag| t == tag))
        });
        found
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<TemplateName, SnapshotRecord>) -> T) -> T {
        look(&self.all.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn age(record: &SnapshotRecord) -> (u64, &str) {
    (Micros::from(record.created).0, record.template.as_str())
}
