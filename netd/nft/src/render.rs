//! Desired state to transactions. Pure.
//!
//! **In the router's namespace** every packet of every flow is judged by the policy of now, in both directions:
//! there is no "established: accept" in front, so that a policy change binds live flows from its first moment.
//!
//! - *Prerouting*: a packet from a sandbox goes by its interface's name to the chain of that sandbox. What bears the
//!   sandbox's one address and one MAC gets the sandbox's mark, the rest is dropped. Then it is sorted: on to the uplink,
//!   to egressd's sockets, or refused, which is logged. The class is in the mark, and in the flow's.
//! - *Forward*: out by the uplink goes what was sorted so. What comes in by it must belong to a flow that was, and is
//!   judged by where that flow was for.
//! - *Output and input*, for egressd's sockets alone: answers of intercepted flows, and sockets that netd made and
//!   marked, to where their sandbox's policy lets them.
//!
//! What tells policies apart is in sets, keyed by sandbox, and in one set of denied ranges for each: a policy change
//! touches no chain, so that its cost does not grow with the number of sandboxes, and what counts flows and bytes
//! goes on counting.
//!
//! **In the host's namespace** nothing that comes out of the router may be for the host itself. That is decided
//! before any destination NAT (a published port of the host's is the host), by the routing table's own opinion
//! of what is local, so that addresses the host gains later are covered; and again at the input hook,
//! for what a rule of somebody else's redirected to the host.

use std::net::Ipv4Addr;

use warder_desired::{DNS, Egress, IfName, Judged, Port, QUIC, Range, Ranges, Sandbox, WEB};
use warder_wire::InstanceTag;

use crate::flow::{ASKED, DENIED, DIALLED, FORWARDED, INTERCEPTED};
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
const FROM: &str = "by_port";
const FAR: &str = "by_mark";

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

