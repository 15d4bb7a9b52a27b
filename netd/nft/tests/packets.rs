//! Real packets through the rules: guests, a router and a world, each a network namespace of the test's own.
#![cfg(target_os = "linux")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{named, open, port, ranges, sandbox, shut, tag, uplink};
use warder_desired::{Egress, Judged, Sandbox, closed};
use warder_linux::{netns, sockets};
use warder_nft::flow::{ASKED, DIALLED, FORWARDED, INTERCEPTED};
use warder_nft::{Session, render};

/// The one address that `named` allows, and one that it denies.
const ALLOWED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// Closed to all.
const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
/// Closed to all, but the operator's.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 168, 9, 53);
/// Nobody intercepts it.
const PORT: u16 = 8080;
const SOON: Duration = Duration::from_secs(5);
const NEVER: Duration = Duration::from_millis(300);

/// Bytes that reached the world by UDP.
static HEARD: AtomicUsize = AtomicUsize::new(0);

/// Runs `body` in fresh namespaces: the test binary starts itself again below unshare(1).
fn in_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os("WARDER_TEST_INSIDE").is_some() {
        return body();
    }
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--"])
        .arg(std::env::current_exe().expect("own path"))
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env("WARDER_TEST_INSIDE", "1")
        .status()
        .expect("unshare(1) is there and the test runs as root");
    assert!(status.success());
}

fn run(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status();
    assert!(status.expect("sh(1) is there").success(), "{script}");
}

/// What is in the network: this process is in the router.
struct Net {
    rules: Session,
    world: OwnedFd,
    guests: [OwnedFd; 2],
}

impl Net {
    fn new(sandboxes: &[Sandbox]) -> Self {
        run("mount -t tmpfs tmpfs /run && mkdir /run/netns
             ip link set lo up && ip netns add w
             ip link add uplink type veth peer name w0 netns w
             ip addr add 198.19.0.1/31 dev uplink && ip link set uplink up
             ip -n w link set lo up && ip -n w addr add 198.19.0.0/31 dev w0 && ip -n w link set w0 up
             ip route add default via 198.19.0.0
             ip rule add fwmark 0x2000000/0x2000000 lookup 100
             ip route add local default dev lo table 100
             sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0 net.ipv4.ip_unprivileged_port_start=0");
        for address in [ALLOWED, OTHER, PRIVATE, RESOLVER] {
            run(&format!("ip -n w addr add {address}/32 dev lo"));
        }
        // It would answer inside addresses too, if a packet with one came.
        run("ip -n w route add 10.200.0.0/16 via 198.19.0.1");
        for n in [1, 2] {
            let own = port(n);
            let [a, b, c, d, e, f] = own.mac;
            let (address, name) = (own.address, own.name.as_str());
            run(&format!(
                "ip netns add g{n}
                 ip link add {name} address 02:00:00:00:01:0{n} type veth peer name eth0 address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} netns g{n}
                 ip addr add 198.18.0.{n}/32 dev {name} && ip link set {name} up
                 ip -n g{n} addr add {address}/32 dev eth0 && ip -n g{n} link set eth0 up
                 ip -n g{n} route add 198.18.0.{n} dev eth0
                 ip -n g{n} route add default via 198.18.0.{n}
                 ip -n g{n} neigh add 198.18.0.{n} lladdr 02:00:00:00:01:0{n} dev eth0 nud permanent
                 ip route add {address}/32 dev {name}
                 ip neigh add {address} lladdr {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} dev {name} nud permanent"
            ));
        }
        let ns = |name: &str| {
            std::fs::File::open(format!("/run/netns/{name}"))
                .expect("made")
                .into()
        };
        let mut net = Self {
            rules: Session::open().expect("netlink"),
            world: ns("w"),
            guests: [ns("g1"), ns("g2")],
        };
        let router = render::router(tag(), &uplink(), &closed(&[]), &[RESOLVER], sandboxes);
        net.rules.apply(&router).expect("applies");
        run("sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0");
        net.serve();
        net
    }

