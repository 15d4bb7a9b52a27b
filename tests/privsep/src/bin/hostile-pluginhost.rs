//! Trust: zone 2 taken over by an attacker.
//! Input: privd's first frame; the attack's name is the backend's.
//! May: what pluginhost may, and tries the rest.
//! Unsafe: forbidden.
//!
//! A plugin host that belongs to somebody else.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use warder_ipc::Channel;
use warder_privsep::{
    PATIENCE, ask, dotdot, frame, idle, is_dir, malformed, outcome_of_violation, ready, report,
    send_malformed, send_raw, storm,
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
    // The lease a hostile gateway opened for the first backend.
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
        "victim" => "idle".to_owned(),
        name if malformed(name).is_some() => {
            send_malformed(privd.as_fd(), name);
            outcome_of_violation(&mut privd).to_owned()
        }
        "surplus-descriptors" => {
            let file = std::fs::File::open("/").expect("root opens");
            send_raw(privd.as_fd(), &frame(&[1, 5, 0]), &[file.as_fd(); 3]);
            outcome_of_violation(&mut privd).to_owned()
        }
        "descriptor-storm" => {
            storm(privd.as_fd(), &frame(&[1, 5, 0]));
            outcome_of_violation(&mut privd).to_owned()
        }
        "greedy" => {
            // The lease is its own; what it asks is more than the lease gives, and in the wrong order.
            await_lease(&mut privd, &foreign);
            let other = TemplateName::new("other").expect("a name");
            let huge = Limits {
                memory_mib: 512,
                ..limits
            };
            let ops = [[11; 16], [12; 16], [13; 16], [14; 16], [15; 16]].map(OpId);
            let sandbox = || foreign.clone();
            let steps = [
                Ask::CellCreate {
                    op: ops[0],
                    sandbox: sandbox(),
                    limits,
                },
                Ask::StorageClone {
                    op: ops[1],
                    sandbox: sandbox(),
                    template: other,
                },
                Ask::StorageClone {
                    op: ops[2],
                    sandbox: sandbox(),
                    template: base,
                },
                Ask::CellCreate {
                    op: ops[3],
                    sandbox: sandbox(),
                    limits: huge,
                },
                Ask::StorageClone {
                    op: ops[4],
                    sandbox: sandbox(),
                    template: TemplateName::new("base").expect("a name"),
                },
            ];
            let seen: Vec<String> = steps
                .into_iter()
                .zip(1000..)
                .map(|(body, seq)| ask::<_, Answer, Event>(&mut privd, seq, body, Vec::new()))
                .collect();
            seen.join(" ")
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
                Ask::CellFreeze {
                    op: OpId([5; 16]),
                    sandbox: foreign.clone(),
                },
                Ask::CellThaw {
                    op: OpId([6; 16]),
                    sandbox: foreign.clone(),
                },
                Ask::CellStop {
                    op: OpId([7; 16]),
                    sandbox: foreign.clone(),
                },
                Ask::VmCreate {
                    op: OpId([9; 16]),
                    sandbox: foreign.clone(),
                    limits,
                },
                Ask::VmRemove {
                    op: OpId([10; 16]),
                    sandbox: foreign.clone(),
                },
                Ask::VmStat {
                    sandbox: foreign.clone(),
                },
                Ask::StorageSnapshot {
                    op: OpId([8; 16]),
                    sandbox: foreign.clone(),
                    template: TemplateName::new("stolen").expect("a name"),
                },
                Ask::CellStat { sandbox: foreign },
            ];
            // It cannot see when the lease is opened, which is the point. So it tries until it is stopped, and
            // the test looks at what came after that.
            let mut seq = 0;
            loop {
                let mut outcomes = Vec::new();
                for body in &steal {
                    seq += 1;
                    let body = body.clone();
                    outcomes.push(ask::<_, Answer, Event>(&mut privd, seq, body, Vec::new()));
                }
                if outcomes.iter().any(|outcome| outcome == "closed") {
                    return;
                }
                report("plugin thief", &outcomes.join(" "));
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        "restless" => restless(&mut privd, &foreign, limits),
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

/// Makes its sandbox, and then freezes, thaws, stops and starts it as fast as it can, without reading what becomes
/// of it: what is answered to the first of them and to the last.
fn restless(privd: &mut Channel, sandbox: &SandboxId, limits: Limits) -> String {
    await_lease(privd, sandbox);
    let ask_of = |number: u8, sandbox: &SandboxId, op: OpId| {
        let sandbox = sandbox.clone();
        match number {
            0 => Ask::CellFreeze { op, sandbox },
            1 => Ask::CellThaw { op, sandbox },
            2 => Ask::CellStop { op, sandbox },
            _ => Ask::CellCreate {
                op,
                sandbox,
                limits,
            },
        }
    };
    let mut seq = 1000;
    let mut next = |privd: &mut Channel, body: Ask| {
        seq += 1;
        let said = ask::<_, Answer, Event>(privd, seq, body, Vec::new());
        said.split(' ').next().unwrap_or_default().to_owned()
    };
    let first = [
        Ask::StorageClone {
            op: OpId([1; 16]),
            sandbox: sandbox.clone(),
            template: TemplateName::new("base").expect("a name"),
        },
        ask_of(3, sandbox, OpId([2; 16])),
        ask_of(1, sandbox, OpId([3; 16])),
    ];
    let mut said: Vec<String> = first.map(|body| next(privd, body)).to_vec();
    for round in 0..400_u16 {
        let [low, high] = round.to_le_bytes();
        let op = OpId([low, high, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        // Twice two and one: each follows each of the others.
        let number = [0, 1, 0, 2, 3, 0, 0, 1, 1, 2, 2, 3, 1][usize::from(round) % 13];
        let body = ask_of(number, sandbox, op);
        let request = warder_wire::Request {
            seq: u64::from(round),
            body,
        };
        if privd.send_timeout(&request, Vec::new(), PATIENCE).is_err() {
            return "closed".to_owned();
        }
    }
    // Whatever it is in the middle of then, it comes to rest, can be woken, and is whole.
    let end = Instant::now() + PATIENCE;
    for number in 10.. {
        let thawed = next(privd, ask_of(1, sandbox, OpId([number; 16])));
        let started = next(privd, ask_of(3, sandbox, OpId([number; 16])));
        let stat = Ask::CellStat {
            sandbox: sandbox.clone(),
        };
        if next(privd, stat).starts_with("Usage") {
            said.push("runs".to_owned());
            break;
        }
        if Instant::now() > end || number == 250 {
            said.extend([thawed, started]);
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    said.join(" ")
}

/// Waits until the hostile gateway has opened the lease of `sandbox` for this backend.
fn await_lease(privd: &mut Channel, sandbox: &SandboxId) {
    let end = Instant::now() + PATIENCE;
    let mut seq = 1;
    while Instant::now() < end && seq < 900 {
        let stat = Ask::CellStat {
            sandbox: sandbox.clone(),
        };
        if ask::<_, Answer, Event>(privd, seq, stat, Vec::new()) != "NotFound" {
            return;
        }
        seq += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
}
