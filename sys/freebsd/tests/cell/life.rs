//! Cells from beginning to end.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use warder_freebsd::cell::{self, Outcome};
use warder_freebsd::process::Signal;
use warder_freebsd::sys::{Params, jail, procs, rctl};
use warder_wire::gateway_priv::VolumeMount;
use warder_wire::priv_net::slot_jail;
use warder_wire::{GuestPath, VolumeId};

use crate::support::{self, Instance, ended, is_mounted, random_id};

fn processes_of(jail: &str) -> usize {
    let jid = jail::find(jail).expect("asked");
    let all = procs::all().expect("processes");
    all.iter().filter(|p| Some(p.jid) == jid).count()
}

pub(crate) fn kill_leaves_nothing() {
    let mut instance = Instance::new();
    let running = instance.cell();
    let tree = instance.tree(&running.sandbox);
    assert!(is_mounted(&tree.join("dev")) && is_mounted(&tree.join("tmp")));
    running.ok("for i in 1 2 3 4 5 6; do sleep 1000 > /dev/null 2>&1 & done; nohup sleep 1000 > /dev/null 2>&1 &");
    assert!(processes_of(&running.cell.handle.jail) >= 8);
    instance.end(running);
    assert!(
        !rctl::rules("jail:")
            .unwrap_or_default()
            .contains(&slot_jail(instance.tag, 1))
    );
}

pub(crate) fn what_the_first_process_leaves_is_killed() {
    let mut instance = Instance::new();
    let running = instance.cell();
    running.ok("nohup sleep 1000 > /dev/null 2>&1 &");
    running.cell.process.signal(Signal::Kill).expect("kill");
    ended(&running.cell.process);
    // What privd does when it sees that.
    running.cell.kill().expect("kill the rest");
    assert_eq!(processes_of(&running.cell.handle.jail), 0);
    let _ = running.cell.process.try_wait().expect("wait");
    instance.gone(&running.sandbox);
    instance.removed(&running.sandbox);
}

pub(crate) fn a_failed_stage_is_named() {
    let mut instance = Instance::new();
    let sandbox = random_id();
    let first = instance.start(&sandbox, &[]);
    let first = first.unwrap_or_else(|outcome| panic!("{outcome:?}"));
    instance.stop(&first);
    // No program.
    let null = std::fs::File::open("/dev/null").expect("null");
    let socket = instance.socket(&sandbox);
    let listener = UnixListener::bind(&socket).expect("bind");
    let (cell, status) = instance
        .spawn(&sandbox, null.as_fd(), listener.as_fd(), &[])
        .expect("spawn");
    match support::wait(status) {
        Outcome::Failed { stage, errno } => {
            assert!(stage.starts_with("exec the agent"), "{stage}");
            assert_ne!(errno, 0);
        }
        Outcome::Running => panic!("/dev/null runs"),
    }
    ended(&cell.process);
    let _ = cell.process.try_wait().expect("wait");
    instance.gone(&sandbox);
    // No slot.
    let slot = slot_jail(instance.tag, 1);
    let jid = jail::find(&slot).expect("asked").expect("the slot");
    jail::remove(jid).expect("remove");
    match instance.start(&sandbox, &[]) {
        Err(Outcome::Failed { stage, errno }) => {
            assert!(
                stage.starts_with("make the cell's jail") && stage.contains(&slot),
                "{stage}"
            );
            assert_eq!(errno, libc::ENOENT);
        }
        other => panic!("{:?}", other.err()),
    }
    instance.removed(&sandbox);
}

pub(crate) fn hostile_mount_points_are_refused() {
    let mut instance = Instance::new();
    for place in ["tmp", "dev"] {
        let sandbox = random_id();
        let running = instance.start(&sandbox, &[]);
        let running = running.unwrap_or_else(|outcome| panic!("{outcome:?}"));
        instance.stop(&running);
        let path = instance.tree(&sandbox).join(place);
        std::fs::remove_dir(&path).expect("an empty mount point");
        std::os::unix::fs::symlink("/etc", &path).expect("a link");
        match instance.start(&sandbox, &[]) {
            Err(Outcome::Failed { stage, errno }) => {
                assert!(stage.contains("not a directory"), "{stage}");
                assert_eq!(errno, libc::ENOTDIR);
            }
            other => panic!("{:?}", other.err()),
        }
        assert!(!is_mounted(std::path::Path::new("/etc")));
        instance.removed(&sandbox);
    }
}

