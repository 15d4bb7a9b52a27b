//! Pausing and resuming, asked for and by themselves.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_wire::gateway_priv::{AtDeadline, LeaseState, PauseReason};
use warder_wire::link::Role;
use warder_wire::{FaultCode, SandboxId};

use super::fake::Fake;
use super::guest::Manner;
use super::http::SOON;

fn id(made: &Value) -> String {
    made["sandboxID"].as_str().expect("id").to_owned()
}

fn detail(fake: &Fake, id: &str) -> Value {
    let answer = fake.api("GET", &format!("/sandboxes/{id}"), Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn post(fake: &Fake, id: &str, what: &str, body: Value) -> super::http::Answer {
    fake.api("POST", &format!("/sandboxes/{id}/{what}"), body)
}

fn pause(fake: &Fake, id: &str, body: Value) {
    let answer = post(fake, id, "pause", body);
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn connect(fake: &Fake, id: &str, body: Value) -> super::http::Answer {
    fake.api("POST", &format!("/v2/sandboxes/{id}/connect"), body)
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < SOON, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn told(fake: &Fake, id: &str) -> Vec<Value> {
    let path = format!("/events/sandboxes/{id}?orderAsc=true");
    let list = fake.api("GET", &path, Value::Null).json();
    let all = list.as_array().expect("a list").iter();
    all.map(|event| {
        let name = event["type"].as_str().expect("a type");
        let name = name.rsplit('.').next().expect("a name");
        json!([
            name,
            event["eventData"]["reason"],
            event["eventData"]["memory"]
        ])
    })
    .collect()
}

fn inits(fake: &Fake, made: &Value) -> Vec<Value> {
    let seen = fake.guest(made).seen();
    seen.iter()
        .filter(|seen| seen.line.contains("/init"))
        .inspect(|seen| assert_eq!(seen.role, Some(Role::Control)))
        .map(|seen| serde_json::from_slice(&seen.body).expect("JSON"))
        .collect()
}

#[test]
fn with_memory_it_goes_on_where_it_was() {
    let fake = Fake::start();
    let made = fake.create(json!({"timeout": 600, "metadata": {"a": "b"}}));
    let id = id(&made);
    let port = fake.guest(&made).open();
    assert_eq!(fake.inside(&made, port, "GET", "/", b"").status, 200);
    let before = detail(&fake, &id);
    assert_eq!(
        before["lifecycle"],
        json!({"autoResume": false, "onTimeout": "kill"})
    );
    pause(&fake, &id, Value::Null);

    let paused = detail(&fake, &id);
    assert_eq!(
        (&paused["state"], &paused["pauseMode"]),
        (&json!("paused"), &json!("full"))
    );
    assert!(paused["endAt"].as_str() < before["endAt"].as_str());
    let list = |query: &str| {
        let answer = fake.api("GET", &format!("/v2/sandboxes{query}"), Value::Null);
        let running = answer.header("x-total-running").map(str::to_owned);
        (answer.json().as_array().expect("a list").len(), running)
    };
    assert_eq!(list(""), (1, Some("0".into())));
    assert_eq!(list("?state=paused"), (1, None));
    assert_eq!(list("?state=running"), (0, Some("0".into())));
    let old = fake.api("GET", "/sandboxes", Value::Null).json();
    assert_eq!(old, json!([]), "old clients see what runs");

    // What is paused does nothing and is nowhere to be reached.
    let answer = fake.inside(&made, port, "GET", "/", b"");
    assert_eq!(answer.status, 502);
    assert_eq!(
        answer.json(),
        json!({"sandboxId": id, "message": "The sandbox was not found", "code": 502})
    );
    post(&fake, &id, "pause", Value::Null).is_error(409);
    post(&fake, &id, "timeout", json!({"timeout": 60})).is_error(404);
    post(&fake, &id, "refreshes", json!({"duration": 60})).is_error(404);
    post(&fake, &id, "snapshots", Value::Null).is_error(409);
    post(&fake, &id, "fork", Value::Null).is_error(409);
    assert_eq!(fake.asked("Snapshot"), 0);

    fake.world().log.clear();
    let answer = connect(&fake, &id, json!({"timeout": 77}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["envdAccessToken"], made["envdAccessToken"]);
    // The deadline first, so that it is armed when it wakes.
    assert_eq!(fake.world().log[..2], ["LeaseSet 77000", "Resume true"]);
    assert_eq!(inits(&fake, &made).len(), 1, "its agent is the same");
    let awake = detail(&fake, &id);
    assert_eq!(
        (&awake["state"], &awake["pauseMode"]),
        (&json!("running"), &Value::Null)
    );
    assert_eq!(fake.inside(&made, port, "GET", "/", b"").status, 200);
    let again = connect(&fake, &id, json!({"timeout": 5}));
    assert_eq!(again.status, 200, "it runs: nothing to wake");
    assert_eq!(detail(&fake, &id)["endAt"], awake["endAt"]);
    post(&fake, &id, "resume", json!({})).is_error(409);
    assert_eq!(
        told(&fake, &id),
        [
            json!(["created", null, null]),
            json!(["paused", "request", true]),
            json!(["resumed", null, true])
        ]
    );
}

#[test]
fn without_memory_it_starts_anew_from_its_disk() {
    let fake = Fake::start();
    for (pausing, waking) in [
        (json!({"memory": false}), json!({})),
        (json!({}), json!({"memory": false})),
    ] {
        let made = fake.create(json!({"envVars": {"COLOUR": "green"}}));
        let id = id(&made);
        let kept = pausing["memory"] != false;
        pause(&fake, &id, pausing);
        let mode = if kept { "full" } else { "filesystem" };
        assert_eq!(detail(&fake, &id)["pauseMode"], mode);
        fake.world().log.clear();
        assert_eq!(connect(&fake, &id, waking).status, 201);
        assert!(fake.world().log.contains(&"Resume false".to_owned()));
        assert_eq!(fake.asked("PolicySet true"), 1, "its network is new");
        let told_inside = inits(&fake, &made);
        assert_eq!(told_inside.len(), 1, "a new agent");
        assert_eq!(told_inside[0]["envVars"], json!({"COLOUR": "green"}));
        assert_eq!(told_inside[0]["accessToken"], made["envdAccessToken"]);
        assert_eq!(
            told(&fake, &id).last(),
            Some(&json!(["resumed", null, false]))
        );
    }
}

#[test]
fn lost_memory_is_never_silent() {
    let fake = Fake::start();
    let made = fake.create(json!({"autoPause": true, "autoResume": {"enabled": true}}));
    let id = id(&made);
    pause(&fake, &id, json!({}));
    fake.paused(&id, false, PauseReason::MemoryLost);
    until("it is known", || {
        detail(&fake, &id)["pauseMode"] == "filesystem"
    });
    // Traffic does not start it anew behind its owner's back.
    assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 502);
    assert_eq!(connect(&fake, &id, json!({})).status, 201);
    assert_eq!(
        told(&fake, &id)[1..],
        [
            json!(["paused", "request", true]),
            json!(["updated", "memory_lost", false]),
            json!(["resumed", null, false])
        ]
    );
}

#[test]
fn at_its_deadline_it_is_paused() {
    let fake = Fake::start();
    let made = fake.create(json!({"autoPause": true}));
    let id = id(&made);
    let sandbox = SandboxId::new(&id).expect("id");
    assert_eq!(
        fake.world().held[&sandbox].at_deadline,
        AtDeadline::Pause { memory: true }
    );
    assert_eq!(
        detail(&fake, &id)["lifecycle"],
        json!({"autoResume": false, "onTimeout": "pause"})
    );
    fake.paused(&id, true, PauseReason::Expired);
    until("it is known", || detail(&fake, &id)["state"] == "paused");
    assert_eq!(
        told(&fake, &id).last(),
        Some(&json!(["paused", "timeout", true]))
    );
    assert_eq!(connect(&fake, &id, json!({})).status, 201);
    // A timeout of zero means its deadline is now.
    assert_eq!(
        post(&fake, &id, "timeout", json!({"timeout": 0})).status,
        204
    );
    assert_eq!(detail(&fake, &id)["state"], "paused");
    assert_eq!((fake.asked("Pause true"), fake.asked("Destroy")), (1, 0));

    let disk = fake.create(json!({"autoPause": true, "autoPauseMemory": false}));
    let disk = SandboxId::new(disk["sandboxID"].as_str().expect("id")).expect("id");
    assert_eq!(
        fake.world().held[&disk].at_deadline,
        AtDeadline::Pause { memory: false }
    );
}

/// privd paused it a moment before its end was to be moved, and that news is still on its way.
#[test]
fn an_end_moved_too_late_wakes_it() {
    let fake = Fake::start();
    let made = fake.create(json!({"autoPause": true, "timeout": 1}));
    let id = id(&made);
    let sandbox = SandboxId::new(&id).expect("id");
    let asleep = LeaseState::Paused { memory: true };
    fake.world()
        .held
        .get_mut(&sandbox)
        .expect("held")
        .lease
        .state = asleep;
    let answer = connect(&fake, &id, json!({"timeout": 60}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(fake.asked("Resume true"), 1);
    assert_eq!(detail(&fake, &id)["state"], "running");
}

#[test]
fn one_wake_answers_all_who_wait() {
    let fake = Fake::start();
    let made = fake.create(json!({"autoResume": {"enabled": true}}));
    let id = id(&made);
    let port = fake.guest(&made).open();
    pause(&fake, &id, json!({}));
    fake.world().resume_takes = Duration::from_millis(100);
    fake.world().log.clear();
    thread::scope(|scope| {
        let asking: Vec<_> = (0..20)
            .map(|n| {
                let (fake, made) = (&fake, &made);
                scope.spawn(move || match n {
                    0 => fake.inside(made, 49983, "GET", "/health", b"").status,
                    _ => fake.inside(made, port, "GET", "/", b"").status,
                })
            })
            .collect();
        for one in asking {
            let status = one.join().expect("no panic");
            assert!(matches!(status, 200 | 204), "{status}");
        }
    });
    assert_eq!(fake.asked("Resume true"), 1);
    assert_eq!(fake.asked("LeaseSet 300000"), 1);
    assert_eq!(detail(&fake, &id)["state"], "running");
}

#[test]
fn a_signed_url_without_an_id_wakes_its_sandbox() {
    let fake = Fake::start();
    let get = |making: Value| {
        let made = fake.create(making);
        pause(&fake, &id(&made), json!({}));
        let token = made["envdAccessToken"].as_str().expect("token");
        let signature = super::proxy::sign("a.txt", "read", "", token);
        let url = format!("/files?path=a.txt&signature={signature}");
        fake.client().ask("GET", &url, &[], b"").status
    };
    assert_eq!(get(json!({"autoResume": {"enabled": true}})), 200);
    assert_eq!(get(json!({})), 502);
    assert_eq!(fake.asked("Resume true"), 1);
}

/// While it wakes, its place in the network may become another one, and netd know nothing of it any more.
#[test]
fn one_that_has_woken_has_the_policy_that_is_wanted() {
    let fake = Fake::start();
    let id = id(&fake.create(json!({})));
    pause(&fake, &id, json!({"memory": false}));
    fake.world().resume_takes = Duration::from_millis(300);
    fake.world().log.clear();
    thread::scope(|scope| {
        let path = format!("/sandboxes/{id}/connect");
        let fake = &fake;
        let waking = scope.spawn(move || fake.api("POST", &path, json!({"timeout": 60})));
        until("netd is told", || fake.asked("PolicySet true") == 1);
        fake.world().policies.clear();
        let answer = waking.join().expect("no panic");
        assert_eq!(answer.status, 201, "{}", answer.text());
    });
    assert_eq!(fake.asked("PolicySet true"), 2);
}

#[test]
fn who_waits_for_one_that_is_killed_is_told_it_is_gone() {
    let fake = Fake::start();
    let made = fake.create(json!({"autoResume": {"enabled": true}}));
    let path = format!("/sandboxes/{}", id(&made));
    pause(&fake, &id(&made), json!({}));
    fake.world().resume_takes = Duration::from_millis(200);
    fake.world().log.clear();
    thread::scope(|scope| {
        let asking: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| fake.inside(&made, 49983, "GET", "/health", b"")))
            .collect();
        until("it is being woken", || fake.asked("Resume true") == 1);
        assert_eq!(fake.api("DELETE", &path, Value::Null).status, 204);
        for one in asking {
            let answer = one.join().expect("no panic");
            // Whoever asked first may have got in before the end.
            assert!(
                answer.status == 204 || answer.text().contains("was not found"),
                "{}",
                answer.text()
            );
        }
    });
    assert!(fake.world().held.is_empty());
    fake.api("GET", &path, Value::Null).is_error(404);
}

#[test]
fn what_meets_a_kill_is_told_of_it() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let id = id(&made);
    pause(&fake, &id, json!({}));
    fake.world().resume_takes = Duration::from_millis(500);
    fake.world().log.clear();
    thread::scope(|scope| {
        // Whatever comes now waits for this one's end; the kill is first to be heard of.
        scope.spawn(|| connect(&fake, &id, json!({})));
        until("it is being woken", || fake.asked("Resume true") == 1);
        let kill = scope.spawn(|| fake.api("DELETE", &format!("/sandboxes/{id}"), Value::Null));
        thread::sleep(Duration::from_millis(50));
        let others = ["snapshots", "pause", "fork"]
            .map(|what| scope.spawn(|| post(&fake, &id, what, json!({}))));
        for other in others {
            let said = other.join().expect("no panic");
            assert_eq!(said.status, 409, "{}", said.text());
            let text = format!("Sandbox \\\"{id}\\\" is being killed");
            assert!(said.text().contains(&text), "{}", said.text());
        }
        assert_eq!(kill.join().expect("no panic").status, 204);
    });
    assert!(fake.world().held.is_empty());
    assert!(fake.world().snapshots.is_empty());
}

#[test]
fn traffic_wakes_only_what_wants_it() {
    let fake = Fake::start();
    let tries = [
        (json!({}), json!({})),
        (json!({"autoResume": {"enabled": false}}), json!({})),
        (
            json!({"autoResume": {"enabled": true}}),
            json!({"memory": false}),
        ),
    ];
    for (making, pausing) in tries {
        let made = fake.create(making);
        pause(&fake, &id(&made), pausing);
        assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 502);
    }
    // Nor does one who may not get in.
    let made = fake
        .create(json!({"autoResume": {"enabled": true}, "network": {"allowPublicTraffic": false}}));
    pause(&fake, &id(&made), json!({}));
    assert_eq!(fake.inside(&made, 8000, "GET", "/", b"").status, 403);
    let log = fake.world().log.clone();
    assert!(!log.iter().any(|line| line.starts_with("Resume")));
}

#[test]
fn a_wake_that_fails_is_tried_once_for_all_who_wait() {
    let fake = Fake::start();
    let made = fake.create(json!({"autoResume": {"enabled": true}}));
    let id = id(&made);
    pause(&fake, &id, json!({}));
    fake.world().resume_takes = Duration::from_millis(300);
    fake.world().state_fault = Some(FaultCode::Exhausted);
    fake.world().log.clear();
    thread::scope(|scope| {
        let asking: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| fake.inside(&made, 49983, "GET", "/health", b"").status))
            .collect();
        for one in asking {
            assert_eq!(one.join().expect("no panic"), 503);
        }
    });
    // Those that came after the first try was over make another.
    assert!(fake.asked("Resume true") < 5);
    connect(&fake, &id, json!({})).is_error(503);
    assert_eq!(detail(&fake, &id)["pauseMode"], "full", "as before");
    fake.world().state_fault = None;
    assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 204);
}

