//! What leaves a sandbox on its own network: nothing to the host, nothing to a neighbour, nothing in a false name.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};

use serde_json::json;
use warder_harness::Instance;

const MINUTE: u32 = 60_000;

#[test]
fn one_sandbox_sees_nothing_of_another() {
    let instance = Instance::builder().start();
    let (one, two) = (instance.create(&json!({})), instance.create(&json!({})));
    let serve = "cd /tmp && echo secret > mine && (python3 -m http.server 8000 --bind 0.0.0.0 >/dev/null 2>&1 &) ; \
                 for i in $(seq 100); do curl -sf http://127.0.0.1:8000/mine && break; sleep 0.05; done; hostname -I";
    let ran = instance.run(&one, "user", serve, MINUTE);
    assert!(ran.stdout.starts_with("secret"), "{ran:?}");
    let address = ran
        .stdout
        .split_whitespace()
        .last()
        .unwrap_or_default()
        .to_owned();
    assert!(address.parse::<Ipv4Addr>().is_ok(), "{ran:?}");
    let look = format!(
        "curl -s -m 3 http://{address}:8000/mine; ps -eo args | grep -c '[h]ttp.server'; find / -xdev -name mine 2>/dev/null; true"
    );
    assert_eq!(instance.run(&two, "root", &look, MINUTE).stdout.trim(), "0");
    instance.finish();
}

