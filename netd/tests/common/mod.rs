//! What the tests stand on: a network namespace of their own that plays the host, another that plays the
//! internet, and the real netd driven over its channels.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(
    unreachable_pub,
    reason = "a test binary has no other crate to reach it"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::de::DeserializeOwned;
use warder_ipc::Channel;
use warder_wire::gateway_net;
use warder_wire::start::{NetStart, Ready, Role, Start};
use warder_wire::{
    Bounds, Fault, FaultCode, InstanceTag, Message, NamePattern, Policy, Request, SandboxId,
    net_egress, priv_net,
};

/// The host's way out.
pub const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// A second, public-looking address of the host.
pub const HOST_TOO: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 200);
/// A server on the internet.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// A neighbour of it.
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);
/// One elsewhere.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const SERVERS: [Ipv4Addr; 3] = [SERVER, NEIGHBOUR, ELSEWHERE];
/// Servers in ranges that no policy opens.
pub const DENIED: [Ipv4Addr; 7] = [
    Ipv4Addr::new(10, 9, 9, 9),
    Ipv4Addr::new(100, 100, 1, 1),
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(172, 20, 1, 1),
    Ipv4Addr::new(192, 0, 0, 9),
    Ipv4Addr::new(192, 168, 7, 7),
    Ipv4Addr::new(198, 18, 0, 9),
];
/// Where servers send back what they get, over TCP and UDP: no port of egressd's.
pub const ECHO: u16 = 7;
pub const OPEN: Policy = Policy::OPEN;
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Datagrams that the host itself heard.
pub static HEARD: AtomicUsize = AtomicUsize::new(0);
const MARK: &str = "WARDER_TEST_INSIDE";

/// Runs `body` as if on a host of its own: the test binary starts itself again below unshare(1), with an empty
/// /run and a network to the outside that ends in another namespace.
pub fn on_a_host(test: &str, body: impl FnOnce(&World)) {
    if std::env::var_os(MARK).is_some() {
        let world = World::build();
        return body(&world);
    }
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().expect("own path"))
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env(MARK, "1")
        .status()
        .expect("unshare(1) is there, and the test runs as root");
    assert!(status.success(), "{test} failed inside its namespace");
}

/// Runs a tool.
pub fn run(line: &str) -> String {
    let out = Command::new("sh")
        .args(["-c", line])
        .output()
        .expect("sh(1) runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{line}: {text}{errors}");
    text
}

/// Runs a closure on a thread inside the network namespace `ns`.
pub fn inside<T: Send + 'static>(ns: &OwnedFd, body: impl FnOnce() -> T + Send + 'static) -> T {
    let ns = ns.try_clone().expect("a descriptor");
    let thread = std::thread::spawn(move || {
        move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
        body()
    });
    thread.join().expect("the thread ends well")
}

/// Runs a tool inside `ns`.
pub fn run_inside(ns: &OwnedFd, line: &str) -> String {
    let line = line.to_owned();
    inside(ns, move || run(&line))
}

/// Host and internet.
pub struct World {
    pub internet: OwnedFd,
    pub host: OwnedFd,
}

