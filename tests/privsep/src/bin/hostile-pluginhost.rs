//! Trust: zone 2 taken over by an attacker.
//! Input: privd's first frame; the attack's name is the backend's.
//! May: what pluginhost may, and tries the rest.
//! Unsafe: forbidden.
//!
//! A plugin host that belongs to somebody else.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use warder_privsep::{
    ask, dotdot, frame, idle, is_dir, outcome_of_violation, ready, report, send_raw,
};
use warder_wire::plugin_priv::{Answer, Ask, Event};
use warder_wire::{Limits, OpId, SandboxId, TemplateName, start};

fn main() {
    let Ok((mut privd, start, fds)) = warder_ipc::take_start() else {
        return;
    };
    let start::Role::Plugin { backend, .. } = start.role else {
        return;
    };
    ready(&mut privd);
    let attack = backend.as_str().to_owned();
    let op = OpId([1; 16]);
    // The lease a hostile gateway opened for the backend `namespace`.
    let foreign = SandboxId::from_random(&[9; 20]);
    let base = TemplateName::new("base").expect("a name");
    let limits = Limits {
        memory_mib: 256,
        cpu_percent: 100,
        pids: 64,
        disk_mib: 512,
    };
    let outcome = match attack.as_str() {
        // Stands in for the backend the others steal from.
        "namespace" => "idle".to_owned(),
        "unknown-verb" => {
            send_raw(privd.as_fd(), &frame(&[1, 77]), &[]);
            outcome_of_violation(&mut privd).to_owned()
        }
        "gateway-verb" => {
            // A gateway's question on a plugin's channel: a lease of one's own making.
            let bytes = warder_wire::encode(&warder_wire::Request {
                seq: 1,
                body: warder_wire::gateway_priv::Ask::TemplateRemove { template: base },
            })
            .expect("small");
            send_raw(privd.as_fd(), &bytes, &[]);
            outcome_of_violation(&mut privd).to_owned()
        }
        "thief" => {
            let steal = [
                Ask::StorageClone {
                    op,
                    sandbox: foreign.clone(),
                    template: base,
                },
                Ask::CellCreate {
                    op: OpId([2; 16]),
                    sandbox: foreign.clone(),
                    limits,
                },
                Ask::CellRemove {
                    op: OpId([3; 16]),
                    sandbox: foreign.clone(),
                },
                Ask::StorageDestroy {
                    op: OpId([4; 16]),
                    sandbox: foreign.clone(),
                },
                Ask::CellStat { sandbox: foreign },
            ];
            // The lease may not be open yet when we start: with or without it the answer must be the same.
            std::thread::sleep(std::time::Duration::from_secs(1));
            let outcomes: Vec<String> = steal
                .into_iter()
                .zip(1..)
                .map(|(body, seq)| ask::<_, Answer, Event>(&mut privd, seq, body, Vec::new()))
                .collect();
            outcomes.join(" ")
        }
        "dotdot" => {
            let seen: Vec<&str> = fds
                .iter()
                .filter(|fd| is_dir(fd))
                .map(|fd| dotdot(fd.as_fd()))
                .collect();
            seen.join(" ")
        }
        _ => "no such attack".to_owned(),
    };
    report(&format!("plugin {attack}"), &outcome);
    idle(&mut privd);
}
