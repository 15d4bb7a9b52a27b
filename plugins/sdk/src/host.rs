//! The host as a backend sees it.

use std::time::{Duration, Instant};

use warder_abi::message::{CellCreate, Snapshot, StorageClone, code, decode, encode};
use warder_abi::{Head, HostHandle};

use crate::{Ended, Fault, FaultCode, Limits, LimitsInForce, SandboxId, TemplateName, Usage};

/// How long [`Call::undo`] has, whatever became of the deadline. Less than the host's patience with a call
/// that is over its deadline.
const UNDO: Duration = Duration::from_secs(5);

/// The host that loaded the plugin. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Host(HostHandle);

impl Host {
    pub(crate) fn new(handle: HostHandle) -> Self {
        Self(handle)
    }

    /// Writes a line to the log.
    pub fn log(&self, line: &str) {
        self.0.log(line);
    }

    /// Tells the gateway that a sandbox ended of which privd does not know.
    pub fn ended(&self, ended: &Ended) {
        self.0.event(code::EVENT_ENDED, &encode(ended));
    }
}

/// One call of the backend: its operation, its deadline, and what it may ask of privd meanwhile.
///
/// What is asked through it carries an operation derived from the call's own and from what is asked, so a
/// call that is made again after a restart does nothing twice.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    host: &'a Host,
    operation: [u8; 16],
    deadline: Instant,
}

impl<'a> Call<'a> {
    pub(crate) fn new(host: &'a Host, head: Head) -> Self {
        let time = Duration::from_millis(head.deadline_ms.into());
        Self {
            host,
            operation: head.operation,
            deadline: Instant::now() + time,
        }
    }

    /// The operation: the same number again means the same call again.
    #[must_use]
    pub fn operation(&self) -> [u8; 16] {
        self.operation
    }

    /// Time left; zero once the deadline has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The same call with a few seconds more, for undoing what it did. Nobody waits for the answer then, but
    /// the host lets it finish.
    #[must_use]
    pub fn undo(&self) -> Self {
        Self {
            deadline: self.deadline.max(Instant::now() + UNDO),
            ..*self
        }
    }

    /// A writable root for the sandbox.
    ///
    /// # Errors
    /// privd's, or [`FaultCode::TimedOut`]; it may have been done all the same then.
    pub fn storage_clone(&self, sandbox: &SandboxId, template: &TemplateName) -> Result<(), Fault> {
        let ask = StorageClone {
            sandbox: sandbox.clone(),
            template: template.clone(),
        };
        self.ask(code::STORAGE_CLONE, &encode(&ask)).map(drop)
    }

    /// Starts the sandbox's cell on its storage.
    ///
    /// # Errors
    /// As [`Self::storage_clone`].
    pub fn cell_create(&self, sandbox: &SandboxId, limits: Limits) -> Result<LimitsInForce, Fault> {
        let ask = CellCreate {
            sandbox: sandbox.clone(),
            limits,
        };
        decode(&self.ask(code::CELL_CREATE, &encode(&ask))?)
    }

    /// Ends every process of the cell.
    ///
    /// # Errors
    /// As [`Self::storage_clone`]; [`FaultCode::NotFound`] when there is no cell.
    pub fn cell_remove(&self, sandbox: &SandboxId) -> Result<(), Fault> {
        self.ask(code::CELL_REMOVE, &encode(sandbox)).map(drop)
    }

    /// Removes the storage; its cell must be gone.
    ///
    /// # Errors
    /// As [`Self::storage_clone`]; [`FaultCode::NotFound`] when there is none.
    pub fn storage_destroy(&self, sandbox: &SandboxId) -> Result<(), Fault> {
        self.ask(code::STORAGE_DESTROY, &encode(sandbox)).map(drop)
    }

    /// Freezes every process of the cell and pauses the lease.
    ///
    /// # Errors
    /// As [`Self::storage_clone`]; [`FaultCode::Conflict`] when no cell runs.
    pub fn cell_freeze(&self, sandbox: &SandboxId) -> Result<(), Fault> {
        self.ask(code::CELL_FREEZE, &encode(sandbox)).map(drop)
    }

