use proptest::prelude::*;

use super::*;
use crate::Odd;
use crate::sniff::MAX_HEAD;

fn parse(text: &str) -> Result<Head, Odd> {
    Head::parse(text.as_bytes())
}

fn name_of(text: &str) -> Result<Option<String>, Odd> {
    parse(text).map(|head| head.name.map(|name| name.to_string()))
}

/// With a Host, and these fields.
fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: example.com\r\n{fields}\r\n")
}

#[test]
fn the_host_is_one_and_plain() {
    let name = |text: &str| Ok(Some(text.to_owned()));
    for (text, wanted) in [
        (
            "GET / HTTP/1.1\r\nHost: Example.COM.\r\n\r\n",
            name("example.com"),
        ),
        (
            "GET / HTTP/1.1\r\nhOsT:example.com:8080 \r\n\r\n",
            name("example.com"),
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: example.com\r\n\r\n",
            name("example.com"),
        ),
        (
            "GET //evil.example/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
            name("example.com"),
        ),
        (
            "GET HTTP://example.com HTTP/1.1\r\nHost: example.com:80\r\n\r\n",
            name("example.com"),
        ),
        (
            "GET http://example.com/?x HTTP/1.1\r\nHost: example.com\r\n\r\n",
            name("example.com"),
        ),
        ("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", Ok(None)),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", Ok(None)),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Ok(None)),
        ("GET / HTTP/1.0\r\n\r\n", Ok(None)),
    ] {
        assert_eq!(name_of(text), wanted, "{text}");
    }
    let long = format!("GET / HTTP/1.1\r\nHost: {}bc\r\n\r\n", "a.".repeat(126));
    for text in [
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\nhost: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: b\u{fc}cher.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\n b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nX: y\r\n\tHost: b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a.example\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\nHost: b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\rHost: b.example\r\n\r\n",
        "GET / HTTP/1.1\nHost: a.example\r\n\r\n",
        "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET http://a.example@b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\n\r\n",
        "GET http:///x HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET a.example HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET / x HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a.example\r\n\r\n",
        "GET /\r\nHost: a.example\r\n\r\n",
        &long,
    ] {
        assert!(matches!(parse(text), Err(Odd::Http(_))), "{text}");
    }
    assert_eq!(parse("PRI * HTTP/2.0\r\n\r\n"), Err(Odd::Http2));
}

#[test]
fn a_body_ends_in_one_way_or_is_refused() {
    let body = |fields| parse(&get(fields)).map(|head| head.body);
    assert_eq!(body(""), Ok(Body::Length(0)));
    assert_eq!(body("Content-Length: 17\r\n"), Ok(Body::Length(17)));
    assert_eq!(body("Transfer-Encoding: Chunked\r\n"), Ok(Body::Chunked));
    for fields in [
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: 1, 1\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x1\r\n",
        "Content-Length: 1 1\r\n",
        "Content-Length:\r\n",
        "Content-Length: 9999999999999999999\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
    ] {
        assert!(matches!(body(fields), Err(Odd::Http(_))), "{fields}");
    }
    let old = "POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(parse(old), Err(Odd::Http("where its body ends")));
}

#[test]
fn an_upgrade_to_http2_is_not_passed_on() {
    let head = parse(&get("Upgrade: websocket\r\n")).expect("good");
    assert!(head.upgrade && head.withheld.is_empty());
    for value in ["h2c", "H2C, websocket", "websocket, h2c-14", "HTTP/2.0"] {
        let text = get(&format!(
            "A: b\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {value}\r\nHTTP2-Settings: AAM\r\nC: d\r\n"
        ));
        let head = parse(&text).expect("good");
        assert!(!head.upgrade, "{value}");
        let sent: Vec<u8> = head.sent_on(text.as_bytes()).flatten().copied().collect();
        let wanted = get("A: b\r\nConnection: Upgrade, HTTP2-Settings\r\nC: d\r\n");
        assert_eq!(String::from_utf8_lossy(&sent), wanted);
    }
    let text = get("A: b\r\n");
    let head = parse(&text).expect("good");
    assert_eq!(
        head.sent_on(text.as_bytes()).collect::<Vec<_>>(),
        [text.as_bytes()]
    );
}

