//! The real pluginhost with our backends in it: what it asks of privd, and what it answers.
#![cfg(target_os = "linux")]

mod common;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Host, IDS, create, destroy, directory, example, id, in_force, limits, namespace};
use warder_ipc::Channel;
use warder_wire::gateway_plugin::{Answer, Ask, Usage};
use warder_wire::{Fault, FaultCode, Limits, OpId, Request, plugin_priv};

fn start() -> (tempfile::TempDir, Host) {
    let scene = directory("namespace", &namespace(), "");
    let host = Host::start(scene.path(), "namespace").ready();
    (scene, host)
}

#[test]
fn a_life_of_a_sandbox() {
    let (_scene, mut host) = start();
    let Ok(Answer::Described(said)) = host.call(Ask::Describe) else {
        panic!("a description");
    };
    assert!(said.title.starts_with("Linux namespaces"), "{}", said.title);

    let made = host.create(1, 1);
    assert_eq!(made, Ok(Answer::Created { limits: in_force() }));

    let usage = Usage {
        cpu_us: Some(5),
        memory: None,
        memory_cache: None,
        disk: None,
        pids: Some(2),
    };
    let asked = host.ask(Ask::Stats { sandbox: id(1) });
    let (seq, stat) = host.asked();
    assert_eq!(stat, plugin_priv::Ask::CellStat { sandbox: id(1) });
    host.reply(seq, Ok(plugin_priv::Answer::Usage(usage)));
    assert_eq!(host.answer(), (asked, Ok(Answer::Usage(usage))));

    let asked = host.ask(destroy(2, 1));
    let (seq, remove) = host.asked();
    assert!(matches!(remove, plugin_priv::Ask::CellRemove { sandbox, .. } if sandbox == id(1)));
    host.reply(seq, Ok(plugin_priv::Answer::Done));
    let (seq, discard) = host.asked();
    assert!(
        matches!(discard, plugin_priv::Ask::StorageDestroy { sandbox, .. } if sandbox == id(1))
    );
    host.reply(seq, Err(Fault::new(FaultCode::NotFound, "gone already")));
    assert_eq!(host.answer(), (asked, Ok(Answer::Done)));
}

#[test]
fn an_operation_is_done_once() {
    let (_scene, mut host) = start();
    let first = host.create(1, 1);
    // From memory: privd is not asked.
    assert_eq!(host.call(create(1, 1, 10_000)), first);
    assert!(host.refuse().is_empty());
    // The number of one operation is not good for another.
    let other = host
        .call(create(1, 2, 10_000))
        .expect_err("another sandbox");
    assert_eq!(other.code, FaultCode::Refused);
    let other = host.call(destroy(1, 1)).expect_err("another request");
    assert_eq!(other.code, FaultCode::Refused);

    // Asked again while it is under way, both hear of its one end.
    let asked = [
        host.ask(create(3, 3, 10_000)),
        host.ask(create(3, 3, 10_000)),
    ];
    let (seq, _) = host.asked();
    host.reply(seq, Err(Fault::new(FaultCode::NoSpace, "full")));
    let answers = [host.answer(), host.answer()];
    assert_eq!(answers.each_ref().map(|(seq, _)| *seq), asked);
    for (_, result) in answers {
        assert_eq!(result.expect_err("full").code, FaultCode::NoSpace);
    }
    assert!(host.refuse().is_empty());
}

#[test]
fn a_failed_create_is_undone_and_says_why() {
    let (_scene, mut host) = start();
    let asked = host.ask(create(1, 1, 10_000));
    let (seq, _) = host.asked();
    host.reply(seq, Ok(plugin_priv::Answer::Done));
    let (seq, _) = host.asked();
    host.reply(seq, Err(Fault::new(FaultCode::Exhausted, "no slot")));
    let (seq, undo) = host.asked();
    assert!(
        matches!(undo, plugin_priv::Ask::StorageDestroy { .. }),
        "{undo:?}"
    );
    host.reply(seq, Ok(plugin_priv::Answer::Done));
    let (seq, result) = host.answer();
    let fault = result.expect_err("no slot");
    assert_eq!(
        (seq, fault.code, fault.detail.as_str()),
        (asked, FaultCode::Exhausted, "no slot")
    );
}

