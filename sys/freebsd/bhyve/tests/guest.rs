//! What a guest reads in the tables of its firmware (rc.d/guest/warder-guest) is what a configuration says in them.
#![forbid(unsafe_code)]

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use warder_bhyve_plan::{Guest, Place, config};
use warder_wire::{InstanceTag, SandboxId};

/// Beside what is tried where that is a bundle, else in the sources.
fn script() -> PathBuf {
    let named = std::env::var_os("WARDER_STAGE").map(PathBuf::from);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let mut places = named.into_iter().chain([sources]);
    let found = places.find_map(|place| {
        let script = place.join("rc.d/guest/warder-guest");
        script.exists().then_some(script)
    });
    found.expect("rc.d/guest")
}

/// What the script makes of a tag and a serial number: its answer, or what it said when it refused.
fn read(tag: &str, serial: &str) -> Result<String, String> {
    read_all(tag, serial, "")
}

/// The same with what names are resolved by.
fn read_all(tag: &str, serial: &str, resolvers: &str) -> Result<String, String> {
    let output = Command::new("/bin/sh")
        .arg(script())
        .args(["show", tag, serial, resolvers])
        .output()
        .expect("a shell");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    assert_eq!(
        text(&output.stdout),
        "",
        "nothing is said of what is refused"
    );
    Err(text(&output.stderr))
}

const ID: &str = "iabcdefghij0123456789";
const TAG: &str = "address=10.64.0.5/31 gateway=10.64.0.4 via=02:01:0a:40:00:04";

fn guest(address: Ipv4Addr, gateway_mac: [u8; 6]) -> Guest {
    Guest {
        tag: InstanceTag::of_state_dir(b"/var/db/warder"),
        counter: 7,
        sandbox: SandboxId::new(ID).expect("an id"),
        cpus: 2,
        memory_mib: 512,
        disk: Place::of_file(),
        tap: 3,
        mac: [2, 1, 10, 64, 0, 5],
        address,
        gateway: Ipv4Addr::from(u32::from(address) ^ 1),
        gateway_mac,
        resolvers: Vec::new(),
        serial: false,
    }
}

