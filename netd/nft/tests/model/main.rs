//! Transactions against a small model of nftables: single steps lead to the same state as rendering it whole, for any
//! sequence; that state does with any packet what the policy says; and it is what it should be, written out.

#[path = "../common/mod.rs"]
mod common;
mod kernel;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use common::{name, named, open, port, proxied, shut, tag, uplink};
use kernel::{End, Kernel, Seen, Tracked, Way};
use proptest::prelude::*;
use proptest::sample::select;
use warder_desired::{Egress, Fate, Judged, Packet, Payload, Range, Ranges, Sandbox, closed};
use warder_nft::flow::{ASKED, DIALLED, FORWARDED, INTERCEPTED};
use warder_nft::model::{Hook, Is, Part, Step, Transaction};
use warder_nft::render;
use warder_wire::{Bounds, Cidr, HostName, NamePattern, Policy, Proxy, ProxyHost};

const RESOLVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 9, 53), Ipv4Addr::new(9, 9, 9, 9)];

const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 3);

fn never() -> [Cidr; 1] {
    ["203.0.113.64/26".parse().expect("a network")]
}

fn router(sandboxes: &[Sandbox]) -> Transaction {
    render::router(tag(), &uplink(), &closed(&never()), &RESOLVERS, sandboxes)
}

fn kernel(sandboxes: &[Sandbox]) -> Kernel {
    let mut kernel = Kernel::default();
    kernel.apply(&router(sandboxes)).expect("begins");
    kernel
}

/// Addresses close together, so that lists and packets meet; some far ones; both ends of all.
fn address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        6 => (0_u32..256).prop_map(|n| Ipv4Addr::from(0xcb00_7100 + n)),
        1 => any::<u32>().prop_map(Ipv4Addr::from),
        1 => select(vec![
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::BROADCAST,
            Ipv4Addr::new(10, 200, 0, 3),
            Ipv4Addr::new(224, 0, 0, 1),
            RESOLVERS[0],
            RESOLVERS[1],
        ]),
    ]
}

/// An IPv6 source that rules for IPv4 would read these out of.
fn reads_as(source: Ipv4Addr, destination: Ipv4Addr, rest: u64) -> Ipv6Addr {
    let bits = |four: Ipv4Addr| u128::from(four.to_bits());
    let rest = u128::from(rest);
    let around = rest >> 32 << 96 | rest & u128::from(u32::MAX);
    (around | bits(source) << 64 | bits(destination) << 32).into()
}

fn six() -> impl Strategy<Value = Ipv6Addr> {
    let within = |first: u16| {
        let first = u128::from(first) << 112;
        any::<u64>().prop_map(move |rest| Ipv6Addr::from(first | u128::from(rest)))
    };
    let one = |text: &str| -> Ipv6Addr { text.parse().expect("an address") };
    let wellknown = ["::", "::1", "ff02::1", "ff02::2", "ff0e::fb"].map(one);
    let sources = select(vec![port(1).address, port(2).address, ROUTER]);
    prop_oneof![
        4 => (sources, address(), any::<u64>()).prop_map(|(a, b, rest)| reads_as(a, b, rest)),
        1 => any::<u128>().prop_map(Ipv6Addr::from),
        1 => address().prop_map(|four| four.to_ipv6_mapped()),
        1 => select(wellknown.to_vec()),
        1 => within(0xfe80),
        1 => within(0xff02),
        1 => within(0xfd00),
    ]
}

/// Chains that begin with a rule against IPv6.
const GUARDED: [(&str, Hook); 4] = [
    ("prerouting", Hook::Prerouting),
    ("forward", Hook::Forward),
    ("input", Hook::Input),
    ("output", Hook::Output),
];

/// As if these chains had no such rule.
fn unguarded(mut whole: Transaction, chains: &[&str]) -> Kernel {
    let before = whole.steps.len();
    let lost = |step: &Step| match step {
        Step::Rule(chain, parts) => {
            chains.contains(&chain.as_str()) && parts.contains(&Part::Ipv4(Is::Not))
        }
        _ => false,
    };
    whole.steps.retain(|step| !lost(step));
    assert_eq!(before - whole.steps.len(), chains.len(), "{chains:?}");
    let mut kernel = Kernel::default();
    kernel.apply(&whole).expect("begins");
    kernel
}

