//! The rules' text, evaluated by a small model of pf, against [`Sandbox::fate`], and against packets that no policy
//! speaks of.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};

use common::{HOST, HOST6, Host, RESOLVER, Seen, UPLINK, port, sandbox, site};
use proptest::prelude::*;
use proptest::sample::select;
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
        // Both families' ICMP, GRE, SCTP.
        select(vec![1, 58, 47, 132]).prop_map(Payload::Other),
    ]
}

/// Addresses of every kind, many of which have a part that reads as an IPv4 address.
fn six() -> impl Strategy<Value = Ipv6Addr> {
    let known = [port(0).address, port(31).address, RESOLVER];
    let four = || {
        let known = select([&HOST[..], &known].concat());
        prop_oneof![known, any::<u32>().prop_map(Ipv4Addr::from)]
    };
    let bits = |four: Ipv4Addr| u128::from(four.to_bits());
    let within = |first: u16| {
        let first = u128::from(first) << 112;
        any::<u64>().prop_map(move |rest| Ipv6Addr::from(first | u128::from(rest)))
    };
    let one = |text: &str| -> Ipv6Addr { text.parse().expect("an address") };
    let wellknown = ["::", "ff02::1", "ff02::2", "ff02::16", "ff0e::fb"].map(one);
    prop_oneof![
        any::<u128>().prop_map(Ipv6Addr::from),
        select([&wellknown[..], &HOST6].concat()),
        four().prop_map(|four| four.to_ipv6_mapped()),
        (four(), any::<u128>())
            .prop_map(move |(four, rest)| (bits(four) << 96 | rest >> 32).into()),
        four().prop_map(move |four| (0x64_ff9b << 96 | bits(four)).into()),
        within(0xfe80),
        within(0xff02),
        within(0xfd00),
        within(0x2001),
    ]
}

prop_compose! {
    fn packet6()(
        mac in prop_oneof![Just(port(0).mac), Just(port(31).mac), any::<[u8; 6]>()],
        payload in payload(),
        source in six(),
        destination in six(),
        fragment in prop::bool::weighted(0.1),
    ) -> Seen {
        let packet = Packet { mac, source: port(0).address, destination: RESOLVER, payload };
        Seen { fragment, ..Seen::new("s0", &packet).six(source, destination) }
    }
}

