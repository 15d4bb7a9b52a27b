//! The air gap: no packet leaves, nothing that was open lives on, and everything through the gateway goes on.
#![cfg(target_os = "linux")]

use serde_json::{Value, json};
use warder_network::{ALPHA, BETA, Capture, HOST, Seen, Stage, inside, on_a_host, run};

/// Everything a sandbox can try without more rights than it has, at servers that would answer.
fn try_everything(stage: &Stage, sandbox: &Value) -> Value {
    stage.probe(
        sandbox,
        &format!(
            "T = 0.4\na = '{ALPHA}'\n\
             def six():\n\
             \x20   s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n\
             \x20   s.sendto(b'hello', ('2001:db8::1', 7))\n\
             \x20   return 'sent'\n\
             def six_tcp():\n\
             \x20   s = socket.socket(socket.AF_INET6)\n\
             \x20   s.settimeout(T)\n\
             \x20   s.connect(('2001:db8::1', 7))\n\
             \x20   return 'ok'\n\
             def spray(address):\n\
             \x20   s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             \x20   s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n\
             \x20   s.sendto(b'hello', (address, 7))\n\
             \x20   return 'sent'\n\
             [tcp(a), tcp(a, 53), tcp(a, 80), tcp(a, 443), banner(a), udp(a), udp(a, 53), udp(a, 443), ping(a), secure(a), \
              secure(a, 'alpha.test'), http(a, 'alpha.test'), dns('8.8.8.8', 'alpha.test'), \
              dns('8.8.8.8', 'alpha.test', True), attempt(six), attempt(six_tcp), \
              attempt(lambda: spray('255.255.255.255')), attempt(lambda: spray('224.0.0.1')), \
              attempt(lambda: spray('203.0.113.255'))]"
        ),
    )
}

#[test]
fn no_packet_leaves_whatever_is_tried() {
    on_a_host("no_packet_leaves_whatever_is_tried", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({}));
        let ns = stage.namespace(&sandbox);
        assert_eq!(stage.airgap(&sandbox, true), 204);
        // What comes out of the router towards the host, and what arrives on the internet.
        let host = Capture::of(&stage.world.host);
        let (mark, wire) = (host.mark(), stage.wire.mark());
        let tried = try_everything(&stage, &sandbox);
        for word in tried.as_array().expect("a list") {
            assert!(word != "ok" && !word.is_array(), "{tried}");
        }
        // And with rights that a sandbox does not have: the host's root in its namespace.
        inside(&ns, || {
            run(&format!("/usr/bin/python3 - <<'EOF'\n{RAW}\nEOF"));
        });
        host.barrier(&stage.host, ALPHA);
        stage.barrier();
        // HTTP of the test's own passes on the host's loopback.
        let foreign = |p: &&Seen| {
            let loopback = p.from.is_loopback() || p.to.is_loopback();
            let arp = p.ether == 0x0806;
            !loopback && !arp
        };
        let left = host.since(mark);
        assert_eq!(left.iter().find(foreign), None, "left the router");
        let arrived = stage.wire.since(wire);
        assert_eq!(arrived.iter().find(foreign), None, "arrived");
        // Lifted, it is as before.
        assert_eq!(stage.airgap(&sandbox, false), 204);
        assert_eq!(stage.word(&sandbox, &format!("tcp('{ALPHA}')")), "ok");
        stage.finish();
    });
}

