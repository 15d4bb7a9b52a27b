//! A fake agent in a fake sandbox: serves the link as told, well or badly.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use warder_ipc::Channel;
use warder_wire::link::{Ask, Refusal, Reply, Role};

/// How an agent behaves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Manner {
    /// As it should.
    #[default]
    Good,
    /// Answers `/init` with 500.
    RefusesInit,
    /// Never answers anything on a stream.
    Silent,
    /// Sends a file for a connection.
    SendsFile,
    /// Sends a listening socket.
    SendsListener,
    /// Sends three descriptors for one.
    SendsMany,
    /// Sends a connection to another port.
    SendsOther,
    /// Answers tickets nobody issued.
    Unasked,
    /// Never answers a connect.
    NeverConnects,
    /// Sends half a frame's length and rubbish.
    Rubbish,
}

/// A request as the sandbox saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Request line.
    pub(crate) line: String,
    /// Header lines as they came.
    pub(crate) headers: Vec<String>,
    /// The body, put together.
    pub(crate) body: Vec<u8>,
    /// On a stream for clients or for the gateway.
    pub(crate) role: Option<Role>,
}

impl Seen {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (n, v) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| v.trim())
        })
    }
}

/// What all parts of one fake sandbox share.
#[derive(Clone, Default)]
pub(crate) struct Guest {
    /// How it behaves.
    pub(crate) manner: Arc<Mutex<Manner>>,
    /// What it was asked.
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    /// What it answers to `/logs`.
    pub(crate) log: Arc<Mutex<String>>,
    /// Ports inside, and where they really are.
    pub(crate) ports: Arc<Mutex<HashMap<u16, u16>>>,
    /// Requests for `/endless`, `/waits`, `/flood` and upgrades whose connection was closed.
    pub(crate) ended: Arc<Mutex<Vec<String>>>,
    /// How often a port is not open yet.
    pub(crate) not_yet: Arc<Mutex<HashMap<u16, u32>>>,
}

impl Guest {
    /// Takes a link.
    pub(crate) fn link(&self, mut channel: Channel) {
        let guest = self.clone();
        std::thread::spawn(move || {
            while let Ok((ask, fds)) = channel.recv_timeout::<Ask>(Duration::from_secs(600)) {
                match ask {
                    Ask::Serve { role } => {
                        let stream =
                            UnixStream::from(fds.into_iter().next().expect("a stream rides along"));
                        stream.set_nonblocking(false).expect("ours");
                        let guest = guest.clone();
                        std::thread::spawn(move || guest.serve(stream, Some(role)));
                    }
                    Ask::Connect { ticket, port } => guest.connect(&mut channel, ticket, port),
                }
            }
        });
    }

    fn connect(&self, channel: &mut Channel, ticket: u64, port: u16) {
        let manner = *self.manner.lock().expect("lock");
        let mut target = self.ports.lock().expect("lock").get(&port).copied();
        if let Some(left) = self.not_yet.lock().expect("lock").get_mut(&port)
            && *left > 0
        {
            *left -= 1;
            target = None;
        }
        let file = || OwnedFd::from(std::fs::File::open("/etc/passwd").expect("there"));
        let real =
            |port: u16| OwnedFd::from(TcpStream::connect(("127.0.0.1", port)).expect("listens"));
        let mut say = |reply: Reply, fds: Vec<OwnedFd>| {
            let _ = channel.send_timeout(&reply, fds, Duration::from_secs(5));
        };
        match (manner, target) {
            (Manner::NeverConnects, _) => {}
            (Manner::SendsFile, _) => say(Reply::Connected { ticket }, vec![file()]),
            (Manner::SendsListener, _) => {
                let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
                say(Reply::Connected { ticket }, vec![listener.into()]);
            }
            (Manner::SendsMany, Some(at)) => {
                say(Reply::Connected { ticket }, vec![real(at), file(), file()]);
            }
            (Manner::SendsOther, _) => {
                let other = TcpListener::bind("127.0.0.1:0").expect("loopback");
                say(
                    Reply::Connected { ticket },
                    vec![real(other.local_addr().expect("bound").port())],
                );
            }
            (Manner::Unasked, _) => say(
                Reply::Connected {
                    ticket: ticket + 1000,
                },
                vec![file()],
            ),
            (Manner::Rubbish, _) => {
                // Frame length of one, body of an unknown variant.
                use std::os::fd::AsFd;
                let bytes = [1, 0, 0, 0, 0xff];
                let _ = rustix::net::send(channel.as_fd(), &bytes, rustix::net::SendFlags::empty());
            }
            (_, Some(at)) => say(Reply::Connected { ticket }, vec![real(at)]),
            (_, None) => say(
                Reply::Refused {
                    ticket,
                    reason: Refusal::Closed,
                },
                Vec::new(),
            ),
        }
    }

