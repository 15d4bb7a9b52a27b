//! Volumes, above privd.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_wire::{FaultCode, VolumeId};

use super::fake::Fake;
use super::http::SOON;

fn volume(fake: &Fake, name: &str) -> Value {
    let made = fake.api("POST", "/volumes", json!({"name": name}));
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()
}

fn path_of(volume: &Value) -> String {
    format!("/volumes/{}", volume["volumeID"].as_str().expect("id"))
}

fn id_of(volume: &Value) -> VolumeId {
    VolumeId::new(volume["volumeID"].as_str().expect("id")).expect("an id")
}

#[test]
fn made_seen_and_removed() {
    let fake = Fake::start();
    let a = volume(&fake, "a_1");
    assert!(a["token"].as_str().is_some_and(|token| token.len() >= 40));
    assert_eq!(
        (&a["name"], &a["domain"]),
        (&json!("a_1"), &json!("box.example"))
    );
    assert!(fake.world().volumes.contains(&id_of(&a)));
    let b = volume(&fake, "b");
    assert_ne!(a["token"], b["token"]);
    let list = fake.api("GET", "/volumes", Value::Null).json();
    let short = |v: &Value| json!({"volumeID": v["volumeID"], "name": v["name"]});
    assert_eq!(list, json!([short(&a), short(&b)]));
    assert_eq!(fake.api("GET", &path_of(&a), Value::Null).json(), a);
    fake.api("POST", "/volumes", json!({"name": "b"}))
        .is_error(409);
    for bad in ["", "a b", "../x", "é"] {
        fake.api("POST", "/volumes", json!({"name": bad}))
            .is_error(400);
    }
    fake.api("POST", "/volumes", json!({})).is_error(400);
    assert_eq!(fake.api("DELETE", &path_of(&a), Value::Null).status, 204);
    assert!(!fake.world().volumes.contains(&id_of(&a)));
    for method in ["GET", "DELETE"] {
        fake.api(method, &path_of(&a), Value::Null).is_error(404);
        fake.api(method, "/volumes/nonsense", Value::Null)
            .is_error(404);
    }
    volume(&fake, "a_1");
    let plain = fake.client().ask("GET", "/volumes", &[], b"");
    plain.is_error(401);
}

#[test]
fn mounted_in_sandboxes_and_kept_while_they_live() {
    let fake = Fake::start();
    let (data, other) = (volume(&fake, "data"), volume(&fake, "other"));
    let mounts = json!([{"name": "data", "path": "/data"}, {"name": "other", "path": "/mnt/x"}]);
    let made = fake.create(json!({"volumeMounts": mounts}));
    let id = made["sandboxID"].as_str().expect("id").to_owned();
    {
        let world = fake.world();
        let held = &world.held.values().next().expect("held").volumes;
        let at: Vec<_> = held.iter().map(|m| (&m.volume, m.at.as_str())).collect();
        assert_eq!(at, [(&id_of(&data), "/data"), (&id_of(&other), "/mnt/x")]);
    }
    let detail = fake
        .api("GET", &format!("/sandboxes/{id}"), Value::Null)
        .json();
    assert_eq!(detail["volumeMounts"], mounts);
    let list = fake.api("GET", "/v2/sandboxes", Value::Null).json();
    assert_eq!(list[0]["volumeMounts"], mounts);
    let refused = fake.api("DELETE", &path_of(&data), Value::Null);
    assert!(refused.is_error(409).text().contains(&id));
    assert_eq!(fake.api("GET", &path_of(&data), Value::Null).json(), data);
    // Also by what only privd knows of.
    let orphan = fake.world().held.keys().next().cloned().expect("held");
    assert_eq!(
        fake.api("DELETE", &format!("/sandboxes/{id}"), Value::Null)
            .status,
        204
    );
    let again = fake.create(json!({"volumeMounts": [{"name": "data", "path": "/data"}]}));
    let held = {
        let mut world = fake.world();
        let found = warder_wire::SandboxId::new(again["sandboxID"].as_str().expect("id"));
        world.held.remove(&found.expect("id")).expect("held")
    };
    fake.world().held.insert(orphan.clone(), held);
    fake.ended(
        again["sandboxID"].as_str().expect("id"),
        warder_wire::gateway_priv::EndReason::Expired,
    );
    let begun = Instant::now();
    let unused = || fake.api("GET", "/v2/sandboxes", Value::Null).json() == json!([]);
    while !unused() {
        assert!(begun.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(5));
    }
    fake.api("DELETE", &path_of(&data), Value::Null)
        .is_error(409);
    fake.world().held.remove(&orphan);
    assert_eq!(fake.api("DELETE", &path_of(&data), Value::Null).status, 204);
    assert_eq!(
        fake.api("DELETE", &path_of(&other), Value::Null).status,
        204
    );
}

