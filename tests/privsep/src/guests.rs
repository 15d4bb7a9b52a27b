//! What tests do with sandboxes and ask of them.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use warder_harness::http::Answer;
use warder_harness::processes::{self, Process};
use warder_harness::{Instance, wait};

/// Most that a command may take, in milliseconds. It ends one that hangs, and judges none.
pub const MINUTE: u32 = 60_000;
/// Where [`plant`] puts its program.
pub const GUEST: &str = "/tmp/guest";

/// Polls until `done`.
///
/// # Panics
/// When that never comes.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    if let Err(why) = wait::until(what, || done().then_some(())) {
        panic!("{why}");
    }
}

/// The id of a sandbox, as its create was answered.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn id(sandbox: &Value) -> &str {
    sandbox["sandboxID"].as_str().expect("an id")
}

/// A sandbox is there, and runs what it is told.
///
/// # Panics
/// When it does not.
pub fn works(instance: &Instance, sandbox: &Value) {
    let ran = instance.run(sandbox, "user", "echo fine", MINUTE);
    assert_eq!(ran.stdout.trim(), "fine", "{ran:?}");
}

/// Waits until the API does not know a sandbox any more.
///
/// # Panics
/// When it does for ever.
pub fn gone(instance: &Instance, sandbox: &Value) {
    let target = format!("/sandboxes/{}", id(sandbox));
    until("the API still lists it", || {
        instance.api("GET", &target, &Value::Null).status == 404
    });
}

/// A process of the sandbox that only waits, as the host sees it.
///
/// # Panics
/// When the host never does.
#[must_use]
pub fn sleeper(instance: &Instance, sandbox: &Value, number: u32) -> Process {
    let command = format!("sleep {}", 7_000_000 + std::process::id() * 10 + number);
    let start = format!("{command} >/dev/null 2>&1 & echo started");
    let ran = instance.run(sandbox, "root", &start, MINUTE);
    assert_eq!(ran.stdout.trim(), "started", "{ran:?}");
    // The shell says so before its child has become another program.
    let found = wait::until("it on this host", || processes::running(&command));
    found.unwrap_or_else(|why| panic!("{why}"))
}

/// Starts `hostile-guest`, which lies at `program`, in a sandbox as a server that answers with a word and keeps what
/// comes in.
///
/// # Panics
/// When it never serves.
pub fn serve(
    instance: &Instance,
    sandbox: &Value,
    program: &Path,
    (address, port): (&str, u16),
    (answer, seen): (&str, &str),
) {
    instance.plant(sandbox, program, GUEST);
    let start = format!(
        "{GUEST} serve {address} {port} {answer} {seen} </dev/null >/dev/null 2>&1 & echo started"
    );
    let ran = instance.run(sandbox, "user", &start, MINUTE);
    assert_eq!(ran.stdout.trim(), "started", "{ran:?}");
    let get = format!("{GUEST} get 127.0.0.1 {port}");
    until("it serves", || {
        instance.run(sandbox, "user", &get, MINUTE).stdout.trim() == answer
    });
}

/// How long an answer may take that waits for nobody: `usual`, or on a machine that is slow with one that comes alone up to
/// four times that.
#[must_use]
pub fn promptly(usual: Duration, alone: Duration) -> Duration {
    usual.max(alone * 20).min(usual * 4)
}

/// Asks for a sandbox.
#[must_use]
pub fn create(instance: &Instance) -> Answer {
    instance.api(
        "POST",
        "/v2/sandboxes",
        &json!({ "templateID": "base", "timeout": 300 }),
    )
}

/// E2B's error body, with a word on whether to try again.
///
/// # Panics
/// When it is something else.
pub fn refused(answer: &Answer, status: u16, retry: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let error = answer.json();
    assert_eq!(error["code"], status, "{error}");
    assert!(
        error["message"].as_str().is_some_and(|m| m.len() > 10),
        "{error}"
    );
    assert_eq!(answer.header("should-retry"), Some(retry));
    assert_eq!(answer.header("retry-after").is_some(), retry == "true");
}
