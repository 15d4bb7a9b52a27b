//! The gateway dies and others die around it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_wire::SandboxId;

use super::fake::Fake;
use super::http::SOON;

#[test]
fn kill_minus_nine_loses_nothing() {
    let mut fake = Fake::start();
    let all: Vec<Value> = (0..5)
        .map(|n| fake.create(json!({"metadata": {"n": n.to_string()}})))
        .collect();
    let gone = all[4]["sandboxID"].as_str().expect("id").to_owned();
    assert_eq!(
        fake.api("DELETE", &format!("/sandboxes/{gone}"), Value::Null)
            .status,
        204
    );
    let first = all[0]["sandboxID"].as_str().expect("id").to_owned();
    assert_eq!(
        fake.api(
            "POST",
            &format!("/sandboxes/{first}/timeout"),
            json!({"timeout": 5000})
        )
        .status,
        204
    );
    let before = fake
        .api("GET", &format!("/sandboxes/{first}"), Value::Null)
        .json();
    fake.kill();
    // One ends while nobody looks, and a create died half-way.
    let lost = SandboxId::new(all[3]["sandboxID"].as_str().expect("id")).expect("id");
    let orphan = SandboxId::from_random(&[9; 20]);
    {
        let mut world = fake.world();
        let held = world.held.remove(&lost).expect("held");
        world.held.insert(orphan.clone(), held);
        world.held.get_mut(&orphan).expect("held").lease.sandbox = orphan.clone();
    }
    let begun = Instant::now();
    fake.spawn();
    let list = fake.api("GET", "/v2/sandboxes", Value::Null);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut found: Vec<_> = list
        .json()
        .as_array()
        .expect("a list")
        .iter()
        .map(|s| s["metadata"]["n"].clone())
        .collect();
    found.sort_by_key(|n| n.as_str().map(str::to_owned));
    assert_eq!(found, [json!("0"), json!("1"), json!("2")]);
    assert_eq!(
        fake.api("GET", &format!("/sandboxes/{first}"), Value::Null)
            .json(),
        before,
        "no deadline moved"
    );
    // Links are made anew, tokens and keys are the same.
    assert_eq!(
        fake.inside(&all[0], 49983, "GET", "/health", b"").status,
        204
    );
    assert_eq!(
        fake.inside(&all[3], 49983, "GET", "/health", b"").status,
        502
    );
    let begun = Instant::now();
    while fake.world().held.contains_key(&orphan) {
        assert!(begun.elapsed() < SOON, "the orphan's lease lives");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn it_goes_when_privd_goes() {
    let mut fake = Fake::start();
    let made = fake.create(json!({}));
    let mut client = fake.client();
    let id = made["sandboxID"].as_str().expect("id");
    client.send(
        "GET",
        "/slow",
        &[("E2b-Sandbox-Id", id), ("E2b-Sandbox-Port", "49983")],
        b"",
    );
    let begun = Instant::now();
    assert_eq!(fake.close_channel(), Some(0));
    assert!(begun.elapsed() < Duration::from_millis(300));
}

#[test]
fn many_restarts_in_a_row() {
    let mut fake = Fake::start();
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(
            fake.create(json!({}))["sandboxID"]
                .as_str()
                .expect("id")
                .to_owned(),
        );
        fake.kill();
        fake.spawn();
        let list = fake
            .api("GET", "/v2/sandboxes?order=asc", Value::Null)
            .json();
        let found: Vec<_> = list
            .as_array()
            .expect("a list")
            .iter()
            .map(|s| s["sandboxID"].as_str().expect("id"))
            .collect();
        assert_eq!(found, ids);
    }
}

#[test]
fn netd_and_the_plugin_host_may_be_replaced() {
    let fake = Fake::start();
    fake.create(json!({}));
    fake.net();
    fake.plugin();
    fake.create(json!({}));
    let instance = fake.operator("GET", "/admin/instance", b"").json();
    assert_eq!(
        (&instance["netd"], &instance["sandboxes"]),
        (&json!(true), &json!(2))
    );
}

#[test]
fn an_idempotency_key_outlives_the_gateway() {
    let mut fake = Fake::start();
    let create = |fake: &Fake, key: &str| {
        let headers = [("X-API-KEY", fake.key.as_str()), ("Idempotency-Key", key)];
        fake.client().ask(
            "POST",
            "/v2/sandboxes",
            &headers,
            br#"{"templateID":"base"}"#,
        )
    };
    let first = create(&fake, "done");
    assert_eq!(first.status, 201);
    // The plugin host dies of it, and the gateway with it: nobody knows what came of it.
    fake.world().create_kills = true;
    let key = fake.key.clone();
    let mut client = fake.client();
    let headers = [("X-API-KEY", key.as_str()), ("Idempotency-Key", "cut-off")];
    client.send(
        "POST",
        "/v2/sandboxes",
        &headers,
        br#"{"templateID":"base"}"#,
    );
    let begun = Instant::now();
    while fake.world().create_kills {
        assert!(begun.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(2));
    }
    create(&fake, "cut-off").is_error(409);
    fake.kill();
    fake.spawn();
    let again = create(&fake, "done");
    assert_eq!((again.status, again.json()), (201, first.json()));
    let unknown = create(&fake, "cut-off");
    unknown.is_error(409);
    assert_eq!(unknown.json()["error_code"], "idempotency_outcome_unknown");
    assert_eq!(unknown.header("should-retry"), Some("false"));
    assert_eq!(create(&fake, "free").status, 201);
}
