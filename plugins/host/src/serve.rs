//! The loop of the main thread: both channels, the plugin's notes, the clock.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use warder_abi::message::code;
use warder_abi::{Answer as Bytes, Head};
use warder_ipc::{Channel, IpcError};
use warder_wire::gateway_plugin::{self, Answer, Ask};
use warder_wire::{Fault, FaultCode, Message, Request, SandboxId, plugin_priv};

use crate::calls::{Calls, Due, GRACE, Waiter};
use crate::hub::{Desk, Note, Reply};
use crate::pool::{Job, Pool};
use crate::recent::{Recent, operation};
use crate::setup::Server;
use crate::{convert, leave, log};

/// Longest that a call may be given.
const LONGEST: Duration = Duration::from_secs(600);
/// For calls that bring no deadline.
const DEADLINE: Duration = Duration::from_secs(10);
/// For finding the sandboxes there are.
const ADOPTING: Duration = Duration::from_secs(60);
/// Calls to privd that may be unanswered.
const PENDING: usize = 1024;
/// Messages taken from one channel before the others have their turn.
const BURST: usize = 64;

/// Exit status when the plugin hangs.
const HUNG: i32 = 3;

struct Serving {
    privd: Channel,
    /// `None` between the end of one gateway and the start of the next.
    gateway: Option<Channel>,
    /// Rises with each channel to a gateway.
    generation: u64,
    desk: Desk,
    pool: Pool,
    calls: Calls,
    recent: Recent,
    pending: HashMap<u64, SyncSender<Reply>>,
    next_seq: u64,
}

/// Serves until there is nothing to serve for; says why.
pub(crate) fn run(server: Server) -> String {
    let mut serving = Serving {
        privd: server.privd,
        gateway: Some(server.gateway),
        generation: 0,
        desk: server.desk,
        pool: server.pool,
        calls: Calls::default(),
        recent: Recent::default(),
        pending: HashMap::new(),
        next_seq: 0,
    };
    serving.call_plugin(code::ADOPT, Vec::new(), "adopt", ADOPTING);
    loop {
        match serving.turn() {
            Ok(()) => {}
            // privd is gone; the next one starts a new host.
            Err(IpcError::Closed) => leave::now(0),
            Err(error) => return format!("the channel to privd: {}", log::chain(&error)),
        }
    }
}

impl Serving {
    fn turn(&mut self) -> Result<(), IpcError> {
        self.wait()?;
        self.privd.flush()?;
        self.hear_privd()?;
        for note in self.desk.take() {
            self.hear_plugin(note)?;
        }
        if let Err(error) = self.hear_gateway() {
            self.drop_gateway(&error);
        }
        for due in self.calls.due(Instant::now()) {
            self.overdue(due);
        }
        Ok(())
    }

