//! A small model of nftables: what a kernel would hold, and what it would do with a packet.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use warder_desired::Payload;
use warder_nft::model::{
    Base, Element, Hook, Is, Part, SetKind, State, Step, Transaction, Transport, Verdict,
};

/// A chain's hook and rules.
type Rules = (Option<Base>, Vec<Vec<Part>>);

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Kernel {
    chains: BTreeMap<String, Rules>,
    sets: BTreeMap<String, (SetKind, BTreeMap<String, Element>)>,
    table: bool,
}

/// Which way a packet comes or goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way<'a> {
    Nowhere,
    By(&'a str),
}

/// What connection tracking knows of a packet's flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tracked {
    New,
    Known,
    Invalid,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) iif: Way<'a>,
    pub(crate) oif: Way<'a>,
    pub(crate) mac: [u8; 6],
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// Whether the routing table has the destination as a unicast address elsewhere.
    pub(crate) elsewhere: bool,
    /// Ports are those of the destination.
    pub(crate) payload: Payload,
    pub(crate) source_port: u16,
    pub(crate) reset: bool,
    pub(crate) tracked: Tracked,
    /// Towards who began the flow.
    pub(crate) reply: bool,
    /// IPv4 header and all.
    pub(crate) length: u16,
    /// Where the flow's first packet was for.
    pub(crate) began_to: Ipv4Addr,
    pub(crate) mark: u32,
    pub(crate) flow_mark: u32,
    /// Flows that live already.
    pub(crate) flows: u32,
    pub(crate) logged: Option<&'static str>,
    /// It leaves with another source.
    pub(crate) masqueraded: bool,
}

