//! DNS servers (RFC 1035) that know a few names, and remember what they were asked.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

/// What a server was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// The server.
    pub server: Ipv4Addr,
    /// Over TCP.
    pub stream: bool,
    /// The name, as it was written.
    pub name: String,
    /// The type (1 is A).
    pub kind: u16,
}

/// What all servers were asked, in order.
pub(crate) type Log = Arc<Mutex<Vec<Question>>>;

/// The names there are.
pub(crate) type Names = &'static [(&'static str, &'static [Ipv4Addr])];

/// Serves at `server`, port 53. Runs in the caller's network namespace.
pub(crate) fn serve(server: Ipv4Addr, names: Names, log: &Log) {
    let socket = UdpSocket::bind((server, 53)).expect("free");
    let listener = TcpListener::bind((server, 53)).expect("free");
    let (udp, tcp) = (Arc::clone(log), Arc::clone(log));
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length], (server, false), names, &udp) {
                let _ = socket.send_to(&answer, peer);
            }
        }
    });
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let log = Arc::clone(&tcp);
            let local = stream.local_addr().map(|a| a.ip());
            std::thread::spawn(move || {
                let Ok(IpAddr::V4(server)) = local else {
                    return;
                };
                let mut head = [0; 2];
                while stream.read_exact(&mut head).is_ok() {
                    let mut question = vec![0; usize::from(u16::from_be_bytes(head))];
                    if stream.read_exact(&mut question).is_err() {
                        return;
                    }
                    let Some(answer) = answer(&question, (server, true), names, &log) else {
                        return;
                    };
                    let length = u16::try_from(answer.len()).expect("short");
                    let framed = [&length.to_be_bytes(), answer.as_slice()].concat();
                    if stream.write_all(&framed).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn answer(
    question: &[u8],
    (server, stream): (Ipv4Addr, bool),
    names: Names,
    log: &Log,
) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).into_owned());
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let name = labels.join(".");
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Question {
            server,
            stream,
            name: name.clone(),
            kind,
        });
    let known = names
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(&name));
    let addresses = match known {
        Some((_, addresses)) if kind == 1 => *addresses,
        _ => &[],
    };
    // Response, recursion available; name error (3) for what is not known.
    let code = if known.is_some() { 0 } else { 3 };
    let mut out = question.get(..2)?.to_vec();
    out.extend([0x81, 0x80 | code, 0, 1]);
    out.extend(u16::try_from(addresses.len()).ok()?.to_be_bytes());
    out.extend([0, 0, 0, 0]);
    out.extend(question.get(12..at + 4)?);
    for address in addresses {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}
