//! Trust: none; programs that attack, and the tests that start them in place of the real ones.
//! Input: privd's first frame, as the process they stand in for would get it.
//! May: anything the process they stand in for may, and tries the rest.
//! Unsafe: forbidden.
//!
//! Attacks on the running daemons. Each binary takes the place of a daemon, carries out one attack and logs a line
//! `hostile ATTACK: OUTCOME` that the test waits for.
#![forbid(unsafe_code)]

pub mod guests;
pub mod planted;

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, sendmsg, sockopt,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use warder_ipc::{Channel, IpcError};
use warder_wire::start::Ready;
use warder_wire::{Fault, Message, Request, VERSION};

/// How long an attack waits for an outcome that does not come: generous, for a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Says what came of an attack.
pub fn report(attack: &str, outcome: &str) {
    eprintln!("hostile {attack}: {outcome}");
}

/// Waits for the end without doing anything: what a well-behaved process does with no work.
pub fn idle(channel: &mut Channel) {
    while !matches!(
        channel.recv_timeout::<serde::de::IgnoredAny>(Duration::from_secs(3600)),
        Err(IpcError::Closed)
    ) {}
}

/// Answers privd's first frame as the real process does.
///
/// # Panics
/// When privd is gone already.
pub fn ready(channel: &mut Channel) {
    let ready = Ready {
        version: VERSION,
        confinement: "none: hostile".to_owned(),
    };
    channel.send(&ready, Vec::new()).expect("privd listens");
}

/// Sends bytes as they are, with descriptors, past every check of our own.
pub fn send_raw(to: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let _ = sendmsg(
        to,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    );
}

/// The directory in which an attack would leave its mark if it got out; its test makes and removes it.
#[must_use]
pub fn canary(attack: &str) -> String {
    format!("/var/tmp/warder-privsep-{attack}")
}

/// Sends thousands of descriptors, as many at once as the kernel takes.
pub fn storm(to: BorrowedFd<'_>, bytes: &[u8]) {
    let Ok(file) = std::fs::File::open("/") else {
        return;
    };
    for _ in 0..40 {
        send_raw(to, bytes, &[file.as_fd(); 250]);
    }
}

/// A socket in whose queue `lingering` lies unread, and will be closed with it after an hour or when its peer has
/// read everything.
///
/// # Panics
/// When the kernel makes no socket.
#[must_use]
pub fn hiding(lingering: TcpStream) -> OwnedFd {
    lingering.set_nonblocking(true).expect("a socket");
    while (&lingering).write(&[0; 65536]).is_ok() {}
    let an_hour = Some(Duration::from_secs(3600));
    sockopt::set_socket_linger(&lingering, an_hour).expect("a socket");
    let (into, hiding) = UnixStream::pair().expect("a pair");
    send_raw(into.as_fd(), b"x", &[lingering.as_fd()]);
    hiding.into()
}

/// Frames that no correct process sends, on whichever channel; `None` for the name of another attack.
#[must_use]
pub fn malformed(attack: &str) -> Option<Vec<u8>> {
    Some(match attack {
        "unknown-verb" => frame(&[1, 120]),
        "oversize" => vec![0x7f; 40 * 1024],
        "cut" | "cut-short" => vec![200, 0, 0, 0, 1, 3],
        "padded" => frame(&[1, 3, 0, 0, 0]),
        "empty" => vec![0, 0, 0, 0],
        _ => return None,
    })
}

/// Sends such a frame; nothing comes behind one that is cut short.
pub fn send_malformed(to: BorrowedFd<'_>, attack: &str) {
    send_raw(to, &malformed(attack).unwrap_or_default(), &[]);
    if attack == "cut-short" {
        let _ = rustix::net::shutdown(to, Shutdown::Write);
    }
}

/// Attacks on the framing of a channel, and what privd says of each. Linux keeps the boundaries of records; where a kernel
/// does not, a frame too long is known by its length, and one that is cut by the end behind it.
#[must_use]
pub fn broken_frames(boundaries: bool) -> [(&'static str, &'static str); 2] {
    if boundaries {
        [
            ("oversize", "were cut"),
            ("cut", "a record that is not one frame"),
        ]
    } else {
        [
            ("oversize", "frame too long"),
            ("cut-short", "ended inside a frame"),
        ]
    }
}

/// A frame with a right length around any body.
#[must_use]
pub fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes(), body].concat()
}

/// Whether the other end closes the channel; anything it still sends is thrown away.
#[must_use]
pub fn outcome_of_violation(channel: &mut Channel) -> &'static str {
    loop {
        match channel.recv_timeout::<serde::de::IgnoredAny>(PATIENCE) {
            Ok(_) | Err(IpcError::Frame(_)) => {}
            Err(IpcError::TimedOut) => return "still open",
            Err(_) => return "closed",
        }
    }
}

fn first_word(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.take(1).collect()
}

/// Asks and returns the answer's outcome in a word: the name of the answer, such as `Done`, a fault's code, or `closed`.
#[must_use]
pub fn ask<A, R, E>(channel: &mut Channel, seq: u64, body: A, fds: Vec<OwnedFd>) -> String
where
    A: Serialize,
    R: DeserializeOwned + std::fmt::Debug,
    E: DeserializeOwned,
{
    if channel.send(&Request { seq, body }, fds).is_err() {
        return "closed".to_owned();
    }
    loop {
        match channel.recv_timeout::<Message<R, E>>(PATIENCE) {
            Ok((Message::Reply { seq: got, result }, _)) if got == seq => {
                return match result {
                    Ok(answer) => first_word(&format!("{answer:?}")),
                    Err(Fault { code, .. }) => format!("{code:?}"),
                };
            }
            Ok(_) => {}
            Err(IpcError::TimedOut) => return "no answer".to_owned(),
            Err(_) => return "closed".to_owned(),
        }
    }
}

/// Whether `..` leads anywhere from a directory that was handed over.
#[must_use]
pub fn dotdot(dir: BorrowedFd<'_>) -> &'static str {
    use rustix::fs::{Mode, OFlags, fstat, openat};
    let Ok(here) = fstat(dir) else {
        return "not a descriptor";
    };
    for path in ["..", "../..", "../../../../../../../../.."] {
        if let Ok(up) = openat(dir, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
            match fstat(&up) {
                Ok(stat) if (stat.st_dev, stat.st_ino) == (here.st_dev, here.st_ino) => {}
                _ => return "escapes",
            }
        }
    }
    "stays"
}

/// Every descriptor of this process that is a directory.
#[must_use]
pub fn is_dir(fd: &OwnedFd) -> bool {
    warder_ipc::check::directory(fd.as_fd()).is_ok()
}
