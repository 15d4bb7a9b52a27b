//! Trust: zone 2 (loaded by pluginhost; runs as the plugin's user, confined).
//! Input: calls from pluginhost, answers of privd through it.
//! May: ask privd for storage and cells of its own sandboxes.
//! Unsafe: forbidden.
//!
//! The Linux backend. It plans: a sandbox is storage cloned from a template and a cell of namespaces on it,
//! both made by privd. It holds no state, so a new process of it is as good as the old one.
#![forbid(unsafe_code)]

use warder_sdk::{
    Backend, Call, Create, Description, Fault, FaultCode, Host, LimitsInForce, Pause, Resume,
    Resumed, SandboxId, Snapshot, Usage, or_gone,
};

/// The backend.
#[derive(Debug)]
pub struct Namespace {
    host: Host,
}

warder_sdk::export_backend!(Namespace);

impl Backend for Namespace {
    fn new(host: Host) -> Result<Self, Fault> {
        Ok(Self { host })
    }

    fn describe(&self) -> Description {
        Description {
            title: concat!("Linux namespaces ", env!("CARGO_PKG_VERSION")).into(),
            pause_memory: true,
            fork: true,
        }
    }

    fn create(&self, call: &Call<'_>, wanted: &Create) -> Result<LimitsInForce, Fault> {
        let sandbox = &wanted.sandbox;
        call.storage_clone(sandbox, &wanted.template)
            .inspect_err(|fault| {
                // Any other fault means that nothing was made here; a conflict, that somebody else's is there.
                if may_be_done(fault) {
                    self.undo(sandbox, call.undo().storage_destroy(sandbox));
                }
            })?;
        call.cell_create(sandbox, wanted.limits)
            .inspect_err(|fault| {
                let undo = call.undo();
                if may_be_done(fault) {
                    self.undo(sandbox, undo.cell_remove(sandbox));
                }
                self.undo(sandbox, undo.storage_destroy(sandbox));
            })
    }

    fn destroy(&self, call: &Call<'_>, sandbox: &SandboxId) -> Result<(), Fault> {
        or_gone(call.cell_remove(sandbox))?;
        or_gone(call.storage_destroy(sandbox))
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

impl Namespace {
    /// What cannot be undone here is removed by privd with the lease.
    fn undo(&self, sandbox: &SandboxId, result: Result<(), Fault>) {
        if let Err(fault) = or_gone(result) {
            self.host
                .log(&format!("{sandbox}: undoing a create: {fault}"));
        }
    }
}

/// Whether the answer leaves open that it was done.
fn may_be_done(fault: &Fault) -> bool {
    matches!(
        fault.code,
        FaultCode::TimedOut | FaultCode::Unavailable | FaultCode::System
    )
}