#[test]
fn a_pause_that_fails_changes_nothing() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let id = id(&made);
    fake.world().state_fault = Some(FaultCode::System);
    post(&fake, &id, "pause", json!({})).is_error(500);
    // Something else is done with it: 409 would be "paused already" to the SDKs.
    fake.world().state_fault = Some(FaultCode::Conflict);
    let busy = post(&fake, &id, "pause", json!({}));
    assert_eq!(busy.is_error(503).header("should-retry"), Some("true"));
    fake.world().state_fault = None;
    assert_eq!(detail(&fake, &id)["state"], "running");
    assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 204);
    // One that was done, though its answer was lost, is done.
    fake.paused(&id, true, PauseReason::Asked);
    until("it is known", || detail(&fake, &id)["state"] == "paused");
}

#[test]
fn an_agent_that_does_not_answer_is_paused_unless_it_must() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let id = id(&made);
    *fake.guest(&made).manner.lock().expect("lock") = Manner::Silent;
    let answer = post(&fake, &id, "pause", json!({"requireHealthyGuest": true}));
    // 409 would be "paused already" to the SDKs.
    answer.is_error(503);
    assert_eq!(answer.header("should-retry"), Some("false"));
    assert_eq!(
        answer.json()["error_code"],
        "sandbox_snapshot_guest_agent_unresponsive"
    );
    assert_eq!(detail(&fake, &id)["state"], "running");
    pause(&fake, &id, json!({"requireHealthyGuest": false}));
    let healthy = fake.create(json!({}));
    let healthy = healthy["sandboxID"].as_str().expect("id");
    pause(&fake, healthy, json!({"requireHealthyGuest": true}));
}

