//! Pausing and waking, asked for and at deadlines, and what is kept when somebody dies meanwhile.

use warder_wire::gateway_priv::{
    Answer, Ask, AtDeadline, EndReason, Event, LeaseState, PauseReason,
};
use warder_wire::{FaultCode, SandboxId, plugin_priv};

use crate::cast::{self, gateway, lease, plugin};
use crate::pids;
use crate::stage::{Instance, Part};
use crate::{id, op};

fn freeze(n: u8, sandbox: &SandboxId) -> plugin_priv::Ask {
    plugin_priv::Ask::CellFreeze {
        op: op(n),
        sandbox: sandbox.clone(),
    }
}

fn thaw(n: u8, sandbox: &SandboxId) -> plugin_priv::Ask {
    plugin_priv::Ask::CellThaw {
        op: op(n),
        sandbox: sandbox.clone(),
    }
}

pub(crate) fn stop(n: u8, sandbox: &SandboxId) -> plugin_priv::Ask {
    plugin_priv::Ask::CellStop {
        op: op(n),
        sandbox: sandbox.clone(),
    }
}

pub(crate) fn start(n: u8, sandbox: &SandboxId) -> plugin_priv::Ask {
    plugin_priv::Ask::CellCreate {
        op: op(n),
        sandbox: sandbox.clone(),
        limits: cast::limits(),
    }
}

pub(crate) fn done(stage: &mut Instance, ask: plugin_priv::Ask) {
    let said = format!("{ask:?}");
    let result = plugin(stage, ask);
    assert!(result.is_ok(), "{said}: {result:?}\n{}", stage.log());
}

fn refused(stage: &mut Instance, ask: plugin_priv::Ask, code: FaultCode) {
    let said = format!("{ask:?}");
    assert_eq!(plugin(stage, ask).expect_err(&said).code, code, "{said}");
}

fn state(stage: &mut Instance, sandbox: &SandboxId) -> Option<LeaseState> {
    let Ok((Answer::Leases(leases), _)) = gateway(stage, Ask::LeaseList { after: None }) else {
        panic!("no list");
    };
    let lease = leases.into_iter().find(|l| l.sandbox == *sandbox);
    lease.map(|lease| lease.state)
}

const FROZEN: Option<LeaseState> = Some(LeaseState::Paused { memory: true });
const STORED: Option<LeaseState> = Some(LeaseState::Paused { memory: false });

fn told(stage: &mut Instance, of: &SandboxId, with: bool, reason: PauseReason) {
    stage.until("the gateway is told of the pause", |stage| {
        stage.saw(|event| {
            matches!(event, Event::Paused { sandbox, memory, why }
                if sandbox == of && *memory == with && *why == reason)
        })
    });
    stage.forget_events();
}

fn set(stage: &mut Instance, sandbox: &SandboxId, ttl_ms: u64) {
    let sandbox = sandbox.clone();
    gateway(
        stage,
        Ask::LeaseSet {
            sandbox,
            ttl_ms,
            at_deadline: None,
        },
    )
    .expect("moves");
}

