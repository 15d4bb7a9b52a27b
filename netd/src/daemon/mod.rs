//! netd's state, and what it does for each message of the table.

mod background;
mod egress;
mod leases;
mod policies;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Instant;

use warder_desired::{Change, Ranges};
use warder_filter::{Filter, FilterError};
use warder_ipc::{Channel, IpcError};
use warder_links::plan::Uplink;
use warder_links::{Listeners, Router, RouterLink, Site, Space, port_name};
use warder_wire::gateway_net;
use warder_wire::start::NetStart;
use warder_wire::{Fault, FaultCode, InstanceTag, Message, SandboxId, priv_net};

pub(crate) use egress::Egress;
use policies::Settling;
use watch::Reload;
pub(crate) use watch::shut_record;

use crate::ledger::{Ledger, Record, SlotRecord};
use crate::log;
use crate::policy::{self, Book, Place};
use crate::slots::Pool;
use crate::table::{Budget, Phase};
use crate::watch::Watch;
use crate::worker::{Job, Worker};

/// The kernel side; gone after a purge.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) site: Site,
    pub(crate) router: Router,
    /// Where the traffic of sandboxes arrives, whatever becomes of egressd; none if they could not be made again.
    pub(crate) listeners: Option<Listeners>,
    /// Whether an egressd has had them.
    pub(crate) handed: bool,
    pub(crate) filter: Filter,
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
    /// A change of a sandbox.
    Change { sandbox: SandboxId, change: u64 },
    /// An index that is free afterwards.
    Release {
        sandbox: SandboxId,
        slot: SlotRecord,
    },
    /// All rules are anew, and all flows end.
    Mend(u64),
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
    pub(crate) egress: Option<Egress>,
    pub(crate) kernel: Option<Kernel>,
    pub(crate) ledger: Option<Ledger>,
    pub(crate) book: Book,
    /// Whether the rules are not those of the book, because a transaction failed.
    astray: bool,
    /// Whether the kernel's packet filter is what it should be.
    watch: Watch,
    /// What is still to be loaded before it is.
    reload: Option<Reload>,
    /// Whose policy was changed while it was not.
    kept: BTreeSet<SandboxId>,
    /// Ranges that no policy opens.
    pub(crate) closed: Ranges,
    pub(crate) pool: Pool,
    /// Networks of taken slots: asked again, the same one is given.
    pub(crate) held: BTreeMap<SandboxId, Space>,
    /// The router's ports as they were at start.
    pub(crate) found: Vec<RouterLink>,
    pub(crate) counters: u32,
    pub(crate) epoch: u64,
    settling: BTreeMap<SandboxId, Settling>,
    /// How many changes, and how many events for egressd, there have been.
    changes: u64,
    events: u64,
    /// Why egressd's channel has to be closed.
    egress_fails: Option<IpcError>,
    /// When another egressd is asked for, unless it comes before.
    egress_gone: Option<Instant>,
    jobs: BTreeMap<u64, Pending>,
    next_job: u64,
    /// Ends of flows that the worker has not been sent, and how many it has.
    ends: VecDeque<Job>,
    ends_out: usize,
    retry_at: Option<Instant>,
    /// Until when no slot is made unless they run short.
    lull_until: Option<Instant>,
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
        watch: Watch,
    ) -> Self {
        let counters = pool.counter();
        let closed = warder_desired::closed(&config.never);
        Self {
            tag,
            config,
            uplink,
            phase: Phase::Reconciling,
            privd,
            gateway: None,
            egress: None,
            kernel: Some(kernel),
            ledger: Some(ledger),
            book,
            astray: false,
            watch,
            reload: None,
            kept: BTreeSet::new(),
            closed,
            pool,
            held: BTreeMap::new(),
            found,
            counters,
            epoch: 0,
            settling: BTreeMap::new(),
            changes: 0,
            events: 0,
            egress_fails: None,
            egress_gone: None,
            jobs: BTreeMap::new(),
            next_job: 0,
            ends: VecDeque::new(),
            ends_out: 0,
            retry_at: None,
            lull_until: None,
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
        self.tell_gateway(&Message::Reply { seq, result });
    }

    fn tell_gateway(&mut self, message: &Message<gateway_net::Answer, gateway_net::Event>) {
        let Some(gateway) = &mut self.gateway else {
            return;
        };
        if let Err(e) = gateway.channel.send(message, Vec::new()) {
            log::audit(format_args!("gateway: {e}"));
            self.gateway = None;
        }
    }

    /// Where the slots are.
    pub(crate) fn place(&self) -> Place {
        let (tag, block) = (self.tag, self.config.block);
        Place { tag, block }
    }

    /// Brings the rules to what the book says, `change` being all that it takes. Should that fail, or have failed
    /// before, all rules are made anew.
    pub(crate) fn put(&mut self, change: Change<'_>) -> Result<(), Fault> {
        // All are loaded anew before anything passes a port.
        if self.watch.is_idle() {
            return Ok(());
        }
        if self.reload.is_some() {
            let applied = self.apply(change);
            if let Err(fault) = &applied {
                self.reload = None;
                self.watch.spoiled(fault.clone());
            }
            return applied;
        }
        if !self.astray {
            match self.apply(change) {
                Ok(()) => return Ok(()),
                // Nobody knows what is in force, and once more would take as long again.
                Err(fault) if fault.code == FaultCode::TimedOut => {
                    self.astray = true;
                    return Err(fault);
                }
                Err(fault) => log::line(format_args!("{fault}; all rules anew")),
            }
        }
        self.put_all()
    }

    fn put_all(&mut self) -> Result<(), Fault> {
        let sandboxes = policy::desired(&self.book, self.place());
        let applied = self.apply(Change::All(&sandboxes));
        self.astray = applied.is_err();
        applied
    }

    fn apply(&mut self, change: Change<'_>) -> Result<(), Fault> {
        self.have(|filter| filter.apply(change))
    }

    /// Has the filter do something; a second time over a new socket, should the first be confused.
    fn have<T>(
        &mut self,
        mut done: impl FnMut(&mut Filter) -> Result<T, FilterError>,
    ) -> Result<T, Fault> {
        let kernel = self.kernel.as_mut().ok_or_else(purged)?;
        let first = match done(&mut kernel.filter) {
            Err(first) => first,
            Ok(answer) => return Ok(answer),
        };
        if first.code() == FaultCode::TimedOut {
            return Err(rules(&first));
        }
        log::line(format_args!("rules: {first}; once more"));
        let reopened = kernel.filter.reopen(kernel.router.network());
        reopened.map_err(|e| rules(&e))?;
        done(&mut kernel.filter).map_err(|e| rules(&e))
    }

    /// The last resort: no packet passes a port that is down.
    fn seal(&mut self, sandbox: &SandboxId) {
        let Some(entry) = self.book.get_mut(sandbox) else {
            return;
        };
        entry.sealed = true;
        // Rules that say less than the book are rules that the next one could inherit.
        self.astray = true;
        if let Some(slot) = entry.slot {
            self.seal_port(&slot);
        }
        self.note_shut();
        let sandbox = sandbox.clone();
        self.tell_gateway(&Message::Event(gateway_net::Event::Sealed { sandbox }));
    }

    fn seal_port(&mut self, slot: &SlotRecord) {
        let port = port_name(self.tag, slot.counter);
        log::audit(format_args!(
            "{port} is taken down: its rules could not be changed"
        ));
        self.take_down([slot.counter]);
    }

    /// Takes the ports of slots down, which are known by their counters; one that is gone is down.
    fn take_down(&mut self, counters: impl IntoIterator<Item = u32>) {
        let Some(kernel) = &mut self.kernel else {
            return;
        };
        let mut failed = false;
        for counter in counters {
            let port = port_name(self.tag, counter);
            if let Err(e) = kernel.router.seal(&port) {
                log::audit(format_args!("{port} could not be taken down: {e}"));
                failed = true;
            }
        }
        if failed {
            // Neither rules nor link obey: stop. The next netd renders everything anew.
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
        let generation = entry.standing.generation;
        if generation > 0 {
            let policy = entry.standing.policy;
            self.note(&Record::Policy {
                sandbox: sandbox.clone(),
                generation,
                policy,
            });
            self.note(&Record::InForce {
                sandbox: sandbox.clone(),
                generation,
            });
        }
        if let Some(slot) = entry.slot {
            self.note(&Record::Take {
                sandbox: sandbox.clone(),
                slot,
                bounds: entry.bounds,
            });
            self.note(&Record::Taken {
                sandbox: sandbox.clone(),
            });
        }
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

fn rules(error: &FilterError) -> Fault {
    Fault::new(error.code(), error)
}
