//! What the gateway knows: live sandboxes in memory, their records and the keys on disk.

mod events;
mod journal;
pub(crate) mod record;
pub(crate) mod snapshots;
mod store;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use warder_wire::SandboxId;

use crate::auth::Keys;
use crate::clock::Micros;
use crate::sandbox::{Phase, Sandbox};
pub(crate) use events::Events;
use record::{AuditRecord, Change, KeyRecord, SnapshotRecord};
pub(crate) use snapshots::Snapshots;
pub(crate) use store::{Store, StoreError};

/// All of it.
#[derive(Debug)]
pub(crate) struct Registry {
    store: Store,
    sandboxes: RwLock<HashMap<SandboxId, Arc<Sandbox>>>,
    keys: RwLock<Keys>,
    /// Snapshots.
    pub(crate) snapshots: Snapshots,
}

impl Registry {
    /// With what was on disk; sandboxes are entered one by one once their leases are known.
    pub(crate) fn new(store: Store, keys: Vec<KeyRecord>, snapshots: Vec<SnapshotRecord>) -> Self {
        Self {
            snapshots: Snapshots::new(store.clone(), snapshots),
            store,
            sandboxes: RwLock::default(),
            keys: RwLock::new(Keys::new(keys)),
        }
    }

    /// A sandbox by id.
    pub(crate) fn get(&self, id: &SandboxId) -> Option<Arc<Sandbox>> {
        self.get_any(id)
            .filter(|sandbox| sandbox.now().phase != Phase::Creating)
    }

    /// The same, also while it is being made.
    pub(crate) fn get_any(&self, id: &SandboxId) -> Option<Arc<Sandbox>> {
        self.sandboxes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// All sandboxes that are made, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Sandbox>> {
        let all = self
            .sandboxes
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        all.values()
            .filter(|sandbox| sandbox.now().phase != Phase::Creating)
            .cloned()
            .collect()
    }

    /// All sandboxes, also those that are being made or that no user sees, in no order.
    pub(crate) fn everything(&self) -> Vec<Arc<Sandbox>> {
        let all = self
            .sandboxes
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        all.values().cloned().collect()
    }

    /// Enters a sandbox in memory only.
    pub(crate) fn enter(&self, sandbox: Arc<Sandbox>) {
        let mut all = self
            .sandboxes
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        all.insert(sandbox.id.clone(), sandbox);
    }

    /// Takes a sandbox out of memory only.
    pub(crate) fn leave(&self, id: &SandboxId) {
        self.sandboxes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }

    /// Writes a sandbox down as it is now.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(crate) fn save(&self, sandbox: &Sandbox) -> io::Result<()> {
        // Under its lock, so that two savers write in the order in which they changed it.
        let now = sandbox.now();
        self.store
            .write(Change::Sandbox(Box::new(now.record.clone())))
    }

    /// Waits until everything written so far would survive a loss of power.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub(crate) async fn synced(&self) -> io::Result<()> {
        match self.store.synced().await {
            true => Ok(()),
            false => Err(io::Error::other("the registry could not be synced")),
        }
    }

    /// A sandbox is gone. Returns it if it was known.
    pub(crate) fn remove(&self, id: &SandboxId) -> Option<Arc<Sandbox>> {
        let gone = self
            .sandboxes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        if gone.is_some() {
            self.forget(id);
        }
        gone
    }

    /// Takes a sandbox off the disk. If that fails, the next start finds no lease for it and does it then.
    pub(crate) fn forget(&self, id: &SandboxId) {
        if let Err(error) = self.store.write(Change::SandboxGone(id.clone())) {
            eprintln!("gatewayd: {id}: end not written down: {error}");
        }
    }

    /// Reads the keys.
    pub(crate) fn keys<T>(&self, look: impl FnOnce(&Keys) -> T) -> T {
        look(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the keys, on disk first. It holds when this returns.
    ///
    /// # Errors
    /// When it cannot be written down; nothing is changed then.
    pub(crate) async fn change_keys(&self, change: Change) -> io::Result<()> {
        self.store.write(change.clone())?;
        let synced = self.store.synced().await;
        self.keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .apply(change);
        if synced {
            Ok(())
        } else {
            Err(io::Error::other("the registry could not be synced"))
        }
    }

    /// Writes down what is not kept here.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(crate) fn write(&self, change: Change) -> io::Result<()> {
        self.store.write(change)
    }

    /// The same, and it survives a loss of power when this returns.
    ///
    /// # Errors
    /// When it cannot be written down, or not synced.
    pub(crate) async fn keep(&self, change: Change) -> io::Result<()> {
        self.store.write(change)?;
        if self.store.synced().await {
            Ok(())
        } else {
            Err(io::Error::other("the registry could not be synced"))
        }
    }

    /// Writes an audit line. A full disk must not stop kills, so failing to write is only logged.
    pub(crate) fn audit(&self, who: &str, what: &str, on: &str, note: impl Into<String>) {
        let line = AuditRecord {
            at: Micros::now().into(),
            who: who.to_owned(),
            what: what.to_owned(),
            on: on.to_owned(),
            note: note.into(),
        };
        if let Err(error) = self.store.write(Change::Audit(line)) {
            eprintln!("gatewayd: audit line lost ({what} {on}): {error}");
        }
    }

    /// The last audit lines, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn audit_lines(&self, most: usize) -> Result<Vec<AuditRecord>, StoreError> {
        self.store.audit(most)
    }
}
