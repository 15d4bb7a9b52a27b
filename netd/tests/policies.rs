//! Lists of addresses, air gap and bounds, with real packets and without an egressd.
#![cfg(target_os = "linux")]

mod common;

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{
    DENIED, ECHO, ELSEWHERE, Instance, NEIGHBOUR, OPEN, PATIENCE, SERVER, asks, dial, echoes, id,
    inside, lists, names, on_a_host, pings, run, run_inside,
};
use rustix::process::{Pid, Signal, kill_process};
use warder_wire::{Bounds, FaultCode, Message, Policy, gateway_net};

const ALL: &str = "0.0.0.0/0";

type List<'a> = &'a [&'a str];

/// Whether TCP, UDP and ping say the same of an address, and what.
fn reaches(ns: &OwnedFd, to: Ipv4Addr) -> bool {
    let tcp = dial(ns, to, ECHO).is_ok();
    assert_eq!(asks(ns, to, ECHO), tcp, "UDP to {to}");
    assert_eq!(pings(ns, to), tcp, "ping to {to}");
    tcp
}

#[test]
fn the_twelve_steps() {
    on_a_host("the_twelve_steps", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        let (server, elsewhere) = (&*SERVER.to_string(), &*ELSEWHERE.to_string());
        let steps: [(List, List, List, bool, bool); 12] = [
            (&[], &[], &[ALL], false, false),
            (&[], &[server], &[ALL], true, false),
            (&[], &[elsewhere], &[ALL], false, true),
            (&[], &[server, elsewhere], &[ALL], true, true),
            (&[], &["198.51.100.0/24"], &[ALL], true, false),
            // Whether a name is reached is for egressd; the kernel leaves nothing open beside it.
            (&["example.com"], &[], &[ALL], false, false),
            (&["example.com"], &[elsewhere], &[ALL], false, true),
            (&[], &[], &[ALL], false, false),
            (&[], &[], &[], true, true),
            (&[], &[elsewhere], &[ALL], false, true),
            (&[], &[server], &[], true, true),
            (&[], &[], &[], true, true),
        ];
        for (n, (allowed, allow, deny, first, second)) in (1..).zip(steps) {
            let policy = names(allowed, allow, deny);
            netd.set(&id(1), n + 1, policy).expect("in force");
            assert_eq!(reaches(&ns, SERVER), first, "step {n}: {SERVER}");
            assert_eq!(reaches(&ns, ELSEWHERE), second, "step {n}: {ELSEWHERE}");
            assert!(!reaches(&ns, DENIED[0]), "step {n}: always denied");
            assert_eq!(netd.get(&id(1)), Ok((n + 1, false, false)));
        }
    });
}

#[test]
fn an_allowed_network_wins_over_a_denied_one() {
    on_a_host("an_allowed_network_wins_over_a_denied_one", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        let cases: [(List, List, [bool; 3]); 7] = [
            (&[], &["198.51.100.0/24"], [false, false, true]),
            (&["198.51.100.8"], &["198.51.100.0/24"], [false, true, true]),
            (&["198.51.100.0/24"], &["198.51.100.8"], [true, true, true]),
            (&["198.51.100.0/29"], &[ALL], [true, false, false]),
            // Duplicates and overlaps, and an allowed range closed to all.
            (
                &["10.0.0.0/8", "10.9.9.9"],
                &["0.0.0.0/1", "128.0.0.0/1", ALL],
                [false; 3],
            ),
            (&[ALL], &[ALL], [true, true, true]),
            (
                &["192.0.2.1", "192.0.2.1/31"],
                &[ALL, ALL],
                [false, false, true],
            ),
        ];
        for (n, (allow, deny, wanted)) in (2..).zip(cases) {
            netd.set(&id(1), n, lists(allow, deny)).expect("in force");
            let got = [SERVER, NEIGHBOUR, ELSEWHERE].map(|to| reaches(&ns, to));
            assert_eq!(got, wanted, "{allow:?} {deny:?}");
            assert!(DENIED.iter().all(|to| !asks(&ns, *to, ECHO)));
        }
    });
}

