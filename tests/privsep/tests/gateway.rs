//! A captured gateway against privd, netd and a plugin host. privd must outlive every attack, and what a correct
//! gateway cannot send must end the gateway and leave an audit line.

use std::path::Path;

use warder_harness::{Instance, Snapshot};

fn attack(name: &str) -> (Instance, String) {
    let hostile = Path::new(env!("CARGO_BIN_EXE_hostile-gateway"));
    let instance = Instance::builder()
        .replace("gatewayd", hostile)
        .line(&format!("domain {name}.test"))
        .without_http()
        .start();
    let line = instance.await_log(&format!("hostile {name}: "));
    let outcome = line
        .split_once(&format!("hostile {name}: "))
        .map(|(_, o)| o.trim().to_owned())
        .unwrap_or_default();
    (instance, outcome)
}

/// The attack's outcome, after which privd still runs and stops cleanly.
fn outcome(name: &str) -> String {
    let (mut instance, outcome) = attack(name);
    instance.stop();
    assert!(
        Snapshot::of(instance.tag()).is_empty(),
        "{name} left {:?}",
        Snapshot::of(instance.tag())
    );
    outcome
}

/// A violation: the gateway never gets to report, since privd ends it. So the test watches privd's log.
fn violation(name: &str) {
    let hostile = Path::new(env!("CARGO_BIN_EXE_hostile-gateway"));
    let mut instance = Instance::builder()
        .replace("gatewayd", hostile)
        .line(&format!("domain {name}.test"))
        .without_http()
        .start();
    instance.await_log("audit");
    let log = instance.log_text();
    assert!(
        !log.contains(&format!("hostile {name}: still open")),
        "{log}"
    );
    instance.stop();
    assert!(
        Snapshot::of(instance.tag()).is_empty(),
        "{name} left {:?}",
        Snapshot::of(instance.tag())
    );
}

#[test]
fn what_is_not_a_message_ends_the_gateway() {
    for name in ["unknown-verb", "oversize", "cut", "padded", "empty"] {
        violation(name);
    }
}

#[test]
fn descriptors_nobody_asked_for_end_the_gateway() {
    for name in [
        "surplus-descriptors",
        "too-many-descriptors",
        "no-descriptor",
        "wrong-descriptor",
    ] {
        violation(name);
    }
}

#[test]
fn the_wrong_phase_ends_the_gateway() {
    for name in ["before-ready", "twice-ready"] {
        violation(name);
    }
}

#[test]
fn a_flood_ends_the_gateway_and_not_privd() {
    violation("flood");
}

#[test]
fn sandboxes_that_are_not_there_cannot_be_named() {
    assert_eq!(outcome("foreign-link"), "NotFound");
    assert_eq!(outcome("foreign-lease"), "NotFound");
    assert_eq!(outcome("net-foreign"), "NotFound");
}

#[test]
fn leases_have_bounds() {
    assert_eq!(outcome("greedy-lease"), "Refused");
    assert_eq!(outcome("immortal-lease"), "Refused");
    assert_eq!(outcome("immortal-extension"), "Done then Refused");
    assert_eq!(outcome("lease-twice"), "Done then Conflict");
    assert_eq!(outcome("unknown-backend"), "NotFound");
}

#[test]
fn no_directory_leads_out() {
    let seen = outcome("dotdot");
    assert!(
        !seen.is_empty() && seen.split(' ').all(|s| s == "stays"),
        "{seen}"
    );
}

#[test]
fn netd_and_the_plugin_host_hang_up_too() {
    assert_eq!(outcome("net-unknown-verb"), "closed");
    assert_eq!(outcome("plugin-unknown-verb"), "closed");
}

#[test]
fn a_plugin_host_cannot_be_talked_into_a_cell_without_a_lease() {
    let refused = outcome("plugin-without-lease");
    assert!(
        ["NotFound", "Refused", "Conflict"].contains(&refused.as_str()),
        "{refused}"
    );
}
