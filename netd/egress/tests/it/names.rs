//! With names in the policy.

use std::io::Write;

use warder_wire::egress_gateway::Why;
use warder_wire::net_egress::Ask;

use crate::fake::Netd;
use crate::message::{self, A, AAAA, CNAME, HTTPS, TXT};
use crate::server::ADDRESS;
use crate::world::{FLOWS, RESOLVER, alone, answer_by, ask_by, heard, id, is_reset, named};

#[test]
fn only_allowed_names_are_asked_for() {
    alone("names::only_allowed_names_are_asked_for", |world| {
        world.put(2, named(&["*.example", "exact.test"]));
        for name in ["www.example", "a.b.example", "exact.test", "WWW.Example"] {
            let answer = world.ask(2, RESOLVER, name, A);
            assert_eq!(
                (answer.code(), answer.addresses()),
                (0, vec![ADDRESS]),
                "{name}"
            );
        }
        let asked = world.server.asked();
        assert_eq!(asked.len(), 4);
        for (stream, question) in &asked {
            assert!(!stream && question.kind == A);
            // Nothing of the guest's own message but the name, and that without its case.
            assert_ne!(question.id, 0x5157);
            assert_eq!(question.more.len(), 1);
            assert_eq!(question.more[0].2, Vec::<u8>::new());
        }
        let shuffled = |name: &str| {
            let letters = name.bytes().filter(u8::is_ascii_alphabetic);
            letters.clone().any(|b| b.is_ascii_lowercase())
                && letters.clone().any(|b| b.is_ascii_uppercase())
        };
        assert!(asked.iter().any(|(_, question)| shuffled(&question.name)));
        let long = format!("{}.other", "secret".repeat(10));
        for name in [
            "example",
            "other.test",
            "www.exact.test",
            "a-example",
            &long,
        ] {
            for kind in [A, AAAA, TXT] {
                let answer = world.ask(2, RESOLVER, name, kind);
                assert_eq!((answer.code(), answer.answers.len()), (3, 0), "{name}");
                // Why (RFC 8914): code 15 in option 15.
                assert_eq!(answer.more[0].2[..2], [0, 15]);
                assert_eq!(answer.more[0].2[4..6], [0, 15]);
            }
            let host = warder_wire::HostName::new(name).expect("a name");
            let refused = world.gateway.refused(|r| r.name.as_ref() == Some(&host));
            assert_eq!((refused.why, refused.sandbox), (Why::Name, id(2)));
            assert_eq!(
                (refused.protocol, refused.address, refused.port),
                (17, RESOLVER, 53)
            );
        }
        assert_eq!(world.server.asked(), [], "nothing has leaked");
    });
}

#[test]
fn only_addresses_are_asked_for() {
    alone("names::only_addresses_are_asked_for", |world| {
        world.put(2, named(&["*"]));
        // IPv6, keys for an encrypted ClientHello, hints of QUIC, text.
        for kind in [AAAA, HTTPS, 64, TXT, CNAME, 2, 15, 33, 255] {
            let answer = world.ask(2, RESOLVER, "www.example", kind);
            assert_eq!((answer.code(), answer.answers.len()), (0, 0), "{kind}");
        }
        assert_eq!(world.server.asked(), []);
    });
}

#[test]
fn answers_are_written_anew() {
    alone("names::answers_are_written_anew", |world| {
        world.put(2, named(&["*.example"]));
        let answer = world.ask(2, RESOLVER, "more.example", A);
        let alias = (
            "more.example".to_owned(),
            CNAME,
            message::name("alias.elsewhere"),
        );
        let address = ("alias.elsewhere".to_owned(), A, ADDRESS.to_vec());
        assert_eq!(answer.answers, [alias, address]);
        assert_eq!(world.ask(2, RESOLVER, "none.example", A).code(), 3);
        assert_eq!(world.ask(2, RESOLVER, "refused.example", A).code(), 2);
    });
}

#[test]
fn addresses_that_are_closed_to_all_never_come() {
    alone(
        "names::addresses_that_are_closed_to_all_never_come",
        |world| {
            world.put(2, named(&["*.example"]));
            let mixed = world.ask(2, RESOLVER, "mixed.example", A);
            assert_eq!(mixed.addresses(), [ADDRESS]);
            let inner = world.ask(2, RESOLVER, "inner.example", A);
            assert_eq!((inner.code(), inner.answers.len()), (0, 0));
            let refused = world.gateway.refused(|r| r.why == Why::Unresolved);
            assert_eq!(refused.name.expect("seen").as_str(), "inner.example");
        },
    );
}

#[test]
fn forged_answers_are_not_believed() {
    alone("names::forged_answers_are_not_believed", |world| {
        world.put(2, named(&["*.example"]));
        let answer = world.ask(2, RESOLVER, "forged.example", A);
        assert_eq!((answer.code(), answer.addresses()), (0, vec![ADDRESS]));
        assert_eq!(world.server.asked().len(), 1);
        // Each question has a socket of its own.
        world.ask(2, RESOLVER, "a.example", A);
        world.ask(2, RESOLVER, "a.example", A);
        let queries = world.with_netd(Netd::asked);
        let queries = queries.iter().filter(|a| matches!(a, Ask::Query { .. }));
        assert_eq!(queries.count(), 3);
    });
}

