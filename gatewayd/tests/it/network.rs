//! Network policies: wanted, in force, and what lies between.

use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use warder_wire::egress_gateway::{Event, Refused, Why};
use warder_wire::policy::{Cidr, HostName, Rule};
use warder_wire::{Fault, FaultCode, Message, Policy, Request, SandboxId, gateway_net};

use super::fake::Fake;
use super::http::{Answer, SOON};

const UNKNOWN: &str = "ixxxxxxxxxxxxxxxxxx0";

pub(super) fn id(made: &Value) -> String {
    made["sandboxID"].as_str().expect("id").to_owned()
}

pub(super) fn detail(fake: &Fake, id: &str) -> Value {
    let answer = fake.api("GET", &format!("/sandboxes/{id}"), Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

pub(super) fn put(fake: &Fake, id: &str, body: Value) -> Answer {
    fake.api("PUT", &format!("/sandboxes/{id}/network"), body)
}

fn airgap(fake: &Fake, id: &str, on: bool) -> Answer {
    let path = format!("/sandboxes/{id}/airgap");
    fake.api("PUT", &path, json!({ "enabled": on }))
}

/// What netd holds.
fn held(fake: &Fake, id: &str) -> (u64, Policy) {
    let id = SandboxId::new(id).expect("id");
    fake.world().policies[&id].clone()
}

/// Generation wanted, and in force.
pub(super) fn generations(fake: &Fake, id: &str) -> (u64, u64) {
    let state = &detail(fake, id)["networkState"];
    let number = |name: &str| state[name].as_u64().expect("a number");
    (number("generation"), number("inForce"))
}

pub(super) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < SOON, "{what}");
        thread::sleep(std::time::Duration::from_millis(2));
    }
}

pub(super) fn deny_all() -> Value {
    json!({"denyOut": ["0.0.0.0/0"]})
}

#[test]
fn a_policy_is_replaced_whole_and_holds_when_that_is_said() {
    let fake = Fake::start();
    let made = fake.create(json!({
        "allow_internet_access": false,
        "network": {
            "allowOut": ["8.8.8.8", "2001:db8::/32"], "dnsServers": ["1.1.1.1"], "allowPublicTraffic": false,
            "egressProxy": {"address": "Proxy.example:1080", "username": "u", "password": "secret"},
        },
    }));
    let id = id(&made);
    let shown = detail(&fake, &id);
    assert_eq!(shown["allowInternetAccess"], json!(false));
    assert_eq!(
        shown["network"],
        json!({
            "allowOut": ["8.8.8.8", "2001:db8::/32"], "dnsServers": ["1.1.1.1"], "allowPublicTraffic": false,
            "egressProxy": {"address": "proxy.example:1080", "username": "u"},
        })
    );
    assert_eq!(
        shown["networkState"],
        json!({
            "generation": 1, "inForce": 1, "airGap": false, "airGapByOperator": false, "closed": false,
            "notEffective": ["2001:db8::/32"],
        })
    );
    let (generation, policy) = held(&fake, &id);
    assert_eq!(
        (generation, policy.deny.as_slice()),
        (1, [Cidr::ALL].as_slice())
    );
    let login = policy.proxy.and_then(|proxy| proxy.login);
    assert_eq!(login, Some(("u".to_owned(), "secret".to_owned())));
    // All that an update leaves out is cleared, but for what holds for life.
    let answer = put(&fake, &id, json!({"denyOut": ["1.2.3.4"]}));
    assert_eq!(
        (answer.status, answer.header("etag")),
        (204, Some("\"2\"")),
        "{}",
        answer.text()
    );
    assert!(answer.body.is_empty());
    let (generation, policy) = held(&fake, &id);
    let wanted = Policy {
        deny: vec!["1.2.3.4".parse().expect("a network")],
        ..Policy::OPEN
    };
    assert_eq!((generation, policy), (2, wanted));
    let shown = detail(&fake, &id);
    assert_eq!(shown["allowInternetAccess"], Value::Null);
    assert_eq!(
        shown["network"],
        json!({"denyOut": ["1.2.3.4"], "allowPublicTraffic": false})
    );
    assert_eq!(generations(&fake, &id), (2, 2));
    assert!(made["trafficAccessToken"].is_string());
    let again = fake
        .api("POST", &format!("/v2/sandboxes/{id}/connect"), json!({}))
        .json();
    assert_eq!(again["trafficAccessToken"], made["trafficAccessToken"]);
    assert_eq!(put(&fake, &id, json!({})).status, 204);
    assert!(held(&fake, &id).1.is_open());
    assert_eq!(
        put(&fake, &id, json!({"allow_internet_access": false})).status,
        204
    );
    assert_eq!(detail(&fake, &id)["allowInternetAccess"], json!(false));
    let logs = fake.api("GET", &format!("/v2/sandboxes/{id}/logs"), Value::Null);
    assert!(
        logs.text().contains("network policy 2 in force"),
        "{}",
        logs.text()
    );
    let events = fake
        .api(
            "GET",
            &format!("/events/sandboxes/{id}?types=sandbox.lifecycle.updated&orderAsc=true"),
            Value::Null,
        )
        .json();
    let all = events.as_array().expect("a list").iter();
    let all = all.map(|event| event["eventData"]["network_egress"].clone());
    let all: Vec<Value> = all.filter(|egress| !egress.is_null()).collect();
    let egress = |n: usize| all[n].clone();
    let ingress = &events[0]["eventData"]["network_ingress"];
    assert_eq!(
        ingress,
        &json!({"allowed": [], "denied": [], "mask_request_host": null})
    );
    let nothing = json!({"allowed_cidrs": [], "denied_cidrs": [], "allowed_domains": []});
    assert_eq!(egress(0)["denied_cidrs"], json!(["1.2.3.4"]));
    assert_eq!(egress(1), nothing);
    assert_eq!(egress(2)["denied_cidrs"], json!(["0.0.0.0/0"]));
}

