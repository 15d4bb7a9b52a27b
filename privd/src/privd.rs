//! The state of the daemon and its one loop.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use warder_host::HostError;
use warder_host::cell::{Cell, Controllers, Network, Status};
use warder_host::process::Process;
use warder_host::signals::{Caught, Signals};
use warder_host::storage::Store;
use warder_host::watch;
use warder_ipc::{IpcError, Watchdog};
use warder_wire::gateway_priv::Feature;
use warder_wire::{
    Bounds, Fault, FaultCode, InstanceTag, Limits, Message, OpId, SandboxId, TemplateName,
    gateway_priv, plugin_priv,
};

use crate::ahead::Ahead;
use crate::claim::{Claim, ClaimError};
use crate::config::Config;
use crate::jobs::Job;
use crate::leases::{Now, Timer, Timers};
use crate::ledger::{Entry, Ledger, LedgerError, Part, Record};
use crate::listeners::Links;
use crate::logs::Log;
use crate::net::Pending;
use crate::ranges::Ranges;
use crate::rate::Bucket;
use crate::stop::Stop;
use crate::supervise::{Post, ReplyTo, Role, chain};
use crate::table::{self, Phases, Verb};
use crate::verbs::pause::Pausing;
use crate::verbs::snapshot::Snapshot;

/// Work ahead of need begins when nobody has said anything for so long: never between the steps of a create.
const LULL_MS: u64 = 2;
/// A cell is made ahead after so long: whoever has just got a sandbox has run his first command in it by then.
const AHEAD_MS: u64 = 10;
/// How long one close of what a peer sent may hold the loop.
const PATIENCE: Duration = Duration::from_millis(5);

