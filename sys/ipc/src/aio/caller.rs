//! Questions and answers over one channel, many at a time.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, oneshot};
use warder_wire::{Fault, Message, Request};

use super::AsyncChannel;
use crate::{Channel, IpcError, discard};

/// Most events that wait for the owner; beyond that the reader waits, and so does the peer.
const EVENTS: usize = 1024;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The other side refused or failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// No answer in time; a late one is thrown away with its descriptors.
    #[error("no answer in time")]
    TimedOut,
    /// The channel ended before the answer.
    #[error("the channel is closed")]
    Closed,
    /// The question could not be sent.
    #[error("the question could not be sent")]
    Ipc(#[source] IpcError),
}

type Answered<R> = Result<(R, Vec<OwnedFd>), CallError>;
type Waiting<R> = Mutex<Option<HashMap<u64, oneshot::Sender<Answered<R>>>>>;

/// The asking end of a channel. Clones ask on the same channel.
#[derive(Debug)]
pub struct Caller<A, R> {
    shared: Arc<Shared<R>>,
    asks: std::marker::PhantomData<fn(A)>,
}

#[derive(Debug)]
struct Shared<R> {
    channel: AsyncChannel,
    seq: AtomicU64,
    // None once the channel has ended.
    waiting: Waiting<R>,
}

impl<A, R> Clone for Caller<A, R> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            asks: std::marker::PhantomData,
        }
    }
}

/// Events with the descriptors that came along.
type Events<E> = mpsc::Receiver<(E, Vec<OwnedFd>)>;

impl<A, R> Caller<A, R>
where
    A: Serialize,
    R: DeserializeOwned + Send + 'static,
{
    /// Takes over a channel and starts its reader on the current runtime. The receiver ends when the
    /// channel does, whatever ended it.
    ///
    /// # Errors
    /// As [`AsyncChannel::new`].
    pub fn new<E: DeserializeOwned + Send + 'static>(
        channel: Channel,
    ) -> Result<(Self, Events<E>), IpcError> {
        let channel = AsyncChannel::new(channel)?;
        let shared = Arc::new(Shared {
            channel,
            seq: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
        });
        let (events, receiver) = mpsc::channel(EVENTS);
        tokio::spawn(read(Arc::clone(&shared), events));
        Ok((
            Self {
                shared,
                asks: std::marker::PhantomData,
            },
            receiver,
        ))
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, ask: A, fds: Vec<OwnedFd>, timeout: Duration) -> Answered<R> {
        let seq = self.shared.seq.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.shared.enter(seq, sender)?;
        let forget = Forget {
            shared: &self.shared,
            seq,
        };
        let ask = Request { seq, body: ask };
        // A peer that reads nothing takes no question either.
        let answer = tokio::time::timeout(timeout, async {
            let sent = self.shared.channel.send(&ask, fds).await;
            sent.map_err(CallError::Ipc)?;
            receiver.await.unwrap_or(Err(CallError::Closed))
        });
        let answer = answer.await.unwrap_or(Err(CallError::TimedOut));
        drop(forget);
        answer
    }

    /// Sends what is not answered.
    ///
    /// # Errors
    /// As [`AsyncChannel::send`].
    pub async fn post(&self, ask: A, fds: Vec<OwnedFd>) -> Result<(), IpcError> {
        let seq = self.shared.seq.fetch_add(1, Ordering::Relaxed);
        self.shared
            .channel
            .send(&Request { seq, body: ask }, fds)
            .await
    }
}

impl<R> Shared<R> {
    fn enter(&self, seq: u64, sender: oneshot::Sender<Answered<R>>) -> Result<(), CallError> {
        let mut waiting = self.waiting.lock().map_err(|_| CallError::Closed)?;
        waiting
            .as_mut()
            .ok_or(CallError::Closed)?
            .insert(seq, sender);
        Ok(())
    }

    fn take(&self, seq: u64) -> Option<oneshot::Sender<Answered<R>>> {
        self.waiting.lock().ok()?.as_mut()?.remove(&seq)
    }
}

/// Takes the question off the list also when the caller stops waiting.
struct Forget<'a, R> {
    shared: &'a Shared<R>,
    seq: u64,
}

