//! A backend whose sandboxes are storage cloned from a template and a cell on it, both made by privd. It only
//! plans and holds no state, so a new process of it is as good as the old one.

use std::marker::PhantomData;

use crate::{
    Backend, Call, Create, Description, Fault, FaultCode, Host, Limits, LimitsInForce, Pause,
    Resume, Resumed, SandboxId, Snapshot, Usage, or_gone,
};

/// What such a backend is called.
pub trait Kind: Send + Sync + 'static {
    /// Name and version, for people.
    const TITLE: &'static str;
}

/// The backend.
#[derive(Debug)]
pub struct Cells<K> {
    host: Host,
    kind: PhantomData<K>,
}

impl<K: Kind> Backend for Cells<K> {
    fn new(host: Host) -> Result<Self, Fault> {
        Ok(Self {
            host,
            kind: PhantomData,
        })
    }

    fn describe(&self) -> Description {
        Description {
            title: K::TITLE.into(),
            pause_memory: true,
            fork: true,
        }
    }

    fn create(&self, call: &Call<'_>, wanted: &Create) -> Result<LimitsInForce, Fault> {
        create(
            &self.host,
            call,
            wanted,
            Call::cell_create,
            Call::cell_remove,
        )
    }

    fn destroy(&self, call: &Call<'_>, sandbox: &SandboxId) -> Result<(), Fault> {
        destroy(call, sandbox, Call::cell_remove)
    }

    fn stats(&self, call: &Call<'_>, sandbox: &SandboxId) -> Result<Usage, Fault> {
        call.cell_stat(sandbox)
    }

    fn pause(&self, call: &Call<'_>, wanted: &Pause) -> Result<(), Fault> {
        if wanted.memory {
            call.cell_freeze(&wanted.sandbox)
        } else {
            call.cell_stop(&wanted.sandbox)
        }
    }

    fn resume(&self, call: &Call<'_>, wanted: &Resume) -> Result<Resumed, Fault> {
        let sandbox = &wanted.sandbox;
        let held = if wanted.memory {
            match call.cell_thaw(sandbox) {
                Err(fault) if fault.code == FaultCode::NotFound => Ok(()),
                Err(fault) => Err(fault),
                Ok(()) => return Ok(Resumed { memory: true }),
            }
        } else {
            // Without a frozen cell there is nothing to stop.
            match call.cell_stop(sandbox) {
                Err(fault) if fault.code == FaultCode::Conflict => Ok(()),
                other => other,
            }
        };
        held?;
        call.cell_create(sandbox, wanted.limits)
            .inspect_err(|fault| {
                // It stays paused; what may run is stopped again.
                if may_be_done(fault) {
                    let _ = call.undo().cell_stop(sandbox);
                }
            })?;
        Ok(Resumed { memory: false })
    }

    fn snapshot(&self, call: &Call<'_>, wanted: &Snapshot) -> Result<(), Fault> {
        call.storage_snapshot(&wanted.sandbox, &wanted.template)
    }

    fn adopt(&self, call: &Call<'_>) -> Result<Vec<SandboxId>, Fault> {
        call.cell_list()
    }
}

/// Clones a template and has `start` make of it what runs. What a step that fails may have left is undone, by `remove`
/// what may run.
///
/// # Errors
/// Of the step that failed.
pub fn create<'a>(
    host: &Host,
    call: &Call<'a>,
    wanted: &Create,
    start: impl FnOnce(&Call<'a>, &SandboxId, Limits) -> Result<LimitsInForce, Fault>,
    remove: impl FnOnce(&Call<'a>, &SandboxId) -> Result<(), Fault>,
) -> Result<LimitsInForce, Fault> {
    let sandbox = &wanted.sandbox;
    // What cannot be undone here is removed by privd with the lease.
    let undone = |result| {
        if let Err(fault) = or_gone(result) {
            host.log(&format!("{sandbox}: undoing a create: {fault}"));
        }
    };
    call.storage_clone(sandbox, &wanted.template)
        .inspect_err(|fault| {
            // Any other fault means that nothing was made here; a conflict, that somebody else's is there.
            if may_be_done(fault) {
                undone(call.undo().storage_destroy(sandbox));
            }
        })?;
    start(call, sandbox, wanted.limits).inspect_err(|fault| {
        let undo = call.undo();
        if may_be_done(fault) {
            undone(remove(&undo, sandbox));
        }
        undone(undo.storage_destroy(sandbox));
    })
}

/// Ends what runs, by `remove`, and what it ran on. Either may be gone.
///
/// # Errors
/// Of the step that failed.
pub fn destroy<'a>(
    call: &Call<'a>,
    sandbox: &SandboxId,
    remove: impl FnOnce(&Call<'a>, &SandboxId) -> Result<(), Fault>,
) -> Result<(), Fault> {
    or_gone(remove(call, sandbox))?;
    or_gone(call.storage_destroy(sandbox))
}

/// Whether the answer leaves open that it was done.
fn may_be_done(fault: &Fault) -> bool {
    matches!(
        fault.code,
        FaultCode::TimedOut | FaultCode::Unavailable | FaultCode::System
    )
}