impl World {
    fn build() -> Self {
        run("mount -t tmpfs tmpfs /run && mkdir /run/netns");
        run("ip link set lo up && ip netns add world");
        // Nothing may move by itself while pictures are compared.
        run("sysctl -qw net.ipv6.conf.default.addr_gen_mode=1 net.ipv6.conf.all.disable_ipv6=0");
        run("ip link add eth0 type veth peer name w0 netns world");
        run("ip addr add 203.0.113.2/24 dev eth0 && ip link set eth0 up");
        run("ip addr add 198.51.100.200/32 dev lo");
        run("ip -n world addr add 203.0.113.1/24 dev w0");
        run("ip -n world link set lo up && ip -n world link set w0 up");
        for address in DENIED.into_iter().chain(SERVERS) {
            run(&format!("ip -n world addr add {address}/32 dev lo"));
        }
        // The internet would answer a packet with an inside address too, if one came.
        run("ip -n world route add 10.200.0.0/16 via 203.0.113.2");
        run("ip -n world route add 198.19.0.0/16 via 203.0.113.2");
        run("ip route add default via 203.0.113.1");
        let open = |path: &str| OwnedFd::from(File::open(path).expect("a namespace"));
        let world = Self {
            internet: open("/run/netns/world"),
            host: open("/proc/self/ns/net"),
        };
        inside(&world.internet, || {
            for port in [ECHO, 53, 80, 443] {
                echo_tcp(TcpListener::bind(("0.0.0.0", port)).expect("free"));
                for address in DENIED.into_iter().chain(SERVERS) {
                    echo_udp(UdpSocket::bind((address, port)).expect("free"), None);
                }
            }
        });
        for port in [ECHO, 53, 80] {
            echo_tcp(TcpListener::bind(("0.0.0.0", port)).expect("free"));
            echo_udp(
                UdpSocket::bind(("0.0.0.0", port)).expect("free"),
                Some(&HEARD),
            );
        }
        world
    }

    /// Everything of the host that must be as found after a purge.
    pub fn picture(&self) -> String {
        let sysctls = "find /proc/sys/net -type f -perm -u=r ! -name 'flush' ! -name '*_count' \
             ! -name 'nf_conntrack_*' ! -name 'stat_refresh' | sort | (xargs grep -H '' 2>/dev/null || true)";
        [
            "ip -d link | grep -v '^ ' | sed 's/^[0-9]*: //'",
            "ip -o addr",
            "ip route show table all",
            "ip neigh show nud permanent",
            "ip rule",
            "nft list ruleset",
            sysctls,
        ]
        .map(run)
        .join("--\n")
    }
}

/// Compares two pictures line by line.
pub fn assert_same(before: &str, after: &str) {
    let only = |a: &str, b: &str, sign: &str| {
        let missing = a
            .lines()
            .filter(|line| !b.lines().any(|other| other == *line));
        missing
            .map(|line| format!("{sign} {line}\n"))
            .collect::<String>()
    };
    let difference = only(before, after, "-") + &only(after, before, "+");
    assert!(difference.is_empty(), "the host has changed:\n{difference}");
}

/// Answers every connection with the peer's address as seen here, then with what it is sent.
fn echo_tcp(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let peer = stream.peer_addr()?.ip().to_string();
    stream.write_all(format!("{peer:<16}").as_bytes())?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

fn echo_udp(socket: UdpSocket, heard: Option<&'static AtomicUsize>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((n, peer)) = socket.recv_from(&mut buffer) {
            if let Some(count) = heard {
                count.fetch_add(1, Ordering::SeqCst);
            }
            let _ = socket.send_to(&buffer[..n], peer);
        }
    });
}

/// A TCP connection from `ns`; with the source that the server saw.
pub fn dial(ns: &OwnedFd, to: Ipv4Addr, port: u16) -> std::io::Result<(TcpStream, String)> {
    inside(ns, move || {
        let to = SocketAddr::from((to, port));
        // What a link that has just come up loses is sent again after a second.
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(1500))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        let mut seen = [0; 16];
        stream.read_exact(&mut seen)?;
        Ok((stream, String::from_utf8_lossy(&seen).trim().to_owned()))
    })
}

/// Whether a datagram from `ns` is answered.
pub fn asks(ns: &OwnedFd, to: Ipv4Addr, port: u16) -> bool {
    inside(ns, move || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("binds");
        socket
            .set_read_timeout(Some(Duration::from_millis(300)))
            .expect("set");
        let mut buffer = [0; 16];
        socket.connect((to, port)).is_ok()
            && socket.send(b"hello").is_ok()
            && socket.recv(&mut buffer).is_ok()
    })
}