pub(crate) fn adopted_after_the_spawner_died() {
    let mut instance = Instance::new();
    let running = instance.cell();
    let handle = running.cell.handle.clone();
    let adopted = cell::adopt(&handle).expect("adopt").expect("it lives");
    assert_eq!(cell::network_of(&adopted).expect("network").counter, 1);
    for (pid, started) in [(handle.pid, handle.start_time + 1), (1, handle.start_time)] {
        let other = cell::CellHandle {
            pid,
            start_time: started,
            ..handle.clone()
        };
        assert!(cell::adopt(&other).expect("adopt").is_none());
    }
    let other = cell::CellHandle {
        boot_id: "another".to_owned(),
        ..handle.clone()
    };
    assert!(cell::adopt(&other).expect("adopt").is_none());
    // Another privd finds it by its name.
    let again = cell::Controllers::open(instance.tag, &instance.dir).expect("controllers");
    assert_eq!(
        again.leftovers().expect("leftovers"),
        std::slice::from_ref(&running.sandbox)
    );
    assert!(again.usage(&running.sandbox).expect("usage").pids >= Some(1));
    instance.end(running);
    assert!(cell::adopt(&handle).expect("adopt").is_none());
}

pub(crate) fn volumes_are_mounted_and_go() {
    let mut instance = Instance::new();
    let volume = VolumeId::from_random(&[7; 20]);
    assert!(instance.store.create_volume(&volume).expect("volume"));
    let synced = instance.store.sync_volumes(Some(&volume));
    synced.expect("sync");
    let mounts = [VolumeMount {
        volume,
        at: GuestPath::new("/data/deep").expect("a path"),
    }];
    let (a, b) = (random_id(), random_id());
    let first = instance
        .start(&a, &mounts)
        .unwrap_or_else(|o| panic!("{o:?}"));
    let second = instance
        .start(&b, &mounts)
        .unwrap_or_else(|o| panic!("{o:?}"));
    first.ok("echo kept > /data/deep/file");
    assert_eq!(second.ok("cat /data/deep/file"), "kept");
    // No socket in it joins two sandboxes.
    first
        .ok("(nc -l -U /data/deep/socket > /dev/null 2>&1 &) ; sleep 1; test -S /data/deep/socket");
    assert_ne!(second.sh("echo x | nc -N -U /data/deep/socket").0, 0);
    instance.stop(&first);
    instance.stop(&second);
    let third = instance
        .start(&a, &mounts)
        .unwrap_or_else(|o| panic!("{o:?}"));
    assert_eq!(third.ok("cat /data/deep/file"), "kept");
    instance.stop(&third);
    // A link where the volume belongs.
    let place = instance.tree(&a).join("data");
    std::fs::remove_dir_all(&place).expect("a directory");
    std::os::unix::fs::symlink("/etc", &place).expect("a link");
    let refused = instance.start(&a, &mounts);
    assert!(
        matches!(
            &refused,
            Err(Outcome::Failed {
                errno: libc::ENOTDIR,
                ..
            })
        ),
        "{:?}",
        refused.err()
    );
    for sandbox in [&a, &b] {
        instance.store.discard(sandbox).expect("discard");
    }
    instance.store.empty_trash().expect("trash");
}

pub(crate) fn a_foreign_jail_is_left_alone() {
    let mut instance = Instance::new();
    // Of another instance, and somebody's own with a sandbox's name.
    let foreign = ["w00000000-1", "iabcdefghij0123456789"];
    for name in foreign {
        let params = Params::new()
            .text("name", name)
            .text("path", "/var/empty")
            .flag("persist");
        jail::create(&params).unwrap_or_else(|said| panic!("{name}: {said}"));
    }
    assert_eq!(instance.controllers.leftovers().expect("leftovers"), []);
    let running = instance.cell();
    instance.end(running);
    for name in foreign {
        let jid = jail::find(name).expect("asked").expect("still there");
        jail::remove(jid).expect("remove");
    }
}
