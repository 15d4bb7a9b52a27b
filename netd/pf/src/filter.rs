//! The packet filter as netd has it, the same on every system: what is desired in, rules in force.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Bound;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use warder_desired::{Change, Class, Ground, Payload, Port, Ranges, Sandbox};
use warder_freebsd::net::{Generic, GenericError, PfTables};
use warder_netlink::Message;
use warder_tool::{Call, Host, Run, ToolError};
use warder_wire::FaultCode;

use crate::host::Wrong;
use crate::plan::{self, Load};
use crate::pulse::{self, Beat, KINDS, Print, Pulse, Rules};
use crate::states::{self, State};
use crate::{PfError, Site, host};

pub use crate::{LISTEN_TCP, LISTEN_UDP};

/// How long pfctl(8) or dnctl(8) may take: netd does nothing else meanwhile, and closes the sandbox then.
const PATIENCE: Duration = Duration::from_secs(5);
/// Looks before giving up; a packet already past the rules can make a state behind the first.
const ROUNDS: u32 = 8;
/// `PFNL_FAMILY_NAME` (netpfil/pf/pf_nl.h).
const FAMILY: &str = "pfctl";
/// `PFNL_CMD_GETSTATES`.
pub const GET_STATES: u8 = 1;
/// `PFNL_CMD_GETRULES`.
pub const GET_RULES: u8 = 6;
/// `PF_GR_ANCHOR`.
pub const ANCHOR: u16 = 1;
/// `PF_GR_ACTION`.
pub const ACTION: u16 = 2;
/// `PFNL_CMD_GET_STATUS`.
pub const GET_STATUS: u8 = 11;
/// `PFNL_CMD_KILLSTATES`.
pub const KILL_STATES: u8 = 9;
/// `PF_CS_CMP_ID`.
pub const KILL_ID: u16 = 1;
/// `PF_CS_CMP_CREATORID`.
pub const KILL_CREATOR: u16 = 2;
/// `PF_CS_LABEL`.
pub const KILL_LABEL: u16 = 10;

/// There while pf is loaded (pf(4)).
const DEVICE: &str = "/dev/pf";

/// Sandboxes' anchors that are held against what was loaded in one look, so that a look takes no longer for many.
const GLANCE: usize = 32;

/// Why rules are not in force, or flows are not gone.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// There is no pf.
    #[error("pf is not loaded: pf_enable=\"YES\" in /etc/rc.conf, then `service pf start`")]
    NotLoaded,
    /// It judges no packet.
    #[error("pf is not enabled: pf_enable=\"YES\" in /etc/rc.conf, then `service pf start`")]
    Off,
    /// The host's own rules let packets of sandboxes by.
    #[error(transparent)]
    Host(#[from] Wrong),
    /// The host's rules call the instance's now, and for a moment may not have.
    #[error(
        "somebody switched pf off and on, or loaded its rules more than once; for a moment nothing may have been filtered"
    )]
    Touched,
    /// Somebody else changed the instance's own rules.
    #[error("somebody changed the rules of Warder's in pf, those of anchor {0}")]
    Flushed(String),
    /// The sandbox has no place in the rules.
    #[error(transparent)]
    Place(#[from] PfError),
    /// A program refused.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The kernel refused.
    #[error("pf: {0}")]
    Kernel(#[from] GenericError),
    /// It said what cannot be read.
    #[error("a state that cannot be read")]
    Unreadable,
    /// States were ended and new ones of the same sandbox kept coming.
    #[error("{0} states are left")]
    StatesLeft(usize),
}

impl FilterError {
    /// For whoever asked.
    #[must_use]
    pub fn code(&self) -> FaultCode {
        match self {
            Self::NotLoaded | Self::Off | Self::Host(_) => FaultCode::Unsupported,
            Self::Touched | Self::Flushed(_) => FaultCode::Unavailable,
            // Whether it took place nobody knows.
            Self::Tool(ToolError::TimedOut { .. }) => FaultCode::TimedOut,
            Self::Place(_) => FaultCode::Exhausted,
            Self::Tool(_) | Self::Kernel(_) | Self::Unreadable | Self::StatesLeft(_) => {
                FaultCode::System
            }
        }
    }
}

/// What a socket on behalf of a sandbox is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A connection to a destination.
    Dial,
    /// A question to a DNS server.
    Ask,
}

