//! What is tried, one after the other, in one world.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use warder_egress_sys::Origins;
use warder_freebsd::net::{self, Stack};
use warder_freebsd::sys::{Params, jail, process};
use warder_links::LinksError;
use warder_links::plan::SlotSpec;
use warder_pf::filter::Purpose;
use warder_wire::policy::{Proxy, ProxyHost};
use warder_wire::priv_net::slot_jail;
use warder_wire::{Bounds, Cidr, Policy, SandboxId};

use crate::guests::{Ended, chatter, inside, now, tcp, udp};
use crate::harm::{harm_is_noticed, switched_off_and_on};
use crate::taps::machines_are_held_too;
use crate::world::{HOST, INSIDE, OTHER, SERVER, World, sh};

type Trial = fn(&mut World);

const ALL: [(&str, Trial); 18] = [
    ("slots are jails with an end of a pair", slots_are_whole),
    (
        "names that somebody has are refused and left alone",
        taken_names_are_left,
    ),
    (
        "a cell is recognised by its name in its slot",
        cells_are_recognised,
    ),
    ("a closed sandbox reaches nothing", closed_is_closed),
    ("an open one reaches the internet as the host", open_is_open),
    (
        "closed ranges, the host and neighbours are not reached",
        nothing_inside_is_reached,
    ),
    ("denied addresses are refused at once", denied_is_refused),
    (
        "questions and pages come to egressd with what they were for",
        egressd_gets_what_is_its,
    ),
    ("what is refused is logged", refusals_are_logged),
    (
        "a tightening ends what it forbids and nothing else",
        flows_end_with_their_policy,
    ),
    ("forged addresses reach nothing", forged_is_dropped),
    (
        "egressd's sockets lead where the policy says",
        sockets_are_bound,
    ),
    ("so many flows and no more", flows_are_counted),
    ("so many bytes a second", bytes_are_counted),
    (
        "a sealed port passes nothing until it is unsealed",
        seals_hold,
    ),
    ("what is done to pf is noticed", harm_is_noticed),
    (
        "nothing passes while pf is off, and what may pass does again",
        switched_off_and_on,
    ),
    (
        "a machine's tap is held by the same rules",
        machines_are_held_too,
    ),
];

pub(crate) fn run(only: Option<&str>) -> usize {
    let mut world = World::new();
    let mut failed = 0;
    for (name, trial) in ALL {
        if only.is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let begun = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| trial(&mut world))).is_ok();
        failed += usize::from(!passed);
        println!(
            "{} {name} ({:.2} s)",
            if passed { "ok  " } else { "FAIL" },
            begun.elapsed().as_secs_f64()
        );
    }
    if catch_unwind(AssertUnwindSafe(|| world.end())).is_err() {
        println!("FAIL a purge leaves nothing");
        failed += 1;
    }
    failed
}

pub(crate) fn denying(list: &[&str]) -> Policy {
    let deny = list.iter().map(|c| c.parse::<Cidr>().expect("a network"));
    Policy {
        deny: deny.collect(),
        ..Policy::OPEN
    }
}

pub(crate) fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

