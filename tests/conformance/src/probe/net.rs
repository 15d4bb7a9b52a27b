//! What a sandbox reaches.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use warder_probe::Said;

/// How long an answer may take that should come; one that should not is refused at once or waited for as long.
const WAIT: Duration = Duration::from_millis(1500);

fn address(address: &str, port: &str) -> io::Result<SocketAddr> {
    let bad = |_| io::Error::new(io::ErrorKind::InvalidInput, "not an address");
    let ip: IpAddr = address.parse().map_err(bad)?;
    let port = port
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not a port"))?;
    Ok(SocketAddr::new(ip, port))
}

/// Whether something was reached: `holds` is that it was not.
fn unreached(tried: io::Result<String>) -> Said {
    match tried {
        Ok(seen) => Said::broke(seen),
        // No kernel said that: nothing was tried.
        Err(error)
            if error.kind() == io::ErrorKind::InvalidInput && error.raw_os_error().is_none() =>
        {
            Said::broke(error.to_string())
        }
        Err(error) => Said::held(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "silence".to_owned(),
            _ => error.to_string(),
        }),
    }
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    Ok(stream)
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"hello")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)
}

pub(super) fn tcp(to: &str, port: &str) -> Said {
    unreached(address(to, port).and_then(|to| {
        echo(&mut connect(to)?)?;
        Ok("answered".to_owned())
    }))
}

pub(super) fn udp(to: &str, port: &str) -> Said {
    unreached(address(to, port).and_then(|to| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(WAIT))?;
        socket.connect(to)?;
        socket.send(b"hello")?;
        let mut answer = [0; 100];
        let length = socket.recv(&mut answer)?;
        Ok(format!("answered with {length} bytes"))
    }))
}

/// Asks a server for the address of a name (RFC 1035). It holds when there is none.
pub(super) fn dns(server: &str, name: &str) -> Said {
    unreached(address(server, "53").and_then(|to| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        // egressd may take a while over a name that it refuses.
        socket.set_read_timeout(Some(WAIT * 2))?;
        socket.connect(to)?;
        let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            question.push(u8::try_from(label.len()).unwrap_or(63));
            question.extend(label.bytes());
        }
        question.extend([0, 0, 1, 0, 1]);
        socket.send(&question)?;
        let mut answer = [0; 1500];
        let length = socket.recv(&mut answer)?;
        let answer = &answer[..length];
        let code = answer.get(3).map_or(15, |b| b & 15);
        if code != 0 || answer.get(7) == Some(&0) {
            return Err(io::Error::other(format!("no address, code {code}")));
        }
        let end = answer
            .get(length.saturating_sub(4)..)
            .and_then(|b| <[u8; 4]>::try_from(b).ok());
        Ok(end.map_or_else(String::new, |b| Ipv4Addr::from(b).to_string()))
    }))
}

/// Says something over IPv6, to an address for documentation (RFC 3849).
pub(super) fn six() -> Said {
    let to = SocketAddr::new(
        IpAddr::V6(
            "2001:db8::1"
                .parse()
                .unwrap_or(std::net::Ipv6Addr::LOCALHOST),
        ),
        7,
    );
    unreached(TcpStream::connect_timeout(&to, WAIT).map(|_| "connected".to_owned()))
}

/// Takes an address that is not the sandbox's, to speak in another's name.
pub(super) fn bind(as_whom: &str) -> Said {
    unreached(address(as_whom, "0").and_then(|to| UdpSocket::bind(to).map(|_| "bound".to_owned())))
}

/// The address that packets leave with.
pub(super) fn own_address() -> Said {
    let found = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 10), 9))?;
        socket.local_addr()
    });
    match found {
        Ok(address) => Said::held(address.ip().to_string()),
        Err(error) => Said::broke(error.to_string()),
    }
}

/// Answers connections for ever: HTTP where a request line comes, else an echo.
pub(super) fn serve(at: &str, port: &str) -> Said {
    let listener = match address(at, port).and_then(TcpListener::bind) {
        Ok(listener) => listener,
        Err(error) => return Said::broke(error.to_string()),
    };
    for mut stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut block) {
                let http = block[..length].windows(5).any(|w| w == b"HTTP/");
                let answer: &[u8] = if http {
                    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nserved"
                } else {
                    &block[..length]
                };
                if stream.write_all(answer).is_err() || http {
                    return;
                }
            }
        });
    }
    Said::broke("the listener ended")
}

/// A conversation that goes on until it is ended; every answer is a dot, its end a word.
pub(super) fn hold(to: &str, port: &str) -> Said {
    let mut stream = match address(to, port).and_then(connect) {
        Ok(stream) => stream,
        Err(error) => return Said::broke(error.to_string()),
    };
    let mut out = io::stdout();
    loop {
        if let Err(error) = echo(&mut stream) {
            return Said::held(format!("ended: {error}"));
        }
        let _ = out.write_all(b".\n").and_then(|()| out.flush());
        std::thread::sleep(Duration::from_millis(10));
    }
}
