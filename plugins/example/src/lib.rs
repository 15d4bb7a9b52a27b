//! Trust: zone 2 (loaded by pluginhost; runs as the plugin's user, confined).
//! Input: calls from pluginhost, answers of privd through it.
//! May: ask privd for storage and cells of its own sandboxes.
//! Unsafe: forbidden.
//!
//! A small backend to learn from: every sandbox is a thrifty one, whatever was asked for.
//!
//! Build it with `cargo build --release`, copy `libexample.so` into the plugin directory as root, and name
//! the backend `example` in privd's configuration.
#![forbid(unsafe_code)]

use warder_sdk::{
    Backend, Call, Create, Description, Fault, FaultCode, Host, Limits, LimitsInForce, SandboxId,
    Usage, or_gone,
};

/// Most that a sandbox of this backend gets.
const THRIFTY: Limits = Limits {
    memory_mib: 256,
    cpu_percent: 50,
    pids: 128,
    disk_mib: 512,
};

/// The backend.
#[derive(Debug)]
pub struct Example;

warder_sdk::export_backend!(Example);

impl Backend for Example {
    fn new(host: Host) -> Result<Self, Fault> {
        host.log("the example backend says hello");
        Ok(Self)
    }

    fn describe(&self) -> Description {
        Description {
            title: "thrifty example 0.1".into(),
            ..Description::default()
        }
    }

    fn create(&self, call: &Call<'_>, wanted: &Create) -> Result<LimitsInForce, Fault> {
        let sandbox = &wanted.sandbox;
        if let Err(fault) = call.storage_clone(sandbox, &wanted.template) {
            // A conflict means that a sandbox of this name is there: not ours to undo.
            if fault.code != FaultCode::Conflict {
                let _ = call.undo().storage_destroy(sandbox);
            }
            return Err(fault);
        }
        call.cell_create(sandbox, thrifty(wanted.limits))
            .inspect_err(|_| {
                let _ = call.undo().cell_remove(sandbox);
                let _ = call.undo().storage_destroy(sandbox);
            })
    }

    fn destroy(&self, call: &Call<'_>, sandbox: &SandboxId) -> Result<(), Fault> {
        or_gone(call.cell_remove(sandbox))?;
        or_gone(call.storage_destroy(sandbox))
    }

    fn stats(&self, call: &Call<'_>, sandbox: &SandboxId) -> Result<Usage, Fault> {
        call.cell_stat(sandbox)
    }

    fn adopt(&self, call: &Call<'_>) -> Result<Vec<SandboxId>, Fault> {
        call.cell_list()
    }
}

fn thrifty(wanted: Limits) -> Limits {
    Limits {
        memory_mib: wanted.memory_mib.min(THRIFTY.memory_mib),
        cpu_percent: wanted.cpu_percent.min(THRIFTY.cpu_percent),
        pids: wanted.pids.min(THRIFTY.pids),
        disk_mib: wanted.disk_mib.min(THRIFTY.disk_mib),
    }
}