fn slots_are_whole(world: &mut World) {
    let begun = Instant::now();
    let slots: Vec<_> = (0..5).map(|_| world.slot()).collect();
    println!(
        "    a slot is made in {:.1} ms",
        begun.elapsed().as_secs_f64() * 1e3 / 5.0
    );
    let slot = &slots[0];
    let name = slot.port.name.as_str();
    let outside = sh(&format!("ifconfig {name}"));
    let gateway = format!("inet {} netmask 0xfffffffe", slot.pair.gateway);
    let [a, b, c, d, e, f] = slot.pair.gateway_mac();
    let ether = format!("ether {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    for wanted in [
        &gateway,
        &ether,
        &format!("w{}s", world.tag),
        &"UP,".to_owned(),
    ] {
        assert!(outside.contains(wanted.as_str()), "{wanted}: {outside}");
    }
    assert!(!outside.contains("inet6 fe80"), "{outside}");
    let within = sh(&format!("ifconfig -j {}", slot.jid));
    for wanted in [
        format!("inet {} netmask 0xfffffffe", slot.pair.address),
        "inet 127.0.0.1".into(),
        "eth0:".into(),
    ] {
        assert!(within.contains(&wanted), "{wanted}: {within}");
    }
    assert!(!within.contains("inet6 fe80"), "{within}");
    let routes = sh(&format!("netstat -j {} -rn -f inet", slot.jid));
    assert!(routes.contains("default"), "{routes}");
    let param = |what: &str| sh(&format!("jls -j {} {what}", slot.jid)).trim().to_owned();
    assert_eq!(param("name"), slot_jail(world.tag, slot.counter));
    assert_eq!(
        (
            param("securelevel"),
            param("children.max"),
            param("persist")
        ),
        ("3".into(), "1".into(), "true".into())
    );
    let begun = Instant::now();
    for slot in slots {
        world.remove(slot);
    }
    println!(
        "    and removed in {:.1} ms",
        begun.elapsed().as_secs_f64() * 1e3 / 5.0
    );
}

fn taken_names_are_left(world: &mut World) {
    let host = Stack::own().expect("sockets");
    let spec = |counter| SlotSpec {
        pair: warder_links::plan::Pair::new(Ipv4Addr::new(10, 213, 0, 0), 40).expect("fits"),
        counter,
        ping_groups: (0, 0),
    };
    let params = Params::new()
        .text("name", slot_jail(world.tag, 900))
        .text("path", "/")
        .flag("persist");
    let jid = jail::create(&params).expect("a jail");
    assert!(matches!(
        world.maker.make(&spec(900)),
        Err(LinksError::Taken(_))
    ));
    assert!(
        jail::find(&slot_jail(world.tag, 900))
            .expect("a look")
            .is_some(),
        "it is not ours"
    );
    let port = warder_links::port_name(world.tag, 900);
    assert!(matches!(
        world.maker.remove(&port),
        Err(LinksError::Taken(_))
    ));
    assert!(jail::int(jid, "persist").is_ok(), "nor removed");
    jail::remove(jid).expect("goes");
    // A log of somebody else's stays his, and ours ours.
    let site = warder_links::Site::open(world.tag).expect("/var/run is root's");
    let (ours, pipes) = (world.ground.log, world.ground.pipes);
    let theirs = format!("pflog{}", ours + 1);
    host.create(&theirs).expect("a log");
    let numbers = world.router().numbers(&site, 64).expect("numbers");
    assert_eq!((numbers.log, numbers.pipes), (ours, pipes));
    drop(site);
    assert_eq!(
        sh(&format!("ifconfig {theirs} | grep -c w{}l", world.tag)).trim(),
        "0"
    );
    host.destroy(&theirs).expect("goes");
    let made = host.create("lo").expect("an interface");
    let name = warder_links::port_name(world.tag, 901);
    host.rename(&made, &name).expect("a name");
    assert!(matches!(
        world.maker.make(&spec(901)),
        Err(LinksError::Taken(_))
    ));
    assert!(host.mtu(&name).is_ok(), "it is not ours");
    assert!(
        jail::find(&slot_jail(world.tag, 901))
            .expect("a look")
            .is_none(),
        "nothing is left"
    );
    host.destroy(&name).expect("goes");
    // What a netd that was killed had begun to make, of each kind; and what is somebody else's.
    let mut links = net::Links::open().expect("netlink(4)");
    let description = warder_links::plan::description(world.tag);
    let half: Vec<String> = [("epair", "epair"), ("lo", "lo"), ("pflog", "pflog120")]
        .iter()
        .map(|(kind, name)| links.create(kind, name, &description).expect("made"))
        .collect();
    let other = links.create("lo", "lo", "mine").expect("made");
    assert_eq!(links.described("mine").expect("a list"), [other.as_str()]);
    let site = warder_links::Site::open(world.tag).expect("/var/run is root's");
    let opened = warder_links::Router::open(&site, &world.uplink);
    assert!(opened.expect("opens").1, "its own interface is there still");
    drop(site);
    for name in half {
        assert!(host.mtu(&name).is_err(), "{name} is gone");
    }
    assert!(host.mtu(&other).is_ok(), "it is not ours");
    host.destroy(&other).expect("goes");
    let log = world.ground.log;
    assert!(
        host.mtu(&format!("pflog{log}")).is_ok(),
        "the instance's own"
    );
    let left = sh("ifconfig -l | tr ' ' '\\n' | grep epair | wc -l");
    // One end of the internet's pair.
    assert_eq!(left.trim(), "1", "{left}");
}