impl<R> Drop for Forget<'_, R> {
    fn drop(&mut self) {
        self.shared.take(self.seq);
    }
}

async fn read<R: DeserializeOwned, E: DeserializeOwned>(
    shared: Arc<Shared<R>>,
    events: mpsc::Sender<(E, Vec<OwnedFd>)>,
) {
    loop {
        match shared.channel.recv::<Message<R, E>>().await {
            Ok((Message::Reply { seq, result }, fds)) => match (shared.take(seq), result) {
                (Some(sender), Ok(answer)) => drop(sender.send(Ok((answer, fds)))),
                (sender, result) => {
                    // A fault has no use for descriptors, and to a late answer nobody listens.
                    discard(fds);
                    if let (Some(sender), Err(fault)) = (sender, result) {
                        let _ = sender.send(Err(CallError::Fault(fault)));
                    }
                }
            },
            Ok((Message::Event(event), fds)) => {
                if events.send((event, fds)).await.is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    // Wakes every waiting call with `Closed` and refuses new ones.
    if let Ok(mut waiting) = shared.waiting.lock() {
        waiting.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warder_wire::FaultCode;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn answers_find_their_questions_in_any_order() {
        let (a, mut b) = Channel::pair().expect("socketpair");
        let (caller, mut events) = Caller::<u32, u32>::new::<u8>(a).expect("epoll");
        let both = async {
            tokio::join!(
                caller.call(1, Vec::new(), SOON),
                caller.call(2, Vec::new(), SOON)
            )
        };
        let peer = tokio::task::spawn_blocking(move || {
            let (first, _) = b.recv_timeout::<Request<u32>>(SOON).expect("asked");
            let (second, _) = b.recv_timeout::<Request<u32>>(SOON).expect("asked");
            b.send(&Message::<u32, u8>::Event(9), Vec::new())
                .expect("open");
            for ask in [second, first] {
                let result = if ask.body == 1 {
                    Ok(10)
                } else {
                    Err(Fault::new(FaultCode::Refused, "no"))
                };
                b.send(
                    &Message::<u32, u8>::Reply {
                        seq: ask.seq,
                        result,
                    },
                    Vec::new(),
                )
                .expect("open");
            }
        });
        let (one, two) = both.await;
        assert_eq!(one.expect("answered").0, 10);
        assert!(matches!(two, Err(CallError::Fault(f)) if f.code == FaultCode::Refused));
        assert_eq!(events.recv().await.expect("sent").0, 9);
        peer.await.expect("no panic");
        assert!(events.recv().await.is_none());
        assert!(matches!(
            caller.call(3, Vec::new(), SOON).await,
            Err(CallError::Closed | CallError::Ipc(_))
        ));
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_holds_nobody_up() {
        let (a, _b) = Channel::pair().expect("socketpair");
        let (caller, _events) = Caller::<u32, u32>::new::<u8>(a).expect("epoll");
        // More than the kernel keeps for it.
        for _ in 0..2000 {
            let asked = caller.call(1, Vec::new(), Duration::ZERO);
            let answer = tokio::time::timeout(SOON, asked).await.expect("in time");
            assert!(matches!(answer, Err(CallError::TimedOut)));
        }
    }

    #[tokio::test]
    async fn a_late_answer_is_nobodys() {
        let (a, mut b) = Channel::pair().expect("socketpair");
        let (caller, _events) = Caller::<u32, u32>::new::<u8>(a).expect("epoll");
        let timed_out = caller.call(1, Vec::new(), Duration::from_millis(1)).await;
        assert!(matches!(timed_out, Err(CallError::TimedOut)));
        let (ask, _) = b.recv_timeout::<Request<u32>>(SOON).expect("asked");
        b.send(
            &Message::<u32, u8>::Reply {
                seq: ask.seq,
                result: Ok(1),
            },
            Vec::new(),
        )
        .expect("open");
        b.send(
            &Message::<u32, u8>::Reply {
                seq: 77,
                result: Ok(1),
            },
            Vec::new(),
        )
        .expect("open");
        tokio::task::yield_now().await;
        assert!(
            caller
                .shared
                .waiting
                .lock()
                .expect("no panic")
                .as_ref()
                .expect("open")
                .is_empty()
        );
    }
}
