//! `logs`.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::api::Api;
use crate::args;
use crate::error::Error;
use crate::http::{Target, encode};
use crate::output::{Output, field};
use crate::place::Place;

/// Lines asked for at once.
const PAGE: usize = 1000;
/// Pause between questions when following.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn run(place: &Place, options: args::Logs, output: Output) -> Result<u8, Error> {
    let api = Api::new(Target::admin(place));
    let id = encode(&options.id);
    let mut cursor = 0;
    // Those of the cursor's millisecond, which come again.
    let mut seen: Vec<Value> = Vec::new();
    loop {
        let path = format!("/v2/sandboxes/{id}/logs?limit={PAGE}&cursor={cursor}");
        let answer = api.call(Method::GET, &path, None).await?;
        let lines = answer["logs"]
            .as_array()
            .ok_or_else(|| Error::Answer("no logs".to_owned()))?;
        let full = lines.len() == PAGE;
        let mut ended = false;
        for line in lines
            .iter()
            .filter(|line| !seen.contains(line))
            .cloned()
            .collect::<Vec<_>>()
        {
            output.result(&line, &shown(&line));
            ended |= line["fields"]["event"] == "sandbox.lifecycle.killed";
            let at = milliseconds(&line)?;
            if at > cursor {
                seen.clear();
                cursor = at;
            }
            seen.push(line);
        }
        if seen.len() >= PAGE {
            // More of one millisecond than are told at once: go past it rather than stand still.
            cursor += 1;
            seen.clear();
        } else if ended || !(full || options.follow) {
            return Ok(0);
        } else if !full {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn milliseconds(line: &Value) -> Result<i64, Error> {
    let time = line["timestamp"]
        .as_str()
        .and_then(|text| text.parse().ok());
    time.map(jiff::Timestamp::as_millisecond)
        .ok_or_else(|| Error::Answer("a line without a time".to_owned()))
}

fn shown(line: &Value) -> String {
    let fields = &line["fields"];
    let mut text = format!(
        "{}  {:<5}  {:<7}  {}",
        field(line, "timestamp"),
        field(line, "level"),
        field(fields, "logger"),
        field(line, "message"),
    );
    for name in ["pid", "cmd", "user", "exit_code", "signal"] {
        let value = field(fields, name);
        if !value.is_empty() {
            text.push_str(&format!("  {name}={value}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_for_people() {
        let line = json!({
            "timestamp": "1970-01-01T00:00:01.5Z", "level": "info", "message": "process ended",
            "fields": {"logger": "process", "pid": "7", "cmd": "x\ny", "exit_code": "3"},
        });
        assert_eq!(
            shown(&line),
            "1970-01-01T00:00:01.5Z  info   process  process ended  pid=7  cmd=x?y  exit_code=3"
        );
        assert_eq!(milliseconds(&line).expect("one"), 1500);
        assert!(milliseconds(&json!({"timestamp": "now"})).is_err());
    }
}
