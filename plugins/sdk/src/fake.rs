//! A host for tests: privd's rules for storage and cells, in memory, with faults on demand.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use warder_abi::message::{CellCreate, Snapshot, StorageClone, code, decode, encode};
use warder_abi::{Answer, Head, HostCalls};

use crate::{Fault, FaultCode, LimitState, LimitsInForce, SandboxId, TemplateName, Usage};

/// Sandboxes in one answer to [`code::CELL_LIST`]; small, so that pages matter.
const PAGE: usize = 2;

/// Longest that a hanging host is waited for here, so that a suite ends.
const HANGS: Duration = Duration::from_millis(300);

/// What goes wrong with one call to the host, counted from zero since [`FakeHost::plan`].
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// The call of this number fails and does nothing.
    Fails(usize, FaultCode),
    /// The call of this number is done, but its answer is lost: [`FaultCode::TimedOut`].
    AnswerLost(usize),
    /// Every call from this number on is answered with [`FaultCode::TimedOut`], late.
    Hangs(usize),
}

/// One call that reached the host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// Its number, from [`code`].
    pub code: u32,
    /// The sandbox it named.
    pub sandbox: Option<SandboxId>,
    /// Whether it was answered with success.
    pub done: bool,
}

#[derive(Debug, Default)]
struct State {
    storage: BTreeSet<SandboxId>,
    cells: BTreeMap<SandboxId, LimitsInForce>,
    frozen: BTreeSet<SandboxId>,
    templates: BTreeSet<TemplateName>,
    known: HashMap<([u8; 16], u32), Vec<u8>>,
    asked: Vec<Asked>,
    trouble: Option<Trouble>,
    count: usize,
    log: Vec<String>,
    events: Vec<(u32, Vec<u8>)>,
}

/// The host.
#[derive(Debug, Default)]
pub struct FakeHost(Mutex<State>);

impl FakeHost {
    /// A host without sandboxes.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What goes wrong from now on; forgets the calls so far.
    pub fn plan(&self, trouble: Option<Trouble>) {
        let mut state = self.state();
        state.trouble = trouble;
        state.count = 0;
        state.asked.clear();
    }

    /// The calls since [`Self::plan`].
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// Sandboxes that have storage or a cell.
    #[must_use]
    pub fn leftovers(&self) -> BTreeSet<SandboxId> {
        let state = self.state();
        let cells = state.cells.keys();
        state.storage.iter().chain(cells).cloned().collect()
    }

    /// Sandboxes that have a cell.
    #[must_use]
    pub fn running(&self) -> Vec<SandboxId> {
        self.state().cells.keys().cloned().collect()
    }

    /// Sandboxes whose cell is frozen.
    #[must_use]
    pub fn frozen(&self) -> Vec<SandboxId> {
        self.state().frozen.iter().cloned().collect()
    }

    /// A frozen cell dies: only its storage is left.
    pub fn lose_memory(&self, sandbox: &SandboxId) {
        let mut state = self.state();
        if state.frozen.remove(sandbox) {
            state.cells.remove(sandbox);
        }
    }

    /// Templates that were made of sandboxes.
    #[must_use]
    pub fn templates(&self) -> Vec<TemplateName> {
        self.state().templates.iter().cloned().collect()
    }

    /// Lines that were logged.
    #[must_use]
    pub fn logged(&self) -> Vec<String> {
        self.state().log.clone()
    }