#[test]
fn the_checks_come_in_their_order() {
    let fake = Fake::start();
    let id = id(&fake.create(json!({})));
    let path = format!("/sandboxes/{id}/network");
    let bad = json!({"denyOut": ["example.com"]});
    let answer = fake
        .client()
        .ask("PUT", &path, &[], bad.to_string().as_bytes());
    assert_eq!(answer.status, 401);
    for (id, body, status, message) in [
        ("UPPER", json!([]), 400, "Invalid sandbox ID"),
        (
            UNKNOWN,
            json!({"denyOut": "8.8.8.8"}),
            400,
            "Error when parsing request: ",
        ),
        (UNKNOWN, bad.clone(), 400, "invalid denied CIDR example.com"),
        (
            UNKNOWN,
            json!({"egressProxy": {"address": "x"}}),
            400,
            "Invalid egress proxy config: ",
        ),
        (
            UNKNOWN,
            json!({"rules": {"a.b": []}, "denyOut": ["x"]}),
            400,
            "invalid denied CIDR x",
        ),
        (
            UNKNOWN,
            json!({"rules": {"a.b": [{"transform": {"headers": {"a": "b"}}}]}}),
            404,
            "Sandbox \"",
        ),
        (
            UNKNOWN,
            json!({}),
            404,
            "Sandbox \"ixxxxxxxxxxxxxxxxxx0\" doesn't exist or you don't have access to it",
        ),
        (
            &id,
            json!({"rules": {"a.b": [{"transform": {"headers": {"a": "b"}}}]}}),
            400,
            "rules is not supported",
        ),
        (
            &id,
            json!({"nonsense": true}),
            400,
            "nonsense is not supported",
        ),
    ] {
        let answer = put(&fake, id, body.clone());
        answer.is_error(status);
        let text = answer.json()["message"].as_str().expect("text").to_owned();
        assert!(text.starts_with(message), "{body}: {text}");
    }
    assert_eq!(
        held(&fake, &id),
        (1, Policy::OPEN),
        "nothing of it was done"
    );
    let refused = fake.api(
        "POST",
        "/v2/sandboxes",
        json!({"templateID": "base", "network": bad}),
    );
    assert_eq!(
        refused.is_error(400).json()["message"],
        "invalid denied CIDR example.com"
    );
    let many: Vec<String> = (0..10_000)
        .map(|n| format!("9.{}.{}.1", n / 250, n % 250))
        .collect();
    let refused = put(&fake, &id, json!({ "allowOut": many }));
    assert_eq!(
        refused.is_error(400).json()["message"],
        "allowOut has 10000 addresses; the limit is 1000"
    );
    // An old client part of the id is dropped.
    assert_eq!(put(&fake, &format!("{id}-0a1b"), json!({})).status, 204);
    assert_eq!(fake.api("GET", &path, Value::Null).status, 405);
}

