//! Start, adoption and purge: ledger against kernel.
//!
//! At start the whole ruleset is rendered anew from the ledger in one transaction, so that from then on the
//! kernel is what netd believes. A slot that the ledger knows keeps its rules, and live flows go on, until
//! privd has said which cells still run; then the rest is removed.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use warder_desired::{Change, Ground, IfName, Sandbox};
use warder_filter::{Filter, FilterError, LISTEN_TCP, LISTEN_UDP};
use warder_ipc::{Channel, IpcError};
use warder_links::plan::{Pair, Uplink};
use warder_links::{
    LinksError, Listeners, Numbers, Router, RouterLink, Site, Space, boot_id, confine,
    port_counter, port_name, raise_descriptor_limit,
};
use warder_wire::start::{NetStart, Ready, Role, Start};
use warder_wire::{Fault, FaultCode, InstanceTag, Message, SandboxId, priv_net};

use crate::daemon::{Daemon, Kernel, shut_record};
use crate::ledger::{Ledger, Record, Replay, SlotRecord};
use crate::log;
use crate::policy::{self, Book, Entry, Place};
use crate::slots::Pool;
use crate::table::Phase;
use crate::watch::Watch;
use crate::worker::{Job, start_ender, start_maker, system};

/// How long a predecessor may take to die.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why netd did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// privd sent something else than a netd's start.
    #[error("not started as netd: {0}")]
    Role(&'static str),
    /// Its state directory.
    #[error("state directory: {0}")]
    State(#[source] io::Error),
    /// Links and namespaces.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// Packet rules.
    #[error(transparent)]
    Rules(#[from] FilterError),
    /// Its workers.
    #[error("worker: {0}")]
    Worker(#[source] Fault),
}

/// Makes or takes over everything, and confines the process. Returns the words for [`warder_wire::start::Ready`]. The
/// channel is taken once all that is done.
///
/// # Errors
/// [`StartError`]; what was made stays for the next start or a purge.
pub fn start(
    privd: &mut Option<Channel>,
    start: Start,
    fds: Vec<OwnedFd>,
) -> Result<(Daemon, String), StartError> {
    let tag = start.tag;
    let Role::Net(config) = start.role else {
        return Err(StartError::Role("another role"));
    };
    check(&config)?;
    let [dir] = <[OwnedFd; 1]>::try_from(fds)
        .map_err(|_| StartError::Role("one descriptor belongs to it"))?;
    let lock = lock(&dir).map_err(StartError::State)?;
    let (mut ledger, replay) = Ledger::open(dir, &boot_id()?).map_err(StartError::State)?;
    raise_descriptor_limit()?;

    let uplink = Uplink::new(tag, config.instance)?;
    let site = Site::open(tag)?;
    let (mut router, adopted) = Router::open(&site, &uplink)?;
    let (mut book, leftovers) = remembered(&replay, &config);
    let Numbers { pipes, log } = router.numbers(&site, config.slots)?;
    let ground = Ground {
        tag,
        instance: config.instance,
        block: config.block,
        slots: config.slots,
        closed: warder_desired::closed(&config.never),
        resolvers: config.resolvers.clone(),
        uplink: name(router.way_out())?,
        host_end: name(&uplink.host_name)?,
        address: uplink.router,
        pipes,
        log,
    };
    let found = router.ports()?;
    recognise_seals(tag, &mut book, &found, replay.shut.as_deref());
    let place = Place {
        tag,
        block: config.block,
    };
    let sandboxes = policy::desired(&book, place);
    let (filter, why) = match open_filter(&ground, &router, &sandboxes, !found.is_empty()) {
        Ok(opened) => opened,
        Err(error) => {
            // Nobody else will see to the sandboxes that run.
            close(&mut router, &found, &mut ledger, &book);
            return Err(error.into());
        }
    };
    let shut = replay.shut.as_ref().map(|_| {
        let text = "the packet filter was not what it should be when the netd of before ended";
        Fault::new(FaultCode::Unavailable, text)
    });
    let why = why.map(|e| Fault::new(e.code(), e)).or(shut);
    if let Some(why) = &why {
        close(&mut router, &found, &mut ledger, &book);
        log::audit(format_args!("all sandboxes are closed: {why}"));
    }
    router.settle()?;
    router.claim_forwarding(&site)?;
    let listeners = listen(&router, filter.log())?;

    let words = confine()?;
    let maker = start_maker(&router).map_err(StartError::Worker)?;
    let ender = start_ender(&router, &ground).map_err(StartError::Worker)?;
    // Held from here on until the process ends, in whatever way.
    std::mem::forget(lock);

    let taken: Vec<u32> = book
        .values()
        .filter_map(|entry| entry.slot.map(|slot| slot.index))
        .chain(leftovers.iter().map(|(_, slot)| slot.index))
        .collect();
    let used = found
        .iter()
        .filter_map(|link| port_counter(tag, &link.name))
        .max();
    let counter = replay.counters.max(used.map_or(0, |n| n.saturating_add(1)));
    let pool = Pool::new(config.slots, config.ready, counter, &taken);
    log::line(format_args!(
        "router {}, {} slots in the ledger, {} ports in the router",
        if adopted { "taken over" } else { "made" },
        taken.len(),
        found.len(),
    ));
    let kernel = Kernel {
        site,
        router,
        listeners: Some(listeners),
        handed: false,
        filter,
        maker,
        ender,
    };
    let watch = Watch::new(why);
    let privd = privd.take().ok_or(StartError::Role("no channel"))?;
    let mut daemon = Daemon::new(
        tag, config, uplink, privd, kernel, ledger, book, pool, found, watch,
    );
    for (sandbox, slot) in leftovers {
        daemon.pool.cool();
        daemon.end_released(sandbox, slot);
    }
    for (sandbox, kept) in &replay.sandboxes {
        if !kept.settled {
            daemon.resume(sandbox);
        }
    }
    Ok((daemon, words))
}

fn check(config: &NetStart) -> Result<(), StartError> {
    let fits = config
        .slots
        .checked_sub(1)
        .and_then(|last| Pair::new(config.block, last));
    if fits.is_none() {
        return Err(StartError::Role(
            "no slots, or more than the block has addresses for",
        ));
    }
    if config.ids == 0 || config.first_id.checked_add(config.ids - 1).is_none() {
        return Err(StartError::Role("no ids, or more than there are"));
    }
    Ok(())
}

/// Splits what the ledger kept into the book, and the indices of slots whose release was not finished. Their
/// rules are not rendered again, which is the release's first half.
fn remembered(replay: &Replay, config: &NetStart) -> (Book, Vec<(SandboxId, SlotRecord)>) {
    let (mut book, mut leftovers) = (Book::new(), Vec::new());
    leftovers.extend(replay.releasing.values().cloned());
    for (sandbox, kept) in &replay.sandboxes {
        match kept.slot {
            Some(slot) if slot.index >= config.slots => {
                leftovers.push((sandbox.clone(), slot));
            }
            _ => {
                book.insert(sandbox.clone(), Entry::kept(kept));
            }
        }
    }
    (book, leftovers)
}

/// egressd's copies of the sockets of before end with it, which hears that its netd is gone.
fn listen(router: &Router, log: u16) -> Result<Listeners, LinksError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match router.listen(LISTEN_TCP, LISTEN_UDP, log) {
            Err(error) if Instant::now() < end => {
                log::line(format_args!("{error}; once more"));
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

/// The rules as they should be, and why they do not hold all the same, if they do not.
fn open_filter(
    ground: &Ground,
    router: &Router,
    sandboxes: &[Sandbox],
    anything: bool,
) -> Result<(Filter, Option<FilterError>), FilterError> {
    let mut filter = Filter::open(ground.clone(), router.network())?;
    let why = match filter.prepare() {
        // A host on which nothing runs is made ready first.
        Err(error) if !anything => return Err(error),
        prepared => prepared.err(),
    };
    if let Some(lacks) = filter.lacks() {
        log::line(lacks);
    }
    filter.apply(Change::All(sandboxes))?;
    Ok((filter, why))
}

/// Takes every port down that can be, and notes first which were down for themselves.
fn close(router: &mut Router, found: &[RouterLink], ledger: &mut Ledger, book: &Book) {
    if found.is_empty() {
        return;
    }
    if let Err(error) = ledger.append(&shut_record(book)) {
        log::line(format_args!("ledger: {error}"));
    }
    for link in found {
        if let Err(error) = router.seal(&link.name) {
            log::line(format_args!("{}: {error}", link.name));
        }
    }
}

/// A port that is down was sealed by a netd of before; nobody else takes one down. If that had all of them down, it
/// wrote which were down for themselves: `shut`.
fn recognise_seals(
    tag: InstanceTag,
    book: &mut Book,
    found: &[RouterLink],
    shut: Option<&[SandboxId]>,
) {
    for (sandbox, entry) in book {
        if let Some(sealed) = shut {
            entry.sealed = sealed.contains(sandbox);
            continue;
        }
        let own = entry.slot.map(|slot| port_name(tag, slot.counter));
        entry.sealed = found
            .iter()
            .any(|link| !link.up && Some(&link.name) == own.as_ref());
    }
}

/// One netd for one state directory.
fn lock(dir: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, "lock", flags, Mode::RUSR | Mode::WUSR)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn name(text: &str) -> Result<IfName, StartError> {
    IfName::new(text).ok_or(StartError::Role("a name the kernel does not take"))
}

impl Daemon {
    pub(crate) fn slot_adopt(&mut self, seq: u64, sandbox: SandboxId, space: Space) {
        let result = self
            .recognise(&sandbox, &space)
            .and_then(|()| self.slot_of(&sandbox));
        if result.is_ok() {
            if let Some(entry) = self.book.get_mut(&sandbox) {
                entry.live = true;
            }
            self.held.insert(sandbox, space);
        }
        self.answer_privd(seq, result.map(priv_net::Answer::Slot));
    }

    pub(crate) fn reconcile_end(&mut self, seq: u64) {
        let lost: Vec<SandboxId> = self
            .book
            .iter()
            .filter(|(sandbox, entry)| {
                !entry.live || (entry.slot.is_some() && !self.held.contains_key(sandbox))
            })
            .map(|(sandbox, _)| sandbox.clone())
            .collect();
        for sandbox in lost {
            self.drop_unadopted(&sandbox);
        }
        let ours = |counter| {
            let taken = |entry: &Entry| entry.slot.is_some_and(|slot| slot.counter == counter);
            self.book.values().any(taken)
        };
        let strays: Vec<String> = self
            .found
            .iter()
            .filter(|link| !port_counter(self.tag, &link.name).is_some_and(ours))
            .map(|link| link.name.clone())
            .collect();
        for port in strays {
            self.send_maker(&Job::Remove { port });
        }
        self.found.clear();
        self.phase = Phase::Serving;
        self.answer_privd(seq, Ok(priv_net::Answer::Done));
    }

    /// The slot goes; a lease that lives keeps its policy for the next one.
    fn drop_unadopted(&mut self, sandbox: &SandboxId) {
        let Some(mut entry) = self.book.remove(sandbox) else {
            return;
        };
        if let Some(slot) = entry.slot.take() {
            log::line(format_args!(
                "{sandbox}: {} was not adopted",
                port_name(self.tag, slot.counter)
            ));
            if entry.live {
                let mut kept = entry.clone();
                kept.sealed = false;
                self.book.insert(sandbox.clone(), kept);
            }
            self.release(sandbox, &entry, slot);
        } else {
            self.note(&Record::Released {
                sandbox: sandbox.clone(),
                counter: None,
            });
        }
    }

    pub(crate) fn purge(&mut self, seq: u64) {
        let result = self.purge_kernel();
        if let Err(e) = &result {
            log::line(format_args!("purge: {e}"));
        }
        self.answer_privd(seq, result.map(|()| priv_net::Answer::Done).map_err(system));
        self.phase = Phase::Purged;
    }

    fn purge_kernel(&mut self) -> Result<(), StartError> {
        let Some(kernel) = self.kernel.take() else {
            return Ok(());
        };
        drop(kernel.listeners);
        (self.gateway, self.egress) = (None, None);
        for worker in [kernel.maker, kernel.ender] {
            drop(worker.channel);
            worker.process.reap();
        }
        self.held.clear();
        self.pool = Pool::new(0, 0, 0, &[]);
        self.book.clear();
        // First the only way out, then the rules around it.
        let links = kernel.router.purge(kernel.site, &self.uplink);
        let tables = kernel.filter.remove();
        if let Some(ledger) = self.ledger.take() {
            ledger.remove().map_err(StartError::State)?;
        }
        links?;
        Ok(tables?)
    }

    /// Tells privd that adoption can begin.
    ///
    /// # Errors
    /// Those of the channel.
    pub fn announce(&mut self, ready: &Ready) -> Result<(), IpcError> {
        self.privd.send(ready, Vec::new())?;
        let event = Message::<priv_net::Answer, _>::Event(priv_net::Event::Ready);
        self.privd.send(&event, Vec::new())
    }
}