    /// Opens a port inside that answers HTTP; the gateway's check needs the same number outside, so the
    /// port is whatever the host gives.
    pub(crate) fn open(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        self.ports.lock().expect("lock").insert(port, port);
        let guest = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let guest = guest.clone();
                std::thread::spawn(move || guest.serve(stream, None));
            }
        });
        port
    }

    /// The same for HTTPS.
    pub(crate) fn open_tls(&self, config: Arc<rustls::ServerConfig>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        self.ports.lock().expect("lock").insert(port, port);
        let guest = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (guest, config) = (guest.clone(), Arc::clone(&config));
                std::thread::spawn(move || {
                    let tls = rustls::ServerConnection::new(config).expect("a server");
                    guest.serve(rustls::StreamOwned::new(tls, stream), None);
                });
            }
        });
        port
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("lock").clone()
    }

    fn serve<S: Read + Write>(&self, stream: S, role: Option<Role>) {
        let mut stream = BufReader::new(stream);
        let mut before = 0;
        while let Some(seen) = read_request(&mut stream, role) {
            before += 1;
            let manner = *self.manner.lock().expect("lock");
            self.seen.lock().expect("lock").push(seen.clone());
            if manner == Manner::Silent {
                std::thread::sleep(Duration::from_secs(600));
            }
            // Closes a kept connection at the very moment the next request comes.
            if seen.line.contains(" /stale") && before > 1 {
                return;
            }
            let path = seen.line.split(' ').nth(1).unwrap_or_default().to_owned();
            let answered = self.reply(stream.get_mut(), &seen, manner);
            if seen.header("upgrade").is_some()
                || ["/endless", "/waits", "/flood"].contains(&&*path)
            {
                echo(&mut stream);
                self.ended.lock().expect("lock").push(path);
                return;
            }
            if answered.is_err() {
                return;
            }
        }
    }

    fn reply<S: Write>(&self, to: &mut S, seen: &Seen, manner: Manner) -> std::io::Result<()> {
        let path = seen.line.split(' ').nth(1).unwrap_or_default();
        match path.split('?').next().unwrap_or_default() {
            "/init" if manner == Manner::RefusesInit => to.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
            "/logs" => {
                let body = self.log.lock().expect("lock").clone();
                to.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
            }
            "/init" | "/health" => to.write_all(b"HTTP/1.1 204 No Content\r\n\r\n"),
            "/stream" => {
                to.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n5\r\nfirst\r\n")?;
                to.flush()?;
                std::thread::sleep(Duration::from_millis(600));
                to.write_all(b"6\r\nsecond\r\n0\r\n\r\n")
            }
            "/breaks" => {
                to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            "/hops" => to.write_all(b"HTTP/1.1 200 OK\r\nConnection: x-secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok"),
            "/head" => to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
            "/head-odd" => to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9x\r\nContent-Length: 3\r\n\r\n"),
            "/same-odd" => to.write_all(
                b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 9x\r\n\r\n",
            ),
            "/same-twice" => to.write_all(
                b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: \"x\"\r\nContent-Length: 99\r\n\r\n",
            ),
            "/same" => to.write_all(b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99\r\n\r\n"),
            "/gone" => to.write_all(b"HTTP/1.1 204 No Content\r\nX-Kept: 1\r\n\r\n"),
            "/elsewhere" => to.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://localhost:8000//a/?b=%2F#c\r\nSet-Cookie: a=1; Domain=localhost\r\nContent-Length: 0\r\n\r\n"),
            "/trailers" => to.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 7\r\n\r\n"),
            "/until-close" => {
                to.write_all(b"HTTP/1.0 200 OK\r\n\r\nall of it")?;
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            "/endless" => to.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"),
            "/waits" => Ok(()),
            "/flood" => {
                to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")?;
                loop {
                    to.write_all(&[b'x'; 65536])?;
                }
            }
            "/slow" => {
                std::thread::sleep(Duration::from_millis(400));
                to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
            }
            _ if seen.header("upgrade").is_some() => to.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
            ),
            _ => {
                let body = format!("{}\n{}", seen.line, seen.body.len());
                to.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
            }
        }
    }
}

fn echo<S: Read + Write>(stream: &mut BufReader<S>) {
    let mut bytes = [0; 1024];
    while let Ok(n) = stream.read(&mut bytes) {
        if n == 0 || stream.get_mut().write_all(&bytes[..n]).is_err() {
            return;
        }
    }
}

fn line<S: Read>(stream: &mut BufReader<S>) -> Option<String> {
    let mut line = String::new();
    match stream.read_line(&mut line) {
        Ok(n) if n > 0 => Some(line.trim_end().to_owned()),
        _ => None,
    }
}

fn read_request<S: Read>(stream: &mut BufReader<S>, role: Option<Role>) -> Option<Seen> {
    let first = line(stream)?;
    let mut headers = Vec::new();
    loop {
        let next = line(stream)?;
        if next.is_empty() {
            break;
        }
        headers.push(next);
    }
    let mut seen = Seen {
        line: first,
        headers,
        body: Vec::new(),
        role,
    };
    if seen.header("transfer-encoding").is_some() {
        loop {
            let length = usize::from_str_radix(&line(stream)?, 16).ok()?;
            if length == 0 {
                break;
            }
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk).ok()?;
            seen.body.extend(&chunk[..length]);
        }
        loop {
            let trailer = line(stream)?;
            if trailer.is_empty() {
                break;
            }
            seen.headers.push(format!("trailer {trailer}"));
        }
    } else if let Some(length) = seen.header("content-length").and_then(|l| l.parse().ok()) {
        seen.body = vec![0; length];
        stream.read_exact(&mut seen.body).ok()?;
    }
    Some(seen)
}
