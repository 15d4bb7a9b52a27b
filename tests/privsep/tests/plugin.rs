//! A captured plugin host against privd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use warder_harness::{Instance, Stage};
use warder_privsep::broken_frames;
use warder_privsep::guests::until;

fn start(backends: &[&str], gateway_attack: &str) -> Instance {
    let gateway = Path::new(env!("CARGO_BIN_EXE_hostile-gateway"));
    let host = Path::new(env!("CARGO_BIN_EXE_hostile-pluginhost"));
    let mut builder = Instance::builder()
        .replace("gatewayd", gateway)
        .replace("pluginhost", host)
        .without_http();
    builder = builder.line(&format!("domain {gateway_attack}.test"));
    for backend in backends {
        builder = builder.line(&format!("backend {backend}"));
    }
    builder.start()
}

#[test]
fn what_is_not_a_plugins_message_ends_the_host() {
    let others = [
        ("unknown-verb", "body is not a known message"),
        ("gateway-verb", "body is not a known message"),
        ("padded", "body is not a known message"),
        ("empty", "body is not a known message"),
        ("surplus-descriptors", "wrong number of descriptors"),
        ("descriptor-storm", "too much at once"),
    ];
    let framing = broken_frames(!Stage::find().jails());
    for (attack, why) in others.into_iter().chain(framing) {
        let instance = start(&[attack], "none");
        let line = instance.await_log(": ended");
        assert!(
            line.contains(" privd: audit: pluginhost-0 ") && line.contains(why),
            "{attack}: {line}"
        );
        let log = instance.log_text();
        assert!(
            !log.contains(&format!("hostile plugin {attack}: still open")),
            "{log}"
        );
        instance.await_few_descriptors(100);
        instance.finish();
    }
}

#[test]
fn a_lease_gives_what_it_says_and_in_order() {
    let instance = start(&["greedy"], "lend");
    let line = instance.await_log("hostile plugin greedy: ");
    let seen = line.split("greedy: ").nth(1).unwrap_or_default();
    assert_eq!(seen, "Conflict Refused Done Refused Conflict", "{line}");
    instance.finish();
}

#[test]
fn another_backends_sandbox_is_out_of_reach() {
    let instance = start(&["victim", "thief"], "lend");
    assert!(instance.await_log("hostile lend: ").ends_with("Leased"));
    // An attempt after the lease was there, and the one under way then is over.
    until("three attempts", || {
        let log = instance.log_text();
        let (_, after) = log.split_once("hostile lend: ").expect("logged");
        after.matches("hostile plugin thief: ").count() >= 3
    });
    let log = instance.log_text();
    for line in log.lines().filter(|l| l.contains("hostile plugin thief: ")) {
        let seen = line.split("thief: ").nth(1).unwrap_or_default();
        assert_eq!(seen, ["NotFound"; 12].join(" "), "{line}");
    }
    assert!(log.contains(" privd: audit: pluginhost-1 asks "), "{log}");
    instance.finish();
}

#[test]
fn a_storm_of_pauses_is_answered_and_loses_nothing() {
    let instance = start(&["restless"], "lend");
    let line = instance.await_log("hostile plugin restless: ");
    let seen = line.split("restless: ").nth(1).unwrap_or_default();
    assert_eq!(seen, "Done Cell Conflict runs", "{}", instance.log_text());
    instance.finish();
}

#[test]
fn no_directory_leads_out() {
    let mut instance = start(&["dotdot"], "none");
    let line = instance.await_log("hostile plugin dotdot: ");
    let seen = line.split("dotdot: ").nth(1).unwrap_or_default();
    assert!(
        !seen.is_empty() && seen.split(' ').all(|s| s == "stays"),
        "{line}"
    );
    instance.stop();
}