#[test]
fn nothing_but_the_documented_form_is_taken() {
    assert_eq!(
        read(TAG, ID).as_deref(),
        Ok("10.64.0.5\n10.64.0.4\n02:01:0a:40:00:04\niabcdefghij0123456789\n")
    );
    for (from, to) in [
        // Something in front, behind, between, or missing.
        ("address=", " address="),
        ("address=", ""),
        (":04", ":04 "),
        (":04", ":04\n"),
        (" gateway", "  gateway"),
        (" gateway", "\ngateway"),
        (" via", " dns=10.64.0.4 via"),
        (" via=", " via= via="),
        (" gateway=10.64.0.4", ""),
        // Addresses that are none, or none of a pair.
        ("/31", "/30"),
        ("/31", ""),
        ("10.64.0.5", "10.64.0.6"),
        ("10.64.0.5", "10.64.1.5"),
        ("10.64.0.5", "10.64.0.4"),
        ("10.64.0.4", "10.64.0.6"),
        ("10.64.0.5", "10.64.0.05"),
        ("10.64.0.5", "10.64.0"),
        ("10.64.0.5", "10.64.0.5."),
        ("10.64.0.5", "10.64.0.5.5"),
        ("10.64.0.5", "10.64..5"),
        ("10.64.0.5", "10.64.0.-5"),
        ("10.64.0.5", "10.64.0.261"),
        ("10.64.0.5", "10.64.0.4294967301"),
        ("10.64.0.5", "10.64.0.$((5))"),
        ("10.64.0.5", "10.64.0.*"),
        ("10.64.0.", "0.64.0."),
        ("10.64.0.", "127.0.0."),
        ("10.64.0.", "224.0.0."),
        ("10.64.0.", "256.64.0."),
        // And so on for the MAC.
        ("02:01", "01:01"),
        ("02:01", "02:0A"),
        ("02:01", "02:1"),
        ("02:01", "2:01"),
        ("02:01", "02-01"),
        ("02:01", "02:0g"),
        (":04", ""),
        (":04", ":04:04"),
        ("02:01:0a:40:00:04", "00:00:00:00:00:00"),
        ("02:01:0a:40:00:04", "$(reboot)"),
        ("02:01:0a:40:00:04", "02:01:0a:40:00:04;reboot"),
    ] {
        let tag = TAG.replace(from, to);
        assert_ne!(tag, TAG);
        let said = read(&tag, ID).expect_err(&tag);
        assert!(said.starts_with("warder-guest: "), "{said}");
    }
    for wrong in ["", "None", "Default string"] {
        assert!(read(wrong, ID).is_err(), "{wrong}");
    }
    for wrong in [
        "",
        "None",
        "i",
        "iabcdefghij012345678",
        "iabcdefghij01234567890",
        "xabcdefghij0123456789",
        "iABCDEFGHIJ0123456789",
        "iabcdefghij012345678-",
        "iabcdefghij01234567\n9",
        "../../../../etc/passw",
    ] {
        assert!(read(TAG, wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn resolvers_are_addresses_or_the_images_own() {
    let own = read(TAG, ID).expect("read");
    for none in ["", "resolvers=", "None", "Default string"] {
        assert_eq!(
            read_all(TAG, ID, none).as_deref(),
            Ok(own.as_str()),
            "{none}"
        );
    }
    assert_eq!(
        read_all(TAG, ID, "resolvers=192.0.2.53,10.64.0.254"),
        Ok(format!("{own}192.0.2.53\n10.64.0.254\n"))
    );
    for wrong in [
        "resolvers=192.0.2.53,",
        "resolvers=,192.0.2.53",
        "resolvers=192.0.2.53 10.0.0.1",
        "resolvers=192.0.2.053",
        "resolvers=127.0.0.1",
        "resolvers=*",
        "resolvers=192.0.2.53\noptions",
        "resolvers=1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1",
    ] {
        assert!(read_all(TAG, ID, wrong).is_err(), "{wrong:?}");
    }
}

/// A device of a made-up sysfs(5), with the driver that has it.
fn device(sys: &Path, name: &str, ids: [&str; 3], driver: Option<&str>) {
    let place = sys.join("bus/pci/devices").join(name);
    fs::create_dir_all(&place).expect("a device");
    for (file, id) in ["vendor", "device", "class"].into_iter().zip(ids) {
        fs::write(place.join(file), format!("{id}\n")).expect("an id");
    }
    if let Some(driver) = driver {
        let driver = sys.join("bus/pci/drivers").join(driver);
        fs::create_dir_all(&driver).expect("a driver");
        symlink(driver, place.join("driver")).expect("a driver's link");
    }
}

#[test]
fn the_console_is_taken_from_a_driver_for_serial_ports_and_nothing_else_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let sys = dir.path();
    // As bhyve(8) describes its console, and as others do.
    device(
        sys,
        "0000:00:04.0",
        ["0x1af4", "0x1003", "0x070000"],
        Some("serial"),
    );
    device(
        sys,
        "0000:00:05.0",
        ["0x1af4", "0x1003", "0x078000"],
        Some("serial"),
    );
    device(
        sys,
        "0000:00:06.0",
        ["0x1af4", "0x1003", "0x070000"],
        Some("virtio-pci"),
    );
    device(
        sys,
        "0000:00:07.0",
        ["0x8086", "0x1003", "0x070000"],
        Some("serial"),
    );
    device(sys, "0000:00:08.0", ["0x1af4", "0x1001", "0x010000"], None);
    let status = Command::new("/bin/sh")
        .arg(script())
        .arg("free")
        .arg(sys)
        .status();
    assert!(status.expect("a shell").success());

    let read = |file: &str| fs::read_to_string(sys.join("bus/pci").join(file)).ok();
    assert_eq!(
        read("drivers/serial/unbind").as_deref(),
        Some("0000:00:04.0\n")
    );
    assert_eq!(read("drivers_probe").as_deref(), Some("0000:00:04.0\n"));
    assert_eq!(read("drivers/virtio-pci/unbind"), None);
    for device in ["04", "05", "06", "07", "08"] {
        let told = read(&format!("devices/0000:00:{device}.0/driver_override"));
        assert_eq!(
            told.as_deref(),
            (device == "04").then_some("virtio-pci\n"),
            "{device}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_a_configuration_says_is_read_as_it_was_meant(
        address in 0x0a00_0000_u32..0x0aff_ffff,
        mut mac in any::<[u8; 6]>(),
        resolvers in prop::collection::vec(any::<u32>(), 0..=3),
    ) {
        mac[0] = (mac[0] & 0xfe) | 2;
        let mut guest = guest(Ipv4Addr::from(address), mac);
        guest.resolvers = resolvers.into_iter().map(Ipv4Addr::from).collect();
        let settings = config::settings(&guest);
        let said = |wanted: &str| {
            let found = settings.iter().find(|(key, _)| *key == wanted);
            found.map(|(_, value)| value.as_str()).expect("it is there")
        };
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let mut wanted = format!("{}\n{}\n{mac}\n{ID}\n", guest.address, guest.gateway);
        let usable = |one: &&Ipv4Addr| !matches!(one.octets()[0], 0 | 127 | 224..);
        for resolver in guest.resolvers.iter().filter(usable) {
            wanted += &format!("{resolver}\n");
        }
        let (tag, serial) = (said("chassis.asset_tag"), said("system.serial_number"));
        prop_assert_eq!(read_all(tag, serial, said("board.asset_tag")), Ok(wanted));
    }
}
