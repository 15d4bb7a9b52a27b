//! Volumes in cells.

use std::os::unix::fs::MetadataExt;

use warder_linux::cell::{IdRange, Outcome, UserNamespace};
use warder_wire::gateway_priv::VolumeMount;
use warder_wire::{GuestPath, VolumeId};

use crate::support::{Instance, LIMITS, random_id, range};

fn mount(volume: &VolumeId, at: &str) -> VolumeMount {
    VolumeMount {
        volume: volume.clone(),
        at: GuestPath::new(at).expect("a path"),
    }
}

pub(crate) fn one_in_two_cells_and_after_them() {
    let mut instance = Instance::with_base();
    let volume = VolumeId::from_random(&[7; 20]);
    assert!(instance.store.create_volume(&volume).expect("create"));
    let made = Some(&volume);
    instance.store.sync_volumes(made).expect("written out");
    assert!(
        !instance.store.create_volume(&volume).expect("create"),
        "once"
    );
    let others = UserNamespace::new(IdRange {
        first: range().first + range().count,
        ..range()
    })
    .expect("user namespace");
    let mut start = |users, at| {
        instance
            .start(&random_id(), "base", users, &LIMITS, &[mount(&volume, at)])
            .expect("runs")
    };
    let one = start(None, "/home/user/data");
    let two = start(Some(&others), "/mnt/deep/er/volume");
    assert_eq!(one.sh_user("echo shared > ~/data/file"), (0, String::new()));
    assert_eq!(
        two.ok("stat -c '%u %g' /mnt/deep/er/volume/file; cat /mnt/deep/er/volume/file"),
        "1000 1000\nshared"
    );
    two.ok("echo root > /mnt/deep/er/volume/root; cp /bin/true /mnt/deep/er/volume/t; chmod 4755 /mnt/deep/er/volume/t");
    assert_eq!(one.ok("stat -c %u /home/user/data/root"), "0");
    assert_eq!(
        two.ok("stat -c '%u %a' /mnt/deep /mnt/deep/er"),
        "0 755\n0 755"
    );
    let options = one.ok("grep /home/user/data /proc/mounts");
    assert!(
        options.contains("nosuid") && options.contains("nodev"),
        "{options}"
    );
    instance.stop(&one);
    instance.stop(&two);
    instance.store.discard(&one.sandbox).expect("discard");
    let content = format!("volumes/{volume}/data");
    let on_disk = |name: &str| {
        let path = instance.dir.path().join(&content).join(name);
        std::fs::metadata(path).expect(name).uid()
    };
    assert_eq!((on_disk("file"), on_disk("root")), (1000, 0));
    instance.removed(&two.sandbox);
    assert!(instance.store.discard_volume(&volume).expect("discard"));
    instance.store.sync_volumes(None).expect("written out");
    assert!(instance.store.sync_volumes(Some(&volume)).is_err());
    assert!(!instance.store.discard_volume(&volume).expect("discard"));
    assert!(instance.store.volumes().is_empty());
}

pub(crate) fn what_is_in_the_way_is_named() {
    let mut instance = Instance::with_base();
    let volume = VolumeId::from_random(&[8; 20]);
    instance.store.create_volume(&volume).expect("create");
    let sandbox = random_id();
    let running = instance
        .start(&sandbox, "base", None, &LIMITS, &[])
        .expect("runs");
    running.ok("ln -s /etc /way; ln -s ../../../../../.. /up; touch /file; mkdir /dir; ln -s dir /dir/link");
    instance.stop(&running);
    for at in [
        "/way",
        "/way/x",
        "/up/x",
        "/file",
        "/file/x",
        "/dir/link",
        "/bin/x",
        "/lib",
    ] {
        let told = instance.start(&sandbox, "base", None, &LIMITS, &[mount(&volume, at)]);
        let Err(Outcome::Failed { stage, errno }) = told else {
            panic!("{at}: {:?}", told.map(|_| ()));
        };
        assert!(stage.contains("is not a directory"), "{at}: {stage}");
        assert_eq!(errno, 20, "{at}");
    }
    let mounts = [mount(&volume, "/dir/new"), mount(&volume, "/usr/share/x/y")];
    let running = instance
        .start(&sandbox, "base", None, &LIMITS, &mounts)
        .expect("runs");
    running.ok("touch /dir/new/f && test -e /usr/share/x/y/f");
    instance.end(running);
}

/// The test's agent is not linked statically: everything is there but what would load it.
pub(crate) fn a_bare_cell_gets_as_far_as_its_agent() {
    let mut instance = Instance::new();
    let volume = VolumeId::from_random(&[9; 20]);
    instance.store.create_volume(&volume).expect("create");
    let sandbox = random_id();
    let volumes = [mount(&volume, "/volume")];
    let told = instance.start(&sandbox, "bare", None, &LIMITS, &volumes);
    let failed = Outcome::Failed {
        stage: "exec the agent".into(),
        errno: 2,
    };
    assert_eq!(told.map(|_| ()), Err(failed));
    instance.removed(&sandbox);
}