/// All that a connection's bytes are taken for: heads (their names), bytes of bodies, how it ended.
fn all(bytes: &[u8], sizes: &[usize]) -> (Vec<Option<String>>, Vec<u8>, Option<Odd>) {
    let (mut requests, mut waiting) = (Requests::default(), Vec::new());
    let (mut names, mut body) = (Vec::new(), Vec::new());
    let mut sizes = sizes.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (now, after) = rest.split_at((*sizes.next().expect("a cycle")).min(rest.len()));
        waiting.extend_from_slice(now);
        rest = after;
        loop {
            match requests.step(&waiting) {
                Ok(Step::More) => break,
                Ok(Step::Empty(count)) => drop(waiting.drain(..count)),
                Ok(Step::Head(head, count)) => {
                    names.push(head.name.map(|name| name.to_string()));
                    drop(waiting.drain(..count));
                }
                Ok(Step::Body(count)) => body.extend(waiting.drain(..count)),
                Err(odd) => return (names, body, Some(odd)),
            }
        }
    }
    (names, body, None)
}

#[test]
fn requests_follow_each_other_wherever_they_are_cut() {
    let bytes = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nGET /\
        \r\nGET / HTTP/1.1\r\nHost: b.example\r\n\r\n\
        POST / HTTP/1.1\r\nHost: c.example\r\nTransfer-Encoding: chunked\r\n\r\n\
        19;x=\"y\"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n0\r\nTrailer: x\r\n\r\nGET / HTTP/1.1\r\nHost: d.example\r\n\r\n";
    let chunk = b"19;x=\"y\"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n0\r\nTrailer: x\r\n\r\n";
    let names = ["a", "b", "c", "d"].map(|n| Some(format!("{n}.example")));
    for size in 1..=bytes.len() {
        let found = all(bytes, &[size]);
        assert_eq!(found.0, names, "{size}");
        assert_eq!(found.1, [b"GET /", &chunk[..]].concat());
        assert_eq!(found.2, None);
    }
}

#[test]
fn chunks_that_could_be_read_otherwise_are_refused() {
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        ";x\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "-1\r\n",
        "ffffffffffffffff\r\n",
        "00000000000000000\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "0\r\nHost: b.example\r\n\r\n",
        "0\r\ntransfer-encoding: chunked\r\n\r\n",
        "0\r\nA: b\r\nContent-Length: 7\r\n\r\n",
        "0\r\nA : b\r\n\r\n",
        "0\r\n A: b\r\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\nA: b\r\n\n",
    ] {
        let bytes = get("Transfer-Encoding: chunked\r\n") + body;
        for size in [1, 2, 7, 1000] {
            let odd = all(bytes.as_bytes(), &[size]).2;
            assert!(matches!(odd, Some(Odd::Http(_))), "{body:?} {odd:?}");
        }
    }
    let long = get("Transfer-Encoding: chunked\r\n") + "5;" + &"x".repeat(2000);
    assert!(all(long.as_bytes(), &[900]).2.is_some());
    let trailers = get("Transfer-Encoding: chunked\r\n") + "0\r\n" + &"A: b\r\n".repeat(2000);
    assert!(all(trailers.as_bytes(), &[900]).2.is_some());
}

#[test]
fn what_could_hide_a_second_request_is_refused() {
    let smuggled = "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    for first in [
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.example\r\nX: y\nContent-Length: 44\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\nX: y\n\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ] {
        let found = all(format!("{first}{smuggled}").as_bytes(), &[1000]);
        assert!(found.0.is_empty() && found.2.is_some(), "{first}");
    }
}

#[test]
fn a_head_that_does_not_end_is_too_long() {
    let long = get(&format!("X: {}\r\n", "x".repeat(MAX_HEAD)));
    for size in [1000, MAX_HEAD + 100] {
        assert_eq!(all(long.as_bytes(), &[size]).2, Some(Odd::TooLong));
    }
    let many = get(&"X: y\r\n".repeat(200));
    assert_eq!(
        all(many.as_bytes(), &[1000]).2,
        Some(Odd::Http("too many fields"))
    );
}

fn plain() -> Asked {
    Asked {
        head_only: false,
        upgrade: false,
    }
}

#[test]
fn answers_are_counted_wherever_they_are_cut() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
        HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n\
        HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    for size in 1..=bytes.len() {
        let mut responses = Responses::default();
        for head_only in [false, false, false, true, false] {
            responses.asked(Asked {
                head_only,
                ..plain()
            });
        }
        bytes.chunks(size).for_each(|chunk| responses.saw(chunk));
        assert_eq!(responses.waiting(), Some(1), "{size}");
        responses.saw(b"HTTP/1.1 200 OK\r\n\r\nto the end");
        assert_eq!(responses.waiting(), Some(1));
        responses.saw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(responses.waiting(), Some(1));
    }
}

