//! Desired state to transactions. Pure.
//!
//! **In the router's namespace** every packet of every flow is judged by the policy of now, in both directions:
//! there is no "established: accept" in front, so that a policy change binds live flows from its first moment.
//!
//! - *Prerouting*: what comes in by a sandbox's port and bears the sandbox's one address and one MAC gets the sandbox's
//!   mark, the rest is dropped. Then it is sorted: on to the uplink, to egressd's sockets, or refused, which is logged.
//!   The class is in the mark, and in the flow's.
//! - *Forward*: out by the uplink goes what was sorted so. What comes in by it must belong to a flow that was.
//! - *Input and output*, for egressd's sockets alone: intercepted flows and their answers; sockets that netd made and
//!   marked.
//! - *Postrouting*: what goes to a sandbox is judged by where its flow was for, and what egressd sends by where it goes.
//!
//! What tells sandboxes and policies apart is in sets, keyed by mark, and in one set of denied ranges for each: a policy
//! change touches no chain, so that its cost does not grow with the number of sandboxes, and what counts flows and
//! bytes goes on counting. A new sandbox brings one short chain: the kernel walks all of them each time.
//!
//! **In the host's namespace** nothing that comes out of the router may be for the host itself. That is decided
//! before any destination NAT (a published port of the host's is the host), by the routing table's own opinion
//! of what is local, so that addresses the host gains later are covered; and again at the input hook,
//! for what a rule of somebody else's redirected to the host.

use std::net::Ipv4Addr;

use warder_desired::{DNS, Egress, IfName, Judged, Port, QUIC, Range, Ranges, Sandbox, WEB};
use warder_wire::{Cidr, InstanceTag};

use crate::flow::{ASKED, BACKWARD, DENIED, DIALLED, FORWARDED, INTERCEPTED};
use crate::model::{
    Base, Chain, Element, Hook, Is, Part, Set, SetKind, State, Step, Table, Transaction, Transport,
    Verdict,
};

/// Port of egressd's TCP listener in the router's namespace.
pub const LISTEN_TCP: u16 = 15_001;
/// Port of its UDP socket: answers come from the port that was asked.
pub const LISTEN_UDP: u16 = DNS;
/// Group of the log of refused packets.
pub const LOG_GROUP: u16 = Part::LOG_GROUP;
/// What the log says of a packet whose destination is denied.
pub const LOG_ADDRESS: &str = "address";
/// What it says of QUIC while names are in use.
pub const LOG_QUIC: &str = "quic";
/// What it says of a flow beyond the sandbox's number of flows.
pub const LOG_TOO_MANY: &str = "toomany";

/// Elements in one step, so that its message stays below netlink's 64 KiB for one list.
const CHUNK: usize = 400;
/// Behind connection tracking (-200), before destination NAT (-100).
const EARLY: i32 = -150;
const FIRST: i32 = -10;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;
/// Datagrams to egressd from one sandbox in a second, and bytes of each: the largest message that egressd takes with
/// the longest headers. The buffer that they wait in is everybody's.
const MOST_QUERIES: u32 = 1000;
const LONGEST_QUERY: u16 = 4096 + 8 + 60;
/// More than any link has, in bytes a second; what the kernel multiplies it with still fits.
const MOST_RATE: u64 = 10_000_000_000;

const CLOSED_SET: &str = "closed";
const RESOLVERS: &str = "resolvers";
const RATES: &str = "refusals";
/// Sandboxes that are not closed.
const OPEN: &str = "open";
/// Those with names, with a proxy, with either.
const NAMED: &str = "named";
const PROXIED: &str = "proxied";
const DIALS: &str = "dials";
/// Ports; and their names, addresses and MACs with their marks.
const PORTS: &str = "ports";
const SOURCES: &str = "sources";
/// Sandboxes while they send, or receive, too fast; while they have too many flows by the uplink, or in egressd.
const UPLOADS: &str = "uploads";
const DOWNLOADS: &str = "downloads";
const FLOWS: &str = "flows";
const EGRESSD_FLOWS: &str = "egressd_flows";
/// Sandboxes while they ask too often for the one socket that is everybody's.
const QUERIES: &str = "queries";
/// Sandboxes with their lists.
const LISTS: &str = "lists";

