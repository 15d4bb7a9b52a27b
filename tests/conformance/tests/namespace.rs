//! The program against the backend of this system: the whole contract holds, and it says so.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_warder-conformance");

fn stage() -> PathBuf {
    std::env::var_os("WARDER_STAGE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/stage"),
        PathBuf::from,
    )
}

/// Jails where there are jails, namespaces elsewhere.
fn backend() -> &'static str {
    if Path::new("/proc/self/ns").exists() {
        "namespace"
    } else {
        "jail"
    }
}

#[test]
fn the_whole_contract_holds_on_this_host() {
    let stage = stage();
    assert!(
        stage.join("libexec/privd").exists(),
        "nothing built in {}: run scripts/build",
        stage.display()
    );
    let out = Command::new(PROGRAM)
        .args(["--json", "--backend", backend(), "--stage"])
        .arg(&stage)
        .output()
        .expect("it starts");
    let errors = String::from_utf8_lossy(&out.stderr);
    let text = String::from_utf8_lossy(&out.stdout);
    let report: Value =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}\n{errors}"));
    let rows = report["rows"].as_array().expect("rows");
    let broken: Vec<String> = rows
        .iter()
        .filter(|row| row["verdict"] == "fails")
        .map(|row| format!("{}: {}", row["id"], row["seen"]))
        .collect();
    assert!(broken.is_empty(), "{}\n{errors}", broken.join("\n"));
    assert!(out.status.success(), "{}\n{errors}", out.status);
    // What was left out says why, and the rest was tried indeed.
    let tried = rows.iter().filter(|row| row["verdict"] == "holds");
    assert!(tried.clone().count() >= 150, "{text}");
    let attempts = tried.filter(|row| {
        row["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("isolation."))
    });
    assert!(attempts.count() >= 40, "{text}");
}

#[test]
fn what_does_not_hold_is_told() {
    // Without programs there is nothing to try, and that is no success.
    let empty = tempfile::tempdir().expect("a directory");
    let out = Command::new(PROGRAM)
        .args([
            "--only",
            "lifecycle.health",
            "--backend",
            backend(),
            "--stage",
        ])
        .arg(empty.path())
        .output()
        .expect("it starts");
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    let out = Command::new(PROGRAM)
        .args(["--only", "no.such.check"])
        .output()
        .expect("it starts");
    assert_eq!(out.status.code(), Some(2), "{out:?}");
}
