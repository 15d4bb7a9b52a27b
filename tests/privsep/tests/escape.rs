//! Root in a real sandbox tries what it must not be able to do, on any kernel.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};

use serde_json::json;
use warder_harness::{Instance, exec, processes};
use warder_privsep::guests::{MINUTE, gone, works};
use warder_privsep::planted::{Planted, SECRET, only_the_open_one_is_seen};

#[test]
fn nothing_of_the_host_but_its_base_system_is_visible() {
    let mark = format!("planted-{}", std::process::id());
    let mut planted: Vec<_> = [
        "/etc", "/root", "/home", "/var", "/var/tmp", "/var/lib", "/var/db", "/var/log", "/opt",
        "/srv", "/tmp", "/mnt", "/run", "/var/run", "/dev/shm", "/boot",
    ]
    .iter()
    .filter(|dir| Path::new(dir).is_dir())
    .map(|dir| Planted::file(&format!("{dir}/{mark}"), 0o644))
    .collect();
    // And in the base system: the search below must be able to find something.
    let open = format!("/usr/share/{mark}-open");
    planted.push(Planted::file(&open, 0o644));
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let paths = format!(
        "{open} /etc/{mark} /root/{mark} /var/{mark} /home/{mark} \
         /proc/1/root/etc/{mark} /proc/1/root/root/{mark} /proc/1/cwd/../etc/{mark} /../../../etc/{mark}"
    );
    only_the_open_one_is_seen(&instance, &sandbox, &mark, &open, &paths);
    // What the host keeps for itself, by name.
    let look = "cat /etc/shadow- /root/.ssh/* /root/.bash_history /var/log/* /etc/ssh/* /home/*/.ssh/* 2>/dev/null | head -c 1; \
                cat /etc/shadow /etc/master.passwd 2>/dev/null | grep -c ':[$]'; ls -A /root /home /srv /opt /mnt";
    let ran = instance.run(&sandbox, "root", look, MINUTE);
    assert!(
        ran.stdout.starts_with("0\n"),
        "no password of the host's: {ran:?}"
    );
    // Written there, it stays inside, if it can be written at all.
    let write =
        format!("rm -f {open}; echo mine > {open}; echo mine > /usr/bin/{mark}; cat {open}");
    let ran = instance.run(&sandbox, "root", &write, MINUTE);
    assert!(!Path::new(&format!("/usr/bin/{mark}")).exists(), "{ran:?}");
    assert_eq!(
        fs::read_to_string(&open).expect("still there"),
        SECRET,
        "{ran:?}"
    );
    drop(planted);
    instance.finish();
}

#[test]
fn signals_stay_inside() {
    let instance = Instance::builder().start();
    let (sandbox, other) = (instance.create(&json!({})), instance.create(&json!({})));
    let sleep = Command::new("sleep").arg("600").spawn();
    let mut bystander = Bystander(sleep.expect("a process of this host"));
    let pids = [
        bystander.0.id(),
        instance.privd_pid(),
        instance.daemon_pid("gatewayd").expect("it runs"),
    ];
    for pid in pids {
        let ran = instance.run(&sandbox, "root", &format!("kill -9 {pid}"), MINUTE);
        assert_ne!(ran.exit, Some(0), "{ran:?}");
        let look = format!(
            "test -e /proc/{pid} && readlink /proc/{pid}/exe; ls /proc | grep -c '^[0-9]*$'; \
             ps -p {pid} -o args=; ps -ax -o pid= | grep -c ."
        );
        let ran = instance.run(&sandbox, "root", &look, MINUTE);
        let counts: Vec<u32> = ran
            .stdout
            .lines()
            .map(|line| line.trim().parse().expect("numbers alone"))
            .collect();
        assert_eq!(counts.len(), 2, "{ran:?}");
        assert!(
            counts.iter().all(|count| *count < 20) && counts[1] > 0,
            "only its own processes: {ran:?}"
        );
    }
    // All it may reach, and that is its own; who asks may not be told of it.
    let all = ("/bin/sh", ["-c", "kill -9 -1"].as_slice());
    let _ = exec(instance.address(), &sandbox, "root", all, MINUTE);
    if instance.jails() {
        // The agent among them, which is not the first process of a pid namespace there.
        gone(&instance, &sandbox);
    } else {
        let ran = instance.run(&sandbox, "root", "echo here", MINUTE);
        assert_eq!(ran.stdout.trim(), "here", "the agent lives on: {ran:?}");
    }
    works(&instance, &other);
    assert!(bystander.0.try_wait().expect("our child").is_none());
    for pid in pids {
        assert!(processes::runs(pid));
    }
    instance.finish();
}

/// A process of the host's, ended with the test.
struct Bystander(Child);

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Names and depths that whoever removes the tree as root might follow or stumble over.
#[test]
fn links_in_a_tree_lead_nobody_out_when_it_is_removed() {
    let outside = tempfile::tempdir().expect("a directory");
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    fs::write(outside.path().join("kept"), "whole").expect("ours");
    let mut instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let target = outside.path().display();
    let plant = format!(
        "for at in / /etc /home/user /tmp /var /usr /usr/bin; do \
           ln -s {target} $at/link-out; ln -s {target}/kept $at/link-file; ln -s ../../../../../../../../../..{target} $at/up; done; \
         rm -rf /etc/skel; ln -s {target} /etc/skel; mv /home/user /home/was; ln -s {target} /home/user; \
         rm -f /etc/resolv.conf /etc/hosts; ln -s {target}/kept /etc/resolv.conf; ln -s {target}/kept /etc/hosts; \
         cd /var; for n in $(seq 400); do mkdir -p d$(printf '%0200d' $n) && cd d$(printf '%0200d' $n) || break; done; \
         mkdir /tmp/locked; touch /tmp/locked/x; chmod 0 /tmp/locked; ls -d /link-out /home/user /etc/hosts; echo planted"
    );
    let ran = instance.run(&sandbox, "root", &plant, MINUTE);
    let listed: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert_eq!(
        listed,
        ["/etc/hosts", "/home/user", "/link-out", "planted"],
        "{ran:?}"
    );
    // The agent follows them with the sandbox's own rights, so it finds nothing.
    let read = instance.sandbox(
        &sandbox,
        49983,
        "GET",
        "/files?path=/link-out/kept&username=root",
        b"",
    );
    assert_eq!(read.status, 404, "{}", read.text());
    instance.remove(&sandbox);
    instance.stop();
    let left = Command::new("find")
        .arg(instance.state_dir())
        .args(["-name", "link-out"])
        .output()
        .expect("find runs");
    assert!(
        left.status.success() && left.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&left.stdout)
    );
    instance.finish();
    let kept = fs::read_to_string(outside.path().join("kept")).expect("still there");
    assert_eq!(kept, "whole");
    assert_eq!(fs::read_dir(outside.path()).expect("ours").count(), 1);
}