#[test]
fn a_change_that_fails_closes_the_sandbox_and_says_so() {
    let fake = Fake::start();
    let id = id(&fake.create(json!({})));
    fake.world().policy_fault = Some(FaultCode::System);
    let answer = put(&fake, &id, json!({"allowOut": ["8.8.8.8"]}));
    assert_eq!(
        answer.is_error(500).json()["message"],
        "Error applying network config to sandbox"
    );
    assert_eq!(answer.header("should-retry"), Some("false"));
    let state = detail(&fake, &id)["networkState"].clone();
    assert_eq!(
        (&state["inForce"], &state["closed"], &state["airGap"]),
        (&json!(0), &json!(true), &json!(true)),
        "{state}"
    );
    // netd is told to close it until it has.
    fake.world().policy_fault = None;
    until("it is closed", || held(&fake, &id).1.airgap);
    assert_eq!(detail(&fake, &id)["networkState"]["closed"], json!(true));
    // A closed one is also that for its forks.
    let answer = fake.api("POST", &format!("/sandboxes/{id}/fork"), json!({}));
    let fork = answer.json()[0]["sandbox"]["sandboxID"]
        .as_str()
        .expect("made")
        .to_owned();
    assert!(held(&fake, &fork).1.airgap);
    // The next change opens it.
    assert_eq!(put(&fake, &id, json!({})).status, 204);
    assert!(held(&fake, &id).1.is_open());
    let state = detail(&fake, &id)["networkState"].clone();
    assert_eq!(
        (&state["closed"], &state["inForce"]),
        (&json!(false), &state["generation"])
    );
}

#[test]
fn a_netd_that_dies_half_way_is_asked_again() {
    for done in [true, false] {
        let fake = Fake::start();
        let id = id(&fake.create(json!({})));
        fake.world().policy_kills = Some(done);
        thread::scope(|scope| {
            let answer = scope.spawn(|| put(&fake, &id, deny_all()));
            until("netd was asked", || fake.world().policy_kills.is_none());
            fake.net();
            assert_eq!(answer.join().expect("answered").status, 204);
        });
        assert_eq!(held(&fake, &id).1.deny, [Cidr::ALL]);
        assert_eq!(generations(&fake, &id), (2, 2));
    }
}

#[test]
fn a_gateway_that_dies_between_wanted_and_in_force_goes_on_there() {
    for done in [true, false] {
        let mut fake = Fake::start();
        let id = id(&fake.create(json!({})));
        fake.world().policy_kills = Some(done);
        let key = fake.key.clone();
        let path = format!("/sandboxes/{id}/network");
        let mut client = fake.client();
        client.send(
            "PUT",
            &path,
            &[("X-API-KEY", &key)],
            deny_all().to_string().as_bytes(),
        );
        until("netd was asked", || fake.world().policy_kills.is_none());
        assert_eq!(generations(&fake, &id), (2, 1), "not said to hold");
        fake.kill();
        fake.spawn();
        until("it holds", || generations(&fake, &id) == (2, 2));
        assert_eq!(held(&fake, &id).1.deny, [Cidr::ALL]);
        assert_eq!(detail(&fake, &id)["network"], deny_all());
    }
}

#[test]
fn a_netd_that_has_forgotten_is_told_again() {
    let fake = Fake::start();
    let made = fake.create(json!({"network": deny_all()}));
    let open = fake.create(json!({}));
    fake.world().policies.clear();
    fake.net();
    until("both are told", || fake.world().policies.len() == 2);
    assert_eq!(held(&fake, &id(&made)).1.deny, [Cidr::ALL]);
    assert!(held(&fake, &id(&open)).1.is_open());
    // One that holds what is wanted is only asked.
    fake.world().log.clear();
    fake.net();
    until("it is asked", || fake.asked("PolicyGet") >= 2);
    assert_eq!(put(&fake, &id(&made), json!({})).status, 204);
    assert_eq!(
        fake.world()
            .log
            .iter()
            .filter(|l| l.starts_with("PolicySet"))
            .count(),
        1
    );
    // And one that has heard of a later one than was written down.
    let other = SandboxId::new(&id(&open)).expect("id");
    fake.world().policies.insert(other, (50, Policy::CLOSED));
    let answer = put(&fake, &id(&open), deny_all());
    assert_eq!(
        (answer.status, answer.header("etag")),
        (204, Some("\"51\""))
    );
    assert_eq!(generations(&fake, &id(&open)), (51, 51));
}

