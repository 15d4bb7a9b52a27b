//! What the configuration says of the size of volumes, where the file system of TMPDIR has quotas (`scripts/test quotas`
//! makes such); elsewhere that privd says that nothing holds it.

use std::process::Command;

use warder_wire::gateway_priv::{Answer, Ask};
use warder_wire::{LimitState, VolumeId};

use crate::cast::gateway;
use crate::stage::Instance;

const MIB: u64 = 1 << 20;

fn create(stage: &mut Instance, n: u8) -> VolumeId {
    let volume = VolumeId::from_random(&[n; 20]);
    let ask = Ask::VolumeCreate {
        volume: volume.clone(),
    };
    gateway(stage, ask).expect("made");
    volume
}

/// Whether all of so many MiB had room in a volume, and how many are there. Not as root, which ext4 lets pass.
fn fill(stage: &Instance, volume: &VolumeId, file: &str, mib: u64) -> (bool, u64) {
    let data = stage.state().join(format!("volumes/{volume}/data"));
    let mut dd = Command::new("setpriv");
    dd.args(["--reuid=1000", "--regid=1000", "--clear-groups", "dd"]);
    dd.args(["if=/dev/zero", "bs=64k", "conv=fsync", "status=none"]);
    dd.args([format!("of={file}"), format!("count={}", mib * 16)]);
    let whole = dd
        .current_dir(&data)
        .status()
        .expect("util-linux")
        .success();
    // Where it is full there may not be room for a name.
    let there = std::fs::metadata(data.join(file)).map_or(0, |found| found.len());
    (whole, there / MIB)
}

pub(crate) fn volumes_have_the_size_of_the_configuration() {
    let mut stage = Instance::start("on_stop remove\nvolume_quota_mib 16");
    let Ok((Answer::Host(report), _)) = gateway(&mut stage, Ask::HostReport) else {
        panic!("no report");
    };
    let said = stage
        .log()
        .contains("volume_quota_mib: this storage cannot bound volumes");
    if report.limits.disk != LimitState::Enforced {
        let dir = std::env::temp_dir();
        let found = std::env::var_os("WARDER_QUOTAS").is_none();
        assert!(found, "{} has quotas that are not found", dir.display());
        assert!(said, "nothing holds it, and nobody says so");
        println!(
            "skipped: the file system of {} has no quotas",
            dir.display()
        );
        return stage.stop_clean();
    }
    assert!(!said);
    let small = create(&mut stage, 1);
    let (whole, there) = fill(&stage, &small, "file", 24);
    assert!(!whole && (14..=16).contains(&there), "{there} MiB");

    // What is there keeps its size; the next has the new one.
    stage.kill_privd();
    stage.configure("on_stop remove\nvolume_quota_mib 32");
    stage.start_privd();
    let (whole, there) = fill(&stage, &small, "more", 8);
    assert!(!whole && there <= 2, "{there} MiB");
    let larger = create(&mut stage, 2);
    assert_eq!(fill(&stage, &larger, "file", 24), (true, 24));
    let (whole, there) = fill(&stage, &larger, "more", 24);
    assert!(!whole && there <= 8, "{there} MiB");

    stage.kill_privd();
    stage.configure("on_stop remove");
    stage.start_privd();
    let unbound = create(&mut stage, 3);
    assert_eq!(fill(&stage, &unbound, "file", 40), (true, 40));
    for volume in [small, larger, unbound] {
        gateway(&mut stage, Ask::VolumeRemove { volume }).expect("removed");
    }
    stage.stop_clean();
}
