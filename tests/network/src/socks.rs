//! A SOCKS5 proxy of the fake internet (RFC 1928, RFC 1929) that remembers whom it was asked for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::dns::Names;

/// The only user and password it takes.
pub const LOGIN: (&str, &str) = ("agent", "secret");

/// Whom it was asked for, as it was said: a name or an address, and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Relayed(pub String, pub u16);

pub(crate) type Log = Arc<Mutex<Vec<Relayed>>>;

/// Serves at `at`. Runs in the caller's network namespace, where it connects too.
pub(crate) fn serve(at: SocketAddrV4, names: Names, log: &Log) {
    let listener = TcpListener::bind(at).expect("free");
    let log = Arc::clone(log);
    // Threads keep the namespace of the thread that starts them.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || relay(stream, names, &log));
        }
    });
}

fn bytes(stream: &mut TcpStream, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(stream: &mut TcpStream) -> std::io::Result<String> {
    let length = bytes(stream, 1)?[0];
    let bytes = bytes(stream, usize::from(length))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn relay(mut client: TcpStream, names: Names, log: &Log) -> std::io::Result<()> {
    let methods = bytes(&mut client, 2)?[1];
    let methods = bytes(&mut client, usize::from(methods))?;
    if !methods.contains(&2) {
        return client.write_all(&[5, 0xff]);
    }
    client.write_all(&[5, 2])?;
    bytes(&mut client, 1)?;
    let (user, password) = (text(&mut client)?, text(&mut client)?);
    let good = (user.as_str(), password.as_str()) == LOGIN;
    client.write_all(&[1, u8::from(!good)])?;
    if !good {
        return Ok(());
    }
    let kind = bytes(&mut client, 4)?[3];
    let said = match kind {
        1 => {
            let octets: [u8; 4] = bytes(&mut client, 4)?.try_into().expect("four");
            Ipv4Addr::from(octets).to_string()
        }
        3 => text(&mut client)?,
        _ => return client.write_all(&[5, 8, 0, 1, 0, 0, 0, 0, 0, 0]),
    };
    let port = bytes(&mut client, 2)?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Relayed(said.clone(), port));
    let known = names.iter().find(|(name, _)| *name == said);
    let address = known.and_then(|(_, list)| list.first().copied());
    let server = address
        .or_else(|| said.parse().ok())
        .and_then(|to: Ipv4Addr| TcpStream::connect((to, port)).ok());
    let Some(mut server) = server else {
        return client.write_all(&[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]);
    };
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut up_from, mut up_to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut up_from, &mut up_to);
        let _ = up_to.shutdown(std::net::Shutdown::Write);
    });
    let done = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Both);
    done.map(drop)
}
