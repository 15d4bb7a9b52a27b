//! egressd: what it is told, and the sockets it is given.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use warder_desired::DNS;
use warder_filter::{LISTEN_TCP, LISTEN_UDP, Purpose};
use warder_ipc::{Channel, IpcError};
use warder_links::plan::Pair;
use warder_wire::net_egress::{Answer, Event, REPLY};
use warder_wire::{Fault, FaultCode, Message, Policy, SandboxId, priv_net};

use super::{Daemon, Kernel, no_lease, purged};
use crate::ledger::SlotRecord;
use crate::log;
use crate::table::{Budget, Rate};
use crate::worker;

/// How long egressd may take to end the flows that an event forbids. After that it counts as dead.
const SETTLE: Duration = Duration::from_secs(3);

/// How long another egressd may take to come when one has closed its channel. After that it is asked for.
const SUCCESSION: Duration = Duration::from_secs(1);
/// How often, and after how long, ports that are taken are tried again.
const LISTEN_TRIES: u32 = 10;
const LISTEN_PAUSE: Duration = Duration::from_millis(5);

/// Sockets for one sandbox.
const EACH: Rate = Rate {
    burst: 1024.0,
    per_second: 512.0,
};
/// Sockets in all.
const ALL: Rate = Rate {
    burst: 8192.0,
    per_second: 4096.0,
};

/// An event that was not sent yet: what holds for a sandbox is looked up when it is.
#[derive(Debug)]
enum Told {
    Policy(SandboxId),
    Gone(SandboxId),
}

/// Who waits for egressd to settle an event.
#[derive(Debug)]
struct Await {
    sandbox: SandboxId,
    /// A slot whose flows have ended then.
    release: Option<SlotRecord>,
    sent: Option<Instant>,
}

/// egressd as netd sees it.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) channel: Channel,
    queue: VecDeque<(u64, Told)>,
    awaits: BTreeMap<u64, Await>,
    /// Whether it has been sent the sockets.
    greeted: bool,
    /// Since when it has not read what events wait behind.
    stuck: Option<Instant>,
    all: Budget,
    each: BTreeMap<SandboxId, Budget>,
}

impl Daemon {
    /// False when `fd` is no channel.
    pub(crate) fn egress_channel(&mut self, fd: OwnedFd) -> bool {
        let Ok(channel) = Channel::from_fd(fd) else {
            return false;
        };
        self.lose_egress();
        self.egress_fails = None;
        self.egress_gone = None;
        self.egress = Some(Egress {
            channel,
            queue: VecDeque::new(),
            awaits: BTreeMap::new(),
            greeted: false,
            stuck: None,
            all: Budget::full(Instant::now(), ALL),
            each: BTreeMap::new(),
        });
        let known = self.book.iter().filter(|(_, entry)| entry.slot.is_some());
        let known: Vec<SandboxId> = known.map(|(sandbox, _)| sandbox.clone()).collect();
        for sandbox in known {
            self.post(Told::Policy(sandbox), None);
        }
        self.talk();
        true
    }

    /// egressd has closed its channel. It has most likely ended, which privd sees for itself; one that lives on is to
    /// be ended.
    pub(crate) fn egress_closed(&mut self) {
        self.lose_egress();
        self.egress_gone = Instant::now().checked_add(SUCCESSION);
    }

    /// egressd does not do as it is told: it is heard no more, and has to be replaced.
    pub(crate) fn end_egress(&mut self, why: impl std::fmt::Display) {
        self.egress_gone = None;
        log::audit(format_args!("egressd: {why}"));
        let event = Message::<priv_net::Answer, _>::Event(priv_net::Event::EgressLost);
        if let Err(e) = self.privd.send(&event, Vec::new()) {
            // The loop finds the channel closed and ends.
            log::line(format_args!("privd: {e}"));
        }
        self.lose_egress();
    }

    /// egressd is dead, or is to die: whoever waits for it is served otherwise.
    pub(crate) fn lose_egress(&mut self) {
        let Some(Egress { awaits, .. }) = self.egress.take() else {
            return;
        };
        for (serial, waiting) in awaits {
            self.serve(waiting, serial, false);
        }
    }

    /// Tells egressd what holds for a sandbox that has a slot. The number of the event; none without egressd.
    pub(super) fn tell(&mut self, sandbox: &SandboxId) -> Option<u64> {
        self.book.get(sandbox)?.slot?;
        let serial = self.post(Told::Policy(sandbox.clone()), None);
        self.talk();
        serial
    }

    /// Tells egressd that a sandbox's slot is being given up; its flows in the kernel end afterwards.
    pub(super) fn tell_gone(&mut self, sandbox: SandboxId, slot: SlotRecord) {
        if let Some(egress) = &mut self.egress {
            egress.each.remove(&sandbox);
        }
        if self.post(Told::Gone(sandbox.clone()), Some(slot)).is_none() {
            self.end_released(sandbox, slot);
        }
        self.talk();
    }

