//! What a sandbox sees.

use crate::support::Instance;

pub(crate) fn nothing_of_the_host_but_its_programs() {
    let mut instance = Instance::new();
    let running = instance.cell();
    // Each of these is the host's, and not empty there.
    for path in [
        "/var/db/pkg",
        "/var/run/devd.pipe",
        "/boot/kernel",
        "/var/log/messages",
        "/root/.ssh",
        "/etc/rc.conf",
        "/etc/ssh/sshd_config",
        "/rescue/sh",
        "/usr/src",
        "/usr/obj",
        "/var/cron",
    ] {
        let (code, said) = running.sh(&format!("ls -d {path}"));
        assert_ne!(code, 0, "{path}: {said}");
    }
    for program in ["/bin/ls", "/sbin/sysctl", "/usr/bin/awk", "/usr/sbin/chown"] {
        running.ok(&format!("test -x {program}"));
    }
    for path in [
        "/bin",
        "/lib",
        "/libexec",
        "/sbin",
        "/usr/bin",
        "/usr/lib",
        "/usr/share",
    ] {
        let (code, said) = running.sh(&format!("touch {path}/x"));
        assert!(code != 0 && said.contains("Read-only"), "{path}: {said}");
    }
    // Only its own root is listed, by a name that says nothing.
    let mounts = running.ok("mount");
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(mounts.contains(" on / "), "{mounts}");
    let processes = running.ok("ps -axo command");
    assert!(processes.contains("envd"), "{processes}");
    for foreign in ["init", "[kernel]", "syslogd", "devd", "cron"] {
        assert!(!processes.contains(foreign), "{processes}");
    }
    assert_eq!(running.ok("ps -p 1 -o pid= | wc -l").trim(), "0");
    instance.end(running);
}

pub(crate) fn its_own_names_and_devices() {
    let mut instance = Instance::new();
    let running = instance.cell();
    assert_eq!(running.ok("hostname"), running.sandbox.as_str());
    assert_eq!(running.ok("id -u; pwd; umask"), "0\n/\n0022");
    assert_eq!(running.ok("logname"), "root");
    assert_eq!(
        running.ok("sysctl -n security.jail.jailed security.jail.vnet"),
        "1\n0"
    );
    assert_eq!(running.ok("sysctl -n kern.securelevel"), "3");
    let devices =
        running.ok("cd /dev && find . ! -name . ! -path './pts*' ! -path './fd/*' | sort");
    let mut wanted = vec![
        "./fd",
        "./null",
        "./random",
        "./stderr",
        "./stdin",
        "./stdout",
        "./urandom",
        "./zero",
    ];
    if std::path::Path::new("/dev/full").exists() {
        wanted.push("./full");
    }
    wanted.sort_unstable();
    assert_eq!(devices.lines().collect::<Vec<_>>(), wanted);
    running.ok("echo x > /dev/null && head -c 4 /dev/urandom | wc -c");
    running.ok("touch /tmp/x && rm /tmp/x");
    assert_eq!(running.ok("stat -f %Mp%Lp /tmp"), "1777");
    // A terminal of its own.
    running.ok("script -q /dev/null true < /dev/null");
    instance.end(running);
}
