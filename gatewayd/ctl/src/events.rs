//! `events`.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::args;
use crate::error::Error;
use crate::http::{Connection, Target, encode, full, good, whole};
use crate::output::{Output, field};
use crate::place::Place;

/// Longest line the server sends, with room to spare.
const LONGEST: usize = 64 * 1024;

/// Pause between attempts to reach a server that has gone.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) async fn run(place: &Place, options: args::Events, output: Output) -> Result<u8, Error> {
    let mut seen = Seen {
        event: options.after,
        ..Seen::default()
    };
    let mut server = Target::admin(place).connect().await?;
    loop {
        let told = tell(&mut server, &options, &mut seen, output).await;
        match told {
            Ok(()) if !options.follow => return Ok(0),
            Err(error) if !options.follow || !is_passing(&error) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        output.note("the server has stopped telling: waiting until it is back");
        server = loop {
            tokio::time::sleep(PAUSE).await;
            match Target::admin(place).connect().await {
                Ok(server) => break server,
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        };
    }
}

/// Whether it can be over when the server is there again; what it refuses it refuses then too.
fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::NoServer { .. }
            | Error::Http(_)
            | Error::Refused {
                status: 502..=504,
                ..
            }
    )
}

/// What was told already.
#[derive(Debug, Default)]
struct Seen {
    /// The number of the last event.
    event: u64,
    /// The number of the last refusal of a network policy.
    refusal: u64,
    /// Since when the server that told it runs: refusals are numbered anew by each.
    since: Value,
}

impl Seen {
    /// After a line there may be none that comes before it.
    fn line(&mut self, event: &Value) {
        let number = |name: &str| event[name].as_u64().unwrap_or(0);
        let last = number("sequence").max(match event["type"].as_str() {
            Some("warder.events.dropped") => number("to"),
            _ => 0,
        });
        self.event = self.event.max(last);
        self.refusal = self.refusal.max(number("networkSequence"));
    }
}

/// All that was not told yet, to the end of the answer.
async fn tell(
    server: &mut Connection,
    options: &args::Events,
    seen: &mut Seen,
    output: Output,
) -> Result<(), Error> {
    if options.follow {
        let answer = server.send(Method::GET, "/admin/instance", &[], full(""));
        let answer = whole(good(answer.await?).await?).await?;
        let instance: Value =
            serde_json::from_slice(&answer).map_err(|e| Error::Answer(e.to_string()))?;
        if instance["since"] != seen.since {
            seen.since = instance["since"].clone();
            seen.refusal = 0;
        }
    }
    let mut path = format!(
        "/admin/events?after={}&network={}&follow={}",
        seen.event, seen.refusal, options.follow
    );
    if let Some(id) = &options.sandbox {
        path.push_str(&format!("&sandbox={}", encode(id)));
    }
    let response = server.send(Method::GET, &path, &[], full("")).await?;
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
            seen.line(&event);
        }
        rest.drain(..whole);
        if rest.len() > LONGEST {
            return Err(Error::Answer("an event without end".to_owned()));
        }
    }
    Ok(())
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
        ("fork_of", "fork of "),
        ("forks", "forks "),
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
    // Said only where processes did not come along.
    if event["eventData"]["memory"] == false {
        line.push_str("  without memory");
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
        let forked = json!({
            "type": "sandbox.lifecycle.created", "sequence": 8, "timestamp": "T", "sandboxId": "i2",
            "sandboxTemplateId": "base", "eventData": {"fork_of": "i1", "memory": false},
        });
        assert_eq!(
            shown(&forked),
            "     8  T  created       i2  base  fork of i1  without memory"
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
        let mut seen = Seen::default();
        for (line, wanted) in [
            (
                json!({"type": "warder.events.dropped", "from": 1, "to": 5}),
                (5, 0),
            ),
            (
                json!({"type": "sandbox.lifecycle.created", "sequence": 6}),
                (6, 0),
            ),
            (
                json!({"type": "sandbox.network.refused", "networkSequence": 9}),
                (6, 9),
            ),
            (
                json!({"type": "warder.network.dropped", "count": 3}),
                (6, 9),
            ),
        ] {
            seen.line(&line);
            assert_eq!((seen.event, seen.refusal), wanted, "{line}");
        }
        let gap = json!({"type": "warder.events.dropped", "from": 1, "to": 5});
        assert!(shown(&gap).contains("1 to 5"));
    }
}
