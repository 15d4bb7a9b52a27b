//! The process: what it may do, and when it ends.

use std::fs;

use warder_ipc::Channel;
use warder_wire::egress_gateway::Why;
use warder_wire::{Policy, priv_egress};

use crate::fake::{Gateway, PATIENCE};
use crate::message::A;
use crate::world::{ELSEWHERE, IDS, RESOLVER, alone, ask_by, named};

#[test]
fn it_is_confined() {
    alone("process::it_is_confined", |world| {
        world.put(2, Policy::OPEN);
        ask_by(&mut world.tcp(2, ELSEWHERE, 53), "a.example", A).expect("answers");
        let words = &world.ready.confinement;
        assert!(
            words.starts_with(&format!("uid {}, no capabilities", IDS.0)),
            "{words}"
        );
        assert!(
            words.contains("empty root") && words.contains("seccomp"),
            "{words}"
        );
        let of = |file: &str| format!("/proc/{}/{file}", world.egressd.id());
        let status = fs::read_to_string(of("status")).expect("lives");
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.expect(name).trim().to_owned()
        };
        assert_eq!(value("Uid:"), vec![IDS.0.to_string(); 4].join("\t"));
        assert_eq!(value("Gid:"), vec![IDS.1.to_string(); 4].join("\t"));
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(value(set), "0000000000000000", "{set}");
        }
        assert_eq!(
            (value("NoNewPrivs:"), value("Seccomp:")),
            ("1".to_owned(), "2".to_owned())
        );
        assert_eq!(value("Threads:"), "1");
        assert_eq!(fs::read_dir(of("root")).expect("a root").count(), 0);
        for space in ["net", "mnt", "ipc", "uts"] {
            let own = fs::read_link(format!("/proc/self/ns/{space}")).expect("ours");
            assert_ne!(
                fs::read_link(of(&format!("ns/{space}"))).expect("its own"),
                own
            );
        }
        // Standard input, output and error, sockets, and what the runtime waits with.
        for fd in fs::read_dir(of("fd")).expect("lives") {
            let fd = fd.expect("an entry");
            let number = fd
                .file_name()
                .to_string_lossy()
                .parse::<u32>()
                .expect("a number");
            // The connection may end meanwhile.
            let Ok(kind) = fs::read_link(fd.path()) else {
                continue;
            };
            let kind = kind.to_string_lossy().into_owned();
            let known = ["socket:", "anon_inode:[eventpoll]", "anon_inode:[eventfd]"];
            assert!(
                number < 3 || known.iter().any(|k| kind.starts_with(k)),
                "{number}: {kind}"
            );
        }
    });
}

fn ends(world: &crate::world::World) {
    let stat = format!("/proc/{}/stat", world.egressd.id());
    // Dead and not waited for.
    while !fs::read_to_string(&stat)
        .expect("ours to wait for")
        .contains(") Z ")
    {
        std::thread::yield_now();
    }
}

#[test]
fn another_gateway_is_told_what_comes_next() {
    alone(
        "process::another_gateway_is_told_what_comes_next",
        |world| {
            world.put(2, named(&["*.example"]));
            let mut stream = world.tcp(2, RESOLVER, 53);
            assert_eq!(
                ask_by(&mut stream, "one.test", A).expect("answers").code(),
                3
            );
            world.gateway.refused(|r| r.why == Why::Name);
            let mut privd = world.privd.take().expect("lives");
            let (first, firsts) = Channel::pair().expect("socketpair");
            let (last, lasts) = Channel::pair().expect("socketpair");
            // The first of them dies before it hears anything.
            drop(first);
            for end in [firsts, lasts] {
                let event = priv_egress::Event::GatewayChannel;
                privd
                    .send_timeout(&event, vec![end.into_fd()], PATIENCE)
                    .expect("reads");
                assert_eq!(
                    ask_by(&mut stream, "two.test", A).expect("goes on").code(),
                    3
                );
            }
            let told = Gateway::start(last);
            // What was on its way to one that died is counted, so it is asked until one hears of it.
            while !format!("{:?}", told.told()).contains("two.test") {
                assert_eq!(
                    ask_by(&mut stream, "two.test", A).expect("goes on").code(),
                    3
                );
            }
        },
    );
}

#[test]
fn it_ends_with_privd() {
    alone("process::it_ends_with_privd", |world| {
        drop(world.privd.take());
        ends(world);
    });
}

#[test]
fn it_ends_with_netd() {
    alone("process::it_ends_with_netd", |world| {
        drop(world.netd.take());
        ends(world);
    });
}
