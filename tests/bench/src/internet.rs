//! An "internet" beside the server's namespace: one host that receives, answers and resolves, in a namespace of its
//! own, and a client in another that reaches it over a pair without any rule. No packet leaves the machine.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::arrival;
use crate::upstream;

/// Receives packets, and notes when.
pub(crate) const STREAM: &str = "192.0.2.10:4000";
/// Takes flows, and notes when something came.
pub(crate) const FLOWS: &str = "192.0.2.10:4001";
/// Takes whatever comes.
pub(crate) const SINK: &str = "192.0.2.10:4002";
/// Answers HTTP.
pub(crate) const WEB: &str = "192.0.2.10:80";
/// Finds the host above by every name. `tests/bench/run` tells the server of it.
const DNS: &str = "192.0.2.53:53";

/// A flow that said nothing for so long is dead.
const DEAD: Duration = Duration::from_millis(500);

/// `$1` holds the internet's namespace, `$2` the client's.
const JOIN: &str = "
ip link add wbn0 type veth peer name eth0 netns $1
ip addr add 198.51.100.1/30 dev wbn0
ip link set wbn0 up
nsenter -t $1 -n sh -ec '
    ip link set lo up
    ip addr add 192.0.2.10/32 dev lo
    ip addr add 192.0.2.53/32 dev lo
    ip addr add 198.51.100.2/30 dev eth0
    ip link set eth0 up
    ip route add default via 198.51.100.1'
ip route add 192.0.2.0/24 via 198.51.100.2
nsenter -t $1 -n ip link add plain type veth peer name eth0 netns $2
nsenter -t $1 -n ip addr add 203.0.113.1/30 dev plain
nsenter -t $1 -n ip link set plain up
nsenter -t $2 -n sh -ec '
    ip addr add 203.0.113.2/30 dev eth0
    ip link set eth0 up
    ip route add default via 203.0.113.1'
";

/// What arrived.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Packets of the stream.
    pub(crate) packets: AtomicU64,
    /// When the last packet or piece of a flow that came was sent.
    pub(crate) sent: AtomicU64,
    /// When it was received.
    pub(crate) received: AtomicU64,
    /// Flows that are alive.
    pub(crate) flows: AtomicUsize,
}

/// The namespaces, with everything that listens.
#[derive(Debug)]
pub(crate) struct Internet {
    pub(crate) seen: Arc<Seen>,
    plain: File,
}

impl Internet {
    /// Makes it, joined to the namespace this runs in.
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let (mut outside, mut plain) = (Holder::new()?, Holder::new()?);
        let joined = Command::new("sh")
            .args(["-ec", JOIN, "join"])
            .args([outside.pid(), plain.pid()])
            .output()?;
        let spaces = [outside.namespace(), plain.namespace()];
        // The descriptors hold the namespaces from here on.
        outside.end()?;
        plain.end()?;
        if !joined.status.success() {
            return Err(format!("ip: {}", String::from_utf8_lossy(&joined.stderr)).into());
        }
        let [outside, plain] = spaces;
        let (outside, plain) = (outside?, plain?);
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        within(&outside, move || listen(&shared))??;
        Ok(Self { seen, plain })
    }

    /// Runs `job` where nothing filters.
    pub(crate) fn unfiltered<T: Send>(
        &self,
        job: impl FnOnce() -> T + Send,
    ) -> Result<T, io::Error> {
        within(&self.plain, job)
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        // Its other end goes with it. Nobody is left to tell if that fails.
        let _ = Command::new("ip").args(["link", "del", "wbn0"]).status();
    }
}

/// Runs `job` in a thread inside the namespace; sockets made there stay there.
fn within<T: Send>(space: &File, job: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(space)?;
            Ok(job())
        });
        let panicked = |_| Err(io::Error::other("a thread panicked"));
        thread.join().unwrap_or_else(panicked)
    })
}

/// Moves this thread into a network namespace.
#[cfg(target_os = "linux")]
fn enter(space: &File) -> io::Result<()> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    use std::os::fd::AsFd;
    let network = Some(LinkNameSpaceType::Network);
    Ok(move_into_link_name_space(space.as_fd(), network)?)
}

/// There are none.
#[cfg(not(target_os = "linux"))]
fn enter(_space: &File) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "network namespaces are Linux's",
    ))
}

/// A process that holds a new namespace.
struct Holder(Child);

