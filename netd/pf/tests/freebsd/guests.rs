//! What runs in jails: copies of this process.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use warder_freebsd::sys::{jail, process};

/// How something ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    Answered,
    /// Told that it may not be, or ended by a reset.
    Refused,
    /// No word at all.
    Silence,
    Broken(i32),
}

const PATIENCE: Duration = Duration::from_millis(1500);

fn code(ended: Ended) -> i32 {
    match ended {
        Ended::Answered => 0,
        Ended::Refused => 1,
        Ended::Silence => 2,
        Ended::Broken(n) => 3 + n,
    }
}

fn failed(error: &std::io::Error) -> Ended {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Ended::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Ended::Silence,
        _ => match error.raw_os_error() {
            // EPERM, EACCES, EHOSTUNREACH, ENETUNREACH: told by the kernel.
            Some(1 | 13 | 51 | 65) => Ended::Refused,
            other => Ended::Broken(other.unwrap_or(90)),
        },
    }
}

/// Runs `job` in a jail, or here, and says how it ended.
pub(crate) fn inside(jid: Option<i32>, job: impl FnOnce() -> Ended) -> Ended {
    let (pid, _process) = start(jid, || code(job()));
    let status = process::wait(pid, true)
        .expect("a child")
        .expect("it has ended");
    match (status >> 8) & 0xff {
        0 => Ended::Answered,
        1 => Ended::Refused,
        2 => Ended::Silence,
        n => Ended::Broken(n - 3),
    }
}

/// Starts `job` in a jail; it is killed with the descriptor.
pub(crate) fn start(jid: Option<i32>, job: impl FnOnce() -> i32) -> (u32, OwnedFd) {
    let child = || {
        if let Some(jid) = jid
            && jail::attach(jid).is_err()
        {
            return 99;
        }
        job()
    };
    process::fork(false, child).expect("forks")
}

/// A TCP exchange.
pub(crate) fn tcp(to: SocketAddrV4) -> Ended {
    exchange(to).unwrap_or_else(|e| failed(&e))
}

fn exchange(to: SocketAddrV4) -> std::io::Result<Ended> {
    let mut stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
    // poll(2) that comes while a refusal is being noted can say that the socket is writable, and nothing of the refusal.
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"ping")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    Ok(if answer == *b"ping" {
        Ended::Answered
    } else {
        Ended::Broken(91)
    })
}

/// A UDP exchange; the answer comes from the address that was asked, or is not heard.
pub(crate) fn udp(to: SocketAddrV4) -> Ended {
    let run = || -> std::io::Result<Ended> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(b"ping")?;
        let mut answer = [0; 4];
        socket.recv(&mut answer)?;
        Ok(Ended::Answered)
    };
    run().unwrap_or_else(|e| failed(&e))
}

/// Nanoseconds of a clock that all processes share.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned());
    seconds * 1_000_000_000 + nanos
}

/// Talks over one connection, as fast as answers come, and writes when each came, until it ends; exits as that did.
pub(crate) fn chatter(to: SocketAddrV4, mut times: File) -> i32 {
    let mut run = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = [0; 4];
        loop {
            stream.write_all(b"ping")?;
            stream.read_exact(&mut answer)?;
            times.write_all(&now().to_ne_bytes())?;
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    match run() {
        Ok(()) => 0,
        Err(e) => code(failed(&e)),
    }
}

/// Servers of the internet: what comes is sent back, over TCP at 80, 8080 and 53, over UDP at 9000 and 53.
pub(crate) fn servers(internet: i32) -> Vec<OwnedFd> {
    let mut all = Vec::new();
    for port in [80_u16, 443, 8080, 53] {
        all.push(start(Some(internet), || serve_tcp(port)).1);
    }
    for port in [9000_u16, 53] {
        all.push(start(Some(internet), || serve_udp(port)).1);
    }
    std::thread::sleep(Duration::from_millis(300));
    all
}

fn serve_tcp(port: u16) -> i32 {
    let Ok(listener) = TcpListener::bind(("0.0.0.0", port)) else {
        return 1;
    };
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let mut stream = stream;
            let mut bytes = [0; 65_536];
            while let Ok(n) = stream.read(&mut bytes) {
                if n == 0 || stream.write_all(&bytes[..n]).is_err() {
                    return;
                }
            }
        });
    }
    0
}

fn serve_udp(port: u16) -> i32 {
    let Ok(socket) = UdpSocket::bind(("0.0.0.0", port)) else {
        return 1;
    };
    let mut bytes = [0; 2048];
    while let Ok((n, from)) = socket.recv_from(&mut bytes) {
        let _ = socket.send_to(&bytes[..n], from);
    }
    0
}
