//! A host with an instance, and an internet of one jail.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Instant;

use warder_desired::{Change, Ground, IfName, Port, Sandbox, closed};
use warder_freebsd::net::Stack;
use warder_freebsd::sys::{Params, jail};
use warder_links::plan::{Pair, SlotSpec, Uplink};
use warder_links::{Listeners, Maker, Router, Site, port_name};
use warder_pf::filter::Filter;
use warder_wire::priv_net::slot_jail;
use warder_wire::{Bounds, InstanceTag, Policy};

use crate::guests;

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(crate) const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// Of the server, in a range closed to all.
pub(crate) const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const BLOCK: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 0);
const INSTANCE: u16 = 7;
const INTERNET: &str = "warder-test-internet";

pub(crate) fn sh(line: &str) -> String {
    let out = Command::new("/bin/sh")
        .args(["-c", line])
        .output()
        .expect("sh(1)");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&out.stdout) + &text(&out.stderr)
}

/// A sandbox's slot, with its rules once they are put.
pub(crate) struct Slot {
    pub(crate) jid: i32,
    pub(crate) counter: u32,
    pub(crate) port: Port,
    pub(crate) pair: Pair,
    pub(crate) sandbox: Option<Sandbox>,
}

pub(crate) struct World {
    pub(crate) tag: InstanceTag,
    pub(crate) uplink: Uplink,
    pub(crate) router: Option<Router>,
    pub(crate) maker: Maker,
    pub(crate) filter: Filter,
    pub(crate) ground: Ground,
    pub(crate) listeners: Listeners,
    pub(crate) internet: i32,
    pub(crate) servers: Vec<OwnedFd>,
    route: Option<String>,
    next: u32,
}

impl World {
    pub(crate) fn new() -> Self {
        let old = sh("route -n get default 2>/dev/null | awk '/gateway/ {print $2}'");
        let old = Some(old.trim().to_owned()).filter(|gateway| !gateway.is_empty());
        let old = old.filter(|gateway| *gateway != SERVER.to_string());
        assert!(
            old.is_none() || std::env::var_os("WARDER_TEST_REPLACE_DEFAULT").is_some(),
            "the default route would be replaced for a while: say WARDER_TEST_REPLACE_DEFAULT=1"
        );
        // What a run before left, if it ended early.
        let left = warder_freebsd::net::interfaces().expect("a list");
        for interface in left.iter().filter(|i| i.addresses.contains(&HOST)) {
            sh(&format!("ifconfig {} destroy", interface.name));
        }
        sh(&format!(
            "jail -r {INTERNET}; route delete default; route delete -host {INSIDE}"
        ));
        let params = Params::new()
            .text("name", INTERNET)
            .text("path", "/")
            .flag("persist")
            .int("vnet", 1);
        let internet = jail::create(&params).expect("a jail with a network stack");
        let host = Stack::own().expect("sockets");
        let end = host.create("epair").expect("if_epair is loaded");
        let inner = format!("{}b", end.strip_suffix('a').expect("the end a"));
        host.move_to(&inner, internet).expect("moves");
        host.add_address(&end, HOST, 24).expect("an address");
        host.set_up(&end, true).expect("comes up");
        let there = Stack::of_jail(internet).expect("sockets of the jail");
        there
            .add_address("lo0", Ipv4Addr::LOCALHOST, 8)
            .expect("an address");
        there.set_up("lo0", true).expect("comes up");
        for address in [SERVER, OTHER, INSIDE] {
            there.add_address(&inner, address, 24).expect("an address");
        }
        there.set_up(&inner, true).expect("comes up");
        host.add_default(SERVER).expect("a default route");
        sh(&format!("route add -host {INSIDE} {SERVER}"));
        let servers = guests::servers(internet);

        let tag = InstanceTag::of_state_dir(b"warder-pf-test");
        let uplink = Uplink::new(tag, INSTANCE).expect("a number");
        let site = Site::open(tag).expect("/var/run is root's");
        let (mut router, _) = Router::open(&site, &uplink).expect("opens");
        // What a run before left.
        let mut maker = Maker::new(&router).expect("opens");
        for port in router.ports().expect("a list") {
            maker.remove(&port.name).expect("goes");
        }
        let numbers = router.numbers(&site, 64).expect("numbers of its own");
        let ground = Ground {
            tag,
            instance: INSTANCE,
            block: BLOCK,
            slots: 64,
            closed: closed(&[]),
            resolvers: vec![INSIDE],
            uplink: IfName::new(router.way_out()).expect("a name"),
            host_end: IfName::new(&uplink.host_name).expect("a name"),
            address: uplink.router,
            pipes: numbers.pipes,
            log: numbers.log,
        };
        assert_eq!(
            ground.uplink.as_str(),
            end,
            "the way out is the default route's"
        );
        let mut filter = Filter::open(ground.clone(), router.network()).expect("pf is loaded");
        filter
            .prepare()
            .expect("pf is enabled and its rules call these");
        filter.apply(Change::All(&[])).expect("rules load");
        router.claim_forwarding(&site).expect("forwards");
        // A process with a directory open goes into no jail (kern.chroot_allow_open_directories).
        drop(site);
        let listeners = router
            .listen(warder_pf::LISTEN_TCP, warder_pf::LISTEN_UDP, filter.log())
            .expect("listens");
        Self {
            tag,
            uplink,
            router: Some(router),
            maker,
            filter,
            ground,
            listeners,
            internet,
            servers,
            route: old,
            next: 0,
        }
    }

