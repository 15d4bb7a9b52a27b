//! `doctor`: what this host offers, what it lacks, and the command that gets it.

mod checks;
mod filter;
mod freebsd;
mod leftovers;
mod linux;
mod reserve;
mod storage;

use http::Method;
use serde_json::{Value, json};

use crate::api::Api;
use crate::error::Error;
use crate::http::Target;
use crate::output::{Output, field, table};
use crate::place::Place;

use self::checks::{Check, Need};
pub(crate) use self::freebsd::{Ask, asked};

/// Whether this host is one.
pub(crate) fn on_freebsd() -> bool {
    rustix::system::uname().sysname().to_bytes() == b"FreeBSD"
}

pub(crate) async fn run(place: &Place, output: Output) -> Result<u8, Error> {
    let mut checks = checks::all(place);
    let api = Api::new(Target::admin(place));
    // What the running server found out says more than what can be seen from here.
    let host = api.call(Method::GET, "/admin/host", None).await;
    let sandboxes = host.as_ref().ok().and_then(|h| h["maxSandboxes"].as_u64());
    if let Some(sandboxes) = sandboxes.filter(|_| !on_freebsd()) {
        checks.extend(linux::flows(sandboxes));
    }
    let server = match &host {
        Ok(_) => "runs".to_owned(),
        Err(error) => error.to_string(),
    };
    let lacking = checks
        .iter()
        .any(|c| !c.present && c.need == Need::Required);
    let value = json!({
        "ok": !lacking,
        "checks": checks.iter().map(Check::json).collect::<Vec<Value>>(),
        "server": server,
        "host": host.as_ref().ok(),
    });
    let mut text = table(
        &["", "WHAT", "FINDING"],
        &checks.iter().map(Check::row).collect::<Vec<_>>(),
    );
    let fixes: Vec<String> = checks.iter().filter_map(Check::advice).collect();
    if !fixes.is_empty() {
        text.push_str("\n\nto change that:\n  ");
        text.push_str(&fixes.join("\n  "));
    }
    text.push_str(&format!(
        "\n\nserver for {}: {server}",
        place.state_dir().display()
    ));
    if let Ok(host) = &host {
        text.push('\n');
        text.push_str(&report(host));
    }
    output.result(&value, &text);
    Ok(u8::from(lacking))
}

/// What the server says of its host.
fn report(host: &Value) -> String {
    let mut lines = Vec::new();
    for name in [
        "tag",
        "sandboxes",
        "maxSandboxes",
        "storageFree",
        "storageTotal",
    ] {
        if !host[name].is_null() {
            lines.push(format!("  {name}: {}", field(host, name)));
        }
    }
    for (limit, state) in host["limits"].as_object().into_iter().flatten() {
        lines.push(format!(
            "  limit of {limit}: {}",
            state.as_str().map(crate::output::clean).unwrap_or_default()
        ));
    }
    for feature in host["features"].as_array().into_iter().flatten() {
        let word = if feature["present"] == true {
            "has"
        } else {
            "lacks"
        };
        lines.push(format!(
            "  {word} {}: {}",
            field(feature, "name"),
            field(feature, "note")
        ));
    }
    lines.join("\n")
}
