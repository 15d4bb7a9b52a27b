//! Logs of a sandbox.

use http::StatusCode;
use serde_json::{Map, Value, json as value};
use warder_wire::SandboxId;

use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::http_io::{Answer, json};
use crate::logs::{self, Level, Line};
use crate::proxy::host::bare_id;
use crate::text::query_pairs;

/// Most lines in one answer.
const PAGE: usize = 1000;
/// Longest text to look for, in bytes.
const SEARCH: usize = 256;

#[derive(Debug)]
struct Query {
    /// Milliseconds since 1970; of `start` and `cursor`, whichever the version has.
    from: Option<u64>,
    limit: usize,
    backward: bool,
    level: Option<Level>,
    search: Option<String>,
}

impl Query {
    fn parse(text: Option<&str>, from: &str) -> Result<Self, ApiError> {
        let mut query = Self {
            from: None,
            limit: PAGE,
            backward: false,
            level: None,
            search: None,
        };
        let pairs = query_pairs(text.unwrap_or_default())
            .ok_or_else(|| ApiError::bad("the query has a broken escape"))?;
        for (name, value) in pairs {
            match name.as_str() {
                name if name == from => {
                    let ms = value.parse();
                    query.from = Some(ms.map_err(|_| {
                        ApiError::bad(format!("{from} must be milliseconds since 1970"))
                    })?);
                }
                "limit" => {
                    query.limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (0..=PAGE).contains(limit))
                        .ok_or_else(|| ApiError::bad(format!("limit must be from 0 to {PAGE}")))?;
                }
                "direction" => {
                    query.backward = match value.as_str() {
                        "forward" => false,
                        "backward" => true,
                        _ => {
                            return Err(ApiError::bad("direction must be forward or backward"));
                        }
                    };
                }
                "level" => {
                    query.level = Some(Level::parse(&value).ok_or_else(|| {
                        ApiError::bad("level must be debug, info, warn or error")
                    })?);
                }
                "search" if value.len() > SEARCH => {
                    return Err(ApiError::bad(format!(
                        "search may have {SEARCH} bytes at most"
                    )));
                }
                "search" => query.search = Some(value).filter(|text| !text.is_empty()),
                _ => {}
            }
        }
        Ok(query)
    }

    fn wants(&self, line: &Line) -> bool {
        let ms = line.timestamp.0 / 1000;
        let in_time = self.from.is_none_or(|from| {
            if self.backward {
                ms <= from
            } else {
                ms >= from
            }
        });
        in_time
            && self.level.is_none_or(|least| line.level >= least)
            && self
                .search
                .as_ref()
                .is_none_or(|text| line.message.contains(text.as_str()))
    }

    /// Forward: the first from `from` on. Backward: the last up to it, newest first.
    fn page(&self, lines: Vec<Line>) -> Vec<Line> {
        let wanted = lines.into_iter().filter(|line| self.wants(line));
        if self.backward {
            let mut all: Vec<Line> = wanted.collect();
            all.reverse();
            all.truncate(self.limit);
            all
        } else {
            wanted.take(self.limit).collect()
        }
    }
}

async fn page(gateway: &Gateway, id: &str, query: &Query) -> Result<Vec<Line>, ApiError> {
    let bare = bare_id(id).ok_or_else(|| ApiError::bad("Invalid sandbox ID"))?;
    let lines = match SandboxId::new(bare) {
        Ok(id) => logs::lines(gateway, &id).await,
        Err(_) => None,
    };
    let lines = lines.ok_or_else(|| ApiError::no_sandbox(bare))?;
    Ok(query.page(lines))
}

/// `GET /v2/sandboxes/{id}/logs`.
pub(super) async fn v2(
    gateway: &Gateway,
    id: &str,
    query: Option<&str>,
) -> Result<Answer, ApiError> {
    let query = Query::parse(query, "cursor")?;
    let lines = page(gateway, id, &query).await?;
    Ok(json(StatusCode::OK, &value!({ "logs": lines })))
}

/// `GET /sandboxes/{id}/logs` of E2B's command line, which reads each line as JSON again.
pub(super) async fn v1(
    gateway: &Gateway,
    id: &str,
    query: Option<&str>,
) -> Result<Answer, ApiError> {
    let query = Query::parse(query, "start")?;
    let lines = page(gateway, id, &query).await?;
    let logs: Vec<Value> = lines
        .iter()
        .map(|line| value!({ "timestamp": line.timestamp, "line": as_text(line) }))
        .collect();
    Ok(json(
        StatusCode::OK,
        &value!({ "logs": logs, "logEntries": lines }),
    ))
}

fn as_text(line: &Line) -> String {
    let mut all: Map<String, Value> = line
        .fields
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Value::from(text.as_str())))
        .collect();
    all.insert("timestamp".to_owned(), value!(line.timestamp));
    all.insert("level".to_owned(), value!(line.level));
    all.insert("message".to_owned(), Value::from(line.message.as_str()));
    Value::Object(all).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::clock::Micros;

    fn line(ms: u64, level: Level, message: &str) -> Line {
        Line {
            timestamp: Micros(ms * 1000 + 1),
            message: message.to_owned(),
            level,
            fields: BTreeMap::from([("logger", "envd".to_owned())]),
        }
    }

    #[test]
    fn pages_in_both_directions() {
        let all = || {
            vec![
                line(1, Level::Debug, "a"),
                line(2, Level::Info, "b"),
                line(2, Level::Error, "bc"),
                line(3, Level::Warn, "d"),
            ]
        };
        let found = |query: &str| -> String {
            let query = Query::parse(Some(query), "cursor").expect(query);
            query.page(all()).into_iter().map(|l| l.message).collect()
        };
        assert_eq!(found(""), "abbcd");
        assert_eq!(found("cursor=2&limit=2"), "bbc");
        assert_eq!(found("cursor=2&direction=backward"), "bcba");
        assert_eq!(found("level=warn"), "bcd");
        assert_eq!(found("search=b&direction=backward&limit=1"), "bc");
        assert_eq!(found("limit=0"), "");
        for bad in [
            "cursor=-1",
            "limit=1001",
            "direction=up",
            "level=loud",
            "search=%ff",
        ] {
            assert!(Query::parse(Some(bad), "cursor").is_err(), "{bad}");
        }
    }

    #[test]
    fn an_old_line_is_json_with_level_and_logger() {
        let text = as_text(&line(1, Level::Warn, "say \"x\"\n"));
        let back: Value = serde_json::from_str(&text).expect("json");
        assert_eq!(
            (&back["level"], &back["logger"]),
            (&value!("warn"), &value!("envd"))
        );
        assert_eq!(back["message"], "say \"x\"\n");
        assert!(!text.contains('\n'));
    }
}
