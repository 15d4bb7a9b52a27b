//! A small model of pf, which reads rules as text: last match unless `quick`, first match for translation, tables,
//! anchors below anchors, tags, Ethernet rules before all, and either family for a rule that names none. What it cannot
//! read it refuses.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use warder_desired::{Fate, IfName, Packet, Payload, Port, Ranges, Sandbox};
use warder_pf::Site;
use warder_wire::{Bounds, Cidr, InstanceTag, Policy};

pub(crate) const UPLINK: &str = "em0";
/// The host's own addresses: outside, of a pair, of itself.
pub(crate) const HOST: [Ipv4Addr; 3] = [
    Ipv4Addr::new(203, 0, 113, 9),
    Ipv4Addr::new(10, 200, 0, 0),
    Ipv4Addr::LOCALHOST,
];

/// The same in IPv6, which a host may well have.
pub(crate) const HOST6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9),
    Ipv6Addr::LOCALHOST,
];

/// The operator's DNS server, in a range closed to all.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 168, 9, 53);

pub(crate) fn site() -> Site {
    Site {
        tag: InstanceTag::of_state_dir(b"a"),
        uplink: IfName::new(UPLINK).expect("a name"),
        block: Ipv4Addr::new(10, 200, 0, 0),
        slots: 64,
        tcp: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9080),
        udp: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9053),
        pipes: Some(1000),
        users: 1 << 31,
        resolvers: vec![RESOLVER],
        log: 1,
    }
}

pub(crate) fn port(n: u32) -> Port {
    let address = Ipv4Addr::from(0x0ac8_0001 + 2 * n);
    let [a, b, c, d] = address.octets();
    Port {
        name: IfName::new(&format!("s{n}")).expect("a name"),
        address,
        mac: [2, 1, a, b, c, d],
        mark: n + 1,
    }
}

pub(crate) fn sandbox(n: u32, policy: &Policy) -> Sandbox {
    Sandbox::new(port(n), policy, Bounds::DEFAULT)
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// A packet at an interface of the host.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) interface: String,
    pub(crate) inwards: bool,
    pub(crate) ethertype: u16,
    pub(crate) fragment: bool,
    pub(crate) mac: [u8; 6],
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) payload: Payload,
    pub(crate) tag: Option<String>,
    /// Whose socket sends it.
    pub(crate) user: Option<u32>,
}

impl Seen {
    pub(crate) fn new(interface: &str, packet: &Packet) -> Self {
        Self {
            interface: interface.to_owned(),
            inwards: true,
            ethertype: IPV4,
            fragment: false,
            mac: packet.mac,
            source: packet.source.into(),
            destination: packet.destination.into(),
            payload: packet.payload,
            tag: None,
            user: None,
        }
    }

