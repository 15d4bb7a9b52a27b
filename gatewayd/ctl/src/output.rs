//! Results go to standard output, as text or JSON; everything else goes to standard error.

use std::error::Error as _;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::error::Error;

/// How results are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// As JSON.
    pub(crate) json: bool,
}

impl Output {
    /// Writes one result: `value` as JSON, or `text`.
    pub(crate) fn result(self, value: &Value, text: &str) {
        let text = if self.json {
            value.to_string()
        } else {
            text.trim_end().to_owned()
        };
        if !text.is_empty() {
            // Nobody reads any more: there is nobody to tell either.
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    /// Writes what is no result and no error.
    pub(crate) fn note(self, text: &str) {
        if self.json {
            eprintln!("{}", json!({ "note": text }));
        } else {
            eprintln!("warder: {text}");
        }
    }

    /// Writes an error with its causes.
    pub(crate) fn error(self, error: &Error) {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        if self.json {
            let value = json!({ "error": { "message": text, "exitCode": error.code() } });
            eprintln!("{value}");
        } else {
            eprintln!("warder: {text}");
        }
    }
}

/// Columns under headings, two spaces apart.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|h| h.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(c, w)| format!("{c:<w$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut headings.iter().copied())];
    for row in rows {
        lines.push(line(&mut row.iter().map(String::as_str)));
    }
    lines.join("\n")
}

/// A field as text; nothing for what is absent.
pub(crate) fn field(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}

/// Text from a server or sandbox, fit for a terminal: no control characters.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["long".to_owned(), "2".to_owned()],
        ];
        assert_eq!(table(&["ID", "N"], &rows), "ID    N\na     1\nlong  2");
    }

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(field(&json!({ "a": "x\u{1b}[2J" }), "a"), "x?[2J");
        assert_eq!(field(&json!({}), "a"), "");
    }
}