    /// Lets a frozen cell go on.
    ///
    /// # Errors
    /// As [`Self::storage_clone`]; [`FaultCode::NotFound`] when there is no frozen cell,
    /// [`FaultCode::Conflict`] when it runs.
    pub fn cell_thaw(&self, sandbox: &SandboxId) -> Result<(), Fault> {
        self.ask(code::CELL_THAW, &encode(sandbox)).map(drop)
    }

    /// Ends every process of the cell, running or frozen, and pauses the lease; the storage stays, and
    /// [`Self::cell_create`] starts the sandbox anew.
    ///
    /// # Errors
    /// As [`Self::storage_clone`]; [`FaultCode::Conflict`] when there is no cell.
    pub fn cell_stop(&self, sandbox: &SandboxId) -> Result<(), Fault> {
        self.ask(code::CELL_STOP, &encode(sandbox)).map(drop)
    }

    /// Makes a template of the sandbox's storage, its processes frozen meanwhile.
    ///
    /// # Errors
    /// As [`Self::storage_clone`]; [`FaultCode::Conflict`] when there is such a template.
    pub fn storage_snapshot(
        &self,
        sandbox: &SandboxId,
        template: &TemplateName,
    ) -> Result<(), Fault> {
        let ask = Snapshot {
            sandbox: sandbox.clone(),
            template: template.clone(),
        };
        self.ask(code::STORAGE_SNAPSHOT, &encode(&ask)).map(drop)
    }

    /// Starts a virtual machine on the sandbox's storage.
    ///
    /// # Errors
    /// As [`Self::storage_clone`]; [`FaultCode::Unsupported`] names what the host lacks for machines.
    pub fn vm_create(&self, sandbox: &SandboxId, limits: Limits) -> Result<LimitsInForce, Fault> {
        let ask = CellCreate {
            sandbox: sandbox.clone(),
            limits,
        };
        decode(&self.ask(code::VM_CREATE, &encode(&ask))?)
    }

    /// Ends the machine at once, as a loss of power would.
    ///
    /// # Errors
    /// As [`Self::storage_clone`]; [`FaultCode::NotFound`] when there is none.
    pub fn vm_remove(&self, sandbox: &SandboxId) -> Result<(), Fault> {
        self.ask(code::VM_REMOVE, &encode(sandbox)).map(drop)
    }

    /// What the machine uses of the host.
    ///
    /// # Errors
    /// As [`Self::vm_remove`].
    pub fn vm_stat(&self, sandbox: &SandboxId) -> Result<Usage, Fault> {
        decode(&self.ask(code::VM_STAT, &encode(sandbox))?)
    }

    /// What the cell uses.
    ///
    /// # Errors
    /// As [`Self::cell_remove`].
    pub fn cell_stat(&self, sandbox: &SandboxId) -> Result<Usage, Fault> {
        decode(&self.ask(code::CELL_STAT, &encode(sandbox))?)
    }

    /// The sandboxes of this backend that have a cell or a machine, in order.
    ///
    /// # Errors
    /// As [`Self::storage_clone`].
    pub fn cell_list(&self) -> Result<Vec<SandboxId>, Fault> {
        let mut all: Vec<SandboxId> = Vec::new();
        loop {
            let page: Vec<SandboxId> =
                decode(&self.ask(code::CELL_LIST, &encode(&all.last().cloned()))?)?;
            // In order and not empty, or this would go on for ever.
            if page.is_empty() || page.last() <= all.last() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    fn ask(&self, code: u32, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let left = u32::try_from(self.remaining().as_millis()).unwrap_or(u32::MAX);
        if left == 0 {
            return Err(Fault::new(FaultCode::TimedOut, "the deadline has passed"));
        }
        let mut operation = self.operation;
        operation[15] ^= u8::try_from(code & 0xff).unwrap_or_default();
        let head = Head {
            code,
            operation,
            deadline_ms: left,
        };
        let answer = self.host.0.call(head, body);
        answer.map_err(|bytes| Fault::decode(&bytes))
    }
}

/// Success also where there was nothing to do it to.
///
/// # Errors
/// Any [`Fault`] but [`FaultCode::NotFound`].
pub fn or_gone(result: Result<(), Fault>) -> Result<(), Fault> {
    match result {
        Err(fault) if fault.code == FaultCode::NotFound => Ok(()),
        other => other,
    }
}