    fn serve(&self) {
        inside(&self.world, || {
            for port in [53, 80, 443, PORT] {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("free");
                std::thread::spawn(move || {
                    for mut stream in listener.incoming().flatten() {
                        std::thread::spawn(move || {
                            let mut reader = stream.try_clone().expect("cloned");
                            let _ = std::io::copy(&mut reader, &mut stream);
                            let _ = stream.shutdown(Shutdown::Both);
                        });
                    }
                });
                for address in [ALLOWED, OTHER, PRIVATE, RESOLVER] {
                    let socket = UdpSocket::bind((address, port)).expect("free");
                    std::thread::spawn(move || {
                        let mut buffer = [0; 2048];
                        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
                            HEARD.fetch_add(n, Ordering::SeqCst);
                            let _ = socket.send_to(&buffer[..n], from);
                        }
                    });
                }
            }
        });
    }

    fn change(&mut self, new: &Sandbox, old: &Sandbox) {
        self.rules
            .apply(&render::change(tag(), new, old))
            .expect("applies");
    }

    fn guest(&self) -> &OwnedFd {
        &self.guests[0]
    }
}

fn inside<T>(ns: &OwnedFd, work: impl FnOnce() -> T) -> T {
    netns::inside(ns.as_fd(), work).expect("entered")
}

fn dial(ns: &OwnedFd, to: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let to = SocketAddrV4::new(to, port).into();
    let stream = inside(ns, || {
        TcpStream::connect_timeout(&to, Duration::from_secs(2))
    })?;
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

fn echoes(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"hello")?;
    stream.read_exact(&mut [0; 5])
}

/// A datagram and its answer.
fn asks(ns: &OwnedFd, to: Ipv4Addr, port: u16, patience: Duration) -> std::io::Result<()> {
    let socket = inside(ns, || UdpSocket::bind("0.0.0.0:0"))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect((to, port))?;
    socket.send(b"hello")?;
    socket.recv(&mut [0; 16]).map(drop)
}

fn refused<T>(answer: std::io::Result<T>) {
    match answer {
        Ok(_) => panic!("not refused"),
        Err(e) => assert_eq!(e.kind(), ErrorKind::HostUnreachable, "{e}"),
    }
}

/// What one message of the log says: its word, and the packet's source, destination and port.
fn logged(log: &std::fs::File) -> (String, Ipv4Addr, Ipv4Addr, u16) {
    let end = Instant::now() + SOON;
    let mut buffer = [0; 4096];
    let n = loop {
        match (&*log).read(&mut buffer) {
            Ok(n) => break n,
            Err(e) if e.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::yield_now();
            }
            Err(e) => panic!("{e}"),
        }
    };
    // struct nlmsghdr, struct nfgenmsg; NFULA_PAYLOAD, NFULA_PREFIX.
    let attr = |wanted| {
        let found = warder_linux::netlink::attrs(&buffer[20..n]).find(|(kind, _)| *kind == wanted);
        found.expect("said").1.to_vec()
    };
    let (packet, word) = (attr(9), attr(10));
    assert!(packet.len() <= 68, "{}", packet.len());
    let address = |at: usize| Ipv4Addr::from(*packet[at..].first_chunk::<4>().expect("whole"));
    let port = u16::from_be_bytes([packet[22], packet[23]]);
    let word = String::from_utf8_lossy(&word)
        .trim_end_matches('\0')
        .to_owned();
    (word, address(12), address(16), port)
}

