//! `docs/promises.md` and `docs/network-modes.md` name for each promise a test; this looks whether it is there.

use std::fs;
use std::path::Path;

use warder_rules::{none, tree};

/// Fewer than this were lost in an edit, not kept elsewhere.
const FEWEST: usize = 40;
/// The same of the network's.
const FEWEST_OF_NETWORK: usize = 30;

/// What is missing of a test: a file and, where one is named, a function in it.
fn missing(root: &Path, promise: &str, test: &str) -> Option<String> {
    let mut words = test.split('`').filter(|word| !word.trim().is_empty());
    let file = words.next().unwrap_or_default();
    let Ok(text) = fs::read_to_string(root.join(file)) else {
        return Some(format!("no file {file}: {promise}"));
    };
    let word = if file.ends_with(".py") { "def" } else { "fn" };
    let function = words.next().map(|name| format!("{word} {name}("));
    function
        .is_some_and(|function| !text.contains(&function))
        .then(|| format!("no such test in {file}: {promise}"))
}

/// Each is one line: `N. what is promised. (test)`.
#[test]
fn every_network_promise_has_its_number_and_test() {
    let root = tree::root();
    let page = fs::read_to_string(root.join("docs/network-modes.md")).expect("the page");
    let mut wrong = Vec::new();
    let mut last = 0;
    for line in page.lines() {
        let Some((number, rest)) = line.split_once(". ") else {
            continue;
        };
        let Ok(number) = number.parse::<usize>() else {
            continue;
        };
        if number != last + 1 {
            wrong.push(format!("{number} follows {last}"));
        }
        last = number;
        match rest
            .strip_suffix(')')
            .and_then(|rest| rest.rsplit_once(" ("))
        {
            Some((promise, test)) => wrong.extend(missing(&root, promise, test)),
            None => wrong.push(format!("no test: {rest}")),
        }
    }
    assert!(last >= FEWEST_OF_NETWORK, "only {last} promises were found");
    none(&wrong, "name the test that enforces it, or make no promise");
}

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
        wrong.extend(missing(&root, promise, test));
    }
    assert!(promises >= FEWEST, "only {promises} promises were found");
    none(&wrong, "name the test that enforces it, or make no promise");
}
