//! Virtual machines. Where vmm(4) works a machine is made for real: of the raw image that WARDER_BHYVE_IMAGE names, or of an
//! empty disk, on which the firmware finds nothing. Where it does not, everything is made up to bhyve's own refusal.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use warder_freebsd::cell::{self, Network, Outcome};
use warder_freebsd::process::Exit;
use warder_freebsd::sys::{Params, jail, sysctl};
use warder_wire::SandboxId;
use warder_wire::priv_net::{Slot, Tap, slot_jail};

use crate::support::{self, Instance, name, random_id, run};

/// Where the firmware has to lie, as the package edk2-bhyve puts it.
const FIRMWARE: &str = "/usr/local/share/uefi-firmware";
const SIZE: u64 = 16 << 20;

/// A tap as netd makes it, as far as bhyve is concerned.
struct OwnTap(u32);

impl OwnTap {
    fn new() -> Self {
        let made = run("/sbin/ifconfig", &["vmnet", "create"]);
        let unit = made
            .trim()
            .strip_prefix("vmnet")
            .and_then(|n| n.parse().ok());
        Self(unit.unwrap_or_else(|| panic!("no tap: {made}")))
    }
}

impl Drop for OwnTap {
    fn drop(&mut self) {
        let tap = format!("vmnet{}", self.0);
        let _ = Command::new("/sbin/ifconfig")
            .args([&tap, "destroy"])
            .status();
    }
}

/// A sandbox of a template that was unpacked from an archive of this directory.
fn of_archive(instance: &mut Instance, from: &Path) -> SandboxId {
    let tar = Command::new("/usr/bin/tar")
        .args(["-c", "-f", "-", "."])
        .current_dir(from)
        .stdout(Stdio::piped())
        .spawn();
    let mut tar = tar.expect("tar");
    let archive = tar.stdout.take().expect("piped");
    let store = &mut instance.store;
    let draft = store.draft(&name("machine"), None).expect("draft");
    let unpacked = store.import_start(&draft, &instance.users, archive.as_fd());
    let unpacked = unpacked.expect("starts");
    drop(archive);
    support::ended(&unpacked);
    let exit = unpacked.try_wait().expect("wait");
    assert_eq!(exit, Some(Exit::Code(0)));
    assert!(tar.wait().expect("tar ends").success());
    store.import_end(&draft).expect("whole");
    store.keep(&draft).expect("keep");
    store.settle(draft, true).expect("settle");
    cloned(instance, "machine")
}

/// A sandbox that has this image for its disk.
fn with_disk(instance: &mut Instance, image: &Path) -> SandboxId {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    fs::copy(image, folder.path().join("disk.raw")).expect("its disk");
    of_archive(instance, folder.path())
}

/// The slot's jail lets the machine's have vmm(4), and the network is a tap.
fn as_netd_does(instance: &mut Instance, tap: &OwnTap) {
    let slot = Params::new()
        .text("name", slot_jail(instance.tag, 1))
        .flag("allow.vmm");
    jail::update(&slot).unwrap_or_else(|said| panic!("allow.vmm: {said}"));
    let slot = Slot {
        counter: 1,
        address: Ipv4Addr::new(10, 0, 0, 1),
        gateway: Ipv4Addr::new(10, 0, 0, 0),
    };
    let network = Network::of_machine(Tap {
        slot,
        unit: tap.0,
        mac: [2, 1, 10, 0, 0, 1],
        gateway_mac: [2, 1, 10, 0, 0, 0],
    });
    instance.network = network.expect("a network");
}

fn cloned(instance: &mut Instance, template: &str) -> SandboxId {
    let sandbox = random_id();
    let store = &mut instance.store;
    store
        .clone_template(&sandbox, &name(template), instance.users.range(), &[])
        .expect("clone");
    sandbox
}

/// What bhyve said, as far as it is there.
fn said(tree: &Path) -> String {
    fs::read_to_string(tree.join("bhyve.log")).unwrap_or_default()
}

