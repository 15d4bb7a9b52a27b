//! A host that is switched off under sandboxes that run, that are paused and that were copied: what was on disk is
//! there when it is on again, and what is lost is told.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use warder_crash::{listed, power, settle, usable};
use warder_harness::Instance;

const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// A program that starts privd on a host whose boot has the id that is in `file` then.
fn host(dir: &Path, file: &Path) -> std::path::PathBuf {
    let program = dir.join("host");
    let text = format!(
        "#!/bin/sh\nexec unshare -m sh -c 'mount --bind {} {BOOT} && exec \"$@\"' sh \"$@\"\n",
        file.display()
    );
    std::fs::write(&program, text).expect("room");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("own");
    program
}

fn id(sandbox: &Value) -> &str {
    sandbox["sandboxID"].as_str().expect("an id")
}

/// Type, reason and whether memory was kept of what was told of a sandbox, in order.
fn told(instance: &Instance, sandbox: &Value) -> Vec<(String, Value, Value)> {
    let path = format!("/events/sandboxes/{}?orderAsc=true", id(sandbox));
    let answer = instance.api("GET", &path, &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let events = answer.json();
    let events = events.as_array().expect("a list").iter();
    events
        .map(|event| {
            let kind = event["type"].as_str().expect("a type");
            let kind = kind.trim_start_matches("sandbox.lifecycle.").to_owned();
            let data = &event["eventData"];
            (kind, data["reason"].clone(), data["memory"].clone())
        })
        .collect()
}

fn says(instance: &Instance, sandbox: &Value, command: &str) -> String {
    let ran = instance.run(sandbox, "user", command, 20_000);
    assert_eq!(ran.exit, Some(0), "{ran:?}\n{}", instance.log_text());
    ran.stdout
}

/// The boot that its processes see.
fn boot_of(instance: &Instance, sandbox: &Value) -> String {
    says(instance, sandbox, &format!("cat {BOOT}"))
}

#[test]
fn a_host_that_was_switched_off_loses_what_was_in_memory_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let boot = dir.path().join("boot");
    std::fs::write(&boot, "11111111-1111-4111-8111-111111111111\n").expect("room");
    let mut instance = Instance::builder()
        .through(&host(dir.path(), &boot))
        .start();
    let body = json!({ "name": "kept" });
    let volume = instance.api("POST", "/volumes", &body);
    assert_eq!(volume.status, 201, "{}", volume.text());
    let wanted = json!({
        "timeout": 3600,
        "volumeMounts": [{ "name": "kept", "path": "/data" }],
    });
    let [running, frozen, stopped] = [1, 2, 3].map(|n| {
        let made = instance.create(&wanted);
        let work = format!(
            "echo {n} >~/file; echo {n} >/data/{n}; sync; \
             setsid sleep 100000 </dev/null >/dev/null 2>&1 &"
        );
        says(&instance, &made, &work);
        made
    });
    let path = format!("/sandboxes/{}/snapshots", id(&running));
    let snapshot = instance.api("POST", &path, &json!({}));
    assert_eq!(snapshot.status, 201, "{}", snapshot.text());
    let snapshot = snapshot.json()["snapshotID"].clone();
    let boots = [&frozen, &stopped].map(|one| boot_of(&instance, one));
    for (one, memory) in [(&frozen, true), (&stopped, false)] {
        let path = format!("/sandboxes/{}/pause", id(one));
        let paused = instance.api("POST", &path, &json!({ "memory": memory }));
        assert_eq!(paused.status, 204, "{}", paused.text());
    }

    power::cut(&mut instance);
    std::fs::write(&boot, "22222222-2222-4222-8222-222222222222\n").expect("room");
    instance.launch();
    instance.await_http();

    // What ran has ended, and why is told; the key, which was asked with here, is still one.
    settle(&instance, "the lost one is told", || {
        match told(&instance, &running).pop() {
            Some((kind, reason, _)) if (kind.as_str(), &reason) == ("killed", &json!("lost")) => {
                Vec::new()
            }
            last => vec![format!("{last:?}")],
        }
    });
    let path = format!("/sandboxes/{}", id(&running));
    assert_eq!(instance.api("GET", &path, &Value::Null).status, 404);
    let all = listed(&instance);
    assert_eq!(
        all,
        [&frozen, &stopped].map(|one| id(one).to_owned()).into()
    );
    let lost = ("updated".to_owned(), json!("memory_lost"), json!(false));
    let told_of = told(&instance, &frozen);
    assert!(told_of.contains(&lost), "{told_of:?}");
    assert!(!told(&instance, &stopped).contains(&lost));

    // What was paused has its disk, no process, and knows that this is another boot.
    for (n, (one, before)) in [&frozen, &stopped].into_iter().zip(&boots).enumerate() {
        let path = format!("/sandboxes/{}/connect", id(one));
        let woken = instance.api("POST", &path, &json!({ "timeout": 600 }));
        assert_eq!(woken.status, 201, "{}", woken.text());
        let seen = says(&instance, one, "cat ~/file; pgrep -c sleep || true");
        assert_eq!(seen, format!("{}\n0\n", n + 2));
        assert_ne!(&boot_of(&instance, one), before);
        let last = told(&instance, one).pop().expect("an event");
        assert_eq!((last.0.as_str(), last.2), ("resumed", json!(false)));
    }
    // So has what was copied, and the volume has what all three wrote.
    let made = instance.create(&json!({
        "templateID": snapshot,
        "timeout": 600,
        "volumeMounts": [{ "name": "kept", "path": "/data" }],
    }));
    let seen = says(&instance, &made, "cat ~/file /data/*");
    assert_eq!(seen, "1\n1\n2\n3\n");
    settle(&instance, "sandboxes can be made", || usable(&instance));
    for one in [&frozen, &stopped, &made] {
        instance.remove(one);
    }
    let left = listed(&instance);
    assert!(left.is_empty(), "{left:?}");
    instance.finish();
}