fn cells_are_recognised(world: &mut World) {
    let slot = world.slot();
    let sandbox = SandboxId::from_random(&[7; 20]);
    let found = world.router().ports().expect("a list");
    let space = warder_links::Space::received(Vec::new()).expect("nothing travels");
    let id = (slot.counter, 0);
    let none = world
        .router()
        .recognise(&found, id, &sandbox, &space)
        .expect("a look");
    assert_eq!(none, Ok(()), "its cell may be being made");
    let name = format!(
        "{}.{}",
        slot_jail(world.tag, slot.counter),
        sandbox.as_str()
    );
    let params = Params::new()
        .text("name", &name)
        .text("path", "/")
        .flag("persist")
        .int("ip6", 0);
    jail::create(&params).expect("a jail in the slot");
    assert_eq!(
        world
            .router()
            .recognise(&found, id, &sandbox, &space)
            .expect("a look"),
        Ok(())
    );
    let other = SandboxId::from_random(&[8; 20]);
    assert!(
        world
            .router()
            .recognise(&found, id, &other, &space)
            .expect("a look")
            .is_err()
    );
    world.remove(slot);
    assert!(
        jail::find(&name).expect("a look").is_none(),
        "it goes with its slot"
    );
}

fn closed_is_closed(world: &mut World) {
    let slot = world.sandbox(&Policy::CLOSED);
    for port in [8080, 80, 443, 53] {
        assert_eq!(
            inside(Some(slot.jid), || tcp(World::at(port))),
            Ended::Refused,
            "TCP {port}"
        );
    }
    for port in [9000, 53] {
        let ended = inside(Some(slot.jid), || udp(World::at(port)));
        assert_ne!(ended, Ended::Answered, "UDP {port}");
    }
    let bare = world.slot();
    assert_eq!(
        inside(Some(bare.jid), || tcp(World::at(8080))),
        Ended::Silence,
        "without rules"
    );
    world.remove(bare);
    world.remove(slot);
}

fn open_is_open(world: &mut World) {
    let slot = world.sandbox(&Policy::OPEN);
    assert_eq!(
        inside(Some(slot.jid), || tcp(World::at(8080))),
        Ended::Answered
    );
    assert_eq!(
        inside(Some(slot.jid), || udp(World::at(9000))),
        Ended::Answered
    );
    let states = sh("pfctl -ss -vv");
    let own = format!("{HOST}:");
    assert!(
        states.contains(&own) && states.contains(&slot.port.address.to_string()),
        "{states}"
    );
    world.remove(slot);
}

