//! The client commands against a running server: what they print and the codes they end with.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use warder_harness::Instance;

/// `warder ARGS` for this instance, with `input`.
fn warder(instance: &Instance, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_warder"))
        .env("WARDER_STATE_DIR", instance.state_dir())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("warder starts");
    let mut stdin = child.stdin.take().expect("piped");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command that reads nothing may be gone before it is written.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("our child")
    })
}

/// Its standard output, when it ended well.
fn good(instance: &Instance, args: &[&str]) -> String {
    let output = warder(instance, args, b"");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{args:?}: {errors}\n{}",
        instance.log_text()
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Its exit code.
fn code(instance: &Instance, args: &[&str]) -> Option<i32> {
    warder(instance, args, b"").status.code()
}

fn create(instance: &Instance) -> String {
    good(instance, &["create", "--metadata", "for=test"])
        .trim()
        .to_owned()
}

#[test]
fn sandboxes_are_created_listed_and_killed() {
    let mut instance = Instance::builder().start();
    let id = create(&instance);
    assert_eq!(good(&instance, &["list", "-q"]).trim(), id);
    assert_eq!(
        good(&instance, &["list", "-q", "--metadata", "for=test"]).trim(),
        id
    );
    assert_eq!(
        good(&instance, &["list", "-q", "--metadata", "for=other"]),
        ""
    );
    let json: Value = serde_json::from_str(&good(&instance, &["--json", "list"])).expect("JSON");
    assert_eq!(json[0]["sandboxID"], id.as_str());
    assert_eq!(good(&instance, &["kill", &id]).trim(), id);
    assert_eq!(code(&instance, &["kill", &id]), Some(3));
    assert_eq!(code(&instance, &["create", "no-such-template"]), Some(3));
    create(&instance);
    good(&instance, &["kill", "--all"]);
    assert_eq!(good(&instance, &["list", "-q"]), "");
    instance.stop();
    assert_eq!(code(&instance, &["list"]), Some(5), "no server");
}

#[test]
fn what_happened_can_be_read_and_followed() {
    let mut instance = Instance::builder().start();
    let id = create(&instance);
    good(&instance, &["exec", &id, "true"]);
    let logs = good(&instance, &["logs", &id]);
    for part in [
        "sandbox created",
        "agent started",
        "process started",
        "exit_code=0",
    ] {
        assert!(logs.contains(part), "{part}: {logs}");
    }
    let series: Value =
        serde_json::from_str(&good(&instance, &["--json", "metrics", &id])).expect("JSON");
    assert!(series[0]["timestampUnix"].is_u64(), "{series}");
    let numbers = good(&instance, &["metrics"]);
    assert!(
        numbers.contains("warder_sandboxes{state=\"running\"} 1"),
        "{numbers}"
    );
    let mut following = Command::new(env!("CARGO_BIN_EXE_warder"))
        .env("WARDER_STATE_DIR", instance.state_dir())
        .args(["events", "--follow", "--sandbox", &id])
        .stdout(Stdio::piped())
        .spawn()
        .expect("warder starts");
    let mut lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert!(next().contains("created"));
    // Ends by itself at the sandbox's end.
    let logs = Command::new(env!("CARGO_BIN_EXE_warder"))
        .env("WARDER_STATE_DIR", instance.state_dir())
        .args(["logs", "--follow", &id])
        .stdout(Stdio::piped())
        .spawn()
        .expect("warder starts");
    good(&instance, &["kill", &id]);
    let told = next();
    assert!(
        told.contains("killed") && told.contains("reason request"),
        "{told}"
    );
    let output = logs.wait_with_output().expect("our child");
    assert_eq!(output.status.code(), Some(0));
    let logs = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(logs.contains("sandbox ended (request)"), "{logs}");
    following.kill().expect("ours");
    following.wait().expect("ours");
    let all = good(&instance, &["--json", "events"]);
    let types: Vec<Value> = all
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["type"].clone())
        .collect();
    assert_eq!(
        types,
        ["sandbox.lifecycle.created", "sandbox.lifecycle.killed"]
    );
    assert_eq!(good(&instance, &["events", "--after", "2"]), "");
    assert_eq!(code(&instance, &["logs", "iaaaaaaaaaaaaaaaaaaaa"]), Some(3));
    instance.stop();
}

