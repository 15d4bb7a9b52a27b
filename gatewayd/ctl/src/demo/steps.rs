//! Steps with a timing beside each.

use std::io::Write as _;
use std::time::Instant;

use serde_json::{Value, json};

use crate::error::Error;

/// Width of the column of names.
const WIDTH: usize = 46;

/// What was done so far.
#[derive(Debug)]
pub(crate) struct Steps {
    done: Vec<Value>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { done: Vec::new() }
    }

    /// Does one step and says how long it took, and how it failed.
    pub(crate) async fn step<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        // Dots up to the column, so that a slow step shows what it is at.
        eprint!("  {name} {:.<1$} ", "", WIDTH.saturating_sub(name.len()));
        let _ = std::io::stderr().flush();
        let began = Instant::now();
        let result = work.await;
        let ms = began.elapsed().as_secs_f64() * 1000.0;
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        eprintln!("{ms:>9.1} ms  {word}");
        if let Err(error) = &result {
            eprintln!("      {error}");
        }
        self.done
            .push(json!({ "step": name, "ms": (ms * 10.0).round() / 10.0, "ok": result.is_ok() }));
        result
    }

    pub(crate) fn json(&self) -> Value {
        Value::Array(self.done.clone())
    }
}
