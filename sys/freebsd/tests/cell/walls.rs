//! What a sandbox may not do.

use warder_wire::LimitState;

use crate::support::{Instance, LIMITS, run};

/// Shell text that must fail in a cell, and do nothing.
const ATTACKS: &[&str] = &[
    // Mounts.
    "mount -t tmpfs tmpfs /mnt",
    "mount -t devfs devfs /dev",
    "mount -t nullfs / /mnt",
    "mount -t procfs proc /proc",
    "umount /dev",
    "umount -f /bin",
    "mount -uw /bin",
    "mdconfig -a -t malloc -s 1m",
    "zfs list",
    "zpool list",
    // Jails.
    "jail -c path=/ persist name=inner",
    "jail -m name=0 allow.mount=1",
    "jexec 1 true",
    "jail -r 1",
    "cpuset -l 0 -r -p $$",
    "rctl -a jail:x:maxproc:deny=1",
    // The network, which is not its own.
    "ifconfig lo0 alias 10.1.2.3/32",
    "ifconfig lo0 down",
    "ifconfig epair create",
    "ifconfig bridge create",
    "ifconfig tun create",
    "ifconfig lo1 create",
    "route add -net 10.0.0.0/8 127.0.0.1",
    "pfctl -d",
    "pfctl -F all",
    "ipfw list",
    "ping -c 1 127.0.0.1",
    "tcpdump -c 1 -i lo0",
    "sysctl net.inet.ip.forwarding=1",
    "sysctl net.inet.tcp.blackhole=2",
    "setfib 1 true",
    // The kernel.
    "kldload if_tap",
    "kldload linux",
    "kldunload nullfs",
    "sysctl kern.maxproc=100",
    "sysctl kern.securelevel=-1",
    "sysctl security.jail.allow_raw_sockets=1",
    "sysctl security.bsd.see_other_uids=0",
    "sysctl kern.corefile=/x",
    "kenv warder=1",
    "dmesg | grep .",
    "dd if=/dev/mem of=/dev/null bs=1 count=1",
    "dd if=/dev/kmem of=/dev/null bs=1 count=1",
    "cat /dev/klog",
    "sysctl debug.kdb.panic=1",
    "dtrace -l",
    "hwpmc || pmcstat -S x",
    // Time, names, the whole host.
    "date 202001010000",
    "hostname other",
    "domainname other",
    "reboot -q -n -N",
    "swapon /dev/null",
    "accton /x",
    "quotaon -a",
    // Devices and files.
    "mknod /mnt/x c 1 1",
    "devfs rule -s 10 add hide",
    "devfs rule showsets",
    "devfs ruleset 0 applyset",
    "touch /x && chflags schg /x",
    "ls /dev/pf /dev/bpf /dev/zfs /dev/mem /dev/io /dev/pci /dev/devctl /dev/geom.ctl",
    "ls /../../boot/kernel",
    // Processes outside.
    "kill -0 1",
    "kill -STOP 1",
    "ktrace -p 1",
    "truss -p 1",
    "procstat -f 1",
    "rtprio 0 true",
    "idprio 0 -1",
];

pub(crate) fn attacks_are_refused() {
    let mut instance = Instance::new();
    let running = instance.cell();
    let mut done = Vec::new();
    for attack in ATTACKS {
        let (code, said) = running.sh(attack);
        if code == 0 {
            done.push(format!("{attack}: {said}"));
        }
    }
    assert!(
        done.is_empty(),
        "these were not refused:\n{}",
        done.join("\n")
    );
    // A process of the host can be neither seen nor signalled by its number.
    let own = std::process::id();
    assert_ne!(running.sh(&format!("kill -0 {own}")).0, 0);
    assert_ne!(running.sh(&format!("ps -p {own} -o pid= | grep .")).0, 0);
    // Nor do System V keys lead out.
    let key = run("/usr/bin/ipcs", &["-m"]);
    assert!(!key.contains("warder"), "{key}");
    // It still answers, and debugs its own.
    running.ok("sleep 5 & truss -o /dev/null -p $! & sleep 0.5; kill $!; kill %1 || true");
    instance.end(running);
}

/// What it is handed is open on the host's own device, whose mode and owner root of the host has.
pub(crate) fn the_hosts_devices_stay_as_they_are() {
    use std::os::unix::fs::MetadataExt;
    let mut instance = Instance::new();
    let running = instance.cell();
    let before = std::fs::metadata("/dev/null").expect("/dev/null");
    for number in 0..3 {
        // As the agent itself, whose descriptors they are.
        assert_eq!(running.fchmod(number), Some(libc::ENOTCAPABLE), "{number}");
    }
    let after = std::fs::metadata("/dev/null").expect("/dev/null");
    assert_eq!((before.mode(), before.uid()), (after.mode(), after.uid()));
    instance.end(running);
}

pub(crate) fn its_network_works_and_is_not_its_own() {
    let mut instance = Instance::new();
    let running = instance.cell();
    let addresses = running.ok("ifconfig lo0");
    assert!(addresses.contains("127.0.0.1"), "{addresses}");
    // Its own slot's interfaces and no others.
    assert_eq!(
        running.ok("ifconfig -l").split_whitespace().next(),
        Some("lo0")
    );
    // TCP on 127.0.0.1, low ports too.
    for port in [80, 8080] {
        let talk = format!(
            "(echo hello | nc -l -N 127.0.0.1 {port} > /dev/null &) ; sleep 1; nc -N -w 5 127.0.0.1 {port} < /dev/null"
        );
        assert_eq!(running.ok(&talk), "hello");
    }
    let udp = "(nc -u -l -w 3 127.0.0.1 5353 > /tmp/got &) ; sleep 1; echo x | nc -u -w 1 127.0.0.1 5353; sleep 1; cat /tmp/got";
    assert_eq!(running.ok(udp), "x");
    // No IPv6.
    assert_ne!(running.sh("nc -6 -z -w 2 ::1 80").0, 0);
    instance.end(running);
}

pub(crate) fn limits_hold_or_are_absent() {
    let mut instance = Instance::new();
    // So few that they are reached before the limit on memory.
    instance.limits.pids = 10;
    let in_force = instance.controllers.limits_in_force();
    let running = instance.cell();
    let usage = instance.controllers.usage(&running.sandbox).expect("usage");
    assert!(usage.pids.is_some_and(|pids| pids >= 1), "{usage:?}");
    // The quota of its disk.
    let (code, said) = running.sh(&format!(
        "dd if=/dev/random of=/big bs=1m count={}",
        LIMITS.disk_mib + 32
    ));
    assert_ne!(code, 0, "{said}");
    running.sh("rm -f /big");
    if in_force.memory == LimitState::Absent {
        println!(
            "    kern.racct.enable is 0: limits on memory and processes are absent, and said to be"
        );
        assert_eq!(in_force.cpu, LimitState::StandIn);
        instance.end(running);
        return;
    }
    // What is refused says so with all that it has, which the agent would keep.
    let said = running.ok(
        "awk 'BEGIN { s = \"x\"; while (length(s) < 1000000000) s = s s; print length(s) }' \
         2>&1 | head -c 17",
    );
    assert_eq!(said, "awk: out of space");
    let (code, said) =
        running.sh("i=0; while [ $i -lt 40 ]; do sleep 1000 > /dev/null 2>&1 & i=$((i+1)); done");
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("Resource temporarily unavailable"), "{said}");
    instance.end(running);
}