#[test]
fn pause_resume_and_fork_keep_it_and_a_snapshot_does_not_carry_it() {
    let mut fake = Fake::start();
    let options = json!({"allowOut": ["8.8.8.8", "a.example"], "denyOut": ["0.0.0.0/0"]});
    let id = id(&fake.create(json!({"network": options, "allow_internet_access": false})));
    let policy = held(&fake, &id).1;
    let post = |fake: &Fake, what: &str, body: Value| {
        fake.api("POST", &format!("/sandboxes/{id}/{what}"), body)
    };
    for memory in [true, false] {
        assert_eq!(
            post(&fake, "pause", json!({ "memory": memory })).status,
            204
        );
        let refused = put(&fake, &id, json!({}));
        let wanted = format!("Sandbox \"{id}\" is paused");
        assert_eq!(refused.is_error(409).json()["message"], wanted.as_str());
        assert_eq!(detail(&fake, &id)["network"], options);
        fake.kill();
        fake.spawn();
        let woken = post(&fake, "connect", json!({"timeout": 60}));
        assert_eq!(woken.status, 201, "{}", woken.text());
        assert_eq!(held(&fake, &id), (1, policy.clone()));
        let shown = detail(&fake, &id);
        assert_eq!(
            (&shown["network"], &shown["allowInternetAccess"]),
            (&options, &json!(false))
        );
        assert_eq!(generations(&fake, &id), (1, 1));
    }
    // One that starts anew is told again before it is said to run.
    assert_eq!(post(&fake, "pause", json!({"memory": false})).status, 204);
    fake.world().policies.clear();
    assert_eq!(post(&fake, "connect", json!({"timeout": 60})).status, 201);
    assert_eq!(held(&fake, &id), (1, policy.clone()));
    let forks = post(&fake, "fork", json!({"count": 2})).json();
    for n in 0..2 {
        let fork = forks[n]["sandbox"]["sandboxID"]
            .as_str()
            .expect("made")
            .to_owned();
        assert_eq!(held(&fake, &fork), (1, policy.clone()));
        assert_eq!(detail(&fake, &fork)["network"], options);
    }
    let snapshot = post(&fake, "snapshots", json!({})).json();
    let template = snapshot["snapshotID"].as_str().expect("an id");
    let own = fake.create(json!({"templateID": template, "network": {"denyOut": ["1.2.3.4"]}}));
    assert_eq!(
        detail(&fake, super::network::id(&own).as_str())["network"],
        json!({"denyOut": ["1.2.3.4"]})
    );
    let none = super::network::id(&fake.create(json!({ "templateID": template })));
    assert!(held(&fake, &none).1.is_open());
}

