//! Lifecycle events.

use serde_json::{Value, json};
use warder_wire::gateway_priv::EndReason;

use super::fake::Fake;

fn id(made: &Value) -> String {
    made["sandboxID"].as_str().expect("id").to_owned()
}

fn types(list: &Value) -> Vec<String> {
    let all = list.as_array().expect("a list");
    all.iter()
        .map(|e| e["type"].as_str().expect("a type").to_owned())
        .collect()
}

fn of(fake: &Fake, id: &str) -> Value {
    let path = format!("/events/sandboxes/{id}?orderAsc=true");
    fake.api("GET", &path, Value::Null).json()
}

#[test]
fn a_life_is_told_as_e2b_tells_it() {
    let fake = Fake::start();
    let made = fake.create(json!({"metadata": {"who": "me"}}));
    let a = id(&made);
    let b = id(&fake.create(json!({})));
    let set = json!({"timeout": 900});
    fake.api("POST", &format!("/sandboxes/{a}/timeout"), set);
    fake.api("DELETE", &format!("/sandboxes/{a}"), Value::Null);
    let told = of(&fake, &a);
    assert_eq!(
        types(&told),
        [
            "sandbox.lifecycle.created",
            "sandbox.lifecycle.updated",
            "sandbox.lifecycle.killed"
        ]
    );
    let killed = &told[2];
    assert_eq!(killed["version"], "v2");
    assert_eq!(
        (&killed["eventCategory"], &killed["eventLabel"]),
        (&json!("lifecycle"), &json!("kill"))
    );
    assert_eq!(killed["sandboxId"], a.as_str());
    assert_eq!(killed["sandboxTemplateId"], "base");
    assert_eq!(killed["eventData"]["reason"], "request");
    assert_eq!(
        killed["eventData"]["sandbox_metadata"],
        json!({"who": "me"})
    );
    assert!(killed["eventData"]["execution"]["execution_time"].is_u64());
    assert!(told[1]["eventData"]["set_timeout"].is_string());
    for field in [
        "id",
        "sandboxExecutionId",
        "sandboxBuildId",
        "sandboxTeamId",
    ] {
        assert_eq!(killed[field].as_str().map(str::len), Some(36), "{field}");
    }
    let build = &fake.api("GET", "/templates", Value::Null).json()[0]["buildID"];
    assert_eq!(&killed["sandboxBuildId"], build);
    // Newest first, all sandboxes, filtered, paged.
    let all = fake.api("GET", "/events/sandboxes", Value::Null);
    assert_eq!(all.header("x-warder-oldest-event"), Some("1"));
    assert_eq!(types(&all.json())[0], "sandbox.lifecycle.killed");
    let path = "/events/sandboxes?types=sandbox.lifecycle.created&limit=1&offset=0";
    let page = fake.api("GET", path, Value::Null).json();
    assert_eq!(
        (page.as_array().map(Vec::len), &page[0]["sandboxId"]),
        (Some(1), &json!(b))
    );
    for bad in [
        "/events/sandboxes?limit=0",
        "/events/sandboxes?types=x",
        "/events/sandboxes/..",
    ] {
        fake.api("GET", bad, Value::Null).is_error(400);
    }
    fake.client()
        .ask("GET", "/events/sandboxes", &[], b"")
        .is_error(401);
    assert_eq!(of(&fake, "iaaaaaaaaaaaaaaaaaaaa"), json!([]));
}

#[test]
fn an_end_says_why() {
    let fake = Fake::start();
    for (reason, word) in [
        (EndReason::Expired, "timeout"),
        (EndReason::GuestEnded, "guest_ended"),
        (EndReason::Lost, "lost"),
    ] {
        let a = id(&fake.create(json!({})));
        fake.ended(&a, reason);
        let mut follow = fake.operator_client();
        follow.send(
            "GET",
            &format!("/admin/events?follow=true&sandbox={a}"),
            &[],
            b"",
        );
        assert_eq!(follow.head().0, 200);
        // The kill comes with the first lines or after them.
        let mut text = String::new();
        while !text.contains("killed") {
            text.push_str(&String::from_utf8(follow.chunk()).expect("text"));
        }
        let last: Value = serde_json::from_str(text.lines().last().expect("lines")).expect("json");
        assert_eq!(last["eventData"]["reason"], word);
    }
}

#[test]
fn who_follows_hears_of_everything_once_and_from_a_cursor() {
    let fake = Fake::start();
    let a = id(&fake.create(json!({})));
    let mut follow = fake.operator_client();
    follow.send("GET", "/admin/events?follow=true", &[], b"");
    assert_eq!(follow.head().0, 200);
    let line = |bytes: Vec<u8>| -> Value { serde_json::from_slice(&bytes).expect("one line") };
    assert_eq!(line(follow.chunk())["sandboxId"], a.as_str());
    let b = id(&fake.create(json!({})));
    let second = line(follow.chunk());
    assert_eq!(
        (&second["sandboxId"], &second["sequence"]),
        (&json!(b), &json!(2))
    );
    let rest = fake.operator("GET", "/admin/events?after=1", b"");
    assert_eq!(line(rest.body), second);
    let none = fake.operator("GET", "/admin/events?after=2", b"");
    assert_eq!((none.status, none.body.len()), (200, 0));
    fake.operator("GET", "/admin/events?after=x", b"")
        .is_error(400);
    // Not over TCP, with whatever key.
    fake.api("GET", "/admin/events", Value::Null).is_error(404);
}

#[test]
fn kill_minus_nine_loses_no_event_that_was_answered_for() {
    let mut fake = Fake::start();
    let mut told = Vec::new();
    for round in 0..8 {
        let a = id(&fake.create(json!({})));
        if round % 2 == 0 {
            fake.api("DELETE", &format!("/sandboxes/{a}"), Value::Null);
            told.push((a, 2));
        } else {
            told.push((a, 1));
        }
        fake.kill();
        fake.spawn();
        for (id, count) in &told {
            assert_eq!(types(&of(&fake, id)).len(), *count, "{id}");
        }
    }
    let all = fake.operator("GET", "/admin/events", b"").text();
    let numbers: Vec<u64> = all
        .lines()
        .map(|l| {
            serde_json::from_str::<Value>(l).expect("json")["sequence"]
                .as_u64()
                .expect("n")
        })
        .collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<u64>>());
    // One that ends while nobody looks is told at the next start, once.
    fake.kill();
    let lost = warder_wire::SandboxId::new(told[1].0.as_str()).expect("id");
    fake.world().held.remove(&lost);
    fake.spawn();
    fake.kill();
    fake.spawn();
    let ends = of(&fake, &told[1].0);
    assert_eq!(types(&ends).len(), 2);
    assert_eq!(ends[1]["eventData"]["reason"], "lost");
}
