//! The border of egressd: what it is told, what it is given, and what becomes of flows when it does not do as told.
#![cfg(target_os = "linux")]

mod common;

use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use common::{
    DENIED, ECHO, ELSEWHERE, Egressd, HOST, Instance, NEIGHBOUR, Netd, OPEN, PATIENCE, SERVER,
    asks, dial, echoes, id, inside, lists, names, on_a_host,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use warder_wire::net_egress::{Ask, Event};
use warder_wire::{Bounds, Fault, FaultCode, Policy, Request, gateway_net};

const ALL: &str = "0.0.0.0/0";

/// What an event says of which sandbox: its address, generation, policy and flows, or that it is gone.
fn said(event: &Event) -> (u32, Option<(Ipv4Addr, u64, Policy, u32)>) {
    let number =
        |sandbox: &warder_wire::SandboxId| (0..100).find(|n| id(*n) == *sandbox).expect("a test's");
    match event {
        Event::Policy {
            sandbox,
            address,
            generation,
            policy,
            flows,
            ..
        } => (
            number(sandbox),
            Some((*address, *generation, policy.clone(), *flows)),
        ),
        Event::Gone { sandbox, .. } => (number(sandbox), None),
        Event::Traffic => panic!("sockets"),
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, Fault>) -> FaultCode {
    result.expect_err("refused").code
}

/// Waits until a socket that was connecting is connected, or could not be.
fn connected(socket: OwnedFd) -> std::io::Result<TcpStream> {
    let timeout = Timespec::try_from(Duration::from_millis(700)).expect("short");
    poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&timeout))?;
    let stream = TcpStream::from(socket);
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    stream.peer_addr()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    std::io::Read::read_exact(&mut &stream, &mut [0; 16])?;
    Ok(stream)
}

/// The answer to a change is not there yet: what was asked after it is answered before.
fn is_open(netd: &mut Netd, n: u32, seq: u64) {
    let sandbox = id(n);
    let get = netd.post_gateway(gateway_net::Ask::PolicyGet { sandbox });
    let (heard, _) = netd
        .gateway
        .recv_timeout::<warder_wire::Message<gateway_net::Answer, gateway_net::Event>>(PATIENCE)
        .expect("an answer");
    assert!(
        matches!(heard, warder_wire::Message::Reply { seq, .. } if seq == get),
        "{heard:?} and not yet to {seq}"
    );
}

#[test]
fn policies_come_first_and_then_the_sockets() {
    on_a_host("policies_come_first_and_then_the_sockets", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let list = names(&["*.example.com"], &["192.0.2.0/24"], &[ALL]);
        let (slot, ns) = netd.reconciled().sandbox(1, list.clone());
        netd.lease_within(
            &id(2),
            Bounds {
                flows: 7,
                airgapped: true,
                ..Bounds::DEFAULT
            },
        );
        netd.set_any(2, 1, OPEN);
        let (other, _other) = netd.take(&id(2)).expect("a slot");
        // No slot, no traffic.
        netd.lease(&id(3));
        netd.set(&id(3), 1, OPEN).expect("kept");
        let gap = Policy {
            airgap: true,
            ..OPEN
        };
        let wanted = [
            (1, Some((slot.address, 1, list, 4096))),
            (2, Some((other.address, 1, gap, 7))),
        ];
        // Each that is started is told the same.
        for _ in 0..2 {
            let mut egressd = netd.egressd();
            let (events, sockets) = egressd.greeted();
            assert_eq!(events.iter().map(said).collect::<Vec<_>>(), wanted);
            let kinds: Vec<_> = sockets
                .iter()
                .map(|s| rustix::net::sockopt::socket_type(s).expect("a socket"))
                .collect();
            use rustix::net::SocketType;
            assert_eq!(kinds[..2], [SocketType::STREAM, SocketType::DGRAM]);
            assert_eq!(sockets.len(), 3);
            // They are the ones that traffic comes to, whatever its destination.
            let client = inside(&ns, || TcpStream::connect((SERVER, 443)));
            let client = client.expect("somebody listens");
            let [tcp, ..] = <[OwnedFd; 3]>::try_from(sockets).expect("three");
            let listener = std::net::TcpListener::from(tcp);
            listener.set_nonblocking(false).expect("set");
            let (stream, from) = listener.accept().expect("it came");
            assert_eq!(
                from,
                SocketAddr::from((slot.address, client.local_addr().expect("bound").port()))
            );
            assert_eq!(
                stream.local_addr().expect("bound"),
                SocketAddr::from((SERVER, 443))
            );
        }
        let mut egressd = netd.egressd();
        egressd.greeted();
        // And what changes: slots, policies, bounds, leases.
        let (third, _third) = netd.take(&id(3)).expect("a slot");
        let next = |egressd: &mut Egressd| {
            let (event, _) = egressd.event();
            egressd.settle(&event);
            said(&event)
        };
        assert_eq!(
            next(&mut egressd),
            (3, Some((third.address, 1, OPEN, 4096)))
        );
        egressd.set(&mut netd, 3, 2, Policy::CLOSED);
        netd.lease_within(
            &id(3),
            Bounds {
                flows: 9,
                ..Bounds::DEFAULT
            },
        );
        assert_eq!(
            next(&mut egressd),
            (3, Some((third.address, 2, Policy::CLOSED, 9)))
        );
        netd.gone(&id(1));
        assert_eq!(next(&mut egressd), (1, None));
        netd.report();
    });
}

