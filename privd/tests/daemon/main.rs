//! The real privd, with this program itself as netd, gatewayd, pluginhost and agent. Those hand their
//! channel to the test over a socket whose path follows from the tag, so that the test speaks for them.
//! Needs root; without it nothing is tested and the program says so.
#![forbid(unsafe_code)]

mod ahead;
mod bounds;
mod cast;
mod egress;
mod net;
mod pause;
mod pids;
mod quotas;
mod sizes;
mod stage;
mod stored;
mod tls;

use std::time::Duration;

use cast::{gateway, lease, plugin};
use stage::{Instance, Part};
use warder_wire::gateway_priv::{Answer, Ask, EndReason, Event, LeaseState};
use warder_wire::{FaultCode, OpId, SandboxId, plugin_priv};

fn main() {
    let name = std::env::args().next().unwrap_or_default();
    match name.as_str() {
        "netd" | "gatewayd" | "pluginhost" | "egressd" => return stage::play(),
        "envd" => return stage::agent(),
        _ => {}
    }
    if !rustix::process::geteuid().is_root() {
        println!("privd's daemon test needs root: nothing was tested");
        return;
    }
    // Mounts of a test stay in a mount namespace of its own.
    if std::env::var_os("OWN_MOUNTS").is_none() {
        let me = std::env::current_exe().expect("known");
        let mut again = std::process::Command::new("unshare");
        again
            .arg("-m")
            .arg(me)
            .args(std::env::args().skip(1))
            .env("OWN_MOUNTS", "1");
        let status = again.status().expect("util-linux is there");
        std::process::exit(status.code().unwrap_or(1));
    }
    let tests: [(&str, fn()); 40] = [
        (
            "a_sandbox_is_made_used_and_removed",
            a_sandbox_is_made_used_and_removed,
        ),
        (
            "steps_come_in_order_and_operations_once",
            steps_come_in_order_and_operations_once,
        ),
        (
            "what_is_not_in_the_table_ends_the_channel",
            what_is_not_in_the_table_ends_the_channel,
        ),
        (
            "a_guest_that_dies_is_reported_and_removed",
            a_guest_that_dies_is_reported_and_removed,
        ),
        (
            "deadlines_hold_without_a_gateway",
            deadlines_hold_without_a_gateway,
        ),
        ("a_killed_privd_loses_nothing", a_killed_privd_loses_nothing),
        (
            "what_is_not_whole_is_lost_and_removed",
            what_is_not_whole_is_lost_and_removed,
        ),
        ("netd_may_die_at_any_time", netd_may_die_at_any_time),
        (
            "kept_sandboxes_wait_for_the_next_privd",
            kept_sandboxes_wait_for_the_next_privd,
        ),
        (
            "a_purge_ends_what_a_stop_kept",
            a_purge_ends_what_a_stop_kept,
        ),
        ("a_paused_sandbox_wakes", pause::a_paused_sandbox_wakes),
        ("deadlines_pause", pause::deadlines_pause),
        (
            "lost_memory_is_told_and_the_disk_kept",
            pause::lost_memory_is_told_and_the_disk_kept,
        ),
        (
            "paused_sandboxes_outlive_privd",
            pause::paused_sandboxes_outlive_privd,
        ),
        (
            "what_a_removed_cell_left_goes_with_the_next_privd",
            what_a_removed_cell_left_goes_with_the_next_privd,
        ),
        ("each_wake_has_its_link", pause::each_wake_has_its_link),
        (
            "freezing_and_thawing_in_turns_gains_no_time",
            pause::freezing_and_thawing_in_turns_gains_no_time,
        ),
        (
            "one_that_is_stopped_meanwhile_needs_no_slot",
            pause::one_that_is_stopped_meanwhile_needs_no_slot,
        ),
        ("a_burst_of_sandboxes", a_burst_of_sandboxes),
        (
            "a_full_disk_stops_new_work_only",
            a_full_disk_stops_new_work_only,
        ),
        (
            "a_part_that_never_becomes_ready_ends_privd",
            a_part_that_never_becomes_ready_ends_privd,
        ),
        (
            "certificates_are_those_of_the_configuration",
            tls::certificates_are_those_of_the_configuration,
        ),
        (
            "what_cannot_start_claims_nothing",
            tls::what_cannot_start_claims_nothing,
        ),
        (
            "volumes_outlive_sandboxes_and_privd",
            stored::volumes_outlive_sandboxes_and_privd,
        ),
        (
            "snapshots_of_what_runs_and_what_does_not",
            stored::snapshots_of_what_runs_and_what_does_not,
        ),
        (
            "a_passing_snapshot_leaves_what_was_made_of_it",
            stored::a_passing_snapshot_leaves_what_was_made_of_it,
        ),
        (
            "a_snapshot_is_whole_or_absent",
            stored::a_snapshot_is_whole_or_absent,
        ),
        (
            "what_does_not_go_from_the_disk_is_left_to_the_next_start",
            stored::what_does_not_go_from_the_disk_is_left_to_the_next_start,
        ),
        (
            "egressd_is_joined_to_netd_and_the_gateway",
            egress::egressd_is_joined_to_netd_and_the_gateway,
        ),
        (
            "egressd_asks_nothing_of_privd",
            egress::egressd_asks_nothing_of_privd,
        ),
        (
            "no_snapshot_leads_out_of_an_air_gap",
            bounds::no_snapshot_leads_out_of_an_air_gap,
        ),
        (
            "no_pause_leads_out_of_an_air_gap",
            bounds::no_pause_leads_out_of_an_air_gap,
        ),
        (
            "bounds_are_said_again_when_the_configuration_changes",
            bounds::bounds_are_said_again_when_the_configuration_changes,
        ),
        (
            "sizes::no_gateway_makes_a_sandbox_larger_than_the_operator_says",
            sizes::no_gateway_makes_a_sandbox_larger_than_the_operator_says,
        ),
        (
            "quotas::volumes_have_the_size_of_the_configuration",
            quotas::volumes_have_the_size_of_the_configuration,
        ),
        (
            "the_next_sandbox_like_the_last_gets_it",
            ahead::the_next_sandbox_like_the_last_gets_it,
        ),
        (
            "one_that_nobody_gets_leaves_nothing",
            ahead::one_that_nobody_gets_leaves_nothing,
        ),
        (
            "one_that_becomes_smaller_has_its_own_names",
            ahead::one_that_becomes_smaller_has_its_own_names,
        ),
        (
            "so_many_at_once_get_one_each",
            ahead::so_many_at_once_get_one_each,
        ),
        (
            "without_it_each_is_made_anew",
            ahead::without_it_each_is_made_anew,
        ),
    ];
    warder_harness::alone::run(&tests);
}

