//! What came of a run: the table, and the document that the parity table is made of.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::check::{Bad, Outcome};

/// What is said of a check.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Verdict {
    #[serde(rename = "holds")]
    Holds,
    #[serde(rename = "fails")]
    Fails,
    #[serde(rename = "not here")]
    NotHere,
}

/// One check and what came of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) tried: String,
    pub(crate) expected: String,
    pub(crate) seen: String,
    pub(crate) verdict: Verdict,
}

/// A figure: printed, never judged.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: String,
}

/// A run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) backend: Backend,
    /// Name and release, as uname(1) has them.
    pub(crate) system: String,
    pub(crate) version: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) figures: Vec<Figure>,
}

impl Row {
    pub(crate) fn new(id: &str, tried: &str, expected: &str, outcome: Outcome) -> Self {
        let (seen, verdict) = match outcome {
            Ok(seen) => (seen, Verdict::Holds),
            Err(Bad::Fails(seen)) => (seen, Verdict::Fails),
            Err(Bad::NotHere(why)) => (why, Verdict::NotHere),
        };
        Self {
            id: id.to_owned(),
            tried: tried.to_owned(),
            expected: expected.to_owned(),
            seen: one_line(&seen),
            verdict,
        }
    }

    /// The row as it is printed.
    pub(crate) fn line(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Holds => "holds".to_owned(),
            Verdict::Fails => "FAILS".to_owned(),
            Verdict::NotHere => "not here".to_owned(),
        };
        format!(
            "{verdict:<8}  {:<38}  {}  |  expected: {}  |  seen: {}",
            self.id, self.tried, self.expected, self.seen
        )
    }
}

impl Report {
    /// How many checks have that verdict.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.rows
            .iter()
            .filter(|row| row.verdict == verdict)
            .count()
    }

    /// What stands below the table.
    pub(crate) fn summary(&self) -> String {
        let mut out = String::new();
        for figure in &self.figures {
            let _ = writeln!(out, "figure    {:<38}  {}", figure.what, figure.value);
        }
        let _ = write!(
            out,
            "{} on {}: {} hold, {} fail, {} are not here",
            self.backend,
            self.system,
            self.count(Verdict::Holds),
            self.count(Verdict::Fails),
            self.count(Verdict::NotHere)
        );
        out
    }
}

/// Text of others in one line, not endless.
fn one_line(text: &str) -> String {
    const MOST: usize = 600;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        None => line,
        Some((at, _)) => format!("{} …", &line[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_all() {
        let row = Row::new(
            "a.b",
            "to do",
            "that it is done",
            Err(Bad::Fails("two\nlines".into())),
        );
        assert_eq!(
            row.line(),
            format!(
                "FAILS     {:<38}  to do  |  expected: that it is done  |  seen: two lines",
                "a.b"
            )
        );
        assert!(one_line(&"x".repeat(10_000)).len() < 700);
    }
}