impl Netd {
    /// A policy whatever is said of the air gap.
    fn set_any(&mut self, n: u32, generation: u64, policy: Policy) {
        let seq = self.post_set(&id(n), generation, policy);
        self.answer_gateway(seq).expect("in force");
    }
}

#[test]
fn an_answer_waits_until_egressd_has_settled() {
    on_a_host("an_answer_waits_until_egressd_has_settled", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        netd.sandbox(2, OPEN);
        let mut egressd = netd.egressd();
        egressd.greeted();
        let first = netd.post_set(&id(1), 2, lists(&[], &["192.0.2.0/24"]));
        let (event, _) = egressd.event();
        is_open(&mut netd, 1, first);
        assert!(
            dial(&ns, ELSEWHERE, ECHO).is_err(),
            "the kernel does not wait"
        );
        // The same again is not in force before it is.
        let again = netd.post_set(&id(1), 2, lists(&[], &["192.0.2.0/24"]));
        is_open(&mut netd, 1, again);
        // The next one of the same sandbox waits for it, another sandbox's does not.
        let second = netd.post_set(&id(1), 3, OPEN);
        let other = netd.post_set(&id(2), 2, Policy::CLOSED);
        let (of_other, _) = egressd.event();
        assert_eq!(said(&of_other).0, 2);
        egressd.settle(&of_other);
        netd.answer_gateway(other).expect("in force");
        is_open(&mut netd, 1, first);
        egressd.settle(&event);
        let answer = netd.answer_gateway(first).expect("in force");
        assert_eq!(
            answer,
            gateway_net::Answer::InForce {
                generation: 2,
                airgap: false
            }
        );
        netd.answer_gateway(again).expect("in force");
        let (event, _) = egressd.event();
        assert_eq!(said(&event).1.expect("a policy").1, 3);
        is_open(&mut netd, 1, second);
        assert!(
            dial(&ns, ELSEWHERE, ECHO).is_ok(),
            "what loosens is in the kernel first"
        );
        egressd.settle(&event);
        netd.answer_gateway(second).expect("in force");
    });
}

#[test]
fn an_egressd_that_never_settles_or_dies_holds_nothing_up() {
    on_a_host(
        "an_egressd_that_never_settles_or_dies_holds_nothing_up",
        |_| {
            let instance = Instance::new(1, 1, 0);
            let mut netd = instance.start();
            let policy = names(&["example.com"], &[], &[ALL]);
            netd.reconciled().sandbox(1, policy.clone());
            // Silent: it counts as dead, its channel is closed, and what it has of the sandbox is ended for it.
            let mut silent = netd.egressd();
            silent.greeted();
            let mut held =
                connected(silent.dial(1, 1, SERVER, ECHO).expect("a socket")).expect("dialled");
            assert!(echoes(&mut held) && instance.flows(1) == 1);
            netd.set(&id(1), 2, names(&["example.org"], &[], &[ALL]))
                .expect("in force");
            assert_eq!(instance.flows(1), 0);
            assert!(!echoes(&mut held), "although it still has the socket");
            netd.wait_for(&warder_wire::priv_net::Event::EgressLost);
            while silent
                .channel
                .recv_timeout::<common::Heard>(PATIENCE)
                .is_ok()
            {}
            // Not there at all: just the same.
            netd.set(&id(1), 3, policy.clone()).expect("in force");
            // Dead while it is waited for.
            let mut dying = netd.egressd();
            dying.greeted();
            let seq = netd.post_set(&id(1), 4, OPEN);
            dying.event();
            drop(dying);
            netd.answer_gateway(seq).expect("in force");
            // Replaced while it is waited for.
            let mut old = netd.egressd();
            old.greeted();
            let seq = netd.post_set(&id(1), 5, policy);
            old.event();
            let mut new = netd.egressd();
            netd.answer_gateway(seq).expect("in force");
            let (events, _) = new.greeted();
            assert_eq!(said(&events[0]).1.expect("a policy").1, 5);
            // A slot that goes is free although nobody settles that.
            netd.gone(&id(1));
            netd.lease(&id(2));
            netd.take(&id(2)).expect("the only slot");
        },
    );
}