fn nothing_inside_is_reached(world: &mut World) {
    let (slot, other) = (world.sandbox(&Policy::OPEN), world.sandbox(&Policy::OPEN));
    let _server = crate::guests::start(Some(other.jid), || {
        let listener = TcpListener::bind("0.0.0.0:8080");
        listener.map_or(1, |l| {
            for _ in l.incoming() {}
            0
        })
    });
    let own = TcpListener::bind((HOST, 7777)).expect("listens");
    std::thread::sleep(Duration::from_millis(200));
    for (to, what) in [
        (at(INSIDE, 8080), "a range closed to all"),
        (at(other.port.address, 8080), "a neighbour"),
        (at(HOST, 7777), "the host"),
        (at(slot.pair.gateway, 7777), "the host by the pair"),
        (
            at(world.uplink.router, warder_pf::LISTEN_TCP),
            "egressd itself",
        ),
        (at(Ipv4Addr::new(169, 254, 169, 254), 80), "metadata"),
    ] {
        let ended = inside(Some(slot.jid), || tcp(to));
        assert_ne!(ended, Ended::Answered, "{what}");
    }
    drop(own);
    assert_eq!(
        inside(Some(world.internet), || tcp(at(slot.port.address, 8080))),
        Ended::Refused,
        "from outside: no route"
    );
    world.remove(other);
    world.remove(slot);
}

fn denied_is_refused(world: &mut World) {
    let slot = world.sandbox(&denying(&[&format!("{OTHER}/32")]));
    assert_eq!(
        inside(Some(slot.jid), || tcp(World::at(8080))),
        Ended::Answered
    );
    let begun = Instant::now();
    assert_eq!(
        inside(Some(slot.jid), || tcp(at(OTHER, 8080))),
        Ended::Refused
    );
    assert!(begun.elapsed() < Duration::from_millis(900), "at once");
    assert_eq!(
        inside(Some(slot.jid), || udp(at(OTHER, 9000))),
        Ended::Refused,
        "UDP"
    );
    world.remove(slot);
}

fn egressd_gets_what_is_its(world: &mut World) {
    let slot = world.sandbox(&denying(&[&format!("{OTHER}/32")]));
    let origins = world
        .listeners
        .origins
        .as_ref()
        .expect("there is one")
        .try_clone()
        .expect("a copy");
    let origins = Origins::new(Some(origins)).expect("it answers");
    let udp_socket = UdpSocket::from(world.listeners.udp.try_clone().expect("a copy"));
    while udp_socket.recv(&mut [0; 64]).is_ok() {}
    udp_socket.set_nonblocking(false).expect("waits");
    udp_socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("waits");
    let own = |at: SocketAddr| match at {
        SocketAddr::V4(at) => at,
        SocketAddr::V6(_) => panic!("IPv6"),
    };
    let asked = at(Ipv4Addr::new(9, 9, 9, 9), 53);
    let (pid, _guest) = crate::guests::start(Some(slot.jid), || match udp(asked) {
        Ended::Answered => 0,
        _ => 1,
    });
    let mut bytes = [0; 64];
    let (n, from) = udp_socket.recv_from(&mut bytes).expect("a question");
    let from = own(from);
    assert_eq!((n, *from.ip()), (4, slot.port.address));
    world.listeners.reply(from, b"pong");
    let status = process::wait(pid, true).expect("a child").expect("ended");
    assert_eq!(status, 0, "the answer came from {asked}");

    let listener = TcpListener::from(world.listeners.tcp.try_clone().expect("a copy"));
    listener.set_nonblocking(false).expect("waits");
    // Connections of trials before wait there, of sandboxes that are gone.
    listener.set_nonblocking(true).expect("does not wait");
    while listener.accept().is_ok() {}
    listener.set_nonblocking(false).expect("waits");
    let page = at(OTHER, 80);
    let (_, _guest) = crate::guests::start(Some(slot.jid), || match tcp(page) {
        Ended::Answered => 0,
        _ => 1,
    });
    let (stream, from) = listener.accept().expect("a connection");
    let here = own(stream.local_addr().expect("bound"));
    assert_eq!(
        origins.of_connection(own(from), here).expect("its state"),
        page
    );
    drop(stream);
    listener.set_nonblocking(true).expect("as it was");
    udp_socket.set_nonblocking(true).expect("as it was");
    world.remove(slot);
}