const SORT: &str = "sort";
const PASS: &str = "pass";
const BACK: &str = "back";
const DIAL: &str = "dial";
const DIAL_OPEN: &str = "dial_open";
const JUDGE: &str = "judge";
const REFUSE: &str = "refuse";
const REFUSE_ADDRESS: &str = "refuse_address";
const REFUSE_QUIC: &str = "refuse_quic";
const REFUSE_MANY: &str = "refuse_many";

fn accept() -> Part {
    Part::Verdict(Verdict::Accept)
}

fn discard() -> Part {
    Part::Verdict(Verdict::Drop)
}

fn back() -> Part {
    Part::Verdict(Verdict::Return)
}

fn goto(chain: &'static str) -> Part {
    Part::Verdict(Verdict::Goto(chain))
}

fn has(bits: u32) -> Part {
    Part::Mark(Is::Not, bits)
}

fn flow_has(bits: u32) -> Part {
    Part::FlowMark(Is::Not, bits)
}

/// Of a flow that was not sorted yet.
fn unsorted() -> Part {
    Part::FlowMark(Is::Equal, u32::MAX)
}

fn to_port(transport: Transport, port: u16) -> Part {
    Part::DestinationPort(Is::Equal, transport, port)
}

fn to_closed() -> Part {
    Part::DestinationIn(CLOSED_SET.to_owned())
}

/// A chain of filters that packets enter.
fn base(name: &str, hook: Hook, priority: i32, policy: Verdict) -> Step {
    let base = Base {
        nat: false,
        hook,
        priority,
        policy,
    };
    Step::Chain(Chain {
        name: name.to_owned(),
        base: Some(base),
    })
}

/// The chain in which what matches `parts` gets the address of the interface it leaves by.
fn masqueraded(mut parts: Vec<Part>) -> [Step; 2] {
    let name = "postrouting".to_owned();
    let base = Some(Base {
        nat: true,
        hook: Hook::Postrouting,
        priority: SOURCE_NAT,
        policy: Verdict::Accept,
    });
    parts.push(Part::Masquerade);
    let chain = Chain {
        name: name.clone(),
        base,
    };
    [Step::Chain(chain), Step::Rule(name, parts)]
}

fn chain(name: impl Into<String>) -> Step {
    Step::Chain(Chain {
        name: name.into(),
        base: None,
    })
}

/// Rules of one chain, in order.
fn rules<const N: usize>(chain: &str, rules: [Vec<Part>; N]) -> impl Iterator<Item = Step> {
    let chain = chain.to_owned();
    let step = move |parts| Step::Rule(chain.clone(), parts);
    rules.into_iter().map(step)
}

fn set(name: impl Into<String>, kind: SetKind) -> Step {
    let name = name.into();
    Step::Set(Set { name, kind })
}

/// As many steps as the elements need; none for none.
fn chunked(set: &str, elements: &[Element], step: fn(String, Vec<Element>) -> Step) -> Vec<Step> {
    let some = |some: &[Element]| step(set.to_owned(), some.to_vec());
    elements.chunks(CHUNK).map(some).collect()
}

fn ranges(ranges: &Ranges) -> Vec<Element> {
    let element = |range: &Range| Element::Range(*range);
    ranges.as_slice().iter().map(element).collect()
}

/// Name of a sandbox's set of denied ranges, and of the chain that consults it.
fn list_of(port: &Port) -> String {
    format!("denied_{}", port.name.as_str())
}

