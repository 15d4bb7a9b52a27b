//! What is ready, what is wanted, and what went wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use warder_wire::TemplateName;

use crate::limits;
use crate::sandbox::Sandbox;

/// Pause after the first failure to make one; it doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a place that was given up is left to others.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// One that is ready.
#[derive(Debug)]
struct Ready {
    sandbox: Arc<Sandbox>,
    renewed: Instant,
}

/// Those of one template.
#[derive(Debug, Default)]
struct Pool {
    size: usize,
    ready: Vec<Ready>,
    /// Being made.
    making: usize,
    /// Creates that took one, and that found none.
    taken: (u64, u64),
    /// Counts changes of the template: what was begun before one is thrown away.
    generation: u64,
    failures: u32,
    error: Option<String>,
    not_before: Option<Instant>,
}

/// A place to fill.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) template: TemplateName,
    generation: u64,
}

/// How a pool stands.
#[derive(Debug)]
pub(crate) struct State {
    /// Of this template.
    pub(crate) template: TemplateName,
    /// How many are wanted.
    pub(crate) size: usize,
    /// How many are ready.
    pub(crate) ready: usize,
    /// How many are being made.
    pub(crate) making: usize,
    /// Why the last could not be made.
    pub(crate) error: Option<String>,
    /// Creates that took one, and creates that would have and found none.
    pub(crate) taken: (u64, u64),
}