#[test]
fn an_agent_that_does_not_come_back_leaves_the_sandbox_paused() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let id = id(&made);
    pause(&fake, &id, json!({"memory": false}));
    fake.world().manner = Manner::RefusesInit;
    connect(&fake, &id, json!({})).is_error(504);
    assert_eq!(detail(&fake, &id)["pauseMode"], "filesystem");
    fake.world().manner = Manner::Good;
    assert_eq!(connect(&fake, &id, json!({})).status, 201);
    assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 204);
}

/// Its agent asks nobody for a token before it was told one, and its network may be closed.
#[test]
fn processes_started_anew_are_not_kept_unless_they_are_whole() {
    let fake = Fake::start();
    let made = fake.create(json!({"autoResume": {"enabled": true}}));
    let id = id(&made);
    pause(&fake, &id, json!({}));
    fake.world().manner = Manner::RefusesInit;
    connect(&fake, &id, json!({"memory": false})).is_error(504);
    assert_eq!(detail(&fake, &id)["pauseMode"], "filesystem");
    assert_eq!(fake.asked("Pause false"), 1);
    assert_eq!(
        told(&fake, &id).last(),
        Some(&json!(["updated", "memory_lost", false]))
    );
    fake.world().manner = Manner::Good;
    assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 502);
    assert_eq!(connect(&fake, &id, json!({})).status, 201);
    assert_eq!(inits(&fake, &made).len(), 1, "told its token");
    // The end of a wake is not known: had it been started anew, its agent would not have been told.
    pause(&fake, &id, json!({}));
    fake.world().state_fault = Some(FaultCode::TimedOut);
    connect(&fake, &id, json!({})).is_error(504);
    fake.world().state_fault = None;
    assert_eq!(detail(&fake, &id)["pauseMode"], "full");
    assert_eq!(connect(&fake, &id, json!({})).status, 201);
    assert_eq!(inits(&fake, &made).len(), 2, "told again");
    pause(&fake, &id, json!({}));
    assert_eq!(connect(&fake, &id, json!({})).status, 201);
    assert_eq!(inits(&fake, &made).len(), 2, "no doubt any more");
}

