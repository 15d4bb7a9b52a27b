//! Cells: made in steps that never wait (slot, namespace, processes, the agent's start), removed when
//! their first process is dead.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

use warder_host::cell::{Cell, CellSpec, Network, Outcome, Status, Walls, spawn};
use warder_host::process::Process;
use warder_wire::gateway_priv::EndReason;
use warder_wire::plugin_priv::{Answer, CELLS_A_PAGE};
use warder_wire::{Fault, FaultCode, LimitState, Limits, OpId, SandboxId};

use crate::leases::Timer;
use crate::ledger::{Part, Record};
use crate::privd::{CellLife, Cleanup, Privd, fault, host_fault};
use crate::supervise::{ReplyTo, Role, chain};
use crate::table::Verb;

/// How long a cell may wait for its slot. netd may be restarted in this time.
const SLOT_MS: u64 = 20_000;
/// How long the agent may take from fork to exec.
const SETUP_MS: u64 = 30_000;
/// After so long the end of a killed cell is held up by something.
pub(super) const DYING_MS: u64 = 500;

impl Privd {
    /// `CellCreate`, and `VmCreate` where it is a machine's.
    pub(crate) fn cell_create(
        &mut self,
        to: ReplyTo,
        op: OpId,
        sandbox: &SandboxId,
        limits: Limits,
        machine: bool,
    ) {
        self.begin_op(to, sandbox, Verb::CellCreate, op);
        if let Err(fault) = self.begin_cell(op, sandbox, limits, machine) {
            self.finish_op(sandbox, Verb::CellCreate, op, Err(fault));
        }
    }

    fn begin_cell(
        &mut self,
        op: OpId,
        sandbox: &SandboxId,
        limits: Limits,
        machine: bool,
    ) -> Result<(), Fault> {
        // Before anything is made of it.
        if machine {
            warder_host::cell::can_run_machines().map_err(|e| host_fault(&e))?;
        }
        let entry = self
            .ledger
            .get(sandbox)
            .ok_or_else(|| Fault::new(FaultCode::NotFound, "no such sandbox"))?;
        let most = entry.lease.limits;
        if machine && !entry.lease.volumes.is_empty() {
            let lacks = "volumes in a machine: bhyve(8) would have to serve them to the guest";
            return Err(Fault::new(FaultCode::Unsupported, lacks));
        }
        if !matches!(entry.storage, Part::Made(..)) {
            return Err(Fault::new(FaultCode::Conflict, "its storage is not whole"));
        }
        if !limits.in_bounds() || limits != limits.at_most(most) {
            return fault(
                FaultCode::Refused,
                "a limit is out of bounds or above the lease's",
            );
        }
        let begun = self.record_new(Record::CellBegun {
            sandbox: sandbox.clone(),
            op,
        });
        if begun.is_err() {
            self.record(Record::CellGone {
                sandbox: sandbox.clone(),
            });
            return begun;
        }
        let until = self.now.mono + SLOT_MS;
        self.live.entry(sandbox.clone()).or_default().cell = CellLife::Waiting {
            op,
            limits,
            machine,
            asked: false,
            until,
        };
        self.timers.set(until, Timer::Cell(sandbox.clone()));
        self.ask_for_slot(sandbox);
        Ok(())
    }

    /// netd has given a slot, or has not.
    pub(crate) fn slot_taken(&mut self, sandbox: &SandboxId, result: Result<Network, Fault>) {
        let Some(live) = self.live.get_mut(sandbox) else {
            return;
        };
        let (op, limits, machine) = match &live.cell {
            CellLife::Waiting {
                op,
                limits,
                machine,
                asked: true,
                ..
            } => (*op, *limits, *machine),
            _ => return,
        };
        if let Err(fault) = result.and_then(|network| match machine && !network.is_machines() {
            true => self.ask_for_tap(sandbox),
            false => self.spawn_cell(op, sandbox, limits, network),
        }) {
            if let Some(live) = self.live.get_mut(sandbox) {
                live.cell = CellLife::None;
            }
            self.cell_gone(sandbox);
            self.finish_op(sandbox, Verb::CellCreate, op, Err(fault));
            self.end_step(sandbox);
        }
    }