/// Whether an echo request of a process in the sandbox's groups is answered.
pub fn pings(ns: &OwnedFd, to: Ipv4Addr) -> bool {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, sockopt};
    inside(ns, move || {
        rustix::thread::set_thread_gid(rustix::fs::Gid::from_raw(1_000_005)).expect("root may");
        let icmp = Some(ipproto::ICMP);
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, icmp);
        let socket = socket.expect("ping_group_range holds the group");
        let patience = Some(Duration::from_millis(300));
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, patience).expect("set");
        let echo = [8, 0, 0, 0, 0, 1, 0, 1];
        let to = SocketAddr::from((to, 0));
        rustix::net::sendto(&socket, &echo, SendFlags::empty(), &to).is_ok()
            && rustix::net::recv(&socket, &mut [0_u8; 64], RecvFlags::empty()).is_ok()
    })
}

/// Sends and gets it back.
pub fn echoes(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 5];
    stream.write_all(b"hello").is_ok()
        && stream.read_exact(&mut buffer).is_ok()
        && &buffer == b"hello"
}

/// A sandbox's id from a number.
pub fn id(n: u32) -> SandboxId {
    SandboxId::new(&format!("i{n:020}")).expect("well formed")
}

/// A running netd with the ends of its channels.
pub struct Netd {
    pub child: Child,
    pub privd: Channel,
    pub gateway: Channel,
    pub ready: Ready,
    seq: u64,
}

/// An instance: what stays when netd dies.
pub struct Instance {
    pub dir: tempfile::TempDir,
    pub tag: InstanceTag,
    pub config: NetStart,
}

impl Instance {
    pub fn new(number: u16, slots: u32, ready: u32) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let tag = InstanceTag::of_state_dir(dir.path().as_os_str().as_encoded_bytes());
        let config = NetStart {
            instance: number,
            block: Ipv4Addr::from(
                u32::from(Ipv4Addr::new(10, 200, 0, 0)) + u32::from(number) * 4096,
            ),
            slots,
            ready,
            first_id: 1_000_000,
            ids: 65_536,
            never: Vec::new(),
            resolvers: Vec::new(),
        };
        Self { dir, tag, config }
    }

    /// Starts netd and waits until it is ready; also its log goes to the test's output.
    pub fn start(&self) -> Netd {
        self.try_start().expect("netd starts")
    }

    pub fn try_start(&self) -> Result<Netd, String> {
        let (mut privd, theirs) = Channel::pair().expect("socketpair");
        // The shell moves the channel from 0 to 3: no unsafe code for that here.
        let mut child = Command::new("sh")
            .args([
                "-c",
                "exec \"$0\" 3<&0 </dev/null",
                env!("CARGO_BIN_EXE_netd"),
            ])
            .stdin(Stdio::from(theirs.into_fd()))
            .spawn()
            .expect("sh(1) runs");
        let dir = OwnedFd::from(File::open(self.dir.path()).expect("there"));
        let start = Start {
            version: warder_wire::VERSION,
            tag: self.tag,
            role: Role::Net(self.config.clone()),
        };
        privd
            .send_timeout(&start, vec![dir], PATIENCE)
            .expect("netd reads");
        let ready = match privd.recv_timeout::<Ready>(PATIENCE) {
            Ok((ready, _)) => ready,
            Err(e) => {
                let _ = child.kill();
                return Err(format!("{e}, {}", child.wait().expect("ends")));
            }
        };
        let (event, _) = privd
            .recv_timeout::<Message<priv_net::Answer, priv_net::Event>>(PATIENCE)
            .expect("an event");
        assert_eq!(event, Message::Event(priv_net::Event::Ready));
        let (gateway, end) = Channel::pair().expect("socketpair");
        let mut netd = Netd {
            child,
            privd,
            gateway,
            ready,
            seq: 0,
        };
        netd.post(priv_net::Ask::GatewayChannel, vec![end.into_fd()]);
        Ok(netd)
    }

    pub fn run_dir(&self) -> PathBuf {
        Path::new("/run/warder").join(self.tag.to_string())
    }

    /// The router's namespace.
    pub fn router(&self) -> OwnedFd {
        OwnedFd::from(File::open(self.run_dir().join("router")).expect("the pin is there"))
    }

    /// How many flows the sandbox with this mark has, of whatever kind.
    pub fn flows(&self, mark: u32) -> usize {
        let list = format!("conntrack -L --mark {mark}/0xffffff 2>/dev/null");
        run_inside(&self.router(), &list).lines().count()
    }

    pub fn uplink(&self) -> (Ipv4Addr, Ipv4Addr) {
        let first = u32::from(Ipv4Addr::new(198, 19, 0, 0)) + 2 * u32::from(self.config.instance);
        (Ipv4Addr::from(first), Ipv4Addr::from(first + 1))
    }
}