/// What waits for a wake goes on when its client has gone; so it counts until the wake is over.
#[test]
fn who_goes_away_makes_no_room_for_more_to_wait() {
    const MOST: usize = 256;
    let fake = Fake::start();
    let made = fake.create(json!({"autoResume": {"enabled": true}}));
    let id = id(&made);
    let token = made["envdAccessToken"].as_str().expect("a token");
    pause(&fake, &id, json!({}));
    fake.world().resume_takes = 2 * SOON;
    let ask = || {
        let mut client = fake.client();
        let headers = [
            ("E2b-Sandbox-Id", id.as_str()),
            ("E2b-Sandbox-Port", "49983"),
            ("X-Access-Token", token),
        ];
        client.send("GET", "/health", &headers, b"");
        client
    };
    let count = |what: &str| {
        let text = fake.operator("GET", "/admin/metrics", b"").text();
        let line = text.lines().find_map(|line| line.strip_prefix(what));
        line.map_or(0, |n| n.trim().parse::<usize>().expect("a number"))
    };
    let asking: Vec<_> = (0..MOST + 8).map(|_| ask()).collect();
    until("as many as may wait", || {
        count("warder_requests_total{class=\"agent\",code=\"400\"}") == 8
    });
    drop(asking);
    until("they have gone", || {
        count("warder_connections_open{listener=\"network\"}") == 0
    });
    assert_eq!(ask().head().0, 429);
}

