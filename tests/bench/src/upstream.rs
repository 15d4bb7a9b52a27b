//! The server that requests are proxied to: as little as HTTP allows, so that the proxy is what is measured.

use std::io::{self, BufRead, BufReader, Read, Write};
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
    accept(&listener);
    ExitCode::SUCCESS
}

/// Answers every connection.
pub(crate) fn accept(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || answer(&stream));
    }
}

/// Answers every request of a connection. `/source/N` has a body of N bytes, `/endless` one without end, and that of
/// `/sink` is read first.
fn answer(stream: &TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    let (mut size, mut length) = (0_u64, 0_u64);
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        let mut out = stream;
        if line == b"\r\n" {
            if size == 0 {
                io::copy(&mut (&mut reader).take(length), &mut io::sink()).ok()?;
                out.write_all(ANSWER).ok()?;
            } else {
                write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").ok()?;
                let zeros = [0; 64 * 1024];
                while size > 0 {
                    let piece = usize::try_from(size).unwrap_or(usize::MAX).min(zeros.len());
                    out.write_all(&zeros[..piece]).ok()?;
                    size -= piece as u64;
                }
            }
            (size, length) = (0, 0);
        } else if line.starts_with(b"GET /endless ") {
            size = u64::MAX / 2;
        } else if let Some(rest) = line.strip_prefix(b"GET /source/") {
            size = number(rest)?;
        } else if line
            .get(..15)
            .is_some_and(|l| l.eq_ignore_ascii_case(b"content-length:"))
        {
            length = number(line[15..].trim_ascii())?;
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}
