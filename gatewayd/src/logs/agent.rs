//! Lines from an agent. It is hostile: what it says is bounded and becomes text in fields of our own choice.

use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, Limited};
use serde::Deserialize;
use warder_wire::link::Role;

use super::{Level, Line};
use crate::clock::Micros;
use crate::limits;
use crate::proxy::{Outgoing, converse};
use crate::sandbox::Sandbox;

/// Why there are none.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("it does not answer")]
    Silent,
    #[error("too much is asked of it already")]
    Busy,
    #[error("what it says is no log")]
    Garbled,
}

#[derive(Debug, Deserialize)]
struct Whole {
    #[serde(default)]
    dropped: u64,
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    at: u64,
    level: String,
    logger: String,
    message: String,
    process: Option<Process>,
}

#[derive(Debug, Deserialize)]
struct Process {
    pid: Option<u32>,
    cmd: String,
    user: String,
    exit_code: Option<i32>,
    signal: Option<i32>,
}

fn clip(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(limits::LOG_TEXT));
    text
}

/// What was said, at times that can be true, at most so many.
fn lines(bytes: &[u8], made: Micros, now: Micros) -> Result<Vec<Line>, FetchError> {
    let whole: Whole = serde_json::from_slice(bytes).map_err(|_| FetchError::Garbled)?;
    let mut found = Vec::new();
    let skip = whole.entries.len().saturating_sub(limits::LOG_LINES);
    if whole.dropped > 0 || skip > 0 {
        found.push(Line::new(
            made,
            Level::Warn,
            "gateway",
            "earlier lines of the agent had to make room",
        ));
    }
    for entry in whole.entries.into_iter().skip(skip) {
        let level = Level::parse(&entry.level).unwrap_or(Level::Info);
        // The names of our own lines are not the agent's to use.
        let logger = match entry.logger.as_str() {
            "process" => "process",
            _ => "envd",
        };
        let at = Micros(entry.at).clamp(made, now.max(made));
        let mut line = Line::new(at, level, logger, clip(entry.message));
        if let Some(process) = entry.process {
            line.fields.insert("cmd", clip(process.cmd));
            line.fields.insert("user", clip(process.user));
            let numbers = [
                ("pid", process.pid.map(i64::from)),
                ("exit_code", process.exit_code.map(i64::from)),
                ("signal", process.signal.map(i64::from)),
            ];
            for (name, number) in numbers {
                if let Some(number) = number {
                    line.fields.insert(name, number.to_string());
                }
            }
        }
        found.push(line);
    }
    Ok(found)
}

/// Asks the agent, on a stream that only the gateway gets.
/// Nothing it says can be from before the sandbox was `made`.
pub(super) async fn fetch(sandbox: &Arc<Sandbox>, made: Micros) -> Result<Vec<Line>, FetchError> {
    let _one = sandbox
        .exchanges
        .try_acquire()
        .map_err(|_| FetchError::Busy)?;
    let asked = async {
        let stream = sandbox
            .api(Role::Control)
            .await
            .map_err(|_| FetchError::Silent)?;
        let mut connection = converse(sandbox, stream)
            .await
            .map_err(|_| FetchError::Silent)?;
        let request: http::Request<Outgoing> = http::Request::builder()
            .method(Method::GET)
            .uri("/logs")
            .header(header::HOST, "localhost")
            .header("x-access-token", &sandbox.envd_token)
            .body(Either::Right(Full::default()))
            .map_err(|_| FetchError::Garbled)?;
        let answer = connection
            .send_request(request)
            .await
            .map_err(|_| FetchError::Silent)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Garbled);
        }
        let body = Limited::new(answer.into_body(), limits::LOG_BYTES);
        let whole = body.collect().await.map_err(|_| FetchError::Garbled)?;
        Ok(whole.to_bytes())
    };
    let bytes = tokio::time::timeout(limits::LINK_TIMEOUT, asked)
        .await
        .map_err(|_| FetchError::Silent)??;
    lines(&bytes, made, Micros::now())
}

/// The last lines fetched before the agent could no longer be asked.
#[derive(Debug, Default)]
pub(crate) struct AgentLines(Mutex<Vec<Line>>);

impl AgentLines {
    /// Keeps the last of them.
    pub(super) fn keep(&self, mut lines: Vec<Line>) {
        let (mut most, mut bytes) = (0, 0);
        for line in lines.iter().rev() {
            bytes += line.size();
            if bytes > limits::LOG_BYTES_KEPT {
                break;
            }
            most += 1;
        }
        lines.drain(..lines.len() - most);
        lines.shrink_to_fit();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }

    /// What was kept.
    pub(super) fn kept(&self) -> Vec<Line> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Micros = Micros(2_000);

    #[test]
    fn what_an_agent_says_is_bounded_and_cannot_pass_for_ours() {
        let entry = |at: u64, text: &str| {
            serde_json::json!({
                "at": at, "level": "fatal", "logger": "sandbox", "message": text,
                "process": {"pid": 7, "cmd": text, "user": "root", "exit_code": -1},
            })
        };
        let long = "é\n\u{1b}".repeat(5000);
        let mut entries = vec![entry(0, "x"); limits::LOG_LINES + 5];
        entries.push(entry(0, &long));
        entries.push(entry(u64::MAX, "last"));
        let said = serde_json::json!({"dropped": 1, "entries": entries}).to_string();
        let found = lines(said.as_bytes(), Micros(1_000), NOW).expect("a log");
        assert_eq!(found.len(), limits::LOG_LINES + 1);
        assert_eq!(found[0].fields["logger"], "gateway");
        let (one, last) = (&found[limits::LOG_LINES - 1], &found[limits::LOG_LINES]);
        assert_eq!((one.timestamp, last.timestamp), (Micros(1_000), NOW));
        assert_eq!(
            (one.level, one.fields["logger"].as_str()),
            (Level::Info, "envd")
        );
        assert!((1_000..=limits::LOG_TEXT).contains(&one.message.len()));
        assert_eq!(last.fields["exit_code"], "-1");
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"entries":[1]}"#,
            r#"{"entries":[{"at":-1}]}"#,
        ] {
            assert!(lines(wrong.as_bytes(), NOW, NOW).is_err(), "{wrong}");
        }
        let kept = AgentLines::default();
        kept.keep(found);
        let kept = kept.kept();
        let bytes: usize = kept.iter().map(Line::size).sum();
        assert!(bytes <= limits::LOG_BYTES_KEPT && kept.len() > 5, "{bytes}");
        assert_eq!(kept.last().map(|line| line.message.as_str()), Some("last"));
    }

    proptest! {
        #[test]
        fn nothing_it_says_makes_us_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = lines(&bytes, Micros(1), NOW);
        }
    }
}