fn ranges() -> impl Strategy<Value = Ranges> {
    let range = (address(), address()).prop_map(|(a, b)| Range::new(a, b));
    proptest::collection::vec(range, 0..6).prop_map(|all| all.into_iter().collect())
}

fn egress() -> impl Strategy<Value = Egress> {
    let judged = (ranges(), any::<bool>(), any::<bool>());
    prop_oneof![
        1 => Just(Egress::Closed),
        5 => judged.prop_map(|(denied, names, proxy)| Egress::Judged(Judged { denied, names, proxy })),
    ]
}

fn sandbox(n: u32) -> impl Strategy<Value = Sandbox> {
    (egress(), 1_u32..4).prop_map(move |(egress, scale)| Sandbox {
        port: port(n),
        egress,
        bounds: Bounds {
            airgapped: false,
            upload: 1000 * u64::from(scale),
            download: u64::MAX / u64::from(scale),
            flows: 100 * scale,
        },
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    let number = prop_oneof![select(vec![53_u16, 80, 443]), any::<u16>()];
    prop_oneof![
        number.clone().prop_map(Payload::Tcp),
        number.prop_map(Payload::Udp),
        select(vec![1_u8, 2, 47, 58, 132]).prop_map(Payload::Other),
    ]
}

/// The first packet of a flow out of sandbox `n`.
fn first(n: u32, names: &str, packet: Packet) -> Seen<'_> {
    assert_eq!(names, format!("s{n}"));
    Seen {
        iif: Way::By(names),
        oif: Way::Nowhere,
        mac: packet.mac,
        source: packet.source.into(),
        destination: packet.destination.into(),
        elsewhere: true,
        payload: packet.payload,
        source_port: 40_000,
        reset: false,
        tracked: Tracked::New,
        reply: false,
        length: 60,
        began_to: packet.destination,
        mark: 0,
        flow_mark: 0,
        flows: 0,
        logged: None,
        masqueraded: false,
    }
}

/// What becomes of it on its whole way through the router.
fn through(kernel: &Kernel, seen: &mut Seen<'_>) -> Fate {
    match kernel.run(Hook::Prerouting, seen) {
        End::Drop => Fate::Drop,
        End::Refuse => Fate::Refuse,
        End::Divert(to) => {
            let wanted = match seen.payload {
                Payload::Tcp(_) => render::LISTEN_TCP,
                _ => render::LISTEN_UDP,
            };
            assert_eq!(to, wanted);
            assert_eq!(kernel.run(Hook::Input, seen), End::Accept);
            Fate::Egressd
        }
        End::Accept => {
            // Were it for the router itself, it would end there.
            assert_eq!(kernel.run(Hook::Input, &mut seen.clone()), End::Drop);
            seen.oif = Way::By("uplink");
            match kernel.run(Hook::Forward, seen) {
                End::Accept => {
                    assert_eq!(kernel.run(Hook::Postrouting, seen), End::Accept);
                    Fate::Forward
                }
                End::Refuse => Fate::Refuse,
                End::Drop | End::Divert(_) => Fate::Drop,
            }
        }
    }
}

/// Whether a packet leaves that has come to `hook`.
fn leaves(kernel: &Kernel, hook: Hook, seen: &mut Seen<'_>) -> bool {
    kernel.run(hook, seen) == End::Accept && kernel.run(Hook::Postrouting, seen) == End::Accept
}

fn policy() -> impl Strategy<Value = Policy> {
    let cidr = || (address(), 20_u8..=32).prop_map(|(a, bits)| Cidr::new(a, bits).expect("fits"));
    let list = || proptest::collection::vec(cidr(), 0..4);
    let all = (any::<bool>(), list(), list(), any::<[bool; 3]>());
    all.prop_map(|(airgap, allow, mut deny, [all, names, proxy])| {
        deny.extend(all.then_some(Cidr::ALL));
        let name = HostName::new("a.example").expect("a name");
        let proxy = proxy.then(|| Proxy {
            host: ProxyHost::Name(name.clone()),
            port: 1080,
            login: None,
        });
        Policy {
            airgap: airgap && all,
            allow,
            deny,
            names: names
                .then_some(NamePattern::Exactly(name))
                .into_iter()
                .collect(),
            dns: None,
            proxy,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_steps_end_where_the_whole_state_does(
        steps in proptest::collection::vec((0_u32..5).prop_flat_map(|n| (Just(n), 0_u8..3, sandbox(n))), 0..40),
    ) {
        let mut kernel = kernel(&[]);
        let mut wanted: BTreeMap<u32, Sandbox> = BTreeMap::new();
        for (n, what, new) in steps {
            let step = match (what, wanted.get(&n).cloned()) {
                (0, None) => render::add(tag(), &new),
                (1, Some(old)) => render::change(tag(), &new, &old),
                (2, Some(old)) => render::remove(tag(), &old),
                _ => continue,
            };
            if what == 2 { wanted.remove(&n); } else { wanted.insert(n, new); }
            if let Err(refused) = kernel.apply(&step) {
                prop_assert!(false, "refused: {}", refused);
            }
            let boxes: Vec<_> = wanted.values().cloned().collect();
            let mut whole = kernel.clone();
            whole.apply(&router(&boxes)).expect("replaces");
            prop_assert_eq!(&kernel, &whole);
        }
        kernel.apply(&render::gone(tag())).expect("ends");
        prop_assert_eq!(kernel, Kernel::default());
    }

    #[test]
    fn packets_meet_the_fate_that_the_policy_says(
        a in sandbox(1),
        b in sandbox(2),
        packets in proptest::collection::vec((address(), payload(), 0_u8..8), 40),
    ) {
        let kernel = kernel(&[a.clone(), b.clone()]);
        for (destination, payload, odd) in packets {
            let mut packet = Packet { mac: a.port.mac, source: a.port.address, destination, payload };
            match odd {
                0 => packet.source = b.port.address,
                1 => packet.mac = b.port.mac,
                _ => {}
            }
            let mut seen = first(1, "s1", packet);
            let fate = a.fate(&closed(&never()), &packet);
            prop_assert_eq!(through(&kernel, &mut seen), fate, "{:?}", packet);
            let class = match fate {
                Fate::Forward => FORWARDED,
                Fate::Egressd => INTERCEPTED,
                Fate::Refuse | Fate::Drop => 0,
            };
            if class != 0 {
                prop_assert_eq!(seen.flow_mark, class | a.port.mark);
            }
            prop_assert_eq!(seen.logged.is_some(), fate == Fate::Refuse);

            // One flow too many.
            let mut seen = first(1, "s1", packet);
            seen.flows = a.bounds.flows;
            let full = through(&kernel, &mut seen);
            prop_assert_eq!(full, if class == 0 { fate } else { Fate::Refuse });
            if class != 0 {
                prop_assert_eq!(seen.logged, Some(render::LOG_TOO_MANY));
            }

            // Longer than any question, or any packet on the uplink.
            let mut seen = first(1, "s1", packet);
            seen.length = 65_000;
            let long = matches!(payload, Payload::Udp(_)) && fate == Fate::Egressd;
            prop_assert_eq!(through(&kernel, &mut seen), if long { Fate::Drop } else { fate });

            let read = reads_as(packet.source, destination, 0);
            let mut seen = first(1, "s1", packet).six(read, Ipv6Addr::LOCALHOST);
            prop_assert_eq!(through(&kernel, &mut seen), Fate::Drop);
        }
    }

    #[test]
    fn what_a_flow_was_is_no_help_to_its_packets(
        old in sandbox(1),
        new in sandbox(1),
        packets in proptest::collection::vec((address(), payload()), 40),
    ) {
        let (before, after) = (kernel(std::slice::from_ref(&old)), kernel(std::slice::from_ref(&new)));
        for (destination, payload) in packets {
            let packet = Packet { mac: old.port.mac, source: old.port.address, destination, payload };
            let mut seen = first(1, "s1", packet);
            let was = through(&before, &mut seen);
            let fate = new.fate(&closed(&never()), &packet);
            let next = |seen: &Seen<'static>| Seen { tracked: Tracked::Known, mark: 0, flows: u32::MAX, oif: Way::Nowhere, ..seen.clone() };
            let reply = |seen: &Seen<'static>| Seen {
                iif: Way::By("uplink"),
                oif: Way::By("s1"),
                source: seen.destination,
                destination: seen.source,
                source_port: match seen.payload { Payload::Tcp(p) | Payload::Udp(p) => p, Payload::Other(_) => 0 },
                payload: match seen.payload {
                    Payload::Tcp(_) => Payload::Tcp(40_000),
                    Payload::Udp(_) => Payload::Udp(40_000),
                    other @ Payload::Other(_) => other,
                },
                tracked: Tracked::Known,
                reply: true,
                mark: 0,
                ..seen.clone()
            };
            match was {
                Fate::Forward => {
                    let on = through(&after, &mut next(&seen));
                    prop_assert_eq!(on, if fate == Fate::Egressd { Fate::Refuse } else { fate });
                    let back = leaves(&after, Hook::Forward, &mut reply(&seen));
                    prop_assert_eq!(back, fate == Fate::Forward, "{:?}", packet);
                    // Without a flow nothing comes in, and never from one port to another.
                    let stray = Seen { tracked: Tracked::New, flow_mark: 0, ..reply(&seen) };
                    prop_assert_eq!(after.run(Hook::Forward, &mut stray.clone()), End::Drop);
                    let across = Seen { iif: Way::By("s2"), ..reply(&seen) };
                    prop_assert_ne!(after.run(Hook::Forward, &mut across.clone()), End::Accept);
                }
                Fate::Egressd => {
                    let open = new.egress != Egress::Closed;
                    let on = through(&after, &mut next(&seen));
                    prop_assert_eq!(on, if open { Fate::Egressd } else { Fate::Refuse });
                    let answer = Seen { iif: Way::Nowhere, ..reply(&seen) };
                    prop_assert_eq!(leaves(&after, Hook::Output, &mut answer.clone()), open);
                    let stray = Seen { tracked: Tracked::New, flow_mark: 0, ..answer.clone() };
                    if stray.payload != Payload::Other(1) {
                        prop_assert_eq!(after.run(Hook::Output, &mut stray.clone()), End::Drop);
                    }
                    // Nor what bears a sandbox's own address, towards another.
                    let forged = Seen { reply: false, ..answer.clone() };
                    if forged.payload != Payload::Other(1) {
                        prop_assert_eq!(after.run(Hook::Output, &mut forged.clone()), End::Drop);
                    }
                    let out = Seen { oif: Way::By("uplink"), ..answer };
                    prop_assert_eq!(after.run(Hook::Output, &mut out.clone()), End::Drop);
                }
                Fate::Refuse | Fate::Drop => {}
            }
        }
    }

    #[test]
    fn sockets_of_egressd_reach_what_the_policy_lets_them(
        policy in policy(),
        to in proptest::collection::vec((address(), payload()), 40),
    ) {
        let own = Sandbox::new(port(1), &policy, Bounds::DEFAULT);
        let kernel = kernel(&[own.clone(), open(2)]);
        let send = |class: u32, destination, payload| {
            let packet = Packet { mac: [0; 6], source: Ipv4Addr::new(198, 19, 0, 1), destination, payload };
            let mut seen = first(1, "s1", packet);
            seen.iif = Way::Nowhere;
            seen.oif = Way::By("uplink");
            seen.mark = class | own.port.mark;
            let out = leaves(&kernel, Hook::Output, &mut seen);
            // Its answer comes in as long as anything may.
            let mut answer = Seen { iif: Way::By("uplink"), oif: Way::Nowhere, mark: 0, tracked: Tracked::Known, ..seen.clone() };
            if out {
                assert_eq!(seen.flow_mark, class | own.port.mark);
                assert_eq!(kernel.run(Hook::Input, &mut answer), End::Accept);
            }
            answer.tracked = Tracked::New;
            assert_eq!(kernel.run(Hook::Input, &mut answer), End::Drop);
            out
        };
        for (to, payload) in to {
            prop_assert_eq!(send(DIALLED, to, payload), policy.reaches(&never(), to), "{}", to);
            let asked = send(ASKED, to, Payload::Udp(53));
            prop_assert!(asked || !policy.resolves(&never(), &RESOLVERS, to), "{}", to);
            let may = policy.reaches(&never(), to) || policy.resolves(&never(), &RESOLVERS, to);
            prop_assert!(may || !asked, "{}", to);
            prop_assert_eq!(send(ASKED, to, Payload::Tcp(53)), asked);
            if !matches!(payload, Payload::Tcp(53) | Payload::Udp(53) | Payload::Other(_)) {
                prop_assert!(!send(ASKED, to, payload));
            }
            prop_assert!(!send(0, to, payload));
        }
    }

    /// At no hook, whatever marks it and its flow bear, under any policy.
    #[test]
    fn no_ipv6_passes(
        a in sandbox(1),
        b in sandbox(2),
        packets in proptest::collection::vec((six(), six(), payload()), 12),
    ) {
        let (kernel, mac) = (kernel(&[a.clone(), b]), a.port.mac);
        let host = unguarded(render::host(tag(), &name("router"), ROUTER), &[]);
        let any_way = ["s1", "s2", "s3", "uplink"].map(Way::By).into_iter().chain([Way::Nowhere]);
        let ways: Vec<_> = any_way.clone().flat_map(|iif| any_way.clone().map(move |oif| (iif, oif))).collect();
        let marks = [0, FORWARDED, INTERCEPTED, DIALLED, ASKED].map(|class| class | a.port.mark);
        for (source, destination, payload) in packets {
            let packet = Packet { mac, source: a.port.address, destination: ROUTER, payload };
            let seen = first(1, "s1", packet).six(source, destination);
            prop_assert_eq!(through(&kernel, &mut seen.clone()), Fate::Drop, "{:?}", seen);
            for ((iif, oif), mark) in ways.iter().flat_map(|way| marks.map(|mark| (*way, mark))) {
                let states = [(Tracked::New, false), (Tracked::Known, false), (Tracked::Known, true)];
                for (tracked, reply) in states {
                    let seen = Seen { iif, oif, mark, flow_mark: mark, tracked, reply, ..seen.clone() };
                    for (_, hook) in GUARDED {
                        let end = kernel.run(hook, &mut seen.clone());
                        prop_assert_eq!(end, End::Drop, "{:?} {:?}", hook, seen);
                    }
                }
            }
            let out = Seen { iif: Way::By("router"), ..seen.clone() };
            prop_assert_eq!(host.run(Hook::Prerouting, &mut out.clone()), End::Drop);
            prop_assert_eq!(host.run(Hook::Input, &mut out.clone()), End::Drop);
            let to = Seen { iif: Way::By("uplink"), oif: Way::By("router"), ..seen };
            prop_assert_eq!(host.run(Hook::Forward, &mut to.clone()), End::Drop);
        }
    }

    /// Rules for IPv4 read what they want out of an IPv6 source: it is the rules against IPv6 that stop it, each for
    /// its hook, and the model would tell.
    #[test]
    fn each_rule_against_ipv6_holds_by_itself(
        port_to in 1024_u16..,
        to in (1_u32..255).prop_map(|n| Ipv4Addr::from(0x0808_0800 + n)),
        rest: u64,
        destination in six(),
    ) {
        let own = open(1);
        let Sandbox { port, .. } = &own;
        let without = |chains: &[&str]| unguarded(router(std::slice::from_ref(&own)), chains);
        let payload = Payload::Tcp(port_to);
        let packet = Packet { mac: port.mac, source: port.address, destination: to, payload };
        let out = first(1, "s1", packet).six(reads_as(port.address, to, rest), destination);
        for lost in 0..1 << GUARDED.len() {
            let is_lost = |(n, _): &(u32, _)| lost >> n & 1 == 1;
            let lost: Vec<_> = (0..).zip(GUARDED.map(|(name, _)| name)).filter(is_lost).map(|(_, name)| name).collect();
            let kernel = without(&lost);
            let is_lost = |name| lost.contains(&name);
            let fate = through(&kernel, &mut out.clone());
            prop_assert_eq!(fate == Fate::Forward, is_lost("prerouting") && is_lost("forward"), "{:?}", lost);
            prop_assert!(fate == Fate::Forward || fate == Fate::Drop);
            // What the rest of each chain would let pass: an answer, what egressd gets and what it sends.
            let of = |class: u32| Seen { mark: class | port.mark, flow_mark: class | port.mark, ..out.clone() };
            let uplink = Way::By("uplink");
            let answer = Seen { tracked: Tracked::Known, reply: true, ..of(FORWARDED) };
            let answer = Seen { iif: uplink, oif: Way::By("s1"), ..answer };
            let sent = Seen { iif: Way::Nowhere, oif: uplink, ..of(DIALLED) };
            let wanted = [out.clone(), answer, of(INTERCEPTED), sent];
            for ((name, hook), mut seen) in GUARDED.into_iter().zip(wanted) {
                let end = if is_lost(name) { End::Accept } else { End::Drop };
                prop_assert_eq!(kernel.run(hook, &mut seen), end, "{} {:?}", name, lost);
            }
        }
        let read = first(1, "s1", packet).six(reads_as(ROUTER, to, rest), destination);
        for (lost, end) in [(&[][..], End::Drop), (&["from_router"], End::Accept)] {
            let host = unguarded(render::host(tag(), &name("router"), ROUTER), lost);
            let mut seen = Seen { iif: Way::By("router"), ..read.clone() };
            prop_assert_eq!(host.run(Hook::Prerouting, &mut seen), end);
        }
        // What the host itself sends over IPv6 is nobody's here.
        let host = unguarded(render::host(tag(), &name("router"), ROUTER), &[]);
        let packet = Packet { source: ROUTER, ..packet };
        for (mut seen, masqueraded) in [(read, false), (first(1, "s1", packet), true)] {
            (seen.iif, seen.oif) = (Way::Nowhere, Way::By("uplink"));
            prop_assert_eq!(host.run(Hook::Postrouting, &mut seen), End::Accept);
            prop_assert_eq!(seen.masqueraded, masqueraded);
        }
    }
}

#[test]
fn the_router_table_is_as_written() {
    let boxes = [open(0), shut(1), named(2), proxied(3)];
    golden("router.txt", &router(&boxes).to_string());
}

#[test]
fn the_host_table_is_as_written() {
    let text = render::host(tag(), &name("wue40c292c"), ROUTER).to_string();
    golden("host.txt", &text);
}

#[test]
fn single_steps_are_as_written() {
    let mut slow = open(0);
    slow.bounds.upload = 1_000_000;
    let steps = [
        render::add(tag(), &named(0)),
        render::change(tag(), &shut(0), &named(0)),
        render::change(tag(), &proxied(0), &shut(0)),
        render::change(tag(), &slow, &proxied(0)),
        render::remove(tag(), &slow),
        render::gone(tag()),
    ];
    let text: Vec<String> = steps.iter().map(ToString::to_string).collect();
    golden("steps.txt", &text.join("\n"));
}

/// `WARDER_BLESS=1` writes it anew.
fn golden(file: &str, text: &str) {
    let path = format!("{}/tests/model/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("WARDER_BLESS").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let wanted = std::fs::read_to_string(&path).expect("there");
    assert_eq!(text, wanted);
}
