//! Processes that clients started: running ones, and for a while those that ended.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, WaitStatus};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use warder_connect::process::{ListResponse, ProcessConfig, ProcessInfo, ProcessSelector};
use warder_connect::{Code, ConnectError};

use super::events;
use super::input::Input;
use crate::log::Log;

/// How long a late `Connect` still learns how a process ended.
const REMEMBER: Duration = Duration::from_secs(30);
/// Most ended processes remembered; beyond it the oldest goes.
const MOST_ENDED: usize = 1024;
/// Messages that wait for a slow client before the process itself has to wait.
const QUEUE: usize = 16;

/// With the time to forget it, oldest first.
type Ended = Rc<RefCell<VecDeque<(Instant, Rc<Process>)>>>;

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) tag: Option<String>,
    pub(super) config: ProcessConfig,
    /// Name of the user it runs as.
    user: String,
    pub(super) input: Input,
    /// Set by the reaper. From then on the pid may name another process.
    pub(super) status: Cell<Option<WaitStatus>>,
    /// Do not wait for the end of the output, once it has ended: a client had it killed.
    pub(super) cut_output: Cell<bool>,
    /// One of the two above changed.
    pub(super) changed: Notify,
    subscribers: RefCell<Vec<mpsc::Sender<Bytes>>>,
    /// The last event, once it was sent.
    end: RefCell<Option<Bytes>>,
}

impl Process {
    pub(super) fn new(
        pid: u32,
        tag: Option<String>,
        config: ProcessConfig,
        user: String,
        input: Input,
    ) -> Self {
        Self {
            pid,
            tag,
            config,
            user,
            input,
            status: Cell::new(None),
            cut_output: Cell::new(false),
            changed: Notify::new(),
            subscribers: RefCell::new(Vec::new()),
            end: RefCell::new(None),
        }
    }

    /// A stream of this process's events from now on, `start` in front.
    pub(super) fn subscribe(&self) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        // The queue is empty and has room for two.
        let _ = sender.try_send(events::start(self.pid));
        if let Some(end) = &*self.end.borrow() {
            let _ = sender.try_send(end.clone());
        } else {
            self.subscribers.borrow_mut().push(sender);
        }
        receiver
    }

    /// Sends an event to all who listen, and waits for the slowest: so a process cannot fill the agent's
    /// memory. Nobody listens: it is lost, as E2B has it.
    pub(super) async fn publish(&self, event: Bytes) {
        let senders: Vec<_> = self.subscribers.borrow().clone();
        let mut gone = false;
        for sender in senders {
            gone |= sender.send(event.clone()).await.is_err();
        }
        if gone {
            self.subscribers
                .borrow_mut()
                .retain(|sender| !sender.is_closed());
        }
    }

    /// Sends the last event and closes every stream.
    pub(super) async fn finish(&self, event: Bytes) {
        *self.end.borrow_mut() = Some(event.clone());
        // From here on `subscribe` adds nobody.
        let senders = std::mem::take(&mut *self.subscribers.borrow_mut());
        for sender in senders {
            let _ = sender.send(event.clone()).await;
        }
    }

    /// Sends a signal. Only to the process itself, as E2B does it: what it put in the background lives on.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), ConnectError> {
        if self.status.get().is_some() {
            return Err(not_found(&self.pid));
        }
        let pid = Pid::from_raw(self.pid.cast_signed()).ok_or_else(|| not_found(&self.pid))?;
        rustix::process::kill_process(pid, signal).map_err(ConnectError::internal)?;
        if matches!(signal, Signal::KILL | Signal::TERM) {
            self.cut_output.set(true);
            self.changed.notify_one();
        }
        Ok(())
    }
}

fn not_found(pid: &u32) -> ConnectError {
    ConnectError::not_found(format_args!("process with pid {pid} not found"))
}

/// All processes by number.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    running: RefCell<BTreeMap<u32, Rc<Process>>>,
    ended: Ended,
    /// Where all outputs are read to, one after the other.
    pub(super) scratch: RefCell<Vec<u8>>,
}

impl Processes {
    pub(super) fn add(&self, process: Rc<Process>) {
        self.running.borrow_mut().insert(process.pid, process);
    }

    /// Whether any process, or its output, is not through yet.
    pub(crate) fn any_running(&self) -> bool {
        !self.running.borrow().is_empty()
    }

