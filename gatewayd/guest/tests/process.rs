//! `process.Process`, against the real agent.

mod common;

use std::time::{Duration, Instant};

use common::{Envd, Ran, shell};
use serde_json::json;

#[test]
fn a_command_runs_to_its_end() {
    let envd = Envd::start();
    let ran = envd.run("echo out; echo err >&2; exit 3");
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert!(ran.pid > 1);
    assert_eq!(
        ran.end,
        json!({"exitCode": 3, "exited": true, "status": "exit status 3", "error": "exit status 3"})
    );
    assert!(ran.error.is_null(), "{}", ran.error);
    let ran = envd.run("true");
    assert_eq!(ran.end, json!({"exited": true, "status": "exit status 0"}));
}