    fn spawn_cell(
        &mut self,
        op: OpId,
        sandbox: &SandboxId,
        limits: Limits,
        network: Network,
    ) -> Result<(), Fault> {
        let listener = self.links.bind(sandbox).map_err(|e| {
            Fault::new(FaultCode::System, format_args!("binding its listener: {e}"))
        })?;
        let (cell, status) = match self.pass_cell(sandbox, &limits, &network, listener.as_fd()) {
            Some(started) => started,
            None => self.spawn_anew(sandbox, &limits, &network, listener.as_fd())?,
        };
        self.next_token += 1;
        let token = self.next_token;
        if let Err(e) = self.watch.add(cell.process.as_fd(), token) {
            // Unwatched it could die unseen. Its remains are removed with the rest.
            let _ = cell.kill();
            return Err(host_fault(&e));
        }
        self.tokens.insert(token, sandbox.clone());
        self.starting.insert(sandbox.clone());
        let until = self.now.mono + SETUP_MS;
        self.timers.set(until, Timer::Cell(sandbox.clone()));
        self.live.entry(sandbox.clone()).or_default().cell = CellLife::Starting {
            op,
            cell,
            token,
            status,
            network,
            until,
        };
        Ok(())
    }

    fn spawn_anew(
        &mut self,
        sandbox: &SandboxId,
        limits: &Limits,
        network: &Network,
        listener: BorrowedFd<'_>,
    ) -> Result<(Cell, Status), Fault> {
        let entry = self
            .ledger
            .get(sandbox)
            .ok_or_else(|| Fault::new(FaultCode::NotFound, "no such sandbox"))?;
        let host = |e| host_fault(&e);
        let users = self.ranges.namespace(entry.range).map_err(host)?;
        let root = self
            .store
            .root(sandbox)
            .map_err(host)?
            .with_volumes(&entry.lease.volumes);
        spawn(&CellSpec {
            walls: Walls {
                controllers: &self.controllers,
                name: sandbox,
                users: &users,
                limits,
                root: &root,
                agent: self.agent.as_fd(),
            },
            network,
            listener,
            resolvers: &self.resolvers,
        })
        .map_err(host)
    }

    /// A cell that sets itself up has something to say.
    pub(crate) fn cell_news(&mut self, sandbox: &SandboxId) {
        let Some(CellLife::Starting { status, .. }) =
            self.live.get_mut(sandbox).map(|live| &mut live.cell)
        else {
            self.starting.remove(sandbox);
            return;
        };
        match news(status) {
            Ok(None) => {}
            Ok(Some(())) => self.cell_runs(sandbox),
            Err(fault) => self.end_cell(sandbox, fault),
        }
    }

    fn cell_runs(&mut self, sandbox: &SandboxId) {
        self.starting.remove(sandbox);
        let Some(live) = self.live.get_mut(sandbox) else {
            return;
        };
        let (op, cell, token, limits) = match std::mem::replace(&mut live.cell, CellLife::None) {
            CellLife::Starting {
                op,
                cell,
                token,
                network,
                ..
            } => {
                let mut limits = network.limits_in_force(&self.controllers);
                if limits.disk == LimitState::Enforced && !self.store.bounds(sandbox) {
                    limits.disk = LimitState::Absent;
                    self.log.own(format_args!(
                        "{sandbox} has no limit of disk: its tree was made before the file system had quotas"
                    ));
                }
                (op, cell, token, limits)
            }
            other => {
                live.cell = other;
                return;
            }
        };
        let handle = cell.handle.clone();
        live.cell = CellLife::Running { cell, token };
        match self.record_new(Record::CellMade {
            sandbox: sandbox.clone(),
            handle,
            limits,
        }) {
            Ok(()) => {
                self.woken(sandbox);
                self.wants_another(sandbox);
                self.finish_op(sandbox, Verb::CellCreate, op, Ok(Answer::Cell { limits }));
            }
            Err(fault) => {
                self.end_cell(sandbox, fault.clone());
                if let Some(CellLife::Dying { failed, .. }) =
                    self.live.get_mut(sandbox).map(|live| &mut live.cell)
                {
                    *failed = Some((op, fault));
                }
            }
        }
    }

