//! kill -9 at random points of take, change and release: afterwards kernel and ledger say the same, and every
//! sandbox that was promised something has it.
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{
    ECHO, Instance, Netd, OPEN, PATIENCE, SERVER, dial, echoes, id, on_a_host, run_inside,
};
use netd::ledger::{Replay, replay};
use netd::policy::{Entry, Place};
use warder_desired::{Egress, Range, Ranges};
use warder_wire::{Cidr, FaultCode, NamePattern, Policy, SandboxId};

/// SplitMix64: enough to choose with, and a printed seed repeats it.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// A sandbox as its owner sees it.
struct Owned {
    ns: Option<OwnedFd>,
    generation: u64,
    /// Last policy that was answered, and those asked for since that may or may not be in force: each crash leaves one.
    sure: Policy,
    maybe: Vec<Policy>,
}

#[test]
fn kernel_and_ledger_agree_after_every_crash() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds: u64 = number("WARDER_CRASH_ROUNDS").unwrap_or(20);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let seed: u64 = number("WARDER_CRASH_SEED").unwrap_or_else(|| u64::from(now.subsec_nanos()));
    on_a_host("kernel_and_ledger_agree_after_every_crash", |world| {
        println!("{rounds} rounds, seed {seed} (WARDER_CRASH_ROUNDS, WARDER_CRASH_SEED)");
        let before = world.picture();
        let instance = Instance::new(1, 24, 4);
        let mut random = Random(seed);
        let mut owned: BTreeMap<SandboxId, Owned> = BTreeMap::new();
        let mut next = 0;
        for round in 0..rounds {
            let mut netd = instance.start();
            adopt(&mut netd, &mut owned);
            compare(&instance, &mut netd, &owned, round);
            crash(netd, &mut owned, &mut next, &mut random);
        }
        let mut netd = instance.start();
        adopt(&mut netd, &mut owned);
        compare(&instance, &mut netd, &owned, rounds);
        let open = owned.values().find(|o| o.ns.is_some() && o.sure.is_open());
        if let Some(ns) = open.and_then(|o| o.ns.as_ref()) {
            let (mut stream, _) = dial(ns, SERVER, ECHO).expect("open, and works");
            assert!(echoes(&mut stream));
        }
        netd.purge();
        common::assert_same(&before, &world.picture());
    });
}

/// What privd does at start.
fn adopt(netd: &mut Netd, owned: &mut BTreeMap<SandboxId, Owned>) {
    for (sandbox, it) in owned.iter_mut() {
        netd.lease(sandbox);
        if let Some(ns) = &it.ns {
            netd.adopt(sandbox, ns).expect("what was answered is whole");
        }
    }
    netd.reconciled();
}

/// Works until netd is killed, which happens at some point.
fn crash(
    mut netd: Netd,
    owned: &mut BTreeMap<SandboxId, Owned>,
    next: &mut u32,
    random: &mut Random,
) {
    let egressd = (random.below(2) == 0).then(|| netd.egressd().obey());
    let pid = rustix::process::Pid::from_child(&netd.child);
    let delay = Duration::from_micros(random.below(60_000));
    let killer = std::thread::spawn(move || {
        std::thread::sleep(delay);
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
    });
    let mut working = true;
    while working {
        working = step(&mut netd, owned, next, random);
    }
    killer.join().expect("it ends");
    if let Some(egressd) = egressd {
        egressd.join().expect("it ends with netd");
    }
    assert!(!netd.child.wait().expect("ours").success());
}

