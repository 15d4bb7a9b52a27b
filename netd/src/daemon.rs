//! netd's state, and what it does for each message of the table.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use warder_ipc::Channel;
use warder_links::plan::{Pair, Uplink, port_name};
use warder_links::{Router, RouterLink, Site};
use warder_nft::model::Transaction;
use warder_nft::{NftError, Session, render};
use warder_wire::gateway_net::{self, Policy};
use warder_wire::start::NetStart;
use warder_wire::{Fault, FaultCode, InstanceTag, Message, SandboxId, priv_net};

use crate::ledger::{Ledger, Record, SlotRecord};
use crate::log;
use crate::policy::{self, Book, Entry, Standing, Verdict};
use crate::slots::{Pool, Ready};
use crate::table::{Budget, Phase};
use crate::worker::{Done, Job, MAX_LOOK, Worker};

/// Counters set aside with one record.
const COUNTERS: u32 = 1024;
/// Pause after a slot could not be made.
const BACK_OFF: Duration = Duration::from_secs(1);
/// Between looks for ports that are gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After this long a port of nobody is removed by force, which waits for grace periods.
const LINGER: Duration = Duration::from_secs(3);
/// How long a request waits for a slot that is still cooling.
const HOPE: Duration = Duration::from_secs(5);

/// The kernel side; gone after a purge.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) site: Site,
    pub(crate) router: Router,
    pub(crate) rules: Session,
    pub(crate) maker: Worker,
    pub(crate) ender: Worker,
}

/// The gateway as netd sees it.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) channel: Channel,
    budget: Budget,
}

/// What an end of flows is for.
#[derive(Debug)]
enum Pending {
    /// An answer to the gateway that asked as number `epoch`.
    Policy {
        epoch: u64,
        seq: u64,
        sandbox: SandboxId,
        generation: u64,
    },
    /// An index that is free afterwards.
    Release {
        sandbox: SandboxId,
        slot: SlotRecord,
    },
}

/// A released slot whose port is still there: the last cell's sockets keep the namespace until they end.
#[derive(Debug)]
struct Draining {
    sandbox: SandboxId,
    slot: SlotRecord,
    since: Instant,
    forced: bool,
}

/// Everything netd has.
#[derive(Debug)]
pub struct Daemon {
    pub(crate) tag: InstanceTag,
    pub(crate) config: NetStart,
    pub(crate) uplink: Uplink,
    pub(crate) phase: Phase,
    pub(crate) privd: Channel,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) kernel: Option<Kernel>,
    pub(crate) ledger: Option<Ledger>,
    pub(crate) book: Book,
    pub(crate) pool: Pool,
    /// Namespaces of taken slots: asked again, the same one is given.
    pub(crate) held: BTreeMap<SandboxId, OwnedFd>,
    /// The router's ports as they were at start.
    pub(crate) found: Vec<RouterLink>,
    pub(crate) counters: u32,
    epoch: u64,
    jobs: BTreeMap<u64, Pending>,
    next_job: u64,
    retry_at: Option<Instant>,
    draining: Vec<Draining>,
    look_at: Option<Instant>,
}

