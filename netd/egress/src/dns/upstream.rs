//! Asking a server. Each question has a socket of its own, so a port and a number of its own, and letters in a case
//! of its own: whoever forges an answer without seeing the question has to guess all three.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use warder_wire::{HostName, Policy};

use super::answer::{self, Answer, Read, for_addresses};
use super::name::Name;
use super::question;
use crate::connection::Connection;
use crate::egress::Egress;
use crate::netd::DialError;
use crate::sandboxes::Sandbox;

/// How long a server has for an answer over UDP, each time, and over TCP.
const DATAGRAM_TIMEOUT: Duration = Duration::from_millis(1500);
const STREAM_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is asked over UDP, before TCP.
const DATAGRAMS: usize = 2;
/// The largest answer, over TCP.
const LARGEST: usize = 16 * 1024;
/// Messages that are looked at for one question; more is an attempt to guess.
const FORGERIES: usize = 64;
/// How long netd and egressd may be of two minds about the policy in force, and how often that is looked at.
const CHANGES: usize = 100;
const CHANGE_PAUSE: Duration = Duration::from_millis(20);

/// Whether a policy lets a server be asked.
pub(crate) trait Permitted: Fn(&Policy) -> bool + Sync {}
impl<F: Fn(&Policy) -> bool + Sync> Permitted for F {}

/// Asking netd until both go by the same policy.
struct Attempts<'a, P> {
    sandbox: &'a Sandbox,
    permitted: &'a P,
    made: usize,
}

impl<'a, P: Permitted> Attempts<'a, P> {
    fn new(sandbox: &'a Sandbox, permitted: &'a P) -> Self {
        Self {
            sandbox,
            permitted,
            made: 0,
        }
    }

    /// The generation to ask by; `None` if its policy does not permit it, or that was tried too often.
    async fn next(&mut self) -> Option<u64> {
        match self.made {
            0 => {}
            CHANGES.. => return None,
            _ => tokio::time::sleep(CHANGE_PAUSE).await,
        }
        self.made += 1;
        let (generation, policy) = self.sandbox.flows.policy();
        (self.permitted)(&policy).then_some(generation)
    }
}

/// A UDP socket for one question.
pub(crate) async fn datagrams(
    egress: &Egress,
    sandbox: &Sandbox,
    server: Ipv4Addr,
    permitted: &impl Permitted,
) -> Option<UdpSocket> {
    let mut attempts = Attempts::new(sandbox, permitted);
    while let Some(generation) = attempts.next().await {
        match egress.netd.query(sandbox, generation, server).await {
            Err(DialError::Changed) => {}
            got => return got.ok(),
        }
    }
    None
}

/// A TCP connection to a server.
pub(crate) async fn stream(
    egress: &Egress,
    sandbox: &Sandbox,
    server: Ipv4Addr,
    permitted: &impl Permitted,
) -> Option<Connection> {
    let mut attempts = Attempts::new(sandbox, permitted);
    while let Some(generation) = attempts.next().await {
        match egress.netd.query_stream(sandbox, generation, server).await {
            Err(DialError::Changed) => {}
            got => return got.ok(),
        }
    }
    None
}

/// The number of a question, and the case of its letters.
fn unguessable() -> Option<(u16, [u8; 32])> {
    let mut bytes = [0; 34];
    getrandom::fill(&mut bytes).ok()?;
    let mut case = [0; 32];
    case.copy_from_slice(&bytes[2..]);
    Some((u16::from_be_bytes([bytes[0], bytes[1]]), case))
}

/// A number alone.
pub(crate) fn number() -> Option<u16> {
    unguessable().map(|(number, _)| number)
}

/// What `server` says of the addresses of `name`; `None` if it says nothing.
pub(crate) async fn addresses(
    egress: &Egress,
    sandbox: &Sandbox,
    server: Ipv4Addr,
    name: &HostName,
    permitted: &impl Permitted,
) -> Option<Answer> {
    let name = Name::from(name);
    for _ in 0..DATAGRAMS {
        let (number, case) = unguessable()?;
        let sent = question::write(number, &for_addresses(name.shuffled(&case)));
        let socket = datagrams(egress, sandbox, server, permitted).await?;
        let got = tokio::time::timeout(DATAGRAM_TIMEOUT, by_datagram(&socket, &sent)).await;
        match got {
            Ok(Some(Read::Answer(answer))) => return Some(answer),
            Ok(Some(Read::Cut)) => break,
            Ok(None | Some(Read::Odd | Read::Other)) | Err(_) => {}
        }
    }
    // Whoever cannot see the connection cannot forge in it, so letters have no case: some servers change it.
    let (number, _) = unguessable()?;
    let sent = question::write(number, &for_addresses(name));
    let asked = async {
        let mut server = stream(egress, sandbox, server, permitted).await?;
        let message = by_stream(&mut server, &sent).await.ok()?;
        server.finish();
        match answer::read(&sent, &message) {
            Read::Answer(answer) => Some(answer),
            Read::Cut | Read::Odd | Read::Other => None,
        }
    };
    tokio::time::timeout(STREAM_TIMEOUT, asked).await.ok()?
}

async fn by_datagram(socket: &UdpSocket, sent: &[u8]) -> Option<Read> {
    socket.send(sent).await.ok()?;
    // A server sends no more than it was told to.
    let mut buffer = [0; 2 * question::SIZE as usize];
    for _ in 0..FORGERIES {
        let length = socket.recv(&mut buffer).await.ok()?;
        match answer::read(sent, &buffer[..length]) {
            // Costs next to nothing to see. What was read whole, if only to find it odd, ends it.
            Read::Other => {}
            read => return Some(read),
        }
    }
    None
}

/// Sends a message behind its length and receives one (RFC 1035, 4.2.2).
async fn by_stream(server: &mut Connection, sent: &[u8]) -> std::io::Result<Vec<u8>> {
    write_message(server, sent).await?;
    read_message(server, LARGEST).await
}

/// Sends a message behind its length.
pub(crate) async fn write_message(to: &mut Connection, message: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(message);
    to.write_all(&bytes).await
}

/// Receives a message behind its length, of at most `most` bytes.
pub(crate) async fn read_message(from: &mut Connection, most: usize) -> std::io::Result<Vec<u8>> {
    let length = usize::from(from.read_u16().await?);
    if length > most {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut message = Vec::new();
    // Room only for what has come.
    let mut part = [0; 2048];
    while message.len() < length {
        let most = part.len().min(length - message.len());
        match from.read(&mut part[..most]).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            got => message.extend(&part[..got]),
        }
    }
    Ok(message)
}