/// One operation; false when netd is dead.
fn step(
    netd: &mut Netd,
    owned: &mut BTreeMap<SandboxId, Owned>,
    next: &mut u32,
    random: &mut Random,
) -> bool {
    let ids: Vec<SandboxId> = owned.keys().cloned().collect();
    let some = (!ids.is_empty())
        .then(|| ids[usize::try_from(random.below(ids.len() as u64)).expect("small")].clone());
    let policy = some_policy(random);
    match (random.below(10), some) {
        (0..=2, Some(sandbox)) => {
            netd.gone(&sandbox);
            owned.remove(&sandbox);
            true
        }
        (3..=5, Some(sandbox)) => {
            let it = owned.get_mut(&sandbox).expect("chosen from it");
            it.generation += 1;
            it.maybe.push(policy.clone());
            match netd.set(&sandbox, it.generation, policy.clone()) {
                Ok(()) => (it.sure, it.maybe) = (policy, Vec::new()),
                // The lease goes over the other channel and may be behind.
                Err(fault) if fault.code == FaultCode::NotFound => drop(it.maybe.pop()),
                Err(fault) => return dead(&fault),
            }
            true
        }
        _ => {
            let sandbox = id(*next);
            *next += 1;
            netd.lease(&sandbox);
            let mut it = Owned {
                ns: None,
                generation: 0,
                sure: Policy::CLOSED,
                maybe: Vec::new(),
            };
            let taken = netd.take(&sandbox);
            let alive = match taken {
                Ok((_, ns)) => {
                    it.ns = Some(ns);
                    true
                }
                Err(fault) if fault.code == FaultCode::Exhausted => true,
                Err(fault) => dead(&fault),
            };
            owned.insert(sandbox, it);
            alive
        }
    }
}

fn dead(fault: &warder_wire::Fault) -> bool {
    assert_eq!(fault.code, FaultCode::Unavailable, "{fault}");
    false
}

