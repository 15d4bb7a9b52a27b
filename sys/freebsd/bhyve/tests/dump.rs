//! Configurations as they are on file, and, on a host that has it, as bhyve(8) itself reads them: it is asked for what it
//! understood (`config.dump`), which needs neither vmm(4) nor a processor that it can use.
//!
//! `WARDER_BLESS=1` writes the files anew.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use warder_bhyve_plan::{Guest, Place, config};
use warder_wire::{InstanceTag, SandboxId};

/// Each golden configuration, by its file's name.
const FILES: [(&str, &str); 3] = [
    ("smallest", include_str!("../golden/smallest.conf")),
    ("largest", include_str!("../golden/largest.conf")),
    ("watched", include_str!("../golden/watched.conf")),
];

/// The guest that a golden configuration is of.
fn guest(name: &str) -> Guest {
    let smallest = Guest {
        tag: InstanceTag::of_state_dir(b"/var/db/warder"),
        counter: 1,
        sandbox: SandboxId::new("iabcdefghij0123456789").expect("an id"),
        cpus: 1,
        memory_mib: 64,
        disk: Place::of_file(),
        tap: 0,
        mac: [2, 1, 10, 64, 0, 1],
        address: Ipv4Addr::new(10, 64, 0, 1),
        gateway: Ipv4Addr::new(10, 64, 0, 0),
        gateway_mac: [2, 1, 10, 64, 0, 0],
        resolvers: Vec::new(),
        serial: false,
    };
    match name {
        "smallest" => smallest,
        "largest" => Guest {
            counter: u32::MAX,
            cpus: 1024,
            memory_mib: 1_048_576,
            disk: Place::of_volume("tank/warder_0/sandboxes/iabcdefghij0123456789")
                .expect("a path"),
            tap: 32_767,
            mac: [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff],
            resolvers: vec![Ipv4Addr::new(198, 51, 100, 253); 3],
            ..smallest
        },
        "watched" => Guest {
            cpus: 2,
            memory_mib: 512,
            resolvers: vec![Ipv4Addr::new(192, 0, 2, 53)],
            serial: true,
            ..smallest
        },
        other => panic!("no guest {other}"),
    }
}

/// What bhyve sets before it reads a file (`bhyve_init_config` of amd64/bhyverun_machdep.c), and what the question of
/// `command::dump` adds.
const DUMPED_TOO: [&str; 6] = [
    "acpi_tables_in_memory",
    "x86.strictmsr",
    "x86.verbosemsr",
    "lpc.fwcfg",
    "config.dump",
    "memory.size",
];

/// Compares a configuration file with what `bhyve -o config.dump=1` printed of it: what bhyve understood otherwise, or
/// not at all.
fn misread(file: &str, dumped: &str) -> Vec<String> {
    let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    let (wanted, found) = (lines(file), lines(dumped));
    let lost = wanted.iter().filter(|line| !found.contains(line));
    let lost = lost.map(|line| format!("not in the dump: {line}"));
    let key = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let more = found.iter().filter(|line| {
        !wanted.contains(line) && !DUMPED_TOO.contains(&key(line).as_str()) && !line.is_empty()
    });
    lost.chain(more.map(|line| format!("only in the dump: {line}")))
        .collect()
}

#[test]
fn a_dump_that_says_something_else_is_seen() {
    let file = "name=a\ncpus=2\n";
    let dump = "acpi_tables_in_memory=true\nlpc.fwcfg=bhyve\nname=a\ncpus=2\nconfig.dump=1\n";
    assert!(misread(file, dump).is_empty());
    assert_eq!(misread(file, "name=a\n"), ["not in the dump: cpus=2"]);
    let more = format!("{dump}gdb.port=1\n");
    assert_eq!(misread(file, &more), ["only in the dump: gdb.port=1"]);
}

#[test]
fn configurations_are_as_on_file() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
    for (name, golden) in FILES {
        let file = config::file(&guest(name));
        if std::env::var_os("WARDER_BLESS").is_some() {
            std::fs::write(format!("{folder}/{name}.conf"), &file).expect("writable");
        } else {
            assert_eq!(
                file, golden,
                "golden/{name}.conf; WARDER_BLESS=1 writes it anew"
            );
        }
    }
}

#[cfg(not(target_os = "freebsd"))]
#[test]
fn bhyve_reads_what_is_meant() {
    println!("not here: bhyve(8) is FreeBSD's");
}

#[cfg(target_os = "freebsd")]
#[test]
fn bhyve_reads_what_is_meant() {
    use std::io::{Seek as _, Write as _};
    use std::process::Command;
    use warder_bhyve_plan::command;

    if !std::path::Path::new(command::PROGRAM).exists() {
        println!("not here: no {}", command::PROGRAM);
        return;
    }
    for (name, golden) in FILES {
        let mut input = tempfile::tempfile().expect("a file");
        input.write_all(golden.as_bytes()).expect("written");
        input.rewind().expect("rewound");
        let [_, arguments @ ..] = command::dump();
        let ran = Command::new(command::PROGRAM)
            .args(arguments)
            .stdin(input)
            .env_clear()
            .output()
            .expect("bhyve starts");
        let (dump, said) = (
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr),
        );
        // bhyverun.c: it ends with 1 once it has printed them.
        assert_eq!(ran.status.code(), Some(1), "{name}: {said}");
        assert_eq!(said, "", "{name}");
        let misread = misread(golden, &dump);
        assert!(misread.is_empty(), "{name}: {}", misread.join("\n"));
        println!(
            "{name}: {} lines, read as they are meant",
            golden.lines().count()
        );
    }
}
