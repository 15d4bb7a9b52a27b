//! The beginnings of connections, requests and answers of HTTP/1, and what SOCKS5 proxies say: cut anywhere, they mean
//! the same, and what goes on is never more than what came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warder_web::http::{Asked, Requests, Responses, Step};
use warder_web::sniff::{Protocol, Sniffer};
use warder_web::socks::{self, Socks, Target};
use warder_wire::{Proxy, ProxyHost};

fn beginning(protocol: Protocol, bytes: &[u8], size: usize) {
    let push = |size: usize| {
        let mut sniffer = Sniffer::new(protocol);
        for chunk in bytes.chunks(size) {
            let chunk = &chunk[..chunk.len().min(sniffer.room())];
            match sniffer.push(chunk) {
                Ok(None) => {}
                other => return other.map_err(|_| ()),
            }
        }
        Ok(None)
    };
    let (whole, cut) = (push(usize::MAX), push(size));
    // Empty lines are not counted, so that only what was cut may get beyond the limit.
    if bytes.len() < warder_web::sniff::MAX_HEAD {
        assert_eq!(whole, cut);
    }
}

fn requests(bytes: &[u8], size: usize) -> Vec<(Option<String>, usize)> {
    let (mut requests, mut waiting) = (Requests::default(), Vec::new());
    let (mut heads, mut gone) = (Vec::new(), 0);
    for chunk in bytes.chunks(size) {
        waiting.extend_from_slice(chunk);
        loop {
            let count = match requests.step(&waiting) {
                Ok(Step::More) => break,
                Ok(Step::Empty(count) | Step::Body(count)) => count,
                Ok(Step::Head(head, count)) => {
                    let sent: usize = head.sent_on(&waiting[..count]).map(<[u8]>::len).sum();
                    assert!(sent <= count, "more goes on than came");
                    heads.push((head.name.map(|name| name.to_string()), gone));
                    count
                }
                Err(_) => return heads,
            };
            assert!(count > 0 && count <= waiting.len());
            waiting.drain(..count);
            gone += count;
        }
    }
    heads
}

fuzz_target!(|data: &[u8]| {
    let Some((size, bytes)) = data.split_first() else { return };
    let size = usize::from(*size).max(1);
    beginning(Protocol::Tls, bytes, size);
    beginning(Protocol::Http, bytes, size);
    assert_eq!(requests(bytes, size), requests(bytes, usize::MAX));

    let mut responses = Responses::default();
    for upgrade in [false, true, false] {
        responses.asked(Asked { head_only: false, upgrade });
    }
    bytes.chunks(size).for_each(|chunk| responses.saw(chunk));

    let host = ProxyHost::Address([192, 0, 2, 1].into());
    let proxy = Proxy { host, port: 1080, login: Some(("a".into(), "b".into())) };
    let target = Target::Address([192, 0, 2, 2].into());
    let (mut socks, _) = Socks::new(&proxy, &target, 80);
    for chunk in bytes.chunks(size) {
        match socks.push(chunk) {
            Ok(socks::Step::Read(more)) => assert!(more > 0),
            Ok(socks::Step::Send(_)) => {}
            Ok(socks::Step::Open) | Err(_) => break,
        }
    }
});