/// Kernel, ledger and owner say the same.
fn compare(instance: &Instance, netd: &mut Netd, owned: &BTreeMap<SandboxId, Owned>, round: u64) {
    let end = Instant::now() + PATIENCE;
    loop {
        let difference = difference(instance, netd, owned);
        let Some(difference) = difference else {
            return;
        };
        // What was released goes a little later; nothing else may differ for long.
        assert!(Instant::now() < end, "round {round}: {difference}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn difference(
    instance: &Instance,
    netd: &mut Netd,
    owned: &BTreeMap<SandboxId, Owned>,
) -> Option<String> {
    let (total, ready, taken) = netd.report();
    let wanted_taken = owned.values().filter(|it| it.ns.is_some()).count();
    if usize::try_from(taken).expect("small") != wanted_taken {
        return Some(format!("{taken} taken, the owner has {wanted_taken}"));
    }
    if ready != 4.min(total - taken) {
        return Some(format!("{ready} ready"));
    }
    let bytes = std::fs::read(instance.dir.path().join("ledger")).expect("there");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("there");
    let (ledger, good) = replay(&bytes, boot.trim_end());
    let Replay {
        sandboxes,
        releasing,
        ..
    } = ledger;
    assert_eq!(
        good,
        bytes.len(),
        "a ledger that is not being written is whole"
    );
    if !releasing.is_empty() {
        return Some(format!("still being released: {releasing:?}"));
    }
    let router = instance.router();
    let rules = run_inside(&router, "nft list ruleset");
    let links = run_inside(&router, "ip -o link show type veth");
    let mut expected = 0;
    for (sandbox, kept) in &sandboxes {
        let Some(it) = owned.get(sandbox) else {
            return Some(format!("{sandbox} is in the ledger: {kept:?}"));
        };
        let Some(slot) = kept.slot else {
            continue;
        };
        if it.ns.is_none() {
            return Some(format!("{sandbox} has a slot: {kept:?}"));
        }
        assert!(
            kept.policy == it.sure || it.maybe.contains(&kept.policy),
            "{sandbox}: the ledger has {kept:?}"
        );
        expected += 1;
        let port = format!("s{}", slot.counter);
        let wanted = Entry::kept(kept).desired(Place {
            tag: instance.tag,
            block: instance.config.block,
        });
        let wanted = wanted.expect("in the block");
        let (denied, sets) = match &wanted.egress {
            Egress::Closed => ([Cidr::ALL.into()].into_iter().collect(), [false; 3]),
            Egress::Judged(judged) => (
                judged.denied.clone(),
                [true, judged.names, judged.names || judged.proxy],
            ),
        };
        let Some(own) = elements(&rules, &format!("denied_{port}")) else {
            return Some(format!("{sandbox} has no rules"));
        };
        let own: Ranges = own.iter().map(|text| range(text)).collect();
        assert_eq!(own, denied, "{sandbox}: {kept:?}");
        for (set, member) in ["open", "named", "dials"].iter().zip(sets) {
            let marks = elements(&rules, set).expect("there");
            let mark = format!("{:#010x}", wanted.port.mark);
            assert_eq!(
                marks.contains(&mark),
                member,
                "{sandbox} in {set}: {kept:?}"
            );
        }
        assert!(
            rules.contains(&format!(" : jump denied_{port}")),
            "{sandbox} is in the map"
        );
        assert!(links.contains(&format!(" {port}@")), "{sandbox} has a pair");
    }
    let chains = rules.matches("chain denied_s").count();
    let ports = links.lines().count() - 1;
    let all = expected + usize::try_from(ready).expect("small");
    (chains != expected || ports != all || expected != wanted_taken)
        .then(|| format!("{chains} chains for {expected} slots, {ports} ports for {all}"))
}

/// Elements of a set as nft(8) lists it.
fn elements(rules: &str, set: &str) -> Option<Vec<String>> {
    let body = rules.split(&format!("set {set} {{")).nth(1)?;
    let body = body.split("\n\t}").next()?;
    let list = body.split("elements = {").nth(1).unwrap_or_default();
    let list = list.split('}').next()?.split(',').map(str::trim);
    Some(list.filter(|e| !e.is_empty()).map(str::to_owned).collect())
}

fn range(text: &str) -> Range {
    match text.split_once('-') {
        Some((first, last)) => {
            let address = |text: &str| text.parse().expect("an address");
            Range::new(address(first), address(last))
        }
        None => text.parse::<Cidr>().expect("a network").into(),
    }
}

/// Something of every kind of policy.
fn some_policy(random: &mut Random) -> Policy {
    let cidr = |text: &str| text.parse::<Cidr>().expect("a network");
    let mut policy = if random.below(4) == 0 {
        return Policy::CLOSED;
    } else {
        Policy::OPEN
    };
    let networks = [
        "198.51.100.0/24",
        "192.0.2.1",
        "8.8.8.8",
        "0.0.0.0/1",
        "255.255.255.255",
    ];
    for network in networks {
        match random.below(4) {
            0 => policy.allow.push(cidr(network)),
            1 => policy.deny.push(cidr(network)),
            _ => {}
        }
    }
    match random.below(4) {
        0 => policy.deny.push(Cidr::ALL),
        1 => {
            // A record that no page holds.
            let many = (0..random.below(900)).map(|n| u32::try_from(n).expect("small") << 8);
            policy
                .deny
                .extend(many.filter_map(|n| Cidr::new(n.into(), 31)));
        }
        2 => {
            policy.deny.push(Cidr::ALL);
            policy
                .names
                .push(NamePattern::new("*.example.com").expect("a pattern"));
        }
        _ => {}
    }
    policy
}

#[test]
#[ignore = "prints timings; needs memory for a thousand namespaces"]
fn a_thousand_slots_are_adopted_quickly() {
    let count =
        std::env::var("WARDER_MANY_SLOTS").map_or(1000, |text| text.parse().expect("a number"));
    on_a_host("a_thousand_slots_are_adopted_quickly", |_| {
        let instance = Instance::new(1, count + 8, 8);
        let mut netd = instance.start();
        netd.reconciled();
        let start = Instant::now();
        let boxes: Vec<_> = (0..count).map(|n| netd.sandbox(n, OPEN).1).collect();
        println!("{count} slots made and taken in {:?}", start.elapsed());
        netd.wait_ready(8);
        for _ in 0..8 {
            let n =
                10_000_000 + u32::try_from(start.elapsed().as_micros() % 1_000_000).expect("small");
            netd.lease(&id(n));
            let start = Instant::now();
            drop(netd.take(&id(n)).expect("a slot"));
            println!("a ready slot among {count}: {:?}", start.elapsed());
            netd.gone(&id(n));
        }
        for generation in 2..12 {
            let start = Instant::now();
            netd.set(
                &id(7),
                generation,
                if generation % 2 == 0 {
                    Policy::OPEN
                } else {
                    Policy::CLOSED
                },
            )
            .expect("in force");
            println!("a policy change among {count}: {:?}", start.elapsed());
        }
        netd.kill();
        let start = Instant::now();
        let mut netd = instance.start();
        println!("ready again after {:?}", start.elapsed());
        for (n, ns) in (0..).zip(&boxes) {
            netd.adopt(&id(n), ns).expect("whole");
        }
        netd.reconciled();
        println!("all {count} adopted after {:?}", start.elapsed());
        let start = Instant::now();
        for n in 0..count {
            netd.gone(&id(n));
        }
        netd.report();
        println!("all {count} released in {:?}", start.elapsed());
        drop(boxes);
        netd.wait_ready(8);
        netd.purge();
    });
}