fn refusals_are_logged(world: &mut World) {
    let slot = world.sandbox(&denying(&[&format!("{OTHER}/32")]));
    let mut log = File::from(world.listeners.log.try_clone().expect("a copy"));
    let mut bytes = vec![0; 65_536];
    while log.read(&mut bytes).is_ok_and(|n| n > 0) {}
    inside(Some(slot.jid), || tcp(at(OTHER, 8080)));
    std::thread::sleep(Duration::from_millis(300));
    let n = log.read(&mut bytes).expect("something is logged");
    let piece = &bytes[..n];
    let has = |needle: &[u8]| piece.windows(needle.len()).any(|w| w == needle);
    assert!(
        has(&OTHER.octets()) && has(&slot.port.address.octets()),
        "{n} bytes"
    );
    world.remove(slot);
}

/// The times of answers until one is enough. A flow that ends before that is one too few: it says so within seconds.
fn heard(times: &mut File, mut enough: impl FnMut(u64) -> bool) {
    loop {
        let mut time = [0; 8];
        times.read_exact(&mut time).expect("the flow goes on");
        if enough(u64::from_ne_bytes(time)) {
            return;
        }
    }
}

/// When the last answer was read, and how many were behind a moment. The first of those may have come before it, and waited
/// in the jail for its reader; what it answers to is the last that was let out.
pub(crate) fn last_of(mut times: File, moment: u64) -> (Option<u64>, usize) {
    let mut bytes = Vec::new();
    times.read_to_end(&mut bytes).expect("a pipe");
    let times = bytes.chunks_exact(8).filter_map(|t| t.try_into().ok());
    let times: Vec<u64> = times.map(u64::from_ne_bytes).collect();
    let behind = times.iter().filter(|time| **time >= moment).count();
    (times.last().copied(), behind)
}

fn flows_end_with_their_policy(world: &mut World) {
    for round in 0..5 {
        let mut slot = world.sandbox(&Policy::OPEN);
        let [mut allowed, mut forbidden] = [SERVER, OTHER].map(|to| {
            let (ours, theirs) = rustix::pipe::pipe().expect("a pipe");
            let times = File::from(theirs);
            let child = crate::guests::start(Some(slot.jid), || {
                chatter(at(to, 8080), times.try_clone().expect("a copy"))
            });
            (child, File::from(ours))
        });
        for (_, times) in [&mut allowed, &mut forbidden] {
            let mut count = 0;
            heard(times, |_| {
                count += 1;
                count == 20
            });
        }
        let begun = now();
        world.put(
            &mut slot,
            &denying(&[&format!("{OTHER}/32")]),
            Bounds::DEFAULT,
        );
        let answered = now();
        // What is allowed goes on.
        heard(&mut allowed.1, |time| time > answered + 100_000_000);
        std::thread::sleep(Duration::from_millis(500));
        let ((_, process), times) = forbidden;
        process::signal(std::os::fd::AsFd::as_fd(&process), 9).expect("a child");
        let (last, behind) = last_of(times, answered);
        assert!(
            behind < 2,
            "round {round}: {behind} exchanges behind the answer"
        );
        println!(
            "    last forbidden answer read {:.1} ms after the change was asked for, {behind} behind its answer after {:.1} ms",
            last.unwrap_or(begun).saturating_sub(begun) as f64 / 1e6,
            (answered - begun) as f64 / 1e6
        );
        drop(allowed);
        world.remove(slot);
    }
}