fn id(n: u8) -> SandboxId {
    // One character holds 36 values.
    let mut bytes = [n; 20];
    bytes[0] = n / 36;
    SandboxId::from_random(&bytes)
}

fn op(n: u8) -> OpId {
    OpId([n; 16])
}

fn a_sandbox_is_made_used_and_removed() {
    let mut stage = Instance::start("on_stop remove");
    let a = id(1);
    stage.create(&a);
    let Ok((Answer::Leases(leases), _)) = gateway(&mut stage, Ask::LeaseList { after: None })
    else {
        panic!("no list");
    };
    assert_eq!((leases.len(), leases[0].state), (1, LeaseState::Running));
    stage.greet(&a);
    assert!(matches!(
        gateway(&mut stage, Ask::Usage { sandbox: a.clone() }),
        Ok((Answer::Usage(_), _))
    ));
    let Ok((Answer::Host(report), _)) = gateway(&mut stage, Ask::HostReport) else {
        panic!("no report");
    };
    let mut daemons = report.daemons.iter();
    let names: Vec<_> = daemons.clone().map(|(name, ..)| name.as_str()).collect();
    let all = ["netd", "gatewayd", "pluginhost-0", "egressd", "privd"];
    assert_eq!(names, all);
    // None of them is less than its own program's first pages, and none has run for a day.
    assert!(
        daemons.all(|(_, memory, us)| *memory > 100_000 && *us < 86_400_000_000),
        "{:?}",
        report.daemons
    );
    assert_eq!(
        plugin(&mut stage, plugin_priv::Ask::CellList { after: None }),
        Ok(plugin_priv::Answer::Cells(vec![a.clone()]))
    );
    stage.destroy(&a);
    assert!(matches!(
        gateway(&mut stage, Ask::LeaseEnd { sandbox: a.clone() }),
        Ok((Answer::Done, _))
    ));
    stage.expect_end(&a, EndReason::Removed);
    assert_eq!(
        gateway(&mut stage, Ask::LeaseEnd { sandbox: a.clone() })
            .expect_err("gone")
            .code,
        FaultCode::NotFound
    );
    // Again under the same name, once the kernel has let go of the old one.
    stage.create(&a);
    stage.greet(&a);
    stage.stop_clean();
}