/// The hostile library of the plugin host's own tests: the one that `WARDER_HOSTILE_PLUGIN` names, or cargo's, which does
/// nothing when it is there already.
fn library() -> PathBuf {
    if let Some(library) = std::env::var_os("WARDER_HOSTILE_PLUGIN") {
        return library.into();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "-p",
            "hostile",
            "--manifest-path",
        ])
        .arg(root.join("plugins/host/tests/hostile/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()
        .expect("cargo starts");
    assert!(built.success(), "the hostile plugin builds");
    target.join("debug/libhostile.so")
}

/// The real plugin host with that library in it, and lines of configuration.
fn with_library(behaviour: &str, lines: &[&str]) -> (TempDir, Instance) {
    let dir = tempfile::tempdir().expect("a directory");
    let copy = dir.path().join("libhostile.so");
    let mut bytes = fs::read(library()).expect("built with the tests");
    // It opens no file on a system whose plugins can open none.
    let (before, after) = (
        format!("{:<64}", "behaviour:"),
        format!("{:<64}", format!("behaviour:{behaviour}")),
    );
    let at = bytes
        .windows(before.len())
        .position(|window| window == before.as_bytes())
        .expect("room for a behaviour");
    bytes[at..at + after.len()].copy_from_slice(after.as_bytes());
    fs::write(&copy, bytes).expect("a fresh file");
    for path in [dir.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let builder = Instance::builder()
        .plugin_dir(dir.path())
        .line("backend hostile");
    let builder = lines
        .iter()
        .fold(builder, |builder, line| builder.line(line));
    (dir, builder.start())
}

/// A create that the plugin spoils is answered with an error in E2B's form, costs no daemon but its own, and
/// leaves nothing. `audit` is the line that tells of it.
fn spoiled(behaviour: &str, audit: &str) {
    // One that hangs is waited for as long.
    let (_dir, instance) = with_library(behaviour, &["create_timeout 20"]);
    let daemons = |instance: &Instance| ["gatewayd", "netd"].map(|name| instance.daemon_pid(name));
    let before = daemons(&instance);
    let body = json!({ "templateID": "base" });
    let answer = instance.api("POST", "/v2/sandboxes", &body);
    assert!(
        (500..505).contains(&answer.status),
        "{behaviour}: {} {}",
        answer.status,
        answer.text()
    );
    let error = answer.json();
    assert_eq!(error["code"], answer.status, "{error}");
    assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()));
    instance.await_log(audit);
    assert_eq!(daemons(&instance), before, "{}", instance.log_text());
    let listed = instance.api("GET", "/v2/sandboxes", &Value::Null);
    assert_eq!((listed.status, listed.json()), (200, json!([])));
    instance.finish();
}

#[test]
fn a_plugin_that_panics_costs_its_operation_and_privd_says_so() {
    spoiled(
        "panics",
        " privd: audit: pluginhost-0 closed its channel: ended",
    );
}

#[test]
fn a_plugin_that_exits_costs_its_operation_and_privd_says_so() {
    spoiled(
        "exits",
        " privd: audit: pluginhost-0 closed its channel: ended",
    );
}

#[test]
fn a_plugin_that_lies_costs_its_operation() {
    spoiled("lies", " pluginhost-0: pluginhost: audit: create of ");
}

#[test]
fn a_plugin_that_hangs_costs_its_operation() {
    spoiled("hangs", "the plugin hangs");
}

/// From the configuration to the plugin: each of the processes between could give it less.
#[test]
fn a_create_has_the_time_that_the_operator_gives_it() {
    for (lines, least, most) in [
        (&[][..], 0, 55_000),
        (&["create_timeout 600"], 55_000, 600_000),
    ] {
        let (_dir, instance) = with_library("tells-time", lines);
        let answer = instance.api("POST", "/v2/sandboxes", &json!({ "templateID": "base" }));
        assert!((500..505).contains(&answer.status), "{}", answer.text());
        let line = instance.await_log(" pluginhost-0: a create has ");
        let time = line.rsplit(' ').nth(1).and_then(|n| n.parse::<u32>().ok());
        let time = time.expect("milliseconds");
        assert!(least < time && time <= most, "{lines:?}: {line}");
        instance.finish();
    }
}
