//! Desired state to transactions. Pure.
//!
//! **In the router's namespace** a packet from a sandbox goes by its interface's name to the chain of that
//! sandbox, which first holds it to its one source address and then sends it on to `open` or `closed`.
//! There is no "established: accept" in front: every packet of every flow is judged by the policy of now, so
//! a policy change binds live flows from its first moment. What is not from a sandbox must come in by the
//! uplink, leave to an interface in the set `open`, and belong to a flow that began inside.
//!
//! **In the host's namespace** nothing that comes out of the router may be for the host itself. That is decided
//! before any destination NAT (a published port of the host's is the host), by the routing table's own opinion
//! of what is local, so that addresses the host gains later are covered; and again at the input hook,
//! for what a rule of somebody else's redirected to the host.

use std::net::Ipv4Addr;

use warder_wire::InstanceTag;

use crate::model::{
    Base, Chain, Element, Flow, Hook, IfName, Is, Part, Set, SetKind, Step, Table, Transaction,
    Verdict,
};

/// Ranges no policy opens, first and last address: everything private, local, reserved, for benchmarks (the
/// uplinks of all instances lie there), multicast, broadcast. Rising, neither touching nor overlapping.
pub const DENIED: [(Ipv4Addr, Ipv4Addr); 10] = [
    (Ipv4Addr::new(0, 0, 0, 0), Ipv4Addr::new(0, 255, 255, 255)),
    (Ipv4Addr::new(10, 0, 0, 0), Ipv4Addr::new(10, 255, 255, 255)),
    (
        Ipv4Addr::new(100, 64, 0, 0),
        Ipv4Addr::new(100, 127, 255, 255),
    ),
    (
        Ipv4Addr::new(127, 0, 0, 0),
        Ipv4Addr::new(127, 255, 255, 255),
    ),
    (
        Ipv4Addr::new(169, 254, 0, 0),
        Ipv4Addr::new(169, 254, 255, 255),
    ),
    (
        Ipv4Addr::new(172, 16, 0, 0),
        Ipv4Addr::new(172, 31, 255, 255),
    ),
    (Ipv4Addr::new(192, 0, 0, 0), Ipv4Addr::new(192, 0, 0, 255)),
    (
        Ipv4Addr::new(192, 168, 0, 0),
        Ipv4Addr::new(192, 168, 255, 255),
    ),
    (
        Ipv4Addr::new(198, 18, 0, 0),
        Ipv4Addr::new(198, 19, 255, 255),
    ),
    (
        Ipv4Addr::new(224, 0, 0, 0),
        Ipv4Addr::new(255, 255, 255, 255),
    ),
];

/// Elements in one step, so that its message stays below netlink's 64 KiB for one list.
const CHUNK: usize = 400;
/// Just before the usual filters, and before destination NAT (-100).
const EARLY: i32 = -150;
const FIRST: i32 = -10;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

const DENIED_SET: &str = "denied";
const OPEN_SET: &str = "open_ports";
const FROM_MAP: &str = "from_sandbox";
const OPEN: &str = "open";
const CLOSED: &str = "closed";
const REFUSE: &str = "refuse";

/// A sandbox's place in the rules.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Port {
    /// The interface in the router's namespace.
    pub name: IfName,
    /// The only source address it may use.
    pub address: Ipv4Addr,
    /// Mark of its flows, not zero and its own.
    pub mark: u32,
}

impl Port {
    fn chain(&self) -> String {
        format!("box_{}", self.name.as_str())
    }
}

/// A sandbox as it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sandbox {
    /// Its place.
    pub port: Port,
    /// Whether it may reach what is not denied.
    pub open: bool,
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

fn chain(name: &str) -> Step {
    Step::Chain(Chain {
        name: name.to_owned(),
        base: None,
    })
}

fn rule(chain: &str, parts: Vec<Part>) -> Step {
    Step::Rule(chain.to_owned(), parts)
}

fn set(name: &'static str, kind: SetKind) -> Step {
    Step::Set(Set { name, kind })
}

