//! What code may say, and where.

use std::fs;

use warder_rules::{code, graph, none, tree};

/// Where unsafe code may be.
const UNSAFE: [&str; 3] = ["sys", "plugins/abi", "plugins/host"];
/// Where code may ask which system it is built for: the system layer, the internet that is made of one system's
/// namespaces, and attacks on one kernel.
const SYSTEMS: [&str; 10] = [
    "sys",
    "netd/pf",
    "netd/nft",
    "netd/filter",
    "netd/links",
    "tests/network",
    "tests/privsep/tests/linux",
    "tests/privsep/tests/freebsd",
    "tests/bench/src/arrival.rs",
    "tests/bench/src/internet.rs",
];
/// Daemons and what runs inside them: they start nothing by name and write to stderr only.
const DAEMONS: [&str; 6] = [
    "privd",
    "netd",
    "gatewayd/src",
    "gatewayd/guest",
    "gatewayd/connect",
    "plugins",
];

fn at(path: &str, lines: &[usize], what: &str) -> Vec<String> {
    lines
        .iter()
        .map(|n| format!("{path}:{n}: {what}"))
        .collect()
}

#[test]
fn unsafe_only_where_the_design_allows_it() {
    let mut wrong = Vec::new();
    for file in tree::rust() {
        if !tree::within(&file.path, &UNSAFE) {
            let lines = code::lines_with_word(&code::bare(&file.text), "unsafe");
            wrong.extend(at(&file.path, &lines, "unsafe"));
        }
    }
    none(
        &wrong,
        "put the system call behind a safe function of sys/ and call that",
    );
}

#[test]
fn every_other_crate_root_forbids_unsafe() {
    let mut wrong = Vec::new();
    for package in graph::packages() {
        for root in &package.roots {
            let text = fs::read_to_string(tree::root().join(root)).unwrap_or_default();
            if !tree::within(root, &UNSAFE) && !text.contains("#![forbid(unsafe_code)]") {
                wrong.push(root.clone());
            }
        }
    }
    none(&wrong, "add `#![forbid(unsafe_code)]` to the crate root");
}

#[test]
fn only_the_system_layer_asks_for_the_system() {
    let mut wrong = Vec::new();
    for file in tree::rust() {
        if tree::within(&file.path, &SYSTEMS)
            || SYSTEMS.contains(&file.path.as_str())
            || tree::is_test(&file.path) && !file.path.starts_with("tests/")
        {
            continue;
        }
        let bare = code::bare(&file.text);
        for word in ["target_os", "target_family", "target_vendor"] {
            wrong.extend(at(&file.path, &code::lines_with_word(&bare, word), word));
        }
    }
    none(
        &wrong,
        "ask the facade (sys/host, sys/confine) instead; it answers Unsupported where a system lacks it",
    );
}

#[test]
fn daemons_run_no_commands() {
    let mut wrong = Vec::new();
    for file in tree::rust() {
        // Running commands for its user is what envd is for; it does so through sys/ or its own spawner.
        if !tree::within(&file.path, &DAEMONS) || tree::is_test(&file.path) {
            continue;
        }
        let shipped = code::shipped(&file.text);
        let squeezed: String = shipped.split_whitespace().collect::<Vec<_>>().join(" ");
        let grouped = squeezed.split("process::{").skip(1).any(|rest| {
            let group = rest.split('}').next().unwrap_or_default();
            group.split(',').any(|item| item.trim() == "Command")
        });
        if squeezed.contains("process::Command") || grouped {
            wrong.push(file.path);
        }
    }
    none(
        &wrong,
        "daemons start processes only through sys/ (privd) or not at all",
    );
}

#[test]
fn daemons_write_nothing_to_standard_output() {
    let mut wrong = Vec::new();
    for file in tree::rust() {
        if tree::within(&file.path, &DAEMONS) && !tree::is_test(&file.path) {
            let shipped = code::shipped(&file.text);
            for word in ["println", "print", "dbg"] {
                let lines = code::lines_with_word(&shipped, word);
                let shipped: Vec<&str> = shipped.lines().collect();
                let called = |n: &&usize| shipped[**n - 1].contains(&format!("{word}!"));
                let lines: Vec<usize> = lines.iter().filter(called).copied().collect();
                wrong.extend(at(&file.path, &lines, word));
            }
        }
    }
    none(
        &wrong,
        "write one line to stderr (eprintln!), which privd gathers",
    );
}

#[test]
fn nothing_shipped_unwraps() {
    let mut wrong = Vec::new();
    for file in tree::rust() {
        if !tree::is_test(&file.path) && !tree::within(&file.path, &["tests"]) {
            let lines = code::lines_with(&code::shipped(&file.text), ".unwrap()");
            wrong.extend(at(&file.path, &lines, "unwrap"));
        }
    }
    none(
        &wrong,
        "return the error; or expect(\"why this cannot happen\")",
    );
}

#[test]
fn ignored_tests_say_why() {
    let mut wrong = Vec::new();
    for file in tree::rust() {
        let lines = code::lines_with(&code::bare(&file.text), "#[ignore]");
        wrong.extend(at(&file.path, &lines, "#[ignore]"));
    }
    none(&wrong, "write #[ignore = \"reason and issue\"]");
}

#[test]
fn files_stay_small() {
    const MOST: usize = 800;
    let mut wrong = Vec::new();
    for file in tree::texts() {
        let kind = file.path.rsplit('.').next().unwrap_or_default();
        let scripts = file.path.starts_with("scripts/") || file.path.starts_with(".ci/");
        let source = scripts || matches!(kind, "rs" | "py" | "sh" | "js" | "ts" | "mjs" | "c");
        let lines = file.text.lines().count();
        if source && !tree::within(&file.path, &["tests"]) && lines > MOST {
            wrong.push(format!("{}: {lines} lines", file.path));
        }
    }
    none(
        &wrong,
        "split the file: aim at 150 lines, think at 400, never over 800",
    );
}

#[test]
fn no_machine_and_no_registry_is_named() {
    // In two halves, so that this file passes its own test.
    let words: Vec<String> = [
        ("static.", "crates.io"),
        ("index.", "crates.io"),
        ("pypi", ".org"),
        ("files.", "pythonhosted"),
        ("registry.", "npmjs"),
        ("deb.", "debian.org"),
        ("security.", "debian.org"),
        ("static.", "rust-lang.org"),
        ("sh.", "rustup.rs"),
        ("proxy.", "golang.org"),
        ("/work/", "main"),
        ("/work/", "shared"),
        ("/work/", "coord"),
        ("/work/", "target"),
        ("/root/", ".cargo"),
        ("work", "shop"),
    ]
    .iter()
    .map(|(a, b)| format!("{a}{b}"))
    .collect();
    let mut wrong = Vec::new();
    for file in tree::texts() {
        if file.path.ends_with("Cargo.lock") {
            continue;
        }
        let lower = file.text.to_lowercase();
        for word in &words {
            wrong.extend(at(&file.path, &code::lines_with(&lower, word), word));
        }
    }
    none(
        &wrong,
        "leave it to the tool's own configuration which mirror or folder is used",
    );
}
