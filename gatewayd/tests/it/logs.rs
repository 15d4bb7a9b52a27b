//! Logs: of the sandbox's life, and from agents good and bad.

use serde_json::{Value, json};
use warder_wire::link::Role;

use super::fake::Fake;

fn said(entries: &Value) -> String {
    json!({"dropped": 0, "entries": entries}).to_string()
}

fn v2(fake: &Fake, id: &str, query: &str) -> Vec<Value> {
    let path = format!("/v2/sandboxes/{id}/logs?{query}");
    let answer = fake.api("GET", &path, Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["logs"].as_array().expect("a list").clone()
}

fn messages(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["message"].as_str().expect("text"))
        .collect()
}

#[test]
fn life_and_agent_in_both_forms() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let id = made["sandboxID"].as_str().expect("id");
    let guest = fake.guest(&made);
    // At a time that cannot be: it becomes now.
    *guest.log.lock().expect("lock") = said(&json!([{
        "at": u64::MAX, "level": "warn", "logger": "process", "message": "process ended",
        "process": {"pid": 5, "cmd": "/bin/\"x\n", "user": "user", "exit_code": 3},
    }]));
    let lines = v2(&fake, id, "");
    assert_eq!(messages(&lines), ["sandbox created", "process ended"]);
    assert_eq!(lines[0]["fields"]["event"], "sandbox.lifecycle.created");
    assert_eq!(lines[1]["fields"]["exit_code"], "3");
    let asked = guest
        .seen()
        .into_iter()
        .find(|seen| seen.line.contains("/logs"));
    let asked = asked.expect("it was asked");
    assert_eq!(asked.role, Some(Role::Control));
    assert_eq!(
        messages(&v2(&fake, id, "level=warn&limit=1")),
        ["process ended"]
    );
    let newest_first = v2(&fake, id, "direction=backward");
    assert_eq!(
        messages(&newest_first),
        ["process ended", "sandbox created"]
    );
    let old = fake.api(
        "GET",
        &format!("/sandboxes/{id}/logs?start=0&limit=10"),
        Value::Null,
    );
    let old = old.json();
    assert_eq!(old["logs"].as_array().map(Vec::len), Some(2));
    assert_eq!(old["logEntries"][1]["message"], "process ended");
    let line: Value =
        serde_json::from_str(old["logs"][1]["line"].as_str().expect("text")).expect("json");
    assert_eq!(
        (&line["level"], &line["logger"]),
        (&json!("warn"), &json!("process"))
    );
    assert_eq!(line["cmd"], "/bin/\"x\n");
    for bad in ["limit=1001", "direction=up", "cursor=x", "level=loud"] {
        let path = format!("/v2/sandboxes/{id}/logs?{bad}");
        fake.api("GET", &path, Value::Null).is_error(400);
    }
}

#[test]
fn lines_of_a_life_outlive_it() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let id = made["sandboxID"].as_str().expect("id");
    fake.api("DELETE", &format!("/sandboxes/{id}"), Value::Null);
    let lines = v2(&fake, id, "");
    assert_eq!(lines[0]["message"], "sandbox created");
    let last = lines[1]["message"].as_str().expect("text");
    assert!(last.starts_with("sandbox ended (request)"), "{last}");
    for path in [
        "/sandboxes/iaaaaaaaaaaaaaaaaaaaa/logs",
        "/v2/sandboxes/iaaaaaaaaaaaaaaaaaaaa/logs",
    ] {
        fake.api("GET", path, Value::Null).is_error(404);
    }
}

#[test]
fn a_hostile_agent_spoils_only_its_own_lines() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let id = made["sandboxID"].as_str().expect("id");
    let guest = fake.guest(&made);
    let endless = format!("{{\"entries\":[{}", "1,".repeat(2_000_000));
    for rubbish in ["", "not json", "[]", endless.as_str()] {
        *guest.log.lock().expect("lock") = rubbish.to_owned();
        let lines = v2(&fake, id, "");
        let all = messages(&lines);
        assert_eq!(all[0], "sandbox created");
        assert!(
            all[1].starts_with("lines of the agent cannot be read"),
            "{all:?}"
        );
        assert_eq!(lines[1]["fields"]["logger"], "gateway");
    }
}
