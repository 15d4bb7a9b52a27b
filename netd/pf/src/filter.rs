//! The packet filter as netd has it, the same on every system: what is desired in, rules in force.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::path::Path;

use warder_desired::{Change, Class, Ground, Payload, Port, Ranges, Sandbox};
use warder_freebsd::net::{Generic, GenericError};
use warder_freebsd::sys::kld;
use warder_netlink::Message;
use warder_tool::{Call, Host, Run, ToolError};
use warder_wire::FaultCode;

use crate::plan::{self, Load};
use crate::states::{self, State};
use crate::{PfError, Site, host};

pub use crate::{LISTEN_TCP, LISTEN_UDP};

/// Looks before giving up; a packet already past the rules can make a state behind the first.
const ROUNDS: u32 = 8;
/// `PFNL_FAMILY_NAME`, `PFNL_CMD_GETSTATES`, `PFNL_CMD_KILLSTATES`, `PF_CS_CMP_ID`, `PF_CS_CMP_CREATORID`
/// (netpfil/pf/pf_nl.h).
const FAMILY: &str = "pfctl";
const GET_STATES: u8 = 1;
const KILL_STATES: u8 = 9;
const KILL_ID: u16 = 1;
const KILL_CREATOR: u16 = 2;

/// Why rules are not in force, or flows are not gone.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// There is no pf.
    #[error("pf is not loaded: pf_enable=\"YES\" in /etc/rc.conf, then `service pf start`")]
    NotLoaded,
    /// It judges no packet.
    #[error("pf is not enabled: pf_enable=\"YES\" in /etc/rc.conf, then `service pf start`")]
    Off,
    /// The host's own rules do not call the instance's.
    #[error("/etc/pf.conf lacks {}; then `service pf reload`", .0.iter().map(|l| format!("`{l}`")).collect::<Vec<_>>().join(", "))]
    Hooks(Vec<&'static str>),
    /// They let packets pass before the instance's rules see them.
    #[error(
        "/etc/pf.conf has `{0}` in front of `anchor \"warder/*\"`: move it behind, or add `on` an interface; then `service pf reload`"
    )]
    Before(String),
    /// They leave sandboxes' interfaces out.
    #[error(
        "/etc/pf.conf has `set skip on {0}`, by which sandboxes would pass unfiltered: remove it; then `service pf reload`"
    )]
    Skipped(String),
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
            Self::NotLoaded | Self::Off | Self::Hooks(_) | Self::Before(_) | Self::Skipped(_) => {
                FaultCode::Unsupported
            }
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
}

impl Filter {
    /// Opens it, in the host's network. Nothing changes.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn open(ground: Ground, _network: BorrowedFd<'_>) -> Result<Self, FilterError> {
        if !Path::new("/dev/pf").exists() {
            return Err(FilterError::NotLoaded);
        }
        Ok(Self {
            site: Site::new(&ground, kld::has("dummynet")),
            slots: ground.slots,
            closed: ground.closed,
            states: Generic::open(FAMILY)?,
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
    /// [`FilterError::Off`], [`FilterError::Hooks`], [`FilterError::Before`], [`FilterError::Skipped`].
    pub fn prepare(&mut self) -> Result<(), FilterError> {
        if !host::enabled(&run(&host::info())?) {
            return Err(FilterError::Off);
        }
        let mut listing = String::new();
        for call in host::rules() {
            listing += &run(&call)?;
        }
        let missing = host::missing(&listing);
        if !missing.is_empty() {
            return Err(FilterError::Hooks(missing));
        }
        if let Some(rule) = host::before(&listing) {
            return Err(FilterError::Before(rule.to_owned()));
        }
        let interfaces = run(&host::interfaces())?;
        let (uplink, group) = (self.site.uplink.as_str(), self.site.group());
        // On a host without a way out it is the instance's own loopback interface.
        let way_out = (uplink != format!("wu{}", self.site.tag)).then_some(uplink);
        let own: Vec<&str> = way_out
            .into_iter()
            .chain([group.as_str(), "warder"])
            .collect();
        if let Some(name) = host::skipped(&interfaces, &own) {
            return Err(FilterError::Skipped(name.to_owned()));
        }
        let limits = run(&plan::list_limits())?;
        all(plan::limits(&limits, self.slots))
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
                run(&Load::nothing(anchor).call())?;
                all(plan::no_pipes(&self.site, &sandbox.port)?)
            }
        }
    }

    fn load(&self, sandbox: &Sandbox, bounds: bool) -> Result<(), FilterError> {
        let load = self.site.sandbox(&self.closed, sandbox)?;
        if bounds {
            all(plan::pipes(&self.site, sandbox)?)?;
        }
        run(&load.call()).map(drop)
    }

    /// The instance's rules, those of `sandboxes`, and none of others.
    fn reset(&self, sandboxes: &[Sandbox]) -> Result<(), FilterError> {
        let mut wanted = Vec::new();
        for sandbox in sandboxes {
            wanted.push(self.site.anchor_of(&sandbox.port)?);
        }
        run(&self.site.instance(&self.closed).call())?;
        let listing = run(&plan::anchors(&self.site))?;
        for anchor in plan::sandbox_anchors(&self.site, &listing) {
            if !wanted.contains(&anchor) {
                run(&Load::nothing(anchor).call())?;
            }
        }
        sandboxes
            .iter()
            .try_for_each(|sandbox| self.load(sandbox, true))
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

    fn end_instance(&mut self) -> Result<(), FilterError> {
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
        // PF_CS_LABEL.
        Ok(self
            .states
            .ask(KILL_STATES, |m| m.text(10, label), |_| ())?)
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

fn run(call: &Call) -> Result<String, FilterError> {
    Ok(Host.run(call)?.text().to_string())
}

fn all(calls: impl IntoIterator<Item = Call>) -> Result<(), FilterError> {
    calls.into_iter().try_for_each(|call| run(&call).map(drop))
}
