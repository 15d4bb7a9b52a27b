//! Warm pools.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};
use warder_wire::SandboxId;
use warder_wire::policy::Cidr;

use super::fake::Fake;
use super::guest::Manner;
use super::http::SOON;

fn set(fake: &Fake, size: u32) {
    let body = json!({"size": size}).to_string();
    let answer = fake.operator("PUT", "/admin/pools/base", body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < SOON, "waited in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn ready(fake: &Fake) -> Value {
    let all = fake.operator("GET", "/admin/pools", b"").json();
    all[0]["ready"].clone()
}

fn filled(fake: &Fake, size: u32) -> BTreeSet<String> {
    until("the pool is full", || ready(fake) == json!(size));
    held(fake)
}

fn held(fake: &Fake) -> BTreeSet<String> {
    let world = fake.world();
    world.held.keys().map(ToString::to_string).collect()
}

fn id_of(made: &Value) -> String {
    made["sandboxID"].as_str().expect("id").to_owned()
}

/// The tokens and variables an agent was told.
fn told(fake: &Fake, made: &Value) -> Vec<(Value, Value)> {
    let all = fake.guest(made).seen();
    let init = all
        .iter()
        .filter(|seen| seen.line.starts_with("POST /init"));
    init.map(|seen| serde_json::from_slice(&seen.body).expect("json"))
        .map(|body: Value| (body["accessToken"].clone(), body["envVars"].clone()))
        .collect()
}

#[test]
fn creates_take_what_is_ready_each_once() {
    let fake = Fake::start();
    set(&fake, 3);
    let pool = filled(&fake, 3);
    assert_eq!(pool.len(), 3);
    // Nobody sees them.
    assert_eq!(
        fake.api("GET", "/v2/sandboxes", Value::Null).json(),
        json!([])
    );
    for id in &pool {
        fake.api("GET", &format!("/sandboxes/{id}"), Value::Null)
            .is_error(404);
        let made = json!({"sandboxID": id});
        assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 502);
    }
    assert_eq!(
        fake.api("GET", "/events/sandboxes", Value::Null).json(),
        json!([])
    );
    let made: Vec<Value> = std::thread::scope(|scope| {
        let fake = &fake;
        let create = |n: u32| {
            scope.spawn(move || {
                fake.create(json!({"timeout": 60 + n, "metadata": {"n": n.to_string()}}))
            })
        };
        let all: Vec<_> = (0..5).map(create).collect();
        all.into_iter()
            .map(|one| one.join().expect("made"))
            .collect()
    });
    let ids: BTreeSet<String> = made.iter().map(id_of).collect();
    assert_eq!(ids.len(), 5, "all distinct");
    assert_eq!(ids.intersection(&pool).count(), 3, "all that was ready");
    let tokens: BTreeSet<String> = made
        .iter()
        .map(|m| m["envdAccessToken"].to_string())
        .collect();
    assert_eq!(tokens.len(), 5);
    for (n, made) in made.iter().enumerate() {
        let told = told(&fake, made);
        assert_eq!(told, [(made["envdAccessToken"].clone(), json!({}))]);
        let path = format!("/sandboxes/{}", id_of(made));
        let detail = fake.api("GET", &path, Value::Null).json();
        assert_eq!(detail["metadata"]["n"], json!(n.to_string()));
        assert_eq!(detail["state"], "running");
        let id = SandboxId::new(&id_of(made)).expect("id");
        assert_eq!(fake.world().held[&id].lease.ttl_ms, 1000 * (60 + n as u64));
        assert!(fake.world().policies[&id].1.is_open());
        assert_eq!(fake.inside(made, 49983, "GET", "/health", b"").status, 204);
    }
    let metrics = fake.operator("GET", "/admin/metrics", b"").text();
    for line in [
        "warder_pool_creates_total{template=\"base\",outcome=\"taken\"} 3\n",
        "warder_pool_creates_total{template=\"base\",outcome=\"empty\"} 2\n",
        "warder_pool_sandboxes{template=\"base\",state=\"wanted\"} 3\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
    // Refilled behind them, with others.
    until("it is full again", || ready(&fake) == json!(3));
    assert_eq!(held(&fake).len(), 8);
    let events = fake
        .api("GET", "/events/sandboxes?limit=100", Value::Null)
        .json();
    assert_eq!(events.as_array().map(Vec::len), Some(5));
}

#[test]
fn what_is_asked_for_is_given_also_from_a_pool() {
    let fake = Fake::start();
    set(&fake, 1);
    let pool = filled(&fake, 1);
    let made = fake.create(json!({
        "envVars": {"K": "v"}, "allow_internet_access": false, "network": {"allowPublicTraffic": false},
        "autoPause": true, "timeout": 77,
    }));
    assert_eq!(fake.asked("LeaseSet 77000 Pause { memory: true }"), 1);
    assert!(pool.contains(&id_of(&made)), "from the pool");
    let told = told(&fake, &made);
    assert_eq!(
        told[1..],
        [(made["envdAccessToken"].clone(), json!({"K": "v"}))]
    );
    let id = SandboxId::new(&id_of(&made)).expect("id");
    assert_eq!(fake.world().policies[&id].1.deny, [Cidr::ALL]);
    let port = fake.guest(&made).open();
    assert_eq!(fake.inside(&made, port, "GET", "/x", b"").status, 403);
    let token = made["trafficAccessToken"].as_str().expect("given");
    let text = port.to_string();
    let headers = [
        ("E2b-Sandbox-Id", id.as_str()),
        ("E2b-Sandbox-Port", &text),
        ("E2b-Traffic-Access-Token", token),
    ];
    assert_eq!(fake.client().ask("GET", "/x", &headers, b"").status, 200);
    let detail = fake
        .api("GET", &format!("/sandboxes/{id}"), Value::Null)
        .json();
    assert_eq!(detail["allowInternetAccess"], json!(false));

    // A volume is mounted when a cell is made: such a create is a cold one.
    let pool = filled(&fake, 1);
    assert_eq!(
        fake.api("POST", "/volumes", json!({"name": "v"})).status,
        201
    );
    let mounts = json!([{"name": "v", "path": "/v"}]);
    let cold = fake.create(json!({"volumeMounts": mounts}));
    assert!(!pool.contains(&id_of(&cold)));
    assert_eq!(
        fake.world()
            .held
            .values()
            .filter(|h| !h.volumes.is_empty())
            .count(),
        1
    );
}

#[test]
fn one_that_fails_is_ended_and_the_create_goes_on() {
    let fake = Fake::start();
    set(&fake, 1);
    let pool = filled(&fake, 1);
    for held in fake.world().held.values() {
        *held.guest.manner.lock().expect("lock") = Manner::RefusesInit;
    }
    let made = fake.create(json!({"envVars": {"K": "v"}}));
    assert!(!pool.contains(&id_of(&made)));
    assert!(held(&fake).is_disjoint(&pool), "the failed one is gone");
    // One that has died in its pool is not handed out.
    let pool = filled(&fake, 1);
    let dead: Vec<String> = pool.into_iter().filter(|id| *id != id_of(&made)).collect();
    fake.ended(&dead[0], warder_wire::gateway_priv::EndReason::GuestEnded);
    until("another takes its place", || {
        ready(&fake) == json!(1) && held(&fake).len() == 2
    });
    assert_ne!(id_of(&fake.create(json!({}))), dead[0]);
}

#[test]
fn a_pool_follows_its_template_and_makes_room() {
    let fake = Fake::start();
    set(&fake, 2);
    let first = filled(&fake, 2);
    // The template changes.
    fake.operator("DELETE", "/admin/templates/base", b"")
        .is_error(404);
    until("others were made", || {
        held(&fake).is_disjoint(&first) && ready(&fake) == json!(2)
    });
    let second = held(&fake);
    fake.world().room = Some(2);
    let mounts = json!([{"name": "v", "path": "/v"}]);
    assert_eq!(
        fake.api("POST", "/volumes", json!({"name": "v"})).status,
        201
    );
    let cold = fake.create(json!({"volumeMounts": mounts}));
    assert!(!second.contains(&id_of(&cold)));
    assert_eq!(
        held(&fake).intersection(&second).count(),
        1,
        "one made room"
    );
    fake.world().room = None;
    set(&fake, 0);
    until("all are ended", || held(&fake).len() == 1);
    assert_eq!(fake.operator("GET", "/admin/pools", b"").json(), json!([]));
    let body = json!({"size": 1}).to_string();
    fake.operator("PUT", "/admin/pools/nothing", body.as_bytes())
        .is_error(404);
    fake.operator("PUT", "/admin/pools/base", br#"{"size": 100000}"#)
        .is_error(400);
    fake.operator("PUT", "/admin/pools/base", br#"{"size": -1}"#)
        .is_error(400);
    assert_eq!(fake.api("GET", "/admin/pools", Value::Null).status, 404);
}

#[test]
fn a_pool_is_set_by_what_a_create_takes() {
    let fake = Fake::start();
    let source = id_of(&fake.create(json!({})));
    let path = format!("/sandboxes/{source}/snapshots");
    let take = |body: Value| {
        let made = fake.api("POST", &path, body).json();
        made["snapshotID"].as_str().expect("an id").to_owned()
    };
    let put = |asked: &str, size: u32| {
        let asked = asked.replace('/', "%2F").replace(':', "%3A");
        let body = json!({ "size": size }).to_string();
        fake.operator("PUT", &format!("/admin/pools/{asked}"), body.as_bytes())
    };
    let pools = || fake.operator("GET", "/admin/pools", b"").json();
    assert_eq!(take(json!({"name": "work"})), "local/work:default");
    let set = put("work", 1);
    assert_eq!(set.status, 200, "{}", set.text());
    let id = set.json()["template"].as_str().expect("its id").to_owned();
    assert_eq!(pools()[0]["template"], id);
    until("it is full", || ready(&fake) == json!(1));
    let pool = held(&fake);
    let made = fake.create(json!({"templateID": "local/work"}));
    assert!(pool.contains(&id_of(&made)), "from the pool");
    for asked in ["local/work:default", "WORK", &format!("{id}:default"), &id] {
        let answer = put(asked, 2);
        assert_eq!(answer.json(), json!({"template": id, "size": 2}), "{asked}");
    }
    assert_eq!(pools().as_array().map(Vec::len), Some(1));
    for unknown in ["work:v2", "other/work", "nothing", "..%2Fx"] {
        put(unknown, 1).is_error(404);
    }
    // The name means another now; the pool is what it was, and its id ends it, also when the snapshot has gone.
    take(json!({"name": "work"}));
    let newer = put("work", 1).json()["template"].clone();
    assert!(newer != id && pools().as_array().map(Vec::len) == Some(2));
    let gone = fake.api("DELETE", &format!("/templates/{id}"), Value::Null);
    assert_eq!(gone.status, 204);
    for left in [&id, newer.as_str().expect("an id")] {
        assert_eq!(put(left, 0).status, 200);
    }
    assert_eq!(pools(), json!([]));
    let text = put("base:default", 1).json();
    assert_eq!(text["template"], "base");
}

#[test]
fn kill_minus_nine_with_a_full_pool_leaks_nothing() {
    let mut fake = Fake::start();
    set(&fake, 3);
    let before = filled(&fake, 3);
    let made = fake.create(json!({}));
    let kept = id_of(&made);
    assert!(before.contains(&kept));
    fake.kill();
    fake.spawn();
    until(
        "those of the dead one are ended, and it is full again",
        || {
            let now = held(&fake);
            let old = now.intersection(&before).collect::<Vec<_>>();
            old == [&kept] && now.len() == 4 && ready(&fake) == json!(3)
        },
    );
    let list = fake.api("GET", "/v2/sandboxes", Value::Null).json();
    assert_eq!(
        (list[0]["sandboxID"].as_str(), list.as_array().map(Vec::len)),
        (Some(kept.as_str()), Some(1))
    );
}