/// A datagram socket of the sandbox and one of a server, which have spoken with each other.
struct Talk {
    inner: UdpSocket,
    outer: UdpSocket,
    peer: std::net::SocketAddr,
}

impl Talk {
    fn begin(world: &OwnedFd, ns: &OwnedFd, to: Ipv4Addr) -> Self {
        let outer = inside(world, move || UdpSocket::bind((to, 9)).expect("free"));
        let inner = inside(ns, move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("binds");
            socket.connect((to, 9)).expect("connects");
            socket.send(b"hello").expect("leaves");
            socket
        });
        for socket in [&inner, &outer] {
            let some = Some(Duration::from_millis(300));
            socket.set_read_timeout(some).expect("set");
        }
        let (_, peer) = outer.recv_from(&mut [0; 16]).expect("arrives");
        Self { inner, outer, peer }
    }

    /// Whether a datagram of the server's arrives inside.
    fn hears(&self) -> bool {
        self.outer.send_to(b"news", self.peer).expect("sent");
        // An error of the past comes first.
        let mut buffer = [0; 16];
        (0..2).any(|_| self.inner.recv(&mut buffer).is_ok())
    }
}

#[test]
fn what_is_forbidden_ends_and_the_rest_lives_on() {
    on_a_host("what_is_forbidden_ends_and_the_rest_lives_on", |world| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        let (_, other) = netd.sandbox(2, OPEN);
        let (mut kept, _) = dial(&ns, SERVER, ECHO).expect("open");
        let (mut ended, _) = dial(&ns, ELSEWHERE, ECHO).expect("open");
        let (mut untouched, _) = dial(&other, ELSEWHERE, ECHO).expect("open");
        let talk_kept = Talk::begin(&world.internet, &ns, SERVER);
        let talk_ended = Talk::begin(&world.internet, &ns, ELSEWHERE);
        assert!(talk_kept.hears() && talk_ended.hears());
        let before = instance.flows(1);
        let policy = lists(&["198.51.100.0/24"], &[ALL]);
        netd.set(&id(1), 2, policy.clone()).expect("in force");
        assert_eq!(before - instance.flows(1), 2, "the answer means: gone");
        assert!(!talk_ended.hears(), "nothing comes in any more");
        assert!(talk_kept.hears());
        assert!(!echoes(&mut ended), "a live flow has ended");
        assert!(echoes(&mut kept) && echoes(&mut untouched), "just that one");
        // Asked again it is the same; a list in other words is another policy.
        netd.set(&id(1), 2, policy).expect("the same again");
        let other_words = lists(&["198.51.100.0/25"], &[ALL]);
        let code = |r: Result<(), warder_wire::Fault>| r.expect_err("refused").code;
        assert_eq!(
            code(netd.set(&id(1), 2, other_words.clone())),
            FaultCode::Conflict
        );
        netd.set(&id(1), 3, other_words).expect("in force");
        assert!(
            echoes(&mut kept) && talk_kept.hears(),
            "nothing changed for it"
        );
        netd.set(&id(1), 4, OPEN).expect("in force");
        assert!(
            !echoes(&mut ended) && !talk_ended.hears(),
            "what ended does not come back"
        );
        assert!(reaches(&ns, ELSEWHERE) && echoes(&mut kept));
        // QUIC ends while names are in use, the rest of UDP does not.
        let talk = Talk::begin(&world.internet, &ns, NEIGHBOUR);
        assert!(asks(&ns, NEIGHBOUR, 443));
        netd.set(&id(1), 5, names(&["example.com"], &[], &[]))
            .expect("in force");
        assert!(!asks(&ns, NEIGHBOUR, 443) && talk.hears() && echoes(&mut kept));
    });
}