fn answer<A: DeserializeOwned, E: DeserializeOwned + std::fmt::Debug>(
    channel: &mut Channel,
    wanted: u64,
) -> Result<(A, Vec<OwnedFd>), Fault> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match channel.recv_timeout::<Message<A, E>>(PATIENCE) {
            Ok((Message::Reply { seq, result }, fds)) if seq == wanted => {
                return result.map(|answer| (answer, fds));
            }
            Ok(_) => {}
            Err(e) => return Err(Fault::new(FaultCode::Unavailable, e)),
        }
    }
    Err(Fault::new(FaultCode::TimedOut, "no answer"))
}

impl Netd {
    pub fn post(&mut self, ask: priv_net::Ask, fds: Vec<OwnedFd>) -> u64 {
        self.seq += 1;
        let request = Request {
            seq: self.seq,
            body: ask,
        };
        // A netd that was killed takes nothing more; whoever waits for an answer will see.
        let _ = self.privd.send_timeout(&request, fds, PATIENCE);
        self.seq
    }

    pub fn ask(
        &mut self,
        ask: priv_net::Ask,
        fds: Vec<OwnedFd>,
    ) -> Result<(priv_net::Answer, Vec<OwnedFd>), Fault> {
        let seq = self.post(ask, fds);
        answer::<_, priv_net::Event>(&mut self.privd, seq)
    }

    pub fn ask_gateway(&mut self, ask: gateway_net::Ask) -> Result<gateway_net::Answer, Fault> {
        let seq = self.post_gateway(ask);
        self.answer_gateway(seq)
    }

    pub fn post_gateway(&mut self, ask: gateway_net::Ask) -> u64 {
        self.seq += 1;
        let request = Request {
            seq: self.seq,
            body: ask,
        };
        let _ = self.gateway.send_timeout(&request, Vec::new(), PATIENCE);
        self.seq
    }

    pub fn answer_gateway(&mut self, seq: u64) -> Result<gateway_net::Answer, Fault> {
        answer::<_, gateway_net::Event>(&mut self.gateway, seq).map(|(answer, _)| answer)
    }

    /// A request for a policy that is not waited for.
    pub fn post_set(&mut self, sandbox: &SandboxId, generation: u64, policy: Policy) -> u64 {
        let sandbox = sandbox.clone();
        self.post_gateway(gateway_net::Ask::PolicySet {
            sandbox,
            generation,
            policy,
        })
    }

    /// Generation, whether nothing leaves, and whether that is because a policy could not be put in force.
    pub fn get(&mut self, sandbox: &SandboxId) -> Result<(u64, bool, bool), Fault> {
        let sandbox = sandbox.clone();
        match self.ask_gateway(gateway_net::Ask::PolicyGet { sandbox })? {
            gateway_net::Answer::Policy {
                generation,
                airgap,
                sealed,
                ..
            } => Ok((generation, airgap, sealed)),
            other => panic!("{other:?}"),
        }
    }

    pub fn answer_privd(&mut self, seq: u64) -> Result<priv_net::Answer, Fault> {
        answer::<_, priv_net::Event>(&mut self.privd, seq).map(|(answer, _)| answer)
    }

