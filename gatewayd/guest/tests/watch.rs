//! Watches, against the real agent.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Envd, Events};
use serde_json::{Value, json};

fn create(envd: &Envd, request: &Value) -> String {
    let answer = envd.unary("filesystem.Filesystem/CreateWatcher", request);
    answer.json()["watcherId"]
        .as_str()
        .unwrap_or_else(|| panic!("{}", answer.text()))
        .to_owned()
}

fn short(event: &Value) -> String {
    let kind = event["type"]
        .as_str()
        .expect("a type")
        .trim_start_matches("EVENT_TYPE_");
    format!("{kind} {}", event["name"].as_str().expect("a name"))
}

/// Asks until `count` events are there.
fn take(envd: &Envd, id: &str, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    let until = Instant::now() + Duration::from_secs(10);
    while found.len() < count && Instant::now() < until {
        let answer = envd.unary(
            "filesystem.Filesystem/GetWatcherEvents",
            &json!({"watcherId": id}),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        found.extend(
            answer.json()["events"]
                .as_array()
                .into_iter()
                .flatten()
                .map(short),
        );
    }
    found
}

fn upload(envd: &Envd, path: &str) {
    let headers = [("content-type", "application/octet-stream")];
    let answer = envd.request(
        "POST",
        &format!("/files?path={}", envd.path_text(path)),
        &headers,
        b"content",
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn an_upload_is_seen_as_create_chmod_write() {
    let envd = Envd::start();
    let id = create(&envd, &json!({"path": envd.path_text("")}));
    assert_eq!(take(&envd, &id, 0), [""; 0]);
    upload(&envd, "new.txt");
    assert_eq!(
        take(&envd, &id, 3),
        ["CREATE new.txt", "CHMOD new.txt", "WRITE new.txt"]
    );
    fs::rename(envd.path("new.txt"), envd.path("moved")).expect("renamed");
    fs::remove_file(envd.path("moved")).expect("removed");
    assert_eq!(
        take(&envd, &id, 3),
        ["RENAME new.txt", "CREATE moved", "REMOVE moved"]
    );
    // Not recursive: nothing from below.
    fs::create_dir(envd.path("d")).expect("dir");
    fs::write(envd.path("d/f"), "x").expect("written");
    fs::remove_dir_all(envd.path("d")).expect("removed");
    assert_eq!(take(&envd, &id, 2), ["CREATE d", "REMOVE d"]);
    assert_eq!(
        envd.unary(
            "filesystem.Filesystem/RemoveWatcher",
            &json!({"watcherId": id})
        )
        .json(),
        json!({})
    );
    for method in ["GetWatcherEvents", "RemoveWatcher"] {
        let gone = envd.unary(
            &format!("filesystem.Filesystem/{method}"),
            &json!({"watcher_id": id}),
        );
        assert_eq!((gone.status, gone.code().as_str()), (404, "not_found"));
    }
}

#[test]
fn a_recursive_watch_sees_new_directories_and_what_is_in_them() {
    let envd = Envd::start();
    fs::create_dir_all(envd.path("old/deep")).expect("dirs");
    let id = create(
        &envd,
        &json!({"path": envd.path_text(""), "recursive": true}),
    );
    fs::write(envd.path("old/deep/f"), "").expect("written");
    assert_eq!(take(&envd, &id, 1), ["CREATE old/deep/f"]);
    // All at once: the inner ones are made before the outer one can be watched.
    fs::create_dir_all(envd.path("new/in/side")).expect("dirs");
    fs::write(envd.path("new/in/side/f"), "").expect("written");
    let mut seen = take(&envd, &id, 4);
    seen.sort();
    seen.dedup();
    assert_eq!(
        seen,
        [
            "CREATE new",
            "CREATE new/in",
            "CREATE new/in/side",
            "CREATE new/in/side/f"
        ]
    );
    fs::rename(envd.path("new"), envd.path("other")).expect("renamed");
    assert_eq!(take(&envd, &id, 2), ["RENAME new", "CREATE other"]);
    fs::write(envd.path("other/in/g"), "").expect("written");
    assert_eq!(take(&envd, &id, 1), ["CREATE other/in/g"]);
}

#[test]
fn each_event_once_however_fast_directories_are_made() {
    let envd = Envd::start();
    let id = create(
        &envd,
        &json!({"path": envd.path_text(""), "recursive": true}),
    );
    for outer in 0..40 {
        fs::create_dir_all(envd.path(&format!("{outer}/a/b"))).expect("dirs");
        fs::create_dir(envd.path(&format!("{outer}/c"))).expect("dir");
    }
    let mut seen = take(&envd, &id, 160);
    std::thread::sleep(Duration::from_millis(50));
    seen.extend(take(&envd, &id, 0));
    assert_eq!(seen.len(), 160);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 160);
}

fn next(events: &mut Events) -> Value {
    events.message()["filesystem"].clone()
}

#[test]
fn a_stream_starts_then_tells_with_entries() {
    let envd = Envd::start();
    let request = json!({"path": envd.path_text(""), "includeEntry": true});
    let mut events = envd.events(
        "filesystem.Filesystem/WatchDir",
        &request,
        &[("keepalive-ping-interval", "1")],
    );
    assert_eq!(events.message(), json!({"start": {}}));
    upload(&envd, "f");
    for kind in ["CREATE f", "CHMOD f", "WRITE f"] {
        let event = next(&mut events);
        assert_eq!(short(&event), kind);
        assert_eq!(event["entry"]["path"], json!(envd.path_text("f")));
    }
    fs::remove_file(envd.path("f")).expect("removed");
    let event = next(&mut events);
    assert_eq!(
        (short(&event).as_str(), event.get("entry")),
        ("REMOVE f", None)
    );
    assert_eq!(events.message(), json!({"keepalive": {}}));
    // Two watches of one directory share the kernel's.
    let mut second = envd.events("filesystem.Filesystem/WatchDir", &request, &[]);
    second.message();
    drop(events);
    let watches = || common::has_proc().then(|| kernel_watches(&envd));
    assert_eq!(watches().unwrap_or(1), 1);
    fs::write(envd.path("g"), "x").expect("written");
    assert_eq!(short(&next(&mut second)), "CREATE g");
    drop(second);
    let until = Instant::now() + Duration::from_secs(5);
    while watches().unwrap_or(0) > 0 {
        assert!(Instant::now() < until, "a watch is left");
    }
}

/// As Linux tells them (proc(5), fdinfo).
fn kernel_watches(envd: &Envd) -> usize {
    fs::read_dir(format!("/proc/{}/fdinfo", envd.pid()))
        .expect("fdinfo")
        .flatten()
        .map(|fd| fs::read_to_string(fd.path()).unwrap_or_default())
        .map(|text| text.matches("inotify wd").count())
        .sum()
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let envd = Envd::start();
    fs::write(envd.path("f"), "").expect("written");
    for (path, code, status) in [("f", "invalid_argument", 400), ("none", "not_found", 404)] {
        let request = json!({"path": envd.path_text(path)});
        let answer = envd.unary("filesystem.Filesystem/CreateWatcher", &request);
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        let ran = envd
            .events("filesystem.Filesystem/WatchDir", &request, &[])
            .ran();
        assert_eq!(ran.error["code"], code);
    }
    let limited = envd.events(
        "filesystem.Filesystem/WatchDir",
        &json!({"path": envd.path_text("")}),
        &[("connect-timeout-ms", "100")],
    );
    assert_eq!(limited.ran().error["code"], "deadline_exceeded");
}

#[test]
fn lost_events_are_not_lost_in_silence() {
    let envd = Envd::start();
    let id = create(&envd, &json!({"path": envd.path_text("")}));
    for _ in 0..10 {
        for n in 0..1000 {
            fs::write(envd.path(&n.to_string()), "").expect("written");
            fs::remove_file(envd.path(&n.to_string())).expect("removed");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let ask = || {
        envd.unary(
            "filesystem.Filesystem/GetWatcherEvents",
            &json!({"watcherId": id}),
        )
    };
    let until = Instant::now() + Duration::from_secs(60);
    let told = loop {
        let answer = ask();
        if answer.status != 200 {
            break answer;
        }
        assert!(Instant::now() < until);
        fs::write(envd.path("x"), "").expect("written");
        fs::remove_file(envd.path("x")).expect("removed");
    };
    assert_eq!(told.code(), "data_loss");
    // More may have been on its way.
    while ask().status != 200 {
        assert!(Instant::now() < until, "it never ends");
    }
}
