//! A sandbox that lies about who it is, with rights it does not have: the host's root inside its network namespace.
#![cfg(target_os = "linux")]

use serde_json::json;
use warder_network::{ALPHA, Capture, HOST, Seen, Stage, inside, on_a_host, run};

/// Frames from a packet socket. `SOURCE`, `HARDWARE` and `TO` are what a case sets before.
const SEND: &str = r#"
import fcntl, os, socket, struct
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('eth0', 0))
ask = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own = fcntl.ioctl(ask, 0x8927, struct.pack('256s', b'eth0'))[18:24]
me = fcntl.ioctl(ask, 0x8915, struct.pack('256s', b'eth0'))[20:24]
next_hop = bytes(6)
for line in open('/proc/net/arp').read().splitlines()[1:]:
    next_hop = bytes.fromhex(line.split()[3].replace(':', ''))
assert next_hop != bytes(6)
def checksum(data):
    data += b'\0' * (len(data) % 2)
    total = sum(struct.unpack('>%dH' % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff
def ip(protocol, source, to, body):
    head = struct.pack('>BBHHHBBH4s4s', 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0, source, to)
    return head[:10] + struct.pack('>H', checksum(head)) + head[12:] + body
def udp(source, to, port, word):
    body = struct.pack('>HHHH', 4000, port, 8 + len(word), 0) + word
    return ip(17, source, to, body)
a = socket.inet_aton
alpha = a('192.0.2.10')
"#;

fn send(stage: &Stage, ns: &std::os::fd::OwnedFd, code: &str) {
    let script = format!("/usr/bin/python3 - <<'EOF'\n{SEND}\n{code}\nEOF");
    inside(ns, move || {
        run(&script);
    });
    stage.barrier();
}

#[test]
fn forged_packets_reach_nothing() {
    on_a_host("forged_packets_reach_nothing", || {
        let stage = Stage::start();
        let (one, two) = (stage.sandbox(&json!({})), stage.sandbox(&json!({})));
        let ns = stage.namespace(&one);
        let (own, other) = (stage.address(&one), stage.address(&two));
        let neighbour = Capture::of(&stage.namespace(&two));
        let mark = stage.wire.mark();
        // As itself it reaches the server: what follows fails for what is forged in it.
        send(
            &stage,
            &ns,
            "s.send(next_hop + own + b'\\x08\\0' + udp(me, alpha, 7, b'honest'))",
        );
        let _ = stage.wire.until("an honest packet", |p| {
            p.payload == b"honest" && p.to == ALPHA && p.from == HOST
        });
        let heard = neighbour.mark();
        let cases = format!(
            r#"
f = b'forged'
for source in ('{other}', '{HOST}', '127.0.0.1', '192.0.2.99', '8.8.8.8', '0.0.0.0', '255.255.255.255', '224.0.0.1', '10.9.9.9', '198.19.0.1'):
    for to in ('192.0.2.10', '{other}', '{HOST}'):
        for port in (7, 53, 80, 443):
            s.send(next_hop + own + b'\x08\0' + udp(a(source), a(to), port, f))
# Another hardware address, with its own address.
for hardware in (b'\2\0\0\0\0\1', next_hop, bytes(6)):
    s.send(next_hop + hardware + b'\x08\0' + udp(me, alpha, 7, f))
# Source routing, a tag, IPv6, tunnels.
body = struct.pack('>HHHH', 4000, 7, 14, 0) + f
routed = struct.pack('>BBHHHBBH4s4s', 0x47, 0, 28 + len(body), 1, 0, 64, 17, 0, me, a('{HOST}')) + bytes([131, 7, 4]) + alpha + b'\0'
s.send(next_hop + own + b'\x08\0' + routed[:10] + struct.pack('>H', checksum(routed)) + routed[12:] + body)
s.send(next_hop + own + b'\x81\0\0\1\x08\0' + udp(me, alpha, 7, f))
six = bytes([0x60, 0, 0, 0, 0, len(body), 17, 64])
for source in ('fe80::1', '2001:db8::2', '::ffff:192.0.2.10', '::1'):
    for to in ('2001:db8::1', 'ff02::1', 'fe80::2', '64:ff9b::192.0.2.10'):
        s.send(next_hop + own + b'\x86\xdd' + six + socket.inet_pton(10, source) + socket.inet_pton(10, to) + body)
# Broadcast and multicast, by hardware and by address.
for hardware in (b'\xff' * 6, b'\1\0\x5e\0\0\1'):
    for to in ('255.255.255.255', '224.0.0.1', '203.0.113.255', '{other}', '192.0.2.10'):
        if hardware != next_hop:
            s.send(hardware + own + b'\x08\0' + udp(me, a(to), 7, f))
# Answers to questions nobody asked, in others' names.
for target in ('{other}', '{HOST}', '{own}', '10.0.0.1'):
    for kind in (1, 2):
        for hardware in (next_hop, b'\xff' * 6):
            s.send(hardware + own + b'\x08\x06' + struct.pack('>HHBBH', 1, 0x800, 6, 4, kind) + own + a(target) + b'\xff' * 6 + a(target))
"#
        );
        send(&stage, &ns, &cases);
        let forged = |p: &&Seen| p.payload.windows(6).any(|w| w == b"forged") || p.ether == 0x86dd;
        let own_only = stage.wire.since(mark);
        let seen: Vec<_> = own_only.iter().filter(forged).collect();
        assert!(seen.is_empty(), "{seen:?}");
        let seen = neighbour.since(heard);
        assert_eq!(seen.iter().find(forged), None, "the neighbour heard it");
        // The neighbour, and the sandbox itself, are reached as before: nobody believed it.
        for sandbox in [&one, &two] {
            assert_eq!(stage.word(sandbox, &format!("tcp('{ALPHA}')")), "ok");
        }
        stage.finish();
    });
}

#[test]
fn a_changed_address_is_nobodys() {
    on_a_host("a_changed_address_is_nobodys", || {
        let stage = Stage::start();
        let (one, two) = (stage.sandbox(&json!({})), stage.sandbox(&json!({})));
        let (ns, own, other) = (
            stage.namespace(&one),
            stage.address(&one),
            stage.address(&two),
        );
        let outside = Capture::of(&stage.router());
        let try_it = format!(
            "/usr/bin/python3 -c \"import socket\ntry:\n socket.create_connection(('{ALPHA}', 7), 0.7); print('reached')\n\
             except OSError as e: print(e)\""
        );
        let (link, routes, neighbours) = inside(&ns, || {
            (
                run("ip -o link show eth0"),
                run("ip route"),
                run("ip neigh"),
            )
        });
        let hardware = link
            .split("link/ether ")
            .nth(1)
            .and_then(|t| t.split(' ').next());
        let hardware = hardware.expect("an address").to_owned();
        // Twice: what leads to the next hop may come after what leads through it.
        let mut again: Vec<String> = routes
            .lines()
            .map(|l| format!("ip route replace {}", l.trim()))
            .collect();
        again.extend(again.clone());
        again.extend(neighbours.lines().filter_map(|l| {
            let words: Vec<&str> = l.split_whitespace().collect();
            let at = words.iter().position(|w| *w == "lladdr")?;
            Some(format!(
                "ip neigh replace {} lladdr {} dev eth0 nud permanent",
                words[0],
                words.get(at + 1)?
            ))
        }));
        let again = again.join(" ; ");
        let with = |address: &dyn std::fmt::Display, hardware: &str| {
            let again = again.replace(&format!(" src {own}"), &format!(" src {address}"));
            format!(
                "{{ ip link set eth0 address {hardware} ; ip addr flush dev eth0 ; ip addr add {address}/32 dev eth0 ; {again} ; }} \
                 2>/dev/null || true"
            )
        };
        let foreign = std::net::Ipv4Addr::new(192, 0, 2, 77);
        for (address, mac) in [
            (other, hardware.as_str()),
            (foreign, &hardware),
            (own, "02:00:00:00:00:01"),
        ] {
            let (change, attempt) = (with(&address, mac), try_it.clone());
            let (mark, heard) = (stage.wire.mark(), outside.mark());
            let got = inside(&ns, move || {
                run(&change);
                run(&attempt)
            });
            assert!(!got.contains("reached"), "{address} {mac}: {got}");
            stage.barrier();
            let tried = |p: &Seen| p.to == ALPHA && p.ports.1 == 7;
            let sent = outside.since(heard);
            assert!(
                sent.iter().any(|p| tried(p) && p.from == address),
                "it did not even try: {got}"
            );
            assert_eq!(
                stage.wire.since(mark).iter().find(|p| tried(p)),
                None,
                "{address} {mac}"
            );
            let change = with(&own, &hardware);
            inside(&ns, move || {
                run(&change);
            });
            assert_eq!(
                stage.word(&one, &format!("tcp('{ALPHA}')")),
                "ok",
                "as itself again: {address} {mac}"
            );
        }
        stage.finish();
    });
}

#[test]
fn nothing_reaches_a_neighbour_or_the_host() {
    on_a_host("nothing_reaches_a_neighbour_or_the_host", || {
        let stage = Stage::start();
        let (one, two) = (stage.sandbox(&json!({})), stage.sandbox(&json!({})));
        let (own, other) = (stage.address(&one), stage.address(&two));
        let serve = "cd /tmp && (setsid /usr/bin/python3 -m http.server 8000 >/dev/null 2>&1 </dev/null &); \
                     for i in $(seq 200); do curl -sf http://127.0.0.1:8000/ >/dev/null && echo up && break; sleep 0.05; done";
        for sandbox in [&one, &two] {
            assert_eq!(stage.run(sandbox, "user", serve, 60_000).stdout, "up\n");
        }
        let heard = Capture::of(&stage.namespace(&two));
        let gateway = stage.instance_of().address();
        let next_hop = std::net::Ipv4Addr::from(u32::from(own) ^ 1);
        for policy in [
            json!({}),
            json!({ "allowOut": ["0.0.0.0/0", format!("{other}/32"), format!("{HOST}/32")] }),
        ] {
            stage.put(&one, &policy);
            let mark = heard.mark();
            let tried = stage.probe(
                &one,
                &format!(
                    "T = 0.4\n[f(t) for t in ('{other}', '{HOST}', '{next_hop}') for f in \
                     (lambda t: tcp(t, 8000), lambda t: http(t, t, 8000), lambda t: tcp(t, {port}), lambda t: udp(t), ping, \
                     lambda t: tcp(t, 22), lambda t: http(t, t), secure, lambda t: dns(t, 'alpha.test'))]",
                    port = gateway.port(),
                ),
            );
            for word in tried.as_array().expect("a list") {
                assert!(word != "ok" && word[0] != 200, "{policy}: {tried}");
            }
            let came = heard.since(mark);
            let from_one = |p: &&Seen| p.from == own;
            assert_eq!(came.iter().find(from_one), None);
        }
        // And from outside: who knows the address and has a route finds nobody.
        let mark = heard.mark();
        inside(&stage.world.internet, move || {
            for port in [8000, 49_983] {
                let to = std::net::SocketAddr::from((other, port));
                let patience = std::time::Duration::from_millis(400);
                assert!(std::net::TcpStream::connect_timeout(&to, patience).is_err());
            }
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
            let _ = socket.send_to(b"hello", (other, 8000));
        });
        let outside = |p: &&Seen| p.ether == 0x0800 && !p.from.is_loopback() && p.to == other;
        assert_eq!(heard.since(mark).iter().find(outside), None);
        stage.finish();
    });
}
