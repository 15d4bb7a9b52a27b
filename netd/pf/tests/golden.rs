//! Texts and argument lists as they are, written out. `WARDER_BLESS=1` writes them anew.

#[allow(dead_code, reason = "the model is for the other test")]
mod common;
#[path = "common/states.rs"]
mod listing;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use common::{port, sandbox, site};
use warder_desired::{Class, Egress, Fate, Port, closed};
use warder_netlink::{Message, messages};
use warder_pf::plan::{self, Load};
use warder_pf::states::{self, State, Way};
use warder_pf::{PfError, host};
use warder_tool::Call;
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

fn written(calls: &[Call]) -> String {
    let mut text = String::new();
    for call in calls {
        writeln!(text, "{call}").expect("a string");
        let input = call.standard_input().unwrap_or_default();
        for line in String::from_utf8_lossy(input).lines() {
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
    let gone = Load::nothing(site.anchor_of(&port(7)).expect("has a place")).call();
    let memory = "states        hard limit   100000\ntables        hard limit     1000\nanchors       hard limit      512\n";
    let pipes = "00001:  50.000 Mbit/s    0 ms burst 0\nq131073  50 sl. 0 flows (1 buckets) sched 65537 weight 0 lmax 0 pri 0 droptail\n\
        01001: unlimited         0 ms burst 0\n01192:   1.000 Mbit/s    0 ms burst 0\n";
    let mut all = vec![
        load.call(),
        gone,
        plan::anchors(&site),
        plan::list_limits(),
        plan::list_pipes(),
    ];
    all.extend(host::rules());
    all.push(host::info());
    all.extend(plan::pipes(&site, &sandbox(7, &Policy::OPEN)).expect("has pipes"));
    all.extend(plan::no_pipes(&site, &port(7)).expect("has pipes"));
    all.extend(plan::no_pipes_of(&site, pipes));
    all.extend(plan::limits(memory, 1000));
    same("commands.txt", &written(&all));
    let enough = "tables unlimited\nanchors hard limit 5000\neth-anchors   hard limit        0\n";
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
    let call = plan::pipes(&site(), &wide)
        .expect("has pipes")
        .expect("there is dummynet");
    let input = String::from_utf8_lossy(call.standard_input().unwrap_or_default()).into_owned();
    let said =
        "pipe 1000 config bw 2147483647bit/s\npipe 1001 config bw 8bit/s\npipe 1002 config\n";
    assert_eq!(input, said);
}

#[test]
fn without_dummynet_there_are_no_pipes() {
    let site = warder_pf::Site {
        pipes: None,
        ..site()
    };
    let own = sandbox(0, &Policy::OPEN);
    assert_eq!(plan::pipes(&site, &own), Ok(None));
    assert_eq!(plan::no_pipes(&site, &own.port), Ok(None));
    let load = site.sandbox(&closed(&[]), &own).expect("has a place");
    assert!(!load.text.contains("dnpipe"), "{}", load.text);
}

#[test]
fn anchors_of_sandboxes_are_told_from_others() {
    let own = site().anchor();
    let listing =
        format!("  {own}\n  {own}/0\n  {own}/0/s7\n  {own}/1/s40\n  warder/ffffffff/0/s1\n");
    let found = plan::sandbox_anchors(&site(), &listing);
    let found: Vec<String> = found.into_iter().collect();
    assert_eq!(found, [format!("{own}/0/s7"), format!("{own}/1/s40")]);
}

#[test]
fn what_freebsd_prints_is_read() {
    // pfctl(8) of FreeBSD 15.1 prints, asked with `-v -a warder/e40c292c -s Anchors`:
    let listing = "  warder/e40c292c/0
  warder/e40c292c/0/se40c292c0
  warder/e40c292c/0/se40c292c1
  warder/e40c292c/1
  warder/e40c292c/10
  warder/e40c292c/0
  warder/e40c292c/0/se40c292c0
  warder/e40c292c/0/se40c292c1
  warder/e40c292c/1
  warder/e40c292c/10
";
    let found = plan::sandbox_anchors(&site(), listing);
    let found: Vec<String> = found.into_iter().collect();
    let own = |n| format!("warder/e40c292c/0/se40c292c{n}");
    assert_eq!(found, [own(0), own(1)], "each once");

    // And with `-s memory`, after a file that names no limit but that of table entries:
    let memory = "states        hard limit   100000
src-nodes     hard limit    10000
frags         hard limit     5000
table-entries hard limit   200000
anchors       hard limit        0
eth-anchors   hard limit        0
";
    assert_eq!(plan::limits(memory, 1000), None);
    let raised = plan::limits(memory, 2000).expect("too few entries");
    assert_eq!(
        raised.standard_input(),
        Some(&b"set limit table-entries 400000\n"[..])
    );
}

#[test]
fn what_has_no_place_is_refused() {
    let far = |mark| Port { mark, ..port(0) };
    assert_eq!(
        site().anchor_of(&port(64)),
        Err(PfError::Address(port(64).address))
    );
    let none = sandbox(0, &Policy::OPEN);
    for mark in [0, 21_513, u32::MAX] {
        let sandbox = warder_desired::Sandbox {
            port: far(mark),
            ..none.clone()
        };
        assert_eq!(plan::pipes(&site(), &sandbox), Err(PfError::Pipe(mark)));
        assert!(site().sandbox(&closed(&[]), &sandbox).is_err());
    }
}

/// What stays and what goes of the states in `golden/states.txt`, for a policy.
fn left(policy: &Policy) -> String {
    let closed = closed(&networks(&["198.51.100.0/24"]));
    let own = sandbox(7, policy);
    let states: Vec<State> = listing::read(include_str!("golden/states.txt"));
    let keeps = |class, to, payload| {
        let fate = own.egress.fate(&closed, to, payload);
        match class {
            Class::Forwarded => fate == Fate::Forward,
            Class::Intercepted => matches!(fate, Fate::Forward | Fate::Egressd),
            Class::Dialled => own.egress != Egress::Closed && !closed.contain(to),
        }
    };
    let wrong = states::forbidden(&site(), &own.port, &states, keeps);
    let mut text = String::new();
    for state in &states {
        let word = if wrong.contains(&state) {
            "ends"
        } else {
            "stays"
        };
        writeln!(text, "{word} {:x} {}", state.id.0, state.interface).expect("a string");
    }
    text
}

#[test]
fn states_are_judged_by_the_policy_of_now() {
    let mut text = String::new();
    for (name, policy) in [
        ("open", Policy::OPEN),
        ("closed", Policy::CLOSED),
        ("names", names()),
        ("proxy", proxy()),
    ] {
        writeln!(text, "# {name}\n{}", left(&policy)).expect("a string");
    }
    same("judged.txt", &text);
}

#[test]
fn a_purge_ends_the_states_of_all_sandboxes_and_no_others() {
    let mut states: Vec<State> = listing::read(include_str!("golden/states.txt"));
    let own = states::of_instance(&site(), &states).len();
    assert!(own > 0);
    let foreign: SocketAddr = "192.0.2.1:80".parse().expect("an end");
    let end = states::End {
        before: foreign,
        after: foreign,
    };
    for state in &mut states {
        (state.source, state.destination, state.pipe) = (end, end, 0);
    }
    assert!(states::of_instance(&site(), &states).is_empty());
    states[0].destination.before = "10.200.0.127:1".parse().expect("an end");
    states[1].destination.before = "10.200.0.128:1".parse().expect("an end");
    states[2].pipe = 1002;
    let of: Vec<u64> = states::of_instance(&site(), &states)
        .iter()
        .map(|state| state.id.0)
        .collect();
    assert_eq!(of.first(), Some(&states[0].id.0));
    assert!(!of.contains(&states[1].id.0));
}

/// A state as the kernel tells it (pf_nl.c, `dump_state`).
fn told(state: &State) -> Vec<u8> {
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (source, destination) = (state.source, state.destination);
    let befores = [source.before, destination.before];
    let afters = [source.after, destination.after];
    let (wire, stack, turned) = match state.way {
        Way::In => (befores, afters, false),
        Way::Out => (afters, befores, true),
    };
    let key = |m: Message, kind, mut ends: [SocketAddr; 2]| {
        if turned {
            ends.swap(0, 1);
        }
        m.nest(kind, |m| {
            m.bytes(1, &address(ends[0].ip()))
                .bytes(2, &address(ends[1].ip()))
                .bytes(3, &ends[0].port().to_be_bytes())
                .bytes(4, &ends[1].port().to_be_bytes())
                .bytes(5, &[2])
                .bytes(6, &u16::from(state.protocol).to_ne_bytes())
        })
    };
    let message = Message::new(21, 0, &[1, 0, 0, 0]).bytes(28, &1301_u64.to_ne_bytes());
    let message = key(key(message, 5, wire), 6, stack);
    message
        .bytes(21, &[state.protocol])
        .bytes(19, &[2])
        .text(3, &state.interface)
        .text(4, &state.origin)
        .bytes(22, &[if state.way == Way::In { 1 } else { 2 }])
        .bytes(1, &state.id.0.to_ne_bytes())
        .be32(2, state.id.1)
        .bytes(34, &state.pipe.to_ne_bytes())
        .bytes(35, &0_u16.to_ne_bytes())
        .finish(7, 0)
}

#[test]
fn states_are_read_as_the_kernel_tells_them() {
    for state in listing::read(include_str!("golden/states.txt")) {
        let bytes = told(&state);
        let (.., payload) = messages(&bytes).next().expect("a message");
        assert_eq!(states::read(payload).as_ref(), Some(&state));
        for cut in 0..payload.len() {
            if let Some(read) = states::read(&payload[..cut]) {
                assert_eq!(read, state, "no state is read otherwise than it is");
            }
        }
    }
}