#[test]
fn what_cannot_be_mounted_is_refused() {
    let fake = Fake::start();
    volume(&fake, "data");
    let ask = |path: &str, mounts: Value| {
        fake.api(
            "POST",
            path,
            json!({"templateID": "base", "volumeMounts": mounts}),
        )
    };
    for place in ["", "data", "/", "/a/../b", "/proc/1", "/a\u{0}b"] {
        ask("/v2/sandboxes", json!([{"name": "data", "path": place}])).is_error(400);
    }
    let twice = json!([{"name": "data", "path": "/a"}, {"name": "data", "path": "/a/b"}]);
    ask("/v2/sandboxes", twice).is_error(400);
    let unknown = json!([{"name": "nothing", "path": "/a"}]);
    ask("/v2/sandboxes", unknown.clone()).is_error(404);
    ask("/sandboxes", unknown).is_error(400);
    assert!(fake.world().held.is_empty(), "nothing was begun");
}

/// What was never answered is taken back, and what was answered is there again.
#[test]
fn kill_minus_nine_loses_none_and_leaks_none() {
    let mut fake = Fake::start();
    let kept = volume(&fake, "kept");
    fake.world().volume_fault = Some(FaultCode::System);
    fake.api("POST", "/volumes", json!({"name": "failed"}))
        .is_error(500);
    fake.world().volume_fault = None;
    let stray = VolumeId::from_random(&[9; 20]);
    fake.world().volumes.insert(stray.clone());
    fake.kill();
    fake.spawn();
    assert_eq!(fake.api("GET", &path_of(&kept), Value::Null).json(), kept);
    let list = fake.api("GET", "/volumes", Value::Null).json();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    let begun = Instant::now();
    loop {
        let audit = fake.operator("GET", "/admin/audit", b"").json();
        let told = |line: &Value| line["what"] == "volume.unknown" && line["on"] == stray.as_str();
        if audit.as_array().expect("lines").iter().any(told) {
            break;
        }
        assert!(begun.elapsed() < SOON, "nobody said so");
    }
    assert!(
        fake.world().volumes.contains(&stray),
        "never removed by guess"
    );
    volume(&fake, "failed");
}

/// The gateway hears that privd is gone, not that the volume was made.
#[test]
fn one_that_was_made_as_privd_died_is_taken_back() {
    let mut fake = Fake::start();
    fake.world().volume_ends_privd = true;
    let body = json!({"name": "doubtful"}).to_string();
    let key = [("X-API-KEY", fake.key.as_str())];
    // It stays connected: a client that goes at once may have its request dropped unread.
    let mut client = fake.client();
    client.send("POST", "/volumes", &key, body.as_bytes());
    let begun = Instant::now();
    while fake.runs() {
        assert!(begun.elapsed() < SOON, "a gateway without privd ends");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(client);
    assert_eq!(fake.world().volumes.len(), 1);
    fake.kill();
    fake.spawn();
    while !fake.world().volumes.is_empty() {
        assert!(begun.elapsed() < SOON, "it is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
    volume(&fake, "doubtful");
}
