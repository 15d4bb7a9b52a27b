//! Cells made ahead of need: of templates and sizes that were asked for lately, each with a range of ids, a tree and
//! groups of its own, under a name of its own until it becomes a sandbox's. Nothing of a guest has run in them, and the
//! ledger knows nothing of them: after privd's death their processes are dead and the rest is found by that name.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use warder_host::cell::{Cell, Network, Spare, Status, Walls};
use warder_host::process::Process;
use warder_wire::{Fault, FaultCode, Limits, SandboxId, TemplateName};

use crate::ledger::Lease;
use crate::privd::{Cleanup, Privd, host_fault};
use crate::supervise::chain;

/// So many creates in a row that found none, and one makes way for what they wanted.
const MISSES: u32 = 2;
/// So many creates in a row that wanted another one, and a cell makes way.
const STALE: u32 = 16;

/// What cells are made ahead for.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Model {
    template: TemplateName,
    limits: Limits,
}

/// The cells made ahead, and what one is wanted for.
#[derive(Debug)]
pub(crate) struct Ahead<S = Spare> {
    wanted: Option<Model>,
    made: Vec<Made<S>>,
    misses: u32,
}

#[derive(Debug)]
struct Made<S> {
    /// Of its tree, until that is passed on, and of its groups.
    name: SandboxId,
    range: u32,
    model: Model,
    /// Creates in a row that wanted another one.
    unwanted: u32,
    spare: S,
    /// Whose it becomes: the lease has its range.
    tenant: Option<SandboxId>,
    /// The tree is the tenant's.
    passed: bool,
}

impl<S> Ahead<S> {
    pub(crate) fn none() -> Self {
        Self {
            wanted: None,
            made: Vec::new(),
            misses: 0,
        }
    }

    /// Whether one is known by this name, which no sandbox may have then.
    pub(crate) fn is_named(&self, sandbox: &SandboxId) -> bool {
        self.made.iter().any(|made| made.name == *sandbox)
    }

    /// Those that are nobody's yet.
    fn free(&self) -> impl Iterator<Item = (usize, &Made<S>)> {
        let all = self.made.iter().enumerate();
        all.filter(|(_, made)| made.tenant.is_none())
    }

    /// What is to be done so that there are `most` of what is wanted.
    fn next(&self, most: usize) -> Next {
        let Some(wanted) = &self.wanted else {
            return Next::Nothing;
        };
        if self.free().count() < most {
            return Next::Make;
        }
        let others = self.free().filter(|(_, made)| made.model != *wanted);
        let Some((at, other)) = others.max_by_key(|(_, made)| made.unwanted) else {
            return Next::Nothing;
        };
        let none = self.free().all(|(_, made)| made.model != *wanted);
        if other.unwanted >= STALE || none && self.misses >= MISSES {
            Next::Replace(at)
        } else {
            Next::Nothing
        }
    }

    /// Somebody wants one of `model`: which it may be.
    fn look_for(&mut self, model: &Model) -> Option<usize> {
        for made in &mut self.made {
            made.unwanted = if made.model == *model {
                0
            } else {
                made.unwanted.saturating_add(1)
            };
        }
        let found = self.free().find(|(_, made)| made.model == *model);
        let found = found.map(|(at, _)| at);
        self.misses = if found.is_some() { 0 } else { self.misses + 1 };
        found
    }

    fn of_tenant(&self, sandbox: &SandboxId) -> Option<usize> {
        self.made.iter().position(|made| made.is_for(sandbox))
    }
}

/// What is to be done ahead of need.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    Nothing,
    Make,
    /// The one at this place makes way for another.
    Replace(usize),
}

impl Privd {
    /// A cell was made, and the next one may be like it.
    pub(crate) fn wants_another(&mut self, sandbox: &SandboxId) {
        let lease = self.ledger.get(sandbox).map(|entry| &entry.lease);
        if let Some(lease) = lease.filter(|lease| lease.volumes.is_empty())
            && self.config.ready_cells > 0
            && Spare::POSSIBLE
        {
            self.ahead.wanted = Some(Model::of(lease));
        }
    }

    /// Whether there is a cell to be made ahead.
    pub(crate) fn wants_ahead(&self) -> bool {
        self.next_ahead() != Next::Nothing
    }

    fn next_ahead(&self) -> Next {
        let most = self.config.ready_cells as usize;
        // The last ranges are for who needs one now.
        match self.ranges.free() > most {
            true => self.ahead.next(most),
            false => Next::Nothing,
        }
    }

    /// Makes one. After an error none is wanted until a cell was made again.
    pub(crate) fn make_ahead(&mut self) {
        match self.next_ahead() {
            Next::Nothing => return,
            Next::Make => {}
            Next::Replace(at) => self.drop_ahead(at),
        }
        let Some(model) = self.ahead.wanted.clone() else {
            return;
        };
        match self.try_ahead(model) {
            Ok(made) => self.ahead.made.push(made),
            Err(fault) => {
                self.ahead.wanted = None;
                self.log
                    .own(format_args!("cannot make a cell ahead of need: {fault}"));
            }
        }
    }

