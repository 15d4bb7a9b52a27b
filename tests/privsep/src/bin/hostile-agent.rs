//! Trust: zone 0, as always; this one means it.
//! Input: the gateway's questions on its link; the attack is chosen by the port asked for.
//! May: what any process in a sandbox may.
//! Unsafe: forbidden.
//!
//! A first process that behaves only until a port is asked for.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::{SocketFlags, accept_with, sockopt};
use warder_ipc::Channel;
use warder_privsep::{frame, hiding, send_raw, storm};
use warder_wire::link::{Ask, Reply};

/// Whether links are still taken.
static DEAF: AtomicBool = AtomicBool::new(false);

fn main() {
    let Ok(listener) = warder_ipc::take_listener() else {
        return;
    };
    while let Ok(link) = accept_with(&listener, SocketFlags::CLOEXEC) {
        if DEAF.load(Ordering::Relaxed) {
            // Taken and never read; those that come later are not even taken.
            loop {
                std::thread::sleep(Duration::from_secs(3600));
                let _ = link.as_fd();
            }
        }
        std::thread::spawn(move || {
            if let Ok(channel) = Channel::from_fd(link) {
                serve(channel);
            }
        });
    }
}

fn serve(mut link: Channel) {
    while let Ok((ask, mut fds)) = link.recv_timeout::<Ask>(Duration::from_secs(3600)) {
        match ask {
            Ask::Serve { .. } => {
                if let Some(fd) = fds.pop() {
                    std::thread::spawn(move || answer_everything(UnixStream::from(fd)));
                }
            }
            Ask::Connect { ticket, port } => attack(&mut link, ticket, port),
        }
    }
}

/// HTTP enough for the gateway's own questions: 204 to all.
fn answer_everything(mut stream: UnixStream) {
    // The gateway's ends do not block; this program waits in `read`.
    if stream.set_nonblocking(false).is_err() {
        return;
    }
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 {
            return;
        }
        seen.extend_from_slice(&buffer[..n]);
        while let Some(end) = whole_request(&seen) {
            seen.drain(..end);
            if stream
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .is_err()
            {
                return;
            }
        }
    }
}

/// Length of the first whole request in `bytes`, by its Content-Length or the end of its chunks.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    if text.contains("transfer-encoding: chunked") {
        return bytes[head..]
            .windows(5)
            .position(|w| w == b"0\r\n\r\n")
            .map(|at| head + at + 5);
    }
    let length = text
        .split("content-length:")
        .nth(1)
        .and_then(|rest| rest.lines().next()?.trim().parse().ok());
    let whole = head + length.unwrap_or(0);
    (bytes.len() >= whole).then_some(whole)
}

fn attack(link: &mut Channel, ticket: u64, port: u16) {
    let yes = Reply::Connected { ticket };
    let send = |link: &mut Channel, reply: &Reply, fds: Vec<OwnedFd>| {
        let _ = link.send(reply, fds);
    };
    match port {
        1001 => send(
            link,
            &yes,
            vec![File::open("/etc/passwd").expect("a file").into()],
        ),
        1002 => send(link, &yes, vec![listener(0).into()]),
        1003 => send(
            link,
            &Reply::Connected {
                ticket: ticket + 1000,
            },
            vec![loopback(1003).0.into()],
        ),
        1004 => send(
            link,
            &yes,
            (0..16)
                .map(|_| File::open("/").expect("root").into())
                .collect(),
        ),
        1005 => send(
            link,
            &yes,
            vec![UnixStream::pair().expect("a pair").0.into()],
        ),
        1006 => send(link, &yes, vec![loopback(1016).0.into()]),
        1007 => send(link, &yes, Vec::new()),
        1008 => {}
        1009 => send_raw(link.as_fd(), &frame(&[9, 9, 9]), &[]),
        1010 => {
            let _ = rustix::net::shutdown(link.as_fd(), rustix::net::Shutdown::Both);
        }
        1011 => send_raw(link.as_fd(), &[0; 60_000], &[]),
        1012 => {
            let bytes = warder_wire::encode(&yes).expect("small");
            storm(link.as_fd(), &bytes);
        }
        1013 => {
            DEAF.store(true, Ordering::Relaxed);
            let _ = rustix::net::shutdown(link.as_fd(), rustix::net::Shutdown::Both);
        }
        1014 => {
            for n in 0..5000 {
                let unasked = Reply::Connected { ticket: n };
                send(link, &unasked, vec![loopback(0).0.into()]);
            }
        }
        // Sockets whose close waits, hidden in others' queues: sent, and left in the queue of a link that ends by that.
        1015 => {
            for _ in 0..4 {
                let hiding: Vec<OwnedFd> = (0..16).map(|_| hiding(unread())).collect();
                send(link, &yes, hiding);
            }
        }
        // The right socket; what comes out of it is not what HTTP says.
        1021 => say(
            link,
            &yes,
            port,
            b"HTTP/1.1 200 OK\r\n",
            b"X: 0123456789abcdef\r\n",
        ),
        1022 => say(
            link,
            &yes,
            port,
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 40\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
        ),
        1023 => say(link, &yes, port, b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        1024 => say(link, &yes, port, b"\x16\x03\x01\x02\x00", b"\0"),
        1025 => say(
            link,
            &yes,
            port,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
        ),
        // The right socket, made to hurt: blocking again, a close that lingers, and nobody who reads.
        1020 => {
            let (ours, theirs) = loopback(1020);
            let copy = ours.try_clone().expect("a copy");
            send(link, &yes, vec![ours.into()]);
            std::thread::spawn(move || {
                loop {
                    let _ = copy.set_nonblocking(false);
                    let _ =
                        sockopt::set_socket_linger(copy.as_fd(), Some(Duration::from_secs(3600)));
                    std::thread::sleep(Duration::from_millis(1));
                    let _ = theirs.peer_addr();
                }
            });
        }
        _ => send(
            link,
            &Reply::Refused {
                ticket,
                reason: warder_wire::link::Refusal::Closed,
            },
            Vec::new(),
        ),
    }
}

/// A connection that says `first` and then `again` without end, whatever it is asked.
fn say(link: &mut Channel, yes: &Reply, port: u16, first: &'static [u8], again: &'static [u8]) {
    let (ours, mut theirs) = loopback(port);
    let _ = link.send(yes, vec![ours.into()]);
    std::thread::spawn(move || {
        let mut sent = theirs.write_all(first);
        while sent.is_ok() {
            sent = theirs.write_all(again);
        }
    });
}

/// A connection to a peer that stays and reads nothing.
fn unread() -> TcpStream {
    let (ours, theirs) = loopback(0);
    std::mem::forget(theirs);
    ours
}

fn listener(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).expect("loopback")
}

fn loopback(port: u16) -> (TcpStream, TcpStream) {
    let listener = listener(port);
    let address = listener.local_addr().expect("bound");
    let ours = TcpStream::connect(address).expect("loopback");
    ours.set_nonblocking(true).expect("a socket");
    (ours, listener.accept().expect("connected").0)
}
