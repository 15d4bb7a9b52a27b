//! Servers of the fake internet. Those of TCP listen on every address there; all run in threads of the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use crate::capture::SENTINEL;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Answers what it is sent.
pub const ECHO: u16 = 7;
/// Speaks first, then as [`ECHO`].
pub const BANNER: u16 = 22;
/// Answers when the client has closed its half.
pub const HALF: u16 = 11_371;
/// HTTP and HTTPS, and HTTPS where no name is looked at.
pub const HTTP: u16 = 80;
/// See [`HTTP`].
pub const HTTPS: u16 = 443;
/// See [`HTTP`].
pub const HTTPS_TOO: u16 = 8443;
/// Gives bytes for as long as it is let.
pub const BULK: u16 = 19;

/// What [`BANNER`] says.
const GREETING: &[u8] = b"SSH-2.0-test\r\n";

/// Starts all of them. Runs in the caller's network namespace, whose addresses are `addresses`.
pub(crate) fn serve(addresses: &[Ipv4Addr], tls: &Arc<ServerConfig>) {
    tcp(ECHO, |mut stream| {
        let mut copy = stream.try_clone()?;
        std::io::copy(&mut copy, &mut stream).map(drop)
    });
    tcp(BANNER, |mut stream| {
        stream.write_all(GREETING)?;
        let mut copy = stream.try_clone()?;
        std::io::copy(&mut copy, &mut stream).map(drop)
    });
    tcp(HALF, |mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        stream.write_all(format!("got {}", all.len()).as_bytes())
    });
    tcp(BULK, |mut stream| {
        let block = [b'x'; 65_536];
        loop {
            stream.write_all(&block)?;
        }
    });
    tcp(HTTP, |stream| {
        let local = stream.local_addr()?.ip().to_string();
        http(stream, &local)
    });
    for port in [HTTPS, HTTPS_TOO] {
        let config = Arc::clone(tls);
        tcp(port, move |stream| {
            let local = stream.local_addr()?.ip().to_string();
            let session =
                ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
            http(StreamOwned::new(session, stream), &local)
        });
    }
    // Takes what a capture puts behind all else, and says nothing.
    let sink = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SENTINEL)).expect("free");
    std::thread::spawn(move || while sink.recv(&mut [0; 64]).is_ok() {});
    // From one socket for all addresses the answers would come from one of them.
    for address in addresses {
        for port in [ECHO, HTTPS] {
            let socket = UdpSocket::bind((*address, port)).expect("free");
            std::thread::spawn(move || {
                let mut buffer = [0; 2048];
                while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], peer);
                }
            });
        }
    }
}

fn tcp(port: u16, serve: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("free");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || {
                // What a client breaks off is the client's affair.
                let _ = stream.set_nodelay(true).and_then(|()| serve(stream));
            });
        }
    });
}

/// Answers each request with `ADDRESS HOST PATH`: where it arrived, and for whom.
fn http(stream: impl Read + Write, local: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut path, mut host, mut last) = (String::new(), String::new(), false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            match line.split_once(':') {
                _ if path.is_empty() => line.split(' ').nth(1).unwrap_or("/").clone_into(&mut path),
                Some((name, value)) if name.eq_ignore_ascii_case("host") => {
                    value.trim().clone_into(&mut host);
                }
                Some((name, value)) if name.eq_ignore_ascii_case("connection") => {
                    last = value.trim().eq_ignore_ascii_case("close");
                }
                _ => {}
            }
        }
        let body = format!("{local} {host} {path}");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let stream = reader.get_mut();
        stream.write_all((head + &body).as_bytes())?;
        stream.flush()?;
        if last {
            return Ok(());
        }
    }
}
