//! Who is let in to the ports of a sandbox, and what is under way through there.
//!
//! Whoever comes is judged and noted in one step, and new filters come into force and judge all that is noted in one
//! step: so nothing that they forbid begins behind them, and what they forbid of what had begun is known. It costs a
//! request two turns of a lock and no memory of its own.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::client_link::ClientLink;
use crate::network::{Denied, Filters, Mask};
use crate::sandbox::Sandbox;

/// How long what is forbidden may take to end by itself. A task that runs needs no such time, unless the machine is
/// busy; one whose client of HTTP/2 takes nothing of what it is sent would need for ever.
const GRACE: Duration = Duration::from_millis(200);

/// How long it may take to end once its client's connection was ended.
const END: Duration = Duration::from_secs(2);

/// The door of one sandbox.
#[derive(Debug, Default)]
pub(crate) struct Door {
    state: Mutex<State>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct State {
    filters: Filters,
    mask: Option<Arc<Mask>>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Visits that are forbidden now and not over.
    ending: usize,
}

#[derive(Debug)]
struct Slot {
    client: Option<IpAddr>,
    port: u16,
    /// None where nobody is.
    link: Option<ClientLink>,
    /// Something was sent to the client already.
    answered: bool,
    forbidden: bool,
    waker: Option<Waker>,
}

/// It is forbidden now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the sandbox's network rules forbid it now")]
pub(crate) struct Forbidden;

/// An exchange under way, or half of one. It is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Visit {
    sandbox: Arc<Sandbox>,
    client: Option<IpAddr>,
    slot: usize,
}

impl Door {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With these from the start.
    pub(crate) fn new(filters: Filters, mask: Option<Mask>) -> Self {
        let door = Self::default();
        door.replace(filters, mask);
        door
    }

    /// What requests are to say in `Host`, if that is not what they said.
    pub(crate) fn mask(&self) -> Option<Arc<Mask>> {
        self.lock().mask.clone()
    }

    /// Puts these in force, and ends what they forbid; returns when none of it is left. How many there were.
    pub(crate) async fn set(&self, filters: Filters, mask: Option<Mask>) -> usize {
        let forbidden = self.replace(filters, mask);
        if timeout(GRACE, self.empty()).await.is_ok() {
            return forbidden;
        }
        let links = self.lock().forbidden();
        links.iter().for_each(ClientLink::cut);
        if timeout(END, self.empty()).await.is_err() {
            // Their clients are cut off; what is left is a body the sandbox does not read.
            let left = self.lock().ending;
            eprintln!(
                "gatewayd: {left} forbidden exchanges are not over, though their clients are gone"
            );
        }
        forbidden
    }

    fn replace(&self, filters: Filters, mask: Option<Mask>) -> usize {
        let mut forbidden = 0;
        let (mut links, mut wakers) = (Vec::new(), Vec::new());
        {
            let mut state = self.lock();
            let state = &mut *state;
            state.filters = filters;
            state.mask = mask.map(Arc::new);
            for slot in &mut state.slots {
                let Some(link) = &slot.link else { continue };
                if slot.forbidden || state.filters.judge(slot.client, slot.port).is_ok() {
                    continue;
                }
                slot.forbidden = true;
                forbidden += 1;
                // Who has been told nothing yet is told why.
                if slot.answered && link.is_single() {
                    links.push(link.clone());
                }
                wakers.extend(slot.waker.take());
            }
            state.ending += forbidden;
        }
        links.iter().for_each(ClientLink::cut);
        wakers.into_iter().for_each(Waker::wake);
        forbidden
    }

