//! The content of volumes: who serves it, for whom, and for how long.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_wire::SandboxId;
use warder_wire::gateway_priv::EndReason;
use warder_wire::link::Role;

use super::fake::Fake;
use super::guest::Guest;
use super::http::{Answer, SOON};

struct Volume {
    id: String,
    token: String,
}

fn volume(fake: &Fake, name: &str) -> Volume {
    let made = fake.api("POST", "/volumes", json!({"name": name})).json();
    let text = |field: &str| made[field].as_str().expect("text").to_owned();
    Volume {
        id: text("volumeID"),
        token: text("token"),
    }
}

fn ask(fake: &Fake, volume: &Volume, method: &str, what: &str, body: &[u8]) -> Answer {
    let bearer = format!("Bearer {}", volume.token);
    let path = format!("/volumecontent/{}/{what}", volume.id);
    let headers = [("Authorization", bearer.as_str()), ("X-Secret", "1")];
    fake.client().ask(method, &path, &headers, body)
}

/// The hidden sandboxes there are.
fn hidden(fake: &Fake) -> Vec<(SandboxId, Guest)> {
    let world = fake.world();
    let bare = world.held.iter();
    bare.filter(|(_, held)| held.lease.template.as_str() == "bare")
        .map(|(id, held)| (id.clone(), held.guest.clone()))
        .collect()
}

fn until(what: &str, patience: Duration, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < patience, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_agent_of_its_own_serves_it_and_nobody_sees_that() {
    let fake = Fake::start();
    let data = volume(&fake, "data");
    let answer = ask(
        &fake,
        &data,
        "PUT",
        "file?path=%2Fa%20b&force=true",
        b"content",
    );
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "PUT /volume/file?path=%2Fa%20b&force=true HTTP/1.1\n7")
    );
    let [(id, guest)] = &hidden(&fake)[..] else {
        panic!("one");
    };
    let seen = guest.seen().pop().expect("asked");
    assert_eq!(seen.role, Some(Role::Control));
    assert_eq!(seen.header("x-volume-root"), Some("/volume"));
    assert_eq!(
        (seen.header("authorization"), seen.header("x-secret")),
        (None, None)
    );
    {
        let world = fake.world();
        let volumes = &world.held[id].volumes;
        assert_eq!((volumes.len(), volumes[0].at.as_str()), (1, "/volume"));
        assert_eq!(volumes[0].volume.as_str(), data.id);
        assert!(!world.policies.contains_key(id), "no network");
    }
    // In no list, no count, no event, and no way in.
    assert_eq!(
        fake.api("GET", "/v2/sandboxes", Value::Null).json(),
        json!([])
    );
    fake.api("GET", &format!("/sandboxes/{id}"), Value::Null)
        .is_error(404);
    fake.api("DELETE", &format!("/sandboxes/{id}"), Value::Null)
        .is_error(404);
    assert_eq!(
        fake.api("GET", "/events/sandboxes", Value::Null).json(),
        json!([])
    );
    let instance = fake.operator("GET", "/admin/instance", b"").json();
    assert_eq!(instance["sandboxes"], json!(0));
    let made = json!({"sandboxID": id.as_str()});
    assert_eq!(fake.inside(&made, 49983, "GET", "/health", b"").status, 502);

    // Shared, also by many at once; each volume has its own.
    let other = volume(&fake, "other");
    std::thread::scope(|scope| {
        for n in 0..16 {
            let (fake, volume) = (&fake, if n % 2 == 0 { &data } else { &other });
            scope.spawn(move || {
                assert_eq!(ask(fake, volume, "GET", "dir?path=/", b"").status, 200);
            });
        }
    });
    assert_eq!(hidden(&fake).len(), 2);

    // Gone with its volume, and made anew when it has died.
    fake.ended(id.as_str(), EndReason::GuestEnded);
    until("the end is heard", SOON, || {
        // The dead one may still answer, until its end has been heard.
        ask(&fake, &data, "GET", "path?path=/", b"");
        hidden(&fake).len() == 2
    });
    assert_eq!(ask(&fake, &data, "GET", "path?path=/", b"").status, 200);
    for volume in [&data, &other] {
        let path = format!("/volumes/{}", volume.id);
        assert_eq!(fake.api("DELETE", &path, Value::Null).status, 204);
        let gone = ask(&fake, volume, "GET", "path?path=/", b"");
        assert_eq!(
            (gone.status, &gone.json()["code"]),
            (404, &json!("not_found"))
        );
    }
    assert!(hidden(&fake).is_empty() && fake.world().volumes.is_empty());
}

