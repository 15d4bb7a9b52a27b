//! One cell made ahead of need: of the template and the size that were asked for last, with a range of ids, a tree and
//! groups of its own, under a name of its own until it becomes a sandbox's. Nothing of a guest has run in it, and the
//! ledger knows nothing of it: after privd's death its process is dead and the rest is found by that name.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use warder_host::cell::{Cell, Network, Spare, Status, Walls};
use warder_host::process::Process;
use warder_wire::{Fault, FaultCode, Limits, SandboxId, TemplateName};

use crate::ledger::Lease;
use crate::privd::{Cleanup, Privd, host_fault};
use crate::supervise::chain;

/// So many creates in a row that it did not serve, and it becomes another.
const MISSES: u32 = 2;

/// What cells are made ahead for.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Model {
    template: TemplateName,
    limits: Limits,
}

/// The cell made ahead, and what one is wanted for.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    wanted: Option<Model>,
    made: Option<Made>,
    misses: u32,
}

#[derive(Debug)]
struct Made {
    /// Of its tree, until that is passed on, and of its groups.
    name: SandboxId,
    range: u32,
    model: Model,
    spare: Spare,
    /// Whose it becomes: the lease has its range.
    tenant: Option<SandboxId>,
    /// The tree is the tenant's.
    passed: bool,
}

impl Ahead {
    /// Whether it is known by this name, which no sandbox may have then.
    pub(crate) fn is_named(&self, sandbox: &SandboxId) -> bool {
        self.made.as_ref().is_some_and(|made| made.name == *sandbox)
    }
}

impl Privd {
    /// A cell was made, and the next one may be like it.
    pub(crate) fn wants_another(&mut self, sandbox: &SandboxId) {
        let lease = self.ledger.get(sandbox).map(|entry| &entry.lease);
        if let Some(lease) = lease.filter(|lease| lease.volumes.is_empty())
            && self.config.ready_cell
            && Spare::POSSIBLE
        {
            self.ahead.wanted = Some(Model {
                template: lease.template.clone(),
                limits: lease.limits,
            });
        }
    }