/// The listener's next connection, which may take a moment to be there.
fn accepted(listener: &TcpListener) -> TcpStream {
    let end = Instant::now() + SOON;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("set");
                stream.set_read_timeout(Some(SOON)).expect("set");
                return stream;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::yield_now();
            }
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn packets_go_where_the_policy_says() {
    in_namespace("packets_go_where_the_policy_says", || {
        let net = Net::new(&[named(1), open(2)]);
        // As the router has it.
        run("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1");
        let listener =
            TcpListener::from(sockets::transparent_tcp(render::LISTEN_TCP).expect("listens"));
        let dns = UdpSocket::from(sockets::transparent_udp(render::LISTEN_UDP).expect("binds"));
        let log: std::fs::File = sockets::packet_log(render::LOG_GROUP, 68)
            .expect("binds")
            .into();
        let guest = net.guest();
        let own = port(1).address;

        let mut stream = dial(guest, ALLOWED, PORT).expect("allowed");
        echoes(&mut stream).expect("both ways");
        asks(guest, ALLOWED, PORT, SOON).expect("allowed");
        refused(dial(guest, OTHER, PORT));
        assert_eq!(logged(&log), (render::LOG_ADDRESS.into(), own, OTHER, PORT));
        refused(asks(guest, OTHER, PORT, SOON));
        assert_eq!(logged(&log), (render::LOG_ADDRESS.into(), own, OTHER, PORT));
        refused(dial(guest, PRIVATE, PORT));
        assert_eq!(logged(&log).2, PRIVATE);
        // Not even the router's own address.
        refused(dial(guest, Ipv4Addr::new(198, 18, 0, 1), PORT));
        assert_eq!(logged(&log).2, Ipv4Addr::new(198, 18, 0, 1));
        refused(dial(guest, port(2).address, PORT));
        assert_eq!(logged(&log).2, port(2).address);
        refused(asks(guest, ALLOWED, 443, SOON));
        assert_eq!(logged(&log), (render::LOG_QUIC.into(), own, ALLOWED, 443));

        // Of what is denied, the web comes to egressd, and DNS always.
        for (to, port) in [
            (OTHER, 80),
            (OTHER, 443),
            (PRIVATE, 443),
            (OTHER, 53),
            (ALLOWED, 53),
        ] {
            let mut stream = dial(guest, to, port).expect("intercepted");
            let mut end = accepted(&listener);
            assert_eq!(
                end.local_addr().expect("local"),
                SocketAddrV4::new(to, port).into()
            );
            assert_eq!(end.peer_addr().expect("there").ip(), own);
            stream.write_all(b"ping").expect("sent");
            let mut heard = [0; 4];
            end.read_exact(&mut heard).expect("heard");
            end.write_all(b"pong").expect("sent");
            stream.read_exact(&mut heard).expect("heard");
            assert_eq!(&heard, b"pong");
        }
        let mut stream = dial(guest, ALLOWED, 443).expect("allowed");
        echoes(&mut stream).expect("by the world, not egressd");
        let socket = inside(guest, || UdpSocket::bind("0.0.0.0:0")).expect("binds");
        socket.send_to(b"question", (OTHER, 53)).expect("sent");
        dns.set_nonblocking(false).expect("set");
        dns.set_read_timeout(Some(SOON)).expect("set");
        let (n, from) = dns.recv_from(&mut [0; 64]).expect("intercepted");
        assert_eq!((n, from.ip()), (8, own.into()));
        // An answer to somebody who asked nothing does not leave the router.
        let _ = dns.send_to(b"answer", SocketAddrV4::new(port(2).address, 53));
        let _ = dns.send_to(b"answer", SocketAddrV4::new(ALLOWED, 53));
        assert_eq!(
            HEARD.load(Ordering::SeqCst),
            5,
            "the one datagram to what is allowed"
        );
    });
}

#[test]
fn a_sandbox_has_one_address_and_one_mac() {
    in_namespace("a_sandbox_has_one_address_and_one_mac", || {
        let net = Net::new(&[open(1), open(2)]);
        let guest = net.guest();
        asks(guest, ALLOWED, PORT, SOON).expect("open");
        let heard = HEARD.load(Ordering::SeqCst);
        for source in [port(2).address, Ipv4Addr::new(198, 19, 0, 1), ALLOWED] {
            run(&format!("ip -n g1 addr add {source}/32 dev eth0"));
            let socket = inside(guest, || UdpSocket::bind((source, 0))).expect("binds");
            socket.send_to(b"forged", (OTHER, PORT)).expect("sent");
            run(&format!("ip -n g1 addr del {source}/32 dev eth0"));
        }
        run("ip -n g1 link set eth0 address 02:01:00:00:00:09");
        assert!(asks(guest, ALLOWED, PORT, NEVER).is_err());
        let [a, b, c, d, e, f] = port(1).mac;
        run(&format!(
            "ip -n g1 link set eth0 address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"
        ));
        assert_eq!(HEARD.load(Ordering::SeqCst), heard, "nothing came through");
        asks(guest, ALLOWED, PORT, SOON).expect("open again");
    });
}

