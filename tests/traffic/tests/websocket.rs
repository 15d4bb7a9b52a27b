//! WebSockets through the gateway: what the protocol allows arrives as it was sent, and what it forbids is for the
//! server to judge, so it arrives too. The cases are those of the usual conformance suites.

use warder_traffic::Site;
use warder_traffic::ws::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WebSocket, frame};

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|n| u8::try_from(n % 251).unwrap_or_default())
        .collect()
}

/// One instance for all: each case has a connection of its own.
#[test]
fn websockets_pass_unchanged() {
    let site = Site::start();
    messages_of_every_length(&site);
    pings_and_pongs(&site);
    fragments(&site);
    text(&site);
    closing(&site);
    what_is_forbidden(&site);
    half_open(&site);
    many_at_once(&site);
    site.finish();
}

fn messages_of_every_length(site: &Site) {
    let mut socket = WebSocket::open(site, "/ws");
    for length in [
        0,
        1,
        125,
        126,
        127,
        128,
        65_535,
        65_536,
        65_537,
        1 << 20,
        16 << 20,
    ] {
        let payload = pattern(length);
        socket.send(true, BINARY, &payload);
        socket.expect(BINARY, &payload);
    }
    for length in [0, 125, 126, 65_536] {
        let payload = "*".repeat(length);
        socket.send(true, TEXT, payload.as_bytes());
        socket.expect(TEXT, payload.as_bytes());
    }
    // In the smallest pieces TCP has.
    for byte in frame(0x80 | BINARY, &pattern(200), MASK) {
        socket.raw(&[byte]);
    }
    socket.expect(BINARY, &pattern(200));
    socket.send(true, CLOSE, &1000_u16.to_be_bytes());
    socket.expect_close(1000);
}

fn pings_and_pongs(site: &Site) {
    let mut socket = WebSocket::open(site, "/ws");
    for payload in [&b""[..], b"Hello", &[0, 0xff, 0xfe, 0xfd], &pattern(125)] {
        socket.send(true, PING, payload);
        socket.expect(PONG, payload);
    }
    // Nobody asked for it, and nobody answers it.
    socket.send(true, PONG, b"unasked");
    for n in 0..10_u8 {
        socket.send(true, PING, &[n]);
    }
    for n in 0..10_u8 {
        socket.expect(PONG, &[n]);
    }
    socket.send(true, PING, &pattern(126));
    socket.expect_close(1002);
}

fn fragments(site: &Site) {
    let mut socket = WebSocket::open(site, "/ws");
    socket.send(false, TEXT, b"one ");
    socket.send(true, CONTINUATION, b"two");
    socket.expect(TEXT, b"one two");
    // Control frames between the parts are answered before the message.
    socket.send(false, BINARY, b"a");
    socket.send(true, PING, b"between");
    socket.send(false, CONTINUATION, b"");
    socket.send(true, PING, b"again");
    socket.send(true, CONTINUATION, b"b");
    socket.expect(PONG, b"between");
    socket.expect(PONG, b"again");
    socket.expect(BINARY, b"ab");
    let whole = pattern(3000);
    for (n, byte) in whole.iter().enumerate() {
        let opcode = if n == 0 { BINARY } else { CONTINUATION };
        socket.send(n + 1 == whole.len(), opcode, &[*byte]);
    }
    socket.expect(BINARY, &whole);
    // All in one segment.
    let joined = [
        frame(TEXT, b"x", MASK),
        frame(0x80 | PING, b"p", MASK),
        frame(0x80, b"y", MASK),
        frame(0x80 | TEXT, b"z", MASK),
    ];
    socket.raw(&joined.concat());
    socket.expect(PONG, b"p");
    socket.expect(TEXT, b"xy");
    socket.expect(TEXT, b"z");
    // A message that begins inside another, an end without a beginning, and a control frame in parts.
    socket.send(false, TEXT, b"one");
    socket.send(true, TEXT, b"two");
    socket.expect_close(1002);
    for bad in [
        frame(0x80 | CONTINUATION, b"x", MASK),
        frame(CONTINUATION, b"x", MASK),
        frame(PING, b"x", MASK),
        frame(CLOSE, b"", MASK),
    ] {
        let mut socket = WebSocket::open(site, "/ws");
        socket.raw(&bad);
        socket.expect_close(1002);
    }
}

