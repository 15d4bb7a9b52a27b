//! Connections judged by name, through the whole process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

use warder_wire::egress_gateway::Why;
use warder_wire::net_egress::Ask;

use crate::fake::Netd;
use crate::server::ADDRESS;
use crate::world::{FLOWS, World, alone, id, is_reset, named};

/// Where guests mean to go.
const MEANT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 80);

fn get(stream: &mut TcpStream, host: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("open");
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // The test's server says "hello" at the end; a refusal ends with the connection.
    while !answer.ends_with(b"hello") {
        match stream.read(&mut buffer).expect("open") {
            0 => break,
            n => answer.extend(&buffer[..n]),
        }
    }
    String::from_utf8(answer).expect("text")
}

fn dialled(world: &World) -> Vec<SocketAddrV4> {
    let to = |ask: Ask| match ask {
        Ask::Dial { to, .. } => Some(to),
        Ask::Query { .. } | Ask::Settled { .. } | Ask::Reply { .. } => None,
    };
    world
        .with_netd(Netd::asked)
        .into_iter()
        .filter_map(to)
        .collect()
}

#[test]
fn the_name_is_dialled_and_not_what_the_guest_meant() {
    alone(
        "web::the_name_is_dialled_and_not_what_the_guest_meant",
        |world| {
            world.put(2, named(&["*.example"]));
            let answer = get(&mut world.tcp(2, MEANT, 80), "www.example");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert_eq!(dialled(world), [SocketAddrV4::new(ADDRESS.into(), 80)]);
            // Resolved once, for whoever dials it soon.
            let answer = get(&mut world.tcp(2, MEANT, 80), "WWW.EXAMPLE");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert_eq!((world.server.asked().len(), dialled(world).len()), (1, 2));
            for (host, why, code) in [
                ("other.test", Why::Name, 403),
                ("198.51.100.80", Why::NoName, 403),
                ("inner.example", Why::Unresolved, 502),
                ("none.example", Why::Unresolved, 502),
            ] {
                let answer = get(&mut world.tcp(2, MEANT, 80), host);
                assert!(
                    answer.starts_with(&format!("HTTP/1.1 {code} ")),
                    "{host}: {answer}"
                );
                let refused = world.gateway.refused(|r| r.why == why && r.protocol == 6);
                assert_eq!(
                    (refused.sandbox, refused.address, refused.port),
                    (id(2), MEANT, 80)
                );
            }
            assert_eq!(dialled(world).len(), 2);
        },
    );
}

#[test]
fn both_ends_of_what_a_policy_forbids_are_reset() {
    alone(
        "web::both_ends_of_what_a_policy_forbids_are_reset",
        |world| {
            world.put(2, named(&["a.example", "b.example"]));
            let mut kept = world.tcp(2, MEANT, 80);
            get(&mut kept, "b.example");
            let mut ended = world.tcp(2, MEANT, 80);
            get(&mut ended, "a.example");
            world.put(2, named(&["b.example"]));
            assert!(is_reset(&mut ended));
            // The server's end of it too, before netd has heard that it is settled.
            assert_eq!(world.server.resets(), 1);
            assert!(get(&mut kept, "b.example").starts_with("HTTP/1.1 200 "));
            world.gone(2);
            assert!(is_reset(&mut kept));
        },
    );
}

#[test]
fn connections_that_say_nothing_count() {
    alone("web::connections_that_say_nothing_count", |world| {
        world.put(2, named(&["*.example"]));
        let silent: Vec<_> = (0..FLOWS).map(|_| world.tcp(2, MEANT, 443)).collect();
        // Some may still wait to be accepted; what comes behind them is one too many.
        assert!(is_reset(&mut world.tcp(2, MEANT, 443)));
        let refused = world.gateway.refused(|r| r.why == Why::TooMany);
        assert_eq!((refused.sandbox, refused.port), (id(2), 443));
        drop(silent);
    });
}
