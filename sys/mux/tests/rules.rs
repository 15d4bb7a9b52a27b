//! Each end against another one that breaks the rules, went away, or comes back.

mod by;

use std::os::unix::net::UnixStream as Plain;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use warder_mux::frame::{CONSOLE_ROOM, Frame, LEAST_ROOM, MOST, PIECE, Target, VERSION, WINDOW};
use warder_mux::line::encode;
use warder_mux::{Guest, Host, Incoming, MuxError};
use warder_wire::link::{Refusal, Role};

use by::{By, NONCE, hello, socket, soon};

/// What becomes of a gateway whose guest says this after one stream was opened, and then refuses the next one.
async fn said(frames: &[(u64, Frame)]) -> (Host, Result<Plain, MuxError>) {
    let (host, mut guest) = By::greeted(CONSOLE_ROOM).await;
    let (open, ()) = tokio::join!(host.port(80), async {
        let asked = guest.hear_of_a_stream().await;
        assert_eq!(asked, Some((1, Frame::Open(Target::Port(80)))));
        guest.say(1, Frame::Opened).await;
    });
    let _open = open.expect("open");
    let both = async {
        tokio::join!(host.port(81), async {
            for (number, frame) in frames {
                guest.say(*number, frame.clone()).await;
            }
            while let Some((_, frame)) = guest.hear_of_a_stream().await {
                if matches!(frame, Frame::Open(_)) {
                    guest.say(2, Frame::Refused(Refusal::Closed)).await;
                }
            }
        })
    };
    let (answer, ()) = soon(both).await;
    (host, answer)
}

#[tokio::test]
async fn a_guest_that_breaks_the_rules_loses_the_connection() {
    // The socket takes some of it; nobody reads that.
    let much = vec![(1, Frame::Data(vec![0; MOST])); 4 * WINDOW / MOST];
    for frames in [
        vec![(1, Frame::Open(Target::Port(1)))],
        vec![(5, Frame::Data(vec![1]))],
        vec![(1, Frame::Opened)],
        vec![(1, Frame::Refused(Refusal::Closed))],
        vec![(1, Frame::Credit(u32::MAX))],
        vec![(0, Frame::Took(u32::MAX))],
        vec![(0, Frame::Bye)],
        vec![(0, Frame::Hello(hello(NONCE, CONSOLE_ROOM)))],
        vec![(0, Frame::Welcome(hello([2; 16], CONSOLE_ROOM)))],
        vec![(1, Frame::End), (1, Frame::End)],
        vec![(1, Frame::End), (1, Frame::Data(vec![1]))],
        much,
    ] {
        let (host, answer) = soon(said(&frames)).await;
        assert!(matches!(answer, Err(MuxError::Over)), "{answer:?}");
        assert!(host.is_over());
        assert!(matches!(soon(host.ready()).await, Err(MuxError::Over)));
    }
}

#[tokio::test]
async fn what_a_guest_may_say_keeps_the_connection() {
    let (host, mut guest) = By::greeted(CONSOLE_ROOM).await;
    let again = Frame::Welcome(hello(NONCE, CONSOLE_ROOM));
    let (first, ()) = tokio::join!(host.port(80), async {
        guest.hear_of_a_stream().await;
        guest.say(0, again).await;
        guest.say(1, Frame::Opened).await;
        guest.say(1, Frame::Data(vec![1])).await;
        guest.say(1, Frame::End).await;
        guest.say(1, Frame::Reset).await;
        // It is over already.
        guest.say(1, Frame::Data(vec![1])).await;
    });
    let _first = first.expect("open");
    let (second, ()) = tokio::join!(host.port(81), async {
        while !matches!(guest.hear_of_a_stream().await, Some((2, Frame::Open(_)))) {}
        guest.say(2, Frame::Refused(Refusal::TimedOut)).await;
    });
    assert!(matches!(second, Err(MuxError::Refused(Refusal::TimedOut))));
    assert!(!host.is_over());
}

