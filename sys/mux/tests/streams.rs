//! Both ends over a pair of sockets, and one end against a guest that breaks the rules.

use std::os::unix::net::UnixStream as Plain;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use warder_mux::frame::{Frame, HEAD, MOST, Target, WINDOW};
use warder_mux::{Guest, Host, Incoming, MuxError};
use warder_wire::link::{Refusal, Role};

const PATIENCE: Duration = Duration::from_secs(20);

fn socket(plain: Plain) -> UnixStream {
    plain.set_nonblocking(true).expect("own");
    UnixStream::from_std(plain).expect("in a runtime")
}

/// A guest: its agent and port 7 echo, port 8 reads nothing, port 9 says much at once; all else is closed.
fn guest(stream: UnixStream) {
    tokio::spawn(Guest::serve(stream, |incoming: Incoming| {
        tokio::spawn(async move {
            let (ours, theirs) = UnixStream::pair().expect("room");
            match incoming.target {
                Target::Agent(_) | Target::Port(7) => {
                    tokio::spawn(async move {
                        let (mut read, mut write) = ours.into_split();
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                    });
                }
                Target::Port(8) => {
                    tokio::spawn(async move {
                        std::future::pending::<()>().await;
                        drop(ours);
                    });
                }
                Target::Port(9) => {
                    tokio::spawn(async move {
                        let mut ours = ours;
                        let _ = ours.write_all(&vec![9; 4 * WINDOW]).await;
                    });
                }
                Target::Port(_) => return incoming.refuse(Refusal::Closed).await,
            }
            incoming.join(theirs).await;
        });
    }));
}

fn connected() -> Host {
    let (ours, theirs) = UnixStream::pair().expect("room");
    guest(theirs);
    Host::start(ours)
}

async fn soon<T>(done: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, done).await.expect("in time")
}

#[tokio::test]
async fn streams_lead_where_they_should() {
    let host = connected();
    for fd in [
        host.agent(Role::Client).expect("room"),
        host.agent(Role::Control).expect("room"),
        host.port(7).await.expect("open"),
    ] {
        let mut stream = socket(fd);
        stream.write_all(b"hello").await.expect("taken");
        stream.shutdown().await.expect("half closed");
        let mut back = String::new();
        soon(stream.read_to_string(&mut back)).await.expect("read");
        assert_eq!(back, "hello");
    }
    assert!(matches!(
        soon(host.port(22)).await,
        Err(MuxError::Refused(Refusal::Closed))
    ));
    assert!(!host.is_over());
}