#[test]
fn streams_end_when_it_is_paused() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let id = id(&made);
    let port = fake.guest(&made).open().to_string();
    let mut socket = fake.client();
    let headers = [
        ("E2b-Sandbox-Id", id.as_str()),
        ("E2b-Sandbox-Port", port.as_str()),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
    ];
    socket.send("GET", "/ws", &headers, b"");
    assert_eq!(socket.head().0, 101);
    socket.raw(b"ping");
    assert_eq!(socket.exactly(4), b"ping");
    pause(&fake, &id, json!({}));
    assert!(socket.closed());
}

#[test]
fn one_of_those_who_change_it_at_once_wins() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let id = id(&made);
    let all = |n: usize, act: &(dyn Fn() -> u16 + Sync)| -> Vec<u16> {
        thread::scope(|scope| {
            let all: Vec<_> = (0..n).map(|_| scope.spawn(act)).collect();
            let mut all: Vec<u16> = all.into_iter().map(|t| t.join().expect("ok")).collect();
            all.sort_unstable();
            all
        })
    };
    let pauses = all(5, &|| post(&fake, &id, "pause", json!({})).status);
    assert_eq!(pauses, [204, 409, 409, 409, 409]);
    let resumes = all(5, &|| {
        post(&fake, &id, "resume", json!({"timeout": 60})).status
    });
    assert_eq!(resumes, [201, 409, 409, 409, 409]);
    pause(&fake, &id, json!({}));
    let connects = all(5, &|| connect(&fake, &id, json!({})).status);
    assert_eq!(connects, [200, 200, 200, 200, 201]);
    assert_eq!(
        (fake.asked("Pause true"), fake.asked("Resume true")),
        (2, 2)
    );
    pause(&fake, &id, json!({}));
    let kill = || fake.api("DELETE", &format!("/sandboxes/{id}"), Value::Null);
    assert_eq!(kill().status, 204, "paused ones too");
    connect(&fake, &id, json!({})).is_error(404);
    post(&fake, &id, "pause", json!({})).is_error(404);
    assert!(fake.world().held.is_empty());
}