/// The shared sets, but those that are the same for all.
const SHARED: [(&str, SetKind); 12] = [
    (OPEN, SetKind::Marks),
    (NAMED, SetKind::Marks),
    (PROXIED, SetKind::Marks),
    (DIALS, SetKind::Marks),
    (UPLOADS, SetKind::Marks),
    (DOWNLOADS, SetKind::Marks),
    (FLOWS, SetKind::Marks),
    (EGRESSD_FLOWS, SetKind::Marks),
    (QUERIES, SetKind::Marks),
    (PORTS, SetKind::Names),
    (SOURCES, SetKind::Sources),
    (LISTS, SetKind::Verdicts),
];

/// What a sandbox has in a shared set.
fn entry(set: &str, sandbox: &Sandbox) -> Option<Element> {
    let Sandbox {
        port,
        egress,
        bounds,
    } = sandbox;
    let mark = port.mark;
    let judged = match egress {
        Egress::Closed => None,
        Egress::Judged(judged) => Some(judged),
    };
    let among = |is: fn(&Judged) -> bool| judged.is_some_and(is).then_some(Element::Mark(mark));
    let over = |bytes: u64| Some(Element::OverRate(mark, bytes.min(MOST_RATE)));
    match set {
        OPEN => among(|_| true),
        NAMED => among(|judged| judged.names),
        PROXIED => among(|judged| judged.proxy),
        DIALS => among(|judged| judged.names || judged.proxy),
        UPLOADS => over(bounds.upload),
        DOWNLOADS => over(bounds.download),
        // Those in egressd are a count of their own.
        FLOWS | EGRESSD_FLOWS => Some(Element::OverFlows(mark, bounds.flows)),
        QUERIES => Some(Element::OverPackets(mark, MOST_QUERIES)),
        PORTS => Some(Element::Name(port.name.clone())),
        SOURCES => Some(Element::Source(port.clone())),
        LISTS => Some(Element::Jump(mark, list_of(port))),
        _ => None,
    }
}

fn denied(sandbox: &Sandbox) -> Ranges {
    match &sandbox.egress {
        // A packet that meets the set of before and the flag of after must find nothing open.
        Egress::Closed => [Cidr::ALL.into()].into_iter().collect::<Ranges>(),
        Egress::Judged(Judged { denied, .. }) => denied.clone(),
    }
}

/// The router's whole table, in place of whatever table of that name is there. `closed` are the ranges closed to
/// all, `resolvers` the operator's DNS servers, wherever they are.
#[must_use]
pub fn router(
    tag: InstanceTag,
    uplink: &IfName,
    closed: &Ranges,
    resolvers: &[Ipv4Addr],
    sandboxes: &[Sandbox],
) -> Transaction {
    let mut steps = vec![Step::Table, Step::DropTable, Step::Table];
    steps.push(set(CLOSED_SET, SetKind::Ranges));
    steps.extend(chunked(CLOSED_SET, &ranges(closed), Step::Add));
    steps.push(set(RESOLVERS, SetKind::Addresses));
    let addresses: Vec<_> = resolvers.iter().copied().map(Element::Address).collect();
    steps.extend(chunked(RESOLVERS, &addresses, Step::Add));
    steps.push(set(RATES, SetKind::Rates));
    steps.extend(SHARED.map(|(name, kind)| set(name, kind)));
    steps.extend(refusals());
    steps.extend(sorting());
    steps.extend(judging());
    for sandbox in sandboxes {
        steps.extend(listed(sandbox));
    }
    for (name, _) in SHARED {
        let entries: Vec<_> = sandboxes.iter().filter_map(|s| entry(name, s)).collect();
        steps.extend(chunked(name, &entries, Step::Add));
    }
    steps.extend(hooks(uplink));
    Transaction {
        table: Table(tag),
        steps,
    }
}

