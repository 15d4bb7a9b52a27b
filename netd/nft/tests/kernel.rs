//! Transactions against this kernel, in a network namespace of the test's own, read back with nft(8).
#![cfg(target_os = "linux")]

mod common;

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{name, named, open, proxied, shut, tag, uplink};
use warder_desired::{Egress, Judged, Range, Sandbox, closed};
use warder_nft::model::{Table, Transaction};
use warder_nft::{Session, render};

// What the rules divert is what the router's own routing takes for its own.
const _: () = assert!(warder_nft::flow::INTERCEPTED == warder_links::plan::TO_SOCKETS);

const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 168, 9, 53);

fn router(boxes: &[Sandbox]) -> Transaction {
    render::router(tag(), &uplink(), &closed(&[]), &[RESOLVER], boxes)
}

/// Runs `body` in a fresh network namespace: the test binary starts itself again below unshare(1).
fn in_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os("WARDER_TEST_INSIDE").is_some() {
        return body();
    }
    let status = Command::new("unshare")
        .args(["--net", "--"])
        .arg(std::env::current_exe().expect("own path"))
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env("WARDER_TEST_INSIDE", "1")
        .status()
        .expect("unshare(1) is there and the test runs as root");
    assert!(status.success());
}

fn ruleset() -> String {
    let out = Command::new("nft")
        .args(["list", "ruleset"])
        .output()
        .expect("nft(8) is there");
    assert!(out.status.success());
    String::from_utf8(out.stdout).expect("text")
}