#[test]
fn what_is_asked_is_checked() {
    let fake = Fake::start();
    let made = fake.create(json!({}));
    let id = id(&made);
    post(&fake, &id, "pause", json!({"memory": "yes"})).is_error(400);
    post(&fake, &id, "pause", json!([true])).is_error(400);
    post(&fake, "i00000000000000000000", "pause", json!({})).is_error(404);
    pause(&fake, &id, json!({}));
    connect(&fake, &id, json!({"timeout": 0})).is_error(400);
    post(&fake, &id, "connect", json!({"timeout": 0})).is_error(400);
    let woken = post(&fake, &id, "resume", json!({"autoPause": true}));
    assert_eq!(woken.status, 201);
    assert_eq!(fake.asked("LeaseSet 15000 Pause { memory: true }"), 1);
    assert_eq!(detail(&fake, &id)["lifecycle"]["onTimeout"], "pause");
}

#[test]
fn the_paused_are_found_again() {
    let mut fake = Fake::start();
    let body = json!({"envVars": {"A": "b"}, "autoPause": true, "timeout": 600});
    let [kept, lost, meanwhile, waking] = [(); 4].map(|()| fake.create(body.clone()));
    for made in [&kept, &lost, &waking] {
        pause(&fake, &id(made), json!({}));
    }
    let end = detail(&fake, &id(&kept))["endAt"].clone();
    fake.kill();
    {
        let mut world = fake.world();
        let mut set = |made: &Value, state| {
            let id = SandboxId::new(made["sandboxID"].as_str().expect("id")).expect("id");
            world.held.get_mut(&id).expect("held").lease.state = state;
        };
        set(&lost, LeaseState::Paused { memory: false });
        set(&meanwhile, LeaseState::Paused { memory: true });
        // Its gateway died after privd had woken it.
        set(&waking, LeaseState::Running);
    }
    let before = inits(&fake, &waking).len();
    fake.spawn();
    assert_eq!(detail(&fake, &id(&kept))["pauseMode"], "full");
    assert_eq!(detail(&fake, &id(&kept))["endAt"], end);
    assert_eq!(detail(&fake, &id(&lost))["pauseMode"], "filesystem");
    assert_eq!(
        told(&fake, &id(&lost)).last(),
        Some(&json!(["updated", "memory_lost", false]))
    );
    assert_eq!(detail(&fake, &id(&meanwhile))["state"], "paused");
    assert_eq!(
        told(&fake, &id(&meanwhile)).last(),
        Some(&json!(["paused", "request", true]))
    );
    until("the wake is finished", || {
        detail(&fake, &id(&waking))["state"] == "running"
    });
    assert_eq!(inits(&fake, &waking).len(), before + 1);
    assert_eq!(connect(&fake, &id(&lost), json!({})).status, 201);
    assert_eq!(inits(&fake, &lost)[0]["envVars"], json!({"A": "b"}));
    assert_eq!(connect(&fake, &id(&kept), json!({})).status, 201);
}