#[test]
fn an_upgrade_is_granted_by_101_to_its_own_request_alone() {
    let upgrade = Asked {
        upgrade: true,
        ..plain()
    };
    let granted = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
    let mut responses = Responses::default();
    responses.asked(plain());
    responses.asked(upgrade);
    assert_eq!(responses.upgrade(), Upgrade::Asked);
    // In a body it is no answer.
    responses.saw(b"HTTP/1.1 200 OK\r\nContent-Length: 48\r\n\r\n");
    assert_eq!(granted.len(), 48);
    responses.saw(granted);
    assert_eq!(responses.upgrade(), Upgrade::Asked);
    responses.saw(granted);
    assert_eq!(responses.upgrade(), Upgrade::Granted);
    responses.saw(b"anything");
    assert_eq!(responses.upgrade(), Upgrade::Granted);

    let mut responses = Responses::default();
    responses.asked(upgrade);
    responses.saw(b"HTTP/1.1 426 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(responses.upgrade(), Upgrade::Not);

    let mut responses = Responses::default();
    responses.asked(plain());
    responses.saw(granted);
    responses.asked(upgrade);
    assert_eq!(responses.upgrade(), Upgrade::Unknown);
}

#[test]
fn answers_that_are_not_plain_grant_nothing() {
    for bytes in [
        "ICY 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\nContent-Length: 0\n\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx".to_owned(),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD)),
    ] {
        for size in [1, 700, MAX_HEAD * 2] {
            let mut responses = Responses::default();
            responses.asked(plain());
            bytes
                .as_bytes()
                .chunks(size)
                .for_each(|chunk| responses.saw(chunk));
            assert_eq!(responses.waiting(), None, "{size}");
            responses.saw(b"HTTP/1.1 101 Yes\r\n\r\n");
            assert_ne!(responses.upgrade(), Upgrade::Granted);
        }
    }
}

/// Pieces that requests are made of, good and bad.
fn piece() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /x HTTP/1.1\r\n",
        "Host: a.example\r\n",
        "Host: b.example\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "X: y\n",
        "X: y\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "\0",
        "3\r\n",
        "abc",
        "0\r\n",
        "ff;x\r\n",
    ])
}

proptest! {
    #[test]
    fn requests_are_the_same_however_they_are_cut(
        pieces in proptest::collection::vec(piece(), 0..24),
        sizes in proptest::collection::vec(1..50_usize, 1..10),
    ) {
        let bytes = pieces.concat();
        let whole = all(bytes.as_bytes(), &[usize::MAX]);
        let cut = all(bytes.as_bytes(), &sizes);
        prop_assert_eq!(&cut.0, &whole.0);
        // What is wrong is seen at its byte, so that more of a body may have gone before.
        prop_assert!(cut.1.starts_with(&whole.1));
        prop_assert_eq!(cut.2.is_some(), whole.2.is_some());
    }

    #[test]
    fn answers_are_the_same_however_they_are_cut(
        bytes in proptest::collection::vec(
            proptest::sample::select(vec![
                "HTTP/1.1 200 OK\r\n", "HTTP/1.1 101 X\r\n", "HTTP/1.1 100 X\r\n", "Content-Length: 2\r\n",
                "Transfer-Encoding: chunked\r\n", "\r\n", "ab", "2\r\n", "0\r\n", "\n",
            ]),
            0..30,
        ),
        sizes in proptest::collection::vec(1..50_usize, 1..10),
        asked in proptest::collection::vec(any::<(bool, bool)>(), 0..5),
    ) {
        let bytes = bytes.concat();
        let with = |sizes: &[usize]| {
            let mut responses = Responses::default();
            for (head_only, upgrade) in &asked {
                responses.asked(Asked { head_only: *head_only, upgrade: *upgrade });
            }
            let (mut rest, mut sizes) = (bytes.as_bytes(), sizes.iter().cycle());
            while !rest.is_empty() {
                let (now, after) = rest.split_at((*sizes.next().expect("a cycle")).min(rest.len()));
                responses.saw(now);
                rest = after;
            }
            (responses.waiting(), responses.upgrade())
        };
        prop_assert_eq!(with(&sizes), with(&[usize::MAX]));
    }
}
