//! Administration.

use serde_json::{Value, json};

use super::fake::Fake;
use super::ingress::until;

#[test]
fn keys_come_and_go() {
    let fake = Fake::start();
    let own = "e2b_00112233445566778899aabbccddeeff00112233";
    let made = fake.operator(
        "POST",
        "/admin/keys",
        json!({"name": "own", "key": own}).to_string().as_bytes(),
    );
    assert_eq!((made.status, made.json()["key"].as_str()), (201, Some(own)));
    let again = fake.operator(
        "POST",
        "/admin/keys",
        json!({"name": "own", "key": own}).to_string().as_bytes(),
    );
    assert_eq!(
        (again.status, &again.json()["id"]),
        (200, &made.json()["id"])
    );
    fake.operator("POST", "/admin/keys", br#"{"key":"short"}"#)
        .is_error(400);
    let list = fake.operator("GET", "/admin/keys", b"").json();
    assert_eq!(list.as_array().expect("a list").len(), 2);
    assert!(!list.to_string().contains(&own[4..]), "a key is shown once");
    let with = |key: &str| {
        fake.client()
            .ask("GET", "/sandboxes", &[("X-API-KEY", key)], b"")
            .status
    };
    assert_eq!(with(own), 200);
    let path = format!("/admin/keys/{}", made.json()["id"].as_str().expect("id"));
    assert_eq!(fake.operator("DELETE", &path, b"").status, 204);
    fake.operator("DELETE", &path, b"").is_error(404);
    assert_eq!(with(own), 401);
}

#[test]
fn the_operator_needs_no_token() {
    let fake = Fake::start();
    let made = fake.operator(
        "POST",
        "/v2/sandboxes",
        br#"{"templateID":"base","network":{"allowPublicTraffic":false}}"#,
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let id = made["sandboxID"].as_str().expect("id");
    let guest = fake.guest(&made);
    let port = guest.open().to_string();
    let ask = |port: &str| {
        fake.operator_client().ask(
            "GET",
            "/x",
            &[("E2b-Sandbox-Id", id), ("E2b-Sandbox-Port", port)],
            b"",
        )
    };
    assert_eq!((ask("49983").status, ask(&port).status), (200, 200));
    let seen = guest.seen();
    assert_eq!(
        seen[seen.len() - 2].header("x-access-token"),
        made["envdAccessToken"].as_str()
    );
    assert_eq!(seen[seen.len() - 1].header("x-access-token"), None);
    assert_eq!(
        fake.operator("DELETE", &format!("/sandboxes/{id}"), b"")
            .status,
        204
    );
}

#[test]
fn templates_and_reports() {
    let fake = Fake::start();
    let tar = vec![7; 300_000];
    let made = fake.operator("PUT", "/admin/templates/mine", &tar);
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(fake.world().imported["mine"], 300_000);
    fake.operator("PUT", "/admin/templates/..%2Fx", b"x")
        .is_error(400);
    assert_eq!(
        fake.operator("DELETE", "/admin/templates/mine", b"").status,
        204
    );
    fake.operator("DELETE", "/admin/templates/mine", b"")
        .is_error(404);
    assert_eq!(
        fake.operator("GET", "/admin/templates", b"").json()[0]["name"],
        "base"
    );
    let host = fake.operator("GET", "/admin/host", b"").json();
    assert_eq!(
        (&host["limits"]["pids"], &host["maxSandboxes"]),
        (&json!("stand-in"), &json!(100))
    );
    let instance = fake.operator("GET", "/admin/instance", b"").json();
    assert_eq!(
        (
            &instance["netd"],
            &instance["pluginHost"],
            &instance["backend"]
        ),
        (&json!(true), &json!(true), &json!("fake"))
    );
    fake.operator("GET", "/admin/nothing", b"").is_error(404);
}

#[test]
fn numbers_for_whoever_watches() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let id = made["sandboxID"].as_str().expect("id");
    fake.api("GET", &format!("/sandboxes/{id}/metrics"), Value::Null);
    fake.api("DELETE", "/sandboxes/iaaaaaaaaaaaaaaaaaaaa", Value::Null)
        .is_error(404);
    let scraped = fake.operator("GET", "/admin/metrics", b"");
    assert_eq!(scraped.status, 200);
    assert!(
        scraped
            .header("content-type")
            .is_some_and(|t| t.starts_with("text/plain; version=0.0.4"))
    );
    let text = scraped.text();
    let value = |name: &str| -> f64 {
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found
            .unwrap_or_else(|| panic!("{name} in {text}"))
            .parse()
            .expect("a number")
    };
    for (name, expected) in [
        ("warder_sandboxes{state=\"running\"}", 1.0),
        (
            "warder_operations_total{operation=\"create\",outcome=\"done\"}",
            1.0,
        ),
        (
            "warder_operations_total{operation=\"kill\",outcome=\"refused\"}",
            1.0,
        ),
        ("warder_requests_total{class=\"api\",code=\"404\"}", 1.0),
        (
            "warder_events_total{type=\"sandbox.lifecycle.created\"}",
            1.0,
        ),
        ("warder_daemon_up{daemon=\"netd\"}", 1.0),
        ("warder_privd_up", 1.0),
        (
            "warder_daemon_resident_memory_bytes{daemon=\"netd\"}",
            4096.0,
        ),
        ("warder_daemon_cpu_seconds_total{daemon=\"netd\"}", 1.5),
        ("warder_connections_open{listener=\"operator\"}", 1.0),
        (
            "warder_request_duration_seconds_bucket{class=\"api\",le=\"+Inf\"}",
            3.0,
        ),
    ] {
        assert!(
            (value(name) - expected).abs() < 1e-9,
            "{name}: {}",
            value(name)
        );
    }
    assert!(value("process_resident_memory_bytes") > 100_000.0);
    assert!(value("process_open_fds") > 5.0);
    let memory = format!("warder_sandbox_memory_bytes{{sandbox=\"{id}\",template=\"base\"}}");
    assert!((value(&memory) - 3072.0).abs() < 1e-9);
    // Not over TCP, with whatever key.
    fake.api("GET", "/admin/metrics", Value::Null).is_error(404);
}

#[test]
fn metrics_say_which_daemons_are_there() {
    let fake = Fake::start();
    let egressd = || {
        let text = fake.operator("GET", "/admin/metrics", b"").text();
        let value = |name: &str| {
            let name = format!("warder_daemon_{name}{{daemon=\"egressd\"}} ");
            let found = text.lines().find_map(|line| line.strip_prefix(&name));
            found.expect("shown").to_owned()
        };
        [value("up"), value("starts_total")]
    };
    let until = |expected: [&str; 2]| until("it is told", || egressd() == expected);
    assert_eq!(egressd(), ["0", "0"]);
    let first = fake.egress();
    until(["1", "1"]);
    drop(first);
    until(["0", "1"]);
    let _second = fake.egress();
    until(["1", "2"]);
}

#[test]
fn it_is_confined() {
    let fake = Fake::start();
    let words = &fake.confinement;
    if words.contains("capability mode") {
        // It has looked itself, and the probes of `sys/confine` look from outside.
        assert!(words.starts_with("uid 1900001, "), "{words}");
        let _: Value = fake.operator("GET", "/admin/instance", b"").json();
        return;
    }
    assert!(words.contains("seccomp"), "{words}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", fake.pid())).expect("runs");
    let line = |name: &str| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .expect("there")
            .trim()
            .to_owned()
    };
    assert_eq!(line("Seccomp:"), "2");
    assert_eq!(line("NoNewPrivs:"), "1");
    assert_eq!(line("CapEff:"), "0000000000000000");
    assert_eq!(line("CapBnd:"), "0000000000000000");
    assert!(line("Uid:").split_whitespace().all(|uid| uid == "1900001"));
    assert_eq!(
        std::fs::read_dir(format!("/proc/{}/root", fake.pid()))
            .expect("root may look")
            .count(),
        0
    );
    let _: Value = fake.operator("GET", "/admin/instance", b"").json();
}
