//! Volumes, snapshots and the templates they are: what outlives sandboxes.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use warder_wire::gateway_priv::{Answer, Ask, VolumeMount};
use warder_wire::plugin_priv::Ask as P;
use warder_wire::{FaultCode, GuestPath, SandboxId, TemplateName, VolumeId};

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
    let cell = P::CellCreate {
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

fn template(name: &str) -> TemplateName {
    TemplateName::new(name).expect("a name")
}

fn snapshot(n: u8, sandbox: &SandboxId, name: &str) -> P {
    P::StorageSnapshot {
        op: op(n),
        sandbox: sandbox.clone(),
        template: template(name),
    }
}

/// Begins to take a snapshot that the gateway has allowed.
fn take(stage: &mut Instance, n: u8, sandbox: &SandboxId, name: &str) -> u64 {
    let allow = Ask::SnapshotAllow {
        sandbox: sandbox.clone(),
        template: template(name),
        passing: false,
    };
    let _ = gateway(stage, allow);
    stage.post_plugin(snapshot(n, sandbox, name))
}

pub(crate) fn taken(
    stage: &mut Instance,
    n: u8,
    sandbox: &SandboxId,
    name: &str,
) -> Result<(), FaultCode> {
    let seq = take(stage, n, sandbox, name);
    let result = stage.plugin_answer(seq);
    result.map(drop).map_err(|fault| fault.code)
}

fn templates(stage: &mut Instance) -> Vec<String> {
    match gateway(stage, Ask::TemplateList { after: None }) {
        Ok((Answer::Templates(page), _)) => page
            .into_iter()
            .map(|t| t.name.as_str().to_owned())
            .filter(|name| name != "base" && name != "bare")
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// Puts files into what a sandbox has changed, as its root.
fn change(stage: &Instance, sandbox: &SandboxId, files: usize, size: usize) {
    let up = stage.state().join(format!("cells/{sandbox}/up"));
    let owner = std::fs::metadata(&up).expect("upper").uid();
    for n in 0..files {
        let file = up.join(format!("file{n}"));
        std::fs::write(&file, vec![b'x'; size]).expect("room");
        std::os::unix::fs::chown(&file, Some(owner), Some(owner)).expect("own");
    }
}

fn layers(stage: &Instance) -> usize {
    let layers = std::fs::read_dir(stage.state().join("layers")).expect("there");
    layers
        .flatten()
        .filter(|l| !l.file_name().as_encoded_bytes().starts_with(b"."))
        .count()
}

pub(crate) fn remove_template(stage: &mut Instance, name: &str) -> Result<(), FaultCode> {
    let template = template(name);
    let removed = gateway(stage, Ask::TemplateRemove { template });
    removed.map(drop).map_err(|fault| fault.code)
}

pub(crate) fn snapshots_of_what_runs_and_what_does_not() {
    let mut stage = Instance::start("on_stop remove");
    let a = id(1);
    stage.create(&a);
    change(&stage, &a, 3, 5000);
    let before = layers(&stage);
    let ok = |stage: &mut Instance, ask| {
        let result = plugin(stage, ask);
        assert!(result.is_ok(), "{result:?}\n{}", stage.log());
    };
    let code = |stage: &mut Instance, ask| plugin(stage, ask).expect_err("refused").code;
    // No backend makes a template of its own accord, or another one than it was allowed, or of another sandbox.
    let unasked = snapshot(9, &a, "one");
    assert_eq!(code(&mut stage, unasked), FaultCode::Refused);
    let c = id(3);
    stage.create(&c);
    let allow = |sandbox: &SandboxId, name: &str| Ask::SnapshotAllow {
        sandbox: sandbox.clone(),
        template: template(name),
        passing: false,
    };
    gateway(&mut stage, allow(&a, "one")).expect("allowed");
    for (n, sandbox, name) in [(8, &a, "two"), (7, &c, "one")] {
        assert_eq!(
            code(&mut stage, snapshot(n, sandbox, name)),
            FaultCode::Refused
        );
    }
    assert!(gateway(&mut stage, allow(&id(9), "one")).is_err());
    // What is given up is not made later.
    gateway(&mut stage, allow(&c, "late")).expect("allowed");
    let given_up = remove_template(&mut stage, "late");
    assert_eq!(given_up, Err(FaultCode::NotFound));
    let late = snapshot(6, &c, "late");
    assert_eq!(code(&mut stage, late), FaultCode::Refused);
    assert!(templates(&mut stage).is_empty());
    gateway(&mut stage, Ask::LeaseEnd { sandbox: c }).expect("ends");
    ok(&mut stage, snapshot(10, &a, "one"));
    // Again is the same one; under another number it is taken, as are privd's own.
    ok(&mut stage, snapshot(10, &a, "one"));
    for name in ["one", "base", "bare"] {
        let told = taken(&mut stage, 11, &a, name);
        assert_eq!(told, Err(FaultCode::Conflict));
    }
    let absent = taken(&mut stage, 12, &id(9), "two");
    assert_eq!(absent, Err(FaultCode::NotFound));
    stage.greet(&a);

    let freeze = P::CellFreeze {
        op: op(13),
        sandbox: a.clone(),
    };
    ok(&mut stage, freeze);
    assert_eq!(taken(&mut stage, 14, &a, "frozen"), Ok(()));
    assert_eq!(
        code(
            &mut stage,
            P::CellFreeze {
                op: op(15),
                sandbox: a.clone()
            }
        ),
        FaultCode::Conflict,
        "still paused"
    );
    ok(
        &mut stage,
        P::CellStop {
            op: op(16),
            sandbox: a.clone(),
        },
    );
    assert_eq!(taken(&mut stage, 17, &a, "stored"), Ok(()));
    assert_eq!(templates(&mut stage), ["frozen", "one", "stored"]);
    assert_eq!(layers(&stage), before + 3);

    // Its parent can go, and what it was made of, while it runs and privd is killed.
    let b = id(2);
    gateway(&mut stage, lease(&b, "namespace", "one", 60_000)).expect("opens");
    stage.clone_storage(&b, "one").expect("clones");
    for name in ["one", "frozen", "stored"] {
        assert_eq!(remove_template(&mut stage, name), Ok(()));
        assert_eq!(remove_template(&mut stage, name), Err(FaultCode::NotFound));
    }
    gateway(&mut stage, Ask::LeaseEnd { sandbox: a }).expect("ends");
    assert_eq!(layers(&stage), before + 1);
    ok(
        &mut stage,
        P::CellCreate {
            op: op(2),
            sandbox: b.clone(),
            limits: limits(),
        },
    );
    stage.greet(&b);
    stage.kill_privd();
    stage.start_privd();
    assert_eq!(layers(&stage), before + 1);
    stage.greet(&b);
    assert_eq!(taken(&mut stage, 10, &b, "again"), Ok(()));
    gateway(&mut stage, Ask::LeaseEnd { sandbox: b }).expect("ends");
    assert_eq!(layers(&stage), before + 2);
    assert_eq!(remove_template(&mut stage, "again"), Ok(()));
    assert_eq!(layers(&stage), before);
    stage.stop_clean();
}

/// What carries a fork over goes with privd; what was made of it does not.
pub(crate) fn a_passing_snapshot_leaves_what_was_made_of_it() {
    let mut stage = Instance::start("on_stop remove");
    let (a, b) = (id(1), id(2));
    stage.create(&a);
    change(&stage, &a, 3, 5000);
    let before = layers(&stage);
    let pass = |stage: &mut Instance, n: u8, name: &str| {
        let allow = Ask::SnapshotAllow {
            sandbox: id(1),
            template: template(name),
            passing: true,
        };
        gateway(stage, allow).expect("allowed");
        let taken = plugin(stage, snapshot(n, &id(1), name));
        assert!(taken.is_ok(), "{taken:?}\n{}", stage.log());
    };
    pass(&mut stage, 10, "unused");
    pass(&mut stage, 11, "used");
    assert_eq!(templates(&mut stage), ["unused", "used"]);
    gateway(&mut stage, lease(&b, "namespace", "used", 60_000)).expect("opens");
    stage.clone_storage(&b, "used").expect("clones");
    let create = P::CellCreate {
        op: op(2),
        sandbox: b.clone(),
        limits: limits(),
    };
    plugin(&mut stage, create).expect("made");
    stage.kill_privd();
    stage.start_privd();
    assert!(templates(&mut stage).is_empty());
    assert_eq!(layers(&stage), before + 1);
    stage.greet(&b);
    // And a lasting one of that lasts.
    assert_eq!(taken(&mut stage, 12, &b, "lasting"), Ok(()));
    gateway(&mut stage, Ask::LeaseEnd { sandbox: b }).expect("ends");
    stage.kill_privd();
    stage.start_privd();
    assert_eq!(templates(&mut stage), ["lasting"]);
    pass(&mut stage, 13, "removed");
    assert_eq!(remove_template(&mut stage, "removed"), Ok(()));
    assert_eq!(remove_template(&mut stage, "lasting"), Ok(()));
    assert_eq!(layers(&stage), before);
    stage.stop_clean();
}

pub(crate) fn a_snapshot_is_whole_or_absent() {
    let mut stage = Instance::start("on_stop remove");
    let a = id(1);
    stage.create(&a);
    change(&stage, &a, 400, 20_000);
    let before = layers(&stage);
    for round in 0..8_u8 {
        // At another moment each time, from before the copy to after the answer.
        let name = format!("s{round}");
        take(&mut stage, 20 + round, &a, &name);
        std::thread::sleep(std::time::Duration::from_millis(u64::from(round) * 12));
        stage.kill_privd();
        stage.start_privd();
        stage.greet(&a);
        let there = templates(&mut stage);
        assert_eq!(layers(&stage), before + there.len(), "{there:?}");
        for name in there {
            let manifest = stage.state().join(format!("templates/{name}"));
            let manifest = std::fs::read_to_string(manifest).expect("manifest");
            let layer = stage
                .state()
                .join("layers")
                .join(manifest.lines().next().expect("a layer"));
            let files = std::fs::read_dir(layer.join("up")).expect("there").count();
            assert_eq!(files, 401, "400 and /etc");
            assert_eq!(remove_template(&mut stage, &name), Ok(()));
        }
    }
    // The sandbox ends, or the template is given up, meanwhile: whoever waits is told, and nothing is left.
    for round in 0..4_u8 {
        let sandbox = id(10 + round);
        stage.create(&sandbox);
        change(&stage, &sandbox, 400, 20_000);
        let name = format!("t{round}");
        let seq = take(&mut stage, 40, &sandbox, &name);
        stage.until("it has begun", |stage| {
            let all = std::fs::read_dir(stage.state().join("layers")).expect("there");
            let mut all = all
                .flatten()
                .filter_map(|l| l.file_name().into_string().ok());
            all.any(|l| l.trim_start_matches('.').starts_with(&name))
        });
        let given_up = match round % 2 {
            0 => gateway(
                &mut stage,
                Ask::LeaseEnd {
                    sandbox: sandbox.clone(),
                },
            )
            .map(drop),
            _ => gateway(
                &mut stage,
                Ask::TemplateRemove {
                    template: template(&name),
                },
            )
            .map(drop),
        };
        given_up.expect("given up");
        let told = stage
            .plugin_answer(seq)
            .map(drop)
            .map_err(|fault| fault.code);
        let there = templates(&mut stage);
        assert_eq!(
            there.contains(&name),
            told.is_ok() && round % 2 == 0,
            "{round}: {told:?}"
        );
        if told.is_ok() && round % 2 == 0 {
            assert_eq!(remove_template(&mut stage, &name), Ok(()));
        }
        if round % 2 == 1 {
            stage.greet(&sandbox);
            gateway(&mut stage, Ask::LeaseEnd { sandbox }).expect("ends");
        }
    }
    gateway(&mut stage, Ask::LeaseEnd { sandbox: a }).expect("ends");
    stage.until("nothing is left of them", |stage| layers(stage) == before);
    stage.stop_clean();
}

/// What was removed and does not go from the disk holds up no stop, and is gone when it can go.
pub(crate) fn what_does_not_go_from_the_disk_is_left_to_the_next_start() {
    let mut stage = Instance::prepare("on_stop remove", None);
    let stuck = stage.state().join("trash/stuck");
    std::fs::create_dir_all(&stuck).expect("own");
    std::fs::write(stuck.join("file"), "x").expect("own");
    let immutable = |flag: &str| {
        let mut chattr = Command::new("chattr");
        let done = chattr.arg(flag).arg(stuck.join("file")).status();
        assert!(done.expect("chattr(1)").success());
    };
    immutable("+i");
    stage.start_privd();
    let code = stage.terminate();
    immutable("-i");
    assert_eq!(code, 0, "{}", stage.log());
    assert!(
        stage.log().contains("the next start goes on"),
        "{}",
        stage.log()
    );
    assert!(stuck.exists() && !stage.run_dir().exists());
    stage.start_privd();
    stage.stop_clean();
}