    /// Until privd is told; other messages of before are dropped.
    pub fn wait_for(&mut self, wanted: &priv_net::Event) {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "no {wanted:?}");
            match self
                .privd
                .recv_timeout::<Message<priv_net::Answer, priv_net::Event>>(PATIENCE)
            {
                Ok((Message::Event(event), _)) if event == *wanted => return,
                Ok(_) => {}
                Err(e) => panic!("{e}"),
            }
        }
    }

    /// An egressd that is this test.
    pub fn egressd(&mut self) -> Egressd {
        let (channel, end) = Channel::pair().expect("socketpair");
        self.post(priv_net::Ask::EgressChannel, vec![end.into_fd()]);
        Egressd { channel, seq: 0 }
    }

    pub fn reconciled(&mut self) -> &mut Self {
        let (done, _) = self
            .ask(priv_net::Ask::ReconcileEnd, Vec::new())
            .expect("answers");
        assert_eq!(done, priv_net::Answer::Done);
        self
    }

    pub fn lease(&mut self, sandbox: &SandboxId) {
        self.lease_within(sandbox, Bounds::DEFAULT);
    }

    pub fn lease_within(&mut self, sandbox: &SandboxId, bounds: Bounds) {
        let sandbox = sandbox.clone();
        self.post(priv_net::Ask::LeaseLive { sandbox, bounds }, Vec::new());
    }

    pub fn gone(&mut self, sandbox: &SandboxId) {
        self.post(
            priv_net::Ask::LeaseGone {
                sandbox: sandbox.clone(),
            },
            Vec::new(),
        );
    }

    pub fn take(&mut self, sandbox: &SandboxId) -> Result<(priv_net::Slot, OwnedFd), Fault> {
        let ask = priv_net::Ask::SlotTake {
            sandbox: sandbox.clone(),
        };
        match self.ask(ask, Vec::new())? {
            (priv_net::Answer::Slot(slot), fds) => {
                let [ns] = <[OwnedFd; 1]>::try_from(fds).expect("one descriptor");
                Ok((slot, ns))
            }
            (other, _) => panic!("{other:?}"),
        }
    }

    pub fn adopt(&mut self, sandbox: &SandboxId, ns: &OwnedFd) -> Result<priv_net::Slot, Fault> {
        let ask = priv_net::Ask::SlotAdopt {
            sandbox: sandbox.clone(),
        };
        match self.ask(ask, vec![ns.try_clone().expect("a descriptor")])? {
            (priv_net::Answer::Slot(slot), fds) if fds.is_empty() => Ok(slot),
            (other, fds) => panic!("{other:?} with {} descriptors", fds.len()),
        }
    }

    pub fn set(
        &mut self,
        sandbox: &SandboxId,
        generation: u64,
        policy: Policy,
    ) -> Result<(), Fault> {
        let sandbox = sandbox.clone();
        let airgap = policy.airgap;
        let ask = gateway_net::Ask::PolicySet {
            sandbox,
            generation,
            policy,
        };
        let answer = self.ask_gateway(ask)?;
        assert_eq!(answer, gateway_net::Answer::InForce { generation, airgap });
        Ok(())
    }

    /// A sandbox with a lease, a policy and a slot.
    pub fn sandbox(&mut self, n: u32, policy: Policy) -> (priv_net::Slot, OwnedFd) {
        let sandbox = id(n);
        self.lease(&sandbox);
        self.set(&sandbox, 1, policy).expect("in force");
        self.take(&sandbox).expect("a slot")
    }

    /// Total, ready, taken.
    pub fn report(&mut self) -> (u32, u32, u32) {
        match self
            .ask(priv_net::Ask::SlotReport, Vec::new())
            .expect("answers")
            .0
        {
            priv_net::Answer::Slots {
                total,
                ready,
                taken,
            } => (total, ready, taken),
            other => panic!("{other:?}"),
        }
    }

    pub fn wait_ready(&mut self, wanted: u32) {
        let end = Instant::now() + PATIENCE;
        while self.report().1 < wanted {
            assert!(Instant::now() < end, "no {wanted} ready slots");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// kill -9, and wait until it is dead.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is ours");
    }

    pub fn purge(mut self) {
        let (done, _) = self.ask(priv_net::Ask::Purge, Vec::new()).expect("purges");
        assert_eq!(done, priv_net::Answer::Done);
        assert!(self.child.wait().expect("it is ours").success());
    }
}

/// An egressd that does what a test says.
pub struct Egressd {
    pub channel: Channel,
    seq: u64,
}

pub type Heard = Message<net_egress::Answer, net_egress::Event>;

