//! Trust: zone 1 taken over by an attacker.
//! Input: privd's first frame; the attack's name is the first label of the domain.
//! May: what gatewayd may, and tries the rest.
//! Unsafe: forbidden.
//!
//! A gateway that belongs to somebody else.
#![forbid(unsafe_code)]

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use warder_confine::{Profile, enter_early};
use warder_ipc::Channel;
use warder_privsep::{
    PATIENCE, ask, canary, dotdot, frame, hiding, idle, is_dir, malformed, outcome_of_violation,
    ready, report, send_malformed, send_raw, storm,
};
use warder_wire::gateway_priv::{Answer, Ask, AtDeadline, Event};
use warder_wire::{
    BackendName, Limits, Message, OpId, SandboxId, TemplateName, gateway_net, gateway_plugin, start,
};

fn main() {
    let Ok((mut privd, start, fds)) = warder_ipc::take_start() else {
        return;
    };
    let start::Role::Gateway {
        ids,
        domain,
        backend,
        ..
    } = start.role
    else {
        return;
    };
    let attack = domain.split('.').next().unwrap_or_default().to_owned();
    if attack == "captured" {
        let outcome = captured(&privd, ids, &fds).unwrap_or_else(|e| format!("not confined: {e}"));
        ready(&mut privd);
        report(&attack, &outcome);
        return idle(&mut privd);
    }
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
        name if malformed(name).is_some() => broken(privd, name),
        "surplus-descriptors" => raw(privd, &frame(&[1, 3, 0]), 8),
        "too-many-descriptors" => raw(privd, &frame(&[1, 3, 0]), 200),
        "descriptor-storm" => {
            storm(privd.as_fd(), &frame(&[1, 3, 0]));
            outcome_of_violation(privd).to_owned()
        }
        name if name.starts_with("hidden-") => hidden(privd, backend, &name["hidden-".len()..]),
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
                at_deadline: None,
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
                    at_deadline: None,
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
        "too-early" => {
            // A lease and no cell: nothing to connect to, nothing to measure.
            let mut seen = vec![ask::<_, Answer, Event>(
                privd,
                1,
                lease(backend, modest(), 60_000),
                Vec::new(),
            )];
            let early = [
                Ask::LinkOpen { sandbox: sandbox() },
                Ask::Usage { sandbox: sandbox() },
            ];
            for (seq, body) in (2..).zip(early) {
                seen.push(ask::<_, Answer, Event>(privd, seq, body, Vec::new()));
            }
            seen.join(" ")
        }
        "archive" => {
            let import = Ask::TemplateImport {
                template: TemplateName::new("stolen").expect("a name"),
            };
            let (reader, mut writer) = std::io::pipe().expect("a pipe");
            // Small enough for the pipe, so nobody has to read meanwhile.
            writer
                .write_all(&archive(&canary(attack)))
                .expect("room for it");
            drop(writer);
            ask::<_, Answer, Event>(privd, 1, import, vec![reader.into()])
        }
        "links" => links(fds),
        "unknown-backend" => {
            let other = BackendName::new("nobody").expect("a name");
            ask::<_, Answer, Event>(privd, 1, lease(&other, modest(), 60_000), Vec::new())
        }
        // For a hostile plugin host: a live lease, its own or, when it is the second, that of another backend.
        "lend" => ask::<_, Answer, Event>(privd, 1, lease(backend, modest(), 60_000), Vec::new()),
        "dotdot" => {
            let seen: Vec<&str> = fds
                .iter()
                .filter(|fd| is_dir(fd))
                .map(|fd| dotdot(fd.as_fd()))
                .collect();
            seen.join(" ")
        }
        "net-storm" => with_net(privd, |net| {
            storm(net.as_fd(), &frame(&[1, 3, 0]));
            outcome_of_violation(net).to_owned()
        }),
        "plugin-storm" => with_plugin(privd, |plugin| {
            storm(plugin.as_fd(), &frame(&[1, 0]));
            outcome_of_violation(plugin).to_owned()
        }),
        name if name.starts_with("net-") && malformed(&name[4..]).is_some() => {
            with_net(privd, |net| broken(net, &name[4..]))
        }
        name if name.starts_with("plugin-") && malformed(&name[7..]).is_some() => {
            with_plugin(privd, |plugin| broken(plugin, &name[7..]))
        }
        "net-foreign" => with_net(privd, |net| {
            let open = warder_wire::Policy::OPEN;
            let set = gateway_net::Ask::PolicySet {
                sandbox: sandbox(),
                generation: 1,
                policy: open,
            };
            ask::<_, gateway_net::Answer, gateway_net::Event>(net, 1, set, Vec::new())
        }),
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

/// What is left to a gateway that confined itself as the real one does, and was taken over then.
fn captured(
    privd: &Channel,
    ids: (u32, u32),
    fds: &[OwnedFd],
) -> Result<String, Box<dyn std::error::Error>> {
    use rustix::fs::{Mode, OFlags, openat};
    let state = fds.last().ok_or("no state directory")?.as_fd();
    let mut keep: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    keep.push(privd.as_fd());
    let early = enter_early(&Profile::gateway().state_dir(state), ids, &keep)?;
    let mut seen = Vec::new();
    let mut tried = |what: &str, done: bool| {
        seen.push(format!("{what}:{}", if done { "done" } else { "refused" }));
    };
    // Before the last filter files beneath the state directory can still be opened; its own names for
    // others must lead nowhere.
    for (name, target) in [
        ("absolute", "/etc/passwd"),
        ("above", "../../../../../../../../etc/passwd"),
        ("proc", "/proc/self/root/etc/passwd"),
        ("self", "/proc/self/fd/3"),
    ] {
        let link = format!("link-{name}");
        let _ = rustix::fs::symlinkat(target, state, link.as_str());
        let opened = openat(state, link.as_str(), OFlags::RDONLY, Mode::empty());
        tried(&link, opened.is_ok());
    }
    tried("dotdot", dotdot(state) != "stays");
    early.lock()?;
    let path = |path: &str| std::fs::File::open(path).is_ok();
    tried("passwd", path("/etc/passwd"));
    tried("proc", path("/proc/1/environ"));
    tried(
        "state",
        openat(state, ".", OFlags::RDONLY, Mode::empty()).is_ok(),
    );
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 22));
    tried("connect", TcpStream::connect(address).is_ok());
    tried("udp", std::net::UdpSocket::bind("0.0.0.0:0").is_ok());
    tried("listen", std::net::TcpListener::bind("127.0.0.1:0").is_ok());
    let signal = rustix::process::Signal::CONT;
    tried(
        "signal",
        rustix::process::kill_process(rustix::process::Pid::INIT, signal).is_ok(),
    );
    Ok(seen.join(" "))
}

