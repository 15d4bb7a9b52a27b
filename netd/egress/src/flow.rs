//! A flow: something a sandbox has open here, counted, and ended by the first policy that forbids it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use warder_wire::Policy;

use crate::sandboxes::Sandbox;

/// Questions a sandbox may have open at once, over UDP.
const QUESTIONS: usize = 256;

/// What a flow is, for its limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A TCP connection: as many as the operator lets the sandbox have.
    Connection,
    /// A datagram that waits for an answer.
    Question,
}

/// Whether a policy allows a flow. Pure: it is asked of each new policy.
type Judge = Box<dyn Fn(&Policy) -> bool + Send>;

/// How many flows there may be of all sandboxes.
#[derive(Debug)]
pub(crate) struct Room {
    most: usize,
    used: AtomicUsize,
}

impl Room {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            used: AtomicUsize::new(0),
        })
    }

    /// A sandbox that has `own` flows may have another one while that many are free: one that takes all it can
    /// gets half, two get a third each, and there is always some left for who comes next.
    fn admits(&self, own: usize) -> bool {
        own < self.most.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

/// Why there is no further flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoFlow {
    /// The sandbox has as many as it may have.
    TooMany,
    /// The sandbox is gone, or its air gap is closed.
    Closed,
}

/// The flows of one sandbox, with the policy they live by.
#[derive(Debug)]
pub(crate) struct Flows {
    room: Arc<Room>,
    inner: Mutex<Inner>,
    left: Notify,
}

#[derive(Debug)]
struct Inner {
    generation: u64,
    policy: Arc<Policy>,
    most: usize,
    gone: bool,
    last: u64,
    counts: [usize; 2],
    entries: HashMap<u64, Entry>,
}

struct Entry {
    kind: Kind,
    judge: Option<Judge>,
    end: Arc<End>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("kind", &self.kind)
            .field("judged", &self.judge.is_some())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct End {
    said: AtomicBool,
    heard: Notify,
}

impl End {
    fn say(&self) {
        self.said.store(true, Ordering::Relaxed);
        self.heard.notify_waiters();
    }