fn base(name: &str, nat: bool, hook: Hook, priority: i32, policy: Verdict) -> Step {
    Step::Chain(Chain {
        name: name.to_owned(),
        base: Some(Base {
            nat,
            hook,
            priority,
            policy,
        }),
    })
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

/// The names of what a sandbox has to itself.
struct Own {
    from: String,
    far: String,
    denied: String,
}

impl Own {
    fn of(port: &Port) -> Self {
        let name = port.name.as_str();
        Self {
            from: format!("from_{name}"),
            far: format!("far_{name}"),
            denied: format!("denied_{name}"),
        }
    }
}

/// Which of the shared sets a sandbox is in.
fn memberships(sandbox: &Sandbox) -> Vec<&'static str> {
    let Egress::Judged(judged) = &sandbox.egress else {
        return Vec::new();
    };
    let dials = judged.names || judged.proxy;
    let all = [
        (OPEN, true),
        (NAMED, judged.names),
        (PROXIED, judged.proxy),
        (DIALS, dials),
    ];
    let member = |(set, is): (&'static str, bool)| is.then_some(set);
    all.into_iter().filter_map(member).collect()
}

fn denied(sandbox: &Sandbox) -> Ranges {
    match &sandbox.egress {
        Egress::Closed => Ranges::default(),
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
    steps.extend([OPEN, NAMED, PROXIED, DIALS].map(|name| set(name, SetKind::Marks)));
    steps.extend(refusals());
    steps.extend(sorting());
    steps.extend(far_side());
    steps.push(set(FROM, SetKind::NameVerdicts));
    steps.push(set(FAR, SetKind::MarkVerdicts));
    for sandbox in sandboxes {
        steps.extend(made(sandbox));
    }
    let (from, far): (Vec<_>, Vec<_>) = sandboxes.iter().map(|s| entries(&s.port)).unzip();
    steps.extend(chunked(FROM, &from, Step::Add));
    steps.extend(chunked(FAR, &far, Step::Add));
    for name in [OPEN, NAMED, PROXIED, DIALS] {
        let members = sandboxes.iter().filter(|s| memberships(s).contains(&name));
        let members: Vec<_> = members.map(|s| Element::Mark(s.port.mark)).collect();
        steps.extend(chunked(name, &members, Step::Add));
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

/// What comes back to a sandbox, and what egressd sends on its behalf, by the flow's class.
fn far_side() -> Vec<Step> {
    let flow_to = |set: &str| Part::FlowDestinationIn(set.to_owned());
    let mut steps = [JUDGE, BACK, DIAL, DIAL_OPEN].map(chain).to_vec();
    steps.extend(rules(
        JUDGE,
        [
            vec![Part::FlowMarkIn(Is::Not, OPEN), discard()],
            vec![flow_has(INTERCEPTED), accept()],
            vec![flow_has(FORWARDED), goto(BACK)],
            vec![flow_has(DIALLED | ASKED), goto(DIAL)],
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
                Part::FlowMarkIn(Is::Equal, NAMED),
                Part::SourcePort(Transport::Udp, QUIC),
                discard(),
            ],
            vec![
                Part::FlowMarkIn(Is::Equal, PROXIED),
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
            vec![Part::FlowMarkIn(Is::Equal, DIALS), accept()],
            vec![has(DENIED), discard()],
            vec![accept()],
        ],
    ));
    steps
}

/// Where packets enter.
fn hooks(uplink: &IfName) -> Vec<Step> {
    let from = || Part::Iif(Is::Equal, uplink.clone());
    let to = || Part::Oif(Is::Equal, uplink.clone());
    let inwards = || Part::Oif(Is::Not, uplink.clone());
    let not_ipv4 = || vec![Part::NotIpv4, discard()];
    let far = || Part::FlowMarkVerdict(FAR);
    let mut steps = vec![base(
        "prerouting",
        false,
        Hook::Prerouting,
        EARLY,
        Verdict::Drop,
    )];
    steps.extend(rules(
        "prerouting",
        [not_ipv4(), vec![Part::IifVerdict(FROM)], vec![accept()]],
    ));
    steps.push(base("forward", false, Hook::Forward, FILTER, Verdict::Drop));
    steps.extend(rules(
        "forward",
        [
            not_ipv4(),
            vec![has(FORWARDED), to(), accept()],
            vec![
                from(),
                inwards(),
                Part::State(State::Known),
                flow_has(FORWARDED),
                far(),
            ],
            // A port without rules, or no longer: nothing passes, and the sockets that a dead cell left behind,
            // which keep its namespace, end with their next segment instead of minutes later.
            vec![Part::Iif(Is::Not, uplink.clone()), goto(REFUSE)],
        ],
    ));
    steps.push(base("input", false, Hook::Input, FILTER, Verdict::Drop));
    steps.extend(rules(
        "input",
        [
            not_ipv4(),
            vec![has(INTERCEPTED), accept()],
            vec![
                from(),
                Part::State(State::Known),
                flow_has(DIALLED | ASKED),
                Part::FlowMarkIn(Is::Equal, OPEN),
                accept(),
            ],
        ],
    ));
    steps.push(base("output", false, Hook::Output, FILTER, Verdict::Drop));
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
                flow_has(INTERCEPTED),
                far(),
            ],
            // The peer of a connection that is forbidden by now hears of its end.
            vec![to(), has(DIALLED | ASKED), Part::TcpReset, accept()],
            vec![
                to(),
                has(DIALLED | ASKED),
                unsorted(),
                Part::MarkFlow(Part::SANDBOX | DIALLED | ASKED),
            ],
            vec![to(), has(DIALLED | ASKED), flow_has(DIALLED | ASKED), far()],
        ],
    ));
    steps.push(base(
        "postrouting",
        true,
        Hook::Postrouting,
        SOURCE_NAT,
        Verdict::Accept,
    ));
    steps.extend(rules("postrouting", [vec![to(), Part::Masquerade]]));
    steps
}

/// A sandbox's own set and chains, to which nothing refers yet.
fn made(sandbox: &Sandbox) -> Vec<Step> {
    let own = Own::of(&sandbox.port);
    let mut steps = vec![set(&own.denied, SetKind::Ranges)];
    steps.extend(chunked(&own.denied, &ranges(&denied(sandbox)), Step::Add));
    steps.extend([chain(&own.from), chain(&own.far)]);
    steps.extend(own_rules(sandbox));
    steps
}

/// The rules of a sandbox's own chains: the same whatever its policy.
fn own_rules(sandbox: &Sandbox) -> Vec<Step> {
    let Own { from, far, denied } = Own::of(&sandbox.port);
    let Sandbox { port, bounds, .. } = sandbox;
    let too_many = |class| {
        vec![
            has(class),
            unsorted(),
            Part::OverFlows(bounds.flows),
            goto(REFUSE_MANY),
        ]
    };
    let over = |bytes: u64| Part::OverRate(bytes.min(MOST_RATE));
    let mut steps: Vec<Step> = rules(
        &from,
        [
            vec![
                Part::Source(Is::Equal, port.address),
                Part::SourceMac(port.mac),
                Part::SetMark(port.mark),
            ],
            vec![Part::Mark(Is::Equal, Part::SANDBOX), discard()],
            vec![over(bounds.upload), discard()],
            vec![Part::DestinationIn(denied.clone()), Part::AddMark(DENIED)],
            vec![Part::Verdict(Verdict::Jump(SORT))],
            // Once for each flow. Those in egressd are a count of their own.
            too_many(FORWARDED),
            too_many(INTERCEPTED),
            vec![goto(PASS)],
        ],
    )
    .collect();
    steps.extend(rules(
        &far,
        [
            vec![
                Part::Oif(Is::Equal, port.name.clone()),
                over(bounds.download),
                discard(),
            ],
            vec![Part::FlowDestinationIn(denied), Part::AddMark(DENIED)],
            vec![goto(JUDGE)],
        ],
    ));
    steps
}

