//! The servers: echo (TCP and UDP, port 7), HTTP (80), DNS (53). Whatever reaches them is written down.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use warder_harness::wait::until;

use super::{ALPHA, BETA};

const NAMES: [(&str, Ipv4Addr); 2] = [("alpha.test", ALPHA), ("beta.test", BETA)];

type Log = Arc<File>;

/// One line a write, so that lines of several threads stay whole.
fn note(mut log: &File, line: &str) {
    let _ = log.write_all(format!("{line}\n").as_bytes());
}

/// What is made beside the log when the servers have their addresses.
pub(super) fn go(log: &Path) -> PathBuf {
    log.with_extension("go")
}

/// Serves until it is killed. The addresses come later than this program, as their network needs its number. Binding is
/// no way to see whether they are there: in a network without any route Linux takes every address for a broadcast's.
pub(crate) fn main(path: &Path, addresses: &[Ipv4Addr]) -> ExitCode {
    let Ok(file) = OpenOptions::new().append(true).open(path) else {
        return ExitCode::FAILURE;
    };
    let log = Arc::new(file);
    note(&log, "started");
    if let Err(why) = until("the addresses", || go(path).exists().then_some(())) {
        note(&log, &why);
        return ExitCode::FAILURE;
    }
    for address in addresses {
        if let Err(why) = serve(*address, &log) {
            note(&log, &why);
            return ExitCode::FAILURE;
        }
    }
    note(&log, "ready");
    loop {
        std::thread::park();
    }
}

fn serve(address: Ipv4Addr, log: &Log) -> Result<(), String> {
    for port in [7, 53] {
        let socket = until("an address", || UdpSocket::bind((address, port)).ok())?;
        let log = Arc::clone(log);
        std::thread::spawn(move || datagrams(&socket, (address, port), &log));
    }
    for port in [7, 22, 53, 80, 443] {
        let listener = until("an address", || TcpListener::bind((address, port)).ok())?;
        let log = Arc::clone(log);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let from = stream
                    .peer_addr()
                    .map(|a| a.ip().to_string())
                    .unwrap_or_default();
                note(&log, &format!("tcp {address} {port} from {from}"));
                std::thread::spawn(move || talk(stream, port));
            }
        });
    }
    Ok(())
}

fn datagrams(socket: &UdpSocket, (address, port): (Ipv4Addr, u16), log: &Log) {
    let mut block = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut block) {
        let said = &block[..length];
        let (what, answer) = if port == 53 {
            let (name, answer) = resolve(said);
            (name, answer)
        } else {
            (String::from_utf8_lossy(said).into_owned(), said.to_vec())
        };
        note(
            log,
            &format!("udp {address} {port} from {} {what}", SocketAddr::ip(&from)),
        );
        let _ = socket.send_to(&answer, from);
    }
}

fn talk(mut stream: TcpStream, port: u16) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let mut block = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut block) {
        let answer: &[u8] = match port {
            80 => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nworld",
            _ => &block[..length],
        };
        if stream.write_all(answer).is_err() || port == 80 {
            return;
        }
    }
}

/// The name asked for, and the answer (RFC 1035): its address, or that there is none (3).
fn resolve(question: &[u8]) -> (String, Vec<u8>) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while let Some(length @ 1..) = question.get(at).map(|b| usize::from(*b)) {
        let label = question.get(at + 1..at + 1 + length).unwrap_or_default();
        labels.push(String::from_utf8_lossy(label).into_owned());
        at += 1 + length;
    }
    let name = labels.join(".");
    let end = (at + 5).min(question.len());
    let kind = question.get(at + 1..at + 3).unwrap_or_default();
    let known = NAMES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(&name) && kind == [0, 1]);
    let exists = NAMES
        .iter()
        .any(|(known, _)| known.eq_ignore_ascii_case(&name));
    let mut answer = question.get(..2).unwrap_or_default().to_vec();
    answer.extend([
        0x81,
        0x80 | if exists { 0 } else { 3 },
        0,
        1,
        0,
        u8::from(known.is_some()),
        0,
        0,
        0,
        0,
    ]);
    answer.extend(question.get(12..end).unwrap_or_default());
    if let Some((_, address)) = known {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    (name, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_answered() {
        let mut question = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        question.extend(b"\x05alpha\x04test\0\0\x01\0\x01");
        let (name, answer) = resolve(&question);
        assert_eq!(name, "alpha.test");
        assert_eq!((answer[3] & 15, answer[7]), (0, 1));
        assert!(answer.ends_with(&ALPHA.octets()));
        question[13] = b'x';
        let (name, answer) = resolve(&question);
        assert_eq!(
            (name.as_str(), answer[3] & 15, answer[7]),
            ("xlpha.test", 3, 0)
        );
        assert_eq!(resolve(&[]).0, "");
    }
}