/// Ways to refuse.
fn refusals() -> Vec<Step> {
    let mut steps = vec![chain(REFUSE)];
    steps.extend(rules(
        REFUSE,
        [vec![Part::TcpNotSyn, Part::Reset], vec![Part::Prohibited]],
    ));
    for (name, word) in [
        (REFUSE_ADDRESS, LOG_ADDRESS),
        (REFUSE_QUIC, LOG_QUIC),
        (REFUSE_MANY, LOG_TOO_MANY),
    ] {
        steps.push(chain(name));
        steps.extend(rules(
            name,
            [
                vec![Part::Seldom(RATES), Part::Log(word)],
                vec![goto(REFUSE)],
            ],
        ));
    }
    steps
}

/// What a sandbox sends, once it bears its mark.
fn sorting() -> Vec<Step> {
    let intercept = || Part::AddMark(INTERCEPTED);
    let mut steps = vec![chain(SORT), chain(PASS)];
    steps.extend(rules(
        SORT,
        [
            vec![Part::MarkIn(Is::Not, OPEN), goto(REFUSE_ADDRESS)],
            // What egressd has already is egressd's to end.
            vec![flow_has(INTERCEPTED), intercept(), back()],
            vec![Part::State(State::Invalid), goto(REFUSE)],
            vec![to_port(Transport::Udp, DNS), intercept(), back()],
            vec![to_port(Transport::Tcp, DNS), intercept(), back()],
            vec![to_closed(), Part::AddMark(DENIED)],
            vec![
                has(DENIED),
                to_port(Transport::Tcp, WEB[0]),
                intercept(),
                back(),
            ],
            vec![
                has(DENIED),
                to_port(Transport::Tcp, WEB[1]),
                intercept(),
                back(),
            ],
            vec![
                Part::MarkIn(Is::Equal, NAMED),
                to_port(Transport::Udp, QUIC),
                goto(REFUSE_QUIC),
            ],
            vec![has(DENIED), goto(REFUSE_ADDRESS)],
            vec![
                Part::MarkIn(Is::Equal, PROXIED),
                Part::Transport(Transport::Tcp),
                intercept(),
                back(),
            ],
            vec![Part::AddMark(FORWARDED)],
        ],
    ));
    steps.extend(rules(
        PASS,
        [
            // A flow that went out by the uplink cannot go on in egressd.
            vec![has(INTERCEPTED), flow_has(FORWARDED), goto(REFUSE)],
            vec![
                unsorted(),
                Part::MarkFlow(Part::SANDBOX | FORWARDED | INTERCEPTED),
            ],
            vec![has(FORWARDED), accept()],
            vec![
                Part::Transport(Transport::Tcp),
                Part::Divert(LISTEN_TCP),
                accept(),
            ],
            vec![Part::MarkIn(Is::Equal, QUERIES), discard()],
            vec![Part::Longer(LONGEST_QUERY), discard()],
            vec![
                Part::Transport(Transport::Udp),
                Part::Divert(LISTEN_UDP),
                accept(),
            ],
            // Nobody listens.
            vec![discard()],
        ],
    ));
    steps
}

