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
    let kind = kind.rsplit('.').next().unwrap_or_default().to_owned();
    let mut line = format!(
        "{:>6}  {}  {:<12}  {}  {}",
        field(event, "sequence"),
        field(event, "timestamp"),
        kind,
        field(event, "sandboxId"),
        field(event, "sandboxTemplateId"),
    );
    for (name, prefix) in [("reason", "reason "), ("set_timeout", "ends ")] {
        let text = field(&event["eventData"], name);
        if !text.is_empty() {
            line.push_str(&format!("  {prefix}{text}"));
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
        let gap = json!({"type": "warder.events.dropped", "from": 1, "to": 5});
        assert!(shown(&gap).contains("1 to 5"));
    }
}
