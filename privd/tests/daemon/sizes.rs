//! How large a sandbox may be: the operator's word, whatever a gateway asks for.

use warder_wire::gateway_priv::{Answer, Ask};
use warder_wire::{FaultCode, Limits, SandboxId, plugin_priv};

use crate::cast::{gateway, lease, plugin};
use crate::stage::Instance;
use crate::stored::{remove_template, taken};
use crate::{id, op};

/// Opens a lease for as much as there is; what was granted.
fn greedy(stage: &mut Instance, sandbox: &SandboxId, template: &str) -> Limits {
    let mut ask = lease(sandbox, "namespace", template, 600_000);
    if let Ask::LeaseOpen { limits, .. } = &mut ask {
        *limits = Limits::MOST;
    }
    match gateway(stage, ask) {
        Ok((Answer::Leased { limits }, _)) => limits,
        other => panic!("{other:?}"),
    }
}

fn told(stage: &mut Instance, name: &str) -> Limits {
    match gateway(stage, Ask::TemplateList { after: None }) {
        Ok((Answer::Templates(page), _)) => {
            let found = page.iter().find(|template| template.name.as_str() == name);
            found.expect("listed").limits
        }
        other => panic!("{other:?}"),
    }
}

/// A captured gateway wants the host for itself.
pub(crate) fn no_gateway_makes_a_sandbox_larger_than_the_operator_says() {
    let mut stage = Instance::start(
        "on_stop remove\ntemplate_limits base pids 32 memory_mib 128\ntemplate_limits free memory_mib 65536",
    );
    let small = Limits {
        pids: 32,
        memory_mib: 128,
        ..Limits::DEFAULT
    };
    assert_eq!(told(&mut stage, "base"), small);
    assert_eq!(told(&mut stage, "bare"), Limits::DEFAULT);

    // As much as there is of it, and its backend no more than that.
    let a = id(1);
    assert_eq!(greedy(&mut stage, &a, "base"), small);
    stage.clone_storage(&a, "base").expect("clones");
    for larger in [
        Limits { pids: 33, ..small },
        Limits {
            memory_mib: 129,
            ..small
        },
        Limits {
            cpu_percent: 201,
            ..small
        },
        Limits {
            disk_mib: 10_241,
            ..small
        },
    ] {
        let cell = plugin_priv::Ask::CellCreate {
            op: op(2),
            sandbox: a.clone(),
            limits: larger,
        };
        let fault = plugin(&mut stage, cell).expect_err("refused");
        assert_eq!(fault.code, FaultCode::Refused, "{larger:?}");
    }

    // Nor through a snapshot, under a name that the operator gives more to.
    assert_eq!(taken(&mut stage, 10, &a, "free"), Ok(()));
    assert_eq!(told(&mut stage, "free"), small);
    let b = id(2);
    assert_eq!(greedy(&mut stage, &b, "free"), small);
    stage.clone_storage(&b, "free").expect("clones");

    // Nor with the lease of another template that had the name.
    let (bare, c) = (id(3), id(4));
    assert_eq!(greedy(&mut stage, &bare, "bare"), Limits::DEFAULT);
    stage.clone_storage(&bare, "bare").expect("clones");
    assert_eq!(taken(&mut stage, 10, &bare, "swapped"), Ok(()));
    assert_eq!(greedy(&mut stage, &c, "swapped"), Limits::DEFAULT);
    assert_eq!(remove_template(&mut stage, "swapped"), Ok(()));
    assert_eq!(taken(&mut stage, 11, &a, "swapped"), Ok(()));
    let fault = stage.clone_storage(&c, "swapped").expect_err("refused");
    assert_eq!(fault.code, FaultCode::Unavailable, "{fault}");

    // The operator says something else: it holds for those that are made from then on.
    stage.configure("on_stop remove\ntemplate_limits base pids 64");
    match gateway(&mut stage, Ask::Reload) {
        Ok((Answer::Reloaded { networks: None, .. }, _)) => {}
        other => panic!("{other:?}"),
    }
    let now = Limits {
        pids: 64,
        ..Limits::DEFAULT
    };
    assert_eq!(greedy(&mut stage, &id(5), "base"), now);
    // Those that had a lease get what it granted.
    let cell = plugin_priv::Ask::CellCreate {
        op: op(2),
        sandbox: b.clone(),
        limits: small,
    };
    plugin(&mut stage, cell).expect("made");
    stage.greet(&b);

    // The next privd says the same of what is made of snapshots.
    stage.kill_privd();
    stage.start_privd();
    assert_eq!(told(&mut stage, "swapped"), now);
    assert_eq!(greedy(&mut stage, &id(6), "free"), now);
    stage.stop_clean();
}