pub(crate) fn a_paused_sandbox_wakes() {
    let mut stage = Instance::start("on_stop remove\npause_reclaim yes");
    let a = id(1);
    stage.create(&a);
    let agent = stage.agent_pid(&a);
    done(&mut stage, freeze(10, &a));
    done(&mut stage, freeze(10, &a));
    told(&mut stage, &a, true, PauseReason::Asked);
    assert_eq!(state(&mut stage, &a), FROZEN);
    refused(&mut stage, freeze(11, &a), FaultCode::Conflict);
    refused(&mut stage, start(12, &a), FaultCode::Conflict);
    let link = gateway(&mut stage, Ask::LinkOpen { sandbox: a.clone() });
    assert_eq!(link.expect_err("frozen").code, FaultCode::Conflict);
    done(&mut stage, thaw(13, &a));
    refused(&mut stage, thaw(14, &a), FaultCode::Conflict);
    assert_eq!(stage.agent_pid(&a), agent);

    done(&mut stage, stop(15, &a));
    told(&mut stage, &a, false, PauseReason::Asked);
    assert_eq!(state(&mut stage, &a), STORED);
    assert_eq!((stage.cells(), stage.stored().contains(&a)), (0, true));
    refused(&mut stage, thaw(16, &a), FaultCode::NotFound);
    refused(&mut stage, stop(17, &a), FaultCode::Conflict);
    refused(&mut stage, freeze(18, &a), FaultCode::Conflict);
    done(&mut stage, start(19, &a));
    assert_eq!(state(&mut stage, &a), Some(LeaseState::Running));
    assert_ne!(stage.agent_pid(&a), agent);

    // A frozen one is stopped without having run.
    done(&mut stage, freeze(20, &a));
    done(&mut stage, stop(21, &a));
    assert_eq!(state(&mut stage, &a), STORED);
    done(&mut stage, start(22, &a));
    // However it is paused, it can be removed: by its backend, by the gateway, by stopping.
    let (b, c, d) = (id(2), id(3), id(4));
    for (n, sandbox) in [&b, &c, &d].into_iter().enumerate() {
        stage.create(sandbox);
        let n = 30 + u8::try_from(n).expect("three");
        done(&mut stage, freeze(n, sandbox));
    }
    stage.destroy(&b);
    set(&mut stage, &c, 0);
    stage.expect_end(&c, EndReason::Removed);
    assert_eq!(stage.cells(), 2);
    stage.stop_clean();
}

/// Each pause ends the link there is, so each wake has one more to open than the rate of links would let it.
pub(crate) fn each_wake_has_its_link() {
    let mut stage = Instance::start("on_stop remove");
    let a = id(1);
    stage.create(&a);
    for turn in 0..24 {
        done(&mut stage, freeze(100 + 2 * turn, &a));
        set(&mut stage, &a, 60_000);
        done(&mut stage, thaw(101 + 2 * turn, &a));
        let link = gateway(&mut stage, Ask::LinkOpen { sandbox: a.clone() });
        assert!(link.is_ok(), "{turn}: {link:?}");
    }
}

pub(crate) fn deadlines_pause() {
    let mut stage = Instance::start("on_stop remove");
    let (a, b) = (id(1), id(2));
    for (sandbox, memory) in [(&a, true), (&b, false)] {
        let mut open = lease(sandbox, "namespace", "base", 60_000);
        if let Ask::LeaseOpen { at_deadline, .. } = &mut open {
            *at_deadline = AtDeadline::Pause { memory };
        }
        gateway(&mut stage, open).expect("opens");
        stage.create_leased(sandbox);
    }
    // One of a pool was made for nobody; what its owner wants at the end outlives privd too.
    let c = id(3);
    stage.create(&c);
    let turn = Ask::LeaseSet {
        sandbox: c.clone(),
        ttl_ms: 60_000,
        at_deadline: Some(AtDeadline::Pause { memory: false }),
    };
    gateway(&mut stage, turn).expect("turns");
    stage.kill_privd();
    stage.start_privd();
    set(&mut stage, &c, 1);
    told(&mut stage, &c, false, PauseReason::Expired);
    gateway(&mut stage, Ask::LeaseEnd { sandbox: c }).expect("ends");
    let agent = stage.agent_pid(&a);
    set(&mut stage, &a, 1);
    told(&mut stage, &a, true, PauseReason::Expired);
    set(&mut stage, &b, 1);
    told(&mut stage, &b, false, PauseReason::Expired);
    assert_eq!(state(&mut stage, &a), FROZEN);
    assert_eq!(state(&mut stage, &b), STORED);
    // Woken without time it is paused again.
    done(&mut stage, thaw(10, &a));
    told(&mut stage, &a, true, PauseReason::Expired);
    done(&mut stage, start(11, &b));
    told(&mut stage, &b, false, PauseReason::Expired);
    set(&mut stage, &a, 60_000);
    assert_eq!(state(&mut stage, &a), FROZEN);
    done(&mut stage, thaw(12, &a));
    assert_eq!(stage.agent_pid(&a), agent);
    set(&mut stage, &b, 60_000);
    done(&mut stage, start(13, &b));
    stage.greet(&b);
    stage.stop_clean();
}