/// A sandbox's elements of the two maps.
fn entries(port: &Port) -> (Element, Element) {
    let Own { from, far, .. } = Own::of(port);
    (
        Element::GotoName(port.name.clone(), from),
        Element::GotoMark(port.mark, far),
    )
}

/// A sandbox that has no rules yet gets its own.
#[must_use]
pub fn add(tag: InstanceTag, sandbox: &Sandbox) -> Transaction {
    let mut steps = made(sandbox);
    let (from, far) = entries(&sandbox.port);
    steps.push(Step::Add(FROM.to_owned(), vec![from]));
    steps.push(Step::Add(FAR.to_owned(), vec![far]));
    let mark = || vec![Element::Mark(sandbox.port.mark)];
    let member = |set: &str| Step::Add(set.to_owned(), mark());
    steps.extend(memberships(sandbox).into_iter().map(member));
    Transaction {
        table: Table(tag),
        steps,
    }
}

/// A sandbox whose rules are those of `old` gets those of `new`, at the same port.
#[must_use]
pub fn change(tag: InstanceTag, new: &Sandbox, old: &Sandbox) -> Transaction {
    let own = Own::of(&new.port);
    let mut steps = Vec::new();
    let (denied, before) = (denied(new), denied(old));
    steps.extend(chunked(&own.denied, &less(&before, &denied), Step::Remove));
    steps.extend(chunked(&own.denied, &less(&denied, &before), Step::Add));
    let mark = || vec![Element::Mark(new.port.mark)];
    let (is, was) = (memberships(new), memberships(old));
    for set in was.iter().filter(|set| !is.contains(set)) {
        steps.push(Step::Remove((*set).to_owned(), mark()));
    }
    for set in is.iter().filter(|set| !was.contains(set)) {
        steps.push(Step::Add((*set).to_owned(), mark()));
    }
    if new.bounds != old.bounds {
        steps.extend([Step::Flush(own.from), Step::Flush(own.far)]);
        steps.extend(own_rules(new));
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
    let Own { from, far, denied } = Own::of(&old.port);
    let (in_from, in_far) = entries(&old.port);
    let mut steps = vec![
        Step::Remove(FROM.to_owned(), vec![in_from]),
        Step::Remove(FAR.to_owned(), vec![in_far]),
    ];
    let mark = || vec![Element::Mark(old.port.mark)];
    let member = |set: &str| Step::Remove(set.to_owned(), mark());
    steps.extend(memberships(old).into_iter().map(member));
    steps.extend([Step::Flush(from.clone()), Step::Flush(far.clone())]);
    steps.extend([Step::DropChain(from), Step::DropChain(far)]);
    steps.push(Step::DropSet(denied));
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
            vec![Part::NotIpv4, discard()],
            vec![Part::Source(Is::Not, router), discard()],
            vec![Part::DestinationNotUnicast, discard()],
        ],
    ));
    steps.push(base(
        "prerouting",
        false,
        Hook::Prerouting,
        EARLY,
        Verdict::Accept,
    ));
    steps.extend(rules("prerouting", [vec![from(), goto("from_router")]]));
    steps.push(base("input", false, Hook::Input, FIRST, Verdict::Accept));
    steps.extend(rules("input", [vec![from(), discard()]]));
    steps.push(base(
        "forward",
        false,
        Hook::Forward,
        FIRST,
        Verdict::Accept,
    ));
    steps.extend(rules(
        "forward",
        [
            vec![from(), Part::State(State::Invalid), discard()],
            // Forwarding is on: other machines could try this host as their way in.
            vec![to(), Part::State(State::Known), accept()],
            vec![to(), discard()],
        ],
    ));
    steps.push(base(
        "postrouting",
        true,
        Hook::Postrouting,
        SOURCE_NAT,
        Verdict::Accept,
    ));
    steps.extend(rules(
        "postrouting",
        [vec![
            Part::Source(Is::Equal, router),
            Part::Oif(Is::Not, uplink.clone()),
            Part::Masquerade,
        ]],
    ));
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
