//! What may be linked into what.

use warder_rules::graph::{self, FREEBSD, LINUX};
use warder_rules::{code, none, tree};

/// Most crates in the tree of privd, and of netd: itself, procedural macros and theirs included.
const MOST_CRATES: usize = 30;
/// Lines of our own code that the root processes are meant to have at most, for each system.
const BUDGET: usize = 6_000;
/// What they have. The budget is missed; until it is met this may only be lowered.
const MOST_LINES: [(&str, usize); 2] = [("linux", 20_509), ("freebsd", 22_123)];

/// Never in a process that runs as root.
const NOT_AS_ROOT: [&str; 22] = [
    "tokio",
    "async-std",
    "smol",
    "mio",
    "futures-util",
    "hyper",
    "hyper-util",
    "axum",
    "http",
    "h2",
    "rustls",
    "openssl",
    "native-tls",
    "ring",
    "tungstenite",
    "abi_stable",
    "libloading",
    "serde_json",
    "reqwest",
    "warder-abi",
    "warder-sdk",
    "warder-connect",
];

#[test]
fn root_daemons_stay_small_and_plain() {
    let mut wrong = Vec::new();
    for daemon in ["privd", "netd"] {
        for target in [LINUX, FREEBSD] {
            let tree = graph::tree_of(daemon, target);
            println!(
                "{daemon} on {target}: {} crates of at most {MOST_CRATES}",
                tree.len()
            );
            if tree.len() > MOST_CRATES {
                let list: Vec<&str> = tree.iter().map(String::as_str).collect();
                wrong.push(format!(
                    "{daemon} on {target}: {} crates: {}",
                    tree.len(),
                    list.join(", ")
                ));
            }
            for name in graph::names(&tree) {
                if NOT_AS_ROOT.contains(&name) {
                    wrong.push(format!("{daemon} on {target} links {name}"));
                }
            }
        }
    }
    none(
        &wrong,
        "root processes have no async runtime, HTTP, TLS or plugin code; do that work in another zone",
    );
}

#[test]
fn nothing_depends_on_a_daemon() {
    const DAEMONS: [&str; 6] = ["privd", "netd", "egressd", "gatewayd", "pluginhost", "envd"];
    let mut wrong = Vec::new();
    for package in graph::packages() {
        for name in &package.dependencies {
            if DAEMONS.contains(&name.as_str()) {
                wrong.push(format!("{} depends on {name}", package.name));
            }
        }
    }
    none(
        &wrong,
        "share code through sys/wire or a library of its own, never by linking a daemon",
    );
}

#[test]
fn the_exposed_side_does_not_link_the_privileged_one() {
    const PRIVILEGED: [&str; 7] = [
        "warder-common",
        "warder-tool",
        "warder-linux",
        "warder-freebsd",
        "warder-nft",
        "warder-pf",
        "warder-links",
    ];
    let mut wrong = Vec::new();
    for package in graph::packages() {
        let exposed = [
            "gatewayd",
            "gatewayd/connect",
            "netd/egress",
            "plugins/host",
        ]
        .contains(&package.folder.as_str());
        for name in &package.dependencies {
            if exposed && PRIVILEGED.contains(&name.as_str()) {
                wrong.push(format!("{} depends on {name}", package.name));
            }
        }
    }
    none(
        &wrong,
        "use sys/confine and sys/ipc; what they lack belongs to the privileged side or into them",
    );
}

#[test]
fn backends_know_only_the_sdk() {
    let mut wrong = Vec::new();
    for package in graph::packages() {
        let backend = tree::within(&package.folder, &["plugins"])
            && !["plugins/abi", "plugins/sdk", "plugins/host"].contains(&package.folder.as_str());
        for name in &package.dependencies {
            if backend && name.starts_with("warder-") && name != "warder-sdk" {
                wrong.push(format!("{} depends on {name}", package.name));
            }
        }
    }
    none(
        &wrong,
        "our backends are built like anybody's: against plugins/sdk alone; re-export there what an author needs",
    );
}

#[test]
fn one_crate_names_abi_stable() {
    let mut wrong = Vec::new();
    for manifest in tree::manifests() {
        let named = manifest
            .text
            .lines()
            .any(|l| !l.trim_start().starts_with('#') && l.contains("abi_stable"));
        if named && manifest.path != "Cargo.toml" && manifest.path != "plugins/abi/Cargo.toml" {
            wrong.push(manifest.path);
        }
    }
    for file in tree::rust() {
        let lines = code::lines_with_word(&code::bare(&file.text), "abi_stable");
        if !tree::within(&file.path, &["plugins/abi"]) && !lines.is_empty() {
            wrong.push(format!("{}:{}", file.path, lines[0]));
        }
    }
    none(
        &wrong,
        "use what plugins/abi offers, so that the loader underneath can be changed in one place",
    );
}

