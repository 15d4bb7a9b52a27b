//! Transactions against this kernel, in a network namespace of the test's own, read back with nft(8).
#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;
use std::process::Command;

use warder_nft::model::IfName;
use warder_nft::{Session, render};
use warder_wire::InstanceTag;

/// Runs `body` in a fresh network namespace: the test binary starts itself again below unshare(1).
fn in_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os("WARDER_TEST_INSIDE").is_some() {
        return body();
    }
    let status = Command::new("unshare")
        .args(["--net", "--"])
        .arg(std::env::current_exe().expect("own path"))
        .args([test, "--exact", "--nocapture"])
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

fn name(text: &str) -> IfName {
    IfName::new(text).expect("short")
}

fn sandbox(n: u32, open: bool) -> render::Sandbox {
    render::Sandbox {
        port: render::Port {
            name: name(&format!("s{n}")),
            address: Ipv4Addr::from(0x0a40_0001 + 2 * n),
            mark: n + 1,
        },
        open,
    }
}

fn tag() -> InstanceTag {
    InstanceTag::of_state_dir(b"a")
}

#[test]
fn what_is_rendered_is_what_nft_lists() {
    in_namespace("what_is_rendered_is_what_nft_lists", || {
        let mut session = Session::open().expect("netlink");
        let boxes = [sandbox(1, true), sandbox(2, false)];
        session
            .apply(&render::router(tag(), &name("uplink"), &boxes))
            .expect("applies");
        let text = ruleset();
        println!("{text}");
        for line in [
            "iifname vmap @from_sandbox",
            "\"s1\" : goto box_s1",
            "type filter hook forward priority filter; policy drop;",
            "type filter hook input priority filter; policy drop;",
            "meta nfproto != ipv4 drop",
            "iifname \"uplink\" oifname @open_ports ct state established,related accept",
            "elements = { \"s1\" }",
            "@nh,96,32 != 0xa400003 drop",
            "ct mark set 0x00000002",
            "goto closed",
            "@nh,128,32 @denied goto refuse",
            "oifname != \"uplink\" goto refuse",
            "ct state invalid goto refuse",
            "224.0.0.0/3",
            "100.64.0.0/10",
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
            "@nh,96,32 0xc6130003 oifname != \"wu0\" masquerade",
        ] {
            assert!(text.contains(line), "no '{line}' in\n{text}");
        }
    });
}

#[test]
fn single_steps_end_where_the_whole_state_does() {
    in_namespace("single_steps_end_where_the_whole_state_does", || {
        let mut session = Session::open().expect("netlink");
        let whole = |session: &mut Session, boxes: &[render::Sandbox]| {
            session
                .apply(&render::router(tag(), &name("uplink"), boxes))
                .expect("applies");
            sorted(&ruleset())
        };
        let wanted = whole(
            &mut session,
            &[sandbox(2, true), sandbox(3, false), sandbox(4, true)],
        );
        whole(&mut session, &[sandbox(1, true), sandbox(3, true)]);
        for step in [
            render::add(tag(), &sandbox(2, false)),
            render::change(tag(), &sandbox(3, false), true),
            render::change(tag(), &sandbox(2, true), false),
            render::remove(tag(), &sandbox(1, true).port, true),
            render::add(tag(), &sandbox(4, true)),
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

#[test]
fn a_refused_step_changes_nothing() {
    in_namespace("a_refused_step_changes_nothing", || {
        let mut session = Session::open().expect("netlink");
        session
            .apply(&render::router(tag(), &name("uplink"), &[sandbox(1, true)]))
            .expect("applies");
        let before = ruleset();
        let mut step = render::change(tag(), &sandbox(1, false), true);
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
        let boxes: Vec<_> = (0..1000).map(|n| sandbox(n, n % 3 == 0)).collect();
        for _ in 0..2 {
            let start = std::time::Instant::now();
            session
                .apply(&render::router(tag(), &name("uplink"), &boxes))
                .expect("applies");
            println!("1000 sandboxes in {:?}", start.elapsed());
        }
        let start = std::time::Instant::now();
        session
            .apply(&render::change(tag(), &sandbox(999, false), true))
            .expect("applies");
        println!("one change among them in {:?}", start.elapsed());
        let start = std::time::Instant::now();
        session.end_flows(1).expect("there are none");
        println!("flows ended in {:?}", start.elapsed());
        session.drop_flows(1).expect("there are none");
        assert_eq!(session.flows(1).expect("counted"), 0);
        let text = ruleset();
        assert_eq!(text.matches("chain box_s").count(), 1000);
        assert_eq!(text.matches("goto box_s").count(), 1000);
    });
}
