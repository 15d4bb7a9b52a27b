//! What a sandbox can and cannot reach, with real packets.
#![cfg(target_os = "linux")]

mod common;

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{
    DENIED, ECHO, HEARD, HOST, HOST_TOO, Instance, OPEN, PATIENCE, SERVER, asks, dial, echoes, id,
    inside, on_a_host, pings, run, run_inside,
};
use warder_wire::FaultCode;
use warder_wire::Policy;

#[test]
fn an_open_sandbox_reaches_the_internet_through_nat_and_nothing_denied() {
    on_a_host(
        "an_open_sandbox_reaches_the_internet_through_nat_and_nothing_denied",
        |_| {
            let instance = Instance::new(1, 8, 2);
            let mut netd = instance.start();
            let (slot, ns) = netd.reconciled().sandbox(1, OPEN);
            let (mut stream, seen) = dial(&ns, SERVER, ECHO).expect("reachable");
            assert_eq!(seen, HOST.to_string(), "the server sees the host");
            assert!(echoes(&mut stream));
            assert!(
                asks(&ns, SERVER, ECHO),
                "a resolver outside the denied ranges answers"
            );
            for address in DENIED {
                let start = Instant::now();
                let error = dial(&ns, address, ECHO).expect_err("denied");
                let (code, took) = (error.raw_os_error(), start.elapsed());
                assert_eq!(code, Some(113), "{address}: {error}: EHOSTUNREACH");
                assert!(
                    took < Duration::from_millis(500),
                    "{address}: refused at once, not in {took:?}"
                );
                assert!(!asks(&ns, address, ECHO), "{address}");
            }
            let own = run_inside(&ns, "ip -4 -o addr show dev eth0");
            assert!(own.contains(&format!("inet {}/32", slot.address)), "{own}");
            assert!(pings(&ns, SERVER), "ping works for the sandbox's groups");
        },
    );
}

#[test]
fn a_closed_sandbox_reaches_nothing() {
    on_a_host("a_closed_sandbox_reaches_nothing", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        netd.reconciled();
        let never_set = id(1);
        netd.lease(&never_set);
        let (slot, ns) = netd.take(&never_set).expect("a slot");
        let (_, ns_set) = netd.sandbox(2, Policy::CLOSED);
        for ns in [&ns, &ns_set] {
            for address in DENIED
                .into_iter()
                .chain([SERVER, HOST, HOST_TOO, slot.gateway])
            {
                let error = dial(ns, address, ECHO).expect_err("closed");
                if address == SERVER {
                    assert_eq!(error.raw_os_error(), Some(113), "at once: {error}");
                }
                assert!(!asks(ns, address, ECHO), "{address}");
            }
        }
        // Its own loopback is its own.
        inside(&ns, || {
            let listener = std::net::TcpListener::bind("127.0.0.1:80").expect("binds");
            let to = listener.local_addr().expect("bound");
            std::net::TcpStream::connect(to).expect("connects");
        });
    });
}

#[test]
fn sandboxes_do_not_reach_each_other() {
    on_a_host("sandboxes_do_not_reach_each_other", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, a) = netd.reconciled().sandbox(1, OPEN);
        let (slot_b, b) = netd.sandbox(2, OPEN);
        let heard = inside(&b, || {
            let tcp = std::net::TcpListener::bind(("0.0.0.0", ECHO)).expect("binds");
            let udp = std::net::UdpSocket::bind(("0.0.0.0", ECHO)).expect("binds");
            tcp.set_nonblocking(true).expect("set");
            udp.set_nonblocking(true).expect("set");
            (tcp, udp)
        });
        dial(&a, slot_b.address, ECHO).expect_err("another sandbox");
        assert!(!asks(&a, slot_b.address, ECHO));
        // Straight at its MAC, past routing: as a guest with more rights than it has could try.
        run_inside(
            &a,
            &format!("ip route add {} dev eth0 onlink || true", slot_b.address),
        );
        dial(&a, slot_b.address, ECHO).expect_err("another sandbox");
        heard.0.accept().expect_err("nobody came");
        heard.1.recv_from(&mut [0; 9]).expect_err("nothing came");
    });
}