#[test]
fn what_is_rendered_is_what_nft_lists() {
    in_namespace("what_is_rendered_is_what_nft_lists", || {
        let mut session = Session::open().expect("netlink");
        let boxes = [open(1), shut(2), named(3), proxied(4)];
        session.apply(&router(&boxes)).expect("applies");
        let text = ruleset();
        println!("{text}");
        for line in [
            "0x00000002 : jump denied_s1",
            "\"s1\" . 10.200.0.3 . 02:01:0a:c8:00:03 : 0x00000002",
            "0x00000002 limit rate over 125000000 bytes/second burst 128 kbytes",
            "0x00000002 ct count over 4096",
            "type filter hook prerouting priority mangle; policy drop;",
            "type filter hook forward priority filter; policy drop;",
            "type filter hook input priority filter; policy drop;",
            "type filter hook output priority filter; policy drop;",
            "type filter hook postrouting priority filter; policy drop;",
            "meta nfproto != ipv4 drop",
            "meta mark set iifname . @nh,96,32 . @ll,48,48 map @sources",
            "iifname @ports drop",
            "meta mark & 0x00ffffff == @uploads drop",
            "meta mark & 0x00ffffff vmap @lists",
            "meta mark & 0x00ffffff == @flows goto refuse_many",
            "@nh,128,32 @denied_s1 meta mark set meta mark | 0x10000000",
            "ct original ip daddr @denied_s1 meta mark set meta mark | 0x10000000",
            "meta mark set ct mark | 0x20000000 accept",
            "jump sort",
            "meta mark & 0x00ffffff != @open goto refuse_address",
            "ct mark & 0x02000000 != 0x00000000 meta mark set meta mark | 0x02000000 return",
            "ct mark set meta mark & 0x03ffffff",
            "udp dport 53 meta mark set meta mark | 0x02000000 return",
            "tproxy ip to :15001 accept",
            "tproxy ip to :53 accept",
            "update @refusals { meta mark & 0x00ffffff timeout 1m limit rate 20/second burst 20 packets } log prefix \"address\" group 53 snaplen 68",
            "ct state established,related",
            "224.0.0.0/3",
            "100.64.0.0/10",
            "203.0.113.8-255.255.255.255",
            "elements = { 192.168.9.53 }",
            "reject with tcp reset",
            "reject with icmpx admin-prohibited",
            "oifname \"uplink\" masquerade",
        ] {
            assert!(text.contains(line), "no '{line}' in\n{text}");
        }
        session.apply(&render::gone(tag())).expect("goes");
        session
            .apply(&render::gone(tag()))
            .expect("is gone already");
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn the_host_table_is_what_nft_lists() {
    in_namespace("the_host_table_is_what_nft_lists", || {
        let mut session = Session::open().expect("netlink");
        let router = Ipv4Addr::new(198, 19, 0, 3);
        session
            .apply(&render::host(tag(), &name("wu0"), router))
            .expect("applies");
        let text = ruleset();
        println!("{text}");
        for line in [
            "iifname \"wu0\" goto from_router",
            "@nh,96,32 != 0xc6130003 drop",
            "fib daddr type != unicast drop",
            "iifname \"wu0\" drop",
            "iifname \"wu0\" ct state invalid drop",
            "oifname \"wu0\" ct state established,related accept",
            "oifname \"wu0\" drop",
            "ip saddr 198.19.0.3 oifname != \"wu0\" masquerade",
        ] {
            assert!(text.contains(line), "no '{line}' in\n{text}");
        }
    });
}

#[test]
fn nft_reads_what_is_written() {
    in_namespace("nft_reads_what_is_written", || {
        let slow = {
            let mut slow = proxied(5);
            slow.bounds.upload = 1000;
            slow
        };
        for transaction in [
            render::host(tag(), &name("wu0"), Ipv4Addr::new(198, 19, 0, 3)),
            router(&[open(1), shut(2), named(3), proxied(4)]),
            render::add(tag(), &named(5)),
            render::change(tag(), &shut(5), &named(5)),
            render::change(tag(), &slow, &shut(5)),
            render::remove(tag(), &slow),
            render::gone(tag()),
        ] {
            // Conditions of elements are something that the kernel knows and nft(8) only lists.
            let known =
                |line: &&str| !line.contains("limit rate over") && !line.contains("ct count");
            let text = transaction.to_string();
            let text: Vec<&str> = text.lines().filter(known).collect();
            let mut nft = Command::new("nft")
                .args(["-f", "-"])
                .stdin(Stdio::piped())
                .spawn()
                .expect("nft(8) is there");
            let mut stdin = nft.stdin.take().expect("piped");
            stdin
                .write_all(text.join("\n").as_bytes())
                .expect("written");
            drop(stdin);
            assert!(nft.wait().expect("ends").success(), "{transaction}");
        }
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn single_steps_end_where_the_whole_state_does() {
    in_namespace("single_steps_end_where_the_whole_state_does", || {
        let mut session = Session::open().expect("netlink");
        let mut slow = named(2);
        slow.bounds.upload = 1000;
        let whole = |session: &mut Session, boxes: &[Sandbox]| {
            session.apply(&router(boxes)).expect("applies");
            sorted(&ruleset())
        };
        let wanted = whole(&mut session, &[slow.clone(), shut(3), proxied(4)]);
        whole(&mut session, &[named(1), proxied(3)]);
        for step in [
            render::add(tag(), &shut(2)),
            render::change(tag(), &shut(3), &proxied(3)),
            render::change(tag(), &slow, &shut(2)),
            render::remove(tag(), &named(1)),
            render::add(tag(), &open(4)),
            render::change(tag(), &proxied(4), &open(4)),
        ] {
            session
                .apply(&step)
                .unwrap_or_else(|e| panic!("{e}: {step}"));
        }
        assert_eq!(sorted(&ruleset()), wanted);
    });
}

/// Sets and chains in order of their names, elements in order.
fn sorted(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = text
        .split("\n\n")
        .map(|block| {
            let flat = block.replace('\n', " ");
            let mut words: Vec<&str> = flat.split([',', '{', '}']).map(str::trim).collect();
            words.retain(|word| !word.is_empty());
            if flat.contains("elements = {") {
                words.sort_unstable();
            }
            words.join("|")
        })
        .collect();
    blocks.sort_unstable();
    blocks
}

/// What a sandbox's own set holds.
fn listed(n: u32) -> String {
    let (table, set) = (format!("warder_{}", tag()), format!("denied_s{n}"));
    let out = Command::new("nft")
        .args(["list", "set", "inet", &table, &set])
        .output()
        .expect("nft(8) is there");
    assert!(out.status.success());
    String::from_utf8(out.stdout)
        .expect("text")
        .replace(&set, "")
}

#[test]
fn lists_change_as_told() {
    in_namespace("lists_change_as_told", || {
        let mut session = Session::open().expect("netlink");
        let mut now = shut(1);
        session
            .apply(&router(std::slice::from_ref(&now)))
            .expect("applies");
        // Not random for anybody but these sets: xorshift.
        let mut state = 0x2545_f491_u32;
        let mut next = |below: u32| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state % below
        };
        let all = Range::new(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        for round in 0..80 {
            // Few places, so that beginnings and ends meet those of the list before; sometimes all, or a long list.
            let mut denied = Vec::new();
            match round % 8 {
                5 => denied.push(all),
                6 => denied.extend((0..2000).map(|k| {
                    let first = 0x0b00_0000 + k * 0x1000;
                    Range::new(first.into(), (first + next(0xff0)).into())
                })),
                _ => denied.extend((0..next(12)).map(|_| {
                    let (a, b) = (next(40), next(40));
                    let top = if next(2) == 0 { 0xffff_ffd8 } else { 0 };
                    Range::new((top + a).into(), (top + b).into())
                })),
            }
            let judged = Judged {
                denied: denied.into_iter().collect(),
                ..Judged::default()
            };
            let new = common::sandbox(1, Egress::Judged(judged.clone()));
            session
                .apply(&render::change(tag(), &new, &now))
                .expect("applies");
            let fresh = common::sandbox(2, Egress::Judged(judged));
            session.apply(&render::add(tag(), &fresh)).expect("applies");
            assert_eq!(listed(1), listed(2), "round {round}");
            session
                .apply(&render::remove(tag(), &fresh))
                .expect("applies");
            now = new;
        }
    });
}

/// Has nft(8) do it.
fn nft(line: &str) {
    let status = Command::new("nft").arg(line).status();
    assert!(status.expect("nft(8) is there").success(), "{line}");
}

#[test]
fn a_table_is_told_without_others() {
    in_namespace("a_table_is_told_without_others", || {
        let mut session = Session::open().expect("netlink");
        let own = format!("warder_{}", tag());
        let mut told = || session.told(Table(tag())).expect("told");
        assert!(told().is_empty());
        nft(&format!("add table ip {own}"));
        nft("add table inet other");
        nft("add chain inet other c");
        nft("add rule inet other c accept");
        assert!(told().is_empty(), "of another family, of another name");
        let mut setter = Session::open().expect("netlink");
        setter.apply(&router(&[shut(1)])).expect("applies");
        let whole = told();
        let text = ruleset();
        let (_, ours) = text
            .split_once(&format!("table inet {own} {{"))
            .expect("there");
        let (ours, _) = ours.split_once("\n}").expect("ends");
        assert!(ours.contains("denied_s1"));
        let chains = ours.matches("chain ").count();
        assert!(
            whole.len() > 1 + chains,
            "{} with {chains} chains",
            whole.len()
        );
        nft("add rule inet other c drop");
        nft("add chain inet other d");
        assert_eq!(told(), whole);
        nft(&format!("add rule inet {own} prerouting drop"));
        let more = told();
        assert!(more != whole && more.len() > whole.len());
        nft(&format!("delete table inet {own}"));
        assert!(told().is_empty());
    });
}

#[test]
fn a_refused_step_changes_nothing() {
    in_namespace("a_refused_step_changes_nothing", || {
        let mut session = Session::open().expect("netlink");
        session.apply(&router(&[named(1)])).expect("applies");
        let before = ruleset();
        let mut step = render::change(tag(), &shut(1), &named(1));
        // Removing it twice: the second removal is refused.
        step.steps.push(step.steps.last().expect("there").clone());
        session.apply(&step).expect_err("refused");
        assert_eq!(ruleset(), before);
    });
}

#[test]
fn a_thousand_sandboxes_are_one_transaction() {
    in_namespace("a_thousand_sandboxes_are_one_transaction", || {
        let mut session = Session::open().expect("netlink");
        let boxes: Vec<_> = (0..1000)
            .map(|n| if n % 3 == 0 { open(n) } else { shut(n) })
            .collect();
        for _ in 0..2 {
            session.apply(&router(&boxes)).expect("applies");
        }
        session.end_flows(1, |_| false).expect("there are none");
        session.drop_flows(1).expect("there are none");
        assert_eq!(session.flows(1).expect("counted"), 0);
        let text = ruleset();
        assert_eq!(text.matches("chain denied_s").count(), 1000);
        assert_eq!(text.matches("jump denied_s").count(), 1000);
    });
}

/// All denied but `n` addresses far apart.
fn hundred(n: u32, count: u32) -> Sandbox {
    let hole = |k: u32| 0x0b00_0000 + k * (0xb000_0000 / count) + n;
    let holes = (0..count - 1).map(hole);
    let mut first = 0_u32;
    let mut denied = Vec::new();
    for hole in holes {
        denied.push(Range::new(first.into(), (hole - 1).into()));
        first = hole + 1;
    }
    denied.push(Range::new(first.into(), Ipv4Addr::BROADCAST));
    let judged = Judged {
        denied: denied.into_iter().collect(),
        ..Judged::default()
    };
    common::sandbox(n, Egress::Judged(judged))
}

#[test]
#[ignore = "prints timings"]
fn what_a_flip_costs() {
    in_namespace("what_a_flip_costs", || {
        let mut session = Session::open().expect("netlink");
        for (count, rules) in [(1, 100), (100, 100), (1000, 100), (1000, 2000)] {
            let mut boxes: Vec<_> = (0..count).map(|n| hundred(n, 100)).collect();
            boxes[0] = hundred(0, rules);
            let start = Instant::now();
            session.apply(&router(&boxes)).expect("applies");
            println!(
                "{count} sandboxes of 100 ranges, one of {rules}: whole {:?}",
                start.elapsed()
            );
            let (own, shut, plain) = (boxes[0].clone(), shut(0), open(0));
            let change = |new, old| render::change(tag(), new, old);
            let (closes, opens) = (change(&shut, &own), change(&own, &shut));
            cost(&mut session, "closing", &[&closes, &opens]);
            session.apply(&closes).expect("applies");
            cost(&mut session, "opening with the list", &[&opens, &closes]);
            let (opens, closes) = (change(&plain, &shut), change(&shut, &plain));
            cost(&mut session, "opening without", &[&opens, &closes]);
            let new = hundred(5000, 100);
            let (added, gone) = (render::add(tag(), &new), render::remove(tag(), &new));
            cost(&mut session, "a new sandbox", &[&added, &gone]);
            session.apply(&added).expect("applies");
            cost(&mut session, "its end", &[&gone, &added]);
        }
    });
}

/// Of the first of these steps, done in turn.
fn cost(session: &mut Session, what: &str, steps: &[&Transaction]) {
    let mut all: Vec<Duration> = Vec::new();
    for _ in 0..100 {
        let start = Instant::now();
        session.apply(steps[0]).expect("applies");
        all.push(start.elapsed());
        session.apply(steps[1]).expect("applies");
    }
    all.sort_unstable();
    println!("  {what}: median {:?}, p99 {:?}", all[50], all[98]);
}