/// Rubbish, and what an earlier gateway was sent, before the answer; the first hello is lost.
#[tokio::test]
async fn a_gateway_finds_its_answer_in_what_is_left_of_others() {
    let (host, mut guest) = By::guest();
    assert!(matches!(guest.hear().await, Some((0, Frame::Hello(_)))));
    let rest = &encode(9, &Frame::Data(vec![7; 1000]))[500..];
    guest.stream.write_all(rest).await.expect("room");
    for frame in [
        (0, Frame::Welcome(hello([9; 16], CONSOLE_ROOM))),
        (0, Frame::Bye),
        (3, Frame::Opened),
        (4, Frame::Data(vec![0; 100])),
    ] {
        guest.say(frame.0, frame.1).await;
    }
    let boot = b"Copyright (c) 1992-2025 The FreeBSD Project.\r\n\0\0\xff\xff";
    guest.stream.write_all(boot).await.expect("room");
    assert!(matches!(guest.hear().await, Some((0, Frame::Hello(h))) if h.nonce == NONCE));
    // Its beginning is lost among the rubbish, unless it begins anew.
    guest.stream.write_all(&[0]).await.expect("room");
    guest
        .say(0, Frame::Welcome(hello(NONCE, CONSOLE_ROOM)))
        .await;
    soon(host.ready()).await.expect("found");
}

