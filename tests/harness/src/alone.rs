//! Tests that fork, or have the host for themselves, and so have no harness of the language's: one after the other, in
//! the only thread there is.

use std::time::Instant;

/// Runs the tests whose name has the argument in it; with `--exact`, that one.
///
/// # Panics
/// When there is no such test, or one fails.
pub fn run(tests: &[(&str, fn())]) {
    let said = |flag: &str| std::env::args().any(|arg| arg == flag);
    // nextest asks for the list of tests, and for the ignored ones apart; then it runs each by its whole name.
    if said("--list") {
        for (name, _) in tests.iter().filter(|_| !said("--ignored")) {
            println!("{name}: test");
        }
        return;
    }
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let mut ran = 0;
    for (name, test) in tests {
        let chosen = |only: &String| match said("--exact") {
            true => name == only,
            false => name.contains(only.as_str()),
        };
        if only.as_ref().is_none_or(chosen) {
            ran += 1;
            println!("test {name} ...");
            let start = Instant::now();
            test();
            println!("test {name} ... ok ({:?})", start.elapsed());
        }
    }
    assert!(ran > 0, "no test has such a name");
}
