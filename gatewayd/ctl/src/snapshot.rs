//! `snapshot` and `fork`: the files of a sandbox as the beginning of others.

use http::Method;
use serde_json::{Value, json};

use crate::api::Api;
use crate::args::{Fork, Snapshot};
use crate::error::Error;
use crate::http::{Target, encode};
use crate::output::{Output, field, table};
use crate::place::Place;
use crate::sandbox::report;

pub(crate) async fn run(place: &Place, command: Snapshot, output: Output) -> Result<u8, Error> {
    let api = Api::new(Target::admin(place));
    match command {
        Snapshot::Create { id, name } => {
            let asked = match name {
                Some(name) => json!({ "name": name }),
                None => json!({}),
            };
            let path = format!("/sandboxes/{}/snapshots", encode(&id));
            let answer = api.call(Method::POST, &path, Some(&asked)).await?;
            output.result(&answer, &field(&answer, "snapshotID"));
        }
        Snapshot::List { sandbox, quiet } => {
            let filter = sandbox.map(|id| format!("&sandboxID={}", encode(&id)));
            let all = api.pages("/snapshots", &filter.unwrap_or_default()).await?;
            let text = if quiet {
                let ids: Vec<String> = all.iter().map(|s| field(s, "snapshotID")).collect();
                ids.join("\n")
            } else {
                let row = |s: &Value| {
                    let names = s["names"].as_array().into_iter().flatten();
                    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
                    vec![
                        field(s, "snapshotID"),
                        crate::output::clean(&names.join(" ")),
                    ]
                };
                let rows: Vec<Vec<String>> = all.iter().map(row).collect();
                table(&["ID", "NAMES"], &rows)
            };
            output.result(&Value::Array(all), &text);
        }
        Snapshot::Delete { snapshot } => {
            let path = format!("/templates/{}", encode(&snapshot));
            api.call(Method::DELETE, &path, None).await?;
            output.result(&json!({ "deleted": snapshot }), "");
        }
    }
    Ok(0)
}

pub(crate) async fn fork(place: &Place, options: Fork, output: Output) -> Result<u8, Error> {
    let api = Api::new(Target::admin(place));
    let asked = json!({ "count": options.count, "timeout": options.timeout });
    let path = format!("/sandboxes/{}/fork", encode(&options.id));
    let answer = api.call(Method::POST, &path, Some(&asked)).await?;
    let Value::Array(forks) = answer else {
        return Err(Error::Answer("the list of forks is none".to_owned()));
    };
    let (mut made, mut failures) = (Vec::new(), Vec::new());
    for fork in &forks {
        match fork["sandbox"]["sandboxID"].as_str() {
            Some(id) => made.push(id.to_owned()),
            None => {
                let error = &fork["error"];
                let status = error["code"]
                    .as_u64()
                    .and_then(|code| u16::try_from(code).ok());
                failures.push(Error::Refused {
                    status: status.unwrap_or(500),
                    message: field(error, "message"),
                });
            }
        }
    }
    report(output, "forks", &made, failures)
}
