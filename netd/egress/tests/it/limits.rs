//! What one sandbox can take.

use std::net::UdpSocket;

use warder_wire::egress_gateway::{Event, Why};

use crate::message::{self, A};
use crate::world::{FLOWS, RESOLVER, alone, ask_by, heard, id, is_reset, named};

#[test]
fn a_flood_of_questions_hurts_who_sends_it() {
    alone("limits::a_flood_of_questions_hurts_who_sends_it", |world| {
        world.put(2, named(&["*.example"]));
        world.put(3, named(&["*.example"]));
        let socket: UdpSocket = world.udp(2, RESOLVER);
        for n in 0..2000 {
            let name = format!("silent.{n}.example");
            let _ = socket.send(&message::ask(n, &name, A, true));
        }
        let refused = world.gateway.refused(|r| r.why == Why::TooMany);
        assert_eq!((refused.sandbox, refused.protocol), (id(2), 17));
        assert_eq!(world.ask(3, RESOLVER, "a.example", A).code(), 0);
        // All of it ends, and the sandbox is served again.
        let mut failed = 0;
        while failed < 100 {
            assert_eq!(heard(&socket).expect("an answer").code(), 2);
            failed += 1;
        }
        // What was not answered by then is forgotten.
        world.put(2, named(&["*.example"]));
        let again = world.udp(2, RESOLVER);
        loop {
            again
                .send(&message::ask(1, "a.example", A, true))
                .expect("sends");
            again
                .set_read_timeout(Some(std::time::Duration::from_secs(1)))
                .expect("set");
            if heard(&again).is_some_and(|answer| answer.code() == 0) {
                break;
            }
        }
    });
}

#[test]
fn a_sandbox_has_so_many_connections() {
    alone("limits::a_sandbox_has_so_many_connections", |world| {
        world.put(2, named(&["*.example"]));
        world.put(3, named(&["*.example"]));
        let mut open: Vec<_> = (0..FLOWS).map(|_| world.tcp(2, RESOLVER, 53)).collect();
        for stream in &mut open {
            ask_by(stream, "a.example", A).expect("answers");
        }
        assert!(is_reset(&mut world.tcp(2, RESOLVER, 53)));
        let refused = world.gateway.refused(|r| r.why == Why::TooMany);
        assert_eq!((refused.sandbox, refused.port), (id(2), 53));
        ask_by(&mut world.tcp(3, RESOLVER, 53), "a.example", A).expect("another's");
        // One that ends makes room, once egressd has heard of it.
        open.pop();
        loop {
            if ask_by(&mut world.tcp(2, RESOLVER, 53), "a.example", A).is_ok() {
                break;
            }
        }
    });
}

#[test]
fn equal_refusals_are_counted_and_many_are_dropped() {
    alone(
        "limits::equal_refusals_are_counted_and_many_are_dropped",
        |world| {
            world.put(2, named(&["*.example"]));
            let socket = world.udp(2, RESOLVER);
            let ask = |name: &str| {
                socket.send(&message::ask(1, name, A, true)).expect("sends");
                assert_eq!(heard(&socket).expect("an answer").code(), 3);
            };
            for n in 0..300 {
                ask(&format!("n{n}.test"));
                ask("same.test");
            }
            let told = || world.gateway.told();
            let count = |all: &[Event]| -> u64 {
                let times = |event: &Event| match event {
                    Event::Refused(refused) => u64::from(refused.times),
                    Event::Dropped(dropped) => *dropped,
                };
                all.iter().map(times).sum()
            };
            while count(&told()) < 600 {
                std::thread::yield_now();
            }
            let told = told();
            assert_eq!(count(&told), 600, "each is told of or counted, once");
            assert!(
                told.iter()
                    .any(|e| matches!(e, Event::Refused(r) if r.times > 1))
            );
            assert!(told.iter().any(|e| matches!(e, Event::Dropped(_))));
        },
    );
}