impl Daemon {
    #[expect(
        clippy::too_many_arguments,
        reason = "start-up hands over what it made, once"
    )]
    pub(crate) fn new(
        tag: InstanceTag,
        config: NetStart,
        uplink: Uplink,
        privd: Channel,
        kernel: Kernel,
        ledger: Ledger,
        book: Book,
        pool: Pool,
        found: Vec<RouterLink>,
    ) -> Self {
        let counters = pool.counter();
        Self {
            tag,
            config,
            uplink,
            phase: Phase::Reconciling,
            privd,
            gateway: None,
            kernel: Some(kernel),
            ledger: Some(ledger),
            book,
            pool,
            held: BTreeMap::new(),
            found,
            counters,
            epoch: 0,
            jobs: BTreeMap::new(),
            next_job: 0,
            retry_at: None,
            draining: Vec::new(),
            look_at: None,
        }
    }

    /// What netd is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    // --- answers ---------------------------------------------------------------------------------

    pub(crate) fn answer_privd(&mut self, seq: u64, result: Result<priv_net::Answer, Fault>) {
        self.answer_privd_with(seq, result, Vec::new());
    }

    fn answer_privd_with(
        &mut self,
        seq: u64,
        result: Result<priv_net::Answer, Fault>,
        fds: Vec<OwnedFd>,
    ) {
        let reply = Message::<_, priv_net::Event>::Reply { seq, result };
        if let Err(e) = self.privd.send(&reply, fds) {
            // The loop finds the channel closed and ends.
            log::line(format_args!("answer to privd: {e}"));
        }
    }

    pub(crate) fn answer_gateway(&mut self, seq: u64, result: Result<gateway_net::Answer, Fault>) {
        let Some(gateway) = &mut self.gateway else {
            return;
        };
        let reply = Message::<_, gateway_net::Event>::Reply { seq, result };
        if let Err(e) = gateway.channel.send(&reply, Vec::new()) {
            log::audit(format_args!("gateway: {e}"));
            self.gateway = None;
        }
    }

    // --- privd -----------------------------------------------------------------------------------

    pub(crate) fn lease_live(&mut self, sandbox: SandboxId) {
        self.book.entry(sandbox).or_default().live = true;
    }

    pub(crate) fn lease_gone(&mut self, sandbox: &SandboxId) {
        let Some(entry) = self.book.remove(sandbox) else {
            return;
        };
        match entry.slot {
            Some(slot) => self.release(sandbox, &entry, slot),
            None if entry.standing.generation > 0 => {
                self.note(&Record::Released {
                    sandbox: sandbox.clone(),
                });
            }
            None => {}
        }
    }

    pub(crate) fn slot_take(&mut self, seq: u64, sandbox: SandboxId) {
        match self.book.get(&sandbox) {
            Some(entry) if entry.live => {}
            _ => return self.answer_privd(seq, Err(no_lease(&sandbox))),
        }
        if self.held.contains_key(&sandbox) {
            return self.give(seq, &sandbox);
        }
        if self.pool.wait(seq, &sandbox) {
            self.serve_waiting();
        } else {
            let fault = Fault::new(FaultCode::Exhausted, "all network slots are taken");
            self.answer_privd(seq, Err(fault));
        }
    }

    pub(crate) fn slot_report(&mut self, seq: u64) {
        let (total, ready, _) = self.pool.counts();
        let taken = self.book.values().filter(|e| e.slot.is_some()).count();
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        self.answer_privd(
            seq,
            Ok(priv_net::Answer::Slots {
                total,
                ready,
                taken,
            }),
        );
    }

    /// False when `fd` is no channel.
    pub(crate) fn gateway_channel(&mut self, fd: OwnedFd) -> bool {
        let Ok(channel) = Channel::from_fd(fd) else {
            return false;
        };
        self.epoch += 1;
        self.gateway = Some(Gateway {
            channel,
            budget: Budget::full(Instant::now()),
        });
        true
    }

    /// Requests that wait get what is ready.
    fn serve_waiting(&mut self) {
        while self.pool.can_serve() {
            let Some((seq, sandbox)) = self.pool.next_waiting() else {
                return;
            };
            let live = self.book.get(&sandbox).is_some_and(|entry| entry.live);
            if !live {
                self.answer_privd(seq, Err(no_lease(&sandbox)));
            } else if self.held.contains_key(&sandbox) {
                self.give(seq, &sandbox);
            } else if let Some(ready) = self.pool.pop() {
                match self.assign(&sandbox, ready) {
                    Ok(()) => self.give(seq, &sandbox),
                    Err(fault) => self.answer_privd(seq, Err(fault)),
                }
            }
        }
    }

    /// Answers with the slot that the sandbox has.
    fn give(&mut self, seq: u64, sandbox: &SandboxId) {
        let answer = self.slot_of(sandbox).and_then(|slot| {
            let ns = self.held.get(sandbox).ok_or_else(|| no_lease(sandbox))?;
            let ns = ns
                .try_clone()
                .map_err(|e| Fault::new(FaultCode::System, e))?;
            Ok((slot, vec![ns]))
        });
        match answer {
            Ok((slot, fds)) => self.answer_privd_with(seq, Ok(priv_net::Answer::Slot(slot)), fds),
            Err(fault) => self.answer_privd(seq, Err(fault)),
        }
    }

    pub(crate) fn slot_of(&self, sandbox: &SandboxId) -> Result<priv_net::Slot, Fault> {
        let slot = self.book.get(sandbox).and_then(|entry| entry.slot);
        let pair = slot.and_then(|slot| Pair::new(self.config.block, slot.index));
        let Pair { gateway, address } = pair.ok_or_else(|| no_lease(sandbox))?;
        Ok(priv_net::Slot { address, gateway })
    }

    /// Puts a sandbox's policy in force on a ready slot, which is its own from then on.
    fn assign(&mut self, sandbox: &SandboxId, ready: Ready) -> Result<(), Fault> {
        let Ready { slot, ns } = ready;
        let take = Record::Take {
            sandbox: sandbox.clone(),
            slot,
        };
        let added = self.record(&take).and_then(|()| {
            let view = self.view(sandbox, &slot)?;
            self.apply(&render::add(self.tag, &view))
        });
        if let Err(fault) = added {
            self.note(&Record::Released {
                sandbox: sandbox.clone(),
            });
            self.remember(sandbox);
            self.pool.cool();
            self.pool.cooled(slot.index);
            return Err(fault);
        }
        self.note(&Record::Taken {
            sandbox: sandbox.clone(),
        });
        if let Some(entry) = self.book.get_mut(sandbox) {
            entry.slot = Some(slot);
        }
        self.held.insert(sandbox.clone(), ns);
        Ok(())
    }

    /// The sandbox as the rules should have it, on `slot`.
    fn view(&self, sandbox: &SandboxId, slot: &SlotRecord) -> Result<render::Sandbox, Fault> {
        let entry = self.book.get(sandbox).ok_or_else(|| no_lease(sandbox))?;
        let port = policy::port(self.config.block, slot)
            .ok_or_else(|| Fault::new(FaultCode::System, "a slot outside the block"))?;
        Ok(render::Sandbox {
            port,
            open: entry.standing.policy.internet,
        })
    }

    /// Rules go first and at once; then the namespace; then the flows, and with them the index is free.
    pub(crate) fn release(&mut self, sandbox: &SandboxId, entry: &Entry, slot: SlotRecord) {
        self.note(&Record::Release {
            sandbox: sandbox.clone(),
        });
        if let Some(port) = policy::port(self.config.block, &slot) {
            let gone = render::remove(self.tag, &port, entry.standing.policy.internet);
            if let Err(fault) = self.apply(&gone) {
                log::line(format_args!("rules of {sandbox}: {fault}"));
                self.seal(&slot);
            }
        }
        self.held.remove(sandbox);
        self.pool.cool();
        self.end_released(sandbox.clone(), slot);
    }

    pub(crate) fn end_released(&mut self, sandbox: SandboxId, slot: SlotRecord) {
        self.end_flows(slot.index, Pending::Release { sandbox, slot });
    }

    // --- gateway ---------------------------------------------------------------------------------

    pub(crate) fn gateway_budget(&mut self) -> bool {
        self.gateway
            .as_mut()
            .is_some_and(|g| g.budget.take(Instant::now()))
    }

    pub(crate) fn policy_get(&mut self, seq: u64, sandbox: &SandboxId) {
        let result = match self.book.get(sandbox) {
            Some(Entry {
                live: true,
                standing,
                ..
            }) => Ok(gateway_net::Answer::Policy {
                generation: standing.generation,
                policy: standing.policy,
            }),
            _ => Err(no_lease(sandbox)),
        };
        self.answer_gateway(seq, result);
    }

    pub(crate) fn policy_set(
        &mut self,
        seq: u64,
        sandbox: &SandboxId,
        generation: u64,
        policy: Policy,
    ) {
        match self.put_policy(sandbox, generation, policy) {
            // Flows may be there that it forbids: the answer waits for their end.
            Ok(Some(slot)) => {
                let sandbox = sandbox.clone();
                let epoch = self.epoch;
                let pending = Pending::Policy {
                    epoch,
                    seq,
                    sandbox,
                    generation,
                };
                self.end_flows(slot.index, pending);
            }
            Ok(None) => {
                self.note(&Record::InForce {
                    sandbox: sandbox.clone(),
                    generation,
                });
                self.answer_gateway(seq, Ok(gateway_net::Answer::InForce { generation }));
            }
            Err(fault) => self.answer_gateway(seq, Err(fault)),
        }
    }

    /// Puts a policy in force for every packet from now on. Returns the slot whose flows have to be ended.
    fn put_policy(
        &mut self,
        sandbox: &SandboxId,
        generation: u64,
        policy: Policy,
    ) -> Result<Option<SlotRecord>, Fault> {
        let entry = match self.book.get(sandbox) {
            Some(entry) if entry.live => entry.clone(),
            _ => return Err(no_lease(sandbox)),
        };
        let tightens = match entry.standing.judge(generation, policy) {
            Verdict::Put { tightens } => tightens,
            // Perhaps the answer to the first try got lost before its flows were gone.
            Verdict::Again => return Ok(entry.slot.filter(|_| !policy.internet)),
            Verdict::Stale => {
                let detail = format!("generation {} was accepted", entry.standing.generation);
                return Err(Fault::new(FaultCode::Conflict, detail));
            }
        };
        self.record(&Record::Policy {
            sandbox: sandbox.clone(),
            generation,
            open: policy.internet,
        })?;
        let standing = Standing { generation, policy };
        let Some(slot) = entry.slot else {
            self.stand(sandbox, standing);
            return Ok(None);
        };
        let port = policy::port(self.config.block, &slot)
            .ok_or_else(|| Fault::new(FaultCode::System, "a slot outside the block"))?;
        let view = render::Sandbox {
            port,
            open: policy.internet,
        };
        let change = render::change(self.tag, &view, entry.standing.policy.internet);
        if let Err(fault) = self.apply(&change) {
            // Rules still say the old policy. Nothing may pass by it if the new one forbids it.
            if tightens {
                self.seal(&slot);
                if let Some(entry) = self.book.get_mut(sandbox) {
                    entry.sealed = true;
                }
            } else {
                self.remember(sandbox);
            }
            return Err(fault);
        }
        self.stand(sandbox, standing);
        Ok(tightens.then_some(slot))
    }

    fn stand(&mut self, sandbox: &SandboxId, standing: Standing) {
        if let Some(entry) = self.book.get_mut(sandbox) {
            entry.standing = standing;
        }
    }

    // --- the kernel and the ledger ---------------------------------------------------------------

    /// Puts a transaction in force; a second time over a new socket, should the first be confused.
    pub(crate) fn apply(&mut self, transaction: &Transaction) -> Result<(), Fault> {
        let kernel = self.kernel.as_mut().ok_or_else(purged)?;
        let Err(first) = kernel.rules.apply(transaction) else {
            return Ok(());
        };
        log::line(format_args!("rules: {first}; once more"));
        kernel.rules = Session::open_in(kernel.router.ns()).map_err(|e| nft(&e))?;
        kernel.rules.apply(transaction).map_err(|e| nft(&e))
    }

    /// The last resort: no packet passes a port that is down.
    fn seal(&mut self, slot: &SlotRecord) {
        let port = port_name(slot.counter);
        log::audit(format_args!(
            "{port} is taken down: its rules could not be changed"
        ));
        let Some(kernel) = &mut self.kernel else {
            return;
        };
        if let Err(e) = kernel.router.seal(&port) {
            // Neither rules nor link obey: stop. The next netd renders everything anew.
            log::audit(format_args!("{port} could not be taken down: {e}"));
            std::process::exit(1);
        }
    }

    /// Appends to the ledger what must be there before the deed.
    pub(crate) fn record(&mut self, record: &Record) -> Result<(), Fault> {
        let ledger = self.ledger.as_mut().ok_or_else(purged)?;
        ledger.append(record).map_err(|e| {
            let full = e.kind() == std::io::ErrorKind::StorageFull
                || e.kind() == std::io::ErrorKind::QuotaExceeded;
            let code = if full {
                FaultCode::NoSpace
            } else {
                FaultCode::System
            };
            Fault::new(code, format_args!("ledger: {e}"))
        })
    }

    /// Appends what is worth knowing after a start, but must not stop what is being done.
    pub(crate) fn note(&mut self, record: &Record) {
        if let Err(fault) = self.record(record) {
            log::line(fault);
        }
    }

    /// Writes down again what holds for a sandbox, after a record that says otherwise.
    fn remember(&mut self, sandbox: &SandboxId) {
        let Some(entry) = self.book.get(sandbox).cloned() else {
            return;
        };
        let Standing { generation, policy } = entry.standing;
        if generation > 0 {
            let (sandbox, open) = (sandbox.clone(), policy.internet);
            self.note(&Record::Policy {
                sandbox: sandbox.clone(),
                generation,
                open,
            });
            self.note(&Record::InForce {
                sandbox,
                generation,
            });
        }
        if let Some(slot) = entry.slot {
            self.note(&Record::Take {
                sandbox: sandbox.clone(),
                slot,
            });
            self.note(&Record::Taken {
                sandbox: sandbox.clone(),
            });
        }
    }

    // --- workers ---------------------------------------------------------------------------------

    /// Orders what the pool lacks.
    pub(crate) fn refill(&mut self) {
        let now = Instant::now();
        if self.phase == Phase::Purged || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        loop {
            if self.pool.counter() >= self.counters {
                let upto = self.pool.counter().saturating_add(COUNTERS);
                if let Err(fault) = self.record(&Record::Counters(upto)) {
                    self.cannot_make(&fault);
                    return;
                }
                self.counters = upto;
            }
            let Some((index, counter)) = self.pool.next_to_make() else {
                return;
            };
            let Some(pair) = Pair::new(self.config.block, index) else {
                return;
            };
            let NetStart { first_id, ids, .. } = self.config;
            self.send_maker(&Job::Make {
                index,
                counter,
                pair: (pair.gateway, pair.address),
                ping_groups: (first_id, first_id.saturating_add(ids.saturating_sub(1))),
            });
        }
    }

    /// What is due by the clock.
    pub(crate) fn tick(&mut self) {
        let now = Instant::now();
        if self.look_at.is_some_and(|at| at <= now) {
            self.look();
        }
        while let Some(seq) = now
            .checked_sub(HOPE)
            .and_then(|then| self.pool.next_overdue(then))
        {
            let fault = Fault::new(FaultCode::Exhausted, "no network slot became free");
            self.answer_privd(seq, Err(fault));
        }
    }

    /// How long the loop may sleep.
    pub(crate) fn wake_in(&self) -> Option<Duration> {
        let hope = self
            .pool
            .is_waited_for()
            .then(|| Instant::now() + LOOK_EVERY);
        let first = [self.retry_at, self.look_at, hope]
            .into_iter()
            .flatten()
            .min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// Asks which ports of released slots are gone.
    fn look(&mut self) {
        self.look_at = None;
        if self.draining.is_empty() {
            return;
        }
        let mut strays = Vec::new();
        for draining in &mut self.draining {
            if !draining.forced && draining.since.elapsed() > LINGER {
                draining.forced = true;
                strays.push(port_name(draining.slot.counter));
            }
        }
        for port in strays {
            log::line(format_args!("{port} lingers and is removed"));
            self.send_maker(&Job::Remove { port });
        }
        let counters = self
            .draining
            .iter()
            .map(|d| d.slot.counter)
            .take(MAX_LOOK)
            .collect();
        if let Some(kernel) = &mut self.kernel {
            must_send(&mut kernel.ender.channel, &Job::Look { counters });
        }
    }

    fn gone(&mut self, counters: &[u32]) {
        let (gone, left) = std::mem::take(&mut self.draining)
            .into_iter()
            .partition(|d| counters.contains(&d.slot.counter));
        self.draining = left;
        for Draining { sandbox, slot, .. } in gone {
            self.note(&Record::Released {
                sandbox: sandbox.clone(),
            });
            self.remember(&sandbox);
            self.pool.cooled(slot.index);
        }
        if !self.draining.is_empty() {
            // Those that were looked at go behind those that were not.
            let looked = self.draining.len().min(MAX_LOOK);
            self.draining.rotate_left(looked);
            self.look_at = Some(Instant::now() + LOOK_EVERY);
        }
    }

    pub(crate) fn send_maker(&mut self, job: &Job) {
        if let Some(kernel) = &mut self.kernel {
            must_send(&mut kernel.maker.channel, job);
        }
    }

    fn end_flows(&mut self, index: u32, pending: Pending) {
        let job = self.next_job;
        self.next_job += 1;
        let verify = matches!(pending, Pending::Policy { .. });
        self.jobs.insert(job, pending);
        if let Some(kernel) = &mut self.kernel {
            let mark = index.saturating_add(1);
            must_send(&mut kernel.ender.channel, &Job::End { job, mark, verify });
        }
    }

    /// A worker has done a job.
    pub(crate) fn done(&mut self, done: Done, fds: Vec<OwnedFd>) {
        match done {
            Done::Made {
                index,
                counter,
                result,
            } => {
                let ns = fds.into_iter().next();
                match (result, ns) {
                    (Ok(inode), Some(ns)) => {
                        self.pool.made(Ready {
                            slot: SlotRecord {
                                index,
                                counter,
                                inode,
                            },
                            ns,
                        });
                        self.serve_waiting();
                    }
                    (result, _) => {
                        self.pool.not_made(index);
                        let fault = result.err().unwrap_or_else(purged);
                        self.cannot_make(&fault);
                    }
                }
            }
            Done::Removed { port, result } => {
                if let Err(fault) = result {
                    log::line(format_args!("stray port {port}: {fault}"));
                }
            }
            Done::Ended { job, result } => self.ended(job, result),
            Done::Gone { counters } => self.gone(&counters),
        }
    }

    fn cannot_make(&mut self, fault: &Fault) {
        log::line(format_args!("cannot make a slot: {fault}"));
        self.retry_at = Some(Instant::now() + BACK_OFF);
        while let Some((seq, _)) = self.pool.next_waiting() {
            self.answer_privd(seq, Err(fault.clone()));
        }
    }

    fn ended(&mut self, job: u64, result: Result<(), Fault>) {
        match self.jobs.remove(&job) {
            Some(Pending::Policy {
                epoch,
                seq,
                sandbox,
                generation,
            }) => {
                if result.is_ok() {
                    self.note(&Record::InForce {
                        sandbox,
                        generation,
                    });
                }
                if epoch == self.epoch {
                    let answer = gateway_net::Answer::InForce { generation };
                    self.answer_gateway(seq, result.map(|()| answer));
                }
            }
            Some(Pending::Release { sandbox, slot }) => {
                if let Err(fault) = result {
                    // Its flows would belong to the next owner of the address. Better one slot less.
                    log::line(format_args!(
                        "slot {} stays out of use: {fault}",
                        slot.index
                    ));
                    return;
                }
                let since = Instant::now();
                self.draining.push(Draining {
                    sandbox,
                    slot,
                    since,
                    forced: false,
                });
                self.look();
            }
            None => {}
        }
    }
}