    fn post(&mut self, told: Told, release: Option<SlotRecord>) -> Option<u64> {
        let egress = self.egress.as_mut()?;
        self.events += 1;
        let serial = self.events;
        let (Told::Policy(sandbox) | Told::Gone(sandbox)) = &told;
        let waiting = Await {
            sandbox: sandbox.clone(),
            release,
            sent: None,
        };
        egress.awaits.insert(serial, waiting);
        egress.queue.push_back((serial, told));
        Some(serial)
    }

    /// Sends what egressd takes: all policies first, then the sockets.
    pub(crate) fn talk(&mut self) {
        while let Some(egress) = &mut self.egress {
            if egress.channel.wants_write() {
                if !egress.queue.is_empty() {
                    egress.stuck.get_or_insert_with(Instant::now);
                }
                return;
            }
            egress.stuck = None;
            let sent = if let Some((serial, told)) = egress.queue.pop_front() {
                if let Some(waiting) = egress.awaits.get_mut(&serial) {
                    waiting.sent = Some(Instant::now());
                }
                let event = self.event(serial, told);
                self.send_egress(&Message::Event(event), Vec::new())
            } else if egress.greeted {
                return;
            } else {
                egress.greeted = true;
                self.greet()
            };
            if let Err(why) = sent {
                // What waits for it is served by others from the loop on.
                self.egress_fails = Some(why);
                return;
            }
        }
    }

    fn event(&self, serial: u64, told: Told) -> Event {
        let (Told::Policy(sandbox) | Told::Gone(sandbox)) = &told;
        let gone = Event::Gone {
            serial,
            sandbox: sandbox.clone(),
        };
        let Told::Policy(sandbox) = told else {
            return gone;
        };
        let Some(entry) = self.book.get(&sandbox) else {
            return gone;
        };
        let pair = entry
            .slot
            .and_then(|slot| Pair::new(self.config.block, slot.index));
        let Some(Pair { address, .. }) = pair else {
            return gone;
        };
        Event::Policy {
            serial,
            sandbox,
            address,
            generation: entry.standing.generation,
            policy: Policy {
                airgap: entry.airgap() || self.watch.shut().is_some(),
                ..entry.effective()
            },
            flows: entry.bounds.flows,
        }
    }

    fn greet(&mut self) -> Result<(), IpcError> {
        let sockets = self.kernel.as_mut().ok_or_else(purged);
        match sockets.and_then(sockets_for_one_more) {
            Ok(copies) => self.send_egress(&Message::Event(Event::Traffic), copies),
            Err(fault) => {
                log::line(format_args!("sockets for egressd: {fault}"));
                Err(IpcError::Closed)
            }
        }
    }

    fn send_egress(
        &mut self,
        message: &Message<Answer, Event>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), IpcError> {
        match &mut self.egress {
            Some(egress) => egress.channel.send(message, fds),
            None => Ok(()),
        }
    }

    /// Whether one more socket is within the rates.
    pub(crate) fn egress_budget(&mut self, sandbox: &SandboxId) -> bool {
        let known = self.book.contains_key(sandbox);
        let Some(egress) = &mut self.egress else {
            return false;
        };
        let now = Instant::now();
        let own = || Budget::full(now, EACH);
        // Names of no sandbox must not fill the memory.
        let within = !known
            || egress
                .each
                .entry(sandbox.clone())
                .or_insert_with(own)
                .take(now);
        // One that has used up its own takes nothing of what is everybody's.
        within && egress.all.take(now)
    }

    pub(crate) fn egress_dial(
        &mut self,
        seq: u64,
        sandbox: &SandboxId,
        generation: u64,
        to: SocketAddrV4,
    ) {
        let allowed = self.judged(sandbox, generation, |daemon, policy| {
            to.port() != 0 && policy.reaches(&daemon.config.never, *to.ip())
        });
        let socket = allowed.and_then(|mark| self.socket(mark, Purpose::Dial, to, true));
        self.answer_egress(seq, socket);
    }

    pub(crate) fn egress_query(
        &mut self,
        seq: u64,
        sandbox: &SandboxId,
        generation: u64,
        server: std::net::Ipv4Addr,
        stream: bool,
    ) {
        let allowed = self.judged(sandbox, generation, |daemon, policy| {
            policy.resolves(&daemon.config.never, &daemon.config.resolvers, server)
        });
        let to = SocketAddrV4::new(server, DNS);
        let socket = allowed.and_then(|mark| self.socket(mark, Purpose::Ask, to, stream));
        self.answer_egress(seq, socket);
    }