    /// Until nothing is left of what is forbidden.
    async fn empty(&self) {
        loop {
            let mut emptied = pin!(self.emptied.notified());
            emptied.as_mut().enable();
            if self.lock().ending == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl State {
    fn begin(&mut self, slot: Slot) -> usize {
        self.ending += usize::from(slot.forbidden);
        match self.free.pop() {
            Some(at) => {
                self.slots[at] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }

    fn forbidden(&self) -> Vec<ClientLink> {
        let forbidden = self.slots.iter().filter(|slot| slot.forbidden);
        forbidden.filter_map(|slot| slot.link.clone()).collect()
    }
}

impl Visit {
    /// Lets a client in.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn begin(
        sandbox: &Arc<Sandbox>,
        client: Option<IpAddr>,
        link: ClientLink,
        port: u16,
    ) -> Result<Self, Denied> {
        let mut state = sandbox.door.lock();
        state.filters.judge(client, port)?;
        let slot = state.begin(Slot {
            client,
            port,
            link: Some(link),
            answered: false,
            forbidden: false,
            waker: None,
        });
        drop(state);
        Ok(Self {
            sandbox: Arc::clone(sandbox),
            client,
            slot,
        })
    }

    /// The same for the other half of the exchange.
    pub(crate) fn again(&self) -> Self {
        let mut state = self.sandbox.door.lock();
        let one = &state.slots[self.slot];
        // Where that is forbidden already, so is this.
        let other = Slot {
            client: one.client,
            port: one.port,
            link: one.link.clone(),
            answered: one.answered,
            forbidden: one.forbidden,
            waker: None,
        };
        let slot = state.begin(other);
        drop(state);
        Self {
            sandbox: Arc::clone(&self.sandbox),
            client: self.client,
            slot,
        }
    }

    /// Whose it is, as far as is known.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// From now on the client is being answered: it cannot be told anything else.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub(crate) fn answered(&self) -> Result<(), Forbidden> {
        let mut state = self.sandbox.door.lock();
        let slot = &mut state.slots[self.slot];
        slot.answered = true;
        if slot.forbidden {
            Err(Forbidden)
        } else {
            Ok(())
        }
    }

    /// Whether it is forbidden by now.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.sandbox.door.lock().slots[self.slot].forbidden
    }

    /// Ready once it is forbidden. Wakes whoever asked last.
    pub(crate) fn poll_forbidden(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.sandbox.door.lock();
        let slot = &mut state.slots[self.slot];
        if slot.forbidden {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Until it is forbidden.
    pub(crate) async fn forbidden(&self) {
        poll_fn(|cx| self.poll_forbidden(cx)).await;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let door = &self.sandbox.door;
        let mut state = door.lock();
        let slot = &mut state.slots[self.slot];
        // Dropped behind the lock: it may be the last who holds the connection.
        let gone = (slot.link.take(), slot.waker.take());
        if std::mem::take(&mut slot.forbidden) {
            state.ending -= 1;
            if state.ending == 0 {
                door.emptied.notify_waiters();
            }
        }
        state.free.push(self.slot);
        drop(state);
        drop(gone);
    }
}

/// What `work` comes to, unless the visit is forbidden before. Nothing forbids where there is no visit.
///
/// # Errors
/// [`Forbidden`].
pub(crate) async fn while_let_in<F: Future>(
    visit: Option<&Visit>,
    work: F,
) -> Result<F::Output, Forbidden> {
    let Some(visit) = visit else {
        return Ok(work.await);
    };
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = visit.forbidden() => Err(Forbidden),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use warder_ipc::aio::Reaper;

    use super::*;
    use crate::peers::Peers;
    use crate::sandbox::Phase;
    use crate::warm::tests::record;

    fn sandbox() -> Arc<Sandbox> {
        let (ours, _privd) = warder_ipc::Channel::pair().expect("socketpair");
        let (peers, _events) = Peers::new(ours).expect("watched");
        let reaper = Reaper::start().expect("thread");
        Sandbox::new(record(), Phase::Running, &Arc::new(peers), &reaper)
    }

    fn filters(deny: &[&str]) -> Filters {
        let deny: Vec<String> = deny.iter().map(|&text| text.into()).collect();
        Filters::parse(&[], &deny).expect("entries")
    }

    fn client(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    fn ready(visit: &Visit) -> bool {
        let waker = Waker::from(Arc::new(Nobody));
        visit
            .poll_forbidden(&mut Context::from_waker(&waker))
            .is_ready()
    }

    #[tokio::test]
    async fn new_filters_judge_what_is_under_way_and_what_comes() {
        let sandbox = sandbox();
        let begin = |last, port| Visit::begin(&sandbox, client(last), ClientLink::new(false), port);
        let (one, two) = (begin(1, 80).expect("open"), begin(2, 80).expect("open"));
        let other = begin(1, 81).expect("open");
        let unknown = Visit::begin(&sandbox, None, ClientLink::new(false), 80).expect("open");
        let half = one.again();
        assert!(!ready(&one) && !ready(&unknown));
        assert_eq!(sandbox.door.replace(filters(&["192.0.2.1:80"]), None), 3);
        assert!(ready(&one) && ready(&half) && ready(&unknown));
        assert!(!ready(&two) && !ready(&other));
        assert!(begin(1, 80).is_err() && begin(2, 80).is_ok());
        // Its other half begins forbidden.
        assert!(ready(&one.again()));
        // What was forbidden stays so, whatever is said later.
        assert_eq!(sandbox.door.replace(Filters::default(), None), 0);
        assert!(ready(&one) && one.answered() == Err(Forbidden));
        assert_eq!(two.answered(), Ok(()));
        let emptied = timeout(GRACE, sandbox.door.empty()).await;
        assert!(emptied.is_err(), "three are left");
        drop((one, half));
        assert!(timeout(GRACE, sandbox.door.empty()).await.is_err());
        drop(unknown);
        sandbox.door.empty().await;
        // Places are used again.
        drop((two, other));
        let before = sandbox.door.lock().slots.len();
        let all: Vec<_> = (0..5).map(|n| begin(n, 80).expect("open")).collect();
        assert_eq!(sandbox.door.lock().slots.len(), before);
        drop(all);
        assert_eq!(sandbox.door.lock().free.len(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_end_is_cut_off_and_whoever_is_let_in_is_not() {
        let sandbox = sandbox();
        let (stuck, well) = (ClientLink::new(false), ClientLink::new(false));
        let one = Visit::begin(&sandbox, client(1), stuck.clone(), 80).expect("open");
        let two = Visit::begin(&sandbox, client(2), well.clone(), 80).expect("open");
        let cut = stuck.clone();
        tokio::spawn(async move {
            cut.is_cut().await;
            drop(one);
        });
        assert_eq!(sandbox.door.set(filters(&["192.0.2.1"]), None).await, 1);
        assert!(timeout(GRACE, well.is_cut()).await.is_err());
        drop(two);
    }

    #[tokio::test]
    async fn a_single_exchange_that_was_answered_ends_with_its_connection() {
        let sandbox = sandbox();
        let begin = |link: &ClientLink| Visit::begin(&sandbox, client(1), link.clone(), 80);
        let (asked, answered) = (ClientLink::new(true), ClientLink::new(true));
        let one = begin(&asked).expect("open");
        let two = begin(&answered).expect("open");
        two.answered().expect("let in");
        assert_eq!(sandbox.door.replace(Filters::closed(), None), 2);
        answered.is_cut().await;
        let waits = timeout(Duration::from_millis(1), asked.is_cut()).await;
        assert!(waits.is_err(), "it is still to be told");
        assert_eq!(
            while_let_in(Some(&one), std::future::pending::<()>()).await,
            Err(Forbidden)
        );
        assert_eq!(while_let_in(None, async { 1 }).await, Ok(1));
    }
}
