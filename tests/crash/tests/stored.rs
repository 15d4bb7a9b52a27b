//! kill -9 of every daemon at random points of snapshots, forks and volumes: each is whole or absent, and the sandbox
//! they are taken of goes on.
//!
//! `CRASH_ROUNDS` (20) is the number of rounds, `CRASH_SEED` repeats the choices of a run.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use warder_crash::{Kernel, Seed, ask, listed, settle, steady, usable};
use warder_harness::Instance;

const VICTIMS: [&str; 4] = ["privd", "privd", "gatewayd", "pluginhost"];
/// In the disk of the source: so much that a kill falls into the copying.
const FILES: usize = 300;
/// What shows whether a disk is whole.
const COUNT: &str = "cat /home/user/file* | wc -c; cat /home/user/word";

/// What a client was told.
#[derive(Default)]
struct Told {
    /// Snapshots that were made, and that nobody asked to remove.
    kept: BTreeSet<String>,
    /// Volumes, the same.
    volumes: BTreeSet<String>,
    /// Forks that were made.
    forks: Vec<Value>,
    taken: usize,
    refused: usize,
}

/// Takes snapshots, forks and volumes of `source`, and removes most of them, until it is stopped.
fn work(address: SocketAddr, key: &str, source: &str, number: usize, stop: &AtomicBool) -> Told {
    let mut told = Told::default();
    let mut turn = number;
    while !stop.load(Ordering::Relaxed) {
        turn += 2;
        let mut said = |method: &str, target: &str, body: &Value, wanted: u16| {
            match ask(address, key, method, target, body.to_string().as_bytes()) {
                Ok(answer) if answer.status == wanted => return Some(answer),
                // Some other sandbox of the same name, a server that is coming back: said, and not half done.
                Ok(answer) => {
                    let known = [404, 409, 429, 500, 502, 503, 504, 507].contains(&answer.status);
                    assert!(
                        known,
                        "{method} {target}: {} {}",
                        answer.status,
                        answer.text()
                    );
                }
                Err(_) => {}
            }
            told.refused += 1;
            thread::sleep(Duration::from_millis(5));
            None
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match turn / 2 % 3 {
            0 => {
                let fork = json!({ "count": 2, "timeout": 600 });
                let path = format!("/sandboxes/{source}/fork");
                if let Some(made) = said("POST", &path, &fork, 201) {
                    // Each is one, or an error in its place.
                    let all = made.json().as_array().cloned().unwrap_or_default();
                    let forks = all.iter().map(|one| one["sandbox"].clone());
                    told.forks.extend(forks.filter(|fork| !fork.is_null()));
                }
            }
            1 => {
                let name = json!({ "name": format!("volume-{number}-{turn}") });
                let made = said("POST", "/volumes", &name, 201);
                if let Some(made) = made.map(|m| text(&m.json()["volumeID"])) {
                    if turn % 4 < 2 {
                        told.volumes.insert(made);
                    } else {
                        said("DELETE", &format!("/volumes/{made}"), &Value::Null, 204);
                    }
                }
            }
            _ => {
                let path = format!("/sandboxes/{source}/snapshots");
                let made = said("POST", &path, &json!({}), 201);
                if let Some(made) = made.map(|m| text(&m.json()["snapshotID"])) {
                    if turn % 4 < 2 {
                        told.kept.insert(made);
                    } else {
                        said("DELETE", &format!("/templates/{made}"), &Value::Null, 204);
                    }
                    told.taken += 1;
                }
            }
        }
    }
    told
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).expect("there");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn ids(instance: &Instance, target: &str, field: &str) -> BTreeSet<String> {
    let answer = instance.api("GET", target, &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let all = answer.as_array().expect("a list").iter();
    all.filter_map(|one| one[field].as_str().map(str::to_owned))
        .collect()
}

fn remove(instance: &Instance, target: &str) {
    settle(instance, &format!("{target} is removed"), || {
        let gone = instance.api("DELETE", target, &Value::Null);
        match gone.status {
            204 | 404 => Vec::new(),
            // Asked too often: two clients have been at it all the time.
            429 | 503 => vec![gone.text()],
            status => panic!("{target}: {status} {}", gone.text()),
        }
    });
}

fn kill(instance: &mut Instance, victim: &str) {
    if victim == "privd" {
        instance.kill_privd();
        instance.launch();
    } else if let Some(pid) = instance.daemon_pid(victim) {
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
    }
}

#[test]
fn snapshots_forks_and_volumes_are_whole_or_absent() {
    let asked = std::env::var("CRASH_ROUNDS").ok();
    let rounds = asked.and_then(|text| text.parse().ok()).unwrap_or(20_usize);
    let mut seed = Seed::from_environment();
    let first = seed.value();
    let mut instance = Instance::builder().start();
    settle(&instance, "the first sandbox comes and goes", || {
        usable(&instance)
    });
    let start = steady(&instance);
    let state = instance.state_dir().to_owned();
    let layers = names(&state.join("layers"));
    let templates = names(&state.join("templates"));

    let volume = instance.api("POST", "/volumes", &json!({ "name": "kept" }));
    assert_eq!(volume.status, 201, "{}", volume.text());
    let volume = volume.json()["volumeID"]
        .as_str()
        .expect("an id")
        .to_owned();
    let source = instance.create(&json!({
        "timeout": 3600,
        "volumeMounts": [{ "name": "kept", "path": "/data" }],
    }));
    let id = source["sandboxID"].as_str().expect("an id").to_owned();
    let fill = format!(
        "for n in $(seq {FILES}); do head -c 20000 /dev/zero > ~/file$n; done; echo word > ~/word; echo word > /data/word; \
         setsid bash -c 'n=0; while :; do n=$((n+1)); echo $n >/tmp/count; sleep 0.1; done' </dev/null >/dev/null 2>&1 &"
    );
    let ran = instance.run(&source, "user", &fill, 60_000);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    let whole = format!("{}\nword\n", FILES * 20_000);
    let (mut taken, mut forked, mut refused, mut counted) = (0, 0, 0, 0_u64);
    for round in 0..rounds {
        let name = format!("round {round} of {rounds}, CRASH_SEED={first}");
        let stop = AtomicBool::new(false);
        let (address, key) = (instance.address(), instance.key().to_owned());
        let all: Vec<Told> = thread::scope(|scope| {
            let client = |n| {
                let (id, key, stop) = (&id, &key, &stop);
                scope.spawn(move || work(address, key, id, n, stop))
            };
            let clients = [client(0), client(1)];
            thread::sleep(Duration::from_millis(100) + seed.pause(Duration::from_millis(300)));
            kill(&mut instance, seed.shuffled(&VICTIMS)[0]);
            thread::sleep(seed.pause(Duration::from_millis(200)));
            instance.await_http();
            settle(&instance, "sandboxes can be made again", || {
                usable(&instance)
            });
            stop.store(true, Ordering::Relaxed);
            clients
                .into_iter()
                .map(|c| c.join().expect("a client does not panic"))
                .collect()
        });
        for told in &all {
            (taken, forked, refused) = (
                taken + told.taken,
                forked + told.forks.len(),
                refused + told.refused,
            );
            let snapshots = ids(&instance, "/snapshots?limit=100", "snapshotID");
            let lost: Vec<_> = told.kept.difference(&snapshots).collect();
            assert!(
                lost.is_empty(),
                "{name}: snapshots {lost:?}\n{}",
                instance.log_text()
            );
            let volumes = ids(&instance, "/volumes", "volumeID");
            let lost: Vec<_> = told.volumes.difference(&volumes).collect();
            assert!(
                lost.is_empty(),
                "{name}: volumes {lost:?}\n{}",
                instance.log_text()
            );
            for fork in &told.forks {
                let ran = instance.run(fork, "user", COUNT, 20_000);
                assert_eq!(
                    ran.stdout,
                    whole,
                    "{name}: a fork {fork}: {ran:?}\n{}",
                    instance.log_text()
                );
            }
        }
        // The source goes on.
        settle(&instance, &format!("{name}: the source runs"), || {
            let told = instance.run(&source, "user", "cat /tmp/count /data/word", 20_000);
            let (count, word) = told.stdout.split_once('\n').unwrap_or_default();
            let count = count.trim().parse().unwrap_or(0);
            if count > counted && word == "word\n" {
                counted = count;
                return Vec::new();
            }
            vec![format!("{told:?}")]
        });
        // What is listed is whole, down to the last file.
        for snapshot in ids(&instance, "/snapshots?limit=100", "snapshotID") {
            let made = instance.create(&json!({ "templateID": snapshot, "timeout": 300 }));
            let ran = instance.run(&made, "user", COUNT, 20_000);
            assert_eq!(ran.stdout, whole, "{name}: {snapshot}: {ran:?}");
            remove(&instance, &format!("/templates/{snapshot}"));
        }
        for volume in ids(&instance, "/volumes", "volumeID")
            .iter()
            .filter(|v| **v != volume)
        {
            remove(&instance, &format!("/volumes/{volume}"));
        }
        settle(
            &instance,
            &format!("{name}: nothing is left of them"),
            || {
                for other in listed(&instance).iter().filter(|other| **other != id) {
                    remove(&instance, &format!("/sandboxes/{other}"));
                }
                let mut wrong = Vec::new();
                for (directory, expected) in [("layers", &layers), ("templates", &templates)] {
                    let found = names(&state.join(directory));
                    if found != *expected {
                        wrong.push(format!("{directory}: {found:?}"));
                    }
                }
                if names(&state.join("volumes")) != BTreeSet::from([volume.clone()]) {
                    wrong.push(format!("volumes: {:?}", names(&state.join("volumes"))));
                }
                wrong
            },
        );
    }
    println!(
        "crash: {rounds} rounds, {taken} snapshots, {forked} forks, {refused} refused, CRASH_SEED={first}"
    );
    let told = instance.api("DELETE", &format!("/volumes/{volume}"), &Value::Null);
    assert_eq!(told.status, 409, "it is mounted: {}", told.text());
    remove(&instance, &format!("/sandboxes/{id}"));
    remove(&instance, &format!("/volumes/{volume}"));
    settle(&instance, "everything is as it was at the start", || {
        Kernel::look(&instance).empty_again(&start)
    });
    instance.finish();
}