/// Names in the state directory that lead elsewhere, for whoever works in it as root. Ends this process the
/// first time, since privd looks at the directory when it starts the next one.
fn links(fds: &[OwnedFd]) -> String {
    let Some(state) = fds.last() else {
        return "no state directory".to_owned();
    };
    if rustix::fs::statat(state, "link-0", rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return "started again".to_owned();
    }
    let target = canary("links");
    for (number, name) in [target.clone(), format!("{target}/file")]
        .iter()
        .enumerate()
    {
        let link = format!("link-{number}");
        if rustix::fs::symlinkat(name.as_str(), state, link.as_str()).is_err() {
            return "no link could be made".to_owned();
        }
    }
    std::process::exit(0)
}

/// A tar stream whose entries would land in `outside`.
fn archive(outside: &str) -> Vec<u8> {
    let up = format!("../../../../../../../../..{outside}");
    let mut stream = Vec::new();
    for (name, kind, link) in [
        (format!("{up}/above"), b'0', String::new()),
        (format!("{outside}/absolute"), b'0', String::new()),
        ("link".to_owned(), b'2', outside.to_owned()),
        ("link/through".to_owned(), b'0', String::new()),
        ("far".to_owned(), b'2', up),
        ("far/through-far".to_owned(), b'0', String::new()),
        ("hard".to_owned(), b'1', format!("{outside}/file")),
    ] {
        let mut head = [0_u8; 512];
        let mut put = |at: usize, text: &[u8]| head[at..at + text.len()].copy_from_slice(text);
        put(0, name.as_bytes());
        put(100, b"0000777\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, b"00000000000\0");
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        stream.extend_from_slice(&head);
    }
    stream.resize(stream.len() + 1024, 0);
    stream
}

/// Opens a short lease, then passes sockets whose close waits, hidden in others' queues: some with what is no
/// message, the others left unread by that. Their peer listens on `port` and reads nothing.
fn hidden(privd: &mut Channel, backend: &BackendName, port: &str) -> String {
    let port = port.parse().unwrap_or_default();
    let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the test listens");
    let hiding: Vec<OwnedFd> = (0..12).map(|_| hiding(connect())).collect();
    let lease = ask::<_, Answer, Event>(privd, 1, lease(backend, modest(), 1500), Vec::new());
    // privd looks at them when these copies are gone, so that its own are the last.
    let parent = rustix::process::getppid().expect("privd's child");
    let _ = rustix::process::kill_process(parent, rustix::process::Signal::STOP);
    for some in hiding.chunks(4) {
        let fds: Vec<BorrowedFd<'_>> = some.iter().map(AsFd::as_fd).collect();
        send_raw(privd.as_fd(), &frame(&[1, 3, 0]), &fds);
    }
    drop(hiding);
    let _ = rustix::process::kill_process(parent, rustix::process::Signal::CONT);
    format!("{lease} {}", outcome_of_violation(privd))
}

fn broken(to: &mut Channel, attack: &str) -> String {
    send_malformed(to.as_fd(), attack);
    outcome_of_violation(to).to_owned()
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
        at_deadline: AtDeadline::Destroy,
        volumes: Vec::new(),
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