fn steps_come_in_order_and_operations_once() {
    use plugin_priv::Ask as P;
    let mut stage = Instance::start("on_stop remove");
    let a = id(2);
    let limits = cast::limits();
    let clone = |n| P::StorageClone {
        op: op(n),
        sandbox: a.clone(),
        template: cast::base(),
    };
    let cell = |n| P::CellCreate {
        op: op(n),
        sandbox: a.clone(),
        limits,
    };
    let code = |result: Result<plugin_priv::Answer, warder_wire::Fault>| {
        result.map_err(|fault| fault.code)
    };
    assert_eq!(code(plugin(&mut stage, clone(1))), Err(FaultCode::NotFound));
    for (bad, expected) in [
        (lease(&a, "nosuch", "base", 60_000), FaultCode::NotFound),
        (
            lease(&a, "namespace", "nosuch", 60_000),
            FaultCode::NotFound,
        ),
        (lease(&a, "namespace", "base", 0), FaultCode::Refused),
        (lease(&a, "namespace", "base", u64::MAX), FaultCode::Refused),
    ] {
        assert_eq!(
            gateway(&mut stage, bad).expect_err("refused").code,
            expected
        );
    }
    gateway(&mut stage, lease(&a, "namespace", "base", 60_000)).expect("opens");
    assert_eq!(
        gateway(&mut stage, lease(&a, "namespace", "base", 60_000))
            .expect_err("twice")
            .code,
        FaultCode::Conflict
    );
    assert_eq!(code(plugin(&mut stage, cell(2))), Err(FaultCode::Conflict));
    assert_eq!(
        gateway(&mut stage, Ask::LinkOpen { sandbox: a.clone() })
            .expect_err("no cell")
            .code,
        FaultCode::Conflict
    );
    let other = warder_wire::TemplateName::new("other").expect("a name");
    assert_eq!(
        code(plugin(
            &mut stage,
            P::StorageClone {
                op: op(9),
                sandbox: a.clone(),
                template: other
            }
        )),
        Err(FaultCode::Refused)
    );
    assert_eq!(
        code(plugin(&mut stage, clone(1))),
        Ok(plugin_priv::Answer::Done)
    );
    assert_eq!(
        code(plugin(&mut stage, clone(1))),
        Ok(plugin_priv::Answer::Done)
    );
    assert_eq!(code(plugin(&mut stage, clone(3))), Err(FaultCode::Conflict));
    let above = warder_wire::Limits {
        memory_mib: limits.memory_mib + 1,
        ..limits
    };
    assert_eq!(
        code(plugin(
            &mut stage,
            P::CellCreate {
                op: op(4),
                sandbox: a.clone(),
                limits: above
            }
        )),
        Err(FaultCode::Refused)
    );
    // Both are answered, and there is one cell.
    let first = stage.post_plugin(cell(2));
    let second = stage.post_plugin(cell(2));
    assert!(matches!(
        stage.plugin_answer(first),
        Ok(plugin_priv::Answer::Cell { .. })
    ));
    assert!(matches!(
        stage.plugin_answer(second),
        Ok(plugin_priv::Answer::Cell { .. })
    ));
    assert_eq!(code(plugin(&mut stage, cell(5))), Err(FaultCode::Conflict));
    assert_eq!(
        code(plugin(
            &mut stage,
            P::StorageDestroy {
                op: op(6),
                sandbox: a.clone()
            }
        )),
        Err(FaultCode::Conflict)
    );
    assert_eq!(stage.cells(), 1);
    stage.destroy(&a);
    assert_eq!(stage.cells(), 0);
    stage.stop_clean();
}