    /// Whether there is a cell to be made ahead.
    pub(crate) fn wants_ahead(&self) -> bool {
        let Ahead {
            wanted,
            made,
            misses,
        } = &self.ahead;
        match (wanted, made) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(wanted), Some(made)) => {
                made.tenant.is_none() && made.model != *wanted && *misses >= MISSES
            }
        }
    }

    /// Makes one. After an error none is wanted until a cell was made again.
    pub(crate) fn make_ahead(&mut self) {
        self.drop_ahead();
        let Some(model) = self.ahead.wanted.clone() else {
            return;
        };
        self.ahead.misses = 0;
        match self.try_ahead(model) {
            Ok(made) => self.ahead.made = Some(made),
            Err(fault) => {
                self.ahead.wanted = None;
                self.log
                    .own(format_args!("cannot make a cell ahead of need: {fault}"));
            }
        }
    }

    fn try_ahead(&mut self, model: Model) -> Result<Made, Fault> {
        self.check_room()?;
        let name = random_name().map_err(|e| {
            Fault::new(FaultCode::System, format_args!("reading /dev/urandom: {e}"))
        })?;
        let range = self.ranges.take();
        let range = range.ok_or_else(|| Fault::new(FaultCode::Exhausted, "no id range is left"))?;
        let ids = self.claim.range(range);
        let (template, resolvers) = (&model.template, &self.resolvers);
        let spare = self
            .store
            .clone_template(&name, template, ids, resolvers)
            .and_then(|()| {
                let users = self.ranges.namespace(range)?;
                let root = self.store.root(&name)?;
                Spare::begin(&Walls {
                    controllers: &self.controllers,
                    name: &name,
                    users: &users,
                    limits: &model.limits,
                    root: &root,
                    agent: self.agent.as_fd(),
                })
            });
        match spare {
            Ok(spare) => Ok(Made {
                name,
                range,
                model,
                spare,
                tenant: None,
                passed: false,
            }),
            Err(e) => {
                self.remove_ahead(name, Some(range), true, None);
                Err(host_fault(&e))
            }
        }
    }

    /// The range of a new lease: that of the cell made ahead, if it will do for it.
    pub(crate) fn range_for(&mut self, sandbox: &SandboxId, lease: &Lease) -> Option<u32> {
        if let Some(made) = &mut self.ahead.made
            && made.tenant.is_none()
        {
            let fits = made.model.template == lease.template && made.model.limits == lease.limits;
            if !made.spare.is_sound() {
                self.drop_ahead();
            } else if fits && lease.volumes.is_empty() {
                self.ahead.misses = 0;
                made.tenant = Some(sandbox.clone());
                return Some(made.range);
            } else {
                self.ahead.misses += 1;
            }
        }
        self.ranges.take().or_else(|| {
            // The last one may be its.
            self.drop_ahead();
            self.ranges.take()
        })
    }

    /// Makes the tree of the cell made ahead the one of its tenant; false when it has to be cloned.
    pub(crate) fn pass_tree(&mut self, sandbox: &SandboxId, template: &TemplateName) -> bool {
        let Some(made) = self.ahead.made.as_mut().filter(|made| made.is_for(sandbox)) else {
            return false;
        };
        match self.store.pass(&made.name, sandbox, template) {
            Ok(true) => made.passed = true,
            Ok(false) => self.drop_ahead(),
            Err(e) => {
                self.log.own(format_args!(
                    "cannot pass a tree on to {sandbox}: {}",
                    chain(&e)
                ));
                self.drop_ahead();
            }
        }
        self.ahead.made.is_some()
    }

    /// Makes the cell made ahead the one of its tenant; nothing when one must be made.
    pub(crate) fn pass_cell(
        &mut self,
        sandbox: &SandboxId,
        limits: &Limits,
        network: &Network,
        listener: BorrowedFd<'_>,
    ) -> Option<(Cell, Status)> {
        let made = self.ahead.made.take_if(|made| made.is_for(sandbox))?;
        if made.passed && made.model.limits == *limits && made.spare.is_sound() {
            self.controllers.pass(made.name.clone(), sandbox.clone());
            match made.spare.start(sandbox, network, listener) {
                Ok(started) => return Some(started),
                Err(e) => self
                    .log
                    .own(format_args!("{sandbox} gets another cell: {}", chain(&e))),
            }
            self.controllers.forget(sandbox);
            self.remove_ahead(made.name, None, false, None);
        } else {
            self.ahead.made = Some(made);
            self.drop_ahead();
        }
        // What was passed on bears its first name still. One that was not has its own.
        if let Err(e) = self.store.rename(sandbox) {
            self.log
                .own(format_args!("{sandbox} has no name: {}", chain(&e)));
        }
        None
    }

    /// A template becomes another one, or none: the one of a cell made ahead is not held for it.
    pub(crate) fn nothing_ahead_of(&mut self, template: &TemplateName) {
        let Ahead { wanted, made, .. } = &mut self.ahead;
        wanted.take_if(|model| model.template == *template);
        let stale = |made: &Made| made.tenant.is_none() && made.model.template == *template;
        if made.as_ref().is_some_and(stale) {
            self.drop_ahead();
        }
    }

    /// The tenant will not come.
    pub(crate) fn no_tenant(&mut self, sandbox: &SandboxId) {
        if self
            .ahead
            .made
            .as_ref()
            .is_some_and(|made| made.is_for(sandbox))
        {
            self.drop_ahead();
        }
    }

    /// Removes the cell made ahead, if there is one.
    pub(crate) fn drop_ahead(&mut self) {
        if let Some(made) = self.ahead.made.take() {
            let process = match made.spare.end() {
                Ok(process) => Some(process),
                Err(e) => {
                    self.log
                        .own(format_args!("ending a cell made ahead: {}", chain(&e)));
                    None
                }
            };
            let range = made.tenant.is_none().then_some(made.range);
            self.remove_ahead(made.name, range, !made.passed, process);
        }
    }

    /// Removes what is left of one that was killed: its groups and its range when its process is dead.
    fn remove_ahead(
        &mut self,
        name: SandboxId,
        range: Option<u32>,
        stored: bool,
        process: Option<Process>,
    ) {
        if stored {
            match self.store.discard(&name) {
                Ok(true) => self.discarded(),
                Ok(false) => {}
                Err(e) => self.log.own(format_args!(
                    "cannot discard what was made ahead: {}",
                    chain(&e)
                )),
            }
        }
        let cleanup = Cleanup {
            range,
            process,
            ..Cleanup::default()
        };
        self.cleanups.insert(name.clone(), cleanup);
        self.clean(&name);
    }
}

impl Made {
    fn is_for(&self, sandbox: &SandboxId) -> bool {
        self.tenant.as_ref() == Some(sandbox)
    }
}

/// A name that tells what it is for, and that nobody else has: 78 bits of chance.
fn random_name() -> std::io::Result<SandboxId> {
    let mut random = *b"\x00\x07\x04\x00\x03...............";
    File::open("/dev/urandom")?.read_exact(&mut random[5..])?;
    Ok(SandboxId::from_random(&random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_is_for() {
        let (one, other) = (
            random_name().expect("random"),
            random_name().expect("random"),
        );
        assert!(one.as_str().starts_with("iahead"), "{one}");
        assert_ne!(one, other);
    }
}
