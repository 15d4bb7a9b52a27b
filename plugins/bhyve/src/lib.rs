//! Trust: zone 2 (loaded by pluginhost; runs as the plugin's user, confined).
//! Input: calls from pluginhost, answers of privd through it.
//! May: ask privd for storage and machines of its own sandboxes.
//! Unsafe: forbidden.
//!
//! The FreeBSD backend for guests with a kernel of their own: a sandbox is a virtual machine of bhyve(8), its disk the
//! file `disk.raw` of a template's clone.
//!
//! It makes machines and ends them. What needs more than that is refused, each with what it lacks: `docs/bhyve.md`.
#![forbid(unsafe_code)]

use warder_sdk::{
    Backend, Call, Create, Description, Fault, FaultCode, Host, LimitsInForce, Pause, Resume,
    Resumed, SandboxId, Snapshot, Usage, cells,
};

/// The backend. It only plans and holds no state, so a new process of it is as good as the old one.
#[derive(Debug)]
pub struct Bhyve {
    host: Host,
}

impl Backend for Bhyve {
    fn new(host: Host) -> Result<Self, Fault> {
        Ok(Self { host })
    }

    fn describe(&self) -> Description {
        Description {
            title: concat!("bhyve virtual machines ", env!("CARGO_PKG_VERSION")).into(),
            pause_memory: false,
            fork: false,
        }
    }

    fn create(&self, call: &Call<'_>, wanted: &Create) -> Result<LimitsInForce, Fault> {
        cells::create(&self.host, call, wanted, Call::vm_create, Call::vm_remove)
    }

    fn destroy(&self, call: &Call<'_>, sandbox: &SandboxId) -> Result<(), Fault> {
        cells::destroy(call, sandbox, Call::vm_remove)
    }

    fn stats(&self, call: &Call<'_>, sandbox: &SandboxId) -> Result<Usage, Fault> {
        call.vm_stat(sandbox)
    }

    fn adopt(&self, call: &Call<'_>) -> Result<Vec<SandboxId>, Fault> {
        call.cell_list()
    }

    fn pause(&self, _call: &Call<'_>, wanted: &Pause) -> Result<(), Fault> {
        let lacks = match wanted.memory {
            true => {
                "keeping a machine's memory: bhyve(8) of FreeBSD is built without BHYVE_SNAPSHOT"
            }
            false => "restarting a machine from its disk: this backend does not have it yet",
        };
        unsupported(lacks)
    }

    fn resume(&self, _call: &Call<'_>, _wanted: &Resume) -> Result<Resumed, Fault> {
        unsupported("waking a machine: this backend pauses none")
    }

    fn snapshot(&self, _call: &Call<'_>, _wanted: &Snapshot) -> Result<(), Fault> {
        unsupported(
            "copying a machine's disk while it runs: its file systems would have to be at rest, which takes an agent's help",
        )
    }
}

fn unsupported<T>(lacks: &str) -> Result<T, Fault> {
    Err(Fault::new(
        FaultCode::Unsupported,
        format!("not for machines: {lacks}"),
    ))
}

warder_sdk::export_backend!(Bhyve);