    async fn hear(&self) {
        let mut heard = pin!(self.heard.notified());
        heard.as_mut().enable();
        if !self.said.load(Ordering::Relaxed) {
            heard.await;
        }
    }
}

impl Flows {
    pub(crate) fn new(room: Arc<Room>, generation: u64, policy: Policy, most: u32) -> Self {
        Self {
            room,
            inner: Mutex::new(Inner {
                generation,
                policy: Arc::new(policy),
                most: usize::try_from(most).unwrap_or(usize::MAX),
                gone: false,
                last: 0,
                counts: [0; 2],
                entries: HashMap::new(),
            }),
            left: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while it is held ends the process anyway (panic = "abort").
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The policy in force and its generation.
    pub(crate) fn policy(&self) -> (u64, Arc<Policy>) {
        let inner = self.lock();
        (inner.generation, Arc::clone(&inner.policy))
    }

    /// Puts a policy in force. Numbers of the flows that it ends; they are gone after [`Flows::settled`].
    pub(crate) fn put(&self, generation: u64, policy: Policy, most: u32) -> Vec<u64> {
        let mut inner = self.lock();
        inner.generation = generation;
        inner.policy = Arc::new(policy);
        inner.most = usize::try_from(most).unwrap_or(usize::MAX);
        inner.end_forbidden()
    }

    /// Ends all, for good.
    pub(crate) fn close(&self) -> Vec<u64> {
        let mut inner = self.lock();
        inner.gone = true;
        inner.end_forbidden()
    }

    /// Waits until none of `ended` is left.
    pub(crate) async fn settled(&self, ended: &[u64]) {
        loop {
            let mut left = pin!(self.left.notified());
            left.as_mut().enable();
            let none = {
                let inner = self.lock();
                !ended.iter().any(|flow| inner.entries.contains_key(flow))
            };
            if none {
                return;
            }
            left.await;
        }
    }
}

impl Inner {
    fn end_forbidden(&self) -> Vec<u64> {
        let closed = self.gone || self.policy.airgap;
        let forbidden = |entry: &Entry| {
            closed
                || entry
                    .judge
                    .as_ref()
                    .is_some_and(|judge| !judge(&self.policy))
        };
        let ended = self.entries.iter().filter(|(_, entry)| forbidden(entry));
        ended
            .map(|(number, entry)| {
                entry.end.say();
                *number
            })
            .collect()
    }
}

/// One flow. It counts until it is dropped, so drop its sockets before.
#[derive(Debug)]
pub(crate) struct Flow {
    sandbox: Arc<Sandbox>,
    number: u64,
    kind: Kind,
    end: Arc<End>,
}

impl Flow {
    /// Another flow of `sandbox`.
    ///
    /// # Errors
    /// [`NoFlow`].
    pub(crate) fn begin(sandbox: &Arc<Sandbox>, kind: Kind) -> Result<Self, NoFlow> {
        let flows = &sandbox.flows;
        let mut inner = flows.lock();
        if inner.gone || inner.policy.airgap {
            return Err(NoFlow::Closed);
        }
        let most = match kind {
            Kind::Connection => inner.most,
            Kind::Question => QUESTIONS,
        };
        if inner.counts[kind as usize] >= most || !flows.room.admits(inner.entries.len()) {
            return Err(NoFlow::TooMany);
        }
        inner.last += 1;
        let number = inner.last;
        let end = Arc::new(End::default());
        let entry = Entry {
            kind,
            judge: None,
            end: Arc::clone(&end),
        };
        inner.entries.insert(number, entry);
        inner.counts[kind as usize] += 1;
        flows.room.used.fetch_add(1, Ordering::Relaxed);
        drop(inner);
        Ok(Self {
            sandbox: Arc::clone(sandbox),
            number,
            kind,
            end,
        })
    }

    /// Whose it is.
    pub(crate) fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    /// From now on it lives as long as each new policy passes `judge`, which replaces the last one. Before the
    /// first, only an air gap and the sandbox's end concern it. Whether the policy in force passes; if not, the flow
    /// goes on as it was judged before, so that it can be told why.
    pub(crate) fn judged(&self, judge: impl Fn(&Policy) -> bool + Send + 'static) -> bool {
        let mut inner = self.sandbox.flows.lock();
        let passes = !inner.gone && judge(&inner.policy);
        if let Some(entry) = inner.entries.get_mut(&self.number)
            && passes
        {
            entry.judge = Some(Box::new(judge));
        }
        passes
    }

    /// Does `work`, but no longer than a policy lets the flow live: then `work` is dropped where it is, with all its
    /// sockets, and the result is `None`.
    pub(crate) async fn unless_ended<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.end.hear() => None,
            result = work => Some(result),
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let flows = &self.sandbox.flows;
        let mut inner = flows.lock();
        inner.entries.remove(&self.number);
        inner.counts[self.kind as usize] -= 1;
        drop(inner);
        flows.room.used.fetch_sub(1, Ordering::Relaxed);
        flows.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use warder_wire::{Cidr, SandboxId};

    use super::*;
    use crate::sandboxes::Sandboxes;

    fn sandbox(all: &Sandboxes, n: u8, policy: Policy) -> Arc<Sandbox> {
        let id = SandboxId::new(&format!("i{n:020}")).expect("an id");
        let address = Ipv4Addr::new(10, 0, 0, n);
        all.put(id, address, 1, policy, 4);
        all.at(address).expect("put")
    }

    fn is_ended(flow: &Flow) -> bool {
        flow.end.said.load(Ordering::Relaxed)
    }

    fn connection(of: &Arc<Sandbox>) -> Result<Flow, NoFlow> {
        Flow::begin(of, Kind::Connection)
    }

    #[tokio::test]
    async fn a_sandbox_that_takes_all_it_can_leaves_some_for_others() {
        let all = Sandboxes::new(5);
        let (greedy, modest) = (
            sandbox(&all, 1, Policy::OPEN),
            sandbox(&all, 2, Policy::OPEN),
        );
        let mut flows: Vec<Flow> = (0..3).map(|_| connection(&greedy).expect("room")).collect();
        assert_eq!(connection(&greedy).err(), Some(NoFlow::TooMany), "half");
        flows.push(connection(&modest).expect("room"));
        assert_eq!(connection(&modest).err(), Some(NoFlow::TooMany));
        flows.clear();
        let own: Vec<_> = (0..3).map(|_| connection(&modest)).collect();
        assert!(own.iter().all(Result::is_ok), "all came back");
    }

    #[tokio::test]
    async fn a_sandbox_has_its_own_limit_for_each_kind() {
        let all = Sandboxes::new(1000);
        let one = sandbox(&all, 1, Policy::OPEN);
        let mut flows: Vec<Flow> = (0..4).map(|_| connection(&one).expect("room")).collect();
        assert_eq!(connection(&one).err(), Some(NoFlow::TooMany));
        let question = Flow::begin(&one, Kind::Question);
        assert!(question.is_ok());
        flows.pop();
        assert!(connection(&one).is_ok());
    }

    #[tokio::test]
    async fn the_first_policy_that_forbids_it_ends_it_and_then_it_settles() {
        let all = Sandboxes::new(1000);
        let one = sandbox(&all, 1, Policy::OPEN);
        let to = Ipv4Addr::new(192, 0, 2, 1);
        let (kept, ended) = (
            connection(&one).expect("room"),
            connection(&one).expect("room"),
        );
        assert!(kept.judged(|_| true));
        assert!(ended.judged(move |policy| policy.judge(&[], to).0));
        assert!(!ended.judged(|_| false), "and goes on as judged before");
        let denied = Policy {
            deny: vec![Cidr::ALL],
            ..Policy::OPEN
        };
        let forbidden = one.flows.put(2, denied, 4);
        assert_eq!(forbidden, [ended.number]);
        assert!(is_ended(&ended) && !is_ended(&kept));
        assert_eq!(ended.unless_ended(async { 1 }).await, None);
        assert_eq!(kept.unless_ended(async { 1 }).await, Some(1));
        let mut settled = pin!(one.flows.settled(&forbidden));
        assert!(
            still_waits(settled.as_mut()).await,
            "its sockets may still be there"
        );
        drop(ended);
        settled.await;
        // An air gap ends what no judge was ever given, too.
        let silent = connection(&one).expect("room");
        one.flows.put(3, Policy::CLOSED, 4);
        assert!(is_ended(&silent) && is_ended(&kept));
        assert_eq!(connection(&one).err(), Some(NoFlow::Closed));
    }

    /// Whether a future still waits, looked at once.
    async fn still_waits(mut future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending()))
            .await
    }
}
