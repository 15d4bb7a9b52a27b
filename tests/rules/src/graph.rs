//! What cargo says: the packages of the workspace, and the tree of one of them on one system.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::tree::root;

/// Linux, as built and tested here.
pub const LINUX: &str = "x86_64-unknown-linux-gnu";
/// FreeBSD, as checked and linked here.
pub const FREEBSD: &str = "x86_64-unknown-freebsd";

/// One package of the workspace.
#[derive(Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its folder, relative to the root.
    pub folder: String,
    /// Crate roots of its libraries and programs, relative to the root.
    pub roots: Vec<String>,
    /// Names of what it depends on directly when built (not its tests), on any system.
    pub dependencies: Vec<String>,
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(arguments)
        .arg("--locked")
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo {arguments:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// The packages of the workspace.
///
/// # Panics
/// When cargo fails or answers what it never should.
#[must_use]
pub fn packages() -> Vec<Package> {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).expect("cargo metadata is JSON");
    let list = metadata["packages"].as_array().expect("a list of packages");
    list.iter().map(package).collect()
}

fn package(value: &Value) -> Package {
    let root = root();
    let relative = |path: &Value| {
        let path = path.as_str().expect("a path");
        let path = std::path::Path::new(path).strip_prefix(&root);
        path.expect("members lie in the tree")
            .to_string_lossy()
            .into_owned()
    };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let targets = value["targets"].as_array().expect("targets");
    let shipped = |target: &&Value| {
        let kinds = target["kind"].as_array().expect("kinds");
        kinds.iter().any(|k| {
            matches!(
                k.as_str(),
                Some("bin" | "lib" | "rlib" | "cdylib" | "proc-macro")
            )
        })
    };
    let dependencies = value["dependencies"].as_array().expect("dependencies");
    Package {
        name: text(&value["name"]),
        folder: relative(&value["manifest_path"]).replace("/Cargo.toml", ""),
        roots: targets
            .iter()
            .filter(shipped)
            .map(|t| relative(&t["src_path"]))
            .collect(),
        dependencies: dependencies
            .iter()
            .filter(|d| d["kind"].is_null())
            .map(|d| text(&d["name"]))
            .collect(),
    }
}

/// Every crate that is compiled for `package` on `target`: `name version`, itself included, procedural
/// macros and what they need included, build scripts and tests not.
#[must_use]
pub fn tree_of(package: &str, target: &str) -> BTreeSet<String> {
    let text = cargo(&[
        "tree",
        "-p",
        package,
        "--target",
        target,
        "-e",
        "normal",
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}",
    ]);
    let words = |line: &str| {
        line.split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    text.lines().map(words).filter(|l| !l.is_empty()).collect()
}

/// The names alone.
#[must_use]
pub fn names(tree: &BTreeSet<String>) -> BTreeSet<&str> {
    tree.iter()
        .filter_map(|line| line.split(' ').next())
        .collect()
}
