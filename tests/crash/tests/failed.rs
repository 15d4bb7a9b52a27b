//! A create that fails leaves no trace, whatever it fails at.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};
use warder_crash::{Kernel, listed, settle, steady, usable};
use warder_harness::{Instance, http::Answer};

fn create(instance: &Instance) -> Answer {
    let body = json!({ "templateID": "base", "timeout": 300 });
    instance.api("POST", "/v2/sandboxes", &body)
}

/// It depends on how far the gateway is when the agent dies.
const DEAD: [u16; 2] = [500, 504];

/// Eight at once.
fn creates(instance: &Instance) -> Vec<Answer> {
    thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| create(instance))).collect();
        all.into_iter()
            .map(|one| one.join().expect("a create does not panic"))
            .collect()
    })
}

fn refused(answer: &Answer, statuses: &[u16], code: &str) {
    assert!(statuses.contains(&answer.status), "{}", answer.text());
    assert!(answer.text().contains(code), "{}", answer.text());
}

fn nothing_but(instance: &Instance, sandboxes: &BTreeSet<String>, start: &Kernel) {
    settle(instance, "only what is listed is there", || {
        let found = listed(instance);
        let mut wrong = Kernel::look(instance).against(&found, start);
        if found != *sandboxes {
            wrong.push(format!("listed: {found:?}"));
        }
        wrong
    });
}

#[test]
fn an_agent_that_dies() {
    let mut instance = Instance::builder().agent(Path::new("/bin/false")).start();
    refused(&create(&instance), &DEAD, "sandbox_create_failed");
    let start = steady(&instance);
    for answer in creates(&instance) {
        refused(&answer, &DEAD, "sandbox_create_failed");
    }
    settle(&instance, "everything is as it was", || {
        Kernel::look(&instance).empty_again(&start)
    });
    assert_eq!(listed(&instance), BTreeSet::new());
    instance.stop();
}

#[test]
fn more_than_there_is_room_for() {
    // With slots made ahead the last sandboxes would take what is counted as there from the start.
    let mut instance = Instance::builder()
        .line("max_sandboxes 3")
        .line("ready_slots 0")
        .start();
    settle(&instance, "a sandbox comes and goes", || usable(&instance));
    let start = steady(&instance);
    let (made, left): (Vec<_>, Vec<_>) = creates(&instance)
        .into_iter()
        .partition(|answer| answer.status == 201);
    assert_eq!(made.len(), 3, "{left:?}");
    for answer in &left {
        refused(answer, &[503], "sandbox_capacity_unavailable");
    }
    let made: BTreeSet<String> = made
        .iter()
        .filter_map(|answer| Some(answer.json()["sandboxID"].as_str()?.to_owned()))
        .collect();
    nothing_but(&instance, &made, &start);
    for id in &made {
        let gone = instance.api("DELETE", &format!("/sandboxes/{id}"), &Value::Null);
        assert_eq!(gone.status, 204, "{}", gone.text());
    }
    settle(&instance, "everything is as it was", || {
        Kernel::look(&instance).empty_again(&start)
    });
    settle(&instance, "there is room again", || usable(&instance));
    instance.stop();
}

#[test]
fn a_full_disk() {
    let mut instance = Instance::builder()
        .line("storage_reserve_mib 1000000000")
        .start();
    let start = steady(&instance);
    for answer in creates(&instance) {
        refused(&answer, &[507], "");
    }
    nothing_but(&instance, &BTreeSet::new(), &start);
    instance.stop();
}

#[test]
fn a_template_that_is_not_there() {
    let mut instance = Instance::builder().start();
    let start = steady(&instance);
    let body = json!({ "templateID": "nowhere", "timeout": 300 });
    let answer = instance.api("POST", "/v2/sandboxes", &body);
    refused(&answer, &[404], "nowhere");
    nothing_but(&instance, &BTreeSet::new(), &start);
    instance.stop();
}