#[test]
fn sandboxes_do_not_reach_the_host_by_any_address() {
    on_a_host("sandboxes_do_not_reach_the_host_by_any_address", |_| {
        // A published port of the host's: it would be let through to the internet's server.
        run(
            "nft 'add table ip nat; add chain ip nat pre { type nat hook prerouting priority dstnat; }'",
        );
        run(&format!(
            "nft 'add rule ip nat pre ip daddr {HOST} tcp dport 8080 dnat to {SERVER}:80'"
        ));
        // And one that catches what is meant for elsewhere.
        run("nft 'add rule ip nat pre tcp dport 9090 redirect to :80'");
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (slot, ns) = netd.reconciled().sandbox(1, OPEN);
        let (host, router) = instance.uplink();
        // An address that the host gains later.
        run("ip addr add 198.51.100.201/32 dev lo");
        let late = Ipv4Addr::new(198, 51, 100, 201);
        let broadcast = Ipv4Addr::new(203, 0, 113, 255);
        for address in [HOST, HOST_TOO, late, host, router, slot.gateway, broadcast] {
            for port in [ECHO, 8080] {
                dial(&ns, address, port).expect_err(&format!("{address}:{port} is the host"));
            }
            assert!(!asks(&ns, address, ECHO), "{address}");
        }
        dial(&ns, SERVER, 9090).expect_err("redirected to the host");
        assert_eq!(HEARD.load(Ordering::SeqCst), 0, "the host heard nothing");
        assert!(
            dial(&ns, SERVER, ECHO).is_ok(),
            "the internet is still there"
        );
        // The host's other way round: what is not the instance's is not let in either.
        assert!(
            dial(&instance.router(), host, ECHO).is_err(),
            "not even the router reaches the host"
        );
    });
}

#[test]
fn rules_that_somebody_flushed_are_there_again() {
    on_a_host("rules_that_somebody_flushed_are_there_again", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        let table = format!("inet warder_{}", instance.tag);
        let listed = || run(&format!("nft list table {table} 2>/dev/null || true"));
        let whole = listed();
        assert!(whole.contains("masquerade"), "{whole}");
        // As an administrator does who loads his own, or a part of them, or switches them off.
        for harm in [
            "nft flush ruleset".to_owned(),
            format!("nft flush table {table}"),
            format!("nft flush chain {table} input"),
            format!("nft add rule {table} input accept"),
            format!("nft 'add table {table} {{ flags dormant; }}'"),
        ] {
            // Whether the harm is seen here depends on when netd looks next; that it is gone does not.
            run(&harm);
            let end = Instant::now() + PATIENCE;
            while listed() != whole {
                assert!(Instant::now() < end, "{harm}: {}", listed());
                std::thread::sleep(Duration::from_millis(20));
            }
            let heard = HEARD.load(Ordering::SeqCst);
            dial(&ns, HOST, ECHO).expect_err("the host");
            assert_eq!(
                HEARD.load(Ordering::SeqCst),
                heard,
                "the host hears nothing"
            );
            assert!(dial(&ns, SERVER, ECHO).is_ok(), "{harm}");
        }
        // No slot is given without them, however soon it is asked for.
        run("nft flush ruleset");
        let (_, ns) = netd.sandbox(2, OPEN);
        assert_eq!(listed(), whole);
        dial(&ns, HOST, ECHO).expect_err("the host");
        // Those of others are theirs.
        run("nft add table ip theirs");
        assert_eq!(listed(), whole);
        assert!(run("nft list tables").contains("theirs"));
    });
}