#[test]
fn replies_are_judged_and_flows_end() {
    in_namespace("replies_are_judged_and_flows_end", || {
        let was = open(1);
        let mut net = Net::new(&[was.clone(), open(2)]);
        let guest = net.guest();
        let mut kept = dial(guest, ALLOWED, PORT).expect("open");
        let mut cut = dial(guest, OTHER, PORT).expect("open");
        let mut neighbour = dial(&net.guests[1], OTHER, PORT).expect("open");
        for stream in [&mut kept, &mut cut, &mut neighbour] {
            echoes(stream).expect("open");
        }
        // The world talks by itself, to a guest that says nothing.
        let talker = inside(&net.world, || UdpSocket::bind((OTHER, 9999))).expect("binds");
        let socket = inside(guest, || UdpSocket::bind("0.0.0.0:0")).expect("binds");
        socket.set_read_timeout(Some(SOON)).expect("set");
        socket.send_to(b"begin", (OTHER, 9999)).expect("sent");
        let (_, nat) = talker.recv_from(&mut [0; 16]).expect("heard");
        talker.send_to(b"x", nat).expect("sent");
        socket.recv(&mut [0; 16]).expect("heard");

        let denied = ranges(&[("203.0.113.9", "203.0.113.9")]);
        let judged = Judged {
            denied,
            ..Judged::default()
        };
        let now = sandbox(1, Egress::Judged(judged));
        net.change(&now, &was);
        talker.send_to(b"y", nat).expect("sent");
        socket.set_read_timeout(Some(NEVER)).expect("set");
        assert!(
            socket.recv(&mut [0; 16]).is_err(),
            "replies too, with the flow still there"
        );
        assert_eq!(net.rules.flows(was.port.mark).expect("counted"), 3);
        let closed = closed(&[]);
        let keep = |flow: &warder_nft::flow::Flow| {
            assert_eq!(flow.mark, FORWARDED | was.port.mark);
            assert_eq!(flow.source, was.port.address);
            let packet = warder_desired::Packet {
                mac: was.port.mac,
                source: flow.source,
                destination: flow.destination,
                payload: flow.payload(),
            };
            now.fate(&closed, &packet) == warder_desired::Fate::Forward
        };
        net.rules.end_flows(was.port.mark, keep).expect("ended");
        assert_eq!(net.rules.flows(was.port.mark).expect("counted"), 1);
        assert_eq!(net.rules.flows(port(2).mark).expect("counted"), 1);
        echoes(&mut kept).expect("allowed as before");
        echoes(&mut neighbour).expect("nobody's business");
        let error = echoes(&mut cut).expect_err("forbidden");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");

        net.change(&shut(1), &now);
        net.rules
            .end_flows(was.port.mark, |_| false)
            .expect("ended");
        assert_eq!(net.rules.flows(was.port.mark).expect("counted"), 0);
        let error = echoes(&mut kept).expect_err("closed");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        refused(dial(net.guest(), ALLOWED, PORT));
        refused(asks(net.guest(), ALLOWED, 53, SOON));
        net.change(&was, &shut(1));
        echoes(&mut dial(net.guest(), OTHER, PORT).expect("open again")).expect("open again");
    });
}

/// Bytes that came to the world in all.
fn arrived() -> u64 {
    let out = Command::new("ip")
        .args(["-n", "w", "-j", "-s", "link", "show", "w0"])
        .output();
    let text = String::from_utf8(out.expect("ip(8) is there").stdout).expect("text");
    let bytes = text
        .split("\"rx\":{\"bytes\":")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    bytes.expect("there").parse().expect("a number")
}