fn what_is_not_in_the_table_ends_the_channel() {
    let mut stage = Instance::start("on_stop remove");
    let a = id(3);
    stage.create(&a);
    // A verb of the other border, junk, a descriptor that does not belong: each costs the channel.
    for attack in 0..4 {
        let player = stage.player(Part::Gateway);
        match attack {
            0 => player
                .channel
                .send(
                    &warder_wire::Request {
                        seq: 1,
                        body: 200_u8,
                    },
                    Vec::new(),
                )
                .expect("sends"),
            1 => player
                .channel
                .send(&vec![0xff_u8; 1000], Vec::new())
                .expect("sends"),
            2 => {
                let fd = rustix::fs::open(
                    "/dev/null",
                    rustix::fs::OFlags::RDONLY,
                    rustix::fs::Mode::empty(),
                )
                .expect("there");
                player
                    .channel
                    .send(
                        &warder_wire::Request {
                            seq: 1,
                            body: Ask::HostReport,
                        },
                        vec![fd],
                    )
                    .expect("sends");
            }
            _ => {
                let fd = rustix::fs::open(
                    "/dev/null",
                    rustix::fs::OFlags::RDONLY,
                    rustix::fs::Mode::empty(),
                )
                .expect("there");
                let body = Ask::TemplateImport {
                    template: warder_wire::TemplateName::new("x").expect("a name"),
                };
                player
                    .channel
                    .send(&warder_wire::Request { seq: 1, body }, vec![fd])
                    .expect("sends");
            }
        }
        stage.expect_channel_end(Part::Gateway);
        stage.take(Part::Gateway);
    }
    stage
        .player(Part::Plugin)
        .channel
        .send(&7_u8, Vec::new())
        .expect("sends");
    stage.expect_channel_end(Part::Plugin);
    stage.take(Part::Plugin);
    // The sandbox did not notice.
    stage.greet(&a);
    assert!(stage.log().contains("audit: gatewayd"));
    stage.stop_clean();
}

fn a_guest_that_dies_is_reported_and_removed() {
    let mut stage = Instance::start("on_stop remove");
    let a = id(4);
    stage.create(&a);
    stage.tell_agent_to_die(&a);
    stage.expect_end(&a, EndReason::GuestEnded);
    assert_eq!(
        gateway(&mut stage, Ask::LinkOpen { sandbox: a })
            .expect_err("gone")
            .code,
        FaultCode::NotFound
    );
    stage.stop_clean();
}

fn deadlines_hold_without_a_gateway() {
    let mut stage = Instance::start("on_stop remove");
    let (a, b) = (id(5), id(6));
    stage.create(&a);
    stage.create(&b);
    gateway(
        &mut stage,
        Ask::LeaseSet {
            sandbox: a.clone(),
            ttl_ms: 300,
            at_deadline: None,
        },
    )
    .expect("moves");
    gateway(
        &mut stage,
        Ask::LeaseSet {
            sandbox: b.clone(),
            ttl_ms: 1,
            at_deadline: None,
        },
    )
    .expect("moves");
    gateway(
        &mut stage,
        Ask::LeaseSet {
            sandbox: b.clone(),
            ttl_ms: 60_000,
            at_deadline: None,
        },
    )
    .map_or_else(
        |fault| {
            assert!(
                matches!(fault.code, FaultCode::Conflict | FaultCode::NotFound),
                "{fault}"
            );
        },
        |_| (),
    );
    stage.kill(Part::Gateway);
    stage.take(Part::Gateway);
    stage.until("the first has expired", |stage| {
        matches!(gateway(stage, Ask::LinkOpen { sandbox: a.clone() }), Err(fault) if fault.code == FaultCode::NotFound)
    });
    let ended = gateway(
        &mut stage,
        Ask::LeaseSet {
            sandbox: b.clone(),
            ttl_ms: 0,
            at_deadline: None,
        },
    );
    assert!(ended.is_ok() || ended.is_err_and(|fault| fault.code == FaultCode::NotFound));
    assert_eq!(stage.cells(), 0);
    stage.stop_clean();
}