fn forged_is_dropped(world: &mut World) {
    let slot = world.sandbox(&Policy::OPEN);
    let reaches = |jid| inside(Some(jid), || tcp(World::at(8080)));
    assert_eq!(reaches(slot.jid), Ended::Answered);
    let stack = Stack::of_jail(slot.jid).expect("sockets");
    stack
        .set_mac("eth0", [2, 1, 9, 9, 9, 9])
        .expect("set by root of the host");
    assert_ne!(reaches(slot.jid), Ended::Answered, "another MAC");
    stack.set_mac("eth0", slot.pair.mac()).expect("set");
    assert_eq!(reaches(slot.jid), Ended::Answered);
    sh(&format!(
        "ifconfig -j {} eth0 inet 10.213.0.77/32 alias",
        slot.jid
    ));
    let forged = inside(Some(slot.jid), || {
        let out = std::process::Command::new("/usr/bin/nc")
            .args(["-w", "1", "-s", "10.213.0.77", &SERVER.to_string(), "8080"])
            .stdin(std::process::Stdio::null())
            .output();
        // The jail's root is /var/empty: no program is there, which must not look like success.
        match out {
            Ok(out) if out.status.success() => Ended::Answered,
            _ => Ended::Silence,
        }
    });
    assert_ne!(forged, Ended::Answered);
    let bound = inside(Some(slot.jid), || {
        let run = || -> std::io::Result<()> {
            let socket = UdpSocket::bind("10.213.0.77:0")?;
            socket.connect(World::at(9000))?;
            socket.set_read_timeout(Some(Duration::from_millis(700)))?;
            socket.send(b"ping")?;
            socket.recv(&mut [0; 4]).map(drop)
        };
        match run() {
            Ok(()) => Ended::Answered,
            Err(e) if e.raw_os_error() == Some(49) => Ended::Broken(49),
            Err(_) => Ended::Silence,
        }
    });
    assert_eq!(bound, Ended::Silence, "another address");
    world.remove(slot);
}

fn sockets_are_bound(world: &mut World) {
    let mut slot = world.sandbox(&Policy::OPEN);
    let owner = world.filter.owner(slot.port.mark, Purpose::Dial);
    let talk = |world: &mut World, to| -> std::io::Result<std::net::TcpStream> {
        let socket = world
            .router()
            .dial(owner, to, true)
            .map_err(std::io::Error::other)?;
        let stream = std::net::TcpStream::from(socket);
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_millis(1500)))?;
        stream.set_write_timeout(Some(Duration::from_millis(1500)))?;
        std::thread::sleep(Duration::from_millis(100));
        speak(&stream)?;
        Ok(stream)
    };
    let stream = talk(world, World::at(8080)).expect("leads there");
    let again = rustix::net::connect(&stream, &at(OTHER, 8080));
    assert!(again.is_err(), "it leads nowhere else");
    let socket = world
        .router()
        .dial(owner, World::at(9000), false)
        .expect("a socket");
    let sent = rustix::net::sendto(
        &socket,
        b"x",
        rustix::net::SendFlags::empty(),
        &at(OTHER, 9000),
    );
    println!("    addressed sendto: {sent:?}");
    assert!(sent.is_err(), "nor this");
    let inside_range = talk(world, at(INSIDE, 8080));
    assert!(inside_range.is_err(), "a range closed to all");
    // The operator's name servers may lie there.
    talk(world, at(INSIDE, 53)).expect("port 53 of the operator's");
    let kept = talk(world, at(OTHER, 8080)).expect("allowed");
    world.put(
        &mut slot,
        &denying(&[&format!("{OTHER}/32")]),
        Bounds::DEFAULT,
    );
    // Without pipes nothing tells egressd's flows apart, and all of the sandbox's end with any change.
    let marked = world.filter.lacks().is_none();
    if !marked {
        println!("    without dummynet what is allowed ends as well");
    }
    assert_eq!(speak(&stream).is_ok(), marked, "what is allowed goes on");
    let stream = if marked {
        stream
    } else {
        talk(world, World::at(8080)).expect("begins anew")
    };
    assert!(
        speak(&kept).is_err(),
        "what is not has ended, though egressd did not end it"
    );
    let proxied = Policy {
        proxy: Some(Proxy {
            host: ProxyHost::Address(SERVER),
            port: 1080,
            login: None,
        }),
        ..denying(&["0.0.0.0/0"])
    };
    world.put(&mut slot, &proxied, Bounds::DEFAULT);
    assert_eq!(speak(&stream).is_ok(), marked, "egressd judges by name now");
    let stream = if marked {
        stream
    } else {
        talk(world, World::at(8080)).expect("begins anew")
    };
    world.put(&mut slot, &Policy::CLOSED, Bounds::DEFAULT);
    assert!(
        speak(&stream).is_err() && talk(world, World::at(8080)).is_err(),
        "behind the air gap nothing"
    );
    let stranger = world.filter.owner(slot.port.mark + 1, Purpose::Dial);
    let socket = world.router().dial(stranger, World::at(8080), true);
    std::thread::sleep(Duration::from_millis(300));
    let open = socket.is_ok_and(|s| {
        let stream = std::net::TcpStream::from(s);
        stream.set_nonblocking(false).expect("waits");
        stream
            .set_read_timeout(Some(Duration::from_millis(500)))
            .expect("waits");
        stream.peer_addr().is_ok() && speak(&stream).is_ok()
    });
    assert!(!open, "of no sandbox");
    world.remove(slot);
}

