//! Trust: none (a tool of development).
//! Input: nothing.
//! May: write to standard output.
//! Unsafe: forbidden.
//!
//! Prints the C program.
#![forbid(unsafe_code)]

use std::io::Write;

fn main() -> std::io::Result<()> {
    let text = warder_header_check::program(&warder_header_check::items::all());
    std::io::stdout().write_all(text.as_bytes())
}