#[test]
fn an_air_gap_ends_everything_and_can_be_lifted() {
    on_a_host("an_air_gap_ends_everything_and_can_be_lifted", |world| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let list = lists(&["198.51.100.0/24"], &[ALL]);
        let (_, ns) = netd.reconciled().sandbox(1, list.clone());
        let (_, other) = netd.sandbox(2, list.clone());
        let (mut stream, _) = dial(&ns, SERVER, ECHO).expect("open");
        let (mut untouched, _) = dial(&other, SERVER, ECHO).expect("open");
        let talk = Talk::begin(&world.internet, &ns, SERVER);
        // Flows to egressd are flows too: this one's handshake is done by the socket alone.
        let waiting = inside(&ns, || TcpStream::connect((ELSEWHERE, 443)));
        assert!(waiting.is_ok() && instance.flows(1) >= 3);
        let gap = Policy {
            airgap: true,
            ..list.clone()
        };
        netd.set(&id(1), 2, gap).expect("in force");
        assert_eq!(instance.flows(1), 0, "of no kind");
        assert!(!talk.hears() && !echoes(&mut stream) && echoes(&mut untouched));
        assert!(![SERVER, ELSEWHERE].iter().any(|to| reaches(&ns, *to)));
        assert!(!asks(&ns, SERVER, 53), "DNS is silent");
        assert_eq!(netd.get(&id(1)), Ok((2, true, false)));
        netd.set(&id(1), 3, list).expect("in force");
        assert!(reaches(&ns, SERVER) && !reaches(&ns, ELSEWHERE));
        assert!(!echoes(&mut stream));
    });
}

#[test]
fn no_request_loosens_what_the_operator_says() {
    on_a_host("no_request_loosens_what_the_operator_says", |_| {
        let mut instance = Instance::new(1, 8, 2);
        instance.config.never = vec!["192.0.2.0/24".parse().expect("a network")];
        let mut netd = instance.start();
        netd.reconciled();
        let bounds = Bounds {
            airgapped: true,
            ..Bounds::DEFAULT
        };
        let gap = |netd: &mut common::Netd, generation, policy: Policy| {
            let sandbox = id(1);
            netd.ask_gateway(gateway_net::Ask::PolicySet {
                sandbox,
                generation,
                policy,
            })
        };
        netd.lease_within(&id(1), bounds);
        let in_force = |generation, airgap| Ok(gateway_net::Answer::InForce { generation, airgap });
        assert_eq!(
            gap(&mut netd, 1, OPEN),
            in_force(1, true),
            "before the slot"
        );
        let (_, ns) = netd.take(&id(1)).expect("a slot");
        assert!(!reaches(&ns, SERVER));
        assert_eq!(gap(&mut netd, 2, lists(&[ALL], &[])), in_force(2, true));
        assert_eq!(netd.get(&id(1)), Ok((2, true, false)));
        assert!(!reaches(&ns, SERVER));
        // The operator lifts it: the policy that was accepted holds, but for ranges never opened.
        netd.lease(&id(1));
        wait(|| dial(&ns, SERVER, ECHO).is_ok(), "open");
        assert_eq!(netd.get(&id(1)), Ok((2, false, false)));
        assert!(
            reaches(&ns, SERVER) && !reaches(&ns, ELSEWHERE),
            "a range never opened"
        );
        // And takes it back, which ends what lives, and outlives netd.
        let (mut stream, _) = dial(&ns, SERVER, ECHO).expect("open");
        netd.lease_within(&id(1), bounds);
        netd.report();
        wait(|| instance.flows(1) == 0, "no flow left");
        assert!(!echoes(&mut stream) && !reaches(&ns, SERVER));
        netd.kill();
        let mut netd = instance.start();
        assert!(!reaches(&ns, SERVER), "before anybody says so again");
        netd.lease_within(&id(1), bounds);
        netd.adopt(&id(1), &ns).expect("whole");
        netd.reconciled();
        assert!(!reaches(&ns, SERVER));
        assert_eq!(gap(&mut netd, 3, OPEN), in_force(3, true));
    });
}