#[test]
fn bytes_and_flows_are_bounded() {
    in_namespace("bytes_and_flows_are_bounded", || {
        const RATE: u64 = 50_000;
        let mut slow = open(1);
        (slow.bounds.upload, slow.bounds.flows) = (RATE, 5);
        let mut net = Net::new(&[slow.clone(), open(2)]);
        let log: std::fs::File = sockets::packet_log(render::LOG_GROUP, 68)
            .expect("binds")
            .into();
        let burst = |net: &Net, n: usize| {
            let socket = inside(&net.guests[n], || UdpSocket::bind("0.0.0.0:0")).expect("binds");
            let start = Instant::now();
            for _ in 0..2000 {
                let _ = socket.send_to(&[0; 1000], (ALLOWED, PORT));
            }
            start.elapsed()
        };
        let before = arrived();
        let took = burst(&net, 0);
        // What a second brings, the burst, and what came in the meantime, twice.
        let most = (RATE + 131_072) + 2 * RATE * (1 + took.as_secs());
        asks(&net.guests[1], ALLOWED, PORT, SOON).expect("another's rate is its own");
        let sent = arrived() - before;
        assert!(sent > 100_000 && sent < most, "{sent} of 2000000");

        let mut quick = slow.clone();
        quick.bounds.upload = open(1).bounds.upload;
        net.change(&quick, &slow);
        let mut all = Vec::new();
        let first_refused = loop {
            match dial(net.guest(), ALLOWED, PORT) {
                Ok(stream) => all.push(stream),
                Err(e) => break e,
            }
            assert!(all.len() < 10, "no end of flows");
        };
        assert_eq!(first_refused.kind(), ErrorKind::HostUnreachable);
        // One was the datagrams'.
        assert_eq!(all.len(), 4);
        assert_eq!(logged(&log).0, render::LOG_TOO_MANY);
        for stream in &mut all {
            echoes(stream).expect("those within the bounds go on");
        }
        dial(&net.guests[1], ALLOWED, PORT).expect("another's flows are its own");
        // A changed policy does not forget them.
        let judged = Judged {
            denied: ranges(&[("203.0.113.9", "203.0.113.9")]),
            ..Judged::default()
        };
        let mut listed = quick.clone();
        listed.egress = Egress::Judged(judged);
        net.change(&listed, &quick);
        refused(dial(net.guest(), ALLOWED, PORT));

        let mut slow = listed.clone();
        slow.bounds.download = RATE;
        net.change(&slow, &listed);
        let stream = &mut all[0];
        stream.set_nonblocking(true).expect("set");
        let (mut sent, mut back, end) = (0, 0, Instant::now() + Duration::from_millis(500));
        while Instant::now() < end {
            sent += stream.write(&[0; 4096]).unwrap_or(0);
            back += stream.read(&mut [0; 4096]).unwrap_or(0);
        }
        assert!(
            back > 0 && back as u64 <= RATE + 131_072 + 2 * RATE,
            "{back} of {sent}"
        );
    });
}

#[test]
fn one_guests_questions_leave_room_for_anothers() {
    in_namespace("one_guests_questions_leave_room_for_anothers", || {
        const MANY: usize = 20_000;
        let net = Net::new(&[open(1), open(2)]);
        let dns = UdpSocket::from(sockets::transparent_udp(render::LISTEN_UDP).expect("binds"));
        let socket = |n: usize| inside(&net.guests[n], || UdpSocket::bind("0.0.0.0:0"));
        let (flood, other) = (socket(0).expect("binds"), socket(1).expect("binds"));
        let start = Instant::now();
        for _ in 0..MANY {
            let _ = flood.send_to(&[0; 512], (OTHER, 53));
        }
        let seconds = 2 + usize::try_from(start.elapsed().as_secs()).expect("few");
        other.send_to(b"question", (OTHER, 53)).expect("sent");
        dns.set_nonblocking(false).expect("set");
        dns.set_read_timeout(Some(SOON)).expect("set");
        let mut heard = 0;
        while dns.recv_from(&mut [0; 512]).expect("both are heard").0 != 8 {
            heard += 1;
        }
        assert!(
            heard >= 1000 && heard <= 1000 * seconds,
            "{heard} of {MANY}"
        );
    });
}

/// One packet that is cut into a hundred datagrams when it is received, and some that are as long as can be.
const HEAVY: &str = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_UDP, 103, 16)
t = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(400):
    for one, size in (s, 1600), (t, 60000):
        try:
            one.sendto(bytes(size), ('203.0.113.9', 53))
        except OSError:
            pass
";

#[test]
fn heavy_questions_leave_room_too() {
    in_namespace("heavy_questions_leave_room_too", || {
        let net = Net::new(&[open(1), open(2)]);
        let dns = UdpSocket::from(sockets::transparent_udp(render::LISTEN_UDP).expect("binds"));
        let other = inside(&net.guests[1], || UdpSocket::bind("0.0.0.0:0")).expect("binds");
        let flood = Command::new("ip")
            .args(["netns", "exec", "g1", "python3", "-c", HEAVY])
            .status();
        assert!(flood.expect("ip(8) and python3 are there").success());
        other.send_to(b"question", (OTHER, 53)).expect("sent");
        dns.set_nonblocking(false).expect("set");
        dns.set_read_timeout(Some(SOON)).expect("set");
        let mut heard = 0;
        while dns.recv_from(&mut [0; 512]).expect("both are heard").0 != 8 {
            heard += 1;
        }
        assert!((1..=400).contains(&heard), "{heard}");
    });
}

