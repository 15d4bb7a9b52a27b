//! What can be kept of a sandbox: paused with its processes, and its disk for others.

use http::Method;
use serde_json::{Value, json};

use super::job::{says, want, within};
use crate::api::{Api, Sandbox};
use crate::error::Error;
use crate::http::encode;
use crate::output::field;
use crate::process::Agent;

/// How many forks are made.
const FORKS: usize = 3;

async fn post(api: &Api, sandbox: &Sandbox, what: &str, body: Value) -> Result<Value, Error> {
    let path = format!("/sandboxes/{}/{what}", encode(&sandbox.id));
    within(api.call(Method::POST, &path, Some(&body))).await
}

/// Freezes its processes.
pub(super) async fn pause(api: &Api, sandbox: &Sandbox) -> Result<(), Error> {
    post(api, sandbox, "pause", json!({})).await?;
    let path = format!("/sandboxes/{}", encode(&sandbox.id));
    let now = within(api.call(Method::GET, &path, None)).await?;
    let state = field(&now, "state");
    want(state == "paused", format!("it is {state}"))
}

/// A snapshot's id.
pub(super) async fn snapshot(api: &Api, sandbox: &Sandbox) -> Result<String, Error> {
    let made = post(api, sandbox, "snapshots", json!({ "name": "demo" })).await?;
    Ok(field(&made, "snapshotID"))
}

/// A sandbox of the snapshot has the file; both are removed again.
pub(super) async fn from_snapshot(
    api: &Api,
    snapshot: &str,
    file: &str,
    text: &str,
) -> Result<(), Error> {
    let request = json!({ "templateID": snapshot, "timeout": 60 });
    let (copy, _) = within(api.create(&request)).await?;
    let path = format!("/templates/{}", encode(snapshot));
    within(api.call(Method::DELETE, &path, None)).await?;
    let agent = Agent::new(&api.target, &copy, None);
    says(&agent, &format!("cat {file}"), text).await?;
    within(api.kill(&copy.id)).await
}

/// Forks, each with the file and a disk of its own.
pub(super) async fn forks(
    api: &Api,
    sandbox: &Sandbox,
    file: &str,
    text: &str,
) -> Result<(), Error> {
    let made = post(
        api,
        sandbox,
        "fork",
        json!({ "count": FORKS, "timeout": 60 }),
    )
    .await?;
    let forked = |fork: &Value| Sandbox {
        id: field(&fork["sandbox"], "sandboxID"),
        token: fork["sandbox"]["envdAccessToken"]
            .as_str()
            .map(str::to_owned),
    };
    let all: Vec<Sandbox> = made.as_array().into_iter().flatten().map(forked).collect();
    want(all.len() == FORKS, format!("{} forks: {made}", all.len()))?;
    for (number, fork) in all.iter().enumerate() {
        let agent = Agent::new(&api.target, fork, None);
        let script = format!("cat {file}; echo {number} >>{file}; tail -n 1 {file}");
        says(&agent, &script, &format!("{text}{number}\n")).await?;
    }
    for fork in &all {
        within(api.kill(&fork.id)).await?;
    }
    Ok(())
}