#[test]
fn a_destroy_waits_for_the_create_before_it() {
    let (_scene, mut host) = start();
    let made = host.ask(create(1, 1, 10_000));
    let (seq, _) = host.asked();
    let ended = host.ask(destroy(2, 1));
    // Others go on meanwhile.
    assert!(matches!(host.call(Ask::Describe), Ok(Answer::Described(_))));
    assert!(host.refuse().is_empty(), "the destroy has not begun");
    host.reply(seq, Ok(plugin_priv::Answer::Done));
    let (seq, cell) = host.asked();
    assert!(matches!(cell, plugin_priv::Ask::CellCreate { .. }));
    host.reply(seq, Ok(plugin_priv::Answer::Cell { limits: in_force() }));
    assert_eq!(host.answer().0, made);
    for _ in 0..2 {
        let (seq, _) = host.asked();
        host.reply(seq, Ok(plugin_priv::Answer::Done));
    }
    assert_eq!(host.answer(), (ended, Ok(Answer::Done)));
}

#[test]
fn a_deadline_is_kept_when_privd_is_silent() {
    let (_scene, mut host) = start();
    let begin = Instant::now();
    let asked = host.ask(create(1, 1, 300));
    let (_, clone) = host.asked();
    assert!(matches!(clone, plugin_priv::Ask::StorageClone { .. }));
    let (seq, result) = host.answer();
    assert_eq!(
        (seq, result.expect_err("late").code),
        (asked, FaultCode::TimedOut)
    );
    assert!(begin.elapsed() >= Duration::from_millis(300));
    // It undoes what it may have done, and lives.
    let (seq, undo) = host.asked();
    assert!(
        matches!(undo, plugin_priv::Ask::StorageDestroy { .. }),
        "{undo:?}"
    );
    host.reply(seq, Ok(plugin_priv::Answer::Done));
    assert!(matches!(host.call(Ask::Describe), Ok(Answer::Described(_))));
}

#[test]
fn limits_out_of_bounds_go_nowhere() {
    let (_scene, mut host) = start();
    let Ask::Create {
        op,
        deadline_ms,
        sandbox,
        template,
        ..
    } = create(1, 1, 1000)
    else {
        panic!("a create");
    };
    let limits = Limits {
        pids: u32::MAX,
        ..limits()
    };
    let result = host.call(Ask::Create {
        op,
        deadline_ms,
        sandbox,
        template,
        limits,
    });
    assert_eq!(result.expect_err("refused").code, FaultCode::Refused);
    assert!(host.refuse().is_empty());
}

#[test]
fn a_new_gateway_takes_over() {
    let (_scene, mut host) = start();
    // One call of the old one is under way.
    host.ask(create(1, 1, 10_000));
    let (clone, _) = host.asked();
    let (ours, theirs) = Channel::pair().expect("socketpair");
    host.gateway = ours;
    host.logs("the gateway is gone");
    host.event(plugin_priv::Event::GatewayChannel, vec![theirs.into_fd()]);
    assert!(matches!(host.call(Ask::Describe), Ok(Answer::Described(_))));
    // Its create ends, nobody of the new gateway hears of it unasked, and it can be asked for.
    host.reply(clone, Ok(plugin_priv::Answer::Done));
    let (seq, _) = host.asked();
    host.reply(seq, Ok(plugin_priv::Answer::Cell { limits: in_force() }));
    let again = host.call(create(1, 1, 10_000));
    assert_eq!(again, Ok(Answer::Created { limits: in_force() }));
}

#[test]
fn a_gateway_that_breaks_the_protocol_is_dropped_and_nothing_else() {
    for attack in 0..3 {
        let (_scene, mut host) = start();
        let (spare, _other) = Channel::pair().expect("socketpair");
        match attack {
            0 => host
                .gateway
                .send(&vec![0xff_u8; 64], Vec::new())
                .expect("sends"),
            1 => {
                let body = Request {
                    seq: 1,
                    body: Ask::Describe,
                };
                host.gateway
                    .send(&body, vec![spare.into_fd()])
                    .expect("sends");
            }
            _ => {
                let (seq, sandbox) = (1_u64, "../../../../etc/passw");
                // As Stats, with a name that is none.
                host.gateway
                    .send(&(seq, 3_u8, sandbox), Vec::new())
                    .expect("sends");
            }
        }
        assert!(host.hung_up(), "attack {attack}");
        host.logs("audit: the gateway");
        let (ours, theirs) = Channel::pair().expect("socketpair");
        host.gateway = ours;
        host.event(plugin_priv::Event::GatewayChannel, vec![theirs.into_fd()]);
        assert!(matches!(host.call(Ask::Describe), Ok(Answer::Described(_))));
    }
}

