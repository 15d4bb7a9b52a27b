//! Guests that say whom a connection is for in ways that are to be misunderstood.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use warder_wire::egress_gateway::Why;
use warder_wire::net_egress::Ask;

use crate::fake::Netd;
use crate::world::{World, alone, id, named};

/// Where guests mean to go.
const MEANT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 80);
const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// A ClientHello (RFC 8446, 4.1.2) with this server name, or none, and another extension.
fn hello(name: Option<&[u8]>, more: Option<(u16, &[u8])>) -> Vec<u8> {
    let long = |n: usize| u16::try_from(n).expect("short").to_be_bytes();
    let mut extensions = Vec::new();
    let mut add = |kind: u16, data: &[u8]| {
        extensions.extend(kind.to_be_bytes());
        extensions.extend(long(data.len()));
        extensions.extend(data);
    };
    if let Some(name) = name {
        let entry = [&[0][..], &long(name.len()), name].concat();
        add(0, &[&long(entry.len())[..], &entry].concat());
    }
    if let Some((kind, data)) = more {
        add(kind, data);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(long(extensions.len()));
    body.extend(extensions);
    let mut record = vec![22, 3, 1];
    record.extend(long(body.len() + 4));
    record.extend([1, 0]);
    record.extend(long(body.len()));
    record.extend(body);
    record
}

fn dials(world: &World) -> usize {
    let asked = world.with_netd(Netd::asked);
    asked
        .iter()
        .filter(|ask| matches!(ask, Ask::Dial { .. }))
        .count()
}

/// What comes back until the end, which is no reset.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("ends in order");
    answer
}

/// Sandbox 2 sends this from its namespace and is refused; what it is told.
fn refused(world: &World, port: u16, bytes: &[u8], why: Why) -> Vec<u8> {
    let before = dials(world);
    let mut stream = world.tcp(2, MEANT, port);
    stream.write_all(bytes).expect("open");
    let told = rest(&mut stream);
    let event = world.gateway.refused(|r| r.why == why && r.port == port);
    assert_eq!((event.sandbox, event.address), (id(2), MEANT));
    assert_eq!(dials(world), before, "nobody is dialled");
    told
}

fn is_403(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    text.starts_with("HTTP/1.1 403 ") && text.contains(r#""error":"egress_denied""#)
}

#[test]
fn an_encrypted_client_hello_decides_nothing() {
    alone(
        "hostile::an_encrypted_client_hello_decides_nothing",
        |world| {
            world.put(2, named(&["a.example"]));
            let ech = [&[0, 0, 1, 0, 1, 7, 0, 32][..], &[9; 32], &[0, 16], &[8; 16]].concat();
            let bytes = hello(Some(b"a.example"), Some((0xfe0d, &ech)));
            assert_eq!(refused(world, 443, &bytes, Why::HiddenName), ACCESS_DENIED);
        },
    );
}

#[test]
fn no_name_is_no_name() {
    alone("hostile::no_name_is_no_name", |world| {
        world.put(2, named(&["*"]));
        for bytes in [hello(None, None), hello(Some(b"198.51.100.80"), None)] {
            assert_eq!(refused(world, 443, &bytes, Why::NoName), ACCESS_DENIED);
        }
        for host in ["198.51.100.80", "[2001:db8::1]:80", ""] {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert!(is_403(&refused(world, 80, request.as_bytes(), Why::NoName)));
        }
    });
}

#[test]
fn what_is_almost_a_name_is_none() {
    alone("hostile::what_is_almost_a_name_is_none", |world| {
        world.put(2, named(&["*", "a.example"]));
        let long = "a.".repeat(126) + "bc";
        for name in [
            long.as_bytes(),
            "\u{430}.example".as_bytes(),
            b"a.example\0",
            b"a.example..",
            b"\xff",
        ] {
            let told = refused(world, 443, &hello(Some(name), None), Why::NotUnderstood);
            assert_eq!(told, DECODE_ERROR, "{name:?}");
            let request = [&b"GET / HTTP/1.1\r\nHost: "[..], name, b"\r\n\r\n"].concat();
            assert!(is_403(&refused(world, 80, &request, Why::NotUnderstood)));
        }
    });
}

#[test]
fn a_client_hello_is_judged_however_it_comes() {
    alone(
        "hostile::a_client_hello_is_judged_however_it_comes",
        |world| {
            world.put(2, named(&["a.example"]));
            for (name, allowed) in [("a.example", true), ("b.example", false)] {
                let whole = hello(Some(name.as_bytes()), None);
                // One byte in each record, each in a segment of its own.
                let mut stream = world.tcp(2, MEANT, 443);
                stream.set_nodelay(true).expect("set");
                for byte in &whole[5..] {
                    stream.write_all(&[22, 3, 1, 0, 1, *byte]).expect("open");
                }
                match allowed {
                    true => world.with_netd(|n| n.wait_asked(|a| matches!(a, Ask::Dial { .. }))),
                    false => assert_eq!(rest(&mut stream), ACCESS_DENIED),
                }
            }
            assert_eq!(dials(world), 1);
            // One that never ends.
            let whole = hello(Some(b"a.example"), None);
            let told = refused(world, 443, &whole[..whole.len() - 1], Why::NotUnderstood);
            assert_eq!(told, DECODE_ERROR);
        },
    );
}

#[test]
fn http2_hides_no_requests() {
    alone("hostile::http2_hides_no_requests", |world| {
        world.put(2, named(&["a.example"]));
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let told = refused(world, 80, preface, Why::NotUnderstood);
        assert_eq!(
            (told[3], told[12], &told[22..26]),
            (4, 7, &[0, 0, 0, 13][..])
        );
    });
}

#[test]
fn a_second_host_goes_nowhere() {
    alone("hostile::a_second_host_goes_nowhere", |world| {
        world.put(2, named(&["a.example"]));
        let first = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        for second in [
            "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n",
            "GET http://b.test/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            let mut stream = world.tcp(2, MEANT, 80);
            let both = format!("{first}{second}");
            stream.write_all(both.as_bytes()).expect("open");
            let told = rest(&mut stream);
            let hello = told.windows(5).position(|w| w == b"hello");
            let (answer, refusal) = told.split_at(hello.expect("the first is answered") + 5);
            assert!(
                answer.starts_with(b"HTTP/1.1 200 ") && is_403(refusal),
                "{second}"
            );
        }
        let event = world.gateway.refused(|r| r.why == Why::Name);
        assert_eq!(event.name.expect("seen").as_str(), "b.test");
    });
}