fn wait(until: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + PATIENCE;
    while !until() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_sandbox_has_so_many_flows_and_no_more() {
    on_a_host("a_sandbox_has_so_many_flows_and_no_more", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        netd.reconciled();
        netd.lease_within(
            &id(1),
            Bounds {
                flows: 3,
                ..Bounds::DEFAULT
            },
        );
        netd.set(&id(1), 1, OPEN).expect("in force");
        let (_, ns) = netd.take(&id(1)).expect("a slot");
        let (_, other) = netd.sandbox(2, OPEN);
        let mut streams: Vec<_> = (0..3)
            .map(|_| dial(&ns, SERVER, ECHO).expect("open").0)
            .collect();
        assert!(dial(&ns, SERVER, ECHO).is_err(), "one too many");
        assert!(dial(&other, SERVER, ECHO).is_ok(), "nobody else's business");
        // A change of policy takes none away and gives none.
        netd.set(&id(1), 2, lists(&["198.51.100.0/24"], &[ALL]))
            .expect("in force");
        assert!(streams.iter_mut().all(echoes) && dial(&ns, SERVER, ECHO).is_err());
        netd.lease_within(
            &id(1),
            Bounds {
                flows: 4,
                ..Bounds::DEFAULT
            },
        );
        wait(|| dial(&ns, SERVER, ECHO).is_ok(), "room for one more");
        assert!(streams.iter_mut().all(echoes));
    });
}

#[test]
fn lists_out_of_bounds_are_refused() {
    on_a_host("lists_out_of_bounds_are_refused", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        let mut policy = lists(&[], &["0.0.0.0/0"; 1001]);
        let refused = netd.set(&id(1), 2, policy.clone()).expect_err("too long");
        assert_eq!(refused.code, FaultCode::Refused);
        assert!(reaches(&ns, SERVER));
        policy.deny.truncate(1000);
        netd.set(&id(1), 2, policy).expect("in force");
        assert!(!reaches(&ns, SERVER));
    });
}

#[test]
fn changes_of_one_sandbox_come_one_after_the_other() {
    on_a_host("changes_of_one_sandbox_come_one_after_the_other", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        let (mut kept, _) = dial(&ns, SERVER, ECHO).expect("open");
        let policy = |n: u64| match n % 3 {
            0 => OPEN,
            1 => lists(&["198.51.100.0/24"], &[ALL]),
            _ => lists(&["198.51.100.7"], &["198.51.0.0/16", "192.0.2.0/24"]),
        };
        let posted: Vec<(u64, u64)> = (2..40)
            .map(|n| (n, netd.post_set(&id(1), n, policy(n))))
            .collect();
        let stale = netd.post_set(&id(1), 7, OPEN);
        for (generation, seq) in posted {
            let answer = netd.answer_gateway(seq).expect("in force");
            assert_eq!(
                answer,
                gateway_net::Answer::InForce {
                    generation,
                    airgap: false
                }
            );
        }
        assert_eq!(
            netd.answer_gateway(stale).expect_err("old").code,
            FaultCode::Conflict
        );
        assert!(echoes(&mut kept), "allowed by all of them");
        assert_eq!(netd.get(&id(1)), Ok((39, false, false)));
        // A lease that ends takes with it what waits.
        let seq = netd.post_set(&id(1), 50, Policy::CLOSED);
        netd.gone(&id(1));
        let late = netd.post_set(&id(1), 51, OPEN);
        if let Err(fault) = netd.answer_gateway(seq) {
            assert_eq!(fault.code, FaultCode::NotFound);
        }
        netd.report();
        assert_eq!(
            netd.answer_gateway(late).expect_err("gone").code,
            FaultCode::NotFound
        );
    });
}

#[test]
fn rules_that_somebody_removed_come_back_with_the_next_change() {
    on_a_host(
        "rules_that_somebody_removed_come_back_with_the_next_change",
        |_| {
            let instance = Instance::new(1, 8, 2);
            let mut netd = instance.start();
            let (_, ns) = netd.reconciled().sandbox(1, OPEN);
            let (_, other) = netd.sandbox(2, lists(&[], &["192.0.2.0/24"]));
            let table = format!("inet warder_{}", instance.tag);
            run_inside(&instance.router(), &format!("nft delete table {table}"));
            netd.set(&id(1), 2, lists(&[], &["198.51.100.0/24"]))
                .expect("in force");
            assert!(!reaches(&ns, SERVER) && reaches(&ns, ELSEWHERE));
            assert!(reaches(&other, SERVER) && !reaches(&other, ELSEWHERE));
        },
    );
}