    /// The sandbox's mark, if its policy of now has that generation and allows what is asked.
    fn judged(
        &self,
        sandbox: &SandboxId,
        generation: u64,
        allows: impl FnOnce(&Self, &Policy) -> bool,
    ) -> Result<u32, Fault> {
        let entry = self.book.get(sandbox).filter(|entry| entry.live);
        let entry = entry.ok_or_else(|| no_lease(sandbox))?;
        let slot = entry.slot.ok_or_else(|| no_lease(sandbox))?;
        if generation != entry.standing.generation {
            let detail = format!("generation {} is in force", entry.standing.generation);
            return Err(Fault::new(FaultCode::Conflict, detail));
        }
        if let Some(fault) = self.watch.shut() {
            return Err(fault.clone());
        }
        if entry.airgap() || !allows(self, &entry.standing.policy) {
            return Err(Fault::new(FaultCode::Refused, "not allowed to the sandbox"));
        }
        Ok(slot.index.saturating_add(1))
    }

    fn socket(
        &self,
        mark: u32,
        purpose: Purpose,
        to: SocketAddrV4,
        stream: bool,
    ) -> Result<OwnedFd, Fault> {
        let kernel = self.kernel.as_ref().ok_or_else(purged)?;
        let owner = kernel.filter.owner(mark, purpose);
        let socket = kernel.router.dial(owner, to, stream);
        socket.map_err(|e| worker::fault(&e))
    }

    /// Sends a datagram that answers one of a sandbox's; false where egressd's own socket can, or of what is no answer.
    pub(crate) fn egress_reply(&self, sandbox: &SandboxId, port: u16, bytes: &[u8]) -> bool {
        let kernel = self.kernel.as_ref();
        let sockets = kernel.and_then(|kernel| kernel.listeners.as_ref());
        let Some(sockets) = sockets.filter(|s| s.origins.is_some()) else {
            return false;
        };
        if port == 0 || bytes.is_empty() || bytes.len() > REPLY {
            return false;
        }
        // One that is gone meanwhile has nobody to answer.
        if let Ok(slot) = self.slot_of(sandbox) {
            sockets.reply(SocketAddrV4::new(slot.address, port), bytes);
        }
        true
    }

    pub(crate) fn answer_egress(&mut self, seq: u64, result: Result<OwnedFd, Fault>) {
        let (result, fds) = match result {
            Ok(socket) => (Ok(Answer::Socket), vec![socket]),
            Err(fault) => (Err(fault), Vec::new()),
        };
        if let Err(e) = self.send_egress(&Message::Reply { seq, result }, fds) {
            self.egress_fails = Some(e);
        }
    }

    /// egressd says that event `serial` is settled; false if it was not sent, or answered before.
    pub(crate) fn egress_says_settled(&mut self, serial: u64) -> bool {
        let Some(egress) = &mut self.egress else {
            return true;
        };
        let sent = |waiting: &Await| waiting.sent.is_some();
        if !egress.awaits.get(&serial).is_some_and(sent) {
            return false;
        }
        if let Some(waiting) = egress.awaits.remove(&serial) {
            self.serve(waiting, serial, true);
        }
        true
    }

    fn serve(&mut self, waiting: Await, serial: u64, alive: bool) {
        let sandbox = waiting.sandbox;
        match waiting.release {
            Some(slot) => self.end_released(sandbox, slot),
            None => self.egress_settled(&sandbox, serial, alive),
        }
    }

    /// When egressd will count as dead unless it settles something.
    pub(super) fn egress_deadline(&self) -> Option<Instant> {
        let Some(egress) = &self.egress else {
            return self.egress_gone;
        };
        let oldest = egress.awaits.values().next().and_then(|a| a.sent);
        let since = [oldest, egress.stuck].into_iter().flatten().min()?;
        since.checked_add(SETTLE)
    }

    /// What is due by the clock.
    pub(super) fn egress_tick(&mut self, now: Instant) {
        match self.egress_fails.take() {
            Some(IpcError::Closed) => self.egress_closed(),
            Some(why) => self.end_egress(why),
            None => {}
        }
        if self.egress_gone.is_some_and(|at| at <= now) {
            self.end_egress("it has closed its channel, and no other came in its place");
        }
        if self.egress.is_some() && self.egress_deadline().is_some_and(|at| at <= now) {
            self.end_egress("it does not settle what it was told");
        }
        self.talk();
    }
}

/// Where traffic arrives, for one more egressd. One before it may have shut the sockets down for good, or left them no
/// room: it is dead, and its flows with it, and others take their place.
fn sockets_for_one_more(kernel: &mut Kernel) -> Result<Vec<OwnedFd>, Fault> {
    if kernel.handed {
        // First, or their ports are taken.
        kernel.listeners = None;
    }
    let sockets = match kernel.listeners.take() {
        Some(sockets) => sockets,
        None => {
            let log = kernel.filter.log();
            let mut again = 0..LISTEN_TRIES;
            loop {
                match kernel.router.listen(LISTEN_TCP, LISTEN_UDP, log) {
                    Ok(sockets) => break sockets,
                    // Who was forked a moment ago holds the former ones until it has closed what is not for it.
                    Err(_) if again.next().is_some() => std::thread::sleep(LISTEN_PAUSE),
                    Err(e) => return Err(worker::fault(&e)),
                }
            }
        }
    };
    let sockets = kernel.listeners.insert(sockets);
    kernel.handed = true;
    sockets.copies().map_err(worker::system)
}
