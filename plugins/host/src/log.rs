//! Lines to standard error, which privd gathers. Writing to a pipe that nobody reads any more is no failure.

use std::fmt::{self, Write as _};
use std::io::Write as _;

/// Longest line in characters.
const LONGEST: usize = 400;

/// One line.
pub(crate) fn line(text: impl fmt::Display) {
    write("pluginhost: ", &text);
}

/// One line about what a correct plugin or gateway does not do.
pub(crate) fn audit(text: impl fmt::Display) {
    write("pluginhost: audit: ", &text);
}

/// One line of the plugin's.
pub(crate) fn plugin(text: &str) {
    write("pluginhost: plugin: ", &text);
}

/// An error with what it is because of.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}

fn write(name: &str, text: &dyn fmt::Display) {
    let mut line = name.to_owned();
    let text = text.to_string();
    line.extend(
        text.chars()
            .take(LONGEST)
            .map(|c| if c.is_control() { '?' } else { c }),
    );
    line.push('\n');
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_chain_names_every_cause() {
        let inner = std::io::Error::other("inner");
        let error = warder_ipc::IpcError::System {
            call: "poll",
            source: inner,
        };
        assert_eq!(super::chain(&error), "poll failed: inner");
    }
}