fn a_killed_privd_loses_nothing() {
    let mut stage = Instance::start("on_stop remove");
    let (a, b) = (id(7), id(8));
    stage.create(&a);
    gateway(&mut stage, lease(&b, "namespace", "base", 60_000)).expect("opens");
    let before = stage.agent_pid(&a);
    for _ in 0..3 {
        stage.kill_privd();
        stage.start_privd();
        assert_eq!(stage.agent_pid(&a), before);
    }
    let clone = plugin_priv::Ask::StorageClone {
        op: op(1),
        sandbox: a.clone(),
        template: cast::base(),
    };
    assert_eq!(
        plugin(&mut stage, clone),
        Ok(plugin_priv::Answer::Done),
        "remembered by its number"
    );
    let Ok((Answer::Leases(leases), _)) = gateway(&mut stage, Ask::LeaseList { after: None })
    else {
        panic!("no list");
    };
    assert_eq!(leases.iter().map(|l| l.state).collect::<Vec<_>>().len(), 2);
    assert!(leases.iter().all(|l| l.ttl_ms > 0 && l.ttl_ms <= 60_000));
    stage.tell_agent_to_die(&a);
    stage.expect_end(&a, EndReason::GuestEnded);
    stage.stop_clean();
}

/// Its lease lives, cell and storage are gone, and privd dies before the groups are: the lease is whole, they are not.
fn what_a_removed_cell_left_goes_with_the_next_privd() {
    let mut stage = Instance::start("on_stop remove");
    let (a, b) = (id(7), id(8));
    stage.create(&a);
    gateway(&mut stage, lease(&b, "namespace", "base", 60_000)).expect("opens");
    let groups = stage.in_cgroups(a.as_str());
    assert!(!groups.is_empty(), "this host has control groups");
    stage.kill_privd();
    let left: Vec<_> = groups
        .iter()
        .map(|group| group.with_file_name(b.as_str()))
        .collect();
    for group in &left {
        std::fs::create_dir(group).expect("a group");
    }
    stage.start_privd();
    stage.until("what is left of no cell is removed", |_| {
        !left.iter().any(|group| group.exists())
    });
    assert!(groups.iter().all(|group| group.exists()));
    let ended = gateway(&mut stage, Ask::LeaseEnd { sandbox: b });
    assert!(matches!(ended, Ok((Answer::Done, _))));
    stage.stop_clean();
}

fn what_is_not_whole_is_lost_and_removed() {
    let mut stage = Instance::start("on_stop remove");
    let (dead, half, slotless) = (id(9), id(10), id(11));
    stage.create(&dead);
    stage.create(&slotless);
    gateway(&mut stage, lease(&half, "namespace", "base", 60_000)).expect("opens");
    let clone = plugin_priv::Ask::StorageClone {
        op: op(1),
        sandbox: half.clone(),
        template: cast::base(),
    };
    plugin(&mut stage, clone).expect("clones");
    let agent = stage.agent_pid(&dead);
    stage.forget_slot(&slotless);
    stage.kill_privd();
    pids::kill_pid(agent);
    stage.start_privd();
    for lost in [&dead, &half, &slotless] {
        stage.expect_end(lost, EndReason::Lost);
    }
    assert_eq!(stage.cells(), 0);
    stage.stop_clean();
}