    /// A cell has been in the making for as long as it may.
    pub(crate) fn cell_overdue(&mut self, sandbox: &SandboxId) {
        let now = self.now.mono;
        match self.live.get(sandbox).map(|live| &live.cell) {
            Some(CellLife::Waiting { until, .. }) if *until <= now => {
                self.end_cell(sandbox, crate::net::no_slot());
            }
            Some(CellLife::Starting { until, .. }) if *until <= now => {
                self.end_cell(
                    sandbox,
                    Fault::new(FaultCode::TimedOut, "the cell was not set up in time"),
                );
            }
            Some(CellLife::Dying { cell, .. }) => match cell.hurry() {
                Ok(true) => {
                    let next = Timer::Cell(sandbox.clone());
                    self.timers.set(now + DYING_MS, next);
                }
                Ok(false) => {}
                Err(e) => self
                    .log
                    .own(format_args!("{sandbox} takes long to end: {}", chain(&e))),
            },
            _ => {}
        }
    }

    /// The first process of a cell is dead. Where that does not end the others by itself, they are killed now.
    pub(crate) fn cell_ended(&mut self, sandbox: &SandboxId) {
        let Some(live) = self.live.get_mut(sandbox) else {
            return;
        };
        let (cell, token, failed, by_itself) =
            match std::mem::replace(&mut live.cell, CellLife::None) {
                CellLife::Starting {
                    op,
                    cell,
                    token,
                    mut status,
                    ..
                } => {
                    let gone = || {
                        Fault::new(
                            FaultCode::System,
                            "the cell's first process died while it was set up",
                        )
                    };
                    let fault = news(&mut status).err().unwrap_or_else(gone);
                    (cell, token, Some((op, fault)), false)
                }
                CellLife::Running { cell, token } => (cell, token, None, true),
                CellLife::Dying {
                    cell,
                    token,
                    failed,
                } => (cell, token, failed, false),
                other @ (CellLife::None | CellLife::Waiting { .. }) => {
                    live.cell = other;
                    return;
                }
            };
        self.starting.remove(sandbox);
        self.watch.remove(cell.process.as_fd());
        self.tokens.remove(&token);
        if let Err(e) = cell.kill() {
            self.log.own(format_args!(
                "killing what the first process of {sandbox} left: {}",
                chain(&e)
            ));
        }
        if let Err(e) = cell.process.try_wait() {
            self.log
                .own(format_args!("reaping {sandbox}: {}", chain(&e)));
        }
        drop(cell);
        self.cell_gone(sandbox);
        if let Some((op, fault)) = failed {
            self.log
                .own(format_args!("{sandbox} was not made: {fault}"));
            self.finish_op(sandbox, Verb::CellCreate, op, Err(fault));
        }
        self.finish_ops(sandbox, Verb::CellRemove, &Ok(Answer::Done));
        if self.paused_without_cell(sandbox, by_itself) {
            // Its disk is kept.
        } else if by_itself {
            self.begin_end(sandbox, EndReason::GuestEnded, None);
        } else {
            self.end_step(sandbox);
        }
    }

    /// No process is left: the listener goes now, kernel objects in the background.
    fn cell_gone(&mut self, sandbox: &SandboxId) {
        self.links.remove(sandbox);
        self.record(Record::CellGone {
            sandbox: sandbox.clone(),
        });
        self.cleanups.insert(sandbox.clone(), Cleanup::default());
        self.timers
            .set(self.now.mono, Timer::Leftovers(sandbox.clone()));
    }