fn speak(mut stream: &std::net::TcpStream) -> std::io::Result<()> {
    use std::io::Write;
    stream.write_all(b"ping")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)
}

fn flows_are_counted(world: &mut World) {
    let mut slot = world.slot();
    world.put(
        &mut slot,
        &Policy::OPEN,
        Bounds {
            flows: 3,
            ..Bounds::DEFAULT
        },
    );
    let count = inside(Some(slot.jid), || {
        let open = |_| {
            std::net::TcpStream::connect_timeout(
                &World::at(8080).into(),
                Duration::from_millis(500),
            )
            .ok()
        };
        let all: Vec<_> = (0..6).filter_map(open).collect();
        Ended::Broken(i32::try_from(all.len()).unwrap_or(50))
    });
    assert_eq!(count, Ended::Broken(3));
    world.remove(slot);
}

fn bytes_are_counted(world: &mut World) {
    if let Some(lacks) = world.filter.lacks() {
        println!("    {lacks}");
        return;
    }
    let mut slot = world.slot();
    world.put(
        &mut slot,
        &Policy::OPEN,
        Bounds {
            upload: 100_000,
            ..Bounds::DEFAULT
        },
    );
    let begun = Instant::now();
    let ended = inside(Some(slot.jid), || {
        let run = || -> std::io::Result<()> {
            use std::io::Write;
            let mut stream = std::net::TcpStream::connect(World::at(8080))?;
            let bytes = vec![7; 150_000];
            let mut reader = stream.try_clone()?;
            let all = std::thread::spawn(move || reader.read_exact(&mut vec![0; 150_000]));
            stream.write_all(&bytes)?;
            all.join().map_err(|_| std::io::ErrorKind::Other)?
        };
        if run().is_ok() {
            Ended::Answered
        } else {
            Ended::Broken(1)
        }
    });
    let took = begun.elapsed();
    println!("    150 kB at 100 kB/s took {took:?}");
    assert_eq!(ended, Ended::Answered);
    assert!(took > Duration::from_millis(1000));
    world.remove(slot);
}

fn seals_hold(world: &mut World) {
    let slot = world.sandbox(&Policy::OPEN);
    assert_eq!(
        inside(Some(slot.jid), || tcp(World::at(8080))),
        Ended::Answered
    );
    let name = slot.port.name.as_str().to_owned();
    world.router().seal(&name).expect("goes down");
    assert_ne!(
        inside(Some(slot.jid), || tcp(World::at(8080))),
        Ended::Answered
    );
    let found = world.router().ports().expect("a list");
    assert!(
        found.iter().any(|link| link.name == name && !link.up),
        "a seal is seen after a start"
    );
    let pair = slot.pair;
    world
        .router()
        .unseal(slot.counter, &pair)
        .expect("comes up");
    assert_eq!(
        inside(Some(slot.jid), || tcp(World::at(8080))),
        Ended::Answered
    );
    world.remove(slot);
    let _ = net::interfaces().expect("a list");
}
