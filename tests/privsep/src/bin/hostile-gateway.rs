//! Trust: zone 1 taken over by an attacker.
//! Input: privd's first frame; the attack's name is the first label of the domain.
//! May: what gatewayd may, and tries the rest.
//! Unsafe: forbidden.
//!
//! A gateway that belongs to somebody else.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};

use warder_ipc::Channel;
use warder_privsep::{
    PATIENCE, ask, dotdot, frame, idle, is_dir, outcome_of_violation, ready, report, send_raw,
};
use warder_wire::gateway_priv::{Answer, Ask, Event};
use warder_wire::{
    BackendName, Limits, Message, OpId, SandboxId, TemplateName, gateway_net, gateway_plugin, start,
};

fn main() {
    let Ok((mut privd, start, fds)) = warder_ipc::take_start() else {
        return;
    };
    let start::Role::Gateway {
        domain, backend, ..
    } = start.role
    else {
        return;
    };
    let attack = domain.split('.').next().unwrap_or_default().to_owned();
    if attack != "before-ready" {
        ready(&mut privd);
    }
    let outcome = carry_out(&attack, &mut privd, &backend, &fds);
    report(&attack, &outcome);
    idle(&mut privd);
}

fn carry_out(attack: &str, privd: &mut Channel, backend: &BackendName, fds: &[OwnedFd]) -> String {
    match attack {
        "before-ready" => {
            let early = warder_wire::Request {
                seq: 1,
                body: Ask::LeaseList { after: None },
            };
            let _ = privd.send(&early, Vec::new());
            outcome_of_violation(privd).to_owned()
        }
        "twice-ready" => {
            ready(privd);
            outcome_of_violation(privd).to_owned()
        }
        "unknown-verb" => raw(privd, &frame(&[1, 120]), 0),
        "oversize" => raw(privd, &vec![0x7f; 40 * 1024], 0),
        "cut" => raw(privd, &[200, 0, 0, 0, 1, 3], 0),
        "padded" => raw(privd, &frame(&[1, 3, 0, 0, 0]), 0),
        "empty" => raw(privd, &[0, 0, 0, 0], 0),
        "surplus-descriptors" => raw(privd, &frame(&[1, 3, 0]), 8),
        "too-many-descriptors" => raw(privd, &frame(&[1, 3, 0]), 200),
        "flood" => flood(privd),
        "wrong-descriptor" => {
            let import = Ask::TemplateImport {
                template: TemplateName::new("stolen").expect("a name"),
            };
            let dir = std::fs::File::open("/").expect("root opens");
            ask::<_, Answer, Event>(privd, 1, import, vec![dir.into()])
        }
        "no-descriptor" => {
            let import = Ask::TemplateImport {
                template: TemplateName::new("stolen").expect("a name"),
            };
            ask::<_, Answer, Event>(privd, 1, import, Vec::new())
        }
        "foreign-link" => {
            ask::<_, Answer, Event>(privd, 1, Ask::LinkOpen { sandbox: sandbox() }, Vec::new())
        }
        "foreign-lease" => ask::<_, Answer, Event>(
            privd,
            1,
            Ask::LeaseSet {
                sandbox: sandbox(),
                ttl_ms: 1,
            },
            Vec::new(),
        ),
        "greedy-lease" => {
            let limits = Limits {
                memory_mib: u32::MAX,
                ..modest()
            };
            ask::<_, Answer, Event>(privd, 1, lease(backend, limits, 1000), Vec::new())
        }
        "immortal-lease" => {
            ask::<_, Answer, Event>(privd, 1, lease(backend, modest(), u64::MAX), Vec::new())
        }
        "immortal-extension" => {
            let opened =
                ask::<_, Answer, Event>(privd, 1, lease(backend, modest(), 60_000), Vec::new());
            let extended = ask::<_, Answer, Event>(
                privd,
                2,
                Ask::LeaseSet {
                    sandbox: sandbox(),
                    ttl_ms: u64::MAX / 2,
                },
                Vec::new(),
            );
            format!("{opened} then {extended}")
        }
        "lease-twice" => {
            let first =
                ask::<_, Answer, Event>(privd, 1, lease(backend, modest(), 60_000), Vec::new());
            let second =
                ask::<_, Answer, Event>(privd, 2, lease(backend, modest(), 60_000), Vec::new());
            format!("{first} then {second}")
        }
        "unknown-backend" => {
            let other = BackendName::new("nobody").expect("a name");
            ask::<_, Answer, Event>(privd, 1, lease(&other, modest(), 60_000), Vec::new())
        }
        "lend-lease" => {
            // For the hostile plugin host: a live lease that names another backend.
            let namespace = BackendName::new("namespace").expect("a name");
            ask::<_, Answer, Event>(privd, 1, lease(&namespace, modest(), 60_000), Vec::new())
        }
        "dotdot" => {
            let seen: Vec<&str> = fds
                .iter()
                .filter(|fd| is_dir(fd))
                .map(|fd| dotdot(fd.as_fd()))
                .collect();
            seen.join(" ")
        }
        "net-unknown-verb" => with_net(privd, |net| raw(net, &frame(&[1, 99]), 0)),
        "net-foreign" => with_net(privd, |net| {
            let open = gateway_net::Policy { internet: true };
            let set = gateway_net::Ask::PolicySet {
                sandbox: sandbox(),
                generation: 1,
                policy: open,
            };
            ask::<_, gateway_net::Answer, gateway_net::Event>(net, 1, set, Vec::new())
        }),
        "plugin-unknown-verb" => with_plugin(privd, |plugin| raw(plugin, &frame(&[1, 99]), 0)),
        "plugin-without-lease" => with_plugin(privd, |plugin| {
            let create = gateway_plugin::Ask::Create {
                op: OpId([7; 16]),
                deadline_ms: 5000,
                sandbox: sandbox(),
                template: base(),
                limits: modest(),
            };
            ask::<_, gateway_plugin::Answer, gateway_plugin::Event>(plugin, 1, create, Vec::new())
        }),
        _ => "no such attack".to_owned(),
    }
}