/// What goes to a sandbox, and what egressd sends on its behalf, by the flow's class.
fn judging() -> Vec<Step> {
    let flow_to = |set: &str| Part::FlowDestinationIn(set.to_owned());
    let mut steps = [JUDGE, BACK, DIAL, DIAL_OPEN].map(chain).to_vec();
    steps.extend(rules(
        JUDGE,
        [
            vec![Part::MarkIn(Is::Not, OPEN), discard()],
            vec![has(INTERCEPTED), accept()],
            vec![has(FORWARDED), goto(BACK)],
            vec![has(DIALLED | ASKED), goto(DIAL)],
            vec![discard()],
        ],
    ));
    // As the packets of the same flow are judged on their way out.
    steps.extend(rules(
        BACK,
        [
            vec![flow_to(CLOSED_SET), discard()],
            vec![has(DENIED), discard()],
            vec![
                Part::MarkIn(Is::Equal, NAMED),
                Part::SourcePort(Transport::Udp, QUIC),
                discard(),
            ],
            vec![
                Part::MarkIn(Is::Equal, PROXIED),
                Part::Transport(Transport::Tcp),
                discard(),
            ],
            vec![accept()],
        ],
    ));
    // A datagram can be given another address than its socket's: each is judged.
    let elsewhere = |transport| {
        vec![
            has(ASKED),
            Part::DestinationPort(Is::Not, transport, DNS),
            discard(),
        ]
    };
    steps.extend(rules(
        DIAL,
        [
            elsewhere(Transport::Udp),
            elsewhere(Transport::Tcp),
            vec![
                has(ASKED),
                Part::DestinationIn(RESOLVERS.to_owned()),
                goto(DIAL_OPEN),
            ],
            vec![to_closed(), discard()],
            vec![goto(DIAL_OPEN)],
        ],
    ));
    steps.extend(rules(
        DIAL_OPEN,
        [
            vec![Part::MarkIn(Is::Equal, DIALS), accept()],
            vec![has(DENIED), discard()],
            vec![accept()],
        ],
    ));
    steps
}

/// Where packets enter.
fn hooks(uplink: &IfName) -> Vec<Step> {
    let mut steps = arrival(uplink);
    steps.extend(passage(uplink));
    steps.extend(own_sockets(uplink));
    steps.extend(departure(uplink));
    steps
}

fn not_ipv4() -> Vec<Part> {
    vec![Part::Ipv4(Is::Not), discard()]
}

fn arrival(uplink: &IfName) -> Vec<Step> {
    let unmarked = || Part::Mark(Is::Equal, u32::MAX);
    let too_many = |class, set| {
        let over = Part::MarkIn(Is::Equal, set);
        vec![has(class), unsorted(), over, goto(REFUSE_MANY)]
    };
    let mut steps = vec![base("prerouting", Hook::Prerouting, EARLY, Verdict::Drop)];
    steps.extend(rules(
        "prerouting",
        [
            not_ipv4(),
            vec![Part::Iif(Is::Equal, uplink.clone()), accept()],
            vec![Part::SetMark(0)],
            vec![Part::MarkBySource(SOURCES)],
            vec![unmarked(), Part::IifIn(PORTS), discard()],
            // A port without rules, or no longer.
            vec![unmarked(), accept()],
            vec![Part::MarkIn(Is::Equal, UPLOADS), discard()],
            vec![Part::MarkVerdict(LISTS)],
            vec![Part::Verdict(Verdict::Jump(SORT))],
            // Once for each flow.
            too_many(FORWARDED, FLOWS),
            too_many(INTERCEPTED, EGRESSD_FLOWS),
            vec![goto(PASS)],
        ],
    ));
    steps
}

fn passage(uplink: &IfName) -> Vec<Step> {
    let mut steps = vec![base("forward", Hook::Forward, FILTER, Verdict::Drop)];
    steps.extend(rules(
        "forward",
        [
            not_ipv4(),
            vec![
                has(FORWARDED),
                Part::Oif(Is::Equal, uplink.clone()),
                accept(),
            ],
            vec![
                Part::Iif(Is::Equal, uplink.clone()),
                Part::Oif(Is::Not, uplink.clone()),
                Part::State(State::Known),
                flow_has(FORWARDED),
                Part::MarkByFlow(BACKWARD),
                accept(),
            ],
            // A port without rules: nothing passes, and the sockets that a dead cell left behind, which keep its
            // namespace, end with their next segment instead of minutes later.
            vec![Part::Iif(Is::Not, uplink.clone()), goto(REFUSE)],
        ],
    ));
    steps
}

