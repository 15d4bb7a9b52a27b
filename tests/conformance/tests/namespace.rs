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
        // Not every host has a third processor, or a quota.
        .args(["--allow-missing", "limits.*"])
        // Nor every program that could be tried.
        .args(["--allow-missing", "isolation.command.*"])
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
    assert!(attempts.clone().count() >= 60, "{text}");
    let commands = attempts.filter(|row| {
        row["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("isolation.command."))
    });
    assert!(commands.count() >= 10, "{text}");
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
    // A name of nothing among others would be taken for a check that holds.
    for words in [
        ["--only", "no.such.check"].as_slice(),
        &["--only", "lifecycle.*", "--only", "no.such.*"],
    ] {
        let out = Command::new(PROGRAM).args(words).output();
        let out = out.expect("it starts");
        assert_eq!(out.status.code(), Some(2), "{out:?}");
        assert!(
            String::from_utf8_lossy(&out.stderr).contains("no.such."),
            "{out:?}"
        );
    }
}

/// On the host itself attempts succeed, and the probe says so: what it says of a sandbox is worth something.
#[test]
fn probes_tell_what_they_reach() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    let unix = tempfile::tempdir().expect("a directory");
    let path = unix.path().join("socket").display().to_string();
    let _unix = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let own = std::process::id().to_string();
    let probe = |words: &[&str]| -> Value {
        let out = Command::new(PROGRAM).arg("probe").args(words).output();
        let out = out.expect("it starts").stdout;
        serde_json::from_slice(&out).expect("one line of JSON")
    };
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let silent = udp.local_addr().expect("bound").port().to_string();
    for words in [
        ["signal", &own].as_slice(),
        &["unix", &path],
        &["closed", "/etc/passwd"],
        &["find", "passwd"],
        &["bind", "127.0.0.1"],
        &["attempt", "raw-socket"],
        &["attempt", "processes"],
        &["spawn", "3"],
        &["threads", "3"],
        &["touch", &own],
        &["eat", "3"],
        &["attempt", "no-such-attempt"],
    ] {
        let said = probe(words);
        assert_eq!(said["holds"], false, "{words:?}: {said}");
    }
    for words in [
        ["udp", "127.0.0.1", &silent].as_slice(),
        &["closed", "/no/such/file"],
        &["sysv", "memory", "1462849537"],
        &["sysv", "semaphores", "1462849537"],
        &["sysv", "messages", "1462849537"],
        &["attempt", "chroot-escape"],
    ] {
        let said = probe(words);
        assert_eq!(said["holds"], true, "{words:?}: {said}");
    }
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the probe connects");
        std::io::copy(&mut stream.try_clone().expect("a socket"), &mut stream)
    });
    let said = probe(&["tcp", "127.0.0.1", &port]);
    assert_eq!(said["holds"], false, "{said}");
    answering.join().expect("served").expect("served");
}

/// `docs/parity.md` is what the newest documents say: `WARDER_BLESS=1` writes it anew.
#[test]
fn the_parity_page_is_that_of_the_runs() {
    if backend() != "namespace" {
        return; // The order of the rows is that of this system's attempts.
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let list = std::fs::read_dir(docs.join("conformance")).expect("documents of runs");
    let mut files: Vec<PathBuf> = list.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    let out = Command::new(PROGRAM).arg("--parity").args(&files).output();
    let out = out.expect("it starts");
    assert!(out.status.success(), "{out:?}");
    let page = String::from_utf8(out.stdout).expect("text");
    let file = docs.join("parity.md");
    if std::env::var_os("WARDER_BLESS").is_some() {
        std::fs::write(&file, &page).expect("writable");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == page,
        "docs/parity.md is of other runs: WARDER_BLESS=1 cargo test -p warder-conformance writes it anew"
    );
}