fn raw(to: &mut Channel, bytes: &[u8], descriptors: usize) -> String {
    let file = std::fs::File::open("/").expect("root opens");
    let fds = vec![file.as_fd(); descriptors];
    send_raw(to.as_fd(), bytes, &fds);
    outcome_of_violation(to).to_owned()
}

/// Asks without ever reading an answer, until the other side has had enough.
fn flood(privd: &mut Channel) -> String {
    for seq in 1..2_000_000_u64 {
        let ask = warder_wire::Request {
            seq,
            body: Ask::LeaseList { after: None },
        };
        if privd.send(&ask, Vec::new()).is_err() {
            return "closed".to_owned();
        }
        if privd.wants_write() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    "still open".to_owned()
}

fn with_net(privd: &mut Channel, act: impl FnOnce(&mut Channel) -> String) -> String {
    with_channel(privd, |event| matches!(event, Event::NetChannel), act)
}

fn with_plugin(privd: &mut Channel, act: impl FnOnce(&mut Channel) -> String) -> String {
    with_channel(
        privd,
        |event| matches!(event, Event::PluginChannel { .. }),
        act,
    )
}

fn with_channel(
    privd: &mut Channel,
    wanted: impl Fn(&Event) -> bool,
    act: impl FnOnce(&mut Channel) -> String,
) -> String {
    loop {
        match privd.recv_timeout::<Message<Answer, Event>>(PATIENCE) {
            Ok((Message::Event(event), mut fds)) if wanted(&event) => {
                let channel = fds.pop().and_then(|fd| Channel::from_fd(fd).ok());
                return channel
                    .map_or_else(|| "no channel".to_owned(), |mut channel| act(&mut channel));
            }
            Ok(_) => {}
            Err(error) => return format!("no channel: {error}"),
        }
    }
}

fn lease(backend: &BackendName, limits: Limits, ttl_ms: u64) -> Ask {
    Ask::LeaseOpen {
        sandbox: sandbox(),
        backend: backend.clone(),
        template: base(),
        limits,
        ttl_ms,
    }
}

fn modest() -> Limits {
    Limits {
        memory_mib: 256,
        cpu_percent: 100,
        pids: 64,
        disk_mib: 512,
    }
}

fn sandbox() -> SandboxId {
    SandboxId::from_random(&[9; 20])
}

fn base() -> TemplateName {
    TemplateName::new("base").expect("a name")
}