#[test]
fn nobody_outside_reaches_a_sandbox() {
    on_a_host("nobody_outside_reaches_a_sandbox", |world| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (slot, ns) = netd.reconciled().sandbox(1, OPEN);
        inside(&ns, || {
            let listener = std::net::TcpListener::bind(("0.0.0.0", ECHO)).expect("binds");
            std::mem::forget(listener);
        });
        let (_, router) = instance.uplink();
        for from in [&world.internet, &world.host] {
            for address in [slot.address, router, slot.gateway] {
                dial(from, address, ECHO).expect_err("no way in");
            }
        }
        // Even when the host is talked into routing there.
        run(&format!("ip route add {} via {router}", slot.address));
        for from in [&world.internet, &world.host] {
            dial(from, slot.address, ECHO).expect_err("no way in");
        }
    });
}

#[test]
fn spoofed_sources_go_nowhere() {
    on_a_host("spoofed_sources_go_nowhere", |world| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        let (slot_b, _b) = netd.sandbox(2, OPEN);
        run_inside(
            &world.internet,
            "nft 'add table ip t; add chain ip t in { type filter hook input \
             priority 0; }; add rule ip t in udp dport 7 counter'",
        );
        let spoofs = [
            slot_b.address,
            slot_b.gateway,
            HOST,
            SERVER,
            instance.uplink().1,
        ];
        for source in spoofs {
            // The test has rights in there that no guest has.
            run_inside(&ns, &format!("ip addr add {source}/32 dev eth0"));
            inside(&ns, move || {
                let socket = std::net::UdpSocket::bind((source, 0)).expect("binds");
                for _ in 0..3 {
                    let _ = socket.send_to(b"x", (SERVER, ECHO));
                }
            });
            run_inside(&ns, &format!("ip addr del {source}/32 dev eth0"));
        }
        std::thread::sleep(Duration::from_millis(100));
        let counted = run_inside(&world.internet, "nft list table ip t");
        assert!(counted.contains("packets 0"), "{counted}");
        assert!(asks(&ns, SERVER, ECHO), "its own address works");
        let counted = run_inside(&world.internet, "nft list table ip t");
        assert!(
            !counted.contains("packets 0"),
            "the counter counts: {counted}"
        );
    });
}

#[test]
fn ipv6_is_absent() {
    on_a_host("ipv6_is_absent", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        for ns in [&ns, &instance.router()] {
            assert_eq!(run_inside(ns, "ip -6 addr"), "");
            assert_eq!(run_inside(ns, "ip -6 route show table all"), "");
        }
        let uplink = format!("wu{}", instance.tag);
        assert_eq!(run(&format!("ip -6 addr show dev {uplink}")), "");
        inside(&ns, || {
            let socket = std::net::UdpSocket::bind("[::]:0");
            let sent = socket.and_then(|s| s.send_to(b"x", "[2001:db8::1]:53"));
            sent.expect_err("there is no way");
        });
        // Forced in at every step by somebody with rights: the rules drop it all the same.
        run(&format!(
            "nft 'add table netdev t; add chain netdev t c {{ type filter hook ingress device {uplink} \
             priority 0; }}; add rule netdev t c ether type ip6 counter'"
        ));
        let ports = run_inside(
            &instance.router(),
            "ip -o link | grep -o 's[0-9]*@' | tr -d @",
        );
        let router = instance.router();
        run_inside(
            &router,
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.forwarding=1",
        );
        for port in ports.split_whitespace() {
            run_inside(
                &router,
                &format!("sysctl -qw net.ipv6.conf.{port}.disable_ipv6=0"),
            );
        }
        run_inside(
            &router,
            "sysctl -qw net.ipv6.conf.uplink.disable_ipv6=0 && ip -6 route add default dev uplink \
             && ip -6 neigh add 2001:db8::1 lladdr 02:00:00:00:00:01 dev uplink nud permanent",
        );
        let mac = run_inside(&ns, "ip neigh show | grep -o '02:[0-9a-f:]*'");
        run_inside(
            &ns,
            &format!(
                "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0 \
             && ip -6 addr add 2001:db8:1::2/64 dev eth0 nodad && ip -6 route add 2001:db8::1 dev eth0 \
             && ip -6 neigh add 2001:db8::1 lladdr {} dev eth0 nud permanent",
                mac.trim()
            ),
        );
        let send = || {
            inside(&ns, || {
                let socket = std::net::UdpSocket::bind("[2001:db8:1::2]:0").expect("binds");
                socket
                    .send_to(b"x", "[2001:db8::1]:53")
                    .expect("leaves the sandbox");
            });
            std::thread::sleep(Duration::from_millis(50));
            let from = "ip6 saddr 2001:db8:1::2";
            run(&format!(
                "nft list table netdev t; nft add rule netdev t c {from} counter"
            ))
        };
        send();
        assert!(
            send().contains("2001:db8:1::2 counter packets 0"),
            "nothing came out of the router"
        );
        run_inside(
            &router,
            &format!("nft delete table inet warder_{}", instance.tag),
        );
        send();
        assert!(
            !send().contains("2001:db8:1::2 counter packets 0"),
            "only the rules kept it in"
        );
    });
}

