//! `docs/promises.md` names for each promise a test; this looks whether it is there.

use std::fs;

use warder_rules::{none, tree};

/// Fewer than this were lost in an edit, not kept elsewhere.
const FEWEST: usize = 40;

#[test]
fn every_promise_has_its_test() {
    let root = tree::root();
    let page = fs::read_to_string(root.join("docs/promises.md")).expect("docs/promises.md");
    let mut wrong = Vec::new();
    let mut promises = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [promise, test] = cells[..] else {
            wrong.push(format!("not a promise and a test: {row}"));
            continue;
        };
        if promise == "promise" {
            continue;
        }
        promises += 1;
        let mut words = test.split('`').filter(|word| !word.trim().is_empty());
        let file = words.next().unwrap_or_default();
        let Ok(text) = fs::read_to_string(root.join(file)) else {
            wrong.push(format!("no file {file}: {promise}"));
            continue;
        };
        let word = if file.ends_with(".py") { "def" } else { "fn" };
        let function = words.next().map(|name| format!("{word} {name}("));
        if function.is_some_and(|function| !text.contains(&function)) {
            wrong.push(format!("no such test in {file}: {promise}"));
        }
    }
    assert!(promises >= FEWEST, "only {promises} promises were found");
    none(&wrong, "name the test that enforces it, or make no promise");
}