#[test]
fn an_address_is_not_used_again_before_egressd_has_let_go() {
    on_a_host(
        "an_address_is_not_used_again_before_egressd_has_let_go",
        |_| {
            let instance = Instance::new(1, 1, 0);
            let mut netd = instance.start();
            netd.reconciled().sandbox(1, OPEN);
            let mut egressd = netd.egressd();
            egressd.greeted();
            netd.gone(&id(1));
            let (event, _) = egressd.event();
            assert_eq!(said(&event), (1, None));
            netd.lease(&id(2));
            let take = netd.post(
                warder_wire::priv_net::Ask::SlotTake { sandbox: id(2) },
                Vec::new(),
            );
            assert_eq!(netd.report(), (1, 0, 0), "answered before the slot");
            egressd.settle(&event);
            let answer = netd.answer_privd(take).expect("a slot");
            assert!(matches!(answer, warder_wire::priv_net::Answer::Slot(_)));
        },
    );
}

#[test]
fn sockets_lead_where_the_policy_says_and_nowhere_else() {
    on_a_host(
        "sockets_lead_where_the_policy_says_and_nowhere_else",
        |_| {
            let mut instance = Instance::new(1, 8, 2);
            instance.config.never = vec!["192.0.2.0/24".parse().expect("a network")];
            instance.config.resolvers = vec![DENIED[0]];
            let mut netd = instance.start();
            netd.reconciled()
                .sandbox(1, names(&["example.com"], &[], &[ALL]));
            netd.sandbox(2, lists(&["198.51.100.7"], &[ALL]));
            netd.sandbox(3, Policy::CLOSED);
            netd.lease(&id(4));
            let mut egressd = netd.egressd();
            egressd.greeted();
            let mut stream =
                connected(egressd.dial(1, 1, SERVER, ECHO).expect("a socket")).expect("connects");
            assert!(echoes(&mut stream));
            assert_eq!(
                stream.peer_addr().expect("connected").to_string(),
                format!("{SERVER}:7")
            );
            connected(egressd.dial(2, 1, SERVER, ECHO).expect("a socket")).expect("connects");
            for (n, generation, to, port, wanted) in [
                (2, 1, NEIGHBOUR, 80, FaultCode::Refused),
                (1, 1, ELSEWHERE, 80, FaultCode::Refused),
                (1, 1, DENIED[0], 53, FaultCode::Refused),
                (1, 1, HOST, 0, FaultCode::Refused),
                (1, 1, Ipv4Addr::LOCALHOST, 80, FaultCode::Refused),
                (1, 1, instance.uplink().0, 80, FaultCode::Refused),
                (3, 1, SERVER, 80, FaultCode::Refused),
                (1, 2, SERVER, 80, FaultCode::Conflict),
                (1, 0, SERVER, 80, FaultCode::Conflict),
                (4, 0, SERVER, 80, FaultCode::NotFound),
                (9, 1, SERVER, 80, FaultCode::NotFound),
            ] {
                assert_eq!(
                    code(egressd.dial(n, generation, to, port)),
                    wanted,
                    "{n} {generation} {to}:{port}"
                );
            }
            // The operator's servers are asked for names wherever they are, others by the lists.
            for stream in [false, true] {
                egressd
                    .query(1, 1, DENIED[0], stream)
                    .expect("the operator's");
                egressd.query(2, 1, SERVER, stream).expect("allowed");
                for (n, server) in [
                    (1, DENIED[1]),
                    (2, NEIGHBOUR),
                    (2, DENIED[0]),
                    (3, DENIED[0]),
                ] {
                    assert_eq!(
                        code(egressd.query(n, 1, server, stream)),
                        FaultCode::Refused,
                        "{n} {server}"
                    );
                }
            }
            assert_eq!(
                code(egressd.query(1, 7, DENIED[0], false)),
                FaultCode::Conflict
            );
            // A datagram can be sent elsewhere than the socket is connected to. Then it goes nowhere.
            let asked = UdpSocket::from(egressd.query(1, 1, DENIED[0], false).expect("a socket"));
            asked.set_nonblocking(false).expect("set");
            asked
                .set_read_timeout(Some(Duration::from_millis(300)))
                .expect("set");
            let answered = |to: SocketAddr| {
                let free = inside_any(&asked);
                let _ = free.send_to(b"hello", to);
                free.recv_from(&mut [0; 16]).is_ok()
            };
            assert!(answered((DENIED[0], 53).into()), "where it was made for");
            for to in [
                (DENIED[0], ECHO),
                (DENIED[1], 53),
                (ELSEWHERE, 53),
                (HOST, 53),
            ] {
                assert!(!answered(to.into()), "{to:?}");
            }
        },
    );
}

