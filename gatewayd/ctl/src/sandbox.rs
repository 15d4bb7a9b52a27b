//! `create`, `list`, `pause`, `resume`, `kill`.

use http::Method;
use serde_json::{Map, Value, json};

use crate::api::Api;
use crate::args;
use crate::error::Error;
use crate::http::{Target, encode};
use crate::output::{Output, field, table};
use crate::place::Place;

fn object(pairs: Vec<(String, String)>) -> Value {
    let map: Map<String, Value> = pairs
        .into_iter()
        .map(|(n, v)| (n, Value::String(v)))
        .collect();
    Value::Object(map)
}

pub(crate) async fn create(
    place: &Place,
    options: args::Create,
    output: Output,
) -> Result<u8, Error> {
    let mut request = json!({
        "templateID": options.template,
        "timeout": options.timeout,
        "envVars": object(options.env),
        "metadata": object(options.metadata),
    });
    if options.no_internet {
        request["allow_internet_access"] = json!(false);
    }
    if options.on_timeout != args::OnTimeout::Kill {
        request["autoPause"] = json!(true);
        request["autoPauseMemory"] = json!(options.on_timeout == args::OnTimeout::Pause);
    }
    if options.auto_resume {
        request["autoResume"] = json!({ "enabled": true });
    }
    let api = Api::new(Target::admin(place));
    let (sandbox, answer) = api.create(&request).await?;
    output.result(&answer, &sandbox.id);
    Ok(0)
}

pub(crate) async fn list(place: &Place, options: args::List, output: Output) -> Result<u8, Error> {
    let api = Api::new(Target::admin(place));
    let mut query = String::new();
    if !options.metadata.is_empty() {
        // E2B's filter is a query inside a query value: names and values are encoded on their own first.
        let pairs = options
            .metadata
            .iter()
            .map(|(n, v)| format!("{}={}", encode(n), encode(v)));
        query = format!("&metadata={}", encode(&pairs.collect::<Vec<_>>().join("&")));
    }
    let all = api.list(&query).await?;
    let text = if options.quiet {
        all.iter()
            .map(|s| field(s, "sandboxID"))
            .collect::<Vec<_>>()
            .join("\n")
    } else {
        let row = |s: &Value| {
            let notes = s["metadata"].as_object().filter(|m| !m.is_empty());
            vec![
                field(s, "sandboxID"),
                field(s, "templateID"),
                field(s, "state"),
                field(s, "startedAt"),
                field(s, "endAt"),
                notes
                    .map(|m| crate::output::clean(&json!(m).to_string()))
                    .unwrap_or_default(),
            ]
        };
        let rows: Vec<Vec<String>> = all.iter().map(row).collect();
        table(
            &["ID", "TEMPLATE", "STATE", "STARTED", "ENDS", "METADATA"],
            &rows,
        )
    };
    output.result(&Value::Array(all), &text);
    Ok(0)
}

pub(crate) async fn kill(place: &Place, options: args::Kill, output: Output) -> Result<u8, Error> {
    let api = Api::new(Target::admin(place));
    let ids = if options.all {
        api.list("")
            .await?
            .iter()
            .map(|s| field(s, "sandboxID"))
            .collect()
    } else {
        options.ids
    };
    let mut killed = Vec::new();
    let mut failures = Vec::new();
    for id in ids {
        match api.kill(&id).await {
            Ok(()) => killed.push(id),
            // With --all it may have ended by itself meanwhile.
            Err(Error::Refused { status: 404, .. }) if options.all => {}
            Err(error) => failures.push(error),
        }
    }
    report(output, "killed", &killed, failures)
}

/// Says what was done; the last failure is the command's own, those before it are said too.
pub(crate) fn report(
    output: Output,
    what: &str,
    done: &[String],
    mut failures: Vec<Error>,
) -> Result<u8, Error> {
    output.result(&json!({ what: done }), &done.join("\n"));
    let last = failures.pop();
    for failure in &failures {
        output.error(failure);
    }
    last.map_or(Ok(0), Err)
}

pub(crate) async fn pause(
    place: &Place,
    options: args::Pause,
    output: Output,
) -> Result<u8, Error> {
    let api = Api::new(Target::admin(place));
    let asked = json!({ "memory": !options.disk_only });
    let (mut paused, mut failures) = (Vec::new(), Vec::new());
    for id in options.ids {
        let path = format!("/sandboxes/{}/pause", encode(&id));
        match api.call(Method::POST, &path, Some(&asked)).await {
            Ok(_) => paused.push(id),
            Err(error) => failures.push(error),
        }
    }
    report(output, "paused", &paused, failures)
}

pub(crate) async fn resume(
    place: &Place,
    options: args::Resume,
    output: Output,
) -> Result<u8, Error> {
    let api = Api::new(Target::admin(place));
    let asked = json!({ "timeout": options.timeout, "memory": !options.disk_only });
    let path = format!("/sandboxes/{}/resume", encode(&options.id));
    let answer = api.call(Method::POST, &path, Some(&asked)).await?;
    output.result(&answer, &options.id);
    Ok(0)
}