#[test]
#[ignore = "prints timings"]
fn what_a_new_flow_costs() {
    in_namespace("what_a_new_flow_costs", || {
        let net = Net::new(&[open(1), open(2)]);
        let mut all = Vec::new();
        for (part, name) in [(500, "first"), (3000, "middle"), (500, "last")] {
            let some: Vec<_> = inside(net.guest(), || {
                (0..part)
                    .map(|_| UdpSocket::bind("0.0.0.0:0").expect("binds"))
                    .collect()
            });
            let start = Instant::now();
            for socket in &some {
                let _ = socket.send_to(b"x", (ALLOWED, PORT));
            }
            println!("{name} {part}: {:?} each", start.elapsed() / part);
            all.extend(some);
        }
        let start = Instant::now();
        for _ in 0..1000 {
            let _ = all[0].send_to(b"x", (ALLOWED, PORT));
        }
        println!("of a known flow: {:?} each", start.elapsed() / 1000);
    });
}

#[test]
fn sockets_of_egressd_reach_what_their_policy_lets_them() {
    in_namespace(
        "sockets_of_egressd_reach_what_their_policy_lets_them",
        || {
            let mut net = Net::new(&[named(1), shut(2)]);
            let (own, other) = (port(1).mark, port(2).mark);
            let connect = |mark, to, port| {
                let socket = sockets::connecting(mark, SocketAddrV4::new(to, port), true)?;
                let stream = TcpStream::from(socket);
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(NEVER))?;
                stream.set_write_timeout(Some(NEVER))?;
                let mut stream = stream;
                echoes(&mut stream).map(|()| stream)
            };
            let ask = |mark, to, port: u16| {
                let socket = UdpSocket::from(sockets::connecting(
                    mark,
                    SocketAddrV4::new(to, port),
                    false,
                )?);
                socket.set_nonblocking(false)?;
                socket.set_read_timeout(Some(NEVER))?;
                socket.send(b"hello")?;
                socket.recv(&mut [0; 16]).map(|_| socket)
            };
            let mut stream = connect(DIALLED | own, OTHER, 443).expect("a name could lead there");
            connect(DIALLED | own, PRIVATE, 443).expect_err("closed to all");
            connect(DIALLED | own, RESOLVER, 443).expect_err("closed but for DNS");
            connect(DIALLED | other, OTHER, 443).expect_err("closed");
            connect(INTERCEPTED | own, OTHER, 443).expect_err("no class of theirs");
            connect(0, OTHER, 443).expect_err("nobody's");
            let asked = ask(ASKED | own, RESOLVER, 53).expect("the operator's");
            ask(ASKED | own, PRIVATE, 53).expect_err("closed to all");
            ask(ASKED | own, ALLOWED, PORT).expect_err("not DNS");
            ask(ASKED | other, RESOLVER, 53).expect_err("closed");
            let heard = HEARD.load(Ordering::SeqCst);
            // As a captured egressd would.
            let _ = asked.send_to(b"out", (OTHER, PORT));
            let _ = asked.send_to(b"out", (PRIVATE, 53));
            let _ = asked.send_to(b"out", (port(1).address, 53));
            assert!(ask(ASKED | own, RESOLVER, 53).is_ok());
            assert_eq!(HEARD.load(Ordering::SeqCst), heard + 5);
            assert_eq!(
                net.rules.flows(own).expect("counted"),
                3,
                "marked as the sandbox's"
            );

            // Closed, not even answers come in; but the peer hears that it is over.
            let server = inside(&net.world, || TcpListener::bind((OTHER, 9000))).expect("binds");
            let socket = sockets::connecting(DIALLED | own, SocketAddrV4::new(OTHER, 9000), true);
            let mine = TcpStream::from(socket.expect("connects"));
            let (mut peer, _) = server.accept().expect("comes");
            net.change(&shut(1), &named(1));
            echoes(&mut stream).expect_err("closed");
            peer.write_all(b"late").expect("sent");
            peer.set_read_timeout(Some(SOON)).expect("set");
            mine.set_nonblocking(true).expect("set");
            assert!((&mine).read(&mut [0; 4]).is_err());
            rustix::net::sockopt::set_socket_linger(&mine, Some(Duration::ZERO)).expect("set");
            drop(mine);
            let error = peer.read(&mut [0; 4]).expect_err("a reset");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        },
    );
}