#[test]
fn who_follows_the_events_goes_on_after_a_restart() {
    let mut instance = Instance::builder().start();
    let id = create(&instance);
    let mut following = Command::new(env!("CARGO_BIN_EXE_warder"))
        .env("WARDER_STATE_DIR", instance.state_dir())
        .args(["events", "--follow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("warder starts");
    let mut lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    let mut notes = BufReader::new(following.stderr.take().expect("piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert!(next().contains("created"));
    instance.replace_privd();
    let note = notes.next().expect("a line").expect("text");
    assert!(note.contains("waiting"), "{note}");
    good(&instance, &["kill", &id]);
    let told = next();
    assert!(
        told.contains("killed") && told.contains(&id),
        "nothing told twice, nothing left out: {told}"
    );
    following.kill().expect("ours");
    following.wait().expect("ours");
    assert!(lines.next().is_none(), "no more than that");
    // What is refused is not tried again.
    let refused = ["events", "--follow", "--sandbox", "no id"];
    assert_eq!(code(&instance, &refused), Some(4));
    instance.stop();
}

#[test]
fn sandboxes_are_paused_copied_and_resumed() {
    let mut instance = Instance::builder().start();
    let id = create(&instance);
    good(
        &instance,
        &["exec", &id, "sh", "-c", "echo kept > /tmp/note"],
    );
    assert_eq!(good(&instance, &["pause", &id]).trim(), id);
    assert_eq!(code(&instance, &["pause", &id]), Some(4), "paused already");
    let list =
        || -> Value { serde_json::from_str(&good(&instance, &["--json", "list"])).expect("JSON") };
    assert_eq!(list()[0]["state"], "paused");
    assert_eq!(good(&instance, &["resume", &id]).trim(), id);
    let note = |id: &str| good(&instance, &["exec", id, "cat", "/tmp/note"]);
    assert_eq!(
        (note(&id).as_str(), &list()[0]["state"]),
        ("kept\n", &Value::from("running"))
    );

    let snapshot = good(&instance, &["snapshot", "create", &id, "--name", "work"]);
    assert_eq!(snapshot.trim(), "local/work:default");
    assert_eq!(good(&instance, &["snapshot", "list", "-q"]), snapshot);
    let forks = good(&instance, &["fork", &id, "--count", "2"]);
    assert_eq!(forks.lines().count(), 2);
    assert!(
        forks
            .lines()
            .all(|fork| fork != id && note(fork) == "kept\n")
    );
    good(&instance, &["kill", &id]);
    let child = good(&instance, &["create", "work"]);
    assert_eq!(note(child.trim()), "kept\n");
    good(&instance, &["snapshot", "delete", "work"]);
    assert_eq!(code(&instance, &["snapshot", "delete", "work"]), Some(3));
    assert_eq!(note(child.trim()), "kept\n");
    good(&instance, &["kill", "--all"]);
    instance.stop();
}

#[test]
fn exec_has_the_commands_streams_and_code() {
    let mut instance = Instance::builder().start();
    let id = create(&instance);
    let output = warder(
        &instance,
        &["exec", &id, "sh", "-c", "echo out; echo err >&2; exit 7"],
        b"",
    );
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (&b"out\n"[..], &b"err\n"[..])
    );
    let large: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let output = warder(&instance, &["exec", &id, "cat"], &large);
    assert!(
        output.stdout == large,
        "{} of {} bytes came back",
        output.stdout.len(),
        large.len()
    );
    assert_eq!(
        code(&instance, &["exec", &id, "sh", "-c", "kill -9 $$"]),
        Some(137)
    );
    assert_eq!(
        code(&instance, &["exec", "--timeout", "1", &id, "sleep", "30"]),
        Some(124)
    );
    assert_eq!(
        code(&instance, &["exec", &id, "/no/such/program"]),
        Some(125)
    );
    assert_eq!(
        good(
            &instance,
            &[
                "exec",
                "-u",
                "root",
                "--cwd",
                "/tmp",
                &id,
                "sh",
                "-c",
                "id -u; pwd"
            ]
        ),
        "0\n/tmp\n"
    );
    let output = warder(&instance, &["shell", &id], b"echo $((40 + 2))\nexit 5\n");
    assert_eq!(output.status.code(), Some(5));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("42\r\n"),
        "{:?}",
        output.stdout
    );
    instance.stop();
}

#[test]
fn files_are_copied_both_ways() {
    let mut instance = Instance::builder().start();
    let id = create(&instance);
    let dir = tempfile::tempdir().expect("a directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&from, &content).expect("writes");
    good(
        &instance,
        &["cp", from.to_str().expect("text"), &format!("{id}:")],
    );
    good(
        &instance,
        &["cp", &format!("{id}:from"), to.to_str().expect("text")],
    );
    assert!(
        std::fs::read(&to).expect("reads") == content,
        "the copy differs"
    );
    let missing = dir.path().join("missing");
    let args = [
        "cp",
        &format!("{id}:no-such-file"),
        missing.to_str().expect("text"),
    ];
    assert_eq!(code(&instance, &args), Some(3));
    assert!(!missing.exists(), "a failed copy leaves no file");
    assert_eq!(code(&instance, &["cp", "a", "b"]), Some(2));
    instance.stop();
}

#[test]
fn keys_open_the_api_until_they_are_revoked() {
    let mut instance = Instance::builder().start();
    let key = good(&instance, &["key", "create", "ci"]).trim().to_owned();
    let status = || {
        instance
            .send("GET", "/v2/sandboxes", &[("X-API-KEY", &key)], b"")
            .status
    };
    assert_eq!(status(), 200);
    let listed: Value =
        serde_json::from_str(&good(&instance, &["--json", "key", "list"])).expect("JSON");
    let entry = listed
        .as_array()
        .and_then(|l| l.iter().find(|k| k["name"] == "ci"));
    let entry = entry.expect("the key is listed");
    assert!(
        !entry.to_string().contains(&key),
        "a list must not show the key"
    );
    let id = entry["id"].as_str().expect("an id").to_owned();
    good(&instance, &["key", "revoke", &id]);
    assert_eq!(status(), 401);
    assert_eq!(code(&instance, &["key", "revoke", &id]), Some(3));
    instance.stop();
}

#[test]
fn templates_come_from_directories_and_archives() {
    let mut instance = Instance::builder().start();
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("etc")).expect("makes");
    std::fs::write(root.join("etc/motd"), "hello").expect("writes");
    std::os::unix::fs::symlink("/etc/passwd", root.join("etc/link")).expect("links");
    good(
        &instance,
        &[
            "template",
            "import-dir",
            "one",
            root.to_str().expect("text"),
        ],
    );
    let names = good(&instance, &["template", "list"]);
    assert!(
        names.contains("\none ") && names.contains("\nbase "),
        "{names}"
    );
    assert_eq!(
        code(
            &instance,
            &[
                "template",
                "import-dir",
                "one",
                root.to_str().expect("text")
            ]
        ),
        Some(4)
    );
    assert_eq!(
        code(
            &instance,
            &[
                "template",
                "import-dir",
                "../bad",
                root.to_str().expect("text")
            ]
        ),
        Some(4)
    );
    good(&instance, &["template", "remove", "one"]);
    assert_eq!(code(&instance, &["template", "remove", "one"]), Some(3));
    let output = warder(
        &instance,
        &["template", "import-tar", "two"],
        b"this is no archive, only text that is long enough",
    );
    assert_ne!(output.status.code(), Some(0));
    assert!(!good(&instance, &["template", "list"]).contains("\ntwo "));
    let image = dir.path().join("image");
    let path = image.to_str().expect("text");
    let mut disk = vec![0; 1 << 20];
    std::fs::write(&image, &disk).expect("writes");
    let import = ["template", "import-raw", "three", path];
    assert_eq!(code(&instance, &import), Some(2), "no table of partitions");
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(&image, &disk).expect("writes");
    good(&instance, &import);
    assert!(good(&instance, &["template", "list"]).contains("\nthree "));
    instance.stop();
}

/// How many are ready, as `pool list` says.
fn ready(instance: &Instance) -> String {
    let listed = good(instance, &["--json", "pool", "list"]);
    let pools: Value = serde_json::from_str(&listed).expect("JSON");
    pools[0]["ready"].to_string()
}

fn await_ready(instance: &Instance, count: &str) {
    let begun = std::time::Instant::now();
    while ready(instance) != count {
        let waited = begun.elapsed();
        assert!(waited.as_secs() < 60, "{}", instance.log_text());
    }
}

#[test]
fn a_pool_hands_out_each_once_and_a_killed_gateway_leaks_none() {
    let instance = Instance::builder().start();
    good(&instance, &["pool", "set", "base", "3"]);
    assert_eq!(code(&instance, &["pool", "set", "nothing", "1"]), Some(3));
    await_ready(&instance, "3");
    assert_eq!(good(&instance, &["list", "-q"]), "");
    let ids: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..5)
            .map(|n: u32| {
                let (instance, value) = (&instance, format!("N={n}"));
                scope.spawn(move || {
                    let id = good(instance, &["create", "--env", &value]);
                    let id = id.trim().to_owned();
                    let told = good(instance, &["exec", &id, "sh", "-c", "echo $N"]);
                    assert_eq!(told.trim(), n.to_string());
                    id
                })
            })
            .collect();
        all.into_iter()
            .map(|one| one.join().expect("made"))
            .collect()
    });
    let own = |script: &str| {
        let all: std::collections::BTreeSet<String> = ids
            .iter()
            .map(|id| good(&instance, &["exec", id, "sh", "-c", script]))
            .collect();
        assert_eq!(all.len(), ids.len(), "{script}: {all:?}");
    };
    own("cat /etc/hostname /proc/sys/kernel/hostname");
    own("ls -l /proc/self/ns | sort");
    // Nobody was there before.
    for id in &ids {
        let left = good(&instance, &["exec", id, "sh", "-c", "ls -A /tmp | wc -l"]);
        assert_eq!(left.trim(), "0");
    }
    await_ready(&instance, "3");
    let pid = instance.daemon_pid("gatewayd").expect("it runs");
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.expect("kill").success());
    instance.await_http();
    await_ready(&instance, "3");
    // Three and five, and none of those before: the host counts them all.
    let counted = || instance.admin("GET", "/admin/host", &Value::Null).json()["sandboxes"].clone();
    let begun = std::time::Instant::now();
    while counted() != 8 {
        let waited = begun.elapsed();
        assert!(
            waited.as_secs() < 60,
            "{}\n{}",
            counted(),
            instance.log_text()
        );
    }
    let mut listed: Vec<String> = good(&instance, &["list", "-q"])
        .lines()
        .map(str::to_owned)
        .collect();
    let mut ids = ids.clone();
    listed.sort();
    ids.sort();
    assert_eq!(listed, ids);
    good(&instance, &["kill", "--all"]);
    good(&instance, &["pool", "set", "base", "0"]);
    let begun = std::time::Instant::now();
    while counted() != 0 {
        assert!(begun.elapsed().as_secs() < 60, "{}", instance.log_text());
    }
    instance.finish();
}