impl Holder {
    fn new() -> Result<Self, Box<dyn Error>> {
        let child = Command::new("unshare")
            .args(["--net", "sleep", "1000000"])
            .spawn()?;
        let holder = Self(child);
        let own = fs::read_link("/proc/self/ns/net")?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::read_link(format!("/proc/{}/ns/net", holder.0.id())).is_ok_and(|ns| ns == own) {
            if Instant::now() > deadline {
                return Err("unshare makes no namespace".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(holder)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn namespace(&self) -> io::Result<File> {
        File::open(format!("/proc/{}/ns/net", self.0.id()))
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }
}

fn listen(seen: &Arc<Seen>) -> io::Result<()> {
    let (stream, dns) = (UdpSocket::bind(STREAM)?, UdpSocket::bind(DNS)?);
    let (flows, sink) = (TcpListener::bind(FLOWS)?, TcpListener::bind(SINK)?);
    let web = TcpListener::bind(WEB)?;
    arrival::stamp(&stream)?;
    let shared = Arc::clone(seen);
    thread::spawn(move || receive(&stream, &shared));
    thread::spawn(move || resolve(&dns));
    thread::spawn(move || upstream::accept(&web));
    let shared = Arc::clone(seen);
    thread::spawn(move || {
        for flow in flows.incoming().flatten() {
            let seen = Arc::clone(&shared);
            // Hundreds of them: a small stack will do.
            let small = thread::Builder::new().stack_size(64 * 1024);
            let _ = small.spawn(move || follow(&flow, &seen));
        }
    });
    thread::spawn(move || {
        for stream in sink.incoming().flatten() {
            thread::spawn(move || swallow(stream));
        }
    });
    Ok(())
}

fn receive(socket: &UdpSocket, seen: &Seen) {
    let mut stamp = [0; 8];
    while let Ok((length, arrived)) = arrival::receive(socket, &mut stamp) {
        if length == stamp.len() {
            seen.received.fetch_max(arrived, Relaxed);
            seen.sent.fetch_max(u64::from_be_bytes(stamp), Relaxed);
            seen.packets.fetch_add(1, Relaxed);
        }
    }
}

fn follow(flow: &TcpStream, seen: &Seen) {
    // Closed with a reset: a half of a dead flow would hold its port, which the sandbox soon uses again.
    let reset = set_socket_linger(flow, Some(Duration::ZERO));
    if reset.is_err() || arrival::stamp(flow).is_err() || flow.set_read_timeout(Some(DEAD)).is_err()
    {
        return;
    }
    seen.flows.fetch_add(1, Relaxed);
    let mut room = [0; 256];
    while let Ok((length @ 1.., arrived)) = arrival::receive(flow, &mut room) {
        seen.received.fetch_max(arrived, Relaxed);
        let (stamps, _) = room[..length].as_chunks();
        if let (Some(stamp), 0) = (stamps.last(), length % 8) {
            seen.sent.fetch_max(u64::from_be_bytes(*stamp), Relaxed);
        }
    }
    seen.flows.fetch_sub(1, Relaxed);
}

fn swallow(mut stream: TcpStream) {
    let mut room = vec![0; 256 * 1024];
    while matches!(stream.read(&mut room), Ok(1..)) {}
}

/// Answers every question for an address with that of [`WEB`], every other with nothing (RFC 1035, 4.1).
fn resolve(socket: &UdpSocket) {
    let mut message = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut message) {
        if let Some(answer) = answer(&message[..length]) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let web: SocketAddr = WEB.parse().ok()?;
    let std::net::IpAddr::V4(web) = web.ip() else {
        return None;
    };
    let mut end = 12;
    while *query.get(end)? != 0 {
        end += 1 + usize::from(query[end]);
    }
    let question = query.get(12..end + 5)?;
    let is_a = question.get(question.len() - 4..)? == [0, 1, 0, 1];
    let mut reply = query.get(..2)?.to_vec();
    // An answer, recursion available, no error; one question, and one answer or none.
    reply.extend([0x85, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    reply.extend(question);
    if is_a {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend(web.octets());
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_answered() {
        let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        query.extend(b"\x05bench\x04test\0\0\x01\0\x01\0\0\x29\x10\0\0\0\0\0\0\0");
        let reply = answer(&query).expect("well formed");
        assert_eq!(
            &reply[..12],
            [0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]
        );
        assert_eq!(&reply[reply.len() - 4..], [192, 0, 2, 10]);
        query[25] = 28;
        assert_eq!(answer(&query).expect("well formed")[7], 0, "no IPv6");
        assert_eq!(answer(&query[..14]), None);
    }
}