/// Every IPv4 address of this host.
fn addresses() -> Vec<Ipv4Addr> {
    let out = Command::new("ip")
        .args(["-4", "-o", "addr", "show"])
        .output()
        .expect("ip runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines()
        .filter_map(|line| {
            line.split_whitespace()
                .nth(3)?
                .split('/')
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

#[test]
fn the_host_is_out_of_reach_by_any_address() {
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let tcp = TcpListener::bind("0.0.0.0:0").expect("a port of this host");
    let udp = UdpSocket::bind("0.0.0.0:0").expect("a port of this host");
    let name = format!("warder-test-{}", std::process::id());
    // A name without a file (unix(7)); it says when it is there and whether anybody came.
    let serve = format!(
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind('\\0{name}'); s.listen(); s.setblocking(False); \
         print('up', flush=True); sys.stdin.read(); s.accept()"
    );
    let mut local = Command::new("python3")
        .args(["-c", &serve])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut up = String::new();
    let out = local.stdout.as_mut().expect("a pipe");
    BufReader::new(out).read_line(&mut up).expect("text");
    assert_eq!(up.trim(), "up");
    let port = |r: std::io::Result<std::net::SocketAddr>| r.expect("bound").port();
    let (tcp_port, udp_port) = (port(tcp.local_addr()), port(udp.local_addr()));
    let route = instance.run(
        &sandbox,
        "root",
        "ip route show default | cut -d' ' -f3; hostname -I",
        MINUTE,
    );
    let mut targets = addresses();
    assert!(!targets.is_empty());
    let inside: Vec<Ipv4Addr> = route
        .stdout
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    assert_eq!(inside.len(), 2, "a next hop and an address: {route:?}");
    targets.extend(&inside);
    targets.extend([
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::BROADCAST,
    ]);
    // The ports are served: the host reaches them itself.
    for address in addresses() {
        TcpStream::connect((address, tcp_port)).expect("the host reaches itself");
        tcp.accept().expect("made above");
    }
    tcp.set_nonblocking(true).expect("ours");
    udp.set_nonblocking(true).expect("ours");
    let script = format!(
        r#"
import socket
for address in {targets:?}:
    for port in ({tcp_port}, {gateway}):
        one = socket.socket()
        one.settimeout(0.4)
        try:
            one.connect((address, port))
            print('reached', address, port)
        except OSError: pass
        one.close()
    for source in ('', {own:?}, {foreign:?}):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        one.setsockopt(socket.SOL_IP, 15, 1)
        try:
            if source: one.bind((source, 0))
            one.sendto(b'x', (address, {udp_port}))
        except OSError: pass
        one.close()
one = socket.socket(socket.AF_UNIX)
try:
    one.connect('\0{name}')
    print('reached a name')
except OSError: pass
print('over')
"#,
        targets = targets.iter().map(ToString::to_string).collect::<Vec<_>>(),
        gateway = instance.address().port(),
        own = inside[1].to_string(),
        foreign = inside[0].to_string(),
    );
    let ran = instance.run(
        &sandbox,
        "root",
        &format!("python3 - <<'EOF'\n{script}\nEOF"),
        MINUTE,
    );
    assert_eq!(ran.stdout.trim(), "over", "{ran:?}");
    let nothing = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
    assert!(tcp.accept().is_err_and(nothing), "somebody connected");
    assert!(
        udp.recv(&mut [0; 8]).is_err_and(nothing),
        "something arrived"
    );
    let came = local.wait_with_output().expect("ends with its input");
    let came = String::from_utf8_lossy(&came.stderr).into_owned();
    assert!(
        came.contains("BlockingIOError"),
        "somebody connected: {came}"
    );
    instance.finish();
}

/// What a guest would need to speak in another's name, and its errno.
const FORGE: &str = r#"
import errno, fcntl, socket, struct
def attempt(name, act):
    try:
        act()
        print(name, 'done')
    except OSError as error:
        print(name, errno.errorcode[error.errno])
datagram = lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
name = b'eth0'
attempt('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
attempt('raw-icmp', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt('raw-tcp', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP))
attempt('raw-6', lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6))
attempt('transparent', lambda: datagram().setsockopt(socket.SOL_IP, 19, 1))
attempt('mark', lambda: datagram().setsockopt(socket.SOL_SOCKET, 36, 1))
attempt('neighbour', lambda: datagram().bind((NEIGHBOUR, 0)))
attempt('address', lambda: fcntl.ioctl(datagram(), 0x8916, struct.pack('16sH2s4s8s', name, 2, b'', socket.inet_aton(NEIGHBOUR), b'')))
attempt('hardware', lambda: fcntl.ioctl(datagram(), 0x8924, struct.pack('16sH14s', name, 1, b'\2\0\0\0\0\1')))
attempt('flags', lambda: fcntl.ioctl(datagram(), 0x8914, struct.pack('16sH14s', name, 0x1143, b'')))
attempt('route', lambda: fcntl.ioctl(datagram(), 0x890b, b'\0' * 120))
attempt('tap', lambda: fcntl.ioctl(open('/dev/net/tun', 'r+b', buffering=0), 0x400454ca, struct.pack('16sH22s', b'', 2, b'')))
def netlink(protocol, kind, body):
    one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    one.bind((0, 0))
    one.send(struct.pack('IHHII', 16 + len(body), kind, 0x605, 1, 0) + body)
    code = struct.unpack('i', one.recv(8192)[16:20])[0]
    if code: raise OSError(-code, '')
address = struct.pack('BBBBi', 2, 32, 0, 0, 1) + struct.pack('HH', 8, 2) + socket.inet_aton(NEIGHBOUR)
attempt('netlink-address', lambda: netlink(0, 20, address))
attempt('netlink-route', lambda: netlink(0, 24, struct.pack('BBBBBBBBI', 2, 0, 0, 0, 254, 3, 0, 6, 0)))
attempt('netlink-link', lambda: netlink(0, 16, struct.pack('BBHiII', 0, 0, 0, 0, 0, 0)))
attempt('netlink-nft', lambda: netlink(12, 0x0a00, struct.pack('BBH', 2, 0, 0)))
attempt('netlink-conntrack', lambda: netlink(12, 0x0102, struct.pack('BBH', 2, 0, 0)))
attempt('netlink-xfrm', lambda: netlink(6, 16, b'\0' * 300))
attempt('netlink-audit', lambda: netlink(9, 1001, b'\0' * 40))
"#;

#[test]
fn nobody_speaks_in_anothers_name() {
    let instance = Instance::builder().start();
    let (one, two) = (instance.create(&json!({})), instance.create(&json!({})));
    let address = instance.run(&two, "root", "hostname -I", MINUTE);
    let neighbour = address.stdout.trim();
    assert!(neighbour.parse::<Ipv4Addr>().is_ok(), "{address:?}");
    let forge = format!("python3 - <<'EOF'\nNEIGHBOUR = '{neighbour}'\n{FORGE}\nEOF");
    let ran = instance.run(&one, "root", &forge, MINUTE);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    let answers: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(answers.len(), 19, "{ran:?}");
    for answer in answers {
        let (what, end) = answer.split_once(' ').expect("a name and an errno");
        let expected: &[&str] = match what {
            "neighbour" => &["EADDRNOTAVAIL"],
            "tap" => &["ENOENT"],
            // The kernel listens in the host's network only, where it can do so at all.
            "netlink-audit" => &["ECONNREFUSED", "EPROTONOSUPPORT"],
            _ => &["EPERM"],
        };
        assert!(expected.contains(&end), "{what}: {end} in {ran:?}");
    }
    instance.finish();
}
