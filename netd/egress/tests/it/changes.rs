//! Policies that change, and sandboxes that come and go.

use warder_wire::net_egress::{Ask, Event};
use warder_wire::{Cidr, Policy};

use crate::message::{self, A};
use crate::world::{
    ELSEWHERE, RESOLVER, World, address, alone, ask_by, id, is_reset, is_silent, named,
};

fn closed() -> Policy {
    Policy {
        airgap: true,
        ..Policy::OPEN
    }
}

#[test]
fn what_a_policy_forbids_is_reset_before_it_settles() {
    alone(
        "changes::what_a_policy_forbids_is_reset_before_it_settles",
        |world| {
            let elsewhere: Cidr = "198.51.100.0/24".parse().expect("a network");
            let denied = Policy {
                deny: vec![elsewhere],
                ..Policy::OPEN
            };
            world.put(3, Policy::OPEN);
            let mut neighbour = world.tcp(3, ELSEWHERE, 53);
            ask_by(&mut neighbour, "a.example", A).expect("answers");
            for forbids in [denied, named(&["*"]), closed()] {
                world.put(2, Policy::OPEN);
                let mut stream = world.tcp(2, ELSEWHERE, 53);
                ask_by(&mut stream, "a.example", A).expect("answers");
                // Not asked anything yet, so not judged by anything but its address.
                let mut idle = world.tcp(2, ELSEWHERE, 53);
                world.put(
                    2,
                    Policy {
                        allow: vec![elsewhere],
                        ..Policy::OPEN
                    },
                );
                ask_by(&mut stream, "a.example", A).expect("what is still allowed goes on");
                world.put(2, forbids);
                assert!(is_reset(&mut stream));
                assert!(is_reset(&mut idle));
            }
            ask_by(&mut neighbour, "a.example", A).expect("another sandbox's goes on");
            world.gone(3);
            assert!(is_reset(&mut neighbour));
        },
    );
}

#[test]
fn an_answer_that_is_forbidden_meanwhile_never_comes() {
    alone(
        "changes::an_answer_that_is_forbidden_meanwhile_never_comes",
        |world| {
            let asks = |world: &World, policy: Policy, other: Policy| {
                world.put(2, policy);
                let before = world.with_netd(|netd| netd.asked().len());
                let socket = world.udp(2, RESOLVER);
                socket
                    .send(&message::ask(1, "silent.example", A, true))
                    .expect("sends");
                while world.with_netd(|netd| netd.asked().len()) == before {
                    std::thread::yield_now();
                }
                world.put(2, other);
                assert!(is_silent(&socket), "not even that it failed");
            };
            asks(world, named(&["*.example"]), named(&["*.test"]));
            asks(world, named(&["*.example"]), closed());
            asks(world, Policy::OPEN, closed());
            asks(world, Policy::OPEN, named(&["*.example"]));
            // In the air gap nobody is asked and nobody is answered.
            world.put(2, closed());
            let before = world.with_netd(|netd| netd.asked().len());
            let socket = world.udp(2, RESOLVER);
            socket
                .send(&message::ask(1, "a.example", A, true))
                .expect("sends");
            assert!(is_reset(&mut world.tcp(2, RESOLVER, 53)));
            assert!(is_silent(&socket));
            assert_eq!(world.with_netd(|netd| netd.asked().len()), before);
            world.put(2, named(&["*.example"]));
            assert_eq!(world.ask(2, RESOLVER, "a.example", A).code(), 0);
        },
    );
}

#[test]
fn netd_and_egressd_come_to_go_by_the_same_policy() {
    alone(
        "changes::netd_and_egressd_come_to_go_by_the_same_policy",
        |world| {
            world.put(2, named(&["*.example"]));
            // netd is ahead, as it is while it loosens.
            let ahead = 1000;
            world.with_netd(|netd| netd.judge_by(id(2), ahead, Policy::OPEN));
            let socket = world.udp(2, RESOLVER);
            socket
                .send(&message::ask(1, "a.example", A, true))
                .expect("sends");
            let early =
                |ask: &Ask| matches!(ask, Ask::Query { generation, .. } if *generation < ahead);
            world.with_netd(|netd| {
                netd.wait_asked(early);
                let event = Event::Policy {
                    serial: ahead,
                    sandbox: id(2),
                    address: address(2),
                    generation: ahead,
                    policy: named(&["*.example", "b.test"]),
                    flows: 10,
                };
                netd.say(event, Vec::new());
                netd.wait_asked(
                    |ask| matches!(ask, Ask::Query { generation, .. } if *generation == ahead),
                );
            });
            assert_eq!(crate::world::heard(&socket).expect("an answer").code(), 0);
        },
    );
}

#[test]
fn strangers_are_nobody_until_netd_says_who_they_are() {
    alone(
        "changes::strangers_are_nobody_until_netd_says_who_they_are",
        |world| {
            world.put(2, Policy::OPEN);
            let unknown = world.udp(4, ELSEWHERE);
            unknown
                .send(&message::ask(1, "a.example", A, true))
                .expect("sends");
            assert!(is_reset(&mut world.tcp(4, ELSEWHERE, 53)));
            assert!(is_silent(&unknown));
            assert_eq!(world.server.asked(), []);
            // What netd has said is read before anybody is turned away.
            let serial = world.tell(4, Policy::OPEN);
            let mut stream = world.tcp(4, ELSEWHERE, 53);
            ask_by(&mut stream, "a.example", A).expect("answers");
            world.with_netd(|netd| netd.wait_settled(serial));
            // Another sandbox at the same address.
            world.with_netd(|netd| {
                let event = Event::Policy {
                    serial: 5000,
                    sandbox: id(5),
                    address: address(4),
                    generation: 1,
                    policy: Policy::OPEN,
                    flows: 10,
                };
                netd.say(event, Vec::new());
                netd.wait_settled(5000);
            });
            assert!(is_reset(&mut stream));
        },
    );
}
