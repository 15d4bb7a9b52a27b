//! netd's own life: start, kill -9, adoption, purge, neighbours, and what it does with bad messages.
#![cfg(target_os = "linux")]

mod common;

use std::time::{Duration, Instant};

use common::{
    ECHO, Instance, Netd, OPEN, PATIENCE, SERVER, assert_same, dial, echoes, id, on_a_host, run,
    run_inside,
};
use rustix::process::{Pid, Signal, kill_process};
use warder_ipc::Channel;
use warder_wire::Policy;
use warder_wire::gateway_net;
use warder_wire::{FaultCode, Message, Request, priv_net};

#[test]
fn a_purge_leaves_the_host_as_it_was() {
    on_a_host("a_purge_leaves_the_host_as_it_was", |world| {
        let before = world.picture();
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        dial(&ns, SERVER, ECHO).expect("open");
        assert!(
            world.picture() != before,
            "the picture shows what netd makes"
        );
        netd.purge();
        assert_same(&before, &world.picture());
        assert!(!instance.run_dir().exists());
        assert!(!std::path::Path::new("/run/warder/forwarding").exists());
        assert!(
            dial(&ns, SERVER, ECHO).is_err(),
            "a cell that still runs has no network left"
        );
        let end = Instant::now() + PATIENCE;
        while !run_inside(&ns, "ip -o link show type veth").is_empty() {
            assert!(Instant::now() < end, "the router's end of it lives");
            std::thread::sleep(Duration::from_millis(5));
        }
        // And it can begin again.
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);
        assert!(dial(&ns, SERVER, ECHO).is_ok());
        netd.purge();
        assert_same(&before, &world.picture());
    });
}

#[test]
fn forwarding_that_was_on_stays_on() {
    on_a_host("forwarding_that_was_on_stays_on", |world| {
        run("sysctl -qw net.ipv4.ip_forward=1");
        let before = world.picture();
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        netd.reconciled();
        netd.purge();
        assert_same(&before, &world.picture());
    });
}

#[test]
fn two_instances_do_not_touch_each_other() {
    on_a_host("two_instances_do_not_touch_each_other", |world| {
        let before = world.picture();
        let (one, two) = (Instance::new(1, 8, 1), Instance::new(2, 8, 1));
        let (mut a, mut b) = (one.start(), two.start());
        let (_, ns_a) = a.reconciled().sandbox(1, OPEN);
        let (slot_b, ns_b) = b.reconciled().sandbox(1, OPEN);
        assert!(dial(&ns_a, SERVER, ECHO).is_ok() && dial(&ns_b, SERVER, ECHO).is_ok());
        dial(&ns_a, slot_b.address, ECHO).expect_err("another instance's sandbox");
        dial(&ns_a, two.uplink().1, ECHO).expect_err("another instance's router");
        dial(&ns_a, two.uplink().0, ECHO).expect_err("another instance's host end");
        a.purge();
        let (mut stream, _) = dial(&ns_b, SERVER, ECHO).expect("forwarding is still needed");
        assert!(echoes(&mut stream));
        b.purge();
        assert_same(&before, &world.picture());
    });
}

#[test]
fn live_flows_outlive_netd() {
    on_a_host("live_flows_outlive_netd", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (slot_open, open) = netd.reconciled().sandbox(1, OPEN);
        let (_, closed) = netd.sandbox(2, Policy::CLOSED);
        let (_, lost) = netd.sandbox(3, OPEN);
        let (_, unleased) = netd.sandbox(4, OPEN);
        let (mut stream, _) = dial(&open, SERVER, ECHO).expect("open");
        let (mut stream_lost, _) = dial(&lost, SERVER, ECHO).expect("open");
        netd.kill();
        assert!(echoes(&mut stream), "nobody is needed for a live flow");

        let mut netd = instance.start();
        assert!(echoes(&mut stream), "nor does a new netd disturb it");
        netd.lease(&id(1));
        assert_eq!(netd.adopt(&id(1), &open).expect("whole"), slot_open);
        netd.adopt(&id(2), &closed).expect("whole");
        let wrong = netd.adopt(&id(3), &open).expect_err("another's namespace");
        assert_eq!(wrong.code, FaultCode::NotFound);
        let foreign = netd.adopt(&id(9), &open).expect_err("never had one");
        assert_eq!(foreign.code, FaultCode::NotFound);
        let file = std::fs::File::open("/dev/null").expect("there").into();
        netd.adopt(&id(3), &file).expect_err("not a namespace");
        netd.lease(&id(4));
        netd.reconciled();

        assert_eq!(netd.report().2, 2, "two were adopted");
        assert!(echoes(&mut stream));
        assert!(dial(&closed, SERVER, ECHO).is_err(), "its policy was kept");
        assert!(!echoes(&mut stream_lost), "what was not adopted is gone");
        assert!(dial(&lost, SERVER, ECHO).is_err() && dial(&unleased, SERVER, ECHO).is_err());
        // A lease that lives keeps policy and generation, and gets a new slot.
        assert_eq!(
            netd.set(&id(1), 1, Policy::CLOSED).expect_err("old").code,
            FaultCode::Conflict
        );
        netd.set(&id(1), 2, Policy::CLOSED).expect("in force");
        assert!(!echoes(&mut stream));
        let (_, again) = netd.take(&id(4)).expect("a slot");
        assert!(dial(&again, SERVER, ECHO).is_ok(), "policy of before");
        netd.set(&id(3), 2, OPEN)
            .expect_err("its lease was not named");
        wait_for_ports(&instance, &mut netd);
        netd.purge();
    });
}