    pub(crate) fn router(&mut self) -> &mut Router {
        self.router.as_mut().expect("not purged")
    }

    /// A slot without rules.
    pub(crate) fn slot(&mut self) -> Slot {
        let index = self.next;
        self.next += 1;
        // Counters of two figures to the base of 36.
        let counter = index + 50;
        let pair = Pair::new(BLOCK, index).expect("in the block");
        let spec = SlotSpec {
            pair,
            counter,
            ping_groups: (0, 0),
        };
        self.maker.make(&spec).expect("a slot");
        let port = port_name(self.tag, counter);
        let flags = sh(&format!("ifconfig {port}"));
        assert!(!flags.contains("<UP,"), "down until it has rules: {flags}");
        self.router().begin(counter, &pair).expect("comes up");
        let jid = jail::find(&slot_jail(self.tag, counter))
            .expect("a look")
            .expect("its jail");
        Slot {
            jid,
            counter,
            port: Port {
                name: IfName::new(&port_name(self.tag, counter)).expect("a name"),
                address: pair.address,
                mac: pair.mac(),
                mark: index + 1,
            },
            pair,
            sandbox: None,
        }
    }

    /// Puts a policy in force for a slot, flows included, as netd does; how long it took in milliseconds.
    pub(crate) fn put(&mut self, slot: &mut Slot, policy: &Policy, bounds: Bounds) -> f64 {
        let new = Sandbox::new(slot.port.clone(), policy, bounds);
        let begun = Instant::now();
        let change = match &slot.sandbox {
            None => Change::Add(&new),
            Some(old) => Change::Replace { new: &new, old },
        };
        self.filter.apply(change).expect("rules load");
        let loaded = begun.elapsed();
        let (closed, egress) = (self.ground.closed.clone(), new.egress.clone());
        let resolvers = self.ground.resolvers.clone();
        let ended = self.filter.end(&slot.port, |class, to, payload| {
            use warder_desired::{Class, Egress, Fate, Payload};
            let Egress::Judged(judged) = &egress else {
                return false;
            };
            let fate = egress.fate(&closed, to, payload);
            let dns = matches!(payload, Payload::Udp(53) | Payload::Tcp(53));
            match class {
                Class::Forwarded => fate == Fate::Forward,
                Class::Intercepted => matches!(fate, Fate::Forward | Fate::Egressd),
                Class::Dialled => {
                    dns && resolvers.contains(&to)
                        || !closed.contain(to)
                            && (judged.names || judged.proxy || !judged.denied.contain(to))
                }
            }
        });
        ended.expect("states end");
        let whole = begun.elapsed().as_secs_f64() * 1e3;
        println!(
            "    policy: rules {:.1} ms, with states {whole:.1} ms",
            loaded.as_secs_f64() * 1e3
        );
        slot.sandbox = Some(new);
        whole
    }

    /// A slot with a policy.
    pub(crate) fn sandbox(&mut self, policy: &Policy) -> Slot {
        let mut slot = self.slot();
        self.put(&mut slot, policy, Bounds::DEFAULT);
        slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        if let Some(sandbox) = &slot.sandbox {
            self.filter
                .apply(Change::Remove(sandbox))
                .expect("rules go");
            self.filter.end_all(&slot.port).expect("states end");
        }
        self.maker.remove(slot.port.name.as_str()).expect("goes");
    }

    pub(crate) fn at(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(SERVER, port)
    }

    /// Everything of the instance goes; the internet too.
    pub(crate) fn end(mut self) {
        let router = self.router.take().expect("once");
        let site = Site::open(self.tag).expect("/var/run is root's");
        router.purge(site, &self.uplink).expect("purges");
        self.filter.remove().expect("rules go");
        drop(self.listeners);
        drop(self.servers);
        sh("route delete default");
        sh(&format!(
            "route delete -host {INSIDE}; ifconfig {} destroy; jail -r {INTERNET}",
            self.ground.uplink.as_str()
        ));
        if let Some(gateway) = self.route {
            sh(&format!("route add default {gateway}"));
        }
        let look = || {
            sh(&format!(
                "ifconfig -l | tr ' ' '\\n' | grep {tag}; jls name | grep {tag}; pfctl -a warder -sA -v 2>/dev/null | grep {tag}; pfctl -ss 2>/dev/null | grep ' 10[.]213[.]'",
                tag = self.tag
            ))
        };
        // An anchor goes with the last state of its rules, and pf purges those every ten seconds.
        let end = Instant::now() + std::time::Duration::from_secs(40);
        while !look().is_empty() && Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        assert_eq!(look(), "", "nothing is left");
    }
}