/// What stops IPv6, in the order in which a packet out of a sandbox meets it.
fn walls() -> [String; 4] {
    let group = site().group();
    [
        format!("ether block in quick on {group}"),
        format!("block drop quick on {group} inet6 all"),
        format!("block drop quick on {group} all"),
        "block drop quick on warder all".to_owned(),
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
        six in prop::collection::vec(six(), 12),
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
        for to in six {
            let packet = Packet { mac: own.port.mac, source: HOST[0], destination: RESOLVER, payload };
            let seen = |user| {
                let seen = Seen { inwards: false, user: Some(user), ..Seen::new("em1", &packet) };
                seen.six(HOST6[0], to)
            };
            for user in [site().user(own.port.mark), site().user(own.port.mark + 1)] {
                let lets = host.lets(seen(user));
                prop_assert_eq!(lets, matches!(payload, Payload::Other(_)), "{} {:?}", to, policy);
            }
            prop_assert!(host.lets(seen(1001)), "of others nothing is said");
        }
    }

    /// Whatever the policy is; and neither the Ethernet rules nor the rule for IPv6 need the other.
    #[test]
    fn no_ipv6_comes_out_of_a_sandbox_or_gets_to_one(
        policies in prop::collection::vec(policy(), 1..4),
        packets in prop::collection::vec(packet6(), 24),
    ) {
        let closed = closed(&[]);
        let sandboxes: Vec<_> = (0..).map(|n| n * 31).zip(&policies).map(|(n, p)| sandbox(n, p)).collect();
        let host = Host::new(&site(), &closed, &sandboxes);
        let (mut filter, mut ether) = (host.clone(), host.clone());
        let [frames, packets6, ..] = walls();
        prop_assert!(filter.lose_ethernet());
        prop_assert!(ether.lose(&packets6));
        for own in &sandboxes {
            let name = own.port.name.as_str();
            for seen in &packets {
                let out = Seen { interface: name.to_owned(), ..seen.clone() };
                for (host, line) in [(&host, &frames), (&ether, &frames), (&filter, &packets6)] {
                    prop_assert_eq!(host.stopped_by(out.clone(), UPLINK), Some(line.as_str()), "{:?}", out);
                    for route in [UPLINK, "em1", "lo0", "s1", "s31"] {
                        prop_assert_eq!(host.fate(out.clone(), route), Fate::Drop, "{:?} {:?}", out, own);
                    }
                }
                // What the Ethernet rules let in would still be stopped.
                prop_assert!(!host.takes_frame(out.clone()) && !host.lets(out.clone()), "{:?}", out);
                // Towards it, by whatever interface it came, and of the host's own making.
                for interface in [UPLINK, "em1", "lo0", "s1", "s31"] {
                    let to = Seen { interface: interface.to_owned(), ..seen.clone() };
                    for host in [&host, &filter, &ether] {
                        prop_assert_eq!(host.fate(to.clone(), name), Fate::Drop, "{:?} {:?}", to, own);
                    }
                }
                let made = Seen { inwards: false, ..out };
                prop_assert!(!host.lets(made.clone()) && !filter.lets(made.clone()), "{:?}", made);
                // Nor further, had a frame of it the tag of a sandbox's all the same.
                let tagged = Seen { interface: UPLINK.to_owned(), tag: Some(format!("w{}m", site().tag)), ..made };
                prop_assert!(!host.lets(tagged.clone()), "{:?}", tagged);
            }
        }
    }

    /// Every set of the lines that stop IPv6 stops it at its first one, and without all of them it passes: none of them
    /// holds by another's help, and the model would tell. A sandbox's own anchor does not matter, whatever it says.
    #[test]
    fn each_line_against_ipv6_holds_by_itself(policy in policy(), seen in packet6()) {
        let closed = closed(&[]);
        let own = sandbox(0, &policy);
        let host = Host::new(&site(), &closed, std::slice::from_ref(&own));
        let mut load = site().sandbox(&closed, &own).expect("has a place");
        load.text = "ether pass in quick on s0\npass quick on s0 all\n".to_owned();
        let mut careless = host.clone();
        careless.load(&load);
        // Fragments have a line of their own.
        let out = Seen { fragment: false, ..seen };
        let to = Seen { interface: "em1".to_owned(), ..out.clone() };
        let walls = walls();
        for kept in 0..1 << walls.len() {
            for mut host in [host.clone(), careless.clone()] {
                let (left, lost): (Vec<_>, Vec<_>) = (0..).zip(&walls).partition(|(n, _)| kept >> n & 1 == 1);
                prop_assert!(lost.iter().all(|(_, line)| host.lose(line)), "{:?}", lost);
                let first = |from| left.iter().find(|(n, _)| *n >= from).map(|(_, line)| line.as_str());
                prop_assert_eq!(host.stopped_by(out.clone(), UPLINK), first(0), "{:?} {:?}", out, left);
                // The Ethernet rules are for what comes in.
                prop_assert_eq!(host.stopped_by(to.clone(), "s0"), first(1), "{:?} {:?}", to, left);
            }
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
            ("ARP", Seen { ethertype: 0x0806, ..seen.clone() }),
            ("a fragment", Seen { fragment: true, ..seen.clone() }),
            (
                "a pair without rules",
                Seen { interface: "s1".to_owned(), source: port(1).address.into(), mac: port(1).mac, ..seen.clone() },
            ),
            ("another pair", Seen { interface: "s1".to_owned(), ..seen.clone() }),
        ] {
            prop_assert_eq!(host.fate(wrong, UPLINK), Fate::Drop, "{}", what);
        }
        for (what, wrong) in [
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
    fn without_any_rules_of_ours_nothing_passes(payload in payload(), to in any::<u32>(), six in packet6()) {
        let own = sandbox(0, &Policy::OPEN);
        let host = Host::bare();
        let packet = Packet { mac: own.port.mac, source: own.port.address, destination: to.into(), payload };
        prop_assert!(!host.lets(Seen::new("s0", &packet)));
        prop_assert!(!host.lets(six));
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
