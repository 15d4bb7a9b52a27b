//! Both ends over a pair of sockets.

use std::os::unix::net::UnixStream as Plain;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use warder_mux::frame::{CONSOLE_ROOM, Target, WINDOW};
use warder_mux::{Guest, Host, Incoming, MuxError};
use warder_wire::link::{Refusal, Role};

const PATIENCE: Duration = Duration::from_secs(20);

fn socket(plain: Plain) -> UnixStream {
    plain.set_nonblocking(true).expect("own");
    UnixStream::from_std(plain).expect("in a runtime")
}

/// A guest: its agent and port 7 echo, port 8 reads nothing, port 9 says much at once; all else is closed.
fn guest(stream: UnixStream) {
    tokio::spawn(Guest::serve(stream, CONSOLE_ROOM, |incoming: Incoming| {
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
    Host::start(ours, [1; 16])
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
    let serving = tokio::spawn(Guest::serve(theirs, CONSOLE_ROOM, |incoming: Incoming| {
        tokio::spawn(async move {
            let (mut ours, theirs) = UnixStream::pair().expect("room");
            tokio::join!(incoming.join(theirs), async {
                let mut end = Vec::new();
                let _ = ours.read_to_end(&mut end).await;
            });
        });
    }));
    let host = Host::start(ours, [1; 16]);
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

/// Far more streams than may be open at any time, and than a window of numbers would hold.
#[tokio::test]
async fn streams_may_follow_each_other_for_ever() {
    let host = connected();
    for n in 0..3000_u32 {
        let mut stream = socket(soon(host.port(7)).await.expect("open"));
        stream.write_all(&n.to_be_bytes()).await.expect("taken");
        stream.shutdown().await.expect("half closed");
        let mut back = Vec::new();
        soon(stream.read_to_end(&mut back)).await.expect("read");
        assert_eq!(back, n.to_be_bytes());
    }
}

/// Many at once, each with much to say: all get through, none before its time.
#[tokio::test]
async fn busy_streams_take_turns() {
    let host = connected();
    let bulk: Vec<_> = (0..8)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move {
                let mut stream = socket(host.port(9).await.expect("open"));
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.expect("read");
                all.len()
            })
        })
        .collect();
    let mut stream = socket(soon(host.port(7)).await.expect("open"));
    for _ in 0..20 {
        stream.write_all(b"key").await.expect("taken");
        let mut back = [0; 3];
        soon(stream.read_exact(&mut back)).await.expect("echo");
    }
    for one in bulk {
        assert_eq!(soon(one).await.expect("no panic"), 4 * WINDOW);
    }
}
