//! A sandbox uses up what it can get at; the others, and the daemons, go on. And what the API says when
//! something is used up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_harness::Instance;
use warder_harness::http::Answer;
use warder_privsep::{host_pid_of, host_pids, status_field};

const MINUTE: u32 = 60_000;

/// Polls until `done`, which must come.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process of the sandbox that only waits, by its number on this host.
fn sleeper(instance: &Instance, sandbox: &Value, number: u32) -> u32 {
    let command = format!("sleep {}", 7_000_000 + std::process::id() * 10 + number);
    let start = format!("{command} >/dev/null 2>&1 & echo started");
    let ran = instance.run(sandbox, "root", &start, MINUTE);
    assert_eq!(ran.stdout.trim(), "started", "{ran:?}");
    // The shell says so before its child has become another program.
    let mut found = None;
    until("it never runs on this host", || {
        found = host_pid_of(&command);
        found.is_some()
    });
    found.expect("found")
}

fn works(instance: &Instance, sandbox: &Value) {
    let ran = instance.run(sandbox, "user", "echo fine", MINUTE);
    assert_eq!(ran.stdout.trim(), "fine", "{ran:?}");
}

#[test]
fn a_fork_bomb_stays_inside() {
    let instance = Instance::builder().start();
    let (bomber, other) = (instance.create(&json!({})), instance.create(&json!({})));
    let ids = status_field(sleeper(&instance, &bomber, 1), "Uid");
    let running = || {
        let all = host_pids().into_iter();
        all.filter(|pid| status_field(*pid, "Uid") == ids).count()
    };
    let bomb = "bomb() { bomb | bomb & }; ulimit -u unlimited 2>/dev/null; (bomb) >/dev/null 2>&1 & sleep 1; echo lit";
    let ran = instance.run(&bomber, "root", bomb, 10_000);
    // Its own shell may not have got that far.
    assert!(ran.stdout.is_empty() || ran.stdout == "lit\n", "{ran:?}");
    // The API gives a sandbox 1024 processes.
    assert!(running() <= 1100, "{} processes", running());
    works(&instance, &other);
    let third = instance.create(&json!({}));
    works(&instance, &third);
    // Ended while it goes on.
    instance.remove(&bomber);
    until("processes of the bomb are left", || running() == 0);
    instance.remove(&other);
    instance.remove(&third);
    instance.finish();
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
    instance.finish();
}

#[test]
fn a_full_disk_is_the_fillers_problem() {
    let instance = Instance::builder()
        .disk(96)
        .line("storage_reserve_mib 16")
        .start();
    let (greedy, other) = (instance.create(&json!({})), instance.create(&json!({})));
    let fill =
        "head -c 500M /dev/zero > /var/fill; echo $?; ls -s /var/fill; echo more >> /home/user/x";
    let ran = instance.run(&greedy, "root", fill, MINUTE);
    assert!(
        ran.stdout.starts_with("1\n"),
        "500 MiB fit into 96: {ran:?}"
    );
    assert!(ran.stderr.contains("No space left on device"), "{ran:?}");
    for sandbox in [&greedy, &other] {
        works(&instance, sandbox);
    }
    // Uploading says why it cannot.
    let upload = instance.sandbox(
        &greedy,
        49983,
        "POST",
        "/files?path=/var/upload&username=root",
        &[b'x'; 200_000],
    );
    assert!(upload.status >= 400, "{} {}", upload.status, upload.text());
    // New ones are refused, with the reason; nothing is left of the attempt.
    for _ in 0..3 {
        let answer = create(&instance);
        refused(&answer, 507, "false");
        assert!(answer.text().contains("full"), "{}", answer.text());
    }
    let listed = instance.api("GET", "/v2/sandboxes", &Value::Null).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
    // What needs no room goes on: deadlines, and the way out.
    let id = other["sandboxID"].as_str().expect("an id");
    let longer = instance.api(
        "POST",
        &format!("/sandboxes/{id}/timeout"),
        &json!({ "timeout": 100 }),
    );
    assert_eq!(longer.status, 204, "{}", longer.text());
    instance.remove(&greedy);
    let mut made = None;
    until("there is room again and no sandbox", || {
        let answer = create(&instance);
        made = (answer.status == 201).then(|| answer.json());
        made.is_some()
    });
    works(&instance, &made.expect("made"));
    works(&instance, &other);
    instance.finish();
}

#[test]
fn one_sandbox_too_many_is_refused_and_worth_another_try() {
    let instance = Instance::builder().line("max_sandboxes 2").start();
    let (one, two) = (instance.create(&json!({})), instance.create(&json!({})));
    for _ in 0..3 {
        refused(&create(&instance), 503, "true");
    }
    let listed = instance.api("GET", "/v2/sandboxes", &Value::Null).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
    works(&instance, &one);
    instance.remove(&one);
    until("its place is never free again", || {
        create(&instance).status == 201
    });
    works(&instance, &two);
    instance.finish();
}