fn own_sockets(uplink: &IfName) -> Vec<Step> {
    let to = || Part::Oif(Is::Equal, uplink.clone());
    let inwards = || Part::Oif(Is::Not, uplink.clone());
    let by_egressd = || has(DIALLED | ASKED);
    let mut steps = vec![base("input", Hook::Input, FILTER, Verdict::Drop)];
    steps.extend(rules(
        "input",
        [
            not_ipv4(),
            vec![has(INTERCEPTED), accept()],
            vec![
                Part::Iif(Is::Equal, uplink.clone()),
                Part::State(State::Known),
                flow_has(DIALLED | ASKED),
                Part::FlowMarkIn(Is::Equal, OPEN),
                accept(),
            ],
        ],
    ));
    steps.push(base("output", Hook::Output, FILTER, Verdict::Drop));
    steps.extend(rules(
        "output",
        [
            not_ipv4(),
            // The kernel's own refusals, and the end of an intercepted connection.
            vec![inwards(), Part::Icmp, accept()],
            vec![inwards(), Part::TcpReset, accept()],
            vec![
                inwards(),
                Part::State(State::Known),
                // egressd can name any source, a sandbox's too.
                Part::Reply,
                flow_has(INTERCEPTED),
                Part::MarkByFlow(BACKWARD),
                accept(),
            ],
            // The peer of a connection that is forbidden by now hears of its end.
            vec![
                to(),
                by_egressd(),
                Part::TcpReset,
                Part::SetMark(0),
                accept(),
            ],
            vec![
                to(),
                by_egressd(),
                unsorted(),
                Part::MarkFlow(Part::SANDBOX | DIALLED | ASKED),
            ],
            vec![to(), by_egressd(), flow_has(DIALLED | ASKED), accept()],
        ],
    ));
    steps
}

fn departure(uplink: &IfName) -> Vec<Step> {
    let judged = || BACKWARD | DIALLED | ASKED;
    let mut steps = vec![base("leaving", Hook::Postrouting, FILTER, Verdict::Drop)];
    steps.extend(rules(
        "leaving",
        [
            vec![Part::Mark(Is::Equal, judged()), accept()],
            vec![has(BACKWARD), Part::MarkIn(Is::Equal, DOWNLOADS), discard()],
            vec![Part::MarkVerdict(LISTS)],
            vec![goto(JUDGE)],
        ],
    ));
    steps.extend(masqueraded(vec![Part::Oif(Is::Equal, uplink.clone())]));
    steps
}

/// A sandbox's own set, and the chain that consults it, to which nothing refers yet. A flow's way back is judged by
/// where it was for: what comes on it has the sandbox as its destination, and routers on the way as sources.
fn listed(sandbox: &Sandbox) -> Vec<Step> {
    let list = list_of(&sandbox.port);
    let mut steps = vec![set(&list, SetKind::Ranges)];
    steps.extend(chunked(&list, &ranges(&denied(sandbox)), Step::Add));
    steps.push(chain(&list));
    steps.extend(rules(
        &list,
        [
            vec![
                Part::Mark(Is::Equal, BACKWARD),
                Part::DestinationIn(list.clone()),
                Part::AddMark(DENIED),
            ],
            vec![
                has(BACKWARD),
                Part::FlowDestinationIn(list.clone()),
                Part::AddMark(DENIED),
            ],
        ],
    ));
    steps
}

/// A sandbox that has no rules yet gets its own.
#[must_use]
pub fn add(tag: InstanceTag, sandbox: &Sandbox) -> Transaction {
    let mut steps = listed(sandbox);
    for (name, _) in SHARED {
        let entry = entry(name, sandbox).into_iter();
        steps.extend(entry.map(|entry| Step::Add(name.to_owned(), vec![entry])));
    }
    Transaction {
        table: Table(tag),
        steps,
    }
}