impl Daemon {
    /// Checks a descriptor that is said to be a running cell's namespace against ledger and router.
    pub(crate) fn recognise(&mut self, sandbox: &SandboxId, ns: &OwnedFd) -> Result<(), Fault> {
        let unknown = |why: &str| {
            Fault::new(
                FaultCode::NotFound,
                format_args!("no slot of {sandbox}: {why}"),
            )
        };
        let entry = self
            .book
            .get(sandbox)
            .ok_or_else(|| unknown("not in the ledger"))?;
        let slot = entry.slot.ok_or_else(|| unknown("it had none"))?;
        let inode = warder_links::netns_inode(ns.as_fd()).map_err(|e| unknown(&e.to_string()))?;
        if inode != slot.inode {
            return Err(unknown("another namespace"));
        }
        let kernel = self.kernel.as_mut().ok_or_else(purged)?;
        let number = kernel
            .router
            .number_of(ns.as_fd())
            .map_err(|e| crate::worker::fault(&e))?;
        let name = port_name(slot.counter);
        // An inode alone can be used again; the pair that leads there cannot.
        let leads =
            |link: &RouterLink| link.name == name && link.peer.is_some() && link.peer == number;
        if self.found.iter().any(leads) {
            Ok(())
        } else {
            Err(unknown("no pair leads there"))
        }
    }
}

fn must_send(channel: &mut Channel, job: &Job) {
    if let Err(e) = channel.send(job, Vec::new()) {
        // Without its workers netd cannot keep a promise; privd starts a whole one.
        log::line(format_args!("worker: {e}"));
        std::process::exit(1);
    }
}

fn no_lease(sandbox: &SandboxId) -> Fault {
    Fault::new(
        FaultCode::NotFound,
        format_args!("no live lease for {sandbox}"),
    )
}

fn purged() -> Fault {
    Fault::new(FaultCode::Unavailable, "netd is going")
}

fn nft(error: &NftError) -> Fault {
    let code = match error {
        NftError::Unsupported(_) => FaultCode::Unsupported,
        NftError::Kernel { .. } | NftError::FlowsLeft(_) => FaultCode::System,
    };
    Fault::new(code, error)
}