    /// With the same in an IPv6 packet.
    pub(crate) fn six(self, source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self {
            ethertype: IPV6,
            source: source.into(),
            destination: destination.into(),
            ..self
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Kind {
    Ether { pass: bool },
    EtherAnchor(String),
    Nat,
    NatAnchor(String),
    Rdr(SocketAddrV4),
    RdrAnchor(String),
    Block { told: bool },
    Pass,
    Anchor(String),
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Place {
    Network(Cidr),
    Table(String),
    Host,
}

#[derive(Clone, Debug)]
struct Rule {
    text: String,
    kind: Kind,
    inwards: Option<bool>,
    quick: bool,
    on: Option<(bool, String)>,
    v6: Option<bool>,
    ethertype: Option<u16>,
    proto: Option<String>,
    mac: Option<[u8; 6]>,
    from: Option<(bool, Place)>,
    to: Option<(bool, Place)>,
    port: Option<u16>,
    fragment: bool,
    tag: Option<String>,
    tagged: Option<(bool, String)>,
    users: Option<(u32, u32)>,
}

impl Rule {
    fn blocks(&self) -> bool {
        matches!(self.kind, Kind::Ether { pass: false } | Kind::Block { .. })
    }

    fn is_ether(&self) -> bool {
        matches!(self.kind, Kind::Ether { .. } | Kind::EtherAnchor(_))
    }
}

/// Words of a line; punctuation stands alone.
fn words(line: &str) -> VecDeque<String> {
    let mut spaced = String::new();
    for c in line.chars() {
        match c {
            '(' | ')' | '{' | '}' | ',' => spaced.extend([' ', c, ' ']),
            '"' => {}
            _ => spaced.push(c),
        }
    }
    spaced.split_whitespace().map(str::to_owned).collect()
}

struct Reader(VecDeque<String>);

impl Reader {
    fn is(&mut self, word: &str) -> bool {
        let yes = self.0.front().is_some_and(|w| w == word);
        if yes {
            self.0.pop_front();
        }
        yes
    }

    fn next(&mut self) -> String {
        self.0.pop_front().expect("a word")
    }

    fn place(&mut self) -> Option<(bool, Place)> {
        let not = self.is("!");
        if self.is("any") {
            return None;
        }
        if self.is("(") {
            assert!(self.is("self") && self.is(")"));
            return Some((not, Place::Host));
        }
        let word = self.next();
        let table = word.strip_prefix('<').and_then(|w| w.strip_suffix('>'));
        let place = match table {
            Some(name) => Place::Table(name.to_owned()),
            None => Place::Network(word.parse().expect("a network")),
        };
        Some((not, place))
    }

    fn mac(&mut self) -> [u8; 6] {
        let word = self.next();
        let bytes: Vec<u8> = word
            .split(':')
            .map(|b| u8::from_str_radix(b, 16).expect("hex"))
            .collect();
        bytes.try_into().expect("six")
    }

    /// One rule, in the order of pf.conf(5), GRAMMAR.
    fn rule(mut self, text: &str) -> Rule {
        let ether = self.is("ether");
        let kind = match (ether, self.next().as_str()) {
            (true, "pass") => Kind::Ether { pass: true },
            (true, "block") => Kind::Ether { pass: false },
            (true, "anchor") => Kind::EtherAnchor(self.next()),
            (false, "nat") => Kind::Nat,
            (false, "nat-anchor") => Kind::NatAnchor(self.next()),
            (false, "rdr") => Kind::Rdr(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
            (false, "rdr-anchor") => Kind::RdrAnchor(self.next()),
            (false, "anchor") => Kind::Anchor(self.next()),
            (false, "pass") => Kind::Pass,
            (false, "block") => match self.next().as_str() {
                "drop" => Kind::Block { told: false },
                "return-rst" => Kind::Block { told: true },
                "return-icmp" => {
                    assert!(self.is("(") && self.is("13") && self.is(")"));
                    Kind::Block { told: true }
                }
                other => panic!("block {other}"),
            },
            (_, other) => panic!("rule {other}"),
        };
        let mut rule = Rule {
            text: text.to_owned(),
            kind,
            inwards: None,
            quick: false,
            on: None,
            v6: None,
            ethertype: None,
            proto: None,
            mac: None,
            from: None,
            to: None,
            port: None,
            fragment: false,
            tag: None,
            tagged: None,
            users: None,
        };
        if self.is("in") {
            rule.inwards = Some(true);
        } else if self.is("out") {
            rule.inwards = Some(false);
        }
        if self.is("log") {
            assert!(
                self.is("(") && self.is("to") && self.next().starts_with("pflog") && self.is(")")
            );
        }
        rule.quick = self.is("quick");
        if self.is("on") {
            rule.on = Some((self.is("!"), self.next()));
        }
        if self.is("inet") {
            rule.v6 = Some(false);
        } else if self.is("inet6") {
            rule.v6 = Some(true);
        }
        if self.is("proto") {
            let proto = self.next();
            match proto.strip_prefix("0x") {
                Some(hex) => rule.ethertype = Some(u16::from_str_radix(hex, 16).expect("hex")),
                None => rule.proto = Some(proto),
            }
        }
        if ether && self.is("l3") {
            assert!(self.is("from"));
            rule.from = self.place();
        } else if self.is("from") {
            if ether {
                rule.mac = Some(self.mac());
            } else {
                rule.from = self.place();
            }
        }
        if self.is("to") {
            rule.to = self.place();
            if self.is("port") {
                rule.port = Some(self.next().parse().expect("a port"));
            }
        }
        self.is("all");
        self.options(&mut rule);
        // pfctl takes the family from an address, for a rule that has one (pf_rule's `af`; no Ethernet rule has).
        let named = |place: &Option<(bool, Place)>| matches!(place, Some((_, Place::Network(_))));
        if !ether && (named(&rule.from) || named(&rule.to)) {
            assert_ne!(rule.v6, Some(true), "IPv4 addresses in a rule for IPv6");
            rule.v6 = Some(false);
        }
        rule
    }

    fn options(mut self, rule: &mut Rule) {
        while let Some(word) = self.0.pop_front() {
            match word.as_str() {
                "fragment" => rule.fragment = true,
                "tag" => rule.tag = Some(self.next()),
                "!" => {
                    assert!(self.is("tagged"));
                    rule.tagged = Some((true, self.next()));
                }
                "tagged" => rule.tagged = Some((false, self.next())),
                "flags" => assert!(
                    self.is("S/SA"),
                    "first segments, which is what is sent here"
                ),
                "label" | "ridentifier" => drop(self.next()),
                "user" => {
                    let user = |text: String| text.parse::<u32>().expect("a user");
                    let first = user(self.next());
                    // Between, without the two.
                    let between = self.is("><").then(|| (first + 1, user(self.next()) - 1));
                    rule.users = Some(between.unwrap_or((first, first)));
                }
                "keep" => {
                    assert!(self.is("state") && self.is("(") && self.is("if-bound"));
                    while !self.is(")") {
                        self.next();
                    }
                }
                "dnpipe" => {
                    assert!(self.is("("));
                    while !self.is(")") {
                        self.next();
                    }
                }
                "->" => self.target(rule),
                other => panic!("option {other}"),
            }
        }
    }

    fn target(&mut self, rule: &mut Rule) {
        if rule.kind == Kind::Nat {
            assert!(self.is("(") && self.is(&format!("{UPLINK}:0")) && self.is(")"));
            return;
        }
        let address = self.next().parse().expect("an address");
        assert!(self.is("port"));
        rule.kind = Kind::Rdr(SocketAddrV4::new(
            address,
            self.next().parse().expect("a port"),
        ));
    }
}

#[derive(Clone, Debug, Default)]
struct Ruleset {
    rules: Vec<Rule>,
    tables: BTreeMap<String, Vec<Cidr>>,
}

impl Ruleset {
    fn read(text: &str) -> Self {
        let mut own = Self::default();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(name) = line.strip_prefix("table <") {
                let name = name.strip_suffix("> {").expect("a table");
                let network = |line: &str| line.trim().parse().expect("a network");
                let all = lines.by_ref().take_while(|l| *l != "}").map(network);
                own.tables.insert(name.to_owned(), all.collect());
            } else if !line.starts_with("set ") {
                own.rules.push(Reader(words(line)).rule(line));
            }
        }
        own.in_order();
        own
    }

    /// pfctl refuses statements out of order (pf.conf(5), STATEMENT ORDER).
    fn in_order(&self) {
        let rank = |rule: &Rule| match rule.kind {
            Kind::Ether { .. } | Kind::EtherAnchor(_) => 0,
            Kind::Nat | Kind::NatAnchor(_) | Kind::Rdr(_) | Kind::RdrAnchor(_) => 1,
            Kind::Block { .. } | Kind::Pass | Kind::Anchor(_) => 2,
        };
        assert!(self.rules.is_sorted_by_key(rank));
    }
}

/// A host with rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    sets: BTreeMap<String, Ruleset>,
    group: String,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Layer {
    Ethernet,
    Filter,
}

impl Host {
    pub(crate) fn new(site: &Site, closed: &Ranges, sandboxes: &[Sandbox]) -> Self {
        let mut host = Self {
            group: site.group(),
            ..Self::default()
        };
        host.sets
            .insert(String::new(), Ruleset::read(warder_pf::ROOT));
        host.load(&site.instance(closed));
        for sandbox in sandboxes {
            host.load(&site.sandbox(closed, sandbox).expect("has a place"));
        }
        host
    }

    /// With nothing but what its own ruleset must contain.
    pub(crate) fn bare() -> Self {
        let mut host = Self::default();
        host.sets
            .insert(String::new(), Ruleset::read(warder_pf::ROOT));
        host
    }

    pub(crate) fn load(&mut self, load: &warder_pf::plan::Load) {
        self.sets
            .insert(load.anchor.clone(), Ruleset::read(&load.text));
    }

    /// As if the line had not been written; whether it was, once.
    pub(crate) fn lose(&mut self, line: &str) -> bool {
        self.lose_all(|rule| rule.text == line) == 1
    }

    /// As if there were no Ethernet rules; whether there were any.
    pub(crate) fn lose_ethernet(&mut self) -> bool {
        self.lose_all(Rule::is_ether) > 0
    }

    fn lose_all(&mut self, lost: impl Fn(&Rule) -> bool) -> usize {
        let count = |host: &Self| host.sets.values().map(|set| set.rules.len()).sum::<usize>();
        let before = count(self);
        for set in self.sets.values_mut() {
            set.rules.retain(|rule| !lost(rule));
        }
        before - count(self)
    }

    /// Anchors that `pattern` in the anchor `path` names.
    fn below(&self, path: &str, pattern: &str) -> Vec<&str> {
        let parent = pattern.strip_suffix("/*").expect("all below one");
        let parent = if path.is_empty() {
            format!("{parent}/")
        } else {
            format!("{path}/{parent}/")
        };
        let direct = |name: &&str| name.strip_prefix(&parent).is_some_and(|n| !n.contains('/'));
        self.sets
            .keys()
            .map(String::as_str)
            .filter(direct)
            .collect()
    }

    fn within(&self, path: &str, place: &Place, address: IpAddr) -> bool {
        match (place, address) {
            (Place::Network(network), IpAddr::V4(address)) => network.contains(address),
            // An Ethernet rule: as many leading bits are compared, whatever the family (PF_MISMATCHAW).
            (Place::Network(network), IpAddr::V6(address)) => {
                let leading = (address.to_bits() >> 96) as u32;
                network.contains(leading.into())
            }
            (Place::Host, IpAddr::V4(address)) => HOST.contains(&address),
            (Place::Host, IpAddr::V6(address)) => HOST6.contains(&address),
            // The anchor's own, then the main ruleset's; never a parent's (pfctl(8), `-a`).
            (Place::Table(name), _) => {
                let of = |path: &str| self.sets.get(path)?.tables.get(name);
                let table = of(path).or_else(|| of("")).expect("a table of that name");
                let IpAddr::V4(address) = address else {
                    return false;
                };
                table.iter().any(|network| network.contains(address))
            }
        }
    }

    fn matches(&self, path: &str, rule: &Rule, seen: &Seen) -> bool {
        let (proto, port) = match seen.payload {
            Payload::Tcp(port) => ("tcp", Some(port)),
            Payload::Udp(port) => ("udp", Some(port)),
            Payload::Other(_) => ("", None),
        };
        let whole = !seen.fragment;
        let here = |name: &String| {
            *name == seen.interface
                || ((*name == self.group || name == "warder") && seen.interface.starts_with('s'))
        };
        // A frame that carries neither family has no addresses that could differ (pf_test_eth_rule).
        let nowhere = rule.is_ether() && ![IPV4, IPV6].contains(&seen.ethertype);
        let place = |place: &Option<(bool, Place)>, address| {
            place
                .as_ref()
                .is_none_or(|(not, place)| nowhere || self.within(path, place, address) != *not)
        };
        rule.inwards.is_none_or(|inwards| inwards == seen.inwards)
            && rule
                .on
                .as_ref()
                .is_none_or(|(not, name)| here(name) != *not)
            && rule.v6.is_none_or(|v6| v6 == seen.source.is_ipv6())
            && rule.ethertype.is_none_or(|t| t == seen.ethertype)
            && rule.mac.is_none_or(|mac| mac == seen.mac)
            && rule.proto.as_ref().is_none_or(|p| p == proto)
            && place(&rule.from, seen.source)
            && place(&rule.to, seen.destination)
            && rule.port.is_none_or(|p| whole && port == Some(p))
            && (!rule.fragment || seen.fragment)
            && rule.users.is_none_or(|(a, b)| {
                port.is_some() && seen.user.is_some_and(|u| (a..=b).contains(&u))
            })
            && rule
                .tagged
                .as_ref()
                .is_none_or(|(not, tag)| (seen.tag.as_ref() == Some(tag)) != *not)
    }

    /// The last rule that matches, or the first that is quick; and whether it was that.
    fn judge(&self, layer: Layer, path: &str, seen: &mut Seen) -> (Option<&Rule>, bool) {
        let mut last = None;
        for rule in &self.sets[path].rules {
            let own = match rule.kind {
                _ if rule.is_ether() => layer == Layer::Ethernet,
                Kind::Block { .. } | Kind::Pass | Kind::Anchor(_) => layer == Layer::Filter,
                _ => false,
            };
            if !own || !self.matches(path, rule, seen) {
                continue;
            }
            let (Kind::EtherAnchor(pattern) | Kind::Anchor(pattern)) = &rule.kind else {
                seen.tag = rule.tag.clone().or(seen.tag.take());
                last = Some(rule);
                if rule.quick {
                    return (last, true);
                }
                continue;
            };
            for below in self.below(path, pattern) {
                let (inner, stop) = self.judge(layer, below, seen);
                let matched = inner.is_some();
                last = inner.or(last);
                if stop || (matched && rule.quick) {
                    return (last, true);
                }
            }
        }
        (last, false)
    }

    /// The first translation that matches.
    fn translate(&self, path: &str, seen: &mut Seen) -> Option<Kind> {
        for rule in &self.sets[path].rules {
            let own = match rule.kind {
                Kind::Rdr(_) | Kind::RdrAnchor(_) => seen.inwards,
                Kind::Nat | Kind::NatAnchor(_) => !seen.inwards,
                _ => false,
            };
            if !own || !self.matches(path, rule, seen) {
                continue;
            }
            if let Kind::RdrAnchor(pattern) | Kind::NatAnchor(pattern) = &rule.kind {
                let mut below = self.below(path, pattern).into_iter();
                if let Some(found) = below.find_map(|below| self.translate(below, seen)) {
                    return Some(found);
                }
                continue;
            }
            seen.tag = rule.tag.clone().or(seen.tag.take());
            return Some(rule.kind.clone());
        }
        None
    }

    /// The rule of a layer that stops a packet.
    fn stop(&self, layer: Layer, seen: &mut Seen) -> Option<&Rule> {
        self.judge(layer, "", seen).0.filter(|rule| rule.blocks())
    }

    /// Whether a frame gets as far as the rules for what it carries.
    pub(crate) fn takes_frame(&self, mut seen: Seen) -> bool {
        self.stop(Layer::Ethernet, &mut seen).is_none()
    }

    /// Whether a packet without a state gets in, or out.
    pub(crate) fn lets(&self, mut seen: Seen) -> bool {
        self.stop(Layer::Filter, &mut seen).is_none()
    }

    /// What becomes of a packet that comes in and, if it may, goes out by `route`.
    pub(crate) fn fate(&self, seen: Seen, route: &str) -> Fate {
        self.run(seen, route)
            .unwrap_or_else(|rule| match rule.kind {
                Kind::Block { told: true } => Fate::Refuse,
                _ => Fate::Drop,
            })
    }

    /// The line that such a packet ends at.
    pub(crate) fn stopped_by(&self, seen: Seen, route: &str) -> Option<&str> {
        let stop = self.run(seen, route).err()?;
        Some(&stop.text)
    }

    fn run(&self, mut seen: Seen, route: &str) -> Result<Fate, &Rule> {
        let stopped = |stop: Option<_>| stop.map_or(Ok(()), Err);
        stopped(self.stop(Layer::Ethernet, &mut seen))?;
        let to = match self.translate("", &mut seen) {
            Some(Kind::Rdr(to)) => Some(to),
            _ => None,
        };
        if let Some(to) = to {
            seen.destination = (*to.ip()).into();
            seen.payload = match seen.payload {
                Payload::Tcp(_) => Payload::Tcp(to.port()),
                Payload::Udp(_) => Payload::Udp(to.port()),
                other @ Payload::Other(_) => other,
            };
        }
        stopped(self.stop(Layer::Filter, &mut seen))?;
        if to.is_some() {
            return Ok(Fate::Egressd);
        }
        seen.inwards = false;
        route.clone_into(&mut seen.interface);
        if self.translate("", &mut seen) == Some(Kind::Nat) {
            seen.source = HOST[0].into();
        }
        stopped(self.stop(Layer::Filter, &mut seen))?;
        let inner = matches!(seen.source, IpAddr::V4(source) if source.octets()[0] == 10);
        assert!(!inner, "a sandbox's address goes out");
        Ok(Fate::Forward)
    }
}