/// The router's whole table, in place of whatever table of that name is there.
#[must_use]
pub fn router(tag: InstanceTag, uplink: &IfName, sandboxes: &[Sandbox]) -> Transaction {
    let mut steps = vec![
        Step::Table,
        Step::DropTable,
        Step::Table,
        set(DENIED_SET, SetKind::Ranges),
        Step::Add(
            DENIED_SET,
            DENIED
                .iter()
                .map(|(first, last)| Element::Range(*first, *last))
                .collect(),
        ),
        set(OPEN_SET, SetKind::Names),
        chain(REFUSE),
        rule(REFUSE, vec![Part::TcpNotSyn, Part::Reset]),
        rule(REFUSE, vec![Part::Prohibited]),
        chain(CLOSED),
        rule(CLOSED, vec![Part::Verdict(Verdict::Goto(REFUSE))]),
        chain(OPEN),
        rule(
            OPEN,
            vec![
                Part::DestinationIn(DENIED_SET),
                Part::Verdict(Verdict::Goto(REFUSE)),
            ],
        ),
        rule(
            OPEN,
            vec![
                Part::Oif(Is::Not, uplink.clone()),
                Part::Verdict(Verdict::Goto(REFUSE)),
            ],
        ),
        rule(
            OPEN,
            vec![
                Part::Flow(Flow::Invalid),
                Part::Verdict(Verdict::Goto(REFUSE)),
            ],
        ),
        rule(OPEN, vec![Part::Verdict(Verdict::Accept)]),
        set(FROM_MAP, SetKind::Verdicts),
    ];
    for sandbox in sandboxes {
        steps.push(chain(&sandbox.port.chain()));
        steps.extend(rules(sandbox));
    }
    let to = |s: &Sandbox| Element::Goto(s.port.name.clone(), s.port.chain());
    for some in sandboxes.chunks(CHUNK) {
        steps.push(Step::Add(FROM_MAP, some.iter().map(to).collect()));
    }
    let open: Vec<_> = sandboxes
        .iter()
        .filter(|s| s.open)
        .map(|s| Element::Name(s.port.name.clone()))
        .collect();
    for some in open.chunks(CHUNK) {
        steps.push(Step::Add(OPEN_SET, some.to_vec()));
    }
    steps.extend([
        base("forward", false, Hook::Forward, FILTER, Verdict::Drop),
        rule("forward", vec![Part::NotIpv4, Part::Verdict(Verdict::Drop)]),
        rule("forward", vec![Part::IifVerdict(FROM_MAP)]),
        rule(
            "forward",
            vec![
                Part::Iif(Is::Equal, uplink.clone()),
                Part::OifIn(OPEN_SET),
                Part::Flow(Flow::Known),
                Part::Verdict(Verdict::Accept),
            ],
        ),
        // A port without rules, or no longer: nothing passes, and the sockets that a dead cell left behind,
        // which keep its namespace, end with their next segment instead of minutes later.
        rule(
            "forward",
            vec![
                Part::Iif(Is::Not, uplink.clone()),
                Part::Verdict(Verdict::Goto(REFUSE)),
            ],
        ),
        // The router itself takes part in nothing.
        base("input", false, Hook::Input, FILTER, Verdict::Drop),
        base(
            "postrouting",
            true,
            Hook::Postrouting,
            SOURCE_NAT,
            Verdict::Accept,
        ),
        rule(
            "postrouting",
            vec![Part::Oif(Is::Equal, uplink.clone()), Part::Masquerade],
        ),
    ]);
    Transaction {
        table: Table(tag),
        steps,
    }
}

fn rules(sandbox: &Sandbox) -> [Step; 3] {
    let Port { address, mark, .. } = sandbox.port;
    let name = sandbox.port.chain();
    let next = if sandbox.open { OPEN } else { CLOSED };
    [
        rule(
            &name,
            vec![Part::Source(Is::Not, address), Part::Verdict(Verdict::Drop)],
        ),
        rule(&name, vec![Part::MarkFlow(mark)]),
        rule(&name, vec![Part::Verdict(Verdict::Goto(next))]),
    ]
}

/// A sandbox that has no rules yet gets its own.
#[must_use]
pub fn add(tag: InstanceTag, sandbox: &Sandbox) -> Transaction {
    let name = sandbox.port.chain();
    let mut steps = vec![chain(&name)];
    steps.extend(rules(sandbox));
    let from = Element::Goto(sandbox.port.name.clone(), name);
    steps.push(Step::Add(FROM_MAP, vec![from]));
    if sandbox.open {
        steps.push(Step::Add(
            OPEN_SET,
            vec![Element::Name(sandbox.port.name.clone())],
        ));
    }
    Transaction {
        table: Table(tag),
        steps,
    }
}

/// A sandbox whose rules say `was_open` gets those of `sandbox`.
#[must_use]
pub fn change(tag: InstanceTag, sandbox: &Sandbox, was_open: bool) -> Transaction {
    let mut steps = vec![Step::Flush(sandbox.port.chain())];
    steps.extend(rules(sandbox));
    match (was_open, sandbox.open) {
        (false, true) => steps.push(Step::Add(
            OPEN_SET,
            vec![Element::Name(sandbox.port.name.clone())],
        )),
        (true, false) => steps.push(Step::Remove(OPEN_SET, sandbox.port.name.clone())),
        (true, true) | (false, false) => {}
    }
    Transaction {
        table: Table(tag),
        steps,
    }
}

/// A sandbox's rules go; what its interface still sends then meets the chain's policy.
#[must_use]
pub fn remove(tag: InstanceTag, port: &Port, was_open: bool) -> Transaction {
    let mut steps = vec![Step::Remove(FROM_MAP, port.name.clone())];
    if was_open {
        steps.push(Step::Remove(OPEN_SET, port.name.clone()));
    }
    steps.push(Step::Flush(port.chain()));
    steps.push(Step::DropChain(port.chain()));
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
    let drop = || Part::Verdict(Verdict::Drop);
    let steps = vec![
        Step::Table,
        Step::DropTable,
        Step::Table,
        chain("from_router"),
        rule("from_router", vec![Part::NotIpv4, drop()]),
        rule("from_router", vec![Part::Source(Is::Not, router), drop()]),
        rule("from_router", vec![Part::DestinationNotUnicast, drop()]),
        base(
            "prerouting",
            false,
            Hook::Prerouting,
            EARLY,
            Verdict::Accept,
        ),
        rule(
            "prerouting",
            vec![from(), Part::Verdict(Verdict::Goto("from_router"))],
        ),
        base("input", false, Hook::Input, FIRST, Verdict::Accept),
        rule("input", vec![from(), drop()]),
        base("forward", false, Hook::Forward, FIRST, Verdict::Accept),
        rule("forward", vec![from(), Part::Flow(Flow::Invalid), drop()]),
        // Forwarding is on: other machines could try this host as their way in.
        rule(
            "forward",
            vec![
                to(),
                Part::Flow(Flow::Known),
                Part::Verdict(Verdict::Accept),
            ],
        ),
        rule("forward", vec![to(), drop()]),
        base(
            "postrouting",
            true,
            Hook::Postrouting,
            SOURCE_NAT,
            Verdict::Accept,
        ),
        rule(
            "postrouting",
            vec![
                Part::Source(Is::Equal, router),
                Part::Oif(Is::Not, uplink.clone()),
                Part::Masquerade,
            ],
        ),
    ];
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
