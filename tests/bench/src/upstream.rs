//! The server that requests are proxied to: as little as HTTP allows, so that the proxy is what is measured.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";

/// Serves on 127.0.0.1, on the given port or any, which it prints. Never returns unless it cannot begin.
pub(crate) fn serve(port: Option<&String>) -> ExitCode {
    let port = port.and_then(|port| port.parse().ok()).unwrap_or(0_u16);
    let listener = match TcpListener::bind(("127.0.0.1", port)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("upstream: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Ok(address) = listener.local_addr() {
        println!("{}", address.port());
    }
    for stream in listener.incoming().flatten() {
        thread::spawn(move || answer(&stream));
    }
    ExitCode::SUCCESS
}

/// Answers every request of a connection; none has a body.
fn answer(stream: &TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        if line == b"\r\n" {
            (&mut &*stream).write_all(ANSWER).ok()?;
        }
    }
}