#[tokio::test]
async fn much_passes_whole() {
    let host = connected();
    let mut stream = socket(host.port(7).await.expect("open"));
    let sent: Vec<u8> = (0..5 * WINDOW + 321).map(|n| (n % 251) as u8).collect();
    let (mut read, mut write) = stream.split();
    let mut back = Vec::new();
    let both = async {
        tokio::join!(
            async {
                write.write_all(&sent).await.expect("taken");
                write.shutdown().await.expect("half closed");
            },
            read.read_to_end(&mut back)
        )
    };
    soon(both).await.1.expect("read");
    assert!(back == sent);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_up_no_other() {
    let host = connected();
    // One that the guest does not read, and one that is not read here.
    let mut stuck = socket(host.port(8).await.expect("open"));
    let mut written = 0;
    while let Ok(done) =
        tokio::time::timeout(Duration::from_millis(200), stuck.write(&[8; 65536])).await
    {
        written += done.expect("open");
        assert!(written < 8 * WINDOW, "no back-pressure");
    }
    let _unread = host.port(9).await.expect("open");
    let mut stream = socket(host.port(7).await.expect("open"));
    for _ in 0..50 {
        stream.write_all(b"key").await.expect("taken");
        let mut back = [0; 3];
        soon(stream.read_exact(&mut back)).await.expect("echo");
        assert_eq!(&back, b"key");
    }
}

#[tokio::test]
async fn the_end_of_the_connection_ends_every_stream() {
    let (ours, theirs) = UnixStream::pair().expect("room");
    let serving = tokio::spawn(Guest::serve(theirs, |incoming: Incoming| {
        tokio::spawn(async move {
            let (mut ours, theirs) = UnixStream::pair().expect("room");
            tokio::join!(incoming.join(theirs), async {
                let mut end = Vec::new();
                let _ = ours.read_to_end(&mut end).await;
            });
        });
    }));
    let host = Host::start(ours);
    let mut stream = socket(host.port(7).await.expect("open"));
    host.end();
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    assert!(host.is_over());
    assert!(matches!(host.port(7).await, Err(MuxError::Over)));
    assert!(matches!(
        soon(serving).await.expect("no panic"),
        Err(MuxError::Over | MuxError::Io(_))
    ));
}

/// A guest that says this after one stream was opened, and then refuses the next one.
async fn said(frames: &[(u32, Frame)]) -> (Host, Result<Plain, MuxError>) {
    let (ours, theirs) = UnixStream::pair().expect("room");
    let host = Host::start(ours);
    let (mut read, mut write) = theirs.into_split();
    let mut bytes = Vec::new();
    let asked = [0; HEAD + 3];
    Frame::Opened.encode(0, &mut bytes);
    let (open, ()) = tokio::join!(host.port(80), async {
        read.read_exact(&mut asked.clone()).await.expect("asked");
        write.write_all(&bytes).await.expect("read");
    });
    let _open = open.expect("open");
    bytes.clear();
    for (number, frame) in frames {
        frame.encode(*number, &mut bytes);
    }
    let mut refused = Vec::new();
    Frame::Refused(Refusal::Closed).encode(1, &mut refused);
    let both = async {
        tokio::join!(host.port(81), async {
            let _ = write.write_all(&bytes).await;
            if read.read_exact(&mut asked.clone()).await.is_ok() {
                let _ = write.write_all(&refused).await;
            }
        })
    };
    let (answer, ()) = soon(both).await;
    (host, answer)
}

#[tokio::test]
async fn a_guest_that_breaks_the_rules_loses_the_connection() {
    let (host, answer) = said(&[(0, Frame::Data(vec![1])), (0, Frame::End)]).await;
    assert!(matches!(answer, Err(MuxError::Refused(_))), "{answer:?}");
    assert!(!host.is_over());
    // The socket takes some of it; nobody reads that.
    let much = vec![(0, Frame::Data(vec![0; MOST])); 4 * WINDOW / MOST];
    for frames in [
        vec![(0, Frame::Open(Target::Port(1)))],
        vec![(5, Frame::Data(vec![1]))],
        vec![(0, Frame::Opened)],
        vec![(0, Frame::Refused(Refusal::Closed))],
        vec![(0, Frame::Credit(u32::MAX))],
        vec![(0, Frame::End), (0, Frame::End)],
        vec![(0, Frame::End), (0, Frame::Data(vec![1]))],
        much,
    ] {
        let (host, answer) = said(&frames).await;
        assert!(matches!(answer, Err(MuxError::Over)), "{answer:?}");
        assert!(host.is_over());
    }
}

#[tokio::test]
async fn what_comes_late_for_an_ended_stream_is_no_fault() {
    let host = connected();
    for _ in 0..200 {
        let mut stream = socket(host.port(9).await.expect("open"));
        let mut some = [0; 100];
        soon(stream.read_exact(&mut some)).await.expect("read");
        // Dropped while much is on its way.
    }
    assert!(!host.is_over());
    soon(host.port(7)).await.expect("open");
}

/// The guest's port 8 neither says anything nor goes.
#[tokio::test]
async fn a_closed_socket_is_told_from_a_half_closed_one() {
    let (ours, theirs) = UnixStream::pair().expect("room");
    let host = Host::start(ours);
    let (mut read, mut write) = theirs.into_split();
    let mut asked = [0; HEAD + 3];
    let mut opened = Vec::new();
    Frame::Opened.encode(0, &mut opened);
    let (open, ()) = tokio::join!(host.port(80), async {
        read.read_exact(&mut asked).await.expect("asked");
        write.write_all(&opened).await.expect("read");
    });
    drop(open.expect("open"));
    let mut told = Vec::new();
    Frame::End.encode(0, &mut told);
    Frame::Reset.encode(0, &mut told);
    let mut said = vec![0; told.len()];
    soon(read.read_exact(&mut said)).await.expect("told");
    assert_eq!(said, told);
}

#[tokio::test]
async fn an_agent_that_does_not_answer_is_asked_no_more_than_so_often() {
    let (ours, _theirs) = UnixStream::pair().expect("room");
    let host = Host::start(ours);
    let asked: Vec<_> = (0..2000).map(|_| host.agent(Role::Client)).collect();
    assert!(matches!(
        asked.into_iter().find_map(Result::err),
        Some(MuxError::TooMany)
    ));
    assert!(!host.is_over());
}