/// Why privd does not start, or a process of its own does not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The configuration is wrong.
    #[error("{0}")]
    Invalid(&'static str),
    /// The host-wide claim failed.
    #[error("no claim on this host")]
    Claim(#[from] ClaimError),
    /// The ledger cannot be used.
    #[error("no ledger")]
    Ledger(#[from] LedgerError),
    /// The system layer failed.
    #[error("the system refused")]
    Host(#[from] HostError),
    /// A channel failed.
    #[error("no channel")]
    Ipc(#[from] IpcError),
    /// A file operation failed.
    #[error("{0} failed")]
    File(&'static str, #[source] io::Error),
    /// A certificate cannot be used.
    #[error("`tls_chain` and `tls_key` number {0}")]
    Certificate(usize, #[source] Fault),
    /// A file is not safe to use as root.
    #[error("{} must be root's and writable by nobody else", .0.display())]
    Untrusted(PathBuf),
}

/// What there is of a cell.
#[derive(Debug)]
pub(crate) enum CellLife {
    /// Nothing.
    None,
    /// It waits for its network slot until `until`.
    Waiting {
        op: OpId,
        limits: Limits,
        machine: bool,
        asked: bool,
        until: u64,
    },
    /// It sets itself up, for `until` at most.
    Starting {
        op: OpId,
        cell: Cell,
        token: u64,
        status: Status,
        network: Network,
        until: u64,
    },
    /// The agent runs, or is frozen.
    Running { cell: Cell, token: u64 },
    /// It was killed; if its making failed, why.
    Dying {
        cell: Cell,
        token: u64,
        failed: Option<(OpId, Fault)>,
    },
}

/// An operation of a plugin host.
#[derive(Debug)]
pub(crate) struct Op {
    /// Which request.
    pub verb: Verb,
    /// Its number.
    pub op: OpId,
    /// How far it is.
    pub state: OpState,
}

/// How far an operation is.
#[derive(Debug)]
pub(crate) enum OpState {
    /// These wait for its end.
    Running(Vec<ReplyTo>),
    /// What is answered to whoever asks again.
    Done(Result<plugin_priv::Answer, Fault>),
}

/// What is known of a sandbox beside the ledger.
#[derive(Debug)]
pub(crate) struct Live {
    /// Its cell.
    pub cell: CellLife,
    /// What netd was told that it may use of the network.
    pub told: Option<Bounds>,
    /// It is being paused.
    pub pausing: Option<Pausing>,
    /// The one template that its backend may make of it.
    pub allowed: Option<(TemplateName, bool)>,
    /// A snapshot of it is being taken.
    pub snapshot: Option<Snapshot>,
    /// Its operations, newest last.
    pub ops: Vec<Op>,
    /// Who waits for its end.
    pub end_waiters: Vec<ReplyTo>,
    /// How often links may be opened.
    pub links: Bucket,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            cell: CellLife::None,
            told: None,
            pausing: None,
            allowed: None,
            snapshot: None,
            ops: Vec::new(),
            end_waiters: Vec::new(),
            links: new_links(),
        }
    }
}

/// How often links to a sandbox may be opened that was just made or has woken.
#[must_use]
pub(crate) fn new_links() -> Bucket {
    Bucket::new(16, 4)
}

/// Kernel objects that a dead cell left, being removed.
#[derive(Debug, Default)]
pub(crate) struct Cleanup {
    /// The range to free with them, once the lease is gone.
    pub range: Option<u32>,
    /// A process that was killed and has to be reaped before anything else.
    pub process: Option<Process>,
    /// Tries so far.
    pub tries: u32,
}

/// The daemon.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is documented at its type")]
pub(crate) struct Privd {
    pub config: Config,
    /// Where it was read from.
    pub config_file: PathBuf,
    /// On the state directory, for as long as this process or a worker of it lives.
    pub lock: File,
    pub tag: InstanceTag,
    pub claim: Claim,
    /// Sandboxes at most.
    pub capacity: u32,
    /// Canonical.
    pub state_dir: PathBuf,
    pub run_dir: PathBuf,
    pub operator_group: Option<u32>,
    pub listeners: Vec<OwnedFd>,
    pub admin: OwnedFd,
    /// The agent's executable.
    pub agent: OwnedFd,
    pub resolvers: Vec<std::net::Ipv4Addr>,
    pub features: Vec<Feature>,
    pub log: Log,
    pub now: Now,
    pub timers: Timers,
    pub signals: Signals,
    pub watchdog: Watchdog,
    pub ledger: Ledger,
    pub live: BTreeMap<SandboxId, Live>,
    /// Those of them that set themselves up.
    pub starting: BTreeSet<SandboxId>,
    pub ranges: Ranges,
    pub ahead: Ahead,
    pub cleanups: BTreeMap<SandboxId, Cleanup>,
    /// The sandboxes' listeners.
    pub links: Links,
    /// Cells' process descriptors, by token.
    pub watch: watch::Set,
    pub tokens: BTreeMap<u64, SandboxId>,
    pub next_token: u64,
    pub store: Store,
    pub controllers: Controllers,
    pub jobs: Vec<Job>,
    /// Something was discarded since the last worker began to empty the trash.
    pub trash: bool,
    pub posts: BTreeMap<Role, Post>,
    pub net_seq: u64,
    pub net_pending: BTreeMap<u64, Pending>,
    /// netd has removed everything of the instance.
    pub net_purged: bool,
    pub rates: BTreeMap<(Role, Verb), Bucket>,
    /// What happened to sandboxes while there was no gateway to tell.
    pub untold: Vec<gateway_priv::Event>,
    pub stop: Option<Stop>,
    /// Why privd must end.
    pub fatal: Option<String>,
    /// Some channel may hold more messages than were taken.
    pub more: bool,
    /// How often certificates were handed over.
    pub round: u32,
}

/// What a poll may find ready.
#[derive(Clone, Debug)]
enum Source {
    Signals,
    Cells,
    Channel(Role),
    Log(Role),
    Process(Role),
    Status(SandboxId),
    Job(u64),
}

impl Privd {
    /// Serves until stopped; the exit status.
    pub(crate) fn run(&mut self) -> u8 {
        loop {
            self.now = Now::read();
            while let Some(timer) = self.timers.due(self.now.mono) {
                self.fire(timer);
            }
            if let Some(why) = self.fatal.take() {
                self.log.own(format_args!("giving up: {why}"));
                return 1;
            }
            if let Some(status) = self.stopped() {
                return status;
            }
            let lull = match (self.ranges.wants_more(), self.wants_ahead()) {
                _ if self.stopping() || !self.starting.is_empty() => None,
                (true, _) => Some(LULL_MS),
                (false, true) => Some(AHEAD_MS),
                (false, false) => None,
            };
            let wait = match (self.timers.wait(self.now.mono), lull) {
                _ if std::mem::take(&mut self.more) => Some(0),
                (next, Some(lull)) => Some(next.map_or(lull, |ms| ms.min(lull))),
                (next, None) => next,
            };
            let ready = match self.poll(wait) {
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    self.log.own(format_args!("poll: {errno}"));
                    return 1;
                }
            };
            if ready.is_empty() && lull.is_some() {
                self.work_ahead();
            }
            self.now = Now::read();
            for (source, flags) in ready {
                self.handle(&source, flags);
            }
            if let Err(e) = self.ledger.tidy() {
                self.log
                    .own(format_args!("the old ledger stays in use: {}", chain(&e)));
            }
        }
    }

    /// Does one thing ahead of need.
    fn work_ahead(&mut self) {
        if !self.ranges.wants_more() {
            self.make_ahead();
        } else if let Err(e) = self.ranges.make_one() {
            self.log.own(format_args!(
                "cannot make a user namespace ahead of need: {}",
                chain(&e)
            ));
        }
    }

    fn poll(&self, wait_ms: Option<u64>) -> Result<Vec<(Source, PollFlags)>, Errno> {
        let mut sources = vec![Source::Signals, Source::Cells];
        let mut fds = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.watch, PollFlags::IN),
        ];
        // netd before the gateway: what a slot's answer brings is older than the gateway's next request.
        for (role, post) in &self.posts {
            let Some(running) = &post.running else {
                continue;
            };
            if let Some(channel) = &running.channel {
                let out = if channel.wants_write() {
                    PollFlags::OUT
                } else {
                    PollFlags::empty()
                };
                sources.push(Source::Channel(*role));
                fds.push(PollFd::new(channel, PollFlags::IN | out));
            }
            if !running.log.ended() {
                sources.push(Source::Log(*role));
                fds.push(PollFd::new(&running.log, PollFlags::IN));
            }
            sources.push(Source::Process(*role));
            fds.push(PollFd::new(&running.process, PollFlags::IN));
        }
        for sandbox in &self.starting {
            if let Some(CellLife::Starting { status, .. }) = self.live.get(sandbox).map(|l| &l.cell)
            {
                sources.push(Source::Status(sandbox.clone()));
                fds.push(PollFd::new(status, PollFlags::IN));
            }
        }
        for job in &self.jobs {
            sources.push(Source::Job(job.id));
            fds.push(PollFd::new(&job.process, PollFlags::IN));
        }
        let timeout = wait_ms.map(|ms| Timespec {
            tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(ms % 1000).unwrap_or(0) * 1_000_000,
        });
        self.watchdog.disarm();
        let polled = poll(&mut fds, timeout.as_ref());
        self.watchdog.arm(PATIENCE);
        polled?;
        Ok(sources
            .into_iter()
            .zip(&fds)
            .map(|(s, fd)| (s, fd.revents()))
            .filter(|(_, f)| !f.is_empty())
            .collect())
    }

    fn handle(&mut self, source: &Source, flags: PollFlags) {
        match source {
            Source::Signals => self.take_signals(),
            Source::Cells => self.take_ended_cells(),
            Source::Channel(role) => {
                if flags.contains(PollFlags::OUT) {
                    self.flush(*role);
                }
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.take_messages(*role);
                }
            }
            Source::Log(role) => {
                let now = self.now;
                if let Some(running) = self.posts.get_mut(role).and_then(|p| p.running.as_mut()) {
                    running.log.drain(&mut self.log, now);
                }
            }
            Source::Process(role) => self.process_ended(*role),
            Source::Status(sandbox) => self.cell_news(sandbox),
            Source::Job(id) => self.job_ended(*id),
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(caught)) = self.signals.next() {
            match caught {
                Caught::Terminate | Caught::Interrupt => self.begin_stop(),
                Caught::Hangup => {
                    self.reload();
                }
                // Children are watched by their descriptors.
                Caught::Child => {}
            }
        }
    }

    fn take_ended_cells(&mut self) {
        let mut ready = Vec::new();
        if let Err(e) = self.watch.ready(&mut ready) {
            self.log.own(format_args!("watching cells: {}", chain(&e)));
        }
        for token in ready {
            if let Some(sandbox) = self.tokens.get(&token).cloned() {
                self.cell_ended(&sandbox);
            }
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Lease(sandbox) => self.lease_due(&sandbox),
            Timer::Cell(sandbox) => self.cell_overdue(&sandbox),
            Timer::Freeze(sandbox) => {
                self.pause_step(&sandbox);
                self.snapshot_step(&sandbox);
            }
            Timer::Leftovers(sandbox) => self.clean(&sandbox),
            Timer::Start(role) => self.start(role),
            Timer::Ready(role) => self.ready_overdue(role),
            Timer::Trash => self.empty_trash(),
            Timer::Measure => self.measure(),
            Timer::Job => self.job_overdue(),
            Timer::Stop => self.stop_step(),
        }
    }

    /// The phase of a sandbox, for the table.
    pub(crate) fn phase(&self, sandbox: &SandboxId) -> Phases {
        let Some(entry) = self.ledger.get(sandbox) else {
            return table::ABSENT;
        };
        if entry.ending.is_some() {
            return table::ENDING;
        }
        let live = self.live.get(sandbox);
        if live.is_some_and(|live| live.pausing.is_some()) {
            return table::CHANGING;
        }
        match (live.map(|l| &l.cell), &entry.storage) {
            (Some(CellLife::Running { .. }), _) if entry.paused == Some(true) => table::FROZEN,
            (Some(CellLife::Running { .. }), _) => table::RUNNING,
            (
                Some(CellLife::Waiting { .. } | CellLife::Starting { .. } | CellLife::Dying { .. }),
                _,
            ) => table::CHANGING,
            (Some(CellLife::None) | None, Part::None) => table::OPEN,
            (Some(CellLife::None) | None, _) => table::STORED,
        }
    }

    /// Whether there is a cell of a sandbox, in whatever state.
    pub(crate) fn has_cell(&self, sandbox: &SandboxId) -> bool {
        let cell = self.live.get(sandbox).map(|live| &live.cell);
        !matches!(cell, None | Some(CellLife::None))
    }

    /// Number of the backend that a sandbox's lease names.
    pub(crate) fn owner_of(&self, sandbox: &SandboxId) -> Option<u8> {
        self.ledger
            .get(sandbox)
            .map(|entry| self.backend_number(entry))
    }

    /// Number of an entry's backend; one that is configured no more belongs to no plugin host.
    pub(crate) fn backend_number(&self, entry: &Entry) -> u8 {
        let at = self
            .config
            .backends
            .iter()
            .position(|b| *b == entry.lease.backend);
        at.and_then(|n| u8::try_from(n).ok()).unwrap_or(u8::MAX)
    }

    /// Answers the gateway, if it is still the one that asked.
    pub(crate) fn answer_gateway(
        &mut self,
        to: &ReplyTo,
        result: Result<gateway_priv::Answer, Fault>,
        fds: Vec<OwnedFd>,
    ) {
        if self
            .posts
            .get(&to.role)
            .is_some_and(|p| p.generation == to.generation)
        {
            let message: Message<_, gateway_priv::Event> = Message::Reply {
                seq: to.seq,
                result,
            };
            self.send(to.role, &message, fds);
        }
    }

    /// Answers a plugin host, if it is still the one that asked.
    pub(crate) fn answer_plugin(
        &mut self,
        to: &ReplyTo,
        result: Result<plugin_priv::Answer, Fault>,
    ) {
        if self
            .posts
            .get(&to.role)
            .is_some_and(|p| p.generation == to.generation)
        {
            let message: Message<_, plugin_priv::Event> = Message::Reply {
                seq: to.seq,
                result,
            };
            self.send(to.role, &message, Vec::new());
        }
    }

    /// Tells the gateway something.
    pub(crate) fn event_gateway(&mut self, event: gateway_priv::Event, fds: Vec<OwnedFd>) {
        let message: Message<gateway_priv::Answer, _> = Message::Event(event);
        self.send(Role::Gateway, &message, fds);
    }

    /// Records a removal. It goes on whatever becomes of the record.
    pub(crate) fn record(&mut self, record: Record) {
        if let Err(e) = self.ledger.append(record) {
            self.log.own(chain(&e));
        }
    }

    /// Records an intent or a result of new work, which does not go on without.
    ///
    /// # Errors
    /// `NoSpace` or `System`.
    pub(crate) fn record_new(&mut self, record: Record) -> Result<(), Fault> {
        self.ledger
            .admit()
            .and_then(|()| self.ledger.append(record))
            .map_err(|e| {
                let code = if matches!(e, LedgerError::NoSpace) {
                    FaultCode::NoSpace
                } else {
                    FaultCode::System
                };
                Fault::new(code, chain(&e))
            })
    }
}

/// What a request is answered that cannot be done.
pub(crate) fn fault<T>(code: FaultCode, detail: &str) -> Result<T, Fault> {
    Err(Fault::new(code, detail))
}

/// A fault for an error of the system layer.
#[must_use]
pub(crate) fn host_fault(error: &HostError) -> Fault {
    let code = match error {
        HostError::Unsupported { .. } | HostError::Missing { .. } => FaultCode::Unsupported,
        HostError::NoSpace { .. } => FaultCode::NoSpace,
        HostError::System { errno, .. } if errno.kind() == io::ErrorKind::WouldBlock => {
            FaultCode::Exhausted
        }
        HostError::System { .. } | HostError::Invalid(_) => FaultCode::System,
    };
    Fault::new(code, chain(error))
}

/// Whether a descriptor has something to read, or its end, now.
#[must_use]
pub(crate) fn readable(fd: BorrowedFd<'_>) -> bool {
    poll(
        &mut [PollFd::new(&fd.as_fd(), PollFlags::IN)],
        Some(&Timespec::default()),
    ) == Ok(1)
}
