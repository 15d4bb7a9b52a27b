//! Texts and argument lists as they are, written out. `WARDER_BLESS=1` writes them anew.

#[allow(dead_code, reason = "the model is for the other test")]
mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::{port, sandbox, site};
use warder_desired::{Port, closed};
use warder_pf::plan::{self, Command, Load};
use warder_pf::{PfError, states};
use warder_wire::policy::{Proxy, ProxyHost};
use warder_wire::{Bounds, Cidr, HostName, NamePattern, Policy};

fn same(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("WARDER_BLESS").is_some() {
        std::fs::write(&path, text).expect("writes");
    }
    let golden = std::fs::read_to_string(&path).expect("a golden file");
    assert_eq!(text, golden, "{name}");
}

fn networks(list: &[&str]) -> Vec<Cidr> {
    list.iter().map(|c| c.parse().expect("a network")).collect()
}

fn names() -> Policy {
    Policy {
        allow: networks(&["8.8.8.8", "1.1.1.0/24"]),
        deny: networks(&["0.0.0.0/0"]),
        names: vec![NamePattern::Below(
            HostName::new("example.com").expect("a name"),
        )],
        ..Policy::OPEN
    }
}

fn proxy() -> Policy {
    Policy {
        deny: networks(&["192.0.2.0/24", "192.0.2.128/25"]),
        proxy: Some(Proxy {
            host: ProxyHost::Name(HostName::new("proxy.example").expect("a name")),
            port: 1080,
            login: None,
        }),
        ..Policy::OPEN
    }
}

fn written(commands: &[Command]) -> String {
    let mut text = String::new();
    for command in commands {
        let args: Vec<_> = command.args.iter().map(|a| format!(" {a:?}")).collect();
        writeln!(text, "{}{}", command.tool.path(), args.concat()).expect("a string");
        for line in command.input.lines() {
            writeln!(text, "< {line}").expect("a string");
        }
    }
    text
}

#[test]
fn rules_are_as_written() {
    let closed = closed(&networks(&["198.51.100.0/24"]));
    same("root.conf", warder_pf::ROOT);
    let text = |load: &Load| format!("# {}\n{}", load.anchor, load.text);
    same("instance.conf", &text(&site().instance(&closed)));
    for (file, n, policy) in [
        ("open.conf", 0, Policy::OPEN),
        ("closed.conf", 1, Policy::CLOSED),
        ("names.conf", 40, names()),
        ("proxy.conf", 63, proxy()),
    ] {
        let load = site()
            .sandbox(&closed, &sandbox(n, &policy))
            .expect("has a place");
        same(file, &text(&load));
    }
}

#[test]
fn argument_lists_are_as_written() {
    let site = site();
    let load = Load {
        anchor: "warder/x/0/s7".to_owned(),
        text: "block drop all\n".to_owned(),
    };
    let gone = Load::nothing(site.anchor_of(&port(7)).expect("has a place")).command();
    let memory = "states        hard limit   100000\ntables        hard limit     1000\nanchors       hard limit      512\n";
    let mut all = vec![load.command(), gone, plan::list()];
    all.extend(plan::end_all(&site, &port(7)));
    all.extend(plan::pipes(&site, &sandbox(7, &Policy::OPEN)).expect("has pipes"));
    all.extend(plan::no_pipes(&site, &port(7)).expect("has pipes"));
    all.extend(plan::limits(memory, 1000));
    same("commands.txt", &written(&all));
    let enough = "tables unlimited\nanchors hard limit 5000\n";
    assert_eq!(plan::limits(enough, 1000), None);
}

#[test]
fn pipes_are_never_wider_than_asked() {
    let mut wide = sandbox(0, &Policy::OPEN);
    wide.bounds = Bounds {
        upload: u64::MAX,
        download: 1,
        ..Bounds::DEFAULT
    };
    let [up, down] = plan::pipes(&site(), &wide).expect("has pipes");
    assert_eq!(up.args.last().map(String::as_str), Some("2147483647bit/s"));
    assert_eq!(down.args.last().map(String::as_str), Some("8bit/s"));
}

#[test]
fn what_has_no_place_is_refused() {
    let far = |mark| Port { mark, ..port(0) };
    assert_eq!(
        site().anchor_of(&port(64)),
        Err(PfError::Address(port(64).address))
    );
    let none = sandbox(0, &Policy::OPEN);
    for mark in [0, 32_269, u32::MAX] {
        let sandbox = warder_desired::Sandbox {
            port: far(mark),
            ..none.clone()
        };
        assert_eq!(plan::pipes(&site(), &sandbox), Err(PfError::Pipe(mark)));
        assert!(site().sandbox(&closed(&[]), &sandbox).is_err());
    }
}

/// What stays and what goes of one listing, for a policy.
fn left(listing: &str, policy: &Policy) -> String {
    let closed = closed(&networks(&["198.51.100.0/24"]));
    let states = states::read(listing).expect("a listing");
    let wrong = states::forbidden(&site(), &closed, &sandbox(7, policy), &states);
    let mut text = String::new();
    for state in &states {
        let word = if wrong.contains(&state) {
            "ends"
        } else {
            "stays"
        };
        writeln!(text, "{word} {} {}", state.id, state.interface).expect("a string");
    }
    text + &written(&wrong.iter().map(|s| plan::end(s)).collect::<Vec<_>>())
}

#[test]
fn states_are_judged_by_the_policy_of_now() {
    let listing = include_str!("golden/states.txt");
    let mut text = String::new();
    for (name, policy) in [
        ("open", Policy::OPEN),
        ("closed", Policy::CLOSED),
        ("names", names()),
        ("proxy", proxy()),
    ] {
        writeln!(text, "# {name}\n{}", left(listing, &policy)).expect("a string");
    }
    same("judged.txt", &text);
}

#[test]
fn a_listing_that_cannot_be_read_is_no_listing() {
    assert_eq!(states::read(""), Ok(Vec::new()));
    for bad in [
        "s7 tcp 192.0.2.1:80 10.200.0.15:4000       ESTABLISHED:ESTABLISHED\n   id: 1 creatorid: 2\n",
        "s7 tcp 192.0.2.1:80 <- 10.200.0.999:4000\n   id: 1 creatorid: 2\n",
        "s7 tcp 192.0.2.1:80 <- 10.200.0.15:4000\n   id: 1x creatorid: 2\n",
        "s7 tcp 192.0.2.1:80 <- 10.200.0.15:4000\n   age 00:00:01\n",
        "s7 tcp 192.0.2.1:80 <- 10.200.0.15:4000\ns7 udp 192.0.2.1:53 <- 10.200.0.15:4000\n   id: 1 creatorid: 2\n",
        "   id: 1 creatorid: 2\n",
        "No ALTQ support in kernel\n",
    ] {
        assert!(states::read(bad).is_err(), "{bad}");
    }
}
