//! The packet filter as netd has it, the same on every system: what is desired in, rules in force.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use warder_desired::{Change, Class, Ground, Payload, Port};
use warder_wire::FaultCode;

pub use crate::NftError as FilterError;
use crate::flow::{ASKED, DIALLED, FORWARDED, INTERCEPTED};
use crate::model::Transaction;
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
}

impl Filter {
    /// Opens it, in the router's namespace. Nothing changes.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn open(ground: Ground, ns: BorrowedFd<'_>) -> Result<Self, FilterError> {
        let session = Session::open_in(ns)?;
        Ok(Self { ground, session })
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
        Session::open()?.apply(&render::host(*tag, host_end, *address))
    }

    /// Opens it again, should it be confused.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn reopen(&mut self, ns: BorrowedFd<'_>) -> Result<(), FilterError> {
        self.session = Session::open_in(ns)?;
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

    /// Removes what [`Self::prepare`] made. The other rules go with their namespace.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn remove(self) -> Result<(), FilterError> {
        Session::open()?.apply(&render::gone(self.ground.tag))
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
