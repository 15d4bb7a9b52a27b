//! Without names in the policy.

use std::net::Ipv4Addr;

use warder_wire::egress_gateway::Why;
use warder_wire::net_egress::Ask;
use warder_wire::{Cidr, Policy, Proxy, ProxyHost};

use crate::fake::Netd;
use crate::message::{self, A, TXT};
use crate::server::ADDRESS;
use crate::world::{ELSEWHERE, RESOLVER, alone, ask_by, heard, is_reset, is_silent, named};

#[test]
fn messages_go_to_the_server_and_back() {
    alone("relay::messages_go_to_the_server_and_back", |world| {
        world.put(2, Policy::OPEN);
        let answer = world.ask(2, ELSEWHERE, "text.anything", TXT);
        assert_eq!(answer.answers[0].2, b"\x05hello");
        let asked = world.server.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(
            (asked[0].1.name.as_str(), asked[0].1.kind),
            ("text.anything", TXT)
        );
        // Forged ones are not taken here either.
        assert_eq!(
            world.ask(2, ELSEWHERE, "forged.Anything", A).addresses(),
            [ADDRESS]
        );
        let mut stream = world.tcp(2, ELSEWHERE, 53);
        for _ in 0..2 {
            let answer = ask_by(&mut stream, "text.anything", TXT).expect("answers");
            assert_eq!(answer.answers[0].2, b"\x05hello");
        }
    });
}

#[test]
fn a_server_that_may_not_be_asked_is_silent() {
    alone("relay::a_server_that_may_not_be_asked_is_silent", |world| {
        let elsewhere: Cidr = "198.51.100.0/24".parse().expect("a network");
        let denied = Policy {
            deny: vec![elsewhere],
            ..Policy::OPEN
        };
        for policy in [denied, named(&["*"])] {
            world.put(2, policy);
            let socket = world.udp(2, ELSEWHERE);
            socket
                .send(&message::ask(1, "a.example", A, true))
                .expect("sends");
            world
                .gateway
                .refused(|r| r.why == Why::Resolver && r.protocol == 17 && r.address == ELSEWHERE);
            assert!(is_silent(&socket));
            assert!(is_reset(&mut world.tcp(2, ELSEWHERE, 53)));
            world
                .gateway
                .refused(|r| r.why == Why::Resolver && r.protocol == 6);
            assert_eq!(world.ask(2, RESOLVER, "a.example", A).code(), 0);
        }
        let others = Policy {
            dns: Some(vec![ELSEWHERE]),
            ..named(&["*"])
        };
        world.put(2, others);
        assert_eq!(world.ask(2, ELSEWHERE, "a.example", A).code(), 0);
        let socket = world.udp(2, RESOLVER);
        socket
            .send(&message::ask(1, "a.example", A, true))
            .expect("sends");
        assert!(is_silent(&socket));
    });
}

#[test]
fn over_tcp_nothing_goes_past_a_proxy() {
    alone("relay::over_tcp_nothing_goes_past_a_proxy", |world| {
        let proxy = Ipv4Addr::new(203, 0, 113, 9);
        let through = Policy {
            proxy: Some(Proxy {
                host: ProxyHost::Address(proxy),
                port: 1080,
                login: None,
            }),
            ..Policy::OPEN
        };
        world.put(2, Policy::OPEN);
        let mut before = world.tcp(2, ELSEWHERE, 53);
        ask_by(&mut before, "text.anything", TXT).expect("answers");
        world.put(2, through);
        assert!(is_reset(&mut before), "what went past it has ended");
        let asked = world.with_netd(Netd::asked).len();
        let _now = world.tcp(2, ELSEWHERE, 53);
        world.with_netd(|netd| {
            netd.wait_asked(|ask| matches!(ask, Ask::Dial { to, .. } if *to.ip() == proxy));
            let others = netd.asked().split_off(asked);
            let past = others.iter().any(|ask| matches!(ask, Ask::Query { .. }));
            assert!(!past, "{others:?}");
        });
        // UDP knows no proxy.
        let answer = world.ask(2, ELSEWHERE, "text.anything", TXT);
        assert_eq!(answer.answers[0].2, b"\x05hello");
    });
}

#[test]
fn only_dns_is_relayed() {
    alone("relay::only_dns_is_relayed", |world| {
        world.put(2, Policy::OPEN);
        let socket = world.udp(2, ELSEWHERE);
        for bad in [
            &b"GET / HTTP/1.0\r\n\r\n"[..],
            b"x",
            &[0xff; 2000],
            &[0; 12],
        ] {
            socket.send(bad).expect("sends");
        }
        socket
            .send(&message::ask(3, "a.example", A, false))
            .expect("sends");
        assert_eq!(heard(&socket).expect("the question's").id, 3);
        assert_eq!(world.server.asked().len(), 1);
    });
}