    /// The reaper saw a child end. Not all are ours: orphans of the sandbox end here too.
    pub(crate) fn exited(&self, pid: u32, status: WaitStatus, log: &Log) {
        if let Some(process) = self.running.borrow().get(&pid)
            && process.status.get().is_none()
        {
            process.status.set(Some(status));
            process.changed.notify_one();
            log.ended(pid, &process.config.cmd, &process.user, status);
        }
    }

    /// All output of an ended process was sent.
    pub(super) fn retire(&self, process: &Rc<Process>) {
        let mut running = self.running.borrow_mut();
        // The number may have been given out again while a slow client read the rest.
        if running
            .get(&process.pid)
            .is_some_and(|found| Rc::ptr_eq(found, process))
        {
            running.remove(&process.pid);
        }
        let mut ended = self.ended.borrow_mut();
        if ended.is_empty() {
            tokio::task::spawn_local(forget(Rc::clone(&self.ended)));
        }
        if ended.len() >= MOST_ENDED {
            ended.pop_front();
        }
        ended.push_back((Instant::now() + REMEMBER, Rc::clone(process)));
    }

    /// A process that runs, or whose output is still being read.
    pub(super) fn running(
        &self,
        wanted: Option<&ProcessSelector>,
    ) -> Result<Rc<Process>, ConnectError> {
        let wanted = Wanted::new(wanted)?;
        let running = self.running.borrow();
        let found = match wanted {
            Wanted::Pid(pid) => running.get(&pid),
            Wanted::Tag(tag) => running
                .values()
                .find(|process| process.tag.as_deref() == Some(tag)),
        };
        found.cloned().ok_or_else(|| wanted.not_found())
    }

    /// The same, or one that ended lately.
    pub(super) fn running_or_ended(
        &self,
        selector: Option<&ProcessSelector>,
    ) -> Result<Rc<Process>, ConnectError> {
        self.running(selector).or_else(|error| {
            let wanted = Wanted::new(selector)?;
            let ended = self.ended.borrow();
            let newest_first = ended.iter().rev().map(|(_, process)| process);
            match wanted {
                Wanted::Pid(pid) => newest_first.clone().find(|process| process.pid == pid),
                Wanted::Tag(tag) => newest_first
                    .clone()
                    .find(|process| process.tag.as_deref() == Some(tag)),
            }
            .cloned()
            .ok_or(error)
        })
    }

    pub(super) fn list(&self) -> ListResponse {
        let running = self.running.borrow();
        let live = running
            .values()
            .filter(|process| process.status.get().is_none());
        ListResponse {
            processes: live
                .map(|process| ProcessInfo {
                    config: Some(process.config.clone()),
                    pid: process.pid,
                    tag: process.tag.clone(),
                })
                .collect(),
        }
    }
}

/// Forgets ended processes when their time has come; ends itself when none are left.
async fn forget(ended: Ended) {
    // Nothing is borrowed while it sleeps.
    loop {
        let next = match ended.borrow().front() {
            Some((until, _)) => *until,
            None => return,
        };
        tokio::time::sleep_until(next).await;
        let now = Instant::now();
        let mut ended = ended.borrow_mut();
        while ended.front().is_some_and(|(until, _)| *until <= now) {
            ended.pop_front();
        }
        if ended.is_empty() {
            ended.shrink_to_fit();
            return;
        }
    }
}

#[derive(Clone, Copy)]
enum Wanted<'a> {
    Pid(u32),
    Tag(&'a str),
}

impl<'a> Wanted<'a> {
    fn new(selector: Option<&'a ProcessSelector>) -> Result<Self, ConnectError> {
        match selector.map(|selector| (selector.pid, selector.tag.as_deref())) {
            Some((Some(pid), None)) => Ok(Self::Pid(pid)),
            Some((None, Some(tag))) => Ok(Self::Tag(tag)),
            _ => Err(ConnectError::new(
                Code::InvalidArgument,
                "name the process by either pid or tag",
            )),
        }
    }

    fn not_found(self) -> ConnectError {
        match self {
            Self::Pid(pid) => not_found(&pid),
            Self::Tag(tag) => {
                ConnectError::not_found(format_args!("process with tag {tag} not found"))
            }
        }
    }
}
