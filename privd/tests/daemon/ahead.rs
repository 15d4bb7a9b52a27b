//! The cell made ahead of need: who gets it, and that nothing of one that nobody gets is left.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use warder_wire::gateway_priv::{Answer, Ask, AtDeadline};
use warder_wire::{FaultCode, Limits, SandboxId, plugin_priv};

use crate::cast::{gateway, lease, limits, plugin};
use crate::id;
use crate::stage::Instance;

/// The tree of the cell made ahead: the one that is no sandbox's of these.
fn made(stage: &mut Instance, sandboxes: &[&SandboxId]) -> SandboxId {
    let mut found = None;
    stage.until("a cell is made ahead", |stage| {
        let stored = stage.stored().into_iter();
        let mut others = stored.filter(|id| !sandboxes.contains(&id));
        found = others.next();
        found.is_some()
    });
    found.expect("found")
}

fn tree(stage: &Instance, sandbox: &SandboxId) -> PathBuf {
    stage.state().join("cells").join(sandbox.as_str())
}

fn inode(stage: &Instance, sandbox: &SandboxId) -> u64 {
    let tree = std::fs::metadata(tree(stage, sandbox));
    tree.expect("its tree").ino()
}

pub(crate) fn the_next_sandbox_like_the_last_gets_it() {
    let mut stage = Instance::start("on_stop keep");
    let (a, b, c) = (id(1), id(2), id(3));
    stage.create(&a);
    let ahead = made(&mut stage, &[&a]);
    let waiting = inode(&stage, &ahead);
    stage.create(&b);
    assert_eq!(inode(&stage, &b), waiting);
    assert!(!stage.stored().contains(&ahead), "it has one name");
    for (name, text) in [
        ("hostname", format!("{b}\n")),
        ("hosts", format!("127.0.0.1 localhost\n127.0.1.1 {b}\n")),
    ] {
        let file = tree(&stage, &b).join("up/etc").join(name);
        assert_eq!(std::fs::read_to_string(file).expect("made"), text);
    }
    let usage = gateway(&mut stage, Ask::Usage { sandbox: b.clone() });
    let Ok((Answer::Usage(usage), _)) = usage else {
        panic!("no usage");
    };
    assert!(usage.pids.is_none_or(|pids| pids == 1), "{usage:?}");

    // Its groups keep the name they were made as, and are its own for the next privd too.
    let before = stage.agent_pid(&b);
    for _ in 0..2 {
        stage.kill_privd();
        stage.start_privd();
        assert_eq!(stage.agent_pid(&b), before);
    }
    let usage = gateway(&mut stage, Ask::Usage { sandbox: b.clone() });
    let Ok((Answer::Usage(again), _)) = usage else {
        panic!("no usage");
    };
    assert_eq!(again.pids, Some(1).filter(|_| again.pids.is_some()));
    let groups = stage.in_cgroups(ahead.as_str());
    stage.destroy(&b);
    gateway(&mut stage, Ask::LeaseEnd { sandbox: b.clone() }).expect("ends");
    stage.until("its groups are gone", |stage| {
        groups.iter().all(|group| !group.exists()) && !stage.stored().contains(&b)
    });
    stage.create(&c);
    stage.greet(&c);
    assert_eq!(stage.terminate(), 0);
    // What was made ahead is not kept.
    let mut kept = stage.stored();
    kept.sort();
    assert_eq!(kept, [a, c]);
    stage.configure("on_stop remove");
    stage.start_privd();
    stage.stop_clean();
}

pub(crate) fn one_that_nobody_gets_leaves_nothing() {
    let mut stage = Instance::start("on_stop remove");
    let (a, b) = (id(1), id(2));
    stage.create(&a);
    let ahead = made(&mut stage, &[&a]);

    // Nobody may have its name, least of all a gateway that is not ours any more.
    let refused = gateway(&mut stage, lease(&ahead, "namespace", "base", 60_000));
    assert_eq!(refused.expect_err("is taken").code, FaultCode::Conflict);

    // One of another size is made anew; after the second, so is the one made ahead.
    let smaller = |sandbox: &SandboxId| Ask::LeaseOpen {
        sandbox: sandbox.clone(),
        backend: warder_wire::BackendName::new("namespace").expect("a name"),
        template: crate::cast::base(),
        limits: Limits {
            pids: 32,
            ..limits()
        },
        ttl_ms: 60_000,
        at_deadline: AtDeadline::Destroy,
        volumes: Vec::new(),
    };
    gateway(&mut stage, smaller(&b)).expect("opens");
    stage.clone_storage(&b, "base").expect("clones");
    assert!(stage.stored().contains(&ahead));
    gateway(&mut stage, Ask::LeaseEnd { sandbox: b.clone() }).expect("ends");

    // Whoever it was promised to may not come: it goes with the lease.
    gateway(&mut stage, lease(&b, "namespace", "base", 60_000)).expect("opens");
    gateway(&mut stage, Ask::LeaseEnd { sandbox: b.clone() }).expect("ends");
    let groups = stage.in_cgroups(ahead.as_str());
    stage.until("it is gone", |stage| {
        !stage.stored().contains(&ahead) && groups.iter().all(|group| !group.exists())
    });

    // And with privd, killed at any moment.
    let next = made(&mut stage, &[&a]);
    stage.kill_privd();
    assert!(stage.stored().contains(&next));
    stage.start_privd();
    assert_eq!(stage.stored(), std::slice::from_ref(&a));
    assert_eq!(stage.in_cgroups(next.as_str()), Vec::<PathBuf>::new());
    stage.greet(&a);
    stage.stop_clean();
}

pub(crate) fn without_it_each_is_made_anew() {
    let mut stage = Instance::start("on_stop remove\nready_cell no");
    let (a, b) = (id(1), id(2));
    stage.create(&a);
    stage.create(&b);
    stage.greet(&b);
    let mut stored = stage.stored();
    stored.sort();
    assert_eq!(stored, [a, b]);
    stage.stop_clean();
}

/// Its backend wants it smaller than its lease says: the tree is passed on, and the cell is another.
pub(crate) fn one_that_becomes_smaller_has_its_own_names() {
    let mut stage = Instance::start("on_stop remove");
    let (a, b) = (id(1), id(2));
    stage.create(&a);
    let ahead = made(&mut stage, &[&a]);
    let waiting = inode(&stage, &ahead);
    gateway(&mut stage, lease(&b, "namespace", "base", 60_000)).expect("opens");
    stage.clone_storage(&b, "base").expect("clones");
    assert_eq!(inode(&stage, &b), waiting);
    let cell = plugin_priv::Ask::CellCreate {
        op: crate::op(2),
        sandbox: b.clone(),
        limits: Limits {
            pids: 32,
            ..limits()
        },
    };
    plugin(&mut stage, cell).expect("is made");
    stage.greet(&b);
    let name = std::fs::read_to_string(tree(&stage, &b).join("up/etc/hostname"));
    assert_eq!(name.expect("made"), format!("{b}\n"));
    assert!(!stage.in_cgroups(b.as_str()).is_empty(), "its own groups");
    let left = stage.in_cgroups(ahead.as_str());
    stage.until("the other's are gone", |_| {
        left.iter().all(|group| !group.exists())
    });
    stage.stop_clean();
}
