//! The control API.

use serde_json::{Value, json};
use warder_wire::gateway_priv::EndReason;
use warder_wire::policy::Cidr;
use warder_wire::{FaultCode, SandboxId};

use super::fake::Fake;

#[test]
fn a_sandbox_from_create_to_kill() {
    let fake = Fake::start();
    let made = fake.create(json!({"timeout": 60, "metadata": {"a": "b"}, "envVars": {"K": "v"}}));
    let id = made["sandboxID"].as_str().expect("id").to_owned();
    assert!(
        made["clientID"].is_string()
            && made["envdVersion"] == "0.6.13"
            && made["templateID"] == "base"
    );
    assert!(made["trafficAccessToken"].is_null() && made["domain"] == "box.example");
    let token = made["envdAccessToken"].as_str().expect("always");
    assert!(token.len() >= 40);

    // The agent was told on a stream of its own kind.
    let init = fake
        .guest(&made)
        .seen()
        .into_iter()
        .find(|seen| seen.line == "POST /init HTTP/1.1")
        .expect("told");
    assert_eq!(init.role, Some(warder_wire::link::Role::Control));
    let told: Value = serde_json::from_slice(&init.body).expect("json");
    assert_eq!(
        (&told["envVars"]["K"], &told["accessToken"]),
        (&json!("v"), &json!(token))
    );
    assert_eq!(
        fake.world().log.first().map(String::as_str),
        Some("LeaseOpen base 60000")
    );
    assert!(fake.world().log.contains(&"PolicySet true".to_owned()));

    let detail = fake.api("GET", &format!("/sandboxes/{id}"), Value::Null);
    assert_eq!(detail.status, 200);
    let detail = detail.json();
    assert_eq!(
        (&detail["state"], &detail["metadata"]["a"]),
        (&json!("running"), &json!("b"))
    );
    assert_eq!(detail["envdAccessToken"], *token);
    for field in [
        "startedAt",
        "endAt",
        "cpuCount",
        "memoryMB",
        "diskSizeMB",
        "clientID",
        "envdVersion",
    ] {
        assert!(!detail[field].is_null(), "{field}");
    }
    let connected = fake.api(
        "POST",
        &format!("/v2/sandboxes/{id}/connect"),
        json!({"timeout": 10}),
    );
    assert_eq!(
        (
            connected.status,
            connected.json()["envdAccessToken"].as_str()
        ),
        (200, Some(token))
    );

    assert_eq!(
        fake.api("DELETE", &format!("/sandboxes/{id}"), Value::Null)
            .status,
        204
    );
    fake.api("DELETE", &format!("/sandboxes/{id}"), Value::Null)
        .is_error(404);
    fake.api("GET", &format!("/sandboxes/{id}"), Value::Null)
        .is_error(404);
    assert!(fake.world().held.is_empty());
    let gone = fake.inside(&made, 49983, "GET", "/health", b"");
    assert_eq!(gone.status, 502);
    assert_eq!(
        gone.json(),
        json!({"sandboxId": id, "message": "The sandbox was not found", "code": 502})
    );
}

/// As when privd is ending it already: what the backend cannot do, the end of the lease does.
#[test]
fn a_kill_goes_on_without_the_backend() {
    let fake = Fake::start();
    for code in [FaultCode::Conflict, FaultCode::System, FaultCode::NotFound] {
        let made = fake.create(json!({}));
        let path = format!("/sandboxes/{}", made["sandboxID"].as_str().expect("id"));
        fake.world().destroy_fault = Some(code);
        fake.world().log.clear();
        assert_eq!(
            fake.api("DELETE", &path, Value::Null).status,
            204,
            "{code:?}"
        );
        assert_eq!(fake.world().log, ["Destroy", "LeaseEnd"]);
        assert!(fake.world().held.is_empty());
    }
}

