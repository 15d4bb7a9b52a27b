//! A hostile first process in a sandbox against the real gateway: every trick costs it its own request, nothing else.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};
use warder_harness::{Instance, Snapshot, http};

#[test]
fn every_trick_on_the_link_costs_only_the_guest() {
    let agent = Path::new(env!("CARGO_BIN_EXE_hostile-agent"));
    let mut instance = Instance::builder().agent(agent).start();
    let gateway = instance.daemon_pid("gatewayd").expect("the gateway runs");
    for port in [1001, 1002, 1003, 1004, 1005, 1006, 1007, 1009, 1010, 1011] {
        // A sandbox each: the gateway may well give up a link that lied.
        let sandbox = instance.create(&json!({}));
        let answer = instance.sandbox(&sandbox, port, "GET", "/", b"");
        assert!(
            [502, 504].contains(&answer.status),
            "port {port}: {} {}",
            answer.status,
            answer.text()
        );
        remove(&instance, &sandbox);
    }
    assert_eq!(
        instance.daemon_pid("gatewayd"),
        Some(gateway),
        "the gateway was restarted:\n{}",
        instance.log_text()
    );
    instance.stop();
    assert!(
        Snapshot::of(instance.tag()).is_empty(),
        "{:?}",
        Snapshot::of(instance.tag())
    );
}

#[test]
fn a_socket_made_to_block_stops_nobody_else() {
    let agent = Path::new(env!("CARGO_BIN_EXE_hostile-agent"));
    let mut instance = Instance::builder().agent(agent).start();
    let trap = instance.create(&json!({}));
    let address = instance.address();
    let id = Arc::new(trap["sandboxID"].as_str().expect("an id").to_owned());
    // Bodies larger than any buffer, into a socket nobody reads; left to hang, then dropped in the middle.
    for _ in 0..4 {
        let id = Arc::clone(&id);
        thread::spawn(move || {
            let mut stream = http::tcp(address).expect("the gateway accepts");
            let headers = [
                ("E2b-Sandbox-Id", id.as_str()),
                ("E2b-Sandbox-Port", "1020"),
            ];
            let _ = http::request(&mut stream, "POST", "/", &headers, &vec![0; 32 << 20]);
        });
    }
    // Never answered; waits in the guest.
    let id = Arc::clone(&id);
    thread::spawn(move || {
        let mut stream = http::tcp(address).expect("the gateway accepts");
        let _ = http::request(
            &mut stream,
            "GET",
            "/",
            &[
                ("E2b-Sandbox-Id", id.as_str()),
                ("E2b-Sandbox-Port", "1008"),
            ],
            b"",
        );
    });
    let mut others = Vec::new();
    for _ in 0..5 {
        let other = instance.create(&json!({}));
        assert_eq!(
            instance
                .sandbox(&other, 49983, "GET", "/health", b"")
                .status,
            204
        );
        others.push(other);
    }
    for sandbox in others.iter().chain([&trap]) {
        remove(&instance, sandbox);
    }
    instance.stop();
    assert!(
        Snapshot::of(instance.tag()).is_empty(),
        "{:?}",
        Snapshot::of(instance.tag())
    );
}

fn remove(instance: &Instance, sandbox: &Value) {
    let id = sandbox["sandboxID"].as_str().expect("an id");
    let answer = instance.api("DELETE", &format!("/sandboxes/{id}"), &Value::Null);
    assert_eq!(answer.status, 204, "{}", answer.text());
}