/// Until the router has just the ports of taken and ready slots.
fn wait_for_ports(instance: &Instance, netd: &mut Netd) {
    let end = Instant::now() + PATIENCE;
    loop {
        let (_, ready, taken) = netd.report();
        let links = run_inside(&instance.router(), "ip -o link show type veth");
        let ports = links
            .lines()
            .filter(|line| !line.contains("uplink"))
            .count();
        if ports == usize::try_from(ready + taken).expect("small") {
            return;
        }
        assert!(
            Instant::now() < end,
            "{ready} ready, {taken} taken:\n{links}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn released_slots_leave_nothing_and_come_back() {
    on_a_host("released_slots_leave_nothing_and_come_back", |_| {
        let instance = Instance::new(1, 3, 1);
        let mut netd = instance.start();
        netd.reconciled();
        for round in 0..10 {
            let mut kept = Vec::new();
            for n in 0..3 {
                kept.push(netd.sandbox(round * 10 + n, OPEN));
            }
            let (extra, full) = (id(999), FaultCode::Exhausted);
            netd.lease(&extra);
            assert_eq!(netd.take(&extra).expect_err("all taken").code, full);
            let first = &kept[0];
            let again = netd.take(&id(round * 10)).expect("the same");
            assert_eq!(again.0, first.0);
            assert!(dial(&again.1, SERVER, ECHO).is_ok());
            drop(again);
            for n in 0..3 {
                netd.gone(&id(round * 10 + n));
            }
            netd.report();
            assert!(dial(&first.1, SERVER, ECHO).is_err(), "rules went first");
        }
        netd.wait_ready(1);
        wait_for_ports(&instance, &mut netd);
        let rules = run_inside(&instance.router(), "nft list ruleset");
        assert!(!rules.contains("chain denied_s"), "{rules}");
        assert_eq!(instance.flows(1), 0);
        netd.purge();
    });
}

#[test]
fn an_uplink_that_collides_is_refused() {
    on_a_host("an_uplink_that_collides_is_refused", |world| {
        for line in [
            "ip route add 198.19.0.0/16 via 203.0.113.1",
            "ip addr add 198.19.0.3/32 dev lo",
        ] {
            run(line);
            let before = world.picture();
            let instance = Instance::new(1, 8, 2);
            assert!(instance.try_start().is_err(), "{line}");
            assert_same(&before, &world.picture());
            run(&line.replace(" add ", " del "));
        }
        Instance::new(1, 8, 2).start().purge();
    });
}

#[test]
fn a_policy_finds_the_lease_that_was_opened_before_it() {
    on_a_host("a_policy_finds_the_lease_that_was_opened_before_it", |_| {
        let instance = Instance::new(1, 8, 0);
        let mut netd = instance.start();
        netd.reconciled();
        // All of it waits when netd looks, on two channels: more leases than it hears in one turn.
        let netd_itself = Pid::from_child(&netd.child);
        kill_process(netd_itself, Signal::STOP).expect("it runs");
        for n in 1..=100 {
            netd.lease(&id(n));
        }
        let policy = Request {
            seq: 1,
            body: gateway_net::Ask::PolicySet {
                sandbox: id(100),
                generation: 1,
                policy: OPEN,
            },
        };
        netd.gateway.send(&policy, Vec::new()).expect("sent");
        kill_process(netd_itself, Signal::CONT).expect("it is stopped");
        let (answer, _) = netd
            .gateway
            .recv_timeout::<Message<gateway_net::Answer, gateway_net::Event>>(PATIENCE)
            .expect("an answer");
        assert_eq!(
            answer,
            Message::Reply {
                seq: 1,
                result: Ok(gateway_net::Answer::InForce {
                    generation: 1,
                    airgap: false,
                })
            }
        );
        netd.purge();
    });
}

#[test]
fn bad_messages_end_their_channel() {
    on_a_host("bad_messages_end_their_channel", |_| {
        let instance = Instance::new(1, 8, 2);
        let mut netd = instance.start();
        let (_, ns) = netd.reconciled().sandbox(1, OPEN);

        // The gateway's: it alone ends, netd and its flows go on.
        let (extra, _keep) = Channel::pair().expect("socketpair");
        let policy = Request {
            seq: 1,
            body: gateway_net::Ask::PolicyGet { sandbox: id(1) },
        };
        netd.gateway
            .send(&policy, vec![extra.into_fd()])
            .expect("sent");
        netd.gateway
            .recv_timeout::<u8>(PATIENCE)
            .expect_err("a descriptor where none belongs");
        for verb in [7_u32, 200] {
            let (gateway, end) = Channel::pair().expect("socketpair");
            netd.post(priv_net::Ask::GatewayChannel, vec![end.into_fd()]);
            netd.gateway = gateway;
            netd.gateway.send(&(1_u64, verb), Vec::new()).expect("sent");
            netd.gateway
                .recv_timeout::<u8>(PATIENCE)
                .expect_err("no such verb");
        }
        let (gateway, end) = Channel::pair().expect("socketpair");
        netd.post(priv_net::Ask::GatewayChannel, vec![end.into_fd()]);
        netd.gateway = gateway;
        netd.set(&id(1), 1, OPEN).expect("a new gateway is heard");
        assert!(dial(&ns, SERVER, ECHO).is_ok());

        // privd's, out of phase: netd ends, and leaves the kernel as it is.
        netd.post(priv_net::Ask::ReconcileEnd, Vec::new());
        netd.privd
            .recv_timeout::<u8>(PATIENCE)
            .expect_err("out of phase");
        assert!(!netd.child.wait().expect("ours").success());
        assert!(dial(&ns, SERVER, ECHO).is_ok(), "kernel objects stay");
        let mut netd = instance.start();
        netd.adopt(&id(1), &ns).expect("whole");
        netd.reconciled().purge_by_ref();
    });
}

impl Netd {
    fn purge_by_ref(&mut self) {
        self.ask(priv_net::Ask::Purge, Vec::new()).expect("purges");
    }
}

/// Descriptors that whoever runs this test handed down to it, and it to netd: those that stay open across execve(2).
fn handed_down() -> usize {
    let flags = |entry: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(entry.ok()?.path()).ok()?;
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
        u32::from_str_radix(flags.trim(), 8).ok()
    };
    let own = std::fs::read_dir("/proc/self/fdinfo").expect("own descriptors");
    let close = rustix::fs::OFlags::CLOEXEC.bits();
    own.filter_map(flags).filter(|f| f & close == 0).count()
}

#[test]
fn netd_keeps_two_capabilities_and_ends_with_its_channel() {
    on_a_host(
        "netd_keeps_two_capabilities_and_ends_with_its_channel",
        |_| {
            let instance = Instance::new(1, 8, 2);
            let mut netd = instance.start();
            netd.reconciled().wait_ready(2);
            let pid = netd.child.id();
            let children = run(&format!("cat /proc/{pid}/task/{pid}/children"));
            assert_eq!(
                children.split_whitespace().count(),
                2,
                "two workers: {children}"
            );
            for pid in format!("{pid} {children}").split_whitespace() {
                let status =
                    std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
                // CAP_NET_ADMIN is 12, CAP_SYS_ADMIN is 21.
                for set in ["CapPrm", "CapEff", "CapBnd"] {
                    assert!(
                        status.contains(&format!("{set}:\t0000000000201000")),
                        "{status}"
                    );
                }
                assert!(status.contains("NoNewPrivs:\t1") && status.contains("Threads:\t1"));
                let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
                    .expect("it lives")
                    .count();
                assert!(open < 23 + handed_down(), "{open} descriptors");
            }
            assert!(netd.ready.confinement.contains("net_admin"));
            drop(std::mem::replace(
                &mut netd.privd,
                Channel::pair().expect("socketpair").0,
            ));
            assert!(netd.child.wait().expect("ours").success(), "an orderly end");
            let end = Instant::now() + PATIENCE;
            for worker in children.split_whitespace() {
                while std::path::Path::new(&format!("/proc/{worker}")).exists() {
                    assert!(Instant::now() < end, "worker {worker} outlives netd");
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        },
    );
}

#[test]
fn a_slot_becomes_no_machines_where_there_are_none() {
    on_a_host("a_slot_becomes_no_machines_where_there_are_none", |_| {
        let instance = Instance::new(1, 8, 1);
        let mut netd = instance.start();
        let netd = netd.reconciled();
        let tap = |n: u32| priv_net::Ask::SlotTap { sandbox: id(n) };
        let unknown = netd.ask(tap(9), Vec::new()).expect_err("no lease");
        assert_eq!(unknown.code, FaultCode::NotFound, "{unknown}");
        let (_, ns) = netd.sandbox(1, OPEN);
        let refused = netd.ask(tap(1), Vec::new()).expect_err("no machines");
        assert_eq!(refused.code, FaultCode::Unsupported, "{refused}");
        assert!(refused.detail.contains("bhyve"), "{refused}");
        dial(&ns, SERVER, ECHO).expect("the slot is as it was");
    });
}
