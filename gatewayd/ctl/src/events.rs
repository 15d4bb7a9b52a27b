//! `events`.

use http::Method;
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::args;
use crate::error::Error;
use crate::http::{Target, encode, full, good};
use crate::output::{Output, field};
use crate::place::Place;

/// Longest line the server sends, with room to spare.
const LONGEST: usize = 64 * 1024;

pub(crate) async fn run(place: &Place, options: args::Events, output: Output) -> Result<u8, Error> {
    let mut path = format!(
        "/admin/events?after={}&follow={}",
        options.after, options.follow
    );
    if let Some(id) = &options.sandbox {
        path.push_str(&format!("&sandbox={}", encode(id)));
    }
    let mut connection = Target::admin(place).connect().await?;
    let response = connection.send(Method::GET, &path, &[], full("")).await?;
    let mut body = good(response).await?.into_body();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        rest.extend_from_slice(&data);
        let whole = rest
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        for line in rest[..whole]
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
        {
            let event: Value = serde_json::from_slice(line)
                .map_err(|e| Error::Answer(format!("an event is none: {e}")))?;
            output.result(&event, &shown(&event));
        }
        rest.drain(..whole);
        if rest.len() > LONGEST {
            return Err(Error::Answer("an event without end".to_owned()));
        }
    }
    if options.follow {
        return Err(Error::Failed("the server has stopped telling".to_owned()));
    }
    Ok(0)
}

fn shown(event: &Value) -> String {
    let kind = field(event, "type");
    if kind == "warder.events.dropped" {
        let (from, to) = (field(event, "from"), field(event, "to"));
        return format!("events {from} to {to} had to make room for newer ones");
    }
    if kind == "warder.network.dropped" {
        let (at, count) = (field(event, "timestamp"), field(event, "count"));
        return format!("        {at}  {count} refusals came too fast to be told");
    }
    if kind == "sandbox.network.refused" {
        return refused(event);
    }
    let kind = kind.rsplit('.').next().unwrap_or_default().to_owned();
    let mut line = format!(
        "{:>6}  {}  {:<12}  {}  {}",
        field(event, "sequence"),
        field(event, "timestamp"),
        kind,
        field(event, "sandboxId"),
        field(event, "sandboxTemplateId"),
    );
    for (name, prefix) in [
        ("reason", "reason "),
        ("set_timeout", "ends "),
        ("network_generation", "network policy "),
        ("air_gap", "air gap "),
        ("network_closed", "network closed "),
    ] {
        let text = field(&event["eventData"], name);
        if !text.is_empty() {
            line.push_str(&format!("  {prefix}{text}"));
        }
    }
    line
}

/// What a network policy refused.
fn refused(event: &Value) -> String {
    let data = &event["eventData"];
    let mut to = field(data, "address");
    if data["direction"] == "in" {
        to = crate::network::client(data);
    } else if data["port"] != 0 {
        to = format!("{to}:{}", field(data, "port"));
    }
    let name = field(data, "name");
    if !name.is_empty() {
        to = format!("{to} ({name})");
    }
    let mut line = format!(
        "        {}  {:<12}  {}  {} {to}: {}",
        field(event, "timestamp"),
        "refused",
        field(event, "sandboxId"),
        field(data, "protocol"),
        field(data, "rule"),
    );
    for (of, name, what) in [(data, "count", "times"), (event, "untold", "more not told")] {
        let count = of[name].as_u64().unwrap_or(0);
        if count > u64::from(name == "count") {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_for_people() {
        let event = json!({
            "type": "sandbox.lifecycle.killed", "sequence": 7, "timestamp": "T", "sandboxId": "i1",
            "sandboxTemplateId": "base", "eventData": {"reason": "time\u{1b}out"},
        });
        assert_eq!(
            shown(&event),
            "     7  T  killed        i1  base  reason time?out"
        );
        let refused = json!({
            "type": "sandbox.network.refused", "timestamp": "T", "sandboxId": "i1", "untold": 5,
            "eventData": {"protocol": "tcp", "address": "1.2.3.4", "port": 443, "name": "a.example",
                "rule": "the name is not in allowOut", "count": 2},
        });
        assert_eq!(
            shown(&refused),
            "        T  refused       i1  tcp 1.2.3.4:443 (a.example): the name is not in allowOut, 2 times, \
             5 more not told"
        );
        let refused = json!({
            "type": "sandbox.network.refused", "timestamp": "T", "sandboxId": "i1",
            "eventData": {"direction": "in", "protocol": "tcp", "address": null, "port": 8000, "rule": "denyIn 0.0.0.0/0", "count": 1},
        });
        let wanted = "        T  refused       i1  tcp unknown to port 8000: denyIn 0.0.0.0/0";
        assert_eq!(shown(&refused), wanted);
        let gap = json!({"type": "warder.events.dropped", "from": 1, "to": 5});
        assert!(shown(&gap).contains("1 to 5"));
    }
}