    /// Events, by number and body.
    #[must_use]
    pub fn events(&self) -> Vec<(u32, Vec<u8>)> {
        self.state().events.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostCalls for FakeHost {
    fn call(&self, head: Head, body: &[u8]) -> Answer {
        let trouble = {
            let mut state = self.state();
            let number = state.count;
            state.count += 1;
            match state.trouble {
                Some(Trouble::Fails(at, code)) if at == number => Some(Some(code)),
                Some(Trouble::AnswerLost(at)) if at == number => Some(None),
                Some(Trouble::Hangs(from)) if number >= from => {
                    drop(state);
                    let asked = Duration::from_millis(head.deadline_ms.into());
                    std::thread::sleep(asked.min(HANGS));
                    return Err(encode(&Fault::new(
                        FaultCode::TimedOut,
                        "no answer in time",
                    )));
                }
                _ => None,
            }
        };
        let mut state = self.state();
        let sandbox = named(head.code, body);
        let result = match trouble {
            Some(Some(code)) => Err(Fault::new(code, "as planned")),
            Some(None) => state
                .once(head, body)
                .and(Err(Fault::new(FaultCode::TimedOut, "the answer is lost"))),
            None => state.once(head, body),
        };
        let done = result.is_ok();
        state.asked.push(Asked {
            code: head.code,
            sandbox,
            done,
        });
        result.map_err(|fault| encode(&fault))
    }

    fn event(&self, code: u32, body: &[u8]) {
        self.state().events.push((code, body.to_vec()));
    }

    fn log(&self, line: &str) {
        self.state().log.push(line.to_owned());
    }
}

impl State {
    /// What changes something is done once for each operation.
    fn once(&mut self, head: Head, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let changes = !matches!(head.code, code::CELL_STAT | code::CELL_LIST | code::VM_STAT);
        let key = (head.operation, head.code);
        if let Some(answer) = self.known.get(&key).filter(|_| changes) {
            return Ok(answer.clone());
        }
        let answer = self.act(head.code, body)?;
        if changes {
            self.known.insert(key, answer.clone());
        }
        Ok(answer)
    }

    fn pause(&mut self, code: u32, sandbox: SandboxId) -> Result<Vec<u8>, Fault> {
        let (cell, frozen) = (
            self.cells.contains_key(&sandbox),
            self.frozen.contains(&sandbox),
        );
        if !self.storage.contains(&sandbox) {
            return Err(Fault::new(FaultCode::NotFound, "no such sandbox"));
        }
        match code {
            code::CELL_THAW if !cell => return Err(Fault::new(FaultCode::NotFound, "no cell")),
            code::CELL_THAW if frozen => drop(self.frozen.remove(&sandbox)),
            code::CELL_FREEZE if cell && !frozen => drop(self.frozen.insert(sandbox)),
            code::CELL_STOP if cell => {
                self.frozen.remove(&sandbox);
                self.cells.remove(&sandbox);
            }
            _ => return Err(Fault::new(FaultCode::Conflict, "not in this state")),
        }
        Ok(Vec::new())
    }

    fn act(&mut self, code: u32, body: &[u8]) -> Result<Vec<u8>, Fault> {
        match code {
            code::STORAGE_CLONE => {
                let ask: StorageClone = decode(body)?;
                if ask.template.0 != "base" {
                    return Err(Fault::new(FaultCode::NotFound, "no such template"));
                }
                if !self.storage.insert(ask.sandbox) {
                    return Err(Fault::new(FaultCode::Conflict, "it has storage"));
                }
                Ok(Vec::new())
            }
            // A machine is a cell whose first process is the machine.
            code::CELL_CREATE | code::VM_CREATE => {
                let ask: CellCreate = decode(body)?;
                if !self.storage.contains(&ask.sandbox) {
                    return Err(Fault::new(FaultCode::NotFound, "no storage"));
                }
                if self.cells.contains_key(&ask.sandbox) {
                    return Err(Fault::new(FaultCode::Conflict, "it has a cell"));
                }
                let held = LimitState::Enforced;
                let limits = LimitsInForce {
                    memory: held,
                    cpu: held,
                    pids: held,
                    disk: LimitState::Absent,
                };
                self.cells.insert(ask.sandbox, limits);
                Ok(encode(&limits))
            }
            code::CELL_REMOVE | code::VM_REMOVE => {
                let sandbox: SandboxId = decode(body)?;
                self.frozen.remove(&sandbox);
                match self.cells.remove(&sandbox) {
                    Some(_) => Ok(Vec::new()),
                    None => Err(Fault::new(FaultCode::NotFound, "no cell")),
                }
            }
            code::CELL_FREEZE | code::CELL_THAW | code::CELL_STOP => {
                self.pause(code, decode(body)?)
            }
            code::STORAGE_SNAPSHOT => {
                let ask: Snapshot = decode(body)?;
                if !self.storage.contains(&ask.sandbox) {
                    return Err(Fault::new(FaultCode::NotFound, "no storage"));
                }
                if !self.templates.insert(ask.template) {
                    return Err(Fault::new(FaultCode::Conflict, "it exists"));
                }
                Ok(Vec::new())
            }
            code::STORAGE_DESTROY => {
                let sandbox: SandboxId = decode(body)?;
                if self.cells.contains_key(&sandbox) {
                    return Err(Fault::new(FaultCode::Conflict, "its cell is there"));
                }
                if !self.storage.remove(&sandbox) {
                    return Err(Fault::new(FaultCode::NotFound, "no storage"));
                }
                Ok(Vec::new())
            }
            code::CELL_STAT | code::VM_STAT => {
                let sandbox: SandboxId = decode(body)?;
                if !self.cells.contains_key(&sandbox) {
                    return Err(Fault::new(FaultCode::NotFound, "no cell"));
                }
                Ok(encode(&Usage {
                    cpu_us: Some(1),
                    memory: Some(2),
                    pids: Some(3),
                }))
            }
            code::CELL_LIST => {
                let after: Option<SandboxId> = decode(body)?;
                let later = self.cells.keys().filter(|id| Some(*id) > after.as_ref());
                let page: Vec<SandboxId> = later.take(PAGE).cloned().collect();
                Ok(encode(&page))
            }
            _ => Err(Fault::new(FaultCode::Unsupported, "no such operation")),
        }
    }
}

fn named(code: u32, body: &[u8]) -> Option<SandboxId> {
    match code {
        code::STORAGE_CLONE => decode(body).ok().map(|ask: StorageClone| ask.sandbox),
        code::CELL_CREATE | code::VM_CREATE => decode(body).ok().map(|ask: CellCreate| ask.sandbox),
        code::STORAGE_SNAPSHOT => decode(body).ok().map(|ask: Snapshot| ask.sandbox),
        code::CELL_LIST => None,
        _ => decode(body).ok(),
    }
}
