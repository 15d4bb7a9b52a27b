//! A sandbox uses up what it can get at; the others, and the daemons, go on. And what the API says when
//! something is used up.

use std::path::Path;

use serde_json::{Value, json};
use warder_harness::{Instance, processes, skip};
use warder_privsep::guests::{GUEST, MINUTE, create, gone, id, refused, sleeper, until, works};

#[test]
fn a_fork_bomb_stays_inside() {
    let instance = Instance::builder().start();
    if instance.jails() && instance.limit("pids") == "absent" {
        // It would be a bomb of the host's.
        let why = "this host reports the limit of processes as absent (kern.racct.enable=1 in loader.conf)";
        return skip("a_fork_bomb_stays_inside", why);
    }
    let (bomber, other) = (instance.create(&json!({})), instance.create(&json!({})));
    let cell = sleeper(&instance, &bomber, 1).cell;
    let running = || processes::in_cell(&cell);
    assert!(running() > 0);
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
    let greedy = instance.create(&json!({}));
    let memory = instance.limit("memory");
    if memory == "enforced" {
        let program = Path::new(env!("CARGO_BIN_EXE_hostile-guest"));
        instance.plant(&greedy, program, GUEST);
        let ran = instance.run(&greedy, "user", &format!("{GUEST} eat 16"), MINUTE);
        assert_eq!(
            (ran.exit, ran.stdout.trim()),
            (Some(0), "16 MiB"),
            "{ran:?}"
        );
        // Twice what it may have, and more.
        let ran = instance.run(&greedy, "user", &format!("{GUEST} eat 2560"), MINUTE);
        assert_ne!(ran.exit, Some(0), "2560 MiB were given: {ran:?}");
    } else {
        skip(
            "memory_beyond_the_limit_ends_inside",
            &format!("this host reports the limit of memory as {memory}"),
        );
    }
    works(&instance, &instance.create(&json!({})));
    instance.finish();
}

#[test]
fn a_full_disk_is_the_fillers_problem() {
    let instance = Instance::builder()
        .disk(96)
        .line("storage_reserve_mib 16")
        .start();
    let (greedy, other) = (instance.create(&json!({})), instance.create(&json!({})));
    // Nothing that a file system could make smaller.
    let fill = "dd if=/dev/urandom of=/var/fill bs=65536 count=8000; echo $?; ls -s /var/fill; echo more >> /home/user/x";
    // The last blocks before a quota are the slow ones.
    let ran = instance.run(&greedy, "root", fill, 10 * MINUTE);
    assert!(
        ran.stdout.starts_with("1\n"),
        "500 MiB fit into 96: {ran:?}"
    );
    // On ZFS it is a quota.
    let full = ["No space left on device", "Disc quota exceeded"];
    assert!(
        full.iter().any(|words| ran.stderr.contains(words)),
        "{ran:?}"
    );
    for sandbox in [&greedy, &other] {
        works(&instance, sandbox);
    }
    // Uploading says why it cannot.
    let noise: Vec<u8> = (0..200_000_u32)
        .scan(1_u32, |state, _| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes().first().copied()
        })
        .collect();
    let upload = instance.sandbox(
        &greedy,
        49983,
        "POST",
        "/files?path=/var/upload&username=root",
        &noise,
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
    let longer = instance.api(
        "POST",
        &format!("/sandboxes/{}/timeout", id(&other)),
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

#[test]
fn killing_the_agent_ends_the_sandbox_and_is_reported() {
    let instance = Instance::builder().start();
    let (sandbox, other) = (instance.create(&json!({})), instance.create(&json!({})));
    // From the host, as the kernel does when memory runs out.
    let agent = processes::first_of_cell(&sleeper(&instance, &sandbox, 3));
    processes::kill(agent.pid).expect("it runs");
    gone(&instance, &sandbox);
    let answer = instance.sandbox(&sandbox, 49983, "GET", "/health", b"");
    assert_eq!(answer.status, 502);
    works(&instance, &other);
    instance.finish();
}