#[test]
fn a_policy_that_cannot_be_put_in_force_closes_and_says_so() {
    on_a_host(
        "a_policy_that_cannot_be_put_in_force_closes_and_says_so",
        |_| {
            let instance = Instance::new(1, 8, 2);
            let mut netd = instance.start();
            let (_, ns) = netd.reconciled().sandbox(1, OPEN);
            let (_, other) = netd.sandbox(2, OPEN);
            let (mut stream, _) = dial(&ns, SERVER, ECHO).expect("open");
            let owner = Owner::of_the_table(&instance);
            let list = lists(&[], &["192.0.2.0/24"]);
            let sequence = netd.post_set(&id(1), 2, list.clone());
            let told = netd
                .gateway
                .recv_timeout::<Message<gateway_net::Answer, gateway_net::Event>>(PATIENCE);
            let sealed = gateway_net::Event::Sealed { sandbox: id(1) };
            assert_eq!(told.expect("told").0, Message::Event(sealed));
            let fault = netd.answer_gateway(sequence).expect_err("cannot");
            assert_eq!(fault.code, FaultCode::System, "{fault}");
            assert_eq!(
                netd.get(&id(1)),
                Ok((2, true, true)),
                "asked for, closed, sealed"
            );
            assert!(!echoes(&mut stream) && dial(&ns, SERVER, ECHO).is_err());
            // What loosens is not put in force either, and nothing else happens.
            let (generation, airgap, sealed) = netd.get(&id(2)).expect("known");
            assert_eq!((generation, airgap, sealed), (1, false, false));
            // A netd of later knows.
            netd.kill();
            owner.end();
            let mut netd = instance.start();
            netd.lease(&id(1));
            netd.adopt(&id(1), &ns).expect("whole");
            netd.lease(&id(2));
            netd.adopt(&id(2), &other).expect("whole");
            netd.reconciled();
            assert_eq!(netd.get(&id(1)), Ok((2, true, true)));
            assert!(!reaches(&ns, SERVER) && reaches(&other, SERVER));
            // The same policy, asked for again, opens what it allows.
            netd.set(&id(1), 2, list).expect("in force");
            assert_eq!(netd.get(&id(1)), Ok((2, false, false)));
            assert!(reaches(&ns, SERVER) && !reaches(&ns, ELSEWHERE));
        },
    );
}

/// A process that owns a table of the instance's name: nobody else may change it.
struct Owner(Child);

impl Owner {
    fn of_the_table(instance: &Instance) -> Self {
        let router = instance.router();
        let mut owner = inside(&router, || {
            Command::new("nft")
                .arg("-i")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
        })
        .expect("nft(8) is there");
        let table = format!("inet warder_{}", instance.tag);
        let lines = owner.stdin.as_mut().expect("piped");
        writeln!(
            lines,
            "delete table {table}\nadd table {table} {{ flags owner; }}"
        )
        .expect("sent");
        let rules = || run_inside(&router, "nft list ruleset");
        wait(
            || rules().contains(&table) && !rules().contains("chain forward"),
            "the other's table",
        );
        Self(owner)
    }

    /// With its socket its table goes.
    fn end(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("it ends");
    }
}

#[test]
fn what_a_sealed_sandbox_leaves_is_nobodys() {
    on_a_host("what_a_sealed_sandbox_leaves_is_nobodys", |_| {
        let instance = Instance::new(1, 2, 0);
        let mut netd = instance.start();
        netd.reconciled().sandbox(1, OPEN);
        let (_, other) = netd.sandbox(2, OPEN);
        let owner = Owner::of_the_table(&instance);
        netd.set(&id(1), 2, Policy::CLOSED).expect_err("cannot");
        owner.end();
        netd.gone(&id(1));
        netd.report();
        assert!(reaches(&other, SERVER), "its rules are back");
        // The only other slot, and with it address and mark.
        netd.lease(&id(3));
        let (_, ns) = netd.take(&id(3)).expect("a slot");
        assert!(!reaches(&ns, SERVER), "nobody opened it");
        netd.set(&id(3), 1, OPEN).expect("in force");
        assert!(reaches(&ns, SERVER));
        assert_eq!(netd.get(&id(3)), Ok((1, false, false)));
    });
}

