//! Folder = trust zone; what each crate root says of itself.

use std::fs;

use warder_rules::{graph, none, tree};

/// Folders in which a crate may lie, and the zone that its `Trust` line must name. `None`: no zone of
/// its own (libraries of several zones, tests, the operator's command).
const FOLDERS: [(&str, Option<u8>); 38] = [
    ("privd", Some(3)),
    ("netd", Some(3)),
    ("netd/desired", Some(3)),
    ("netd/pf", Some(3)),
    ("netd/nft", Some(3)),
    ("netd/filter", Some(3)),
    ("netd/links", Some(3)),
    ("netd/egress", Some(1)),
    ("netd/egress/web", Some(1)),
    ("gatewayd", Some(1)),
    ("gatewayd/connect", None),
    ("gatewayd/guest", Some(0)),
    ("gatewayd/ctl", None),
    ("plugins/abi", Some(2)),
    ("plugins/sdk", Some(2)),
    ("plugins/host", Some(2)),
    ("plugins/jail", Some(2)),
    ("plugins/bhyve", Some(2)),
    ("plugins/namespace", Some(2)),
    ("plugins/credential", Some(2)),
    ("plugins/example", Some(2)),
    ("sys/common", Some(3)),
    ("sys/netlink", Some(3)),
    ("sys/wire", None),
    ("sys/ipc", None),
    ("sys/mux", None),
    ("sys/confine", None),
    ("sys/host", None),
    ("sys/guest", None),
    ("sys/egress", None),
    ("sys/linux", None),
    ("sys/probe", None),
    ("sys/freebsd", None),
    ("sys/tool", None),
    ("tests", None),
    ("docs", None),
    ("rc.d", None),
    ("scripts", None),
];

/// What may lie at the top, beside the folders above.
const TOP: [&str; 10] = [
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "clippy.toml",
    "rust-toolchain.toml",
];

/// The zone for a crate folder: the longest entry that holds it.
fn zone(folder: &str) -> Option<Option<u8>> {
    let exact = FOLDERS.iter().find(|(f, _)| *f == folder);
    let below = |f: &str| tree::within(folder, &[f]) && (f == "tests" || f.contains('/'));
    exact
        .or_else(|| FOLDERS.iter().find(|(f, _)| below(f)))
        .map(|(_, zone)| *zone)
}

#[test]
fn every_crate_lies_in_a_folder_of_the_design() {
    let mut wrong = Vec::new();
    for manifest in tree::manifests() {
        let folder = manifest
            .path
            .trim_end_matches("Cargo.toml")
            .trim_end_matches('/');
        if !folder.is_empty() && zone(folder).is_none() {
            wrong.push(folder.to_owned());
        }
    }
    none(
        &wrong,
        "move the crate into a folder that docs/architecture.md names; the folder says with which rights it runs",
    );
}

#[test]
fn the_top_holds_what_the_design_names() {
    let mut wrong = Vec::new();
    for text in tree::texts() {
        let top = text.path.split('/').next().unwrap_or_default();
        let known = TOP.contains(&top)
            || FOLDERS
                .iter()
                .any(|(f, _)| f.split('/').next() == Some(top));
        if !known {
            wrong.push(text.path);
        }
    }
    none(
        &wrong,
        "put the file into the folder of the part it belongs to",
    );
}

#[test]
fn every_manifest_is_a_member() {
    let members: Vec<String> = graph::packages().into_iter().map(|p| p.folder).collect();
    let mut wrong = Vec::new();
    for manifest in tree::manifests() {
        let folder = manifest
            .path
            .trim_end_matches("Cargo.toml")
            .trim_end_matches('/');
        let own_workspace = manifest.text.contains("[workspace]");
        if !own_workspace && !members.iter().any(|m| m == folder) {
            wrong.push(manifest.path);
        }
    }
    none(&wrong, "name the crate in `members` of the root manifest");
}

#[test]
fn crate_roots_say_whom_they_trust() {
    const LINES: [&str; 4] = ["//! Trust: ", "//! Input: ", "//! May: ", "//! Unsafe: "];
    let mut wrong = Vec::new();
    for package in graph::packages() {
        for root in &package.roots {
            let text = fs::read_to_string(tree::root().join(root)).unwrap_or_default();
            let mut lines = text.lines();
            for wanted in LINES {
                let line = lines.next().unwrap_or_default();
                if !line.starts_with(wanted) || line.len() == wanted.len() {
                    wrong.push(format!(
                        "{root}: expected a line `{wanted}…`, found `{line}`"
                    ));
                }
            }
            if lines.next() != Some("//!") || !lines.next().is_some_and(|l| l.starts_with("//! ")) {
                wrong.push(format!(
                    "{root}: after the four lines come `//!` and a description"
                ));
            }
        }
    }
    none(
        &wrong,
        "begin the crate root with the four lines Trust, Input, May, Unsafe, an empty `//!`, a description",
    );
}

#[test]
fn the_trust_line_names_the_zone_of_the_folder() {
    let mut wrong = Vec::new();
    for package in graph::packages() {
        let Some(Some(zone)) = zone(&package.folder) else {
            continue;
        };
        for root in &package.roots {
            let text = fs::read_to_string(tree::root().join(root)).unwrap_or_default();
            let line = text.lines().next().unwrap_or_default().to_owned();
            if !line.contains(&format!("zone {zone}")) {
                wrong.push(format!("{root}: `{line}` should say `zone {zone}`"));
            }
        }
    }
    none(&wrong, "folder = zone: correct the line, or move the crate");
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let mut wrong = Vec::new();
    for package in graph::packages() {
        let path = format!("{}/Cargo.toml", package.folder);
        let text = fs::read_to_string(tree::root().join(&path)).unwrap_or_default();
        let taken = text
            .split("[lints]")
            .nth(1)
            .is_some_and(|t| t.trim_start().starts_with("workspace = true"));
        if !taken {
            wrong.push(path);
        }
    }
    none(&wrong, "add `[lints]` with `workspace = true`");
}
