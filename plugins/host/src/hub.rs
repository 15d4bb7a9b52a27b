//! From the plugin's threads to the main thread, which alone holds the channels.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use warder_abi::{Answer, Head, HostCalls};
use warder_wire::{Fault, FaultCode, OpId, gateway_plugin, plugin_priv};

use crate::pool::Job;
use crate::{convert, log};

/// Longest that a plugin may wait for privd.
const LONGEST: Duration = Duration::from_secs(600);
/// Messages of the plugin that may wait for the main thread.
const WAITING: usize = 1024;

/// privd's answer to one call.
pub(crate) type Reply = Result<plugin_priv::Answer, Fault>;

/// For the main thread.
#[derive(Debug)]
pub(crate) enum Note {
    /// To ask privd.
    Ask(plugin_priv::Ask, SyncSender<Reply>),
    /// To tell the gateway.
    Event(gateway_plugin::Event),
    /// A job has ended.
    Done(Box<Job>, Answer),
}

/// The plugin's end. It is also the host that the plugin calls.
#[derive(Debug)]
pub(crate) struct Hub {
    notes: Mutex<Sender<Note>>,
    waiting: Arc<AtomicUsize>,
    bell: OwnedFd,
    open: AtomicBool,
}

/// The main thread's end.
#[derive(Debug)]
pub(crate) struct Desk {
    notes: Receiver<Note>,
    waiting: Arc<AtomicUsize>,
    bell: OwnedFd,
}

/// Both ends.
///
/// # Errors
/// pipe(2)'s.
pub(crate) fn pair() -> rustix::io::Result<(Arc<Hub>, Desk)> {
    let (hear, ring) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let (send, notes) = channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let hub = Hub {
        notes: Mutex::new(send),
        waiting: Arc::clone(&waiting),
        bell: ring,
        open: AtomicBool::new(false),
    };
    let desk = Desk {
        notes,
        waiting,
        bell: hear,
    };
    Ok((Arc::new(hub), desk))
}

impl Hub {
    /// From now on the main thread listens.
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// A job's end is never held back.
    pub(crate) fn done(&self, job: &Job, answer: Answer) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.post(Note::Done(Box::new(job.clone()), answer));
    }

    fn offer(&self, note: Note) -> Result<(), Fault> {
        let full = |n: usize| (n < WAITING).then_some(n + 1);
        let taken = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, full);
        if taken.is_err() {
            return Err(Fault::new(FaultCode::Exhausted, "too much asked at once"));
        }
        self.post(note);
        Ok(())
    }

    fn post(&self, note: Note) {
        let sender = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        // The main thread only goes away with the process.
        let _ = sender.send(note);
        drop(sender);
        // A full pipe has rung already.
        let _ = rustix::io::write(&self.bell, &[1]);
    }

    fn ask(&self, head: Head, body: &[u8]) -> Reply {
        if !self.open.load(Ordering::Acquire) {
            let detail = "privd cannot be asked before the plugin is loaded";
            return Err(Fault::new(FaultCode::Unavailable, detail));
        }
        let ask = convert::ask(head.code, OpId(head.operation), body).map_err(|garbled| {
            log::audit(garbled);
            Fault::new(FaultCode::Refused, garbled)
        })?;
        let (reply, answer) = sync_channel(1);
        self.offer(Note::Ask(ask, reply))?;
        let time = Duration::from_millis(head.deadline_ms.into()).min(LONGEST);
        match answer.recv_timeout(time) {
            Ok(reply) => reply,
            Err(RecvTimeoutError::Timeout) => Err(Fault::new(
                FaultCode::TimedOut,
                "no answer from privd in time",
            )),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Fault::new(FaultCode::Exhausted, "too much asked at once"))
            }
        }
    }
}

impl HostCalls for Hub {
    fn call(&self, head: Head, body: &[u8]) -> Answer {
        match self.ask(head, body) {
            Ok(answer) => Ok(convert::answer_to_plugin(&answer)),
            Err(fault) => Err(convert::fault_to_plugin(&fault)),
        }
    }

    fn event(&self, code: u32, body: &[u8]) {
        match convert::event(code, body) {
            Ok(event) => {
                if self.offer(Note::Event(event)).is_err() {
                    log::audit("the plugin sends events faster than they are taken");
                }
            }
            Err(garbled) => log::audit(garbled),
        }
    }

    fn log(&self, line: &str) {
        log::plugin(line);
    }
}

impl Desk {
    /// What has come. Silences the bell first, so that nothing is missed.
    pub(crate) fn take(&self) -> Vec<Note> {
        let mut rung = [0; 256];
        while matches!(rustix::io::read(&self.bell, &mut rung), Ok(n) if n == rung.len()) {}
        let notes: Vec<Note> = self.notes.try_iter().collect();
        self.waiting.fetch_sub(notes.len(), Ordering::Relaxed);
        notes
    }
}

impl AsFd for Desk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