#[test]
fn both_generations_and_chunked_bodies() {
    let fake = Fake::start();
    let key = fake.key.clone();
    let body = br#"{"templateID":"base","secure":true,"allow_internet_access":false,"network":{"allowPublicTraffic":false}}"#;
    let chunked = [
        format!("{:x}\r\n", body.len()).as_bytes(),
        body,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let headers = [
        ("X-API-KEY", key.as_str()),
        ("Transfer-Encoding", "chunked"),
        ("Content-Type", "application/json"),
    ];
    let made = fake.client().ask("POST", "/sandboxes", &headers, &chunked);
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert!(made["trafficAccessToken"].is_string());
    let id = SandboxId::new(made["sandboxID"].as_str().expect("id")).expect("id");
    let (generation, policy) = fake.world().policies[&id].clone();
    assert_eq!((generation, policy.airgap), (1, false));
    assert_eq!(policy.deny, [Cidr::ALL]);
    assert_eq!(
        fake.world().log.first().map(String::as_str),
        Some("LeaseOpen base 15000")
    );
    let id = made["sandboxID"].as_str().expect("id");
    let detail = fake
        .api("GET", &format!("/sandboxes/{id}"), Value::Null)
        .json();
    assert_eq!(detail["allowInternetAccess"], false);
    assert_eq!(detail["network"]["allowPublicTraffic"], false);
    fake.api("POST", &format!("/sandboxes/{id}/connect"), json!({}))
        .is_error(400);
    assert_eq!(
        fake.api(
            "POST",
            &format!("/sandboxes/{id}/connect"),
            json!({"timeout": 1})
        )
        .status,
        200
    );
    fake.api(
        "POST",
        &format!("/sandboxes/{id}/resume"),
        json!({"timeout": 1}),
    )
    .is_error(409);
}

#[test]
fn a_body_is_an_object() {
    let fake = Fake::start();
    // The fields of a request in their order would do for serde.
    for body in [json!([30]), json!(["base", 30]), json!("base"), json!(30)] {
        fake.api("POST", "/v2/sandboxes", body.clone())
            .is_error(400);
        fake.api("POST", "/sandboxes/iabcdefghij0123456789/timeout", body)
            .is_error(400);
    }
}

#[test]
fn without_a_key_there_is_health_and_nothing_else() {
    let fake = Fake::start();
    for path in [
        "/sandboxes",
        "/v2/sandboxes",
        "/templates",
        "/nowhere",
        "/admin/keys",
        "/sandboxes/iabc",
    ] {
        let answer = fake.client().ask("GET", path, &[], b"");
        answer.is_error(401);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    let wrong = [("X-API-KEY", "e2b_0000000000000000000000000000000000000000")];
    fake.client()
        .ask("GET", "/sandboxes", &wrong, b"")
        .is_error(401);
    assert_eq!(fake.client().ask("GET", "/health", &[], b"").status, 204);
    assert_eq!(fake.api("GET", "/sandboxes", Value::Null).status, 200);
    // Administration is not there at all for the holder of a key.
    fake.api("GET", "/admin/keys", Value::Null).is_error(404);
}

#[test]
fn a_body_nobody_wants_costs_no_answer() {
    let fake = Fake::start();
    let mut client = fake.client();
    // More than the buffers between the two hold, so that it is still being sent when the answer is there.
    let body = vec![b'x'; 8 << 20];
    client.send("POST", "/v2/sandboxes", &[], &body);
    client.answer().is_error(401);
    client.send("GET", "/health", &[], b"");
    assert_eq!(client.answer().status, 204, "the connection goes on");
}

#[test]
fn times_move_as_they_should() {
    let fake = Fake::start();
    let made = fake.create(json!({"timeout": 300}));
    let id = made["sandboxID"].as_str().expect("id").to_owned();
    let end = || {
        fake.api("GET", &format!("/sandboxes/{id}"), Value::Null)
            .json()["endAt"]
            .as_str()
            .expect("time")
            .to_owned()
    };
    let first = end();
    assert_eq!(
        fake.api(
            "POST",
            &format!("/v2/sandboxes/{id}/connect"),
            json!({"timeout": 5})
        )
        .status,
        200
    );
    assert_eq!(end(), first, "connect only extends");
    assert!(
        !fake
            .world()
            .log
            .iter()
            .any(|line| line.starts_with("LeaseSet"))
    );
    assert_eq!(
        fake.api("POST", &format!("/v2/sandboxes/{id}/connect"), Value::Null)
            .status,
        200,
        "the body may be left out"
    );
    assert_eq!(
        fake.api(
            "POST",
            &format!("/sandboxes/{id}/timeout"),
            json!({"timeout": 600})
        )
        .status,
        204
    );
    let longer = end();
    assert!(longer > first);
    assert_eq!(
        fake.api(
            "POST",
            &format!("/sandboxes/{id}/refreshes"),
            json!({"duration": 10})
        )
        .status,
        204
    );
    assert_eq!(end(), longer);
    assert_eq!(
        fake.api(
            "POST",
            &format!("/sandboxes/{id}/timeout"),
            json!({"timeout": 10})
        )
        .status,
        204
    );
    assert!(end() < first, "timeout may shorten");
    assert!(fake.world().log.contains(&"LeaseSet 10000".to_owned()));
    fake.api(
        "POST",
        &format!("/v2/sandboxes/{id}/connect"),
        json!({"timeout": 0}),
    )
    .is_error(400);
    fake.api(
        "POST",
        &format!("/sandboxes/{id}/timeout"),
        json!({"timeout": -1}),
    )
    .is_error(400);
    fake.api("POST", &format!("/sandboxes/{id}/timeout"), json!({}))
        .is_error(400);
    fake.api(
        "POST",
        "/sandboxes/iaaaaaaaaaaaaaaaaaaaa/timeout",
        json!({"timeout": 5}),
    )
    .is_error(404);
    assert_eq!(
        fake.api(
            "POST",
            &format!("/sandboxes/{id}/timeout"),
            json!({"timeout": 0})
        )
        .status,
        204
    );
    fake.api("GET", &format!("/sandboxes/{id}"), Value::Null)
        .is_error(404);
}

#[test]
fn lists_filter_and_page() {
    let fake = Fake::start();
    let ids: Vec<String> = (0..7)
        .map(|n| {
            fake.create(json!({"metadata": {"n": n.to_string(), "all": "a b&c=d"}}))["sandboxID"]
                .as_str()
                .expect("id")
                .to_owned()
        })
        .collect();
    for order in ["asc", "desc"] {
        let (mut found, mut next) = (Vec::new(), None::<String>);
        loop {
            let token = next
                .as_ref()
                .map(|t| format!("&nextToken={t}"))
                .unwrap_or_default();
            let page = fake.api(
                "GET",
                &format!("/v2/sandboxes?limit=3&order={order}{token}"),
                Value::Null,
            );
            assert_eq!(page.header("x-total-running"), Some("7"));
            found.extend(
                page.json()
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|s| s["sandboxID"].as_str().expect("id").to_owned()),
            );
            next = page.header("x-next-token").map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        if order == "desc" {
            found.reverse();
        }
        assert_eq!(found, ids);
    }
    let some = |query: &str| {
        fake.api("GET", &format!("/v2/sandboxes?{query}"), Value::Null)
            .json()
            .as_array()
            .expect("a list")
            .len()
    };
    assert_eq!(some("metadata=n%3D3"), 1);
    assert_eq!(some("metadata=all%3Da%252520b%252526c%25253Dd%26n%3D4"), 1);
    assert_eq!(some("metadata=n%3D9"), 0);
    assert_eq!(
        (
            some("state=paused"),
            some("state=running%2Cpaused"),
            some("template=base"),
            some("template=other")
        ),
        (0, 7, 7, 0)
    );
    assert_eq!(some("startedAfter=2000-01-01T00%3A00%3A00Z"), 7);
    assert_eq!(some("startedAfter=2999-01-01T00%3A00%3A00Z"), 0);
    let old = fake
        .api("GET", "/sandboxes?metadata=n%3D3", Value::Null)
        .json();
    assert_eq!(old.as_array().expect("a list").len(), 1);
    fake.api("GET", "/v2/sandboxes?limit=0", Value::Null)
        .is_error(400);
}

#[test]
fn a_failed_create_leaves_no_trace() {
    let fake = Fake::start();
    let create = || fake.api("POST", "/v2/sandboxes", json!({"templateID": "base"}));
    for (code, status, retry) in [
        (FaultCode::Exhausted, 503, Some("true")),
        (FaultCode::NoSpace, 507, Some("false")),
        (FaultCode::Unsupported, 503, Some("false")),
        (FaultCode::Unavailable, 503, Some("true")),
    ] {
        fake.world().lease_fault = Some(code);
        let answer = create();
        answer.is_error(status);
        assert_eq!(answer.header("should-retry"), retry, "{code:?}");
        fake.world().lease_fault = None;
        fake.world().create_fault = Some(code);
        let answer = create();
        answer.is_error(status);
        assert_eq!(
            answer.header("retry-after").is_some(),
            retry == Some("true")
        );
        fake.world().create_fault = None;
        assert!(fake.world().held.is_empty(), "{code:?}");
    }
    fake.world().manner = super::guest::Manner::RefusesInit;
    create().is_error(504);
    fake.world().manner = super::guest::Manner::Good;
    assert!(fake.world().held.is_empty());
    fake.api("POST", "/v2/sandboxes", json!({"templateID": "other"}))
        .is_error(404);
    fake.api(
        "POST",
        "/v2/sandboxes",
        json!({"templateID": "base", "autoPauseMemory": false}),
    )
    .is_error(400);
    fake.api("POST", "/v2/sandboxes", json!([1])).is_error(400);
    for nested in [
        json!({"autoResume": [true]}),
        json!({"volumeMounts": [["a", "/b"]]}),
        json!({"network": []}),
        json!({"network": {"egressProxy": ["a"]}}),
    ] {
        let mut body = json!({"templateID": "base"});
        let fields = nested.as_object().expect("one").clone();
        body.as_object_mut().expect("one").extend(fields);
        fake.api("POST", "/v2/sandboxes", body).is_error(400);
    }
    assert_eq!(
        fake.api("GET", "/v2/sandboxes", Value::Null).json(),
        json!([])
    );
    assert_eq!(create().status, 201);
}

#[test]
fn what_is_not_there_yet_says_so() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let id = made["sandboxID"].as_str().expect("id");
    for (method, path) in [("POST", "/v3/templates"), ("POST", "/secrets")] {
        let answer = fake.api(method, path, json!({}));
        answer.is_error(501);
        assert_eq!(answer.header("should-retry"), Some("false"), "{path}");
    }
    let templates = fake.api("GET", "/v2/templates", Value::Null).json();
    assert_eq!(templates[0]["names"], json!(["base"]));
    assert_eq!(
        fake.api("GET", "/templates/aliases/base", Value::Null)
            .json()["templateID"],
        "base"
    );
    fake.api("GET", "/templates/aliases/a%2Fb", Value::Null)
        .is_error(404);
    let metrics = fake
        .api("GET", &format!("/sandboxes/{id}/metrics"), Value::Null)
        .json();
    assert_eq!(metrics[0]["memUsed"], 3072);
    assert_eq!(metrics[0]["memCache"], 1024);
    assert_eq!(metrics[0]["diskTotal"], 10_240_u64 * 1024 * 1024);
    let between = |range: &str| {
        let path = format!("/sandboxes/{id}/metrics?{range}");
        fake.api("GET", &path, Value::Null)
    };
    assert_eq!(between("start=0&end=1").json(), json!([]));
    let at = &metrics[0]["timestampUnix"];
    assert_eq!(
        between(&format!("start={at}&end={at}")).json()[0],
        metrics[0]
    );
    for bad in ["start=2&end=1", "start=x", "end=-1"] {
        between(bad).is_error(400);
    }
    let batch = fake
        .api(
            "GET",
            &format!("/sandboxes/metrics?sandbox_ids={id},iaaaaaaaaaaaaaaaaaaaa"),
            Value::Null,
        )
        .json();
    assert_eq!(batch["sandboxes"].as_object().expect("a map").len(), 1);
    assert!(batch["sandboxes"][id]["timestampUnix"].is_u64());
}

#[test]
fn a_key_makes_a_create_happen_once() {
    let fake = Fake::start();
    let create = |key: &str, body: &str| {
        let headers = [("X-API-KEY", fake.key.as_str()), ("Idempotency-Key", key)];
        fake.client()
            .ask("POST", "/v2/sandboxes", &headers, body.as_bytes())
    };
    let body = r#"{"templateID":"base"}"#;
    let (first, second) = (create("a-1", body), create("a-1", body));
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.json(), second.json());
    create("a-1", r#"{"templateID":"base","timeout":9}"#).is_error(422);
    create("A_1", body).is_error(400);
    // Of two keys none is meant, not even if they are the same.
    for second in ["a-1", "a-2"] {
        let headers = [
            ("X-API-KEY", fake.key.as_str()),
            ("Idempotency-Key", "a-1"),
            ("Idempotency-Key", second),
        ];
        let mut client = fake.client();
        client
            .ask("POST", "/v2/sandboxes", &headers, body.as_bytes())
            .is_error(400);
    }
    assert_eq!(fake.world().held.len(), 1);
}

#[test]
fn ends_that_come_by_themselves_are_seen() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let id = made["sandboxID"].as_str().expect("id");
    fake.ended(id, EndReason::GuestEnded);
    let begun = std::time::Instant::now();
    while fake
        .api("GET", &format!("/sandboxes/{id}"), Value::Null)
        .status
        == 200
    {
        assert!(begun.elapsed() < super::http::SOON);
    }
    let audit = fake.operator("GET", "/admin/audit", b"").json();
    assert_eq!(
        (&audit[0]["what"], &audit[0]["on"]),
        (&json!("sandbox.ended"), &json!(id))
    );
}