/// The same socket without its peer: what a captured egressd would make of it.
fn inside_any(socket: &UdpSocket) -> UdpSocket {
    let copy = socket.try_clone().expect("a descriptor");
    rustix::net::connect_unspec(&copy).expect("disconnects");
    copy
}

#[test]
fn what_egressd_does_not_end_the_kernel_does() {
    on_a_host("what_egressd_does_not_end_the_kernel_does", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd
            .reconciled()
            .sandbox(1, names(&["example.com"], &[], &[ALL]));
        let mut egressd = netd.egressd();
        let (_, sockets) = egressd.greeted();
        let client = inside(&ns, || TcpStream::connect((SERVER, 443))).expect("somebody listens");
        let mut dialled =
            connected(egressd.dial(1, 1, SERVER, ECHO).expect("a socket")).expect("connects");
        let mut allowed =
            connected(egressd.dial(1, 1, NEIGHBOUR, ECHO).expect("a socket")).expect("connects");
        assert!(echoes(&mut dialled) && echoes(&mut allowed));
        // It says that it has settled, and has not.
        egressd.set(&mut netd, 1, 2, lists(&["198.51.100.8"], &[ALL]));
        assert!(!echoes(&mut dialled), "not named, not listed");
        assert!(echoes(&mut allowed), "listed");
        egressd.set(&mut netd, 1, 3, Policy::CLOSED);
        assert_eq!(instance.flows(1), 0, "of no kind");
        assert!(!echoes(&mut allowed));
        drop((client, sockets));
        assert!(!asks(&ns, SERVER, 53));
    });
}

#[test]
fn a_flood_of_requests_disturbs_nobody() {
    on_a_host("a_flood_of_requests_disturbs_nobody", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        netd.reconciled().sandbox(1, OPEN);
        netd.sandbox(2, OPEN);
        let mut egressd = netd.egressd();
        egressd.greeted();
        // More than the rate of one sandbox, answers read: some are refused, another sandbox is served.
        let mut refused = 0;
        for _ in 0..2000 {
            match egressd.query(1, 1, SERVER, false) {
                Ok(_) => {}
                Err(fault) => {
                    assert_eq!(fault.code, FaultCode::Exhausted);
                    refused += 1;
                }
            }
        }
        assert!(refused > 0);
        egressd.dial(2, 1, SERVER, ECHO).expect("its own rate");
        // Answers not read: netd hears no more of it, and serves everybody else.
        let ask = Ask::Query {
            sandbox: id(2),
            generation: 1,
            server: SERVER,
            stream: false,
        };
        let mut posted = 0;
        while !egressd.channel.wants_write() && posted < 50_000 {
            posted += 1;
            let seq = 10_000 + posted;
            egressd
                .channel
                .send(
                    &Request {
                        seq,
                        body: ask.clone(),
                    },
                    Vec::new(),
                )
                .expect("queued");
        }
        assert!(egressd.channel.wants_write(), "netd does not take it all");
        let pid = netd.child.id();
        let open = || {
            std::fs::read_dir(format!("/proc/{pid}/fd"))
                .expect("it lives")
                .count()
        };
        assert!(open() < 64, "{} descriptors", open());
        // Nor does it wait for it for ever.
        netd.set(&id(2), 2, Policy::CLOSED).expect("in force");
        let end = Instant::now() + PATIENCE;
        while egressd.channel.recv::<common::Heard>().is_ok() {
            assert!(Instant::now() < end, "its channel is closed");
        }
        assert!(open() < 64, "{} descriptors", open());
    });
}

/// It lives on without its channel, for all that privd sees.
#[test]
fn an_egressd_that_only_closes_its_channel_is_replaced() {
    on_a_host(
        "an_egressd_that_only_closes_its_channel_is_replaced",
        |_| {
            let instance = Instance::new(1, 8, 2);
            let mut netd = instance.start();
            netd.reconciled().sandbox(1, OPEN);
            for _ in 0..2 {
                let mut egressd = netd.egressd();
                egressd.greeted();
                drop(egressd);
                netd.wait_for(&warder_wire::priv_net::Event::EgressLost);
            }
            let mut egressd = netd.egressd();
            egressd.greeted();
            egressd.set(&mut netd, 1, 2, Policy::CLOSED);
        },
    );
}