#[derive(Debug, Default)]
struct Inner {
    pools: BTreeMap<TemplateName, Pool>,
    claimed: Option<Instant>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct WarmPools {
    inner: Mutex<Inner>,
    /// Something is to be done.
    pub(super) wake: Notify,
}

impl WarmPools {
    /// With the sizes that were on disk.
    pub(crate) fn new(sizes: Vec<(TemplateName, u32)>) -> Self {
        let pools = Self::default();
        for (template, size) in sizes {
            pools.resize(template, usize::try_from(size).unwrap_or(0));
        }
        pools
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many are wanted from now on.
    pub(super) fn resize(&self, template: TemplateName, size: usize) {
        let mut inner = self.lock();
        let pool = inner.pools.entry(template).or_default();
        pool.size = size;
        pool.failures = 0;
        pool.not_before = None;
        drop(inner);
        self.wake.notify_one();
    }

    /// How they stand, in order of name.
    pub(crate) fn list(&self) -> Vec<State> {
        let inner = self.lock();
        let wanted = inner.pools.iter().filter(|(_, pool)| pool.size > 0);
        wanted
            .map(|(template, pool)| State {
                template: template.clone(),
                size: pool.size,
                ready: pool.ready.len(),
                making: pool.making,
                error: pool.error.clone(),
                taken: pool.taken,
            })
            .collect()
    }

    /// Takes one out: nobody else gets it. The youngest, as the others may grow old and be replaced.
    pub(super) fn take(&self, template: &TemplateName) -> Option<Arc<Sandbox>> {
        let mut inner = self.lock();
        let pool = inner.pools.get_mut(template)?;
        // One that has ended stays until `surplus` sees to it.
        let alive = |ready: &Ready| !ready.sandbox.ended.is_cancelled();
        let Some(youngest) = pool.ready.iter().rposition(alive) else {
            pool.taken.1 += 1;
            return None;
        };
        let found = pool.ready.remove(youngest).sandbox;
        pool.taken.0 += 1;
        inner.claimed = Some(Instant::now());
        drop(inner);
        self.wake.notify_one();
        Some(found)
    }

    /// Takes out one that can be spared, and lets its place be for a while.
    pub(super) fn give_up(&self) -> Option<Arc<Sandbox>> {
        let mut inner = self.lock();
        let later = Instant::now() + GIVEN_UP;
        for pool in inner.pools.values_mut() {
            pool.not_before = pool.not_before.max(Some(later));
        }
        let pools = inner.pools.values_mut();
        let fullest = pools.max_by_key(|pool| pool.ready.len())?;
        fullest.ready.pop().map(|ready| ready.sandbox)
    }

    /// The template changes: takes out all of it, and throws away what is being made.
    pub(super) fn changed(&self, template: &TemplateName) -> Vec<Arc<Sandbox>> {
        let mut inner = self.lock();
        let Some(pool) = inner.pools.get_mut(template) else {
            return Vec::new();
        };
        pool.generation += 1;
        pool.failures = 0;
        pool.not_before = None;
        let all = std::mem::take(&mut pool.ready);
        drop(inner);
        self.wake.notify_one();
        all.into_iter().map(|ready| ready.sandbox).collect()
    }

    /// Takes out what is too much and what has ended.
    pub(super) fn surplus(&self) -> Vec<Arc<Sandbox>> {
        let mut out = Vec::new();
        let mut inner = self.lock();
        for pool in inner.pools.values_mut() {
            let ready = std::mem::take(&mut pool.ready).into_iter();
            let (ended, alive): (Vec<_>, Vec<_>) =
                ready.partition(|ready| ready.sandbox.ended.is_cancelled());
            pool.ready = alive;
            let first = pool.ready.len().min(pool.size);
            let more = pool.ready.split_off(first);
            out.extend(ended.into_iter().chain(more).map(|ready| ready.sandbox));
        }
        inner
            .pools
            .retain(|_, pool| pool.size > 0 || pool.making > 0);
        out
    }

    /// Those whose leases are to be renewed. They stay in.
    pub(super) fn aging(&self) -> Vec<Arc<Sandbox>> {
        let old = limits::HIDDEN_TTL / 3;
        let mut inner = self.lock();
        let all = inner.pools.values_mut().flat_map(|pool| &mut pool.ready);
        let aging = all.filter(|ready| ready.renewed.elapsed() >= old);
        aging
            .map(|ready| {
                // Taken for done: if it fails, the next time is early enough.
                ready.renewed = Instant::now();
                Arc::clone(&ready.sandbox)
            })
            .collect()
    }

    /// Whether nobody has taken one for so long.
    pub(super) fn unclaimed_for(&self, time: Duration) -> bool {
        self.lock().claimed.is_none_or(|at| at.elapsed() >= time)
    }

    /// A place to fill, which is then being filled.
    pub(super) fn begin(&self) -> Option<Place> {
        let mut inner = self.lock();
        let now = Instant::now();
        let (template, pool) = inner.pools.iter_mut().find(|(_, pool)| {
            pool.ready.len() + pool.making < pool.size && pool.not_before.is_none_or(|at| at <= now)
        })?;
        pool.making += 1;
        Some(Place {
            template: template.clone(),
            generation: pool.generation,
        })
    }

    /// It is filled, unless the template has changed or nobody wants it any more: then it comes back.
    pub(super) fn filled(&self, place: &Place, sandbox: Arc<Sandbox>) -> Option<Arc<Sandbox>> {
        let mut inner = self.lock();
        let Some(pool) = inner.pools.get_mut(&place.template) else {
            return Some(sandbox);
        };
        pool.making -= 1;
        if pool.generation != place.generation || pool.ready.len() >= pool.size {
            return Some(sandbox);
        }
        pool.failures = 0;
        pool.error = None;
        pool.ready.push(Ready {
            sandbox,
            renewed: Instant::now(),
        });
        None
    }

    /// It could not be filled. True: that is news.
    pub(super) fn failed(&self, place: &Place, why: String) -> bool {
        let mut inner = self.lock();
        let Some(pool) = inner.pools.get_mut(&place.template) else {
            return false;
        };
        pool.making -= 1;
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(pool.failures.min(16));
        pool.failures = pool.failures.saturating_add(1);
        pool.not_before = Some(Instant::now() + pause.min(LONGEST_PAUSE));
        let news = pool.error.as_ref() != Some(&why);
        pool.error = Some(why);
        news
    }
}