#[test]
fn a_change_that_netd_did_not_survive_is_seen_to_its_end() {
    on_a_host(
        "a_change_that_netd_did_not_survive_is_seen_to_its_end",
        |_| {
            let instance = Instance::new(1, 8, 2);
            let mut netd = instance.start();
            let (_, ns) = netd.reconciled().sandbox(1, OPEN);
            let (mut kept, _) = dial(&ns, SERVER, ECHO).expect("open");
            let (mut ended, _) = dial(&ns, ELSEWHERE, ECHO).expect("open");
            let pid = netd.child.id();
            let children = run(&format!("cat /proc/{pid}/task/{pid}/children"));
            let workers: Vec<Pid> = children
                .split_whitespace()
                .map(|pid| Pid::from_raw(pid.parse().expect("a number")).expect("not zero"))
                .collect();
            for worker in &workers {
                kill_process(*worker, Signal::STOP).expect("it runs");
            }
            netd.post_set(&id(1), 2, lists(&["198.51.100.0/24"], &[ALL]));
            wait(|| dial(&ns, ELSEWHERE, ECHO).is_err(), "the rules say so");
            netd.kill();
            for worker in &workers {
                kill_process(*worker, Signal::KILL).expect("it is stopped");
            }
            let to_elsewhere = || {
                let list = format!("conntrack -L -d {ELSEWHERE} 2>/dev/null");
                run_inside(&instance.router(), &list).lines().count()
            };
            assert!(to_elsewhere() > 0, "what the policy forbids is still there");
            let mut netd = instance.start();
            wait(|| to_elsewhere() == 0, "it is ended");
            netd.lease(&id(1));
            netd.adopt(&id(1), &ns).expect("whole");
            netd.reconciled();
            assert_eq!(netd.get(&id(1)), Ok((2, false, false)));
            netd.set(&id(1), 3, OPEN).expect("in force");
            assert!(!echoes(&mut ended) && echoes(&mut kept));
        },
    );
}

#[test]
fn a_sandbox_that_is_busy_is_changed_like_any_other() {
    on_a_host("a_sandbox_that_is_busy_is_changed_like_any_other", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        let stop = Arc::new(AtomicBool::new(false));
        let busy: Vec<_> = [
            (SERVER, ECHO),
            (ELSEWHERE, ECHO),
            (SERVER, 443),
            (SERVER, 53),
        ]
        .map(|to| {
            let (ns, stop) = (ns.try_clone().expect("a descriptor"), Arc::clone(&stop));
            std::thread::spawn(move || {
                inside(&ns, move || {
                    let near = Duration::from_millis(20);
                    while !stop.load(Ordering::Relaxed) {
                        let _ = TcpStream::connect_timeout(&to.into(), near);
                        let socket = UdpSocket::bind("0.0.0.0:0").expect("binds");
                        let _ = socket.send_to(b"hello", to);
                    }
                });
            })
        })
        .into();
        let policies = [
            lists(&[], &["192.0.2.0/24"]),
            names(&["example.com"], &[], &[ALL]),
            lists(&[], &["198.51.100.0/24"]),
            Policy::CLOSED,
            OPEN,
        ];
        for (generation, policy) in (2..).zip(policies.iter().cycle().take(40)) {
            netd.set(&id(1), generation, policy.clone())
                .expect("in force");
            assert_eq!(netd.get(&id(1)), Ok((generation, policy.airgap, false)));
        }
        stop.store(true, Ordering::Relaxed);
        busy.into_iter()
            .for_each(|thread| thread.join().expect("ends"));
    });
}
