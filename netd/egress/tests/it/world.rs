//! Guests, the router and egressd between.

use std::fs::File;
use std::io::{Read as _, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use warder_ipc::Channel;
use warder_linux::sockets;
use warder_wire::net_egress::Event;
use warder_wire::start::{Ready, Role, Start};
use warder_wire::{Cidr, InstanceTag, NamePattern, Policy, SandboxId};

use crate::fake::{Gateway, Netd, PATIENCE};
use crate::message::{self, Read};
use crate::server::Server;

/// Of the operator.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// Of somebody else.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);
/// The rules log and drop what is for here.
pub const LOGGED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 99);
pub const FLOWS: u32 = 20;
pub const IDS: (u32, u32) = (64_331, 64_332);
const MARK: &str = "WARDER_TEST_INSIDE";
const SOON: Duration = Duration::from_millis(300);

/// Runs `body` in network and mount namespaces of its own: the test binary starts itself again below unshare(1).
pub fn alone(test: &str, body: impl FnOnce(&World)) {
    if std::env::var_os(MARK).is_some() {
        return body(&World::build());
    }
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().expect("own path"))
        .args([test, "--exact", "--nocapture"])
        .env(MARK, "1")
        .status()
        .expect("unshare(1) is there, and the test runs as root");
    assert!(status.success(), "{test} failed inside its namespace");
}

fn run(script: &str) {
    let out = Command::new("sh")
        .args(["-ec", script])
        .output()
        .expect("sh(1) runs");
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{errors}");
}

const NETWORK: &str = r#"
mount -t tmpfs tmpfs /run && mkdir /run/netns
ip link set lo up
ip netns add guest
ip link add r0 type veth peer name g0 netns guest
ip addr add 10.9.0.1/24 dev r0
ip link set r0 up
ip -n guest link set lo up
ip -n guest link set g0 up
for n in 2 3 4; do ip -n guest addr add 10.9.0.$n/24 dev g0; done
ip -n guest route add default via 10.9.0.1
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.r0.rp_filter=0
ip rule add fwmark 1 lookup 100
ip route add local default dev lo table 100
nft -f - <<'RULES'
table ip t {
    chain pre {
        type filter hook prerouting priority mangle;
        iifname != "r0" accept
        ip daddr 198.51.100.99 log prefix "address" group 53 snaplen 68 drop
        meta l4proto tcp meta mark set 1 tproxy to :15001 accept
        udp dport 53 meta mark set 1 tproxy to :53 accept
    }
}
RULES
"#;

pub struct World {
    guests: OwnedFd,
    pub server: Server,
    pub egressd: Child,
    pub privd: std::cell::Cell<Option<Channel>>,
    pub ready: Ready,
    pub netd: std::cell::RefCell<Option<Netd>>,
    pub gateway: Gateway,
    serial: AtomicU64,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.egressd.kill();
        let _ = self.egressd.wait();
    }
}

/// A sandbox's id from its number, which is also the last one of its address.
pub fn id(n: u8) -> SandboxId {
    SandboxId::new(&format!("i{n:020}")).expect("well formed")
}

pub fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, n)
}

/// All denied but these names.
pub fn named(names: &[&str]) -> Policy {
    let pattern = |text: &&str| NamePattern::new(text).expect("a pattern");
    Policy {
        deny: vec![Cidr::ALL],
        names: names.iter().map(pattern).collect(),
        ..Policy::OPEN
    }
}

impl World {
    fn build() -> Self {
        run(NETWORK);
        let server = Server::start();
        let (mut privd, theirs) = Channel::pair().expect("socketpair");
        // The shell moves the channel from 0 to 3: no unsafe code for that here.
        let egressd = Command::new("sh")
            .args([
                "-c",
                "exec \"$0\" 3<&0 </dev/null",
                env!("CARGO_BIN_EXE_egressd"),
            ])
            .stdin(Stdio::from(theirs.into_fd()))
            .spawn()
            .expect("sh(1) runs");
        let (netd, netd_end) = Channel::pair().expect("socketpair");
        let (gateway, gateway_end) = Channel::pair().expect("socketpair");
        let start = Start {
            version: warder_wire::VERSION,
            tag: InstanceTag::of_state_dir(b"/egress"),
            role: Role::Egress {
                ids: IDS,
                never: Vec::new(),
                resolvers: vec![RESOLVER],
            },
        };
        let ends = vec![netd_end.into_fd(), gateway_end.into_fd()];
        privd.send_timeout(&start, ends, PATIENCE).expect("reads");
        let (ready, _) = privd.recv_timeout::<Ready>(PATIENCE).expect("serves");
        let netd = Netd::start(netd, &server, vec![RESOLVER]);
        let traffic = vec![
            sockets::transparent_tcp(15_001).expect("listens"),
            sockets::transparent_udp(53).expect("binds"),
            sockets::packet_log(53, 68).expect("binds"),
        ];
        netd.say(Event::Traffic, traffic);
        Self {
            guests: File::open("/run/netns/guest").expect("made").into(),
            server,
            egressd,
            privd: std::cell::Cell::new(Some(privd)),
            ready,
            netd: std::cell::RefCell::new(Some(netd)),
            gateway: Gateway::start(gateway),
            serial: AtomicU64::new(0),
        }
    }