/// A sandbox whose rules are those of `old` gets those of `new`, at the same port.
#[must_use]
pub fn change(tag: InstanceTag, new: &Sandbox, old: &Sandbox) -> Transaction {
    let mut steps = Vec::new();
    let (list, is, was) = (list_of(&new.port), denied(new), denied(old));
    let (gone, come) = (less(&was, &is), less(&is, &was));
    // A list of thousands goes much faster as a whole, and the last forbidden packet waits for that.
    if !gone.is_empty() && gone.len() == was.as_slice().len() {
        steps.push(Step::Empty(list.clone()));
    } else {
        steps.extend(chunked(&list, &gone, Step::Remove));
    }
    steps.extend(chunked(&list, &come, Step::Add));
    for (name, _) in SHARED {
        let (is, was) = (entry(name, new), entry(name, old));
        if is != was {
            let step =
                |step: fn(String, Vec<Element>) -> Step| move |e| step(name.to_owned(), vec![e]);
            steps.extend(was.map(step(Step::Remove)));
            steps.extend(is.map(step(Step::Add)));
        }
    }
    Transaction {
        table: Table(tag),
        steps,
    }
}

/// The ranges of `all` that are not, just so, among `others`.
fn less(all: &Ranges, others: &Ranges) -> Vec<Element> {
    let others = others.as_slice();
    let other = |range: &&Range| {
        let at = others.binary_search_by_key(&range.first, |other| other.first);
        !at.is_ok_and(|at| others[at] == **range)
    };
    let left = all.as_slice().iter().filter(other);
    left.map(|range| Element::Range(*range)).collect()
}

/// A sandbox's rules go; what its interface still sends then is refused.
#[must_use]
pub fn remove(tag: InstanceTag, old: &Sandbox) -> Transaction {
    let mut steps = Vec::new();
    for (name, _) in SHARED {
        let entry = entry(name, old).into_iter();
        steps.extend(entry.map(|entry| Step::Remove(name.to_owned(), vec![entry])));
    }
    let list = list_of(&old.port);
    steps.push(Step::Flush(list.clone()));
    steps.push(Step::DropChain(list.clone()));
    steps.push(Step::DropSet(list));
    Transaction {
        table: Table(tag),
        steps,
    }
}

/// The host's table: what may come out of the router, and the one masquerade rule.
#[must_use]
pub fn host(tag: InstanceTag, uplink: &IfName, router: Ipv4Addr) -> Transaction {
    let from = || Part::Iif(Is::Equal, uplink.clone());
    let to = || Part::Oif(Is::Equal, uplink.clone());
    let mut steps = vec![Step::Table, Step::DropTable, Step::Table];
    steps.push(chain("from_router"));
    steps.extend(rules(
        "from_router",
        [
            vec![Part::Ipv4(Is::Not), discard()],
            vec![Part::Source(Is::Not, router), discard()],
            vec![Part::DestinationNotUnicast, discard()],
        ],
    ));
    steps.push(base("prerouting", Hook::Prerouting, EARLY, Verdict::Accept));
    steps.extend(rules("prerouting", [vec![from(), goto("from_router")]]));
    steps.push(base("input", Hook::Input, FIRST, Verdict::Accept));
    steps.extend(rules("input", [vec![from(), discard()]]));
    steps.push(base("forward", Hook::Forward, FIRST, Verdict::Accept));
    steps.extend(rules(
        "forward",
        [
            vec![from(), Part::State(State::Invalid), discard()],
            // Forwarding is on: other machines could try this host as their way in.
            vec![to(), Part::State(State::Known), accept()],
            vec![to(), discard()],
        ],
    ));
    // An address is compared where IPv4 has it: in other packets something else is there.
    steps.extend(masqueraded(vec![
        Part::Ipv4(Is::Equal),
        Part::Source(Is::Equal, router),
        Part::Oif(Is::Not, uplink.clone()),
    ]));
    Transaction {
        table: Table(tag),
        steps,
    }
}

/// The table goes, whether it is there or not.
#[must_use]
pub fn gone(tag: InstanceTag) -> Transaction {
    Transaction {
        table: Table(tag),
        steps: vec![Step::Table, Step::DropTable],
    }
}