#[test]
fn a_flood_of_requests_is_refused_and_not_queued_for_ever() {
    let (_scene, mut host) = start();
    for op in 0..200_u8 {
        for kind in 0..4_u8 {
            let mut bytes = [op; 16];
            bytes[0] = kind;
            let Ask::Create {
                deadline_ms,
                sandbox,
                template,
                limits,
                ..
            } = create(op, op, 2_000)
            else {
                panic!("a create");
            };
            host.ask(Ask::Create {
                op: OpId(bytes),
                deadline_ms,
                sandbox,
                template,
                limits,
            });
        }
    }
    let mut codes = Vec::new();
    for _ in 0..800 {
        codes.push(host.answer().1.expect_err("privd is silent").code);
    }
    assert!(codes.contains(&FaultCode::Exhausted));
    assert!(codes.contains(&FaultCode::TimedOut));
    host.refuse();
    assert!(matches!(host.call(Ask::Describe), Ok(Answer::Described(_))));
}

#[test]
fn it_ends_with_privd() {
    let (_scene, mut host) = start();
    let (dead, _) = Channel::pair().expect("socketpair");
    host.privd = dead;
    assert!(host.ended().success());
}

#[test]
fn it_runs_as_nobody_with_nothing() {
    let (_scene, host) = start();
    let proc = Path::new("/proc").join(host.child.id().to_string());
    let mut tasks = 0;
    for task in std::fs::read_dir(proc.join("task")).expect("tasks") {
        let status = task.expect("a task").path().join("status");
        let status = std::fs::read_to_string(status).expect("status");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name}"))
                .trim()
                .to_owned()
        };
        assert_eq!(field("Uid:"), [IDS.0.to_string().as_str(); 4].join("\t"));
        assert_eq!(field("Gid:"), [IDS.1.to_string().as_str(); 4].join("\t"));
        assert_eq!(field("Groups:"), "");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        assert_eq!(
            (field("NoNewPrivs:"), field("Seccomp:")),
            ("1".into(), "2".into())
        );
        tasks += 1;
    }
    assert!(tasks > 1, "workers are filtered too");
    // Null twice, the log, privd, the gateway, and both ends of the bell.
    let mut fds: Vec<String> = std::fs::read_dir(proc.join("fd"))
        .expect("descriptors")
        .map(|fd| {
            std::fs::read_link(fd.expect("one").path())
                .expect("a link")
                .display()
                .to_string()
        })
        .map(|link| link.split(':').next().unwrap_or_default().to_owned())
        .collect();
    fds.sort();
    assert_eq!(
        fds,
        [
            "/dev/null",
            "/dev/null",
            "pipe",
            "pipe",
            "pipe",
            "socket",
            "socket"
        ]
    );
    let mounts = std::fs::read_to_string(proc.join("mountinfo")).expect("mounts");
    for mount in mounts.lines() {
        let options = mount.split(' ').nth(5).expect("options");
        assert!(options.split(',').any(|option| option == "ro"), "{mount}");
    }
}

#[test]
fn the_example_is_loaded_like_ours() {
    let scene = directory("example", &example(), "");
    let mut host = Host::start(scene.path(), "example").ready();
    host.logs("plugin: the example backend says hello");
    let asked = host.ask(create(1, 1, 10_000));
    let (seq, _) = host.asked();
    host.reply(seq, Ok(plugin_priv::Answer::Done));
    let (seq, cell) = host.asked();
    let plugin_priv::Ask::CellCreate { limits, .. } = cell else {
        panic!("{cell:?}");
    };
    assert_eq!((limits.memory_mib, limits.pids), (256, 128), "thrifty");
    host.reply(seq, Ok(plugin_priv::Answer::Cell { limits: in_force() }));
    assert_eq!(
        host.answer(),
        (asked, Ok(Answer::Created { limits: in_force() }))
    );
    let fds: Vec<OwnedFd> = Vec::new();
    let reason = warder_wire::gateway_plugin::EndReason::GuestEnded;
    host.event(
        plugin_priv::Event::Ended {
            sandbox: id(1),
            reason,
        },
        fds,
    );
    assert!(matches!(host.call(Ask::Describe), Ok(Answer::Described(_))));
}
