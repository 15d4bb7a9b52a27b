//! Lines for privd's log.

use std::fmt::Display;
use std::io::Write;

/// One line on standard error. A reader that is gone is no reason to stop.
pub fn line(text: impl Display) {
    let text = format!("netd: {text}\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A line that a person should see: somebody did what a correct process does not do.
pub fn audit(text: impl Display) {
    line(format_args!("audit: {text}"));
}
