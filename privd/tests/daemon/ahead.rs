//! Cells made ahead of need: who gets them, and that nothing of one that nobody gets is left.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use warder_wire::gateway_priv::{Answer, Ask, AtDeadline};
use warder_wire::{FaultCode, Limits, SandboxId, plugin_priv};

use crate::cast::{gateway, lease, limits, plugin};
use crate::id;
use crate::stage::Instance;

/// The tree of the cell made ahead: the one that is no sandbox's of these.
fn made(stage: &mut Instance, sandboxes: &[&SandboxId]) -> SandboxId {
    let mut made = all_made(stage, sandboxes, 1);
    made.pop().expect("waited for")
}

/// The trees of all, of which there must be `count`.
fn all_made(stage: &mut Instance, sandboxes: &[&SandboxId], count: usize) -> Vec<SandboxId> {
    let mut found = Vec::new();
    stage.until("cells are made ahead", |stage| {
        let stored = stage.stored().into_iter();
        found = stored.filter(|id| !sandboxes.contains(&id)).collect();
        found.len() == count
    });
    found
}

fn tree(stage: &Instance, sandbox: &SandboxId) -> PathBuf {
    stage.state().join("cells").join(sandbox.as_str())
}

fn inode(stage: &Instance, sandbox: &SandboxId) -> u64 {
    let tree = std::fs::metadata(tree(stage, sandbox));
    tree.expect("its tree").ino()
}

pub(crate) fn the_next_sandbox_like_the_last_gets_it() {
    let mut stage = Instance::start("on_stop keep\nready_cells 1");
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
    let mut stage = Instance::start("on_stop remove\nready_cells 1");
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

pub(crate) fn so_many_at_once_get_one_each() {
    let mut stage = Instance::start("on_stop remove\nready_cells 3");
    let (first, next) = (id(1), [2, 3, 4, 5].map(id));
    stage.create(&first);
    let ahead = all_made(&mut stage, &[&first], 3);
    let mut waiting: Vec<u64> = ahead.iter().map(|name| inode(&stage, name)).collect();
    // All are promised before the first is handed over; the fourth comes too late.
    for sandbox in &next {
        gateway(&mut stage, lease(sandbox, "namespace", "base", 60_000)).expect("opens");
    }
    let fourth = &next[3];
    stage.clone_storage(fourth, "base").expect("clones");
    assert!(!waiting.contains(&inode(&stage, fourth)));
    // One does not come, and takes its own with it.
    gateway(
        &mut stage,
        Ask::LeaseEnd {
            sandbox: next[0].clone(),
        },
    )
    .expect("ends");
    let mut got = Vec::new();
    for sandbox in &next[1..3] {
        stage.clone_storage(sandbox, "base").expect("clones");
        got.push(inode(&stage, sandbox));
        stage.create_cell(sandbox);
        stage.greet(sandbox);
    }
    waiting.retain(|inode| !got.contains(inode));
    assert_eq!(waiting.len(), 1, "each of them another");
    // They are made up for.
    let taken: Vec<&SandboxId> = next[1..].iter().chain([&first]).collect();
    all_made(&mut stage, &taken, 3);
    stage.stop_clean();
}

pub(crate) fn without_it_each_is_made_anew() {
    let mut stage = Instance::start("on_stop remove\nready_cells 0");
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
    let mut stage = Instance::start("on_stop remove\nready_cells 1");
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