#[test]
fn what_nobody_asked_about_ends_the_channel() {
    on_a_host("what_nobody_asked_about_ends_the_channel", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        netd.reconciled().sandbox(1, OPEN);
        for kind in 0..4 {
            let mut egressd = netd.egressd();
            let (event, _) = egressd.event();
            egressd.settle(&event);
            assert!(matches!(egressd.event().0, Event::Traffic));
            match kind {
                0 => egressd.settle(&event),
                1 => drop(egressd.post(Ask::Settled { serial: u64::MAX })),
                2 => egressd
                    .channel
                    .send(&(1_u64, 9_u8), Vec::new())
                    .expect("sent"),
                _ => {
                    let body = Ask::Settled { serial: 0 };
                    let rides = std::fs::File::open("/dev/null").expect("there").into();
                    let request = Request { seq: 1, body };
                    egressd.channel.send(&request, vec![rides]).expect("sent");
                }
            }
            egressd
                .channel
                .recv_timeout::<common::Heard>(PATIENCE)
                .expect_err("closed");
            netd.wait_for(&warder_wire::priv_net::Event::EgressLost);
        }
        // Everything else goes on.
        let mut egressd = netd.egressd();
        egressd.greeted();
        egressd.set(&mut netd, 1, 2, Policy::CLOSED);
    });
}

#[test]
fn what_one_egressd_did_to_its_sockets_is_not_the_next_ones() {
    on_a_host(
        "what_one_egressd_did_to_its_sockets_is_not_the_next_ones",
        |_| {
            let instance = Instance::new(1, 8, 2);
            let mut netd = instance.start();
            let by_name = names(&["example.com"], &[], &[ALL]);
            let (slot, ns) = netd.reconciled().sandbox(1, by_name);
            // What the sockets' other copies see too: no more connections, no more datagrams.
            let mut egressd = netd.egressd();
            let (_, sockets) = egressd.greeted();
            for socket in &sockets[..2] {
                let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
            }
            let web = SocketAddr::from((SERVER, 443));
            let connect =
                |patience| inside(&ns, move || TcpStream::connect_timeout(&web, patience));
            connect(Duration::from_millis(300)).expect_err("nobody listens");
            drop((egressd, sockets));

            let mut egressd = netd.egressd();
            let (_, sockets) = egressd.greeted();
            let [tcp, udp, _log] = <[OwnedFd; 3]>::try_from(sockets).expect("three");
            let client = connect(PATIENCE).expect("somebody listens");
            let listener = std::net::TcpListener::from(tcp);
            listener.set_nonblocking(false).expect("set");
            let (_stream, from) = listener.accept().expect("it came");
            assert_eq!(from, client.local_addr().expect("bound"));
            let guest = inside(&ns, || UdpSocket::bind("0.0.0.0:0")).expect("binds");
            guest.send_to(b"question", (SERVER, 53)).expect("sent");
            let udp = UdpSocket::from(udp);
            udp.set_nonblocking(false).expect("set");
            udp.set_read_timeout(Some(PATIENCE)).expect("set");
            let (length, from) = udp.recv_from(&mut [0; 16]).expect("it came");
            assert_eq!((length, from.ip()), (8, slot.address.into()));
        },
    );
}

#[test]
fn the_next_netd_waits_until_egressd_has_let_go_of_the_sockets() {
    on_a_host(
        "the_next_netd_waits_until_egressd_has_let_go_of_the_sockets",
        |_| {
            let instance = Instance::new(1, 8, 2);
            let mut netd = instance.start();
            let (_, ns) = netd.reconciled().sandbox(1, OPEN);
            let mut egressd = netd.egressd();
            let (_, sockets) = egressd.greeted();
            netd.kill();
            let ending = std::thread::spawn(move || {
                // What every egressd does: it ends with its channel.
                while egressd
                    .channel
                    .recv_timeout::<common::Heard>(PATIENCE)
                    .is_ok()
                {}
                drop(sockets);
            });
            let mut netd = instance.start();
            ending.join().expect("it ends");
            netd.lease(&id(1));
            netd.adopt(&id(1), &ns).expect("whole");
            let mut egressd = netd.reconciled().egressd();
            let (events, sockets) = egressd.greeted();
            assert_eq!((events.len(), sockets.len()), (1, 3));
            egressd.set(&mut netd, 1, 2, Policy::CLOSED);
        },
    );
}
