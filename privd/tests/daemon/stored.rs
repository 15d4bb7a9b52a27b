//! Volumes, snapshots and the templates they are: what outlives sandboxes.

use warder_wire::gateway_priv::{Answer, Ask, VolumeMount};
use warder_wire::{FaultCode, GuestPath, SandboxId, VolumeId};

use crate::cast::{gateway, lease, limits, plugin};
use crate::stage::Instance;
use crate::{id, op};

fn with_volumes(sandbox: &SandboxId, mounts: &[(&VolumeId, &str)]) -> Ask {
    let mut ask = lease(sandbox, "namespace", "base", 60_000);
    if let Ask::LeaseOpen { volumes, .. } = &mut ask {
        *volumes = mounts
            .iter()
            .map(|(volume, at)| VolumeMount {
                volume: (*volume).clone(),
                at: GuestPath::new(at).expect("a path"),
            })
            .collect();
    }
    ask
}

pub(crate) fn volumes_outlive_sandboxes_and_privd() {
    let mut stage = Instance::start("on_stop remove");
    let code = |stage: &mut Instance, ask| gateway(stage, ask).map_err(|fault| fault.code);
    let [one, two, absent] = [1, 2, 3].map(|n| VolumeId::from_random(&[n; 20]));
    let create = |volume: &VolumeId| Ask::VolumeCreate {
        volume: volume.clone(),
    };
    let remove = |volume: &VolumeId| Ask::VolumeRemove {
        volume: volume.clone(),
    };
    for volume in [&two, &one] {
        code(&mut stage, create(volume)).expect("made");
    }
    let twice = code(&mut stage, create(&one)).expect_err("twice");
    assert_eq!(twice, FaultCode::Conflict);
    let list = |stage: &mut Instance, after: Option<&VolumeId>| {
        let after = after.cloned();
        match gateway(stage, Ask::VolumeList { after }) {
            Ok((Answer::Volumes(page), _)) => page,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(list(&mut stage, None), [one.clone(), two.clone()]);
    assert_eq!(list(&mut stage, Some(&one)), std::slice::from_ref(&two));

    let a = id(1);
    for (mounts, expected) in [
        (vec![(&absent, "/data")], FaultCode::NotFound),
        (vec![(&one, "/data"), (&two, "/data")], FaultCode::Refused),
        (
            vec![(&one, "/data/in"), (&two, "/data")],
            FaultCode::Refused,
        ),
        (
            vec![(&one, "/data"), (&two, "/data/in")],
            FaultCode::Refused,
        ),
    ] {
        let told = code(&mut stage, with_volumes(&a, &mounts)).expect_err("refused");
        assert_eq!(told, expected);
    }
    let many: Vec<String> = (0..17).map(|n| format!("/data{n}")).collect();
    let many: Vec<_> = many.iter().map(|at| (&one, at.as_str())).collect();
    let told = code(&mut stage, with_volumes(&a, &many)).expect_err("refused");
    assert_eq!(told, FaultCode::Refused);

    // The last place is below a link: the cell is not made, and its lease can be ended.
    let mounts = [(&one, "/data"), (&two, "/data2"), (&one, "/bin/x")];
    gateway(&mut stage, with_volumes(&a, &mounts)).expect("opens");
    stage.clone_storage(&a, "base").expect("clones");
    let cell = warder_wire::plugin_priv::Ask::CellCreate {
        op: op(2),
        sandbox: a.clone(),
        limits: limits(),
    };
    let told = plugin(&mut stage, cell).expect_err("in the way");
    assert_eq!(told.code, FaultCode::Refused, "{told}");
    gateway(&mut stage, Ask::LeaseEnd { sandbox: a }).expect("ends");

    let b = id(2);
    gateway(&mut stage, with_volumes(&b, &mounts[..2])).expect("opens");
    stage.create_leased(&b);
    stage.greet(&b);
    for volume in [&one, &two] {
        let told = code(&mut stage, remove(volume)).expect_err("mounted");
        assert_eq!(told, FaultCode::Conflict);
    }
    stage.kill_privd();
    stage.start_privd();
    assert_eq!(list(&mut stage, None), [one.clone(), two.clone()]);
    let told = code(&mut stage, remove(&one)).expect_err("still mounted");
    assert_eq!(told, FaultCode::Conflict);
    gateway(&mut stage, Ask::LeaseEnd { sandbox: b }).expect("ends");
    code(&mut stage, remove(&one)).expect("removed");
    let told = code(&mut stage, remove(&one)).expect_err("gone");
    assert_eq!(told, FaultCode::NotFound);
    assert_eq!(list(&mut stage, None), [two]);
    stage.stop_clean();
}