#[test]
fn what_does_not_fit_comes_over_tcp() {
    alone("names::what_does_not_fit_comes_over_tcp", |world| {
        world.put(2, named(&["*.example"]));
        let answer = world.ask(2, RESOLVER, "cut.example", A);
        assert_eq!(answer.addresses(), [ADDRESS]);
        let ways: Vec<bool> = world
            .server
            .asked()
            .iter()
            .map(|(stream, _)| *stream)
            .collect();
        assert_eq!(ways, [false, true]);
        // Too much for a datagram to the guest, which asks again over TCP.
        let cut = world.ask(2, RESOLVER, "giant.example", A);
        assert!(cut.flags & 0x0200 != 0 && cut.answers.is_empty() && cut.bytes.len() <= 1232);
        let mut stream = world.tcp(2, RESOLVER, 53);
        let whole = ask_by(&mut stream, "giant.example", A).expect("answers");
        assert_eq!(whole.addresses().len(), 200);
        // A server that writes names in its own way is believed over TCP only.
        let lower = world.ask(2, RESOLVER, "lower.example", A);
        assert_eq!(lower.addresses(), [ADDRESS]);
    });
}

#[test]
fn servers_that_answer_badly_are_a_failure() {
    alone("names::servers_that_answer_badly_are_a_failure", |world| {
        world.put(2, named(&["*.example"]));
        let names = ["garbage.example", "loop.example", "silent.example"];
        let sockets = names.map(|name| {
            let socket = world.udp(2, RESOLVER);
            socket
                .send(&message::ask(1, name, A, false))
                .expect("sends");
            socket
        });
        for socket in &sockets {
            assert_eq!(heard(socket).expect("an answer").code(), 2);
        }
        assert_eq!(world.ask(2, RESOLVER, "www.example", A).code(), 0);
    });
}

#[test]
fn what_is_no_question_gets_no_answer_of_substance() {
    alone(
        "names::what_is_no_question_gets_no_answer_of_substance",
        |world| {
            world.put(2, named(&["*.example"]));
            let good = message::ask(9, "www.example", A, true);
            let with = |at: usize, byte: u8| {
                let mut message = good.clone();
                message[at] = byte;
                message
            };
            let socket = world.udp(2, RESOLVER);
            // An update; two questions; a pointer to itself; cut.
            for (bad, code) in [
                (with(2, 0x28), 4),
                (with(5, 2), 1),
                (with(12, 0xc0), 1),
                (good[..20].to_vec(), 1),
            ] {
                socket.send(&bad).expect("sends");
                let mut buffer = [0; 64];
                let length = socket.recv(&mut buffer).expect("an answer");
                assert_eq!((length, u16::from(buffer[3] & 0xf)), (12, code));
            }
            // An answer is not answered, nor are three bytes.
            for bad in [with(2, 0x81), vec![1, 2, 3]] {
                socket.send(&bad).expect("sends");
            }
            socket.send(&good).expect("sends");
            assert_eq!(heard(&socket).expect("the question's").code(), 0);
            assert_eq!(world.server.asked().len(), 1);
        },
    );
}

#[test]
fn over_tcp_each_question_is_judged() {
    alone("names::over_tcp_each_question_is_judged", |world| {
        world.put(2, named(&["*.example"]));
        let mut stream = world.tcp(2, RESOLVER, 53);
        for (name, code) in [("a.example", 0), ("a.test", 3), ("b.example", 0)] {
            let answer = ask_by(&mut stream, name, A).expect("answers");
            assert_eq!(answer.code(), code, "{name}");
        }
        assert_eq!(world.server.asked().len(), 2);
        // Two in one segment, and one byte by byte.
        let question = message::ask(1, "c.example", A, false);
        let length = u16::try_from(question.len()).expect("short").to_be_bytes();
        let framed = [length.as_slice(), &question].concat();
        stream
            .write_all(&[framed.clone(), framed.clone()].concat())
            .expect("open");
        for byte in &framed {
            stream.set_nodelay(true).expect("set");
            stream.write_all(&[*byte]).expect("open");
        }
        for _ in 0..3 {
            assert_eq!(
                answer_by(&mut stream).expect("answers").addresses(),
                [ADDRESS]
            );
        }
        // A question of 64 KiB is none.
        stream.write_all(&[0xff, 0xff]).expect("open");
        assert!(is_reset(&mut stream));
        // More of them than there may be at once, one after the other.
        for _ in 0..2 * FLOWS {
            let mut stream = world.tcp(2, RESOLVER, 53);
            ask_by(&mut stream, "d.example", A).expect("answers");
        }
    });
}