    /// Removes what a dead cell left in the kernel, or plans another try.
    pub(crate) fn clean(&mut self, sandbox: &SandboxId) {
        let Some(cleanup) = self.cleanups.get_mut(sandbox) else {
            return;
        };
        let dead = |process: &Process| !matches!(process.try_wait(), Ok(None));
        if cleanup.process.as_ref().is_none_or(dead) {
            cleanup.process = None;
        }
        let removed = match cleanup.process {
            Some(_) => Ok(false),
            None => self.controllers.remove_leftovers(sandbox),
        };
        match removed {
            Ok(true) => {
                self.controllers.forget(sandbox);
                match self.cleanups.remove(sandbox).and_then(|c| c.range) {
                    Some(range) => self.ranges.put(range),
                    // The next cell may wait for it.
                    None => self.ask_for_slot(sandbox),
                }
                return self.stop_step();
            }
            Ok(false) => {}
            Err(e) if cleanup.tries % 64 == 63 => {
                self.log.own(format_args!(
                    "cannot remove what {sandbox} left: {}",
                    chain(&e)
                ));
            }
            Err(_) => {}
        }
        cleanup.tries += 1;
        let delay = (2_u64 << cleanup.tries.min(9)).min(1000);
        self.timers
            .set(self.now.mono + delay, Timer::Leftovers(sandbox.clone()));
    }

    /// `CellRemove`. Answered at once when there is no cell.
    pub(crate) fn cell_remove(&mut self, to: ReplyTo, op: OpId, sandbox: &SandboxId) {
        self.begin_op(to, sandbox, Verb::CellRemove, op);
        let removed = Fault::new(FaultCode::Conflict, "the cell was removed meanwhile");
        self.pause_given_up(sandbox, removed.clone());
        self.end_cell(sandbox, removed);
        if !self.has_cell(sandbox) {
            self.finish_op(sandbox, Verb::CellRemove, op, Ok(Answer::Done));
        }
    }

    /// `CellStat`.
    pub(crate) fn cell_stat(&mut self, to: &ReplyTo, sandbox: &SandboxId) {
        let result = self
            .controllers
            .usage(sandbox)
            .map(Answer::Usage)
            .map_err(|e| host_fault(&e));
        self.answer_plugin(to, result);
    }

    /// `CellList`.
    pub(crate) fn cell_list(&mut self, to: &ReplyTo, after: Option<&SandboxId>) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let has_cell = |id: &SandboxId| {
            self.live
                .get(id)
                .is_some_and(|l| matches!(l.cell, CellLife::Running { .. }))
        };
        let page = self
            .ledger
            .book()
            .range::<SandboxId, _>((from, Unbounded))
            .filter(|(id, entry)| {
                to.role == Role::Plugin(self.backend_number(entry)) && has_cell(id)
            })
            .take(CELLS_A_PAGE)
            .map(|(id, _)| id.clone())
            .collect();
        self.answer_plugin(to, Ok(Answer::Cells(page)));
    }
}

/// What a cell says of its setting up: nothing yet, done, or why not.
fn news(status: &mut Status) -> Result<Option<()>, Fault> {
    match status.read() {
        Ok(None) => Ok(None),
        Ok(Some(Outcome::Running)) => Ok(Some(())),
        Ok(Some(Outcome::Failed { stage, errno: 0 })) => {
            Err(Fault::new(FaultCode::System, format_args!("{stage}")))
        }
        Ok(Some(Outcome::Failed { stage, errno })) => {
            let error = std::io::Error::from_raw_os_error(errno);
            let code = match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FaultCode::NoSpace,
                ErrorKind::Unsupported => FaultCode::Unsupported,
                ErrorKind::WouldBlock => FaultCode::Exhausted,
                // On the way to a volume's place.
                ErrorKind::NotADirectory => FaultCode::Refused,
                _ => FaultCode::System,
            };
            Err(Fault::new(code, format_args!("{stage}: {error}")))
        }
        Err(e) => Err(host_fault(&e)),
    }
}
