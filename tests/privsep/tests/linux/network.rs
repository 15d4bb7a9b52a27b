//! Speaking in another's name, by ioctl(2) and netlink(7).

use std::net::Ipv4Addr;

use serde_json::json;
use warder_harness::Instance;
use warder_privsep::guests::MINUTE;

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
