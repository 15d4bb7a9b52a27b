//! Snapshots and forks.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_wire::FaultCode;

use super::fake::Fake;
use super::http::{Answer, SOON};

fn id(made: &Value) -> String {
    made["sandboxID"].as_str().expect("id").to_owned()
}

fn snapshot(fake: &Fake, id: &str, body: Value) -> Value {
    let answer = fake.api("POST", &format!("/sandboxes/{id}/snapshots"), body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

fn name(snapshot: &Value) -> String {
    snapshot["snapshotID"].as_str().expect("an id").to_owned()
}

fn quoted(text: &str) -> String {
    text.replace('/', "%2F").replace(':', "%3A")
}

fn delete(fake: &Fake, name: &str) -> Answer {
    let path = format!("/templates/{}", quoted(name));
    fake.api("DELETE", &path, Value::Null)
}

fn list(fake: &Fake, query: &str) -> Vec<String> {
    let answer = fake.api("GET", &format!("/snapshots{query}"), Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let all = answer.json();
    all.as_array().expect("a list").iter().map(name).collect()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < SOON, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_snapshot_is_a_template_with_an_id() {
    let fake = Fake::start();
    let source = fake.create(json!({}));
    // SDKs ask for memory by default; it holds the disk, and the event says so.
    let made = snapshot(&fake, &id(&source), json!({"memory": true}));
    let snapshot_id = name(&made);
    assert_eq!(made["names"], json!([]));
    let template = snapshot_id.strip_suffix(":default").expect("a tag");
    assert_eq!(template.len(), 20);
    assert!(fake.world().snapshots.contains_key(template));
    let path = format!("/events/sandboxes/{}", id(&source));
    let event = fake.api("GET", &path, Value::Null).json()[0].clone();
    assert_eq!(event["type"], "sandbox.lifecycle.checkpointed");
    assert_eq!(event["eventData"]["memory"], false);
    assert_eq!(event["eventData"]["snapshot_id"], template);

    let fake_list = |path: &str| fake.api("GET", path, Value::Null).json();
    for path in ["/templates", "/v2/templates"] {
        assert_eq!(fake_list(path).as_array().map(Vec::len), Some(1), "{path}");
    }
    let templates = fake.operator("GET", "/admin/templates", b"").json();
    assert_eq!(templates.as_array().map(Vec::len), Some(1));
    assert_eq!(list(&fake, ""), [snapshot_id.as_str()]);

    // Its parent goes; it can be used all the same, by its id with and without a tag.
    let gone = format!("/sandboxes/{}", id(&source));
    assert_eq!(fake.api("DELETE", &gone, Value::Null).status, 204);
    for asked in [template, &snapshot_id] {
        let child = fake.create(json!({"templateID": asked}));
        assert_eq!(child["templateID"], template);
        let query = format!("/v2/sandboxes?template={template}");
        assert_eq!(fake_list(&query)[0]["sandboxID"], child["sandboxID"]);
    }
    fake.api(
        "POST",
        "/v2/sandboxes",
        json!({"templateID": format!("{template}:v2")}),
    )
    .is_error(404);
    assert_eq!(delete(&fake, &snapshot_id).status, 204);
    delete(&fake, &snapshot_id).is_error(404);
    assert!(fake.world().snapshots.is_empty() && list(&fake, "").is_empty());
    fake.api("POST", "/v2/sandboxes", json!({"templateID": snapshot_id}))
        .is_error(404);
}

#[test]
fn names_mean_the_newest() {
    let fake = Fake::start();
    let source = id(&fake.create(json!({})));
    let first = snapshot(&fake, &source, json!({"name": "Work"}));
    assert_eq!(
        first,
        json!({"snapshotID": "local/work:default", "names": ["local/work"]})
    );
    let alias = fake.api("GET", "/templates/aliases/work", Value::Null);
    let old = alias.json()["templateID"].as_str().expect("id").to_owned();
    let tagged = snapshot(&fake, &source, json!({"name": "local/work:v2"}));
    assert_eq!(name(&tagged), "local/work:v2");
    let again = snapshot(&fake, &source, json!({"name": "work"}));
    assert_eq!(name(&again), "local/work:default");
    // The older one keeps its id.
    let all = list(&fake, "?name=work");
    assert_eq!(
        all,
        [
            "local/work:default",
            "local/work:v2",
            &format!("{old}:default")
        ]
    );
    let of = |asked: &str| {
        let made = fake.create(json!({"templateID": asked}));
        assert_eq!(made["alias"], "work");
        made["templateID"].as_str().expect("id").to_owned()
    };
    assert_eq!(of(&old), old);
    let newest = of("work");
    assert!(newest != old && newest == of("local/work:default") && newest == of("WORK"));
    assert!(of("work:v2") != newest);
    for unknown in ["work:v3", "other/work", "local/base"] {
        fake.api("POST", "/v2/sandboxes", json!({"templateID": unknown}))
            .is_error(404);
    }
    let wrong = |name: &str| {
        let path = format!("/sandboxes/{source}/snapshots");
        fake.api("POST", &path, json!({ "name": name })).status
    };
    for bad in [
        "",
        "a b",
        "../x",
        "other/x",
        "a:b:c",
        "x:01234567-89ab-cdef-0123-456789abcdef",
    ] {
        assert_eq!(wrong(bad), 400, "{bad}");
    }
    assert_eq!((wrong("base"), wrong(&old)), (409, 409), "taken");
    let import = fake.operator("PUT", "/admin/templates/work", b"tar");
    import.is_error(409);
    fake.operator("DELETE", &format!("/admin/templates/{newest}"), b"")
        .is_error(409);
    assert_eq!(delete(&fake, "work:v2").status, 204);
    assert_eq!(delete(&fake, "local/work:default").status, 204);
    assert!(list(&fake, "").is_empty());
    // The operator's own are not a client's to delete.
    delete(&fake, "base").is_error(501);
    delete(&fake, "nowhere").is_error(404);
}

#[test]
fn lists_are_filtered_and_paged() {
    let fake = Fake::start();
    let [a, b] = [(); 2].map(|()| id(&fake.create(json!({}))));
    let mut made: Vec<String> = (0..5)
        .map(|n| name(&snapshot(&fake, if n == 2 { &b } else { &a }, json!({}))))
        .collect();
    made.reverse();
    assert_eq!(list(&fake, ""), made);
    assert_eq!(list(&fake, &format!("?sandboxID={b}")), made[2..3]);
    assert!(list(&fake, "?sandboxID=i00000000000000000000").is_empty());
    assert_eq!(
        list(&fake, &format!("?name={}", quoted(&made[4]))),
        made[4..]
    );
    assert!(list(&fake, "?name=none").is_empty());
    let (mut found, mut token) = (Vec::new(), String::new());
    for _ in 0..3 {
        let path = format!("/snapshots?limit=2&nextToken={token}");
        let page = fake.api("GET", &path, Value::Null);
        found.extend(page.json().as_array().expect("a list").iter().map(name));
        token = page.header("x-next-token").unwrap_or_default().to_owned();
        assert_eq!(token.is_empty(), found.len() == 5);
    }
    assert_eq!(found, made);
    for bad in ["limit=0", "limit=101", "nextToken=!"] {
        fake.api("GET", &format!("/snapshots?{bad}"), Value::Null)
            .is_error(400);
    }
}

#[test]
fn one_that_fails_leaves_no_trace() {
    let fake = Fake::start();
    let source = id(&fake.create(json!({})));
    let path = format!("/sandboxes/{source}/snapshots");
    for (code, status) in [
        (FaultCode::Exhausted, 503),
        (FaultCode::NoSpace, 507),
        (FaultCode::System, 500),
    ] {
        fake.world().state_fault = Some(code);
        fake.api("POST", &path, json!({})).is_error(status);
        assert!(list(&fake, "").is_empty());
    }
    fake.world().state_fault = None;
    fake.api(
        "POST",
        "/sandboxes/i00000000000000000000/snapshots",
        json!({}),
    )
    .is_error(404);
    snapshot(&fake, &source, json!({}));
}

#[test]
fn they_outlive_the_gateway_and_half_made_ones_do_not() {
    let mut fake = Fake::start();
    let source = id(&fake.create(json!({})));
    let kept = snapshot(&fake, &source, json!({"name": "kept"}));
    let lost = name(&snapshot(&fake, &source, json!({})));
    fake.world().snapshot_hangs = true;
    let mut client = fake.client();
    let (path, key) = (format!("/sandboxes/{source}/snapshots"), fake.key.clone());
    client.send("POST", &path, &[("X-API-KEY", &key)], b"");
    until("it is made", || fake.world().snapshots.len() == 3);
    fake.kill();
    let lost = lost.trim_end_matches(":default").to_owned();
    fake.world().snapshots.remove(&lost);
    fake.spawn();
    assert_eq!(list(&fake, ""), [name(&kept)]);
    until("the half-made one goes", || {
        fake.world().snapshots.len() == 1
    });
    fake.create(json!({"templateID": "kept"}));
}

#[test]
fn forks_begin_where_the_source_is() {
    let fake = Fake::start();
    let body =
        json!({"timeout": 500, "envVars": {"A": "b"}, "metadata": {"k": "v"}, "autoPause": true});
    let source = fake.create(body);
    let path = format!("/sandboxes/{}", id(&source));
    let before = fake.api("GET", &path, Value::Null).json();
    let answer = fake.api(
        "POST",
        &format!("{path}/fork"),
        json!({"count": 5, "timeout": 30}),
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
    let forks = answer.json();
    let forks = forks.as_array().expect("a list");
    assert_eq!(forks.len(), 5);
    let mut tokens = vec![source["envdAccessToken"].clone()];
    for fork in forks {
        let made = &fork["sandbox"];
        assert_eq!(made["templateID"], "base");
        assert!(!tokens.contains(&made["envdAccessToken"]), "its own token");
        tokens.push(made["envdAccessToken"].clone());
        let shown = fake.api("GET", &format!("/sandboxes/{}", id(made)), Value::Null);
        let shown = shown.json();
        assert_eq!(shown["metadata"], json!({"k": "v"}));
        assert_eq!(shown["lifecycle"]["onTimeout"], "pause");
        let told = fake.guest(made).seen();
        assert!(String::from_utf8_lossy(&told[0].body).contains(r#""A":"b""#));
    }
    assert_eq!(fake.api("GET", &path, Value::Null).json(), before);
    assert_eq!(
        (fake.asked("Snapshot"), fake.asked("LeaseOpen base 500000")),
        (1, 1)
    );
    assert!(
        fake.world().snapshots.is_empty(),
        "what carried them is gone"
    );
    assert!(list(&fake, "").is_empty());
    let one = fake.api("POST", &format!("{path}/fork"), Value::Null);
    assert_eq!(one.json().as_array().map(Vec::len), Some(1));
    for bad in [
        json!({"count": 0}),
        json!({"count": 101}),
        json!({"timeout": 0}),
    ] {
        fake.api("POST", &format!("{path}/fork"), bad).is_error(400);
    }
}

#[test]
fn a_fork_is_told_on_both_sides() {
    let fake = Fake::start();
    let source = id(&fake.create(json!({"metadata": {"k": "v"}})));
    let events = |id: &str| {
        let path = format!("/events/sandboxes/{id}?orderAsc=true");
        fake.api("GET", &path, Value::Null).json()
    };
    let fork = |body: Value| fake.api("POST", &format!("/sandboxes/{source}/fork"), body);
    // Nothing came of this one, so nothing is told.
    fake.world().state_fault = Some(FaultCode::NoSpace);
    fork(json!({})).is_error(507);
    fake.world().state_fault = None;
    let forks = fork(json!({"count": 2})).json();
    let told = events(&source);
    assert_eq!(told.as_array().map(Vec::len), Some(2), "{told}");
    assert_eq!(told[1]["type"], "sandbox.lifecycle.checkpointed");
    let data = json!({"forks": 2, "memory": false, "sandbox_metadata": {"k": "v"}});
    assert_eq!(told[1]["eventData"], data);
    assert!(told[0]["eventData"]["memory"].is_null(), "no fork");
    for made in forks.as_array().expect("a list") {
        let fork = id(&made["sandbox"]);
        let told = events(&fork);
        assert_eq!(told.as_array().map(Vec::len), Some(1), "{told}");
        assert_eq!(told[0]["type"], "sandbox.lifecycle.created");
        let data = &told[0]["eventData"];
        assert_eq!(
            (&data["fork_of"], &data["memory"]),
            (&json!(source), &json!(false))
        );
        assert!(data["end_at"].is_string());
        let logs = fake.api("GET", &format!("/v2/sandboxes/{fork}/logs"), Value::Null);
        assert!(logs.text().contains(&format!("a fork of {source}")));
    }
    let logs = fake.api("GET", &format!("/v2/sandboxes/{source}/logs"), Value::Null);
    assert!(logs.text().contains("forked 2 times"), "{}", logs.text());
}

#[test]
fn a_fork_that_fails_is_said_in_its_place() {
    let fake = Fake::start();
    let source = fake.create(json!({}));
    let path = format!("/sandboxes/{}/fork", id(&source));
    {
        let mut world = fake.world();
        world.create_fault = Some(FaultCode::Exhausted);
        world.creates_left = 2;
    }
    let answer = fake.api("POST", &path, json!({"count": 5}));
    assert_eq!(answer.status, 201);
    let forks = answer.json();
    let forks = forks.as_array().expect("a list");
    let made = forks
        .iter()
        .filter(|f| f["sandbox"]["sandboxID"].is_string());
    assert_eq!(made.count(), 2);
    let failed: Vec<&Value> = forks.iter().filter(|f| f["sandbox"].is_null()).collect();
    assert_eq!(failed.len(), 3);
    for fork in failed {
        assert_eq!(fork["error"]["code"], 503);
        assert_eq!(fork["error"]["error_code"], "sandbox_capacity_unavailable");
    }
    assert_eq!(fake.world().held.len(), 3);
    assert!(fake.world().snapshots.is_empty());
}
