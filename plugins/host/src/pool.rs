//! The threads that call the plugin.
//!
//! A fixed number, since none can be started after the last filter. Jobs that change a sandbox are done one
//! after the other for each sandbox, so that a destroy never overtakes the create it follows.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use warder_abi::{Answer, Head, Instance};
use warder_wire::SandboxId;

/// Threads: how many calls of the plugin can be under way.
const THREADS: usize = 32;
/// Their stacks in bytes; the plugin's code runs on them.
const STACK: usize = 1 << 20;
/// Jobs that may wait.
const WAITING: usize = 512;

/// A call of the plugin.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Its number.
    pub(crate) id: u64,
    /// For the plugin.
    pub(crate) head: Head,
    /// For the plugin.
    pub(crate) body: Vec<u8>,
    /// The sandbox it changes, if it changes one.
    pub(crate) changes: Option<SandboxId>,
    /// Its deadline.
    pub(crate) until: Instant,
}

/// The pool. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    changing: HashSet<SandboxId>,
}

impl Pool {
    /// Starts the threads; `done` hears of each job's end.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(
        &self,
        instance: Instance,
        done: impl Fn(&Job, Answer) + Send + Sync + 'static,
    ) -> io::Result<()> {
        let plugin = Arc::new((instance, done));
        for number in 0..THREADS {
            let (pool, plugin) = (self.clone(), Arc::clone(&plugin));
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .stack_size(STACK)
                .spawn(move || {
                    loop {
                        let mut job = pool.take();
                        // What it waited for is gone from its time.
                        let left = job.until.saturating_duration_since(Instant::now());
                        job.head.deadline_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
                        let answer = plugin.0.call(job.head, &job.body);
                        pool.free(&job);
                        plugin.1(&job, answer);
                    }
                })?;
        }
        Ok(())
    }

    /// Queues a job; false when too many wait.
    pub(crate) fn add(&self, job: Job) -> bool {
        let mut state = self.state();
        if state.waiting.len() >= WAITING {
            return false;
        }
        state.waiting.push_back(job);
        drop(state);
        self.0.work.notify_one();
        true
    }

    /// Takes a job back that no thread has begun.
    pub(crate) fn withdraw(&self, id: u64) -> bool {
        let mut state = self.state();
        let before = state.waiting.len();
        state.waiting.retain(|job| job.id != id);
        state.waiting.len() < before
    }

    fn take(&self) -> Job {
        let mut state = self.state();
        loop {
            if let Some(job) = state.next() {
                return job;
            }
            state = self
                .0
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn free(&self, job: &Job) {
        if let Some(sandbox) = &job.changes {
            let mut state = self.state();
            state.changing.remove(sandbox);
            // Of what waits for this sandbox one can go on; the thread that takes it may be any.
            let waited = |job: &Job| job.changes.as_ref() == Some(sandbox);
            if state.waiting.iter().any(waited) {
                drop(state);
                self.0.work.notify_one();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The first job whose sandbox nobody is changing.
    fn next(&mut self) -> Option<Job> {
        let busy = |job: &Job| {
            let sandbox = job.changes.as_ref();
            sandbox.is_some_and(|sandbox| self.changing.contains(sandbox))
        };
        let at = self.waiting.iter().position(|job| !busy(job))?;
        let job = self.waiting.remove(at)?;
        self.changing.extend(job.changes.clone());
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: u64, sandbox: Option<u8>) -> Job {
        Job {
            id,
            head: Head {
                code: 1,
                operation: [0; 16],
                deadline_ms: 1,
            },
            body: Vec::new(),
            changes: sandbox.map(|n| SandboxId::from_random(&[n; 20])),
            until: Instant::now(),
        }
    }

    #[test]
    fn one_sandbox_is_changed_by_one_job_at_a_time_and_in_order() {
        let pool = Pool::default();
        for queued in [
            job(1, Some(1)),
            job(2, Some(1)),
            job(3, Some(2)),
            job(4, None),
        ] {
            assert!(pool.add(queued));
        }
        let first = pool.take();
        assert_eq!([first.id, pool.take().id, pool.take().id], [1, 3, 4]);
        assert!(pool.state().next().is_none());
        pool.free(&first);
        assert_eq!(pool.take().id, 2);
    }

    #[test]
    fn waiting_jobs_are_bounded_and_can_be_taken_back() {
        let pool = Pool::default();
        for id in 0..WAITING as u64 {
            assert!(pool.add(job(id, None)));
        }
        assert!(!pool.add(job(9999, None)));
        assert!(pool.withdraw(7));
        assert!(!pool.withdraw(7));
        assert!(pool.add(job(9999, None)));
    }
}