#[tokio::test]
async fn a_machine_that_says_rubbish_without_end_is_given_up() {
    let (host, mut guest) = By::guest();
    let talk = async {
        let some = vec![b'x'; 64 * 1024];
        while guest.stream.write_all(&some).await.is_ok() {}
    };
    soon(talk).await;
    assert!(matches!(soon(host.ready()).await, Err(MuxError::Over)));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_says_nothing_is_given_up() {
    let (host, guest) = By::guest();
    let waiting = host.port(80);
    assert!(matches!(host.ready().await, Err(MuxError::Over)));
    assert!(matches!(waiting.await, Err(MuxError::Over)));
    drop(guest);
}

#[tokio::test]
async fn an_agent_of_another_version_is_named() {
    let (host, mut guest) = By::guest();
    let mut old = hello(NONCE, LEAST_ROOM);
    old.version = VERSION + 1;
    guest.say(0, Frame::Welcome(old)).await;
    let answer = soon(host.ready()).await;
    assert!(matches!(answer, Err(MuxError::Version(n)) if n == VERSION + 1));
    assert!(host.is_over());
}

/// A guest that took the word and then forgot it, and says nothing at all.
#[tokio::test]
async fn an_agent_that_answers_no_stream_loses_the_connection() {
    let (host, mut guest) = By::greeted(CONSOLE_ROOM).await;
    let socket = host.agent(Role::Client).expect("room");
    let asked = guest.hear_of_a_stream().await;
    assert_eq!(asked, Some((1, Frame::Open(Target::Agent(Role::Client)))));
    assert!(!host.is_over());
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(host.is_over());
    assert!(matches!(host.port(80).await, Err(MuxError::Over)));
    drop(socket);
}

/// The guest's port 8 neither says anything nor goes.
#[tokio::test]
async fn a_closed_socket_is_told_from_a_half_closed_one() {
    let (host, mut guest) = By::greeted(CONSOLE_ROOM).await;
    let (open, ()) = tokio::join!(host.port(80), async {
        guest.hear_of_a_stream().await;
        guest.say(1, Frame::Opened).await;
    });
    drop(open.expect("open"));
    assert_eq!(guest.hear_of_a_stream().await, Some((1, Frame::End)));
    assert_eq!(guest.hear_of_a_stream().await, Some((1, Frame::Reset)));
}

#[tokio::test]
async fn an_agent_that_does_not_answer_is_asked_no_more_than_so_often() {
    let (host, _guest) = By::guest();
    let asked: Vec<_> = (0..2000).map(|_| host.agent(Role::Client)).collect();
    assert!(matches!(
        asked.into_iter().find_map(Result::err),
        Some(MuxError::TooMany)
    ));
    assert!(!host.is_over());
}

/// Whoever stops waiting takes no place for long, and what is answered afterwards is no fault.
#[tokio::test]
async fn a_stream_that_is_given_up_is_told_so() {
    let (host, mut guest) = By::greeted(CONSOLE_ROOM).await;
    for number in 1..=2000 {
        let asked = tokio::spawn({
            let host = host.clone();
            async move { host.port(80).await }
        });
        let open = (number, Frame::Open(Target::Port(80)));
        assert_eq!(guest.hear_of_a_stream().await, Some(open));
        asked.abort();
        let _ = asked.await;
        assert_eq!(guest.hear_of_a_stream().await, Some((number, Frame::Reset)));
        guest.say(number, Frame::Opened).await;
        // As an agent does that takes what it is sent.
        let took = u32::try_from(std::mem::take(&mut guest.cost)).expect("little");
        guest.say(0, Frame::Took(took)).await;
    }
    assert!(!host.is_over());
}

/// A device keeps only so much for a guest that does not take it.
#[tokio::test]
async fn no_more_is_sent_than_there_is_room_for() {
    let (host, mut guest) = By::greeted(CONSOLE_ROOM).await;
    let (open, ()) = tokio::join!(host.port(80), async {
        guest.hear_of_a_stream().await;
        guest.take_in(1).await;
    });
    let open = open.expect("open");
    open.set_nonblocking(true).expect("own");
    let mut stream = UnixStream::from_std(open).expect("in a runtime");
    let sent = tokio::spawn(async move {
        let _ = stream.write_all(&[7; 64 * 1024]).await;
        stream
    });
    let (mut came, mut told) = (0, 0);
    let first = usize::try_from(CONSOLE_ROOM).expect("fits") - 300;
    while came < 64 * 1024 {
        while guest.cost < first / 2 && came < 64 * 1024 {
            match guest.hear_of_a_stream().await {
                Some((1, Frame::Data(bytes))) => came += bytes.len(),
                other => panic!("{other:?}"),
            }
        }
        let more = tokio::time::timeout(Duration::from_millis(20), guest.stream.readable()).await;
        let mut ahead = [0; 64 * 1024];
        let read = if more.is_ok() {
            guest.stream.try_read(&mut ahead).unwrap_or(0)
        } else {
            0
        };
        assert!(
            guest.cost + read <= usize::try_from(CONSOLE_ROOM).expect("fits") + PIECE,
            "{} and {read}",
            guest.cost
        );
        told += 1;
        let mut rest = &ahead[..read];
        while !rest.is_empty() {
            let (used, frame) = guest.decoder.take(rest);
            rest = &rest[used..];
            if let Some(Ok((stream, frame, cost))) = frame {
                guest.cost += cost;
                guest.came.push_back((stream, frame));
            }
        }
        let took = u32::try_from(std::mem::take(&mut guest.cost)).expect("little");
        guest.say(0, Frame::Took(took)).await;
    }
    assert!(told > 5, "all came at once");
    drop(soon(sent).await.expect("no panic"));
}

/// A gateway whose writer waits for room, with a part of it already: the third frame does not fit.
async fn waiting_for_room() -> (Host, By, OwnedReadHalf) {
    let (host, mut guest) = By::greeted(CONSOLE_ROOM).await;
    let (open, ()) = tokio::join!(host.port(80), async {
        guest.hear_of_a_stream().await;
        guest.take_in(1).await;
    });
    let (stream, mut write) = socket(open.expect("open")).into_split();
    tokio::spawn(async move {
        let _ = write.write_all(&[7; 16 * MOST]).await;
        std::future::pending::<()>().await;
    });
    let room = usize::try_from(CONSOLE_ROOM).expect("fits");
    while guest.cost + MOST + PIECE <= room {
        let came = guest.hear_of_a_stream().await;
        assert!(matches!(came, Some((1, Frame::Data(_)))), "{came:?}");
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    (host, guest, stream)
}

impl By {
    /// Says at once what the gateway owes a word for, and that so much of its own room is free again.
    async fn say_much_and_took(&mut self, took: usize) {
        // More than a third of the gateway's room.
        let mut bytes = encode(1, &Frame::Data(vec![7; MOST])).repeat(6);
        let took = u32::try_from(took).expect("little");
        bytes.extend(encode(0, &Frame::Took(took)));
        let _ = self.stream.write_all(&bytes).await;
    }
}

#[tokio::test]
async fn a_writer_that_is_interrupted_while_it_waits_for_room_keeps_the_count() {
    let (host, mut guest, _stream) = waiting_for_room().await;
    let room = usize::try_from(CONSOLE_ROOM).expect("fits");
    let (mut came, mut told) = (0, 0);
    for _ in 0..8 {
        let took = std::mem::take(&mut guest.cost);
        guest.say_much_and_took(took).await;
        loop {
            match guest.hear().await {
                Some((1, Frame::Data(bytes))) => came += bytes.len(),
                Some((0, Frame::Took(_))) => told += 1,
                Some((1, Frame::Credit(_))) => {}
                other => panic!("{other:?}"),
            }
            assert!(guest.cost <= room, "{}", guest.cost);
            if guest.cost + MOST + PIECE > room || came >= 13 * MOST {
                break;
            }
        }
    }
    assert!(told >= 4, "{told}");
    assert!(!host.is_over());
}

#[tokio::test]
async fn a_guest_that_took_more_than_it_was_sent_loses_the_connection() {
    let room = usize::try_from(CONSOLE_ROOM).expect("fits");
    for more in [1, 100, usize::MAX] {
        let (host, mut guest, _stream) = waiting_for_room().await;
        guest
            .say_much_and_took(guest.cost.saturating_add(more).min(room))
            .await;
        guest.say(0, Frame::Took(0)).await;
        while guest.hear().await.is_some() {}
        assert!(host.is_over());
    }
}

#[tokio::test]
async fn a_guest_that_gives_more_than_a_window_loses_the_connection() {
    let (host, mut guest) = By::greeted(CONSOLE_ROOM).await;
    let (open, ()) = tokio::join!(host.port(80), async {
        guest.hear_of_a_stream().await;
        guest.take_in(1).await;
    });
    let mut stream = socket(open.expect("open"));
    // The pump holds credit while it waits for something to send.
    tokio::time::sleep(Duration::from_millis(20)).await;
    stream.write_all(b"x").await.expect("taken");
    let came = guest.hear_of_a_stream().await;
    assert_eq!(came, Some((1, Frame::Data(b"x".to_vec()))));
    guest.say(1, Frame::Credit(2)).await;
    assert_eq!(guest.hear().await, None);
    assert!(host.is_over());
}

/// An agent whose ports echo, and the gateway's end of its stream.
fn agent() -> By {
    let (ours, theirs) = UnixStream::pair().expect("room");
    tokio::spawn(Guest::serve(theirs, CONSOLE_ROOM, |incoming: Incoming| {
        tokio::spawn(async move {
            let (ours, theirs) = UnixStream::pair().expect("room");
            tokio::spawn(async move {
                let (mut read, mut write) = ours.into_split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
            incoming.join(theirs).await;
        });
    }));
    By::hand(ours)
}

impl By {
    /// Begins as the gateway with this nonce, whatever was before.
    async fn begin(&mut self, nonce: [u8; 16]) {
        self.stream.write_all(&[0]).await.expect("room");
        self.say(0, Frame::Hello(hello(nonce, CONSOLE_ROOM))).await;
        loop {
            match self.hear().await.expect("lives") {
                (0, Frame::Welcome(theirs)) if theirs.nonce == nonce => return,
                (0, Frame::Welcome(_) | Frame::Bye | Frame::Took(_)) => {}
                (0, other) => panic!("{other:?}"),
                _ => {}
            }
        }
    }

    /// Opens stream 1, and has it echo.
    async fn echo(&mut self) {
        self.say(1, Frame::Open(Target::Port(7))).await;
        assert_eq!(self.hear_of_a_stream().await, Some((1, Frame::Opened)));
        self.say(1, Frame::Data(b"hello".to_vec())).await;
        let back = self.hear_of_a_stream().await;
        assert_eq!(back, Some((1, Frame::Data(b"hello".to_vec()))));
    }
}

#[tokio::test]
async fn an_agent_begins_anew_with_each_gateway() {
    let mut gateway = agent();
    assert_eq!(gateway.hear().await, Some((0, Frame::Bye)));
    for n in 0..20 {
        gateway.begin([n; 16]).await;
        gateway.echo().await;
        // It dies in the middle of a frame, or of rubbish, or having broken the rules.
        let cut = encode(1, &Frame::Data(vec![7; 500]));
        let last: &[u8] = match n % 4 {
            0 => &cut[..300],
            1 => b"\0\0login: \xff\0root\0",
            2 => &encode(7, &Frame::Open(Target::Port(7))),
            _ => &[],
        };
        gateway.stream.write_all(last).await.expect("room");
    }
}

#[tokio::test]
async fn an_agent_that_hears_nonsense_says_so_once() {
    let mut gateway = agent();
    assert_eq!(gateway.hear().await, Some((0, Frame::Bye)));
    gateway.begin([1; 16]).await;
    gateway.echo().await;
    for number in 100..200 {
        gateway.say(number, Frame::End).await;
    }
    assert_eq!(
        gateway.hear_of_a_stream_or_bye().await,
        Some((0, Frame::Bye))
    );
    gateway.begin([2; 16]).await;
    assert!(gateway.came.is_empty(), "{:?}", gateway.came);
    gateway.echo().await;
}

impl By {
    async fn hear_of_a_stream_or_bye(&mut self) -> Option<(u64, Frame)> {
        loop {
            match self.hear().await {
                Some((0, Frame::Bye)) => return Some((0, Frame::Bye)),
                Some((0, _) | (_, Frame::Reset)) => {}
                other => return other,
            }
        }
    }
}

/// The Bye of an agent that began anew is lost, and so is what it says of the first frame: any later one is answered.
#[tokio::test]
async fn a_gateway_that_missed_the_word_is_told_again() {
    let mut gateway = agent();
    assert_eq!(gateway.hear().await, Some((0, Frame::Bye)));
    for number in 5..8 {
        gateway.say(number, Frame::Open(Target::Port(7))).await;
        assert_eq!(gateway.hear().await, Some((0, Frame::Bye)));
    }
    // But not for each of many.
    for number in 8..2000 {
        gateway.say(number, Frame::Open(Target::Port(7))).await;
    }
    gateway
        .say(0, Frame::Hello(hello(NONCE, CONSOLE_ROOM)))
        .await;
    let mut byes = 0;
    while let Some((0, Frame::Bye)) = gateway.hear().await {
        byes += 1;
    }
    assert!(byes < 50, "{byes}");
    gateway.echo().await;
}

/// The agent forgets its connection, and nothing says so: the gateway's next stream shows it, and another gateway
/// begins on the same line.
#[tokio::test]
async fn a_guest_that_forgets_its_connection_without_a_word_recovers() {
    let (host, mut first) = By::greeted(CONSOLE_ROOM).await;
    let mut line = agent();
    // Lost.
    assert_eq!(line.hear().await, Some((0, Frame::Bye)));
    let asked = host.agent(Role::Client).expect("room");
    let passed = async {
        let (mut from_host, mut to_host) = first.stream.split();
        let (mut from_agent, mut to_agent) = line.stream.split();
        let both = async {
            tokio::join!(
                tokio::io::copy(&mut from_host, &mut to_agent),
                tokio::io::copy(&mut from_agent, &mut to_host)
            )
        };
        let over = async {
            while !host.is_over() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = both => {}
            () = over => {}
        }
    };
    soon(passed).await;
    assert!(host.is_over());
    drop(asked);
    let host = Host::start(line.stream, [2; 16]);
    soon(host.ready()).await.expect("begun again");
    let socket = soon(host.port(7)).await.expect("open");
    socket.set_nonblocking(true).expect("own");
    let mut socket = UnixStream::from_std(socket).expect("in a runtime");
    socket.write_all(b"hello").await.expect("taken");
    let mut back = [0; 5];
    soon(socket.read_exact(&mut back)).await.expect("echo");
    assert_eq!(&back, b"hello");
}

/// A gateway that asks more than once is answered as often, and nothing it opened meanwhile is lost.
#[tokio::test]
async fn a_second_hello_of_the_same_gateway_changes_nothing() {
    let mut gateway = agent();
    for _ in 0..3 {
        gateway
            .say(0, Frame::Hello(hello(NONCE, CONSOLE_ROOM)))
            .await;
    }
    gateway.echo().await;
    let mut old = hello([3; 16], CONSOLE_ROOM);
    old.version = 1;
    gateway.say(0, Frame::Hello(old)).await;
    let answer = loop {
        match gateway.hear().await {
            Some((0, Frame::Welcome(theirs))) if theirs.nonce == [3; 16] => break theirs,
            Some(_) => {}
            None => panic!("it went"),
        }
    };
    assert_eq!(answer.version, VERSION);
}