/// Starts what it is told to under a filter in which `sethostname`, which every cell calls and nothing else
/// does, is not there.
const LACKING: &str = r#"#!/usr/bin/env python3
import ctypes, os, struct, sys
number = {'x86_64': 170, 'aarch64': 161}[os.uname().machine]
steps = ((0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7fff0000))
code = b''.join(struct.pack('HBBI', *step) for step in steps)
class Program(ctypes.Structure):
    _fields_ = [('steps', ctypes.c_ushort), ('code', ctypes.c_char_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(steps), code))) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn a_kernel_that_lacks_a_feature_is_named_and_not_worth_a_retry() {
    let dir = tempfile::tempdir().expect("a directory");
    let lacking = dir.path().join("lacking");
    fs::write(&lacking, LACKING).expect("a fresh file");
    fs::set_permissions(&lacking, fs::Permissions::from_mode(0o755)).expect("ours");
    let instance = Instance::builder().through(&lacking).start();
    for _ in 0..2 {
        let answer = create(&instance);
        refused(&answer, 503, "false");
        assert!(answer.text().contains("sethostname"), "{}", answer.text());
    }
    let listed = instance.api("GET", "/v2/sandboxes", &Value::Null).json();
    assert_eq!(listed, json!([]));
    instance.finish();
}

fn create(instance: &Instance) -> Answer {
    instance.api(
        "POST",
        "/v2/sandboxes",
        &json!({ "templateID": "base", "timeout": 300 }),
    )
}

/// E2B's error body, with a word on whether to try again.
fn refused(answer: &Answer, status: u16, retry: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let error = answer.json();
    assert_eq!(error["code"], status, "{error}");
    assert!(
        error["message"].as_str().is_some_and(|m| m.len() > 10),
        "{error}"
    );
    assert_eq!(answer.header("should-retry"), Some(retry));
    assert_eq!(answer.header("retry-after").is_some(), retry == "true");
}

#[test]
fn killing_the_agent_ends_the_sandbox_and_is_reported() {
    let instance = Instance::builder().start();
    let sandbox = instance.create(&json!({}));
    let id = sandbox["sandboxID"].as_str().expect("an id").to_owned();
    // From the host, as the kernel does when memory runs out.
    let agent = parent_chain_end(sleeper(&instance, &sandbox, 3));
    let _ = std::process::Command::new("kill")
        .args(["-9", &agent.to_string()])
        .status();
    let target = format!("/sandboxes/{id}");
    until("the API still lists it", || {
        instance.api("GET", &target, &Value::Null).status == 404
    });
    let answer = instance.sandbox(&sandbox, 49983, "GET", "/health", b"");
    assert_eq!(answer.status, 502);
    instance.finish();
}

/// The last ancestor in the same pid namespace: the sandbox's first process, seen from the host.
fn parent_chain_end(pid: u32) -> u32 {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let mut at = pid;
    loop {
        let parent: u32 = status_field(at, "PPid").parse().unwrap_or(0);
        if parent == 0 || namespace(parent) != namespace(pid) {
            return at;
        }
        at = parent;
    }
}

/// Root of a sandbox may do to its agent what root may: then there is no agent, and so no sandbox.
#[test]
fn an_agent_that_is_broken_from_inside_ends_its_sandbox() {
    let instance = Instance::builder().start();
    let (sandbox, other) = (instance.create(&json!({})), instance.create(&json!({})));
    let agent = parent_chain_end(sleeper(&instance, &sandbox, 2));
    // Overwrites its code where it runs.
    let overwrite = "(sleep 0.3; python3 - <<'EOF'
with open('/proc/1/maps') as maps:
    ranges = [line.split()[0].split('-') for line in maps if ' r-xp ' in line]
with open('/proc/1/mem', 'r+b', buffering=0) as memory:
    for start, end in ranges:
        try:
            memory.seek(int(start, 16))
            memory.write(b'\\xf4' * (int(end, 16) - int(start, 16)))
        except OSError: pass
EOF
) >/dev/null 2>&1 & echo begun";
    let ran = instance.run(&sandbox, "root", overwrite, MINUTE);
    assert_eq!(ran.stdout.trim(), "begun", "{ran:?}");
    let id = sandbox["sandboxID"].as_str().expect("an id").to_owned();
    until(&format!("{ran:?}"), || {
        instance
            .api("GET", &format!("/sandboxes/{id}"), &Value::Null)
            .status
            == 404
    });
    until("it still runs", || {
        !fs::exists(format!("/proc/{agent}")).unwrap_or(true)
    });
    // The file is every sandbox's; what was overwritten is not.
    works(&instance, &other);
    works(&instance, &instance.create(&json!({})));
    instance.finish();
}
