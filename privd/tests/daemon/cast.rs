//! What the parts say.

use std::os::fd::OwnedFd;

use warder_wire::gateway_priv::{Answer, Ask, AtDeadline};
use warder_wire::{BackendName, Fault, Limits, SandboxId, TemplateName, plugin_priv};

use crate::stage::Instance;

pub(crate) fn limits() -> Limits {
    Limits {
        memory_mib: 256,
        cpu_percent: 100,
        pids: 64,
        disk_mib: 64,
    }
}

pub(crate) fn base() -> TemplateName {
    TemplateName::new("base").expect("a name")
}

pub(crate) fn lease(sandbox: &SandboxId, backend: &str, template: &str, ttl_ms: u64) -> Ask {
    Ask::LeaseOpen {
        sandbox: sandbox.clone(),
        backend: BackendName::new(backend).expect("a name"),
        template: TemplateName::new(template).expect("a name"),
        limits: limits(),
        ttl_ms,
        at_deadline: AtDeadline::Destroy,
        volumes: Vec::new(),
    }
}

pub(crate) fn gateway(stage: &mut Instance, ask: Ask) -> Result<(Answer, Vec<OwnedFd>), Fault> {
    let seq = stage.post_gateway(ask);
    stage.gateway_answer(seq)
}

pub(crate) fn plugin(
    stage: &mut Instance,
    ask: plugin_priv::Ask,
) -> Result<plugin_priv::Answer, Fault> {
    let seq = stage.post_plugin(ask);
    stage.plugin_answer(seq)
}