#[test]
fn nobody_gets_there_without_the_token() {
    let fake = Fake::start();
    let (data, other) = (volume(&fake, "data"), volume(&fake, "other"));
    let path = format!("/volumecontent/{}/path?path=/", data.id);
    let wrong = format!("Bearer {}", other.token);
    for headers in [
        &[][..],
        &[("X-API-KEY", fake.key.as_str())],
        &[("Authorization", wrong.as_str())],
        &[("Authorization", "Bearer ")],
    ] {
        let refused = fake.client().ask("GET", &path, headers, b"");
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (401, &json!("unauthorized"))
        );
    }
    assert!(hidden(&fake).is_empty(), "nothing was made for them");
    for nothing in ["init", "path/more", "..%2finit"] {
        assert_eq!(
            ask(&fake, &data, "GET", nothing, b"").status,
            404,
            "{nothing}"
        );
    }
    let client = fake.api("GET", &format!("/volumecontent/{}/path", "v0"), Value::Null);
    assert_eq!(client.status, 404);
    assert_eq!(
        fake.operator("GET", &path, b"").status,
        200,
        "the operator needs none"
    );
}

/// Whoever asks while the agent dies finds the next one or makes it, and that is the one that goes with the volume.
#[test]
fn there_is_one_whoever_asks_while_it_dies() {
    let fake = Fake::start();
    for n in 0..30 {
        let data = volume(&fake, &format!("v{n}"));
        assert_eq!(ask(&fake, &data, "GET", "dir?path=/", b"").status, 200);
        let dying = hidden(&fake).pop().expect("one").0;
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        ask(&fake, &data, "GET", "dir?path=/", b"");
                    }
                });
            }
            fake.ended(dying.as_str(), EndReason::GuestEnded);
        });
        let path = format!("/volumes/{}", data.id);
        assert_eq!(fake.api("DELETE", &path, Value::Null).status, 204, "{n}");
        assert_eq!(hidden(&fake).len(), 0, "{n}");
    }
}

#[test]
fn it_makes_room_for_users_and_outlives_no_gateway() {
    let mut fake = Fake::start();
    let data = volume(&fake, "data");
    assert_eq!(ask(&fake, &data, "GET", "path?path=/", b"").status, 200);
    fake.world().room = Some(1);
    let mut made = fake.api("POST", "/v2/sandboxes", json!({"templateID": "base"}));
    let begun = Instant::now();
    while made.status == 503 {
        assert!(begun.elapsed() < SOON, "{}", made.text());
        std::thread::sleep(Duration::from_millis(20));
        made = fake.api("POST", "/v2/sandboxes", json!({"templateID": "base"}));
    }
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(hidden(&fake).is_empty());
    let full = ask(&fake, &data, "GET", "path?path=/", b"");
    assert_eq!(
        (full.status, &full.json()["code"]),
        (503, &json!("unavailable"))
    );
    fake.world().room = None;
    assert_eq!(ask(&fake, &data, "GET", "path?path=/", b"").status, 200);
    let before = hidden(&fake);
    fake.kill();
    fake.spawn();
    until("the old one is ended", SOON, || {
        hidden(&fake).iter().all(|(id, _)| *id != before[0].0)
    });
    assert_eq!(ask(&fake, &data, "GET", "path?path=/", b"").status, 200);
    until("nobody uses it any more", Duration::from_secs(120), || {
        hidden(&fake).is_empty()
    });
}
