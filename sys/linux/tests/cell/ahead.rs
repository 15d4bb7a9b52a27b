//! Cells made ahead of need, at the system layer.

use std::os::fd::AsFd;

use warder_linux::cell::{Controllers, Outcome, Spare, Walls};
use warder_linux::dirs::{Access, detached};
use warder_wire::{InstanceTag, SandboxId};

use crate::support::{self, Instance, LIMITS, Running, base, random_id, wait};

fn clone(instance: &mut Instance, name: &SandboxId) {
    instance
        .store
        .clone_template(name, &base(), instance.users.range(), &[])
        .expect("clone");
}

fn begin(instance: &Instance, name: &SandboxId) -> Spare {
    let own = std::env::current_exe().expect("own path");
    let agent = detached(&own, Access::ReadOnly).expect("agent");
    let root = instance.store.root(name).expect("root");
    Spare::begin(&Walls {
        controllers: &instance.controllers,
        name,
        users: &instance.users,
        limits: &LIMITS,
        root: &root,
        agent: agent.as_fd(),
    })
    .expect("begins")
}

pub(crate) fn it_becomes_a_sandbox_in_every_respect() {
    let mut instance = Instance::with_base();
    let (name, sandbox) = (random_id(), random_id());
    clone(&mut instance, &name);
    let spare = begin(&instance, &name);
    assert!(spare.is_sound());
    assert_eq!(
        instance.controllers.leftovers().expect("list"),
        std::slice::from_ref(&name)
    );
    let passed = instance.store.pass(&name, &sandbox, &base());
    assert!(passed.expect("passes"));
    instance.controllers.pass(name.clone(), sandbox.clone());
    let socket = instance.dir.path().join("link");
    let listener = support::listener(&socket);
    let (cell, status) = spare
        .start(&sandbox, &instance.network, listener.as_fd())
        .expect("starts");
    assert_eq!(wait(status), Outcome::Running);
    let running = Running::new(sandbox.clone(), cell, support::connect(&socket));
    let (code, names) = running.sh("hostname; cat /etc/hostname; tail -1 /etc/hosts");
    assert_eq!(
        (code, names),
        (0, format!("{sandbox}\n{sandbox}\n127.0.1.1 {sandbox}"))
    );
    // It has the network, and no way back to what it waited in.
    assert_eq!(running.sh("ls /sys/class/net").1, "lo");
    assert_eq!(running.sh("cat /proc/self/cgroup | grep -v ':/$'").1, "");
    assert_eq!(running.sh("echo kept > /root/file").0, 0);
    let file = format!("cells/{sandbox}/up/root/file");
    let kept = std::fs::read_to_string(instance.dir.path().join(file));
    assert_eq!(kept.expect("in its own tree"), "kept\n");

    // Its groups are its own by whatever name, for the next privd as well.
    let tag = InstanceTag::of_state_dir(instance.dir.path().as_os_str().as_encoded_bytes());
    let mut next = Controllers::open(tag, instance.dir.path()).expect("controllers");
    assert_eq!(next.leftovers().expect("list"), [name]);
    next.adopt(&sandbox, &running.cell);
    for controllers in [&instance.controllers, &next] {
        assert_eq!(
            controllers.leftovers().expect("list"),
            std::slice::from_ref(&sandbox)
        );
        let pids = controllers.usage(&sandbox).expect("usage").pids;
        assert!(pids.is_none_or(|pids| pids >= 1), "{pids:?}");
    }
    instance.end(running);
}

pub(crate) fn one_that_is_ended_leaves_nothing() {
    let mut instance = Instance::with_base();
    let name = random_id();
    clone(&mut instance, &name);
    let process = begin(&instance, &name).end().expect("ends");
    support::ended(&process);
    let _ = process.try_wait().expect("reaped");
    instance.removed(&name);
    // Nor does one that nobody ends: it waits for its owner, and for nobody else.
    clone(&mut instance, &name);
    drop(begin(&instance, &name));
    instance.removed(&name);
}

pub(crate) fn one_that_cannot_be_built_is_not_sound() {
    let mut instance = Instance::with_base();
    let name = random_id();
    clone(&mut instance, &name);
    let upper = instance.dir.path().join(format!("cells/{name}/up/proc"));
    std::os::unix::fs::symlink("/etc", upper).expect("link");
    let spare = begin(&instance, &name);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while spare.is_sound() {
        assert!(std::time::Instant::now() < end, "it waits for a tenant");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let process = spare.end().expect("is gone");
    let _ = process.try_wait().expect("reaped");
    instance.removed(&name);
}
