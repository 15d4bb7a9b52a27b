//! Trust: zone 0, as always; this one does what its test says.
//! Input: its command line.
//! May: what any process in a sandbox may.
//! Unsafe: forbidden.
//!
//! A program for sandboxes that need not have any other: a small server, its client, and attempts at what is not its own.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};

/// How long an answer may take that should come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one is waited for that should not.
const MOMENT: Duration = Duration::from_millis(400);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["serve", address, port, answer, seen] => serve(at(address, port), answer, seen),
        ["get", address, port] => get(at(address, port)),
        ["address"] => own_address(),
        ["reach", tcp, udp, name, own, foreign, ref addresses @ ..] => {
            reach((tcp, udp, name), [own, foreign], addresses)
        }
        ["eat", mib] => eat(mib),
        _ => Err(io::Error::other("no such command")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn at(address: &str, port: &str) -> SocketAddr {
    let port = port.parse().expect("a port");
    SocketAddr::new(address.parse().expect("an address"), port)
}

/// Keeps whatever comes in at the end of a file, and answers each piece of it.
fn serve(at: SocketAddr, answer: &str, seen: &str) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}",
        answer.len()
    );
    for mut stream in TcpListener::bind(at)?.incoming().flatten() {
        let (answer, seen) = (answer.clone(), seen.to_owned());
        std::thread::spawn(move || {
            let mut piece = [0; 65536];
            while let Ok(length @ 1..) = stream.read(&mut piece) {
                let kept = File::options().create(true).append(true).open(&seen);
                kept.and_then(|mut kept| kept.write_all(&piece[..length]))
                    .expect("its own file");
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// Prints what a server answers.
fn get(at: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut piece = [0; 4096];
    let length = stream.read(&mut piece)?;
    let text = String::from_utf8_lossy(&piece[..length]).into_owned();
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
    println!("{}", body.unwrap_or(&text));
    Ok(())
}

/// Prints the address that packets leave with.
fn own_address() -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 10), 9))?;
    println!("{}", socket.local_addr()?.ip());
    Ok(())
}

/// Knocks at the ports and the name of a host, at each of its addresses, and sends it datagrams in the sandbox's own name and
/// in others' `sources`. Prints what it reached.
fn reach(
    (tcp, udp, name): (&str, &str, &str),
    sources: [&str; 2],
    addresses: &[&str],
) -> io::Result<()> {
    let mut free = true;
    for address in addresses {
        for port in tcp.split(',') {
            if TcpStream::connect_timeout(&at(address, port), MOMENT).is_ok() {
                println!("reached {address} {port}");
            }
        }
        for source in ["0.0.0.0"].into_iter().chain(sources) {
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            free &= warder_probe::any_source(socket.as_fd()).is_ok();
            // Whether it may or not: what is not said cannot be heard.
            let _ = rustix::net::bind(&socket, &at(source, "0"));
            let socket = UdpSocket::from(socket);
            socket.set_broadcast(true)?;
            let _ = socket.send_to(b"x", at(address, udp));
        }
    }
    if !free {
        println!("only its own addresses");
    }
    if !warder_probe::connect_abstract(name).holds {
        println!("reached a name");
    }
    println!("over");
    Ok(())
}

/// Takes so much memory and touches all of it.
fn eat(mib: &str) -> io::Result<()> {
    let mib: usize = mib.parse().map_err(io::Error::other)?;
    // Not all zeros: such pages might be shared.
    let full = vec![0x5a_u8; 1 << 20];
    let mut blocks = Vec::new();
    for _ in 0..mib {
        let mut block = Vec::new();
        block
            .try_reserve_exact(full.len())
            .map_err(io::Error::other)?;
        block.extend_from_slice(&full);
        blocks.push(block);
    }
    println!("{} MiB", std::hint::black_box(blocks).len());
    Ok(())
}