impl Seen<'_> {
    /// The same in an IPv6 packet.
    pub(crate) fn six(self, source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self {
            source: source.into(),
            destination: destination.into(),
            ..self
        }
    }

    /// What rules take for an IPv4 packet's source and destination: the bytes from the twelfth on, whatever the packet
    /// is. In an IPv6 packet they are in the middle of the source.
    fn read(&self) -> [Ipv4Addr; 2] {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => [source, destination],
            (IpAddr::V6(source), _) => {
                let bytes = source.octets();
                let at = |at: usize| *bytes[at..].first_chunk::<4>().expect("within");
                [at(4).into(), at(8).into()]
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => panic!("of both families"),
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Accept,
    Drop,
    Refuse,
    Divert(u16),
}

fn sets_of(part: &Part) -> Option<&str> {
    match part {
        Part::IifIn(set)
        | Part::MarkVerdict(set)
        | Part::MarkBySource(set)
        | Part::Seldom(set)
        | Part::MarkIn(_, set)
        | Part::FlowMarkIn(_, set) => Some(set),
        Part::DestinationIn(set) | Part::FlowDestinationIn(set) => Some(set),
        _ => None,
    }
}

fn chain_of(part: &Part) -> Option<&str> {
    match part {
        Part::Verdict(Verdict::Goto(chain) | Verdict::Jump(chain)) => Some(chain),
        _ => None,
    }
}

fn target(element: &Element) -> Option<&str> {
    match element {
        Element::Jump(_, chain) => Some(chain),
        _ => None,
    }
}

fn key(element: &Element) -> String {
    match element {
        Element::Mark(mark)
        | Element::OverRate(mark, _)
        | Element::OverPackets(mark, _)
        | Element::OverFlows(mark, _)
        | Element::Jump(mark, _) => mark.to_string(),
        Element::Source(port) => format!("{} {} {:?}", port.name.as_str(), port.address, port.mac),
        Element::Name(name) => name.as_str().to_owned(),
        other => other.to_string(),
    }
}

fn overlap(a: &Element, b: &Element) -> bool {
    match (a, b) {
        (Element::Range(a), Element::Range(b)) => a.first <= b.last && b.first <= a.last,
        _ => false,
    }
}

impl Kernel {
    /// All or nothing; an error names the step that a kernel would refuse.
    pub(crate) fn apply(&mut self, transaction: &Transaction) -> Result<(), String> {
        let mut next = self.clone();
        for step in &transaction.steps {
            next.step(step).ok_or_else(|| format!("{step:?}"))?;
        }
        *self = next;
        Ok(())
    }

    fn refers(&self, found: impl Fn(&Part) -> bool) -> bool {
        self.chains
            .values()
            .flat_map(|(_, r)| r)
            .flatten()
            .any(found)
    }

    fn step(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::Table => self.table = true,
            Step::DropTable => *self = Self::default(),
            _ if !self.table => return None,
            Step::Set(set) => {
                let kind = (set.kind, BTreeMap::new());
                self.sets.entry(set.name.clone()).or_insert(kind);
            }
            Step::Empty(set) => self.sets.get_mut(set)?.1.clear(),
            Step::DropSet(name) => {
                if self.refers(|part| sets_of(part) == Some(name)) {
                    return None;
                }
                self.sets.remove(name)?;
            }
            Step::Chain(chain) => {
                let empty = (chain.base, Vec::new());
                self.chains.entry(chain.name.clone()).or_insert(empty);
            }
            Step::Flush(chain) => self.chains.get_mut(chain)?.1.clear(),
            Step::DropChain(chain) => {
                let mut elements = self.sets.values().flat_map(|(_, all)| all.values());
                let used = self.refers(|part| chain_of(part) == Some(chain))
                    || elements.any(|e| target(e) == Some(chain));
                if used || !self.chains.remove(chain)?.1.is_empty() {
                    return None;
                }
            }
            Step::Rule(chain, parts) => {
                for part in parts {
                    let set = sets_of(part).is_none_or(|set| self.sets.contains_key(set));
                    let known = chain_of(part).is_none_or(|c| self.chains.contains_key(c));
                    if !set || !known {
                        return None;
                    }
                }
                self.chains.get_mut(chain)?.1.push(parts.clone());
            }
            Step::Add(set, elements) => {
                for element in elements {
                    if !target(element).is_none_or(|c| self.chains.contains_key(c)) {
                        return None;
                    }
                    let all = &mut self.sets.get_mut(set)?.1;
                    if all.values().any(|e| e != element && overlap(e, element)) {
                        return None;
                    }
                    all.insert(key(element), element.clone());
                }
            }
            Step::Remove(set, elements) => {
                for element in elements {
                    self.sets.get_mut(set)?.1.remove(&key(element))?;
                }
            }
        }
        Some(())
    }

    /// What the chains of a hook do with a packet.
    pub(crate) fn run(&self, hook: Hook, seen: &mut Seen<'_>) -> End {
        let mut bases: Vec<_> = self
            .chains
            .iter()
            .filter_map(|(name, (base, _))| Some((base.as_ref()?, name)))
            .filter(|(base, _)| base.hook == hook && (!base.nat || seen.tracked == Tracked::New))
            .collect();
        bases.sort_by_key(|(base, _)| base.priority);
        let mut end = End::Accept;
        for (base, name) in bases {
            let policy = match base.policy {
                Verdict::Accept => End::Accept,
                _ => End::Drop,
            };
            match self.walk(name, seen).unwrap_or(policy) {
                End::Accept => {}
                End::Divert(port) => end = End::Divert(port),
                stop => return stop,
            }
        }
        end
    }

    /// `None`: its end was reached without a verdict.
    fn walk(&self, chain: &str, seen: &mut Seen<'_>) -> Option<End> {
        'rules: for rule in &self.chains[chain].1 {
            let mut divert = None;
            for part in rule {
                match part {
                    Part::Verdict(Verdict::Accept) => {
                        return Some(divert.map_or(End::Accept, End::Divert));
                    }
                    Part::Verdict(Verdict::Drop) => return Some(End::Drop),
                    Part::Verdict(Verdict::Return) => return None,
                    Part::Verdict(Verdict::Goto(to)) => return self.walk(to, seen),
                    Part::Verdict(Verdict::Jump(to)) => {
                        if let Some(end) = self.walk(to, seen) {
                            return Some(end);
                        }
                    }
                    Part::Reset | Part::Prohibited => return Some(End::Refuse),
                    Part::MarkVerdict(map) => {
                        let mark = (seen.mark & Part::SANDBOX).to_string();
                        match self.sets[*map].1.get(&mark).and_then(target) {
                            Some(to) => {
                                if let Some(end) = self.walk(to, seen) {
                                    return Some(end);
                                }
                            }
                            None => continue 'rules,
                        }
                    }
                    Part::MarkBySource(map) => {
                        let of = |element: &Element| match element {
                            Element::Source(port)
                                if seen.iif == Way::By(port.name.as_str())
                                    && seen.read()[0] == port.address
                                    && seen.mac == port.mac =>
                            {
                                Some(port.mark)
                            }
                            _ => None,
                        };
                        match self.sets[*map].1.values().find_map(of) {
                            Some(mark) => seen.mark = mark,
                            None => continue 'rules,
                        }
                    }
                    Part::MarkByFlow(bits) => seen.mark = seen.flow_mark | bits,
                    // Of another family it is no match (nft_tproxy_eval).
                    Part::Divert(_) if seen.source.is_ipv6() => continue 'rules,
                    Part::Divert(port) => divert = Some(*port),
                    Part::SetMark(mark) => seen.mark = *mark,
                    Part::AddMark(bits) => seen.mark |= bits,
                    Part::MarkFlow(bits) => seen.flow_mark = seen.mark & bits,
                    Part::Log(word) => seen.logged = Some(word),
                    Part::Masquerade => seen.masqueraded = true,
                    Part::Seldom(_) => {}
                    matching => {
                        if !self.matches(matching, seen) {
                            continue 'rules;
                        }
                    }
                }
            }
        }
        None
    }

    fn has(&self, set: &str, address: Ipv4Addr) -> bool {
        self.sets[set].1.values().any(|element| match element {
            Element::Range(range) => (range.first..=range.last).contains(&address),
            Element::Address(own) => *own == address,
            _ => false,
        })
    }

    /// Whether a set has the mark, and what is said of it there is so.
    fn has_mark(&self, is: Is, set: &str, mark: u32, flows: u32) -> bool {
        let element = self.sets[set].1.get(&(mark & Part::SANDBOX).to_string());
        let found = match element {
            Some(Element::Mark(_)) => true,
            Some(Element::OverFlows(_, most)) => flows >= *most,
            _ => false,
        };
        (is == Is::Equal) == found
    }

    fn matches(&self, part: &Part, seen: &Seen<'_>) -> bool {
        let way = |is: &Is, name: &str, way: Way<'_>| (*is == Is::Equal) == (way == Way::By(name));
        let zero = |is: &Is, value: u32| (*is == Is::Equal) == (value == 0);
        let transport = |wanted: Transport| match (wanted, seen.payload) {
            (Transport::Tcp, Payload::Tcp(port)) | (Transport::Udp, Payload::Udp(port)) => {
                Some(port)
            }
            _ => None,
        };
        match part {
            Part::Ipv4(is) => (*is == Is::Equal) == seen.source.is_ipv4(),
            Part::Iif(is, name) => way(is, name.as_str(), seen.iif),
            Part::Oif(is, name) => way(is, name.as_str(), seen.oif),
            Part::Source(is, address) => (*is == Is::Equal) == (seen.read()[0] == *address),
            Part::IifIn(set) => match seen.iif {
                Way::By(name) => self.sets[*set].1.contains_key(name),
                Way::Nowhere => false,
            },
            Part::DestinationIn(set) => self.has(set, seen.read()[1]),
            // That of an IPv6 flow is no match (nft_ct_get_eval).
            Part::FlowDestinationIn(set) => seen.source.is_ipv4() && self.has(set, seen.began_to),
            Part::DestinationNotUnicast => !seen.elsewhere,
            Part::Transport(wanted) => transport(*wanted).is_some(),
            Part::Icmp => seen.payload == Payload::Other(1),
            Part::SourcePort(wanted, port) => {
                transport(*wanted).is_some() && seen.source_port == *port
            }
            Part::DestinationPort(is, wanted, port) => {
                transport(*wanted).is_some_and(|to| (*is == Is::Equal) == (to == *port))
            }
            Part::Longer(bytes) => seen.length > *bytes,
            Part::TcpNotSyn => transport(Transport::Tcp).is_some() && seen.tracked != Tracked::New,
            Part::TcpReset => transport(Transport::Tcp).is_some() && seen.reset,
            Part::State(State::Invalid) => seen.tracked == Tracked::Invalid,
            Part::State(State::Known) => seen.tracked == Tracked::Known,
            Part::Reply => seen.reply,
            Part::Mark(is, bits) => zero(is, seen.mark & bits),
            Part::MarkIn(is, set) => self.has_mark(*is, set, seen.mark, seen.flows),
            Part::FlowMark(is, bits) => zero(is, seen.flow_mark & bits),
            Part::FlowMarkIn(is, set) => self.has_mark(*is, set, seen.flow_mark, seen.flows),
            other => panic!("no match: {other}"),
        }
    }
}