fn netd_may_die_at_any_time() {
    let mut stage = Instance::start("on_stop remove");
    let (a, b) = (id(12), id(13));
    stage.create(&a);
    gateway(&mut stage, lease(&b, "namespace", "base", 60_000)).expect("opens");
    let clone = plugin_priv::Ask::StorageClone {
        op: op(1),
        sandbox: b.clone(),
        template: cast::base(),
    };
    plugin(&mut stage, clone).expect("clones");
    stage.kill(Part::Net);
    let create = plugin_priv::Ask::CellCreate {
        op: op(2),
        sandbox: b.clone(),
        limits: cast::limits(),
    };
    let asked = stage.post_plugin(create);
    stage.take_net();
    assert!(
        matches!(
            stage.plugin_answer(asked),
            Ok(plugin_priv::Answer::Cell { .. })
        ),
        "waited for netd"
    );
    stage.until("the gateway has its new channel to netd", |stage| {
        stage.saw(|event| matches!(event, Event::NetChannel))
    });
    stage.greet(&a);
    stage.greet(&b);
    stage.stop_clean();
}

fn kept_sandboxes_wait_for_the_next_privd() {
    let mut stage = Instance::start("on_stop keep");
    let a = id(14);
    stage.create(&a);
    let agent = stage.agent_pid(&a);
    assert_eq!(stage.terminate(), 0);
    assert!(pids::alive(agent));
    stage.configure("on_stop remove");
    stage.start_privd();
    assert_eq!(stage.agent_pid(&a), agent);
    stage.stop_clean();
}

fn a_purge_ends_what_a_stop_kept() {
    let mut stage = Instance::start("on_stop keep");
    let a = id(15);
    stage.create(&a);
    let agent = stage.agent_pid(&a);
    assert_eq!(stage.terminate(), 0);
    assert!(pids::alive(agent));
    assert_eq!(stage.cells(), 1);
    stage.purge();
}

fn a_burst_of_sandboxes() {
    let mut stage = Instance::start("on_stop remove");
    let all: Vec<SandboxId> = (20..70).map(id).collect();
    let begun = std::time::Instant::now();
    for sandbox in &all {
        stage.post_gateway(lease(sandbox, "namespace", "base", 60_000));
    }
    stage.settle_gateway(all.len());
    let clones: Vec<u64> = all
        .iter()
        .map(|sandbox| {
            stage.post_plugin(plugin_priv::Ask::StorageClone {
                op: op(1),
                sandbox: sandbox.clone(),
                template: cast::base(),
            })
        })
        .collect();
    let cells: Vec<u64> = all
        .iter()
        .map(|sandbox| {
            stage.post_plugin(plugin_priv::Ask::CellCreate {
                op: op(2),
                sandbox: sandbox.clone(),
                limits: cast::limits(),
            })
        })
        .collect();
    for seq in clones.into_iter().chain(cells) {
        stage.plugin_answer(seq).expect("made");
    }
    println!(
        "  50 cells in {:?} (the fake netd starts a process for each slot)",
        begun.elapsed()
    );
    assert_eq!(stage.cells(), 50);
    for sandbox in &all {
        stage.greet(sandbox);
    }
    std::thread::sleep(Duration::from_millis(50));
    stage.stop_clean();
}

fn a_full_disk_stops_new_work_only() {
    let mut stage = Instance::start_on_tmpfs("on_stop remove", "24m");
    let (a, b) = (id(80), id(81));
    stage.create(&a);
    stage.fill_disk();
    assert_eq!(
        gateway(&mut stage, lease(&b, "namespace", "base", 60_000))
            .expect_err("full")
            .code,
        FaultCode::NoSpace
    );
    stage.greet(&a);
    gateway(
        &mut stage,
        Ask::LeaseSet {
            sandbox: a.clone(),
            ttl_ms: 50_000,
            at_deadline: None,
        },
    )
    .expect("needs no room");
    stage.destroy(&a);
    gateway(&mut stage, Ask::LeaseEnd { sandbox: a.clone() }).expect("needs no room");
    stage.expect_end(&a, EndReason::Removed);
    stage.kill_privd();
    stage.start_privd();
    stage.stop_clean();
}

fn a_part_that_never_becomes_ready_ends_privd() {
    let stage = Instance::prepare("on_stop remove", None);
    stage.replace_part("netd", "/bin/false");
    assert_eq!(stage.run_to_end(), 1);
    assert!(
        stage.log().contains("giving up: netd never became ready"),
        "{}",
        stage.log()
    );
}