/// The rules of an instance, and the states that they let begin.
#[derive(Debug)]
pub struct Filter {
    site: Site,
    closed: Ranges,
    slots: u32,
    states: Generic,
    tables: Option<PfTables>,
    /// pf as it was when the host's rules were found whole, and whether they are to be inspected all the same.
    seen: Option<Pulse>,
    doubted: bool,
    /// What a look has seen since all was loaded anew: pf was touched; the anchor that was.
    touched: bool,
    flushed: Option<String>,
    /// Every anchor as it was loaded, and the last one that was looked at.
    loaded: BTreeMap<String, Print>,
    turn: String,
    /// What times are counted from.
    begun: Instant,
}

impl Filter {
    /// Opens it, in the host's network. Nothing changes.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn open(ground: Ground, _network: BorrowedFd<'_>) -> Result<Self, FilterError> {
        if !Path::new(DEVICE).exists() {
            return Err(FilterError::NotLoaded);
        }
        Ok(Self {
            site: Site::new(&ground),
            slots: ground.slots,
            closed: ground.closed,
            states: Generic::open(FAMILY)?,
            tables: PfTables::open().ok(),
            seen: None,
            doubted: false,
            touched: false,
            flushed: None,
            loaded: BTreeMap::new(),
            turn: String::new(),
            begun: Instant::now(),
        })
    }

    /// By what the rules know a socket of the sandbox `mark`: the user it belongs to.
    #[must_use]
    pub fn owner(&self, mark: u32, _purpose: Purpose) -> u32 {
        self.site.user(mark)
    }

    /// Number of the log that refused packets go to.
    #[must_use]
    pub fn log(&self) -> u16 {
        self.site.log
    }

    /// What is not there of what a sandbox's bounds need, with what to do.
    #[must_use]
    pub fn lacks(&self) -> Option<&'static str> {
        self.site.pipes.is_none().then_some(
            "no bandwidth limits: `kldload dummynet`, and dummynet_load=\"YES\" in /boot/loader.conf",
        )
    }

    /// Looks whether the host's own rules call the instance's, and makes room for them.
    ///
    /// # Errors
    /// Those of [`Self::inspect`].
    pub fn prepare(&mut self) -> Result<(), FilterError> {
        let now = self.pulse()?;
        self.inspect()?;
        let limits = run(&plan::list_limits())?;
        all(plan::limits(&limits, self.slots))?;
        self.seen = now;
        Ok(())
    }

    /// Looks whether pf judges packets and the host's own rules call the instance's, by some programs.
    ///
    /// # Errors
    /// [`FilterError::NotLoaded`], [`FilterError::Off`], [`FilterError::Host`]; others say nothing of it.
    pub fn inspect(&mut self) -> Result<(), FilterError> {
        if !Path::new(DEVICE).exists() {
            return Err(FilterError::NotLoaded);
        }
        if !host::enabled(&run(&host::info())?) {
            return Err(FilterError::Off);
        }
        let mut listing = String::new();
        for call in host::rules() {
            listing += &run(&call)?;
        }
        let missing = host::missing(&listing);
        if !missing.is_empty() {
            return Err(Wrong::Hooks(missing).into());
        }
        let (uplink, group) = (self.site.uplink.as_str(), self.site.group());
        if let Some(rule) = host::before(&listing, &[&group, "warder"]) {
            return Err(Wrong::Before(rule.to_owned()).into());
        }
        let interfaces = run(&host::interfaces())?;
        // On a host without a way out it is the instance's own loopback interface.
        let way_out = (uplink != format!("wu{}", self.site.tag)).then_some(uplink);
        let own: Vec<&str> = way_out
            .into_iter()
            .chain([group.as_str(), "warder"])
            .collect();
        match host::skipped(&interfaces, &own) {
            Some(name) => Err(Wrong::Skipped(name.to_owned()).into()),
            None => Ok(()),
        }
    }

    /// Looks whether everything is still as it was left: a handful of questions to the kernel, and [`Self::inspect`] when
    /// somebody has loaded rules since. What is to be logged, if anything.
    ///
    /// # Errors
    /// Those of [`Self::inspect`]; [`FilterError::Touched`] and [`FilterError::Flushed`] until [`Self::renewed`].
    pub fn look(&mut self) -> Result<Option<&'static str>, FilterError> {
        let now = self.pulse()?;
        let beat = now.zip(self.seen).map(|(now, seen)| now.since(&seen));
        // Kept, whatever else goes wrong in this look: nobody could tell it afterwards.
        self.touched |= beat == Some(Beat::Holed);
        if now.is_some_and(|now| !now.running) {
            return Err(FilterError::Off);
        }
        if self.doubted || beat != Some(Beat::Same) {
            self.doubted = true;
            self.inspect()?;
            self.doubted = false;
            // What changed while it was inspected is seen the next time.
            self.seen = now.or(self.seen);
        }
        if self.touched {
            return Err(FilterError::Touched);
        }
        if self.flushed.is_none() {
            self.flushed = self.changed()?;
        }
        match &self.flushed {
            Some(anchor) => Err(FilterError::Flushed(anchor.clone())),
            None => Ok(None),
        }
    }

    /// All rules were loaded anew, because of what a look has shown.
    pub fn renewed(&mut self) {
        (self.touched, self.flushed) = (false, None);
    }

    /// What was found whole is to be inspected again by the next look.
    pub fn doubt(&mut self) {
        self.doubted = true;
    }

    /// pf now; `None` where the kernel cannot be asked so.
    fn pulse(&mut self) -> Result<Option<Pulse>, FilterError> {
        let mut status = None;
        let asked = self.states.ask(
            GET_STATUS,
            |m| m,
            |payload| status = pulse::status(payload).or(status),
        );
        let Some((running, since)) = known(asked)?.and(status) else {
            return Ok(None);
        };
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let set = seconds(wall.unwrap_or_default()) - seconds(self.begun.elapsed());
        let mut main = [Rules::default(); KINDS.len()];
        for (rules, kind) in main.iter_mut().zip(KINDS) {
            match self.rules("", kind)? {
                Some(found) => *rules = found,
                None => return Ok(None),
            }
        }
        let since = i64::from(since) - set;
        Ok(Some(Pulse {
            running,
            since,
            main,
        }))
    }

    fn rules(&mut self, anchor: &str, kind: u8) -> Result<Option<Rules>, FilterError> {
        let mut rules = None;
        let which = |m: Message| m.text(ANCHOR, anchor).bytes(ACTION, &[kind]);
        let asked = self.states.ask(GET_RULES, which, |payload| {
            rules = pulse::rules(payload).or(rules);
        });
        Ok(known(asked)?.and(rules))
    }

    fn print(&mut self, anchor: &str) -> Result<Print, FilterError> {
        Ok(Print {
            rules: self.rules(anchor, KINDS[0])?.unwrap_or_default(),
            redirections: self.rules(anchor, KINDS[2])?.unwrap_or_default(),
            networks: self.tables.as_ref().and_then(|t| t.networks(anchor).ok()),
        })
    }

    /// An anchor that somebody else changed: the instance's own, or one of the next few sandboxes'.
    fn changed(&mut self) -> Result<Option<String>, FilterError> {
        let own = self.site.anchor();
        let from = (Bound::Excluded(self.turn.clone()), Bound::Unbounded);
        let next = |(anchor, print): (&String, &Print)| (anchor.clone(), *print);
        let mut few: Vec<_> = self.loaded.range(from).take(GLANCE).map(next).collect();
        self.turn = if few.len() < GLANCE {
            String::new()
        } else {
            few.last().map(|(a, _)| a.clone()).unwrap_or_default()
        };
        few.extend(self.loaded.get_key_value(&own).map(next));
        for (anchor, print) in few {
            if self.print(&anchor)? != print {
                return Ok(Some(anchor));
            }
        }
        Ok(None)
    }

    /// Loads an anchor, and remembers how it was left.
    fn put(&mut self, load: Load) -> Result<(), FilterError> {
        let anchor = load.anchor.clone();
        self.loaded.remove(&anchor);
        run(&load.call())?;
        let print = self.print(&anchor)?;
        self.loaded.insert(anchor, print);
        Ok(())
    }

    /// Empties an anchor, which then is gone.
    fn empty(&mut self, anchor: String) -> Result<(), FilterError> {
        self.loaded.remove(&anchor);
        run(&Load::nothing(anchor).call()).map(drop)
    }

    /// Opens it again, should it be confused.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn reopen(&mut self, _network: BorrowedFd<'_>) -> Result<(), FilterError> {
        self.states = Generic::open(FAMILY)?;
        Ok(())
    }

    /// Puts a change in force: a sandbox's rules in one transaction, all sandboxes one after the other.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn apply(&mut self, change: Change<'_>) -> Result<(), FilterError> {
        match change {
            Change::All(sandboxes) => self.reset(sandboxes),
            Change::Add(sandbox) => self.load(sandbox, true),
            Change::Replace { new, old } => self.load(new, new.bounds != old.bounds),
            Change::Remove(sandbox) => {
                let anchor = self.site.anchor_of(&sandbox.port)?;
                self.empty(anchor)?;
                all(plan::no_pipes(&self.site, &sandbox.port)?)
            }
        }
    }

    fn load(&mut self, sandbox: &Sandbox, bounds: bool) -> Result<(), FilterError> {
        let load = self.site.sandbox(&self.closed, sandbox)?;
        if bounds {
            all(plan::pipes(&self.site, sandbox)?)?;
        }
        self.put(load)
    }

    /// The instance's rules, those of `sandboxes`, and none of others.
    fn reset(&mut self, sandboxes: &[Sandbox]) -> Result<(), FilterError> {
        let done = self.begin(sandboxes)?;
        let mut rest = sandboxes.iter().skip(done);
        rest.try_for_each(|sandbox| self.load(sandbox, true))
    }

    /// Begins to put these and nothing else in force. How many of them are, from the first on: the others are to be added,
    /// each by a program that takes its time.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn begin(&mut self, sandboxes: &[Sandbox]) -> Result<usize, FilterError> {
        let mut wanted = Vec::new();
        for sandbox in sandboxes {
            wanted.push(self.site.anchor_of(&sandbox.port)?);
        }
        self.loaded.clear();
        self.put(self.site.instance(&self.closed))?;
        let listing = run(&plan::anchors(&self.site))?;
        for anchor in plan::sandbox_anchors(&self.site, &listing) {
            if !wanted.contains(&anchor) {
                self.empty(anchor)?;
            }
        }
        Ok(0)
    }

    /// Ends the states of a sandbox that `keeps` does not want, until none is left. `keeps` is told where a flow runs,
    /// where it was for and what it carries. Each look is a walk over the host's whole table of states.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn end(
        &mut self,
        port: &Port,
        keeps: impl Fn(Class, Ipv4Addr, Payload) -> bool,
    ) -> Result<(), FilterError> {
        // Without pipes nothing tells whose a socket of egressd's is, but the rules that let it begin.
        if self.site.pipes.is_none() {
            self.end_label(&self.site.dialled_label(port))?;
        }
        let mut left = 0;
        for _ in 0..ROUNDS {
            let states = self.list()?;
            let wrong = states::forbidden(&self.site, port, &states, &keeps);
            if wrong.is_empty() {
                return Ok(());
            }
            left = wrong.len();
            for id in wrong.iter().map(|state| state.id) {
                self.end_one(id)?;
            }
        }
        Err(FilterError::StatesLeft(left))
    }

    /// Ends all states of a sandbox whose rules are gone.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn end_all(&mut self, port: &Port) -> Result<(), FilterError> {
        self.end(port, |_, _, _| false)
    }

    fn list(&mut self) -> Result<Vec<State>, FilterError> {
        let (mut all, mut unreadable) = (Vec::new(), false);
        self.states.dump(
            GET_STATES,
            |m| m,
            |payload| match states::read(payload) {
                Some(state) => all.push(state),
                None => unreadable = true,
            },
        )?;
        if unreadable {
            return Err(FilterError::Unreadable);
        }
        Ok(all)
    }

    fn end_one(&mut self, (id, creator): (u64, u32)) -> Result<(), FilterError> {
        let this = |m: Message| {
            m.bytes(KILL_ID, &id.to_ne_bytes())
                .u32(KILL_CREATOR, creator)
        };
        Ok(self.states.ask(KILL_STATES, this, |_| ())?)
    }

    /// Ends all states of the instance's sandboxes.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn end_instance(&mut self) -> Result<(), FilterError> {
        let mut left = 0;
        for _ in 0..ROUNDS {
            let states = self.list()?;
            let own = states::of_instance(&self.site, &states);
            if own.is_empty() {
                return Ok(());
            }
            left = own.len();
            for id in own.iter().map(|state| state.id) {
                self.end_one(id)?;
            }
        }
        Err(FilterError::StatesLeft(left))
    }

    fn end_label(&mut self, label: &str) -> Result<(), FilterError> {
        Ok(self
            .states
            .ask(KILL_STATES, |m| m.text(KILL_LABEL, label), |_| ())?)
    }

    /// Removes all rules, states and pipes of the instance. No state may outlive its interface: one of that name may
    /// come again.
    ///
    /// # Errors
    /// The first [`FilterError`], after everything was tried.
    pub fn remove(mut self) -> Result<(), FilterError> {
        // Without the instance's anchor pfctl exits with 1: somebody flushed all there was.
        let listing = match run(&plan::anchors(&self.site)) {
            Err(FilterError::Tool(e)) if e.code() == Some(1) => String::new(),
            other => other?,
        };
        let anchors = plan::sandbox_anchors(&self.site, &listing);
        let mut gone = Ok(());
        for anchor in anchors.iter().cloned().chain([self.site.anchor()]) {
            gone = gone.and(run(&Load::nothing(anchor).call()).map(drop));
        }
        for anchor in anchors {
            if let Some((_, port)) = anchor.rsplit_once('/') {
                gone = gone.and(self.end_label(&self.site.dialled_label_of(port)));
            }
        }
        gone = gone.and(self.end_instance());
        let pipes = match self.site.pipes {
            Some(_) => run(&plan::list_pipes())
                .and_then(|listing| all(plan::no_pipes_of(&self.site, &listing))),
            None => Ok(()),
        };
        gone.and(pipes)
    }
}

/// What the kernel answered, unless it does not know the question, or what was asked about.
fn known(asked: Result<(), GenericError>) -> Result<Option<()>, FilterError> {
    match asked {
        Ok(()) => Ok(Some(())),
        Err(GenericError::Refused(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// netd's loop waits for what is run here: one that takes so long does it no more.
fn run(call: &Call) -> Result<String, FilterError> {
    let call = call.clone().within(PATIENCE);
    Ok(Host.run(&call)?.text().to_string())
}

fn all(calls: impl IntoIterator<Item = Call>) -> Result<(), FilterError> {
    calls.into_iter().try_for_each(|call| run(&call).map(drop))
}
