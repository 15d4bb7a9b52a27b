//! Trust: tests only (who runs the tests).
//! Input: this source tree and what cargo says of it.
//! May: read files and run cargo.
//! Unsafe: forbidden.
//!
//! What the rule tests share: the tree, Rust source as code without comments and texts, cargo's view.
#![forbid(unsafe_code)]

pub mod code;
pub mod graph;
pub mod tree;

/// Fails with one line for each finding and what to do about it.
///
/// # Panics
/// When there is a finding.
pub fn none(findings: &[String], advice: &str) {
    assert!(
        findings.is_empty(),
        "{} finding(s):\n  {}\nWhat to do: {advice}\n",
        findings.len(),
        findings.join("\n  ")
    );
}