impl Egressd {
    /// The next event, with what rides along.
    pub fn event(&mut self) -> (net_egress::Event, Vec<OwnedFd>) {
        match self.channel.recv_timeout::<Heard>(PATIENCE) {
            Ok((Message::Event(event), fds)) => (event, fds),
            other => panic!("{other:?}"),
        }
    }

    /// Events until the sockets come, all settled; then the sockets.
    pub fn greeted(&mut self) -> (Vec<net_egress::Event>, Vec<OwnedFd>) {
        let mut events = Vec::new();
        loop {
            match self.event() {
                (net_egress::Event::Traffic, sockets) => return (events, sockets),
                (event, _) => {
                    self.settle(&event);
                    events.push(event);
                }
            }
        }
    }

    /// Does as it is told until netd is gone.
    pub fn obey(mut self) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            let mut sockets = Vec::new();
            while let Ok((message, fds)) = self.channel.recv_timeout::<Heard>(PATIENCE) {
                sockets.extend(fds);
                match message {
                    Message::Event(net_egress::Event::Traffic) | Message::Reply { .. } => {}
                    Message::Event(event) => self.settle(&event),
                }
            }
        })
    }

    pub fn post(&mut self, body: net_egress::Ask) -> u64 {
        self.seq += 1;
        let seq = self.seq;
        let _ = self.channel.send(&Request { seq, body }, Vec::new());
        seq
    }

    pub fn settle(&mut self, event: &net_egress::Event) {
        let (net_egress::Event::Policy { serial, .. } | net_egress::Event::Gone { serial, .. }) =
            event
        else {
            panic!("{event:?}");
        };
        let serial = *serial;
        self.post(net_egress::Ask::Settled { serial });
    }

    /// A socket, or why not.
    pub fn ask(&mut self, ask: net_egress::Ask) -> Result<OwnedFd, Fault> {
        let wanted = self.post(ask);
        match self.channel.recv_timeout::<Heard>(PATIENCE) {
            Ok((Message::Reply { seq, result }, fds)) => {
                assert_eq!(seq, wanted);
                result.map(|net_egress::Answer::Socket| {
                    let [socket] = <[OwnedFd; 1]>::try_from(fds).expect("one descriptor");
                    socket
                })
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn dial(
        &mut self,
        n: u32,
        generation: u64,
        to: Ipv4Addr,
        port: u16,
    ) -> Result<OwnedFd, Fault> {
        self.ask(net_egress::Ask::Dial {
            sandbox: id(n),
            generation,
            to: SocketAddrV4::new(to, port),
        })
    }

    pub fn query(
        &mut self,
        n: u32,
        generation: u64,
        server: Ipv4Addr,
        stream: bool,
    ) -> Result<OwnedFd, Fault> {
        self.ask(net_egress::Ask::Query {
            sandbox: id(n),
            generation,
            server,
            stream,
        })
    }

    /// Puts a policy in force as an obedient egressd does.
    pub fn set(&mut self, netd: &mut Netd, n: u32, generation: u64, policy: Policy) {
        let seq = netd.post_set(&id(n), generation, policy);
        loop {
            let (event, _) = self.event();
            self.settle(&event);
            if matches!(&event, net_egress::Event::Policy { sandbox, generation: g, .. }
                if *sandbox == id(n) && *g == generation)
            {
                break;
            }
        }
        netd.answer_gateway(seq).expect("in force");
    }
}

/// A policy from what users write.
pub fn lists(allow: &[&str], deny: &[&str]) -> Policy {
    let list = |list: &[&str]| {
        let cidr = |text: &&str| text.parse().expect("a network");
        list.iter().map(cidr).collect()
    };
    Policy {
        allow: list(allow),
        deny: list(deny),
        ..OPEN
    }
}

/// The same with names.
pub fn names(names: &[&str], allow: &[&str], deny: &[&str]) -> Policy {
    let pattern = |text: &&str| NamePattern::new(text).expect("a pattern");
    Policy {
        names: names.iter().map(pattern).collect(),
        ..lists(allow, deny)
    }
}

impl Drop for Netd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