#[test]
fn versions_stand_in_the_root_manifest() {
    let mut wrong = Vec::new();
    for manifest in tree::manifests() {
        if manifest.text.contains("[workspace]") {
            continue;
        }
        let mut table = String::new();
        for (number, line) in manifest.text.lines().enumerate() {
            let line = line.trim();
            if line.starts_with('[') {
                table = line.trim_matches(['[', ']']).to_owned();
            } else if table.ends_with("dependencies")
                && line.contains('=')
                && !line.starts_with('#')
            {
                let shared = line.contains("workspace = true");
                if !shared || line.contains("version") || line.contains("git =") {
                    wrong.push(format!("{}:{}: {line}", manifest.path, number + 1));
                }
            } else if table.contains("dependencies.") && line.starts_with("version") {
                wrong.push(format!("{}:{}: {line}", manifest.path, number + 1));
            }
        }
    }
    none(
        &wrong,
        "put the version into [workspace.dependencies] and write `name.workspace = true` here",
    );
}

/// Own code that ends up in privd or netd: module by module from each crate root, tests, comments and
/// features that the root daemons do not take left out.
#[test]
fn root_code_fits_its_budget() {
    let packages = graph::packages();
    let mut wrong = Vec::new();
    for (target, system, other) in [(LINUX, "linux", "freebsd"), (FREEBSD, "freebsd", "linux")] {
        let mut linked = graph::tree_of("privd", target);
        linked.extend(graph::tree_of("netd", target));
        let linked = graph::names(&linked);
        let mut total = 0;
        let mut table = Vec::new();
        for package in packages.iter().filter(|p| linked.contains(p.name.as_str())) {
            let lines: usize = package.roots.iter().map(|r| modules::count(r, other)).sum();
            table.push(format!("{:>6} {}", lines, package.folder));
            total += lines;
        }
        println!(
            "{system}: {total} lines of a budget of {BUDGET}\n{}",
            table.join("\n")
        );
        let most = MOST_LINES.iter().find(|(name, _)| *name == system);
        if most.is_none_or(|(_, most)| total > *most) {
            wrong.push(format!("{system}: {total} lines\n{}", table.join("\n")));
        }
    }
    none(
        &wrong,
        "move what needs no privilege out of privd, netd and sys/",
    );
}

mod modules {
    use std::fs;
    use std::path::{Path, PathBuf};

    use warder_rules::{code, tree};

    /// Lines of code in the module tree that begins at `root`, without `other`'s modules.
    pub(super) fn count(root: &str, other: &str) -> usize {
        let mut total = 0;
        let mut waiting: Vec<(PathBuf, PathBuf)> = Vec::new();
        let first = tree::root().join(root);
        let folder = first.parent().unwrap_or(Path::new("")).to_owned();
        waiting.push((first, folder));
        while let Some((file, children)) = waiting.pop() {
            // One that is not found would be passed over in silence.
            let text =
                fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            total += code::count(&text);
            for (name, path) in declared(&text, other) {
                if let Some(path) = path {
                    let found = file.parent().unwrap_or(Path::new("")).join(path);
                    let children = found.parent().unwrap_or(Path::new("")).to_owned();
                    waiting.push((found, children));
                    continue;
                }
                let flat = children.join(format!("{name}.rs"));
                let nested = children.join(&name).join("mod.rs");
                let found = if flat.exists() { flat } else { nested };
                waiting.push((found, children.join(&name)));
            }
        }
        total
    }

    /// Modules declared in files of their own, and where an attribute says that these are, unless another leaves them out
    /// of a root daemon.
    fn declared(text: &str, other: &str) -> Vec<(String, Option<String>)> {
        let mut names = Vec::new();
        let mut left_out = false;
        let mut path = None;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[") {
                let elsewhere =
                    line.contains("target_os") && line.contains(other) && !line.contains("not(");
                let here = line.contains("not(target_os") && !line.contains(other);
                left_out |=
                    line.contains("cfg(test") || line.contains("feature =") || elsewhere || here;
                if let Some(quoted) = line.strip_prefix("#[path = \"") {
                    path = quoted.strip_suffix("\"]").map(str::to_owned);
                }
                continue;
            }
            if line.starts_with("//") || line.is_empty() {
                continue;
            }
            let words = line
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub(super) ");
            let words = words.trim_start_matches("pub ");
            if let Some(name) = words.strip_prefix("mod ").and_then(|w| w.strip_suffix(';'))
                && !left_out
            {
                names.push((name.to_owned(), path.take()));
            }
            left_out = false;
            path = None;
        }
        names
    }
}