    pub fn with_netd<T>(&self, act: impl FnOnce(&Netd) -> T) -> T {
        act(self.netd.borrow().as_ref().expect("netd lives"))
    }

    /// Policy `policy` holds for sandbox `n`. The number of the event, which is the generation too.
    pub fn tell(&self, n: u8, policy: Policy) -> u64 {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
        self.with_netd(|netd| {
            netd.judge_by(id(n), serial, policy.clone());
            let event = Event::Policy {
                serial,
                sandbox: id(n),
                address: address(n),
                generation: serial,
                policy,
                flows: FLOWS,
            };
            netd.say(event, Vec::new());
        });
        serial
    }

    /// The same, and what it forbids has ended.
    pub fn put(&self, n: u8, policy: Policy) {
        let serial = self.tell(n, policy);
        self.with_netd(|netd| netd.wait_settled(serial));
    }

    /// Sandbox `n` is gone, and so is all it had.
    pub fn gone(&self, n: u8) {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
        self.with_netd(|netd| {
            let sandbox = id(n);
            netd.say(Event::Gone { serial, sandbox }, Vec::new());
            netd.wait_settled(serial);
        });
    }

    fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let ns = self.guests.as_fd();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(ns, Some(LinkNameSpaceType::Network)).expect("setns");
                body()
            });
            thread.join().expect("the thread ends well")
        })
    }

    /// A UDP socket of guest `n`, connected to the DNS server `server`.
    pub fn udp(&self, n: u8, server: Ipv4Addr) -> UdpSocket {
        self.inside(|| {
            let socket = UdpSocket::bind((address(n), 0)).expect("its own");
            socket.connect((server, 53)).expect("a route");
            socket.set_read_timeout(Some(PATIENCE)).expect("set");
            socket
        })
    }

    /// A connection of guest `n`.
    pub fn tcp(&self, n: u8, to: Ipv4Addr, port: u16) -> TcpStream {
        let stream = self.inside(|| {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("sockets");
            bind(&socket, &SocketAddrV4::new(address(n), 0)).expect("its own");
            connect(&socket, &SocketAddrV4::new(to, port)).expect("accepted");
            TcpStream::from(socket)
        });
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream
    }

    /// A datagram of guest `n` that nobody answers.
    pub fn datagram(&self, n: u8, to: Ipv4Addr, port: u16) {
        self.inside(|| {
            let socket = UdpSocket::bind((address(n), 0)).expect("its own");
            socket.send_to(b"x", (to, port)).expect("a route");
        });
    }

    /// A connection of guest `n` that is not made.
    pub fn connecting(&self, n: u8, to: Ipv4Addr, port: u16) {
        self.inside(|| {
            let flags = SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
            let socket = socket.expect("sockets");
            bind(&socket, &SocketAddrV4::new(address(n), 0)).expect("its own");
            let begun = connect(&socket, &SocketAddrV4::new(to, port));
            assert_eq!(begun, Err(rustix::io::Errno::INPROGRESS));
        });
    }

    /// Asks like a stub resolver and waits for the answer.
    pub fn ask(&self, n: u8, server: Ipv4Addr, name: &str, kind: u16) -> Read {
        let socket = self.udp(n, server);
        let question = message::ask(0x5157, name, kind, true);
        socket.send(&question).expect("sends");
        let answer = heard(&socket).expect("an answer");
        assert_eq!(answer.id, 0x5157);
        assert_eq!(answer.name, name, "as it was written");
        answer
    }
}

/// The next answer.
pub fn heard(socket: &UdpSocket) -> Option<Read> {
    let mut buffer = [0; 65536];
    let length = socket.recv(&mut buffer).ok()?;
    Some(message::read(&buffer[..length]))
}

/// Whether nothing comes, for a while.
pub fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(SOON)).expect("set");
    let silent = heard(socket).is_none();
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    silent
}

/// Asks over a connection.
pub fn ask_by(stream: &mut TcpStream, name: &str, kind: u16) -> std::io::Result<Read> {
    let question = message::ask(7, name, kind, false);
    let length = u16::try_from(question.len()).expect("short").to_be_bytes();
    stream.write_all(&[length.as_slice(), &question].concat())?;
    answer_by(stream)
}

pub fn answer_by(stream: &mut TcpStream) -> std::io::Result<Read> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(message::read(&answer))
}

/// Waits for the end of a connection, which is a reset.
pub fn is_reset(stream: &mut TcpStream) -> bool {
    let end = stream.read(&mut [0; 1]);
    matches!(end, Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset)
}
