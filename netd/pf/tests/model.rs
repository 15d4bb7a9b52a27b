//! The rules' text, evaluated by a small model of pf, against [`Sandbox::fate`], and against packets that no policy
//! speaks of.

mod common;

use std::net::Ipv4Addr;

use common::{HOST, Host, RESOLVER, Seen, UPLINK, port, sandbox, site};
use proptest::prelude::*;
use warder_desired::{Egress, Fate, Packet, Payload, closed};
use warder_wire::policy::{Proxy, ProxyHost};
use warder_wire::{Cidr, HostName, NamePattern, Policy};

fn cidr() -> impl Strategy<Value = Cidr> {
    (any::<u32>(), 0_u8..=32).prop_map(|(a, bits)| Cidr::new(a.into(), bits).expect("fits"))
}

prop_compose! {
    fn policy()(
        airgap in prop::bool::weighted(0.1),
        allow in prop::collection::vec(cidr(), 0..8),
        deny in prop::collection::vec(cidr(), 0..8),
        names: bool,
        proxy: bool,
    ) -> Policy {
        let names = names.then(|| NamePattern::Exactly(HostName::new("a.test").expect("a name")));
        let proxy = proxy.then(|| Proxy {
            host: ProxyHost::Address(Ipv4Addr::new(192, 0, 2, 1)),
            port: 1080,
            login: None,
        });
        Policy { airgap, allow, deny, names: names.into_iter().collect(), dns: None, proxy }
    }
}

fn payload() -> impl Strategy<Value = Payload> {
    let port = || {
        prop_oneof![
            Just(53),
            Just(80),
            Just(443),
            Just(9080),
            Just(9053),
            any::<u16>()
        ]
    };
    prop_oneof![
        port().prop_map(Payload::Tcp),
        port().prop_map(Payload::Udp),
        prop_oneof![Just(1), Just(47), Just(132)].prop_map(Payload::Other),
    ]
}