/// Frames of every kind, from a packet socket in the sandbox's namespace.
const RAW: &str = r#"
import socket, struct
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('eth0', 0))
own = s.getsockname()[4]
import fcntl
me = fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8915, struct.pack('256s', b'eth0'))[20:24]
def checksum(data):
    data += b'\0' * (len(data) % 2)
    total = sum(struct.unpack('>%dH' % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff
def ip(protocol, to, body, source=me):
    head = struct.pack('>BBHHHBBH4s4s', 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0, source, socket.inet_aton(to))
    return head[:10] + struct.pack('>H', checksum(head)) + head[12:] + body
udp = struct.pack('>HHHH', 4000, 7, 13, 0) + b'hello'
syn = struct.pack('>HHIIBBHHH', 4000, 7, 1, 0, 0x50, 2, 1000, 0, 0)
next_hop = bytes(6)
for line in open('/proc/net/arp').read().splitlines()[1:]:
    next_hop = bytes.fromhex(line.split()[3].replace(':', ''))
for hardware in (next_hop, b'\xff' * 6, b'\x33\x33\0\0\0\1', b'\1\0\x5e\0\0\1'):
    for to in ('192.0.2.10', '8.8.8.8', '255.255.255.255', '224.0.0.1', '10.9.9.9'):
        for protocol, body in ((17, udp), (6, syn), (1, bytes([8, 0, 0xf7, 0xfd, 0, 1, 0, 1])), (47, b'gre'), (132, b'sctp' * 4), (2, b'igmp' * 4), (253, b'x')):
            s.send(hardware + own + b'\x08\x00' + ip(protocol, to, body))
    six = bytes([0x60, 0, 0, 0, 0, len(udp), 17, 64]) + bytes(15) + b'\1' + bytes.fromhex('20010db8') + bytes(11) + b'\1' + udp
    s.send(hardware + own + b'\x86\xdd' + six)
    s.send(hardware + own + b'\x81\x00\0\1\x08\x00' + ip(17, '192.0.2.10', udp))
    s.send(hardware + own + b'\x88\xb5' + b'anything')
    s.send(hardware + own + b'\x08\x06' + struct.pack('>HHBBH', 1, 0x800, 6, 4, 1) + own + me + bytes(6) + socket.inet_aton('192.0.2.10'))
"#;

#[test]
fn what_was_open_is_dead_at_both_ends() {
    on_a_host("what_was_open_is_dead_at_both_ends", || {
        let stage = Stage::start();
        let names = json!({ "allowOut": ["alpha.test", ALPHA.to_string(), BETA.to_string()], "denyOut": ["0.0.0.0/0"] });
        let sandbox = stage.sandbox(&json!({ "network": names }));
        let flows = [
            stage.flow(&sandbox, "tcp", &format!("long_tcp('{BETA}')")),
            stage.flow(&sandbox, "udp", &format!("long_udp('{BETA}')")),
            stage.flow(&sandbox, "http", &format!("long_http('{BETA}', 'x.test')")),
            stage.flow(
                &sandbox,
                "named",
                "long_https('198.51.100.99', 'alpha.test')",
            ),
        ];
        let before = stage.wire.mark();
        assert_eq!(stage.airgap(&sandbox, true), 204);
        // The answer has come: from here on nothing.
        let mark = stage.barrier();
        for flow in &flows {
            let end = stage.ends(&sandbox, flow);
            println!("  {flow:?}: {end}");
            assert_ne!(end, "timeout", "{flow:?} was not told");
        }
        stage.barrier();
        // The other side of what egressd carried is told that it is over.
        let closes =
            |p: &Seen| p.from == HOST && p.to == ALPHA && p.ports.1 == 443 && p.flags & 5 != 0;
        assert!(stage.wire.since(before).iter().any(closes));
        let speaks = |p: &&Seen| p.from == HOST && !p.payload.is_empty();
        assert_eq!(stage.wire.since(mark).iter().find(speaks), None);
        stage.finish();
    });
}

#[test]
fn everything_through_the_gateway_goes_on() {
    on_a_host("everything_through_the_gateway_goes_on", || {
        let stage = Stage::start();
        let sandbox = stage.sandbox(&json!({}));
        // A command that writes all the while, and that nothing may be lost of.
        let lines = "touch /tmp/begun; for i in $(seq 2000); do echo line $i; [ -e /tmp/over ] || sleep 0.01; done";
        let over = std::thread::scope(|scope| {
            let running = scope.spawn(|| stage.run(&sandbox, "user", lines, 60_000));
            while stage.run(&sandbox, "user", "ls /tmp/begun", 60_000).exit != Some(0) {}
            for enabled in [true, false, true] {
                assert_eq!(stage.airgap(&sandbox, enabled), 204);
            }
            assert_eq!(
                stage.run(&sandbox, "user", "touch /tmp/over", 60_000).exit,
                Some(0)
            );
            running.join().expect("it ends")
        });
        let expected: String = (1..=2000).map(|n| format!("line {n}\n")).collect();
        assert_eq!(over.stdout, expected, "{}", over.end);
        assert_eq!(stage.airgap(&sandbox, false), 204);
        let serve = "cd /tmp && echo word > mine && (setsid /usr/bin/python3 -m http.server 8000 >/dev/null 2>&1 </dev/null &); \
                     for i in $(seq 200); do curl -sf http://127.0.0.1:8000/mine && break; sleep 0.05; done";
        assert_eq!(stage.run(&sandbox, "user", serve, 60_000).stdout, "word\n");
        assert_eq!(stage.airgap(&sandbox, true), 204);
        // A port, commands, files.
        let got = stage
            .instance_of()
            .sandbox(&sandbox, 8000, "GET", "/mine", b"");
        assert_eq!((got.status, got.text().as_str()), (200, "word\n"));
        assert_eq!(
            stage.run(&sandbox, "user", "cat /tmp/mine", 60_000).stdout,
            "word\n"
        );
        let file = stage.instance_of().sandbox(
            &sandbox,
            49983,
            "GET",
            "/files?path=/tmp/mine&username=user",
            b"",
        );
        assert_eq!((file.status, file.text().as_str()), (200, "word\n"));
        let detail = stage.detail(&sandbox);
        assert_eq!(detail["networkState"]["airGap"], true, "{detail}");
        // It is not lifted by new lists.
        stage.put(&sandbox, &json!({}));
        assert_ne!(
            stage.word(&sandbox, &format!("T = 0.5\ntcp('{ALPHA}')")),
            "ok"
        );
        stage.finish();
    });
}