#[test]
fn the_air_gap_is_apart_from_the_lists_and_holds_for_the_paused_and_for_forks() {
    let fake = Fake::start();
    let id = id(&fake.create(json!({"network": {"allowOut": ["8.8.8.8"]}})));
    let answer = airgap(&fake, &id, true);
    assert_eq!(
        (answer.status, answer.header("etag")),
        (204, Some("\"2\"")),
        "{}",
        answer.text()
    );
    assert!(held(&fake, &id).1.airgap);
    assert_eq!(held(&fake, &id).1.allow.len(), 1, "the lists are kept");
    let state = detail(&fake, &id)["networkState"].clone();
    assert_eq!(
        (&state["airGap"], &state["airGapByOperator"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(put(&fake, &id, json!({})).status, 204);
    assert!(
        held(&fake, &id).1.airgap,
        "an update of the lists does not lift it"
    );
    let fork = fake
        .api("POST", &format!("/sandboxes/{id}/fork"), json!({}))
        .json();
    let fork = fork[0]["sandbox"]["sandboxID"]
        .as_str()
        .expect("made")
        .to_owned();
    assert!(held(&fake, &fork).1.airgap);
    assert_eq!(detail(&fake, &fork)["networkState"]["airGap"], json!(true));
    assert_eq!(airgap(&fake, &id, false).status, 204);
    assert!(held(&fake, &id).1.is_open());
    let path = format!("/sandboxes/{id}/pause");
    assert_eq!(fake.api("POST", &path, json!({})).status, 204);
    assert_eq!(airgap(&fake, &id, true).status, 204);
    assert!(held(&fake, &id).1.airgap, "it wakes with it");
    for body in [json!({}), json!({"enabled": 1}), json!([])] {
        let path = format!("/sandboxes/{id}/airgap");
        fake.api("PUT", &path, body).is_error(400);
    }
    airgap(&fake, UNKNOWN, true).is_error(404);
    let events = fake
        .api(
            "GET",
            &format!("/events/sandboxes/{id}?orderAsc=true"),
            Value::Null,
        )
        .json();
    let events = events.as_array().expect("a list").iter();
    let told: Vec<_> = events
        .filter_map(|event| event["eventData"]["air_gap"].as_bool())
        .collect();
    assert_eq!(told, [true, false, true]);
}

#[test]
fn the_operators_air_gap_is_shown_and_not_lifted() {
    let fake = Fake::start();
    fake.world().airgapped = true;
    let id = id(&fake.create(json!({})));
    let state = |fake: &Fake| detail(fake, &id)["networkState"].clone();
    assert_eq!(
        (&state(&fake)["airGap"], &state(&fake)["airGapByOperator"]),
        (&json!(true), &json!(true))
    );
    let refused = airgap(&fake, &id, false);
    assert!(refused.is_error(403).text().contains("operator"));
    // Asked for besides, it stays asked for.
    assert_eq!(airgap(&fake, &id, true).status, 204);
    airgap(&fake, &id, false).is_error(403);
    assert!(held(&fake, &id).1.airgap);
    assert_eq!(put(&fake, &id, deny_all()).status, 204);
    assert_eq!(state(&fake)["airGapByOperator"], json!(true));
    assert_eq!(generations(&fake, &id).0, generations(&fake, &id).1);
    // Looked at again when the configuration is read anew.
    fake.world().airgapped = false;
    let reloaded = fake.operator("POST", "/admin/reload", b"");
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let open = super::network::id(&fake.create(json!({})));
    fake.world().airgapped = true;
    fake.operator("POST", "/admin/reload", b"");
    until("it is seen", || {
        detail(&fake, &open)["networkState"]["airGapByOperator"] == json!(true)
    });
    fake.world().airgapped = false;
    assert_eq!(airgap(&fake, &id, false).status, 204);
    let state = state(&fake);
    assert_eq!(
        (&state["airGap"], &state["airGapByOperator"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(held(&fake, &id).1.deny, [Cidr::ALL]);
}

#[test]
fn changes_at_once_follow_one_another() {
    let fake = Fake::start();
    let id = id(&fake.create(json!({})));
    thread::scope(|scope| {
        for n in 1..=8 {
            let (fake, id) = (&fake, id.as_str());
            scope.spawn(move || {
                let entry = format!("9.9.9.{n}");
                let answer = put(fake, id, json!({"denyOut": [entry]}));
                assert_eq!(answer.status, 204, "{}", answer.text());
            });
        }
    });
    assert_eq!(generations(&fake, &id), (9, 9));
    let (generation, policy) = held(&fake, &id);
    let shown = detail(&fake, &id)["network"]["denyOut"][0]
        .as_str()
        .map(str::to_owned);
    assert_eq!(
        (generation, Some(policy.deny[0].range().0.to_string())),
        (9, shown)
    );
}

#[test]
fn a_policy_is_in_force_before_a_create_answers_also_from_a_pool() {
    let fake = Fake::start();
    let set = fake.operator("PUT", "/admin/pools/base", br#"{"size":1}"#);
    assert_eq!(set.status, 200, "{}", set.text());
    let ready = || fake.operator("GET", "/admin/pools", b"").json()[0]["ready"].clone();
    until("the pool is full", || ready() == json!(1));
    let pooled: Vec<String> = fake
        .world()
        .policies
        .keys()
        .map(ToString::to_string)
        .collect();
    let id =
        id(&fake.create(json!({"network": {"allowOut": ["8.8.8.8"], "denyOut": ["0.0.0.0/0"]}})));
    assert_eq!(pooled, std::slice::from_ref(&id), "from the pool");
    assert_eq!(held(&fake, &id).1.deny, [Cidr::ALL]);
    assert_eq!(generations(&fake, &id), (2, 2));
    // One that cannot be given its policy is not handed out.
    until("the pool is full", || ready() == json!(1));
    fake.world().policy_fault = Some(FaultCode::System);
    let body = json!({"templateID": "base", "network": deny_all()});
    let refused = fake.api("POST", "/v2/sandboxes", body);
    refused.is_error(500);
}

fn refused(sandbox: &str, port: u16, name: Option<&str>, why: Why) -> Event {
    Event::Refused(Refused {
        sandbox: SandboxId::new(sandbox).expect("id"),
        generation: 1,
        protocol: 6,
        address: [8, 8, 8, 8].into(),
        port,
        name: name.map(|name| HostName::new(name).expect("a name")),
        why,
        times: 3,
    })
}

#[test]
fn what_was_refused_is_told_and_pushes_nothing_else_out() {
    let fake = Fake::start();
    let [hostile, quiet] = [0, 1].map(|_| id(&fake.create(json!({}))));
    let log = |id: &str, query: &str| {
        let path = format!("/sandboxes/{id}/network/log{query}");
        fake.api("GET", &path, Value::Null)
    };
    assert_eq!(log(&quiet, "").json(), json!([]));
    let mut egressd = fake.egress();
    let mut tell = |event: &Event| {
        egressd
            .send_timeout(event, Vec::new(), SOON)
            .expect("taken");
    };
    tell(&refused(&quiet, 443, Some("evil.example"), Why::Name));
    tell(&refused(
        &quiet,
        25,
        None,
        Why::Address(Rule::Deny(Cidr::ALL)),
    ));
    tell(&refused(&quiet, 443, Some("evil.example"), Why::Name));
    tell(&refused("iaaaaaaaaaaaaaaaaaaaa", 1, None, Why::Name));
    for port in 1..=3000 {
        tell(&refused(&hostile, port, None, Why::Quic));
    }
    tell(&Event::Dropped(7));
    until("all have come", || {
        let metrics = fake.operator("GET", "/admin/metrics", b"");
        metrics.text().contains("warder_network_untold_total 7\n")
    });
    let told = log(&quiet, "").json();
    let shown = |n: usize, names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| told[n][*name].clone()).collect()
    };
    let names = [
        "protocol",
        "address",
        "port",
        "name",
        "reason",
        "rule",
        "count",
        "generation",
    ];
    assert_eq!(
        json!(shown(0, &names)),
        json!([
            "tcp",
            "8.8.8.8",
            25,
            null,
            "denied",
            "denyOut 0.0.0.0/0",
            3,
            1
        ])
    );
    assert_eq!(
        json!(shown(1, &names)),
        json!([
            "tcp",
            "8.8.8.8",
            443,
            "evil.example",
            "name",
            "the name is not in allowOut",
            6,
            1
        ])
    );
    assert_eq!(told.as_array().map(Vec::len), Some(2));
    assert_eq!(
        log(&quiet, "?limit=1&direction=backward").json()[0]["port"],
        json!(443)
    );
    assert_eq!(log(&quiet, "?cursor=32503680000000").json(), json!([]));
    let full = log(&hostile, "");
    assert_eq!(full.json().as_array().map(Vec::len), Some(256));
    assert_eq!(full.header("x-warder-dropped"), Some("8232"));
    for bad in ["?limit=x", "?limit=1001", "?cursor=-1", "?direction=up"] {
        log(&quiet, bad).is_error(400);
    }
    log(UNKNOWN, "").is_error(404);
    // Who follows hears of some of it, and of all that happened to sandboxes.
    let lines = |query: &str| -> Vec<Value> {
        let text = fake
            .operator("GET", &format!("/admin/events{query}"), b"")
            .text();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("json"))
            .collect()
    };
    let all = lines("");
    let of = |kind: &str, id: &str| {
        let wanted = |line: &&Value| line["type"] == kind && line["sandboxId"] == id;
        all.iter().filter(wanted).count()
    };
    assert_eq!(of("sandbox.lifecycle.created", &hostile), 1);
    assert_eq!(of("sandbox.network.refused", &quiet), 3);
    assert!((20..100).contains(&of("sandbox.network.refused", &hostile)));
    let last = all.last().expect("lines");
    assert_eq!(
        (&last["type"], &last["count"]),
        (&json!("warder.network.dropped"), &json!(7))
    );
    let seen = last["networkSequence"].as_u64().expect("a number");
    assert_eq!(
        lines(&format!("?after=2&network={seen}")),
        Vec::<Value>::new()
    );
    assert_eq!(lines("?network=false").len(), 2);
    let mut only = lines(&format!("?sandbox={quiet}"));
    only.retain(|line| line["sandboxId"] != json!(quiet));
    assert_eq!(only, Vec::<Value>::new());
    let metrics = fake.operator("GET", "/admin/metrics", b"").text();
    for line in [
        "warder_network_refused_total 9009\n",
        "warder_network_untold_total 7\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
    // The next egressd is heard too.
    drop(egressd);
    let mut egressd = fake.egress();
    let event = refused(&quiet, 22, None, Why::Address(Rule::AirGap));
    egressd
        .send_timeout(&event, Vec::new(), SOON)
        .expect("taken");
    until("it has come", || {
        log(&quiet, "").json()[2]["reason"] == json!("air_gap")
    });
}

#[test]
fn a_netd_that_stays_away_leaves_nothing_open_when_it_is_back() {
    let fake = Fake::start();
    let id = id(&fake.create(json!({})));
    fake.world().policy_kills = Some(false);
    let answer = put(&fake, &id, json!({"allowOut": ["8.8.8.8"]}));
    assert_eq!(
        answer.is_error(500).json()["message"],
        "Error applying network config to sandbox"
    );
    assert_eq!(held(&fake, &id), (1, Policy::OPEN), "nobody could close it");
    let state = detail(&fake, &id)["networkState"].clone();
    assert_eq!(
        (&state["inForce"], &state["closed"]),
        (&json!(1), &json!(false)),
        "and that is said"
    );
    // The next netd is told to, before anything else is asked of it.
    fake.net();
    until("it is closed", || held(&fake, &id).1.airgap);
    until("that is said", || {
        detail(&fake, &id)["networkState"]["closed"] == json!(true)
    });
    assert_eq!(put(&fake, &id, json!({})).status, 204);
    assert!(held(&fake, &id).1.is_open());
}

/// A netd that closes a sandbox of its own accord says so: nothing is shown as in force until it is again.
#[test]
fn what_netd_seals_itself_is_shown_and_set_again() {
    use gateway_net::{Answer, Ask};
    let fake = Fake::start();
    let id = id(&fake.create(json!({})));
    let sandbox = SandboxId::new(&id).expect("id");
    let mut netd = fake.net_by_hand();
    let mut next = |sealed: bool, works: bool| {
        let (ask, _) = netd.recv_timeout::<Request<Ask>>(SOON).expect("asks");
        let (name, result) = match ask.body {
            Ask::PolicyGet { .. } => {
                let (policy, airgap) = (Policy::OPEN, sealed);
                let generation = 1;
                let held = Answer::Policy {
                    generation,
                    policy,
                    airgap,
                    sealed,
                };
                ("get", Ok(held))
            }
            Ask::PolicySet { generation, .. } if works => {
                let airgap = false;
                ("set", Ok(Answer::InForce { generation, airgap }))
            }
            Ask::PolicySet { .. } => ("set", Err(Fault::new(FaultCode::System, "no memory"))),
        };
        let (seq, sandbox) = (ask.seq, sandbox.clone());
        let event = gateway_net::Event::Sealed { sandbox };
        let reply = Message::<_, gateway_net::Event>::Reply { seq, result };
        netd.send_timeout(&reply, Vec::new(), SOON).expect("room");
        if name == "get" && !sealed {
            let event = Message::<Answer, _>::Event(event);
            netd.send_timeout(&event, Vec::new(), SOON).expect("room");
        }
        name
    };
    assert_eq!(next(false, true), "get", "as of every new netd");
    assert_eq!(next(true, false), "get", "since it said so");
    assert_eq!(next(true, false), "set");
    until("it is shown", || generations(&fake, &id) == (1, 0));
    assert_eq!(next(true, true), "set", "once more");
    until("it is shown", || generations(&fake, &id) == (1, 1));
}