/// Edges of every network named, addresses that are somebody's, and any.
fn destinations(policy: &Policy, never: &[Cidr], random: Vec<u32>) -> Vec<Ipv4Addr> {
    let lists = policy.allow.iter().chain(&policy.deny).chain(never);
    let edges = lists.flat_map(|c| {
        let (a, b) = c.range();
        [
            u32::from(a),
            u32::from(b),
            u32::from(a).wrapping_sub(1),
            u32::from(b).wrapping_add(1),
        ]
    });
    let known = HOST
        .into_iter()
        .chain([port(0).address, port(1).address, Ipv4Addr::BROADCAST]);
    known
        .chain(edges.chain(random).map(Ipv4Addr::from))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_rules_do_what_is_desired(
        policies in prop::collection::vec(policy(), 1..4),
        never in prop::collection::vec(cidr().prop_filter("not all", |c| c.bits() > 2), 0..3),
        payloads in prop::collection::vec(payload(), 6),
        random in prop::collection::vec(any::<u32>(), 12),
        forged_source in any::<u32>(),
    ) {
        let closed = closed(&never);
        // Sandboxes in two buckets.
        let sandboxes: Vec<_> = (0..).map(|n| n * 31).zip(&policies).map(|(n, p)| sandbox(n, p)).collect();
        let host = Host::new(&site(), &closed, &sandboxes);
        for (own, policy) in sandboxes.iter().zip(&policies) {
            for to in destinations(policy, &never, random.clone()) {
                for payload in payloads.iter().copied() {
                    let right = Packet { mac: own.port.mac, source: own.port.address, destination: to, payload };
                    let mac = [2, 1, 10, 200, 0, 0xfe];
                    let forged = [
                        Packet { source: forged_source.into(), ..right },
                        Packet { source: port(31).address, ..right },
                        Packet { mac, ..right },
                    ];
                    for packet in std::iter::once(right).chain(forged) {
                        let seen = Seen::new(own.port.name.as_str(), &packet);
                        let got = host.fate(seen, UPLINK);
                        let desired = match own.fate(&closed, &packet) {
                            // The host does not say that it is there.
                            Fate::Forward | Fate::Refuse if HOST.contains(&to) => Fate::Drop,
                            other => other,
                        };
                        prop_assert_eq!(got, desired, "{:?} {:?}", packet, policy);
                    }
                }
            }
        }
    }

    /// What egressd's sockets reach, by the rules alone.
    #[test]
    fn sockets_lead_where_their_sandbox_may(
        policy in policy(),
        payload in payload(),
        random in prop::collection::vec(any::<u32>(), 12),
    ) {
        let closed = closed(&[]);
        let own = sandbox(31, &policy);
        let host = Host::new(&site(), &closed, std::slice::from_ref(&own));
        let judged = match &own.egress {
            Egress::Closed => None,
            Egress::Judged(judged) => Some(judged),
        };
        for to in destinations(&policy, &[], random).into_iter().chain([RESOLVER]) {
            let packet = Packet { mac: own.port.mac, source: HOST[0], destination: to, payload };
            let seen = |user| Seen { inwards: false, user: Some(user), ..Seen::new("em1", &packet) };
            let may = judged.is_some_and(|judged| {
                let dns = matches!(payload, Payload::Tcp(53) | Payload::Udp(53));
                let named = judged.names || judged.proxy;
                dns && to == RESOLVER || !closed.contain(to) && (named || !judged.denied.contain(to))
            });
            // A socket has a port, and rules speak of no other packet's user.
            let may = may || matches!(payload, Payload::Other(_));
            prop_assert_eq!(host.lets(seen(site().user(own.port.mark))), may, "{} {:?}", to, policy);
            for stranger in [own.port.mark - 1, own.port.mark + 1, 60_000] {
                let lets = host.lets(seen(site().user(stranger)));
                prop_assert_eq!(lets, matches!(payload, Payload::Other(_)), "{}", stranger);
            }
            prop_assert!(host.lets(seen(1001)), "of others nothing is said");
        }
    }

    #[test]
    fn nothing_else_passes(payload in payload(), to in any::<u32>(), from in any::<u32>()) {
        let closed = closed(&[]);
        let own = sandbox(0, &Policy::OPEN);
        let host = Host::new(&site(), &closed, std::slice::from_ref(&own));
        let right = Packet { mac: own.port.mac, source: own.port.address, destination: to.into(), payload };
        let seen = Seen::new("s0", &right);
        for (what, wrong) in [
            ("IPv6", Seen { ethertype: 0x86dd, v6: true, ..seen.clone() }),
            ("IPv6 past the Ethernet rules", Seen { v6: true, ..seen.clone() }),
            ("ARP", Seen { ethertype: 0x0806, ..seen.clone() }),
            ("a fragment", Seen { fragment: true, ..seen.clone() }),
            ("a pair without rules", Seen { interface: "s1".to_owned(), source: port(1).address, mac: port(1).mac, ..seen.clone() }),
            ("another pair", Seen { interface: "s1".to_owned(), ..seen.clone() }),
        ] {
            prop_assert_eq!(host.fate(wrong, UPLINK), Fate::Drop, "{}", what);
        }
        for (what, wrong) in [
            ("IPv6", Seen { ethertype: 0x86dd, v6: true, ..seen.clone() }),
            ("ARP", Seen { ethertype: 0x0806, ..seen.clone() }),
            ("another's MAC", Seen { mac: port(1).mac, ..seen.clone() }),
        ] {
            prop_assert!(!host.takes_frame(wrong), "{}", what);
        }
        prop_assert!(host.takes_frame(seen.clone()));
        // By another way than the uplink: to a neighbour, to another network of the host.
        for route in ["s1", "em1", "lo0"] {
            let fate = host.fate(seen.clone(), route);
            prop_assert_ne!(fate, Fate::Forward, "{}", route);
        }
        // From outside to a sandbox, past NAT.
        let outside = Packet { source: from.into(), destination: own.port.address, ..right };
        for interface in [UPLINK, "em1"] {
            let seen = Seen::new(interface, &outside);
            prop_assert!(!host.lets(seen.clone()), "in by {}", interface);
            let to = Seen { interface: "s0".to_owned(), inwards: false, ..seen };
            prop_assert!(!host.lets(to), "out to it");
        }
    }

    /// The ceiling does not rest on a sandbox's own anchor.
    #[test]
    fn an_anchor_that_passes_all_opens_nothing_that_is_closed(payload in payload(), to in any::<u32>()) {
        let never: Vec<Cidr> = vec!["198.51.100.0/24".parse().expect("a network")];
        let closed = closed(&never);
        let own = sandbox(0, &Policy::OPEN);
        let mut host = Host::new(&site(), &closed, std::slice::from_ref(&own));
        let mut load = site().sandbox(&closed, &own).expect("has a place");
        load.text = load.text.lines().filter(|l| l.starts_with("ether")).map(|l| format!("{l}\n")).collect();
        load.text += "pass in quick on s0 inet from any to any\n";
        host.load(&load);
        for to in [Ipv4Addr::from(to), Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(169, 254, 169, 254)] {
            let packet = Packet { mac: own.port.mac, source: own.port.address, destination: to, payload };
            let passes = host.fate(Seen::new("s0", &packet), UPLINK) == Fate::Forward;
            prop_assert_eq!(passes, !closed.contain(to) && !HOST.contains(&to));
        }
    }

    /// Rules of the instance that somebody flushed are not the host's `pass all`.
    #[test]
    fn without_any_rules_of_ours_nothing_passes(payload in payload(), to in any::<u32>()) {
        let own = sandbox(0, &Policy::OPEN);
        let host = Host::bare();
        let packet = Packet { mac: own.port.mac, source: own.port.address, destination: to.into(), payload };
        prop_assert!(!host.lets(Seen::new("s0", &packet)));
        prop_assert!(host.lets(Seen::new("em1", &packet)), "of others nothing is said");
    }

    /// Without its Ethernet rules a sandbox reaches nothing, instead of reaching all with any MAC.
    #[test]
    fn rules_without_their_ethernet_half_pass_nothing(payload in payload(), to in any::<u32>()) {
        let closed = closed(&[]);
        let own = sandbox(0, &Policy::OPEN);
        let mut host = Host::new(&site(), &closed, std::slice::from_ref(&own));
        for mut load in [site().instance(&closed), site().sandbox(&closed, &own).expect("has a place")] {
            load.text = load.text.lines().filter(|l| !l.starts_with("ether")).map(|l| format!("{l}\n")).collect();
            host.load(&load);
        }
        let packet = Packet { mac: own.port.mac, source: own.port.address, destination: to.into(), payload };
        prop_assert_eq!(host.fate(Seen::new("s0", &packet), UPLINK), Fate::Drop);
    }
}
