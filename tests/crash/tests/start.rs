//! A server ended at its very start, while a worker of privd still makes template `base`.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use warder_crash::Seed;
use warder_harness::Instance;

/// What privd says when it begins to serve; the worker runs by then.
const BEGUN: &str = "sandboxes\n";

#[test]
fn stopped_at_once_it_ends_well_and_leaves_nothing() {
    let instance = Instance::builder().without_http().start();
    begun(&instance, 1);
    let workers = privds(&instance, |parent| parent == instance.privd_pid());
    assert!(!workers.is_empty(), "no worker makes template base");
    instance.finish();
}

#[test]
fn killed_again_and_again_it_comes_up_whole() {
    let mut seed = Seed::from_environment();
    eprintln!("start: CRASH_SEED={}", seed.value());
    let mut instance = Instance::builder().without_http().start();
    for times in 1..=8 {
        begun(&instance, times);
        thread::sleep(seed.pause(Duration::from_millis(400)));
        instance.kill_privd();
        instance.launch();
        // The new one has the state directory only when nothing of the old one is left to write there.
        begun(&instance, times + 1);
        let strays = privds(&instance, |parent| parent != instance.privd_pid());
        assert_eq!(
            strays,
            [instance.privd_pid()],
            "privd and what is not its child"
        );
    }
    instance.await_http();
    let key = instance.admin("POST", "/admin/keys", &json!({ "name": "test" }));
    let key = key.json()["key"].as_str().unwrap_or_default().to_owned();
    let made = instance.send(
        "POST",
        "/v2/sandboxes",
        &[("X-API-KEY", &key), ("Content-Type", "application/json")],
        br#"{"templateID":"base","timeout":60}"#,
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let ran = instance.run(&made.json(), "user", "echo works", 20_000);
    assert_eq!(ran.stdout, "works\n", "{ran:?}");
    instance.finish();
}

/// Processes with this privd's command line, which its workers keep, whose parent is as wanted.
fn privds(instance: &Instance, wanted: impl Fn(u32) -> bool) -> Vec<u32> {
    let state = instance.state_dir().to_owned();
    let config = state.with_file_name("privd.conf").display().to_string();
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            let parent = status
                .lines()
                .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())?;
            let ours = String::from_utf8_lossy(&line).contains(&config);
            (ours && wanted(parent)).then_some(pid)
        })
        .collect()
}

/// Waits until privd has begun to serve for the so-manieth time.
fn begun(instance: &Instance, times: usize) {
    let end = Instant::now() + Duration::from_secs(60);
    while instance.log_text().matches(BEGUN).count() < times {
        assert!(Instant::now() < end, "{}", instance.log_text());
        thread::sleep(Duration::from_millis(5));
    }
}
