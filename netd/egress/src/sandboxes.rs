//! The sandboxes netd has told of: by address, with the policy of each and its flows.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use warder_wire::{Policy, SandboxId};

use crate::flow::{Flows, Room};
use crate::pace::Pace;
use crate::resolve::Cache;
use crate::web::held::Share;

/// How long traffic of an address nobody knows waits for netd to say whose it is: the event may lie unread.
const PATIENCE: Duration = Duration::from_millis(250);

/// A sandbox at an address.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Which.
    pub(crate) id: SandboxId,
    /// Where its traffic comes from.
    pub(crate) address: Ipv4Addr,
    /// What it has open here, and the policy that holds for it.
    pub(crate) flows: Flows,
    /// What was resolved for it.
    pub(crate) names: Cache,
    /// How fast it has sockets made.
    pub(crate) pace: Pace,
    /// What its connections hold.
    pub(crate) held: Share,
}

/// Flows that a change has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    sandbox: Arc<Sandbox>,
    flows: Vec<u64>,
}

impl Ended {
    /// Waits until they are gone.
    pub(crate) async fn settled(self) {
        self.sandbox.flows.settled(&self.flows).await;
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Sandboxes {
    room: Arc<Room>,
    tables: Mutex<Tables>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Tables {
    by_id: HashMap<SandboxId, Arc<Sandbox>>,
    by_address: HashMap<Ipv4Addr, Arc<Sandbox>>,
}

impl Tables {
    fn remove(&mut self, id: &SandboxId) -> Option<Ended> {
        let sandbox = self.by_id.remove(id)?;
        self.by_address.remove(&sandbox.address);
        let flows = sandbox.flows.close();
        Some(Ended { sandbox, flows })
    }
}

impl Sandboxes {
    /// None yet; `room` flows of all of them at most.
    pub(crate) fn new(room: usize) -> Self {
        Self {
            room: Room::new(room),
            tables: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What netd says holds from now on; what it ended.
    pub(crate) fn put(
        &self,
        id: SandboxId,
        address: Ipv4Addr,
        generation: u64,
        policy: Policy,
        most: u32,
    ) -> Vec<Ended> {
        let mut tables = self.lock();
        let known = tables.by_id.get(&id).filter(|s| s.address == address);
        if let Some(sandbox) = known.map(Arc::clone) {
            let flows = sandbox.flows.put(generation, policy, most);
            return vec![Ended { sandbox, flows }];
        }
        // At another address, or in the place of another one: what was there before has ended.
        let before = tables.by_address.get(&address).map(|s| s.id.clone());
        let mut ended: Vec<Ended> = before
            .and_then(|id| tables.remove(&id))
            .into_iter()
            .collect();
        ended.extend(tables.remove(&id));
        let sandbox = Arc::new(Sandbox {
            id: id.clone(),
            address,
            flows: Flows::new(Arc::clone(&self.room), generation, policy, most),
            names: Cache::default(),
            pace: Pace::default(),
            held: Share::default(),
        });
        tables.by_address.insert(address, Arc::clone(&sandbox));
        tables.by_id.insert(id, sandbox);
        drop(tables);
        self.changed.notify_waiters();
        ended
    }

    /// What netd says is gone; what that ended.
    pub(crate) fn remove(&self, id: &SandboxId) -> Option<Ended> {
        self.lock().remove(id)
    }

    /// Whose `address` is.
    pub(crate) fn at(&self, address: Ipv4Addr) -> Option<Arc<Sandbox>> {
        self.lock().by_address.get(&address).cloned()
    }

    /// Whose `address` is, or will be as soon as netd's events are read.
    pub(crate) async fn soon_at(&self, address: Ipv4Addr) -> Option<Arc<Sandbox>> {
        let known = async {
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                if let Some(sandbox) = self.at(address) {
                    return sandbox;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, known).await.ok()
    }
}