fn image() -> (Option<tempfile::TempDir>, PathBuf) {
    if let Some(own) = std::env::var_os("WARDER_BHYVE_IMAGE") {
        return (None, own.into());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("empty.img");
    let mut file = File::create(&path).expect("a file");
    file.write_all(b"nothing to boot").expect("written");
    file.set_len(SIZE).expect("its size");
    (Some(folder), path)
}

pub(crate) fn what_the_host_lacks_is_named() {
    match cell::can_run_machines() {
        Ok(()) => println!("this host can run machines"),
        Err(lacks) => {
            let words = lacks.to_string();
            println!("no machines here: {words}");
            let remedies = ["vmm_load=\"YES\"", "VT-x", "pkg install", "FreeBSD-bhyve"];
            assert!(remedies.iter().any(|r| words.contains(r)), "{words}");
        }
    }
}

pub(crate) fn a_machine_is_made_as_far_as_the_host_can() {
    let lacks = cell::can_run_machines().err();
    let ready = sysctl::exists("hw.vmm.maxcpu") && Path::new(FIRMWARE).is_dir();
    if let Some(lacks) = lacks.as_ref().filter(|_| !ready) {
        return println!("not here: {lacks}");
    }
    let mut instance = Instance::new();
    let (_folder, image) = image();
    let length = fs::metadata(&image).expect("the image").len();
    instance.limits.disk_mib = u32::try_from(length.div_ceil(1 << 20)).expect("small") + 48;
    let tap = OwnTap::new();
    as_netd_does(&mut instance, &tap);

    let sandbox = with_disk(&mut instance, &image);
    let null = File::open("/dev/null").expect("there");
    let null = null.as_fd();
    let (cell, status) = instance.spawn(&sandbox, null, null, &[]).expect("spawn");
    let outcome = support::wait(status);
    let tree = instance.tree(&sandbox);
    assert_eq!(outcome, Outcome::Running, "bhyve: {}", said(&tree));
    let disk = fs::metadata(tree.join("disk.raw")).expect("its disk");
    assert_eq!(disk.len(), u64::from(instance.limits.disk_mib) << 20);

    if let Some(lacks) = lacks {
        // It has read its configuration and found everything in its jail, and then no vmm(4).
        support::ended(&cell.process);
        let words = said(&tree);
        println!("not here: {lacks}; bhyve: {}", words.trim());
        assert!(words.contains("vm_openf"), "{words}");
    } else {
        let root = instance.store.root(&sandbox).expect("root");
        let deadline = Instant::now() + Duration::from_secs(60);
        let link = loop {
            let link = cell.machine_link(&root).expect("a link or none");
            let ended = cell.process.try_wait().expect("asked");
            assert_eq!(ended, None, "bhyve has ended: {}", said(&tree));
            match link {
                Some(link) => break link,
                None => assert!(Instant::now() < deadline, "no link: {}", said(&tree)),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(cell.is_machine(), "the kernel has no such machine");
        let found = cell::adopt(&cell.handle).expect("asked").expect("found");
        assert_eq!(found.process.pid(), cell.process.pid());
        println!(
            "a machine runs: {}; {}",
            cell.handle.jail,
            said(&tree).trim()
        );
        drop(link);
    }
    cell.kill().expect("kill");
    support::ended(&cell.process);
    let _ = cell.process.try_wait().expect("wait");
    instance.gone(&sandbox);
    assert!(!cell.is_machine(), "the kernel still has the machine");
    instance.removed(&sandbox);
}

pub(crate) fn a_template_without_a_disk_is_refused() {
    refused(&[], "no file disk.raw");
}

/// What the run-time linker or the C library would read as root before bhyve is in capability mode, and what only lies
/// where a name of a machine's own does.
pub(crate) fn a_template_with_more_than_a_disk_is_refused() {
    for foreign in [
        "etc/libmap.conf",
        "var/run/ld-elf.so.hints",
        "usr/local/lib/libvmmapi.so.6",
        "lib/libc.so.7",
        "link/other",
        "tmp/a",
    ] {
        refused(&["disk.raw", foreign], "more at its top than disk.raw");
    }
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("disk.raw"), [0; 512]).expect("a disk");
    std::os::unix::fs::symlink("/lib", path("var")).expect("a link");
    refused_as(folder.path(), "more at its top than disk.raw");
}

/// A template of these files makes no machine, and `said` is why.
fn refused(files: &[&str], said: &str) {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("its folder");
        fs::write(path, [0; 512]).expect("a file");
    }
    refused_as(folder.path(), said);
}

fn refused_as(template: &Path, said: &str) {
    if !sysctl::exists("hw.vmm.maxcpu") {
        return println!("not here: vmm_load=\"YES\" in /boot/loader.conf");
    }
    let mut instance = Instance::new();
    let tap = OwnTap::new();
    as_netd_does(&mut instance, &tap);
    let sandbox = of_archive(&mut instance, template);
    let null = File::open("/dev/null").expect("there");
    let null = null.as_fd();
    let (cell, status) = instance.spawn(&sandbox, null, null, &[]).expect("spawn");
    let outcome = support::wait(status);
    let Outcome::Failed { stage, .. } = &outcome else {
        panic!("{outcome:?}");
    };
    assert!(stage.contains(said), "{stage}");
    support::ended(&cell.process);
    let _ = cell.process.try_wait().expect("wait");
    instance.gone(&sandbox);
    instance.removed(&sandbox);
}