    fn wait(&self) -> Result<(), IpcError> {
        let wants = |channel: &Channel| match channel.wants_write() {
            true => PollFlags::IN | PollFlags::OUT,
            false => PollFlags::IN,
        };
        let mut fds = vec![
            PollFd::new(&self.privd, wants(&self.privd)),
            PollFd::new(&self.desk, PollFlags::IN),
        ];
        if let Some(gateway) = &self.gateway {
            fds.push(PollFd::new(gateway, wants(gateway)));
        }
        let left = self.calls.next_due().map(|due| {
            // Rounded up, or the last millisecond would be spent turning.
            due.saturating_duration_since(Instant::now()) + Duration::from_millis(1)
        });
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(IpcError::System {
                call: "poll",
                source: errno.into(),
            }),
        }
    }

    fn hear_privd(&mut self) -> Result<(), IpcError> {
        for _ in 0..BURST {
            let Some((message, fds)) = self.privd.recv()? else {
                return Ok(());
            };
            match message {
                Message::Reply { seq, result } => {
                    let asked = self.pending.remove(&seq);
                    let asked = asked.ok_or(IpcError::Violation("an answer to nothing"))?;
                    // Whoever asked may have given up.
                    let _ = asked.try_send(result);
                }
                Message::Event(plugin_priv::Event::Ended { sandbox, reason }) => {
                    let body = convert::ended(&sandbox, reason);
                    self.call_plugin(code::ENDED, body, "hear of an end", DEADLINE);
                }
                Message::Event(plugin_priv::Event::GatewayChannel) => self.meet_gateway(fds)?,
            }
        }
        Ok(())
    }

    fn meet_gateway(&mut self, fds: Vec<OwnedFd>) -> Result<(), IpcError> {
        let [fd] = <[OwnedFd; 1]>::try_from(fds)
            .map_err(|_| IpcError::Violation("a gateway without its channel"))?;
        self.gateway = Some(Channel::from_fd(fd)?);
        self.generation += 1;
        Ok(())
    }

    fn drop_gateway(&mut self, error: &IpcError) {
        self.gateway = None;
        match error {
            IpcError::Closed => log::line("the gateway is gone"),
            other => log::audit(format_args!("the gateway: {}", log::chain(other))),
        }
    }

    fn hear_gateway(&mut self) -> Result<(), IpcError> {
        for _ in 0..BURST {
            let Some(gateway) = &mut self.gateway else {
                return Ok(());
            };
            gateway.flush()?;
            let Some((request, fds)) = gateway.recv::<Request<Ask>>()? else {
                return Ok(());
            };
            if !fds.is_empty() {
                return Err(IpcError::Violation("descriptors with a request"));
            }
            let waiter = Waiter {
                channel: self.generation,
                seq: request.seq,
            };
            self.request(waiter, &request.body);
        }
        Ok(())
    }

    /// A request of the gateway's: answered from memory, joined to the call that is under way, or begun.
    fn request(&mut self, waiter: Waiter, ask: &Ask) {
        let refuse = |code, detail: &str| Err(Fault::new(code, detail));
        if let Some((op, subject)) = operation(ask) {
            let other = "the operation's number was used for something else";
            if let Some((before, result)) = self.recent.get(op) {
                let result = match *before == subject {
                    true => result.clone(),
                    false => refuse(FaultCode::Refused, other),
                };
                return self.answer(waiter, result);
            }
            if let Some(live) = self.calls.of_operation(op) {
                let same = live.operation.as_ref().is_some_and(|(_, s)| *s == subject);
                let result = match same {
                    false => refuse(FaultCode::Refused, other),
                    true if live.is_late() => {
                        refuse(FaultCode::TimedOut, "it is over its deadline")
                    }
                    true if live.join(waiter) => return,
                    true => refuse(FaultCode::Exhausted, "too many wait for this operation"),
                };
                return self.answer(waiter, result);
            }
        }
        if let Ask::Create { limits, .. } | Ask::Resume { limits, .. } = ask
            && !limits.in_bounds()
        {
            return self.answer(waiter, refuse(FaultCode::Refused, "limits out of bounds"));
        }
        if !self.begin(waiter, ask) {
            self.answer(
                waiter,
                refuse(FaultCode::Exhausted, "too many requests wait"),
            );
        }
    }

    fn begin(&mut self, waiter: Waiter, ask: &Ask) -> bool {
        let (what, deadline, sandbox): (_, _, Option<&SandboxId>) = match ask {
            Ask::Describe => ("describe", None, None),
            Ask::Create {
                deadline_ms,
                sandbox,
                ..
            } => ("create", Some(*deadline_ms), Some(sandbox)),
            Ask::Destroy {
                deadline_ms,
                sandbox,
                ..
            } => ("destroy", Some(*deadline_ms), Some(sandbox)),
            Ask::Stats { sandbox } => ("stats", None, Some(sandbox)),
            Ask::Pause {
                deadline_ms,
                sandbox,
                ..
            } => ("pause", Some(*deadline_ms), Some(sandbox)),
            Ask::Resume {
                deadline_ms,
                sandbox,
                ..
            } => ("resume", Some(*deadline_ms), Some(sandbox)),
            Ask::Snapshot {
                deadline_ms,
                sandbox,
                ..
            } => ("snapshot", Some(*deadline_ms), Some(sandbox)),
        };
        let time = deadline.map_or(DEADLINE, |ms| Duration::from_millis(ms.into()));
        let time = time.min(LONGEST);
        let operation = operation(ask);
        let changes = operation.is_some().then(|| sandbox.cloned()).flatten();
        let op = operation.as_ref().map_or([0; 16], |(op, _)| op.0);
        let until = Instant::now() + time;
        let id = self
            .calls
            .begin(operation, what, sandbox, Some(waiter), until);
        let (code, body) = convert::request(ask);
        let queued = self.pool.add(Job {
            id,
            head: head(code, op, time),
            body,
            changes,
            until,
        });
        if !queued {
            self.calls.end(id);
        }
        queued
    }

    /// A call that nobody waits for.
    fn call_plugin(&mut self, code: u32, body: Vec<u8>, what: &str, time: Duration) {
        let until = Instant::now() + time;
        let id = self.calls.begin(None, what, None, None, until);
        let queued = self.pool.add(Job {
            id,
            head: head(code, [0; 16], time),
            body,
            changes: None,
            until,
        });
        if !queued {
            self.calls.end(id);
            log::audit(format_args!("too much waits to {what}"));
        }
    }

    fn hear_plugin(&mut self, note: Note) -> Result<(), IpcError> {
        match note {
            // Dropping the sender tells whoever asked.
            Note::Ask(..) if self.pending.len() >= PENDING => Ok(()),
            Note::Ask(ask, reply) => {
                let seq = self.next_seq;
                self.next_seq += 1;
                self.pending.insert(seq, reply);
                self.privd.send(&Request { seq, body: ask }, Vec::new())
            }
            Note::Event(event) => {
                self.tell_gateway(&Message::Event(event));
                Ok(())
            }
            Note::Done(job, answer) => {
                self.done(&job, &answer);
                Ok(())
            }
        }
    }

    fn done(&mut self, job: &Job, answer: &Bytes) {
        let Some(live) = self.calls.end(job.id) else {
            return;
        };
        if job.head.code == code::ADOPT {
            return adopted(answer);
        }
        let result = match answer {
            Ok(body) => convert::answer(job.head.code, body).map_err(|garbled| {
                log::audit(format_args!("{}: {garbled}", live.what));
                Fault::new(FaultCode::System, garbled)
            }),
            Err(fault) => Err(convert::fault(fault)),
        };
        for waiter in live.waiters {
            self.answer(waiter, result.clone());
        }
        if let Some((op, subject)) = live.operation {
            self.recent.remember(op, subject, result);
        }
    }

    fn overdue(&mut self, due: Due) {
        match due {
            Due::Late(id, waiters) => {
                if self.pool.withdraw(id) {
                    self.calls.end(id);
                }
                for waiter in waiters {
                    let fault = Fault::new(FaultCode::TimedOut, "the deadline has passed");
                    self.answer(waiter, Err(fault));
                }
            }
            Due::Hangs(what) => {
                log::audit(format_args!(
                    "{what}: the plugin hangs {} s after the deadline; this host ends",
                    GRACE.as_secs()
                ));
                leave::now(HUNG);
            }
        }
    }

    fn answer(&mut self, waiter: Waiter, result: Result<Answer, Fault>) {
        if waiter.channel == self.generation {
            let seq = waiter.seq;
            self.tell_gateway(&Message::Reply { seq, result });
        }
    }

    fn tell_gateway(&mut self, message: &Message<Answer, gateway_plugin::Event>) {
        if let Some(gateway) = &mut self.gateway
            && let Err(error) = gateway.send(message, Vec::new())
        {
            self.drop_gateway(&error);
        }
    }
}

fn head(code: u32, operation: [u8; 16], time: Duration) -> Head {
    Head {
        code,
        operation,
        deadline_ms: u32::try_from(time.as_millis()).unwrap_or(u32::MAX),
    }
}

fn adopted(answer: &Bytes) {
    match answer.as_ref().map(|body| convert::adopted(body)) {
        Ok(Ok(sandboxes)) => log::line(format_args!("{} sandboxes found", sandboxes.len())),
        Ok(Err(garbled)) => log::audit(format_args!("adopt: {garbled}")),
        Err(fault) => log::line(format_args!("adopt: {}", convert::fault(fault))),
    }
}