pub(crate) fn lost_memory_is_told_and_the_disk_kept() {
    let mut stage = Instance::start("on_stop remove");
    let (a, b, c) = (id(1), id(2), id(3));
    let mut agents = Vec::new();
    for sandbox in [&a, &b, &c] {
        stage.create(sandbox);
        agents.push(stage.agent_pid(sandbox));
        done(&mut stage, freeze(10, sandbox));
    }
    pids::kill_pid(agents[0]);
    told(&mut stage, &a, false, PauseReason::MemoryLost);
    assert_eq!(state(&mut stage, &a), STORED);
    stage.kill_privd();
    pids::kill_pid(agents[1]);
    stage.forget_slot(&c);
    stage.start_privd();
    stage.until("the losses are told", |stage| {
        let lost = |event: &Event| {
            matches!(
                event,
                Event::Paused {
                    memory: false,
                    why: PauseReason::MemoryLost,
                    ..
                }
            )
        };
        stage.count(lost) == 2
    });
    for sandbox in [&a, &b, &c] {
        assert_eq!(state(&mut stage, sandbox), STORED);
        refused(&mut stage, thaw(11, sandbox), FaultCode::NotFound);
        done(&mut stage, start(12, sandbox));
        stage.greet(sandbox);
    }
    stage.stop_clean();
}

pub(crate) fn paused_sandboxes_outlive_privd() {
    let mut stage = Instance::start("on_stop keep");
    let (frozen, stored, torn) = (id(1), id(2), id(3));
    for sandbox in [&frozen, &stored, &torn] {
        stage.create(sandbox);
    }
    let (agent, still) = (stage.agent_pid(&frozen), stage.agent_pid(&torn));
    done(&mut stage, freeze(10, &frozen));
    done(&mut stage, stop(10, &stored));
    for _ in 0..2 {
        stage.kill_privd();
        stage.start_privd();
    }
    // Killed between the freezer and the record.
    stage.kill_privd();
    stage.write_freezer(still);
    stage.start_privd();
    stage.greet(&torn);
    assert_eq!(stage.terminate(), 0);
    stage.configure("on_stop remove");
    stage.start_privd();
    assert_eq!(state(&mut stage, &frozen), FROZEN);
    assert_eq!(state(&mut stage, &stored), STORED);
    done(&mut stage, thaw(11, &frozen));
    assert_eq!(stage.agent_pid(&frozen), agent);
    done(&mut stage, start(11, &stored));
    stage.greet(&stored);
    done(&mut stage, freeze(12, &frozen));
    done(&mut stage, stop(12, &stored));
    stage.stop_clean();
}

pub(crate) fn freezing_and_thawing_in_turns_gains_no_time() {
    let mut stage = Instance::start("on_stop remove");
    let a = id(1);
    stage.create(&a);
    done(&mut stage, freeze(10, &a));
    set(&mut stage, &a, 1);
    stage.until("its deadline has passed", |stage| {
        let Ok((Answer::Leases(leases), _)) = gateway(stage, Ask::LeaseList { after: None }) else {
            panic!("no list");
        };
        leases[0].ttl_ms == 0
    });
    assert_eq!(state(&mut stage, &a), FROZEN);
    // Each pair arrives together, so that no other turn of the loop comes between.
    for n in 0..50 {
        stage.post_plugin(thaw(100 + n, &a));
        stage.post_plugin(freeze(100 + n, &a));
    }
    stage.expect_end(&a, EndReason::Expired);
    stage.stop_clean();
}

pub(crate) fn one_that_is_stopped_meanwhile_needs_no_slot() {
    let mut stage = Instance::start("on_stop remove");
    let a = id(1);
    stage.create(&a);
    done(&mut stage, freeze(10, &a));
    stage.forget_slot(&a);
    stage.hold_slots(true);
    stage.kill(Part::Net);
    stage.take(Part::Net);
    stage.until("its slot is to be taken back", |stage| {
        stage.adopting() == 1
    });
    done(&mut stage, stop(11, &a));
    stage.hold_slots(false);
    stage.take(Part::Egress);
    stage.until("netd serves again", |stage| {
        stage.saw(|event| matches!(event, Event::NetChannel))
    });
    assert_eq!(state(&mut stage, &a), STORED);
    done(&mut stage, start(12, &a));
    stage.greet(&a);
    stage.stop_clean();
}