fn text(site: &Site) {
    let mut socket = WebSocket::open(site, "/ws");
    let valid = "κόσμε 日本語 \u{10ffff}\u{0}";
    socket.send(true, TEXT, valid.as_bytes());
    socket.expect(TEXT, valid.as_bytes());
    // Cut in the middle of a character.
    socket.send(false, TEXT, &valid.as_bytes()[..1]);
    socket.send(true, CONTINUATION, &valid.as_bytes()[1..]);
    socket.expect(TEXT, valid.as_bytes());
    for wrong in [
        &[0xce, 0xba, 0xed, 0xa0, 0x80][..],
        &[0xc0, 0xaf],
        &[0xf4, 0x90, 0x80, 0x80],
        &[0xff],
        &[0xe2, 0x82],
    ] {
        let mut socket = WebSocket::open(site, "/ws");
        socket.send(true, TEXT, wrong);
        socket.expect_close(1007);
    }
    let mut socket = WebSocket::open(site, "/ws");
    socket.send(false, TEXT, b"\xce\xba");
    socket.send(true, CONTINUATION, b"\xed\xa0\x80");
    socket.expect_close(1007);
}

fn closing(site: &Site) {
    for code in [
        1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        let mut socket = WebSocket::open(site, "/ws");
        let why = "*".repeat(123);
        socket.send(true, CLOSE, &[&code.to_be_bytes(), why.as_bytes()].concat());
        socket.expect_close(code);
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1016, 1100, 2999, 5000, 65_535] {
        let mut socket = WebSocket::open(site, "/ws");
        socket.send(true, CLOSE, &code.to_be_bytes());
        socket.expect_close(1002);
    }
    let mut socket = WebSocket::open(site, "/ws");
    socket.send(true, CLOSE, b"");
    socket.expect(CLOSE, b"");
    assert_eq!(socket.receive(), None);
    for (wrong, code) in [(&b"\x03"[..], 1002), (b"\x03\xe8\xff", 1007)] {
        let mut socket = WebSocket::open(site, "/ws");
        socket.send(true, CLOSE, wrong);
        socket.expect_close(code);
    }
    // What comes behind the end is nobody's.
    let mut socket = WebSocket::open(site, "/ws");
    let both = [
        frame(0x80 | CLOSE, &1000_u16.to_be_bytes(), MASK),
        frame(0x80 | TEXT, b"late", MASK),
    ];
    socket.raw(&both.concat());
    socket.expect_close(1000);
}

fn what_is_forbidden(site: &Site) {
    let mut bad = vec![frame(0x80 | TEXT, b"unmasked", None)];
    for reserved in [0x10, 0x20, 0x40, 0x70] {
        bad.push(frame(0x80 | reserved | TEXT, b"x", MASK));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        bad.push(frame(0x80 | opcode, b"", MASK));
    }
    for bytes in bad {
        let mut socket = WebSocket::open(site, "/ws");
        socket.send(true, TEXT, b"before");
        socket.raw(&bytes);
        socket.expect(TEXT, b"before");
        socket.expect_close(1002);
    }
}

/// Either side may end its own direction and go on in the other.
fn half_open(site: &Site) {
    let mut socket = WebSocket::open(site, "/ws");
    socket.send(true, TEXT, b"the last");
    socket.end_sending();
    socket.expect(TEXT, b"the last");
    socket.expect(TEXT, b"no more");
    assert_eq!(socket.receive(), None);

    let mut socket = WebSocket::open(site, "/ws-half");
    socket.expect(TEXT, b"last words");
    assert_eq!(socket.receive(), None);
    let sent = frame(0x80 | BINARY, &pattern(100_000), MASK);
    socket.raw(&sent);
    socket.end_sending();
    let wanted = format!(" {}", sent.len());
    while !site.get("/counts").ends_with(&wanted) {
        std::thread::yield_now();
    }
}

fn many_at_once(site: &Site) {
    let mut sockets: Vec<WebSocket> = (0..50).map(|_| WebSocket::open(site, "/ws")).collect();
    for (n, socket) in sockets.iter_mut().enumerate() {
        socket.send(true, TEXT, n.to_string().as_bytes());
    }
    for (n, socket) in sockets.iter_mut().enumerate().rev() {
        socket.expect(TEXT, n.to_string().as_bytes());
    }
}
