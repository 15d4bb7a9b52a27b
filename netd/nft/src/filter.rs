//! The packet filter as netd has it, the same on every system: what is desired in, rules in force.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use warder_desired::{Change, Class, Ground, Payload, Port, Sandbox};
use warder_wire::FaultCode;

pub use crate::NftError as FilterError;
use crate::flow::{ASKED, DIALLED, FORWARDED, INTERCEPTED};
use crate::model::{Step, Table, Transaction};
pub use crate::render::{LISTEN_TCP, LISTEN_UDP};
use crate::{Session, render};

/// What a socket on behalf of a sandbox is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A connection to a destination.
    Dial,
    /// A question to a DNS server.
    Ask,
}

/// The rules of an instance, and the flows that they let begin.
#[derive(Debug)]
pub struct Filter {
    ground: Ground,
    session: Session,
    host: Session,
    /// The generation of the host's rules, and what there was of the instance's, when they were last found right.
    seen: Option<(u32, BTreeSet<Vec<u8>>)>,
}

impl Filter {
    /// Opens it, in the router's namespace. Nothing changes.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn open(ground: Ground, ns: BorrowedFd<'_>) -> Result<Self, FilterError> {
        Ok(Self {
            ground,
            session: Session::open_in(ns)?,
            host: Session::open()?,
            seen: None,
        })
    }

    /// By what the rules know a socket of the sandbox `mark`: the mark of its packets.
    #[must_use]
    pub fn owner(&self, mark: u32, purpose: Purpose) -> u32 {
        mark | match purpose {
            Purpose::Dial => DIALLED,
            Purpose::Ask => ASKED,
        }
    }

    /// Number of the log that refused packets go to.
    #[must_use]
    pub fn log(&self) -> u16 {
        render::LOG_GROUP
    }

    /// What is not there of what a sandbox's bounds need, with what to do: nothing.
    #[must_use]
    pub fn lacks(&self) -> Option<&'static str> {
        None
    }

    /// What must be in the host's own namespace, before there is any rule for a sandbox.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn prepare(&mut self) -> Result<(), FilterError> {
        let Ground {
            tag,
            host_end,
            address,
            ..
        } = &self.ground;
        let whole = render::host(*tag, host_end, *address);
        self.host.apply(&whole)?;
        let generation = self.host.generation()?;
        let told = self.host.told(Table(*tag))?;
        let listed = |step: &&Step| matches!(step, Step::Chain(_) | Step::Rule(..));
        let all = 1 + whole.steps.iter().filter(listed).count();
        // Somebody else may have been at it meanwhile: then it is looked at again.
        self.seen = (told.len() == all).then_some((generation, told));
        Ok(())
    }

    /// Looks whether the instance's rules in the host's own namespace are still as they were made: somebody may have
    /// flushed all there were. Then they are made anew, which judges every packet, those of flows too, from that moment
    /// on; the rules that tell sandboxes apart are in the router's namespace. What is to be logged, if anything.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn look(&mut self) -> Result<Option<&'static str>, FilterError> {
        let generation = self.host.generation()?;
        let told = match &self.seen {
            Some((last, _)) if *last == generation => return Ok(None),
            Some((_, told)) => told,
            None => &BTreeSet::new(),
        };
        let now = self.host.told(Table(self.ground.tag))?;
        if !now.is_empty() && now == *told {
            self.seen = Some((generation, now));
            return Ok(None);
        }
        self.seen = None;
        self.prepare()?;
        Ok(Some(
            "somebody changed the host's rules for Warder; they are as they were again",
        ))
    }

    /// All rules were loaded anew, because of what a look has shown. What that finds here it makes anew itself.
    pub fn renewed(&mut self) {}

    /// What was found whole is to be made anew by the next look.
    pub fn doubt(&mut self) {
        self.seen = None;
    }

    /// Looks more closely, which nothing asks for here.
    ///
    /// # Errors
    /// None.
    pub fn inspect(&mut self) -> Result<(), FilterError> {
        Ok(())
    }

    /// Opens it again, should it be confused.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn reopen(&mut self, ns: BorrowedFd<'_>) -> Result<(), FilterError> {
        self.session = Session::open_in(ns)?;
        self.host = Session::open()?;
        Ok(())
    }

    /// Puts a change in force, all of it or nothing.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn apply(&mut self, change: Change<'_>) -> Result<(), FilterError> {
        let transaction = self.transaction(change);
        self.session.apply(&transaction)
    }

    /// Begins to put these and nothing else in force. How many of them are, from the first on: the others are to be added.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn begin(&mut self, sandboxes: &[Sandbox]) -> Result<usize, FilterError> {
        self.apply(Change::All(sandboxes))?;
        Ok(sandboxes.len())
    }

    fn transaction(&self, change: Change<'_>) -> Transaction {
        let Ground {
            tag,
            uplink,
            closed,
            resolvers,
            ..
        } = &self.ground;
        match change {
            Change::All(sandboxes) => render::router(*tag, uplink, closed, resolvers, sandboxes),
            Change::Add(sandbox) => render::add(*tag, sandbox),
            Change::Replace { new, old } => render::change(*tag, new, old),
            Change::Remove(sandbox) => render::remove(*tag, sandbox),
        }
    }

    /// Ends the flows of a sandbox that `keeps` does not want, until none is left. `keeps` is told where a flow runs,
    /// where it was for and what it carries.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn end(
        &mut self,
        port: &Port,
        keeps: impl Fn(Class, Ipv4Addr, Payload) -> bool,
    ) -> Result<(), FilterError> {
        self.session.end_flows(port.mark, |flow| {
            keeps(class(flow.mark), flow.destination, flow.payload())
        })
    }

    /// Ends all flows of a sandbox whose rules are gone.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn end_all(&mut self, port: &Port) -> Result<(), FilterError> {
        self.session.drop_flows(port.mark)
    }

    /// Ends all flows of the instance's sandboxes.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn end_instance(&mut self) -> Result<(), FilterError> {
        self.session.drop_all()
    }

    /// Removes what [`Self::prepare`] made. The other rules go with their namespace.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn remove(mut self) -> Result<(), FilterError> {
        self.host.apply(&render::gone(self.ground.tag))
    }
}

impl FilterError {
    /// For whoever asked.
    #[must_use]
    pub fn code(&self) -> FaultCode {
        match self {
            Self::Unsupported(_) => FaultCode::Unsupported,
            Self::Kernel { .. } | Self::FlowsLeft(_) => FaultCode::System,
        }
    }
}

fn class(mark: u32) -> Class {
    if mark & FORWARDED != 0 {
        Class::Forwarded
    } else if mark & INTERCEPTED != 0 {
        Class::Intercepted
    } else {
        Class::Dialled
    }
}