    fn try_ahead(&mut self, model: Model) -> Result<Made<Spare>, Fault> {
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
                unwanted: 0,
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

    /// The range of a new lease: that of a cell made ahead, if one will do for it.
    pub(crate) fn range_for(&mut self, sandbox: &SandboxId, lease: &Lease) -> Option<u32> {
        if lease.volumes.is_empty() {
            while let Some(at) = self.ahead.look_for(&Model::of(lease)) {
                let made = &mut self.ahead.made[at];
                if made.spare.is_sound() {
                    made.tenant = Some(sandbox.clone());
                    return Some(made.range);
                }
                self.drop_ahead(at);
            }
        }
        self.ranges.take().or_else(|| {
            // The last ones are those of cells that are nobody's, and free when their processes are dead.
            let nobodys = |made: &Made<_>| made.tenant.is_none();
            while let Some(at) = self.ahead.made.iter().position(nobodys) {
                self.drop_ahead(at);
            }
            self.ranges.take()
        })
    }

    /// Makes the tree of a cell made ahead the one of its tenant; false when it has to be cloned.
    pub(crate) fn pass_tree(&mut self, sandbox: &SandboxId, template: &TemplateName) -> bool {
        let Some(at) = self.ahead.of_tenant(sandbox) else {
            return false;
        };
        let made = &mut self.ahead.made[at];
        match self.store.pass(&made.name, sandbox, template) {
            Ok(true) => {
                made.passed = true;
                return true;
            }
            Ok(false) => {}
            Err(e) => self.log.own(format_args!(
                "cannot pass a tree on to {sandbox}: {}",
                chain(&e)
            )),
        }
        self.drop_ahead(at);
        false
    }

    /// Makes a cell made ahead the one of its tenant; nothing when one must be made.
    pub(crate) fn pass_cell(
        &mut self,
        sandbox: &SandboxId,
        limits: &Limits,
        network: &Network,
        listener: BorrowedFd<'_>,
    ) -> Option<(Cell, Status)> {
        let at = self.ahead.of_tenant(sandbox)?;
        let made = &self.ahead.made[at];
        if made.passed && made.model.limits == *limits && made.spare.is_sound() {
            let made = self.ahead.made.swap_remove(at);
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
            self.drop_ahead(at);
        }
        // What was passed on bears its first name still. One that was not has its own.
        if let Err(e) = self.store.rename(sandbox) {
            self.log
                .own(format_args!("{sandbox} has no name: {}", chain(&e)));
        }
        None
    }

    /// A template becomes another one, or none: it is not held for cells made ahead.
    pub(crate) fn nothing_ahead_of(&mut self, template: &TemplateName) {
        let wanted = &mut self.ahead.wanted;
        wanted.take_if(|model| model.template == *template);
        let stale = |made: &Made<_>| made.tenant.is_none() && made.model.template == *template;
        while let Some(at) = self.ahead.made.iter().position(stale) {
            self.drop_ahead(at);
        }
    }

    /// The tenant will not come.
    pub(crate) fn no_tenant(&mut self, sandbox: &SandboxId) {
        if let Some(at) = self.ahead.of_tenant(sandbox) {
            self.drop_ahead(at);
        }
    }

    /// Removes all cells made ahead.
    pub(crate) fn drop_all_ahead(&mut self) {
        while !self.ahead.made.is_empty() {
            self.drop_ahead(0);
        }
    }

    fn drop_ahead(&mut self, at: usize) {
        let made = self.ahead.made.swap_remove(at);
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

impl Model {
    fn of(lease: &Lease) -> Self {
        Self {
            template: lease.template.clone(),
            limits: lease.limits,
        }
    }
}

impl<S> Made<S> {
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

    fn model(pids: u32) -> Model {
        Model {
            template: TemplateName::new("base").expect("a name"),
            limits: Limits {
                memory_mib: 512,
                cpu_percent: 100,
                pids,
                disk_mib: 512,
            },
        }
    }

    /// So many that are nobody's yet.
    fn stock(models: &[u32]) -> Ahead<()> {
        let mut ahead = Ahead::none();
        for (range, pids) in (0..).zip(models) {
            ahead.made.push(Made {
                name: random_name().expect("random"),
                range,
                model: model(*pids),
                unwanted: 0,
                spare: (),
                tenant: None,
                passed: false,
            });
        }
        ahead
    }

    #[test]
    fn as_many_are_made_as_are_to_be_there() {
        let mut ahead = stock(&[1, 1]);
        assert_eq!(ahead.next(3), Next::Nothing, "nobody has wanted any");
        ahead.wanted = Some(model(1));
        assert_eq!(ahead.next(3), Next::Make);
        assert_eq!(ahead.next(2), Next::Nothing);
        let taken = ahead.look_for(&model(1)).expect("one is there");
        ahead.made[taken].tenant = Some(random_name().expect("random"));
        assert_eq!(ahead.next(2), Next::Make);
        assert_ne!(ahead.look_for(&model(1)), Some(taken));
    }

    #[test]
    fn what_is_wanted_now_gets_a_place_after_two() {
        let mut ahead = stock(&[1, 1]);
        ahead.wanted = Some(model(2));
        for _ in 0..MISSES {
            assert_eq!(ahead.next(2), Next::Nothing);
            assert_eq!(ahead.look_for(&model(2)), None);
        }
        assert!(matches!(ahead.next(2), Next::Replace(_)));
        ahead.made[0].model = model(2);
        assert_eq!(ahead.look_for(&model(2)), Some(0));
        assert_eq!(ahead.next(2), Next::Nothing, "both have one");
    }

    #[test]
    fn what_nobody_wants_makes_way() {
        let mut ahead = stock(&[2, 1, 2]);
        ahead.wanted = Some(model(2));
        for _ in 1..STALE {
            ahead.look_for(&model(2));
        }
        assert_eq!(ahead.next(3), Next::Nothing);
        ahead.look_for(&model(1));
        for _ in 1..STALE {
            ahead.look_for(&model(2));
        }
        assert_eq!(ahead.next(3), Next::Nothing, "it was wanted meanwhile");
        ahead.look_for(&model(2));
        assert_eq!(ahead.next(3), Next::Replace(1));
    }

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
