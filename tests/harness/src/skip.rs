//! Tests that a host is not the right one for.

use std::io::Write as _;

/// Says that the rest of a test is left out, and why: on standard error itself, which the language's harness does not
/// swallow as it does what a test prints.
pub fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped {test}: {why}");
}