#[test]
fn doctor_works_with_and_without_a_server() {
    let mut instance = Instance::builder().start();
    let read = |instance: &Instance| {
        let output = warder(instance, &["--json", "doctor"], b"");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    assert!(read(&instance)["host"]["features"].is_array());
    instance.stop();
    let report = read(&instance);
    assert!(report["host"].is_null() && report["checks"].as_array().is_some_and(|c| c.len() > 5));
}

#[test]
fn the_network_of_a_sandbox_is_cut_shown_and_given_back() {
    let mut instance = Instance::builder().start();
    let id = create(&instance);
    assert!(good(&instance, &["network", &id]).starts_with("generation 1: in force\n"));
    // Closed to all, so that nothing is sent anywhere.
    let reach = "curl -s -m 5 http://10.0.0.1/; echo $?";
    good(&instance, &["exec", &id, "--", "sh", "-c", reach]);
    let begun = std::time::Instant::now();
    let refused = || good(&instance, &["network", &id]).contains("10.0.0.1:80");
    while !refused() {
        assert!(begun.elapsed().as_secs() < 20, "no refusal is shown");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let events = good(&instance, &["events", "--sandbox", &id]);
    assert!(events.contains("tcp 10.0.0.1:80"), "{events}");
    good(&instance, &["airgap", &id, "on"]);
    let shown: Value =
        serde_json::from_str(&good(&instance, &["--json", "network", &id])).expect("JSON");
    assert_eq!(shown["networkState"]["airGap"], true);
    assert!(good(&instance, &["network", &id]).starts_with("generation 2: air-gapped\n"));
    assert_eq!(good(&instance, &["exec", &id, "echo", "runs"]), "runs\n");
    good(&instance, &["airgap", &id, "off"]);
    assert!(good(&instance, &["network", &id]).starts_with("generation 3: in force\n"));
    for command in [
        &["network", "i0"][..],
        &["airgap", "iaaaaaaaaaaaaaaaaaaaa", "on"],
    ] {
        assert_eq!(code(&instance, command), Some(3));
    }
    instance.stop();
}