#[test]
fn a_policy_change_ends_live_flows_and_opens_again() {
    on_a_host("a_policy_change_ends_live_flows_and_opens_again", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        let (_, other) = netd.sandbox(2, OPEN);
        let (mut stream, _) = dial(&ns, SERVER, ECHO).expect("open");
        let (mut idle, _) = dial(&ns, SERVER, ECHO).expect("open");
        let (mut untouched, _) = dial(&other, SERVER, ECHO).expect("open");
        assert!(echoes(&mut stream) && asks(&ns, SERVER, ECHO));
        assert!(instance.flows(1) >= 3 && instance.flows(2) >= 1);
        netd.set(&id(1), 2, Policy::CLOSED).expect("in force");
        assert_eq!(
            instance.flows(1),
            0,
            "the answer means that no flow is left"
        );
        assert!(!echoes(&mut stream), "a live flow has ended");
        assert!(dial(&ns, SERVER, ECHO).is_err() && !asks(&ns, SERVER, ECHO));
        assert!(echoes(&mut untouched), "nobody else's has");
        netd.set(&id(1), 3, OPEN).expect("in force");
        assert!(dial(&ns, SERVER, ECHO).is_ok(), "open again");
        assert!(!echoes(&mut idle), "a flow of before does not come back");
        assert!(echoes(&mut untouched));
    });
}

#[test]
fn generations_only_rise() {
    on_a_host("generations_only_rise", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        netd.reconciled();
        let code = |result: Result<(), warder_wire::Fault>| result.expect_err("refused").code;
        assert_eq!(
            code(netd.set(&id(1), 1, OPEN)),
            FaultCode::NotFound,
            "no lease"
        );
        let (_, ns) = netd.sandbox(1, Policy::CLOSED);
        assert_eq!(code(netd.set(&id(1), 1, OPEN)), FaultCode::Conflict);
        netd.set(&id(1), 1, Policy::CLOSED).expect("the same again");
        netd.set(&id(1), 7, OPEN).expect("higher");
        assert_eq!(
            code(netd.set(&id(1), 6, Policy::CLOSED)),
            FaultCode::Conflict
        );
        assert!(dial(&ns, SERVER, ECHO).is_ok());
        netd.gone(&id(1));
        netd.report();
        assert_eq!(
            code(netd.set(&id(1), 8, OPEN)),
            FaultCode::NotFound,
            "the lease is gone"
        );
    });
}

#[test]
fn guests_may_bind_low_ports_and_ping() {
    on_a_host("guests_may_bind_low_ports_and_ping", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        let values = run_inside(
            &ns,
            "sysctl -n net.ipv4.ip_unprivileged_port_start \
             net.ipv4.ping_group_range net.ipv6.conf.all.disable_ipv6",
        );
        let words: Vec<&str> = values.split_whitespace().collect();
        assert_eq!(words, ["0", "1000000", "1065535", "1"]);
    });
}
