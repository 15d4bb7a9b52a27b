//! Waiting for a server to come to rest, and what its API lists.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_harness::Instance;

use crate::{Kernel, ask};

/// How long anything may take before it counts as lost; not a budget. What was discarded is removed at a low priority, of which
/// little is left where many tests run.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// The kernel's view with no sandbox, once it does not change any more.
#[must_use]
pub fn steady(instance: &Instance) -> Kernel {
    let mut last = Kernel::look(instance);
    let mut same = 0;
    let end = Instant::now() + PATIENCE;
    while same < 10 {
        assert!(Instant::now() < end, "it never comes to rest: {last:?}");
        thread::sleep(Duration::from_millis(50));
        let now = Kernel::look(instance);
        same = if now == last && now.running.is_empty() && now.trash == 0 {
            same + 1
        } else {
            0
        };
        last = now;
    }
    last
}

/// Nothing, when a sandbox can be made, runs a command and can be ended.
#[must_use]
pub fn usable(instance: &Instance) -> Vec<String> {
    let body = json!({ "templateID": "base", "timeout": 60 }).to_string();
    let ask = |method, target: &str, body: &str| {
        ask(
            instance.address(),
            instance.key(),
            method,
            target,
            body.as_bytes(),
        )
    };
    let made = match ask("POST", "/v2/sandboxes", &body) {
        Ok(made) if made.status == 201 => made.json(),
        other => return vec![format!("create: {other:?}")],
    };
    let ran = instance.run(&made, "user", "echo works", 20_000);
    let id = made["sandboxID"].as_str().unwrap_or_default();
    match ask("DELETE", &format!("/sandboxes/{id}"), "") {
        Ok(gone) if gone.status == 204 && ran.stdout == "works\n" => Vec::new(),
        other => vec![format!("{ran:?}, then {other:?}")],
    }
}

/// Ids of all sandboxes the API lists.
#[must_use]
pub fn listed(instance: &Instance) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut token = String::new();
    loop {
        let page = instance.api(
            "GET",
            &format!("/v2/sandboxes?limit=100{token}"),
            &Value::Null,
        );
        assert_eq!(page.status, 200, "{}", page.text());
        let items = page.json();
        let found = items
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item["sandboxID"].as_str());
        ids.extend(found.map(str::to_owned));
        match page.header("x-next-token") {
            Some(next) if !next.is_empty() => token = format!("&nextToken={next}"),
            _ => return ids,
        }
    }
}

/// Waits until nothing is wrong any more.
///
/// # Panics
/// When something still is after [`PATIENCE`]; prints the log.
pub fn settle(instance: &Instance, what: &str, mut wrong: impl FnMut() -> Vec<String>) {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = wrong();
        if now.is_empty() {
            return;
        }
        assert!(
            Instant::now() < end,
            "in vain for {PATIENCE:?}: {what}\n  {}\n{}",
            now.join("\n  "),
            instance.log_text()
        );
        thread::sleep(Duration::from_millis(20));
    }
}
