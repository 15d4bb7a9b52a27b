//! Root in a real sandbox tries what it must not be able to do.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use warder_harness::{Instance, Snapshot};

const MINUTE: u32 = 60_000;

fn finish(mut instance: Instance) {
    instance.stop();
    assert!(
        Snapshot::of(instance.tag()).is_empty(),
        "{:?}",
        Snapshot::of(instance.tag())
    );
}

#[test]
fn nothing_of_the_host_but_usr_is_visible() {
    let mark = format!("planted-{}", std::process::id());
    let planted: Vec<_> = [
        "/etc",
        "/root",
        "/home",
        "/var",
        "/var/tmp",
        "/opt",
        "/srv",
        "/tmp",
        "/usr/local/share",
    ]
    .iter()
    .filter(|dir| Path::new(dir).is_dir())
    .map(|dir| Planted::new(&format!("{dir}/{mark}"), *dir == "/usr/local/share"))
    .collect();
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let search = format!(
        "find / -xdev -name '{mark}' 2>/dev/null; ls -d /etc/{mark} /root/{mark} /usr/local/share/{mark} 2>/dev/null; true"
    );
    let ran = instance.run(&sandbox, "root", &search, MINUTE);
    assert_eq!((ran.exit, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    // The other way round: the search can find what is there.
    let there = instance.run(
        &sandbox,
        "root",
        &format!("touch /etc/{mark}; find / -xdev -name '{mark}' 2>/dev/null"),
        MINUTE,
    );
    assert_eq!(there.stdout.trim(), format!("/etc/{mark}"), "{there:?}");
    drop(planted);
    finish(instance);
}

/// A file that only root may read where "other" must see nothing; removed at the end.
struct Planted(String);

impl Planted {
    fn new(path: &str, secret: bool) -> Self {
        use std::os::unix::fs::PermissionsExt;
        fs::write(path, "secret").expect("root may write");
        let mode = if secret { 0o600 } else { 0o644 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
        Self(path.to_owned())
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_kernel_refuses_roots_requests() {
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let attempts = [
        "mount -t tmpfs none /mnt",
        "mount --bind /etc /mnt",
        "umount /proc",
        "unshare -U true",
        "unshare -r true",
        "unshare -m true",
        "unshare -n true",
        "ip link set lo down",
        "ip addr add 10.9.9.9/32 dev eth0",
        "ip route add default via 10.9.9.9",
        "nft list ruleset",
        "mknod /tmp/sda b 8 0 && head -c 1 /tmp/sda",
        "echo 1 > /proc/sys/kernel/sysrq",
        "echo b > /proc/sysrq-trigger",
        "cat /proc/kcore | head -c 1 | grep -q .",
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
        "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
        "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'",
        "python3 -c 'import socket; socket.socket(40, socket.SOCK_STREAM)'",
        "python3 -c 'import ctypes,sys; sys.exit(ctypes.CDLL(None).syscall(425, 8, 0) < 0)'",
        "python3 -c 'import ctypes,sys; sys.exit(ctypes.CDLL(None).syscall(321, 0, 0, 0) < 0)'",
        "python3 -c 'import ctypes,sys; sys.exit(ctypes.CDLL(None).syscall(250, 0, 0) < 0)'",
        "swapon /tmp/none",
        "dmesg",
        "hwclock -w",
        "date -s 2001-01-01",
        "kill -9 1; sleep 0.2; kill -0 1 && false",
    ];
    for attempt in attempts {
        let ran = instance.run(&sandbox, "root", attempt, MINUTE);
        assert!(
            ran.exit.is_some_and(|code| code != 0),
            "{attempt} succeeded: {ran:?}"
        );
    }
    assert_eq!(
        instance
            .run(&sandbox, "user", "sudo -n id -u", MINUTE)
            .stdout
            .trim(),
        "0",
        "passwordless sudo works"
    );
    finish(instance);
}

#[test]
fn what_runs_inside_has_no_rights_outside() {
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let mark = format!("sleep {}", 7_000_000 + std::process::id());
    let ran = instance.run(
        &sandbox,
        "root",
        &format!("{mark} >/dev/null 2>&1 & echo started"),
        MINUTE,
    );
    assert_eq!(ran.stdout.trim(), "started", "{ran:?}");
    let pid = host_pid_of(&mark).expect("it runs on this host");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let ids: Vec<u32> = field(&status, "Uid:")
        .split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect();
    assert!(
        ids.len() == 4 && ids.iter().all(|id| *id >= 0x2000_0000),
        "host ids {ids:?}"
    );
    assert_eq!(field(&status, "Seccomp:"), "2");
    for namespace in ["user", "pid", "mnt", "net", "uts", "ipc", "cgroup"] {
        let of = |who: &str| {
            fs::read_link(format!("/proc/{who}/ns/{namespace}")).expect("namespaces have names")
        };
        assert_ne!(
            of(&pid.to_string()),
            of("self"),
            "it shares our {namespace} namespace"
        );
    }
    finish(instance);
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status
        .lines()
        .find_map(|l| l.strip_prefix(name))
        .unwrap_or_default()
        .trim()
}

fn host_pid_of(command: &str) -> Option<u32> {
    let all = fs::read_dir("/proc").ok()?.flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words)
                .trim_end_matches('\0')
                .replace('\0', " ")
                == command
        })
}

#[test]
fn a_fork_bomb_stays_inside() {
    let instance = Instance::builder().start();
    let bomber = instance.create(&json!({}));
    let other = instance.create(&json!({}));
    let bomb = "bomb() { bomb | bomb & }; ulimit -u unlimited 2>/dev/null; bomb; sleep 2; true";
    let _ = instance.run(&bomber, "root", bomb, 5000);
    let ran = instance.run(&other, "user", "echo fine", MINUTE);
    assert_eq!(ran.stdout.trim(), "fine", "{ran:?}");
    remove(&instance, &bomber);
    remove(&instance, &other);
    finish(instance);
}

#[test]
fn memory_beyond_the_limit_ends_inside() {
    let instance = Instance::builder().start();
    let report = instance.admin("GET", "/admin/host", &Value::Null);
    assert_eq!(report.status, 200, "{}", report.text());
    let greedy = instance.create(&json!({}));
    let ran = instance.run(
        &greedy,
        "user",
        "python3 -c 'x = bytearray(8 << 30); print(len(x))'",
        MINUTE,
    );
    if report.text().contains("\"memory\":\"enforced\"")
        || report
            .text()
            .to_lowercase()
            .contains("\"memory\":\"enforced\"")
    {
        assert_ne!(ran.exit, Some(0), "8 GiB were given: {ran:?}");
    }
    let other = instance.create(&json!({}));
    assert_eq!(
        instance
            .run(&other, "user", "echo fine", MINUTE)
            .stdout
            .trim(),
        "fine"
    );
    finish(instance);
}

#[test]
fn one_sandbox_sees_nothing_of_another() {
    let instance = Instance::builder().start();
    let (one, two) = (instance.create(&json!({})), instance.create(&json!({})));
    let serve = "cd /tmp && echo secret > mine && (python3 -m http.server 8000 --bind 0.0.0.0 >/dev/null 2>&1 &) ; \
                 for i in $(seq 100); do curl -sf http://127.0.0.1:8000/mine && break; sleep 0.05; done; hostname -I";
    let ran = instance.run(&one, "user", serve, MINUTE);
    assert!(ran.stdout.starts_with("secret"), "{ran:?}");
    let address = ran
        .stdout
        .split_whitespace()
        .last()
        .unwrap_or_default()
        .to_owned();
    assert!(address.parse::<std::net::Ipv4Addr>().is_ok(), "{ran:?}");
    let look = format!(
        "curl -s -m 3 http://{address}:8000/mine; ps -eo args | grep -c '[h]ttp.server'; find / -xdev -name mine 2>/dev/null; true"
    );
    assert_eq!(instance.run(&two, "root", &look, MINUTE).stdout.trim(), "0");
    finish(instance);
}

#[test]
fn killing_the_agent_ends_the_sandbox_and_is_reported() {
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let id = sandbox["sandboxID"].as_str().expect("an id").to_owned();
    // From the host: from inside, pid 1 cannot be killed (see above). This is what an out-of-memory kill does.
    let ran = instance.run(
        &sandbox,
        "root",
        "sleep 7654321 >/dev/null 2>&1 & echo",
        MINUTE,
    );
    assert!(ran.exit.is_some(), "{ran:?}");
    let sleeper = host_pid_of("sleep 7654321").expect("it runs");
    let init = parent_chain_end(sleeper);
    let _ = std::process::Command::new("kill")
        .args(["-9", &init.to_string()])
        .status();
    let gone = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(25));
        instance
            .api("GET", &format!("/sandboxes/{id}"), &Value::Null)
            .status
            == 404
    });
    assert!(gone, "the API still lists it:\n{}", instance.log_text());
    assert_eq!(
        instance
            .sandbox(&sandbox, 49983, "GET", "/health", b"")
            .status,
        502
    );
    finish(instance);
}

/// The last ancestor in the same pid namespace: the sandbox's first process, seen from the host.
fn parent_chain_end(pid: u32) -> u32 {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let mut at = pid;
    loop {
        let status = fs::read_to_string(format!("/proc/{at}/status")).unwrap_or_default();
        let parent: u32 = field(&status, "PPid:").parse().unwrap_or(0);
        if parent == 0 || namespace(parent) != namespace(pid) {
            return at;
        }
        at = parent;
    }
}

fn remove(instance: &Instance, sandbox: &Value) {
    let id = sandbox["sandboxID"].as_str().expect("an id");
    let answer = instance.api("DELETE", &format!("/sandboxes/{id}"), &Value::Null);
    assert_eq!(answer.status, 204, "{}", answer.text());
}
