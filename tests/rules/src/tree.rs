//! The files of the project.

use std::fs;
use std::path::{Path, PathBuf};

/// What holds nothing of ours. In a second work tree `.git` is a file.
const NOT_OURS: [&str; 6] = [
    ".git",
    "node_modules",
    "__pycache__",
    "bench-results",
    "corpus",
    "artifacts",
];

/// One text file.
#[derive(Debug)]
pub struct Text {
    /// Relative to the root, with `/`.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// The root of the tree.
///
/// # Panics
/// When this crate does not lie two folders below it.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("tests/rules lies two folders below the root")
        .to_owned()
}

/// Every file that is UTF-8 text, in order of path. Build output and installed packages are left out.
#[must_use]
pub fn texts() -> Vec<Text> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                let built = name == "target" || name.starts_with("target-");
                if !built && !name.starts_with(".venv") && !NOT_OURS.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if kind.is_file()
                && !NOT_OURS.contains(&name.as_str())
                && let Ok(text) = fs::read_to_string(&path)
                && let Ok(relative) = path.strip_prefix(&root)
            {
                let path = relative.to_string_lossy().into_owned();
                found.push(Text { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Every Rust file.
#[must_use]
pub fn rust() -> Vec<Text> {
    let mut all = texts();
    all.retain(|t| Path::new(&t.path).extension().is_some_and(|e| e == "rs"));
    all
}

/// Every manifest, also those outside the workspace.
#[must_use]
pub fn manifests() -> Vec<Text> {
    let mut all = texts();
    all.retain(|t| t.path == "Cargo.toml" || t.path.ends_with("/Cargo.toml"));
    all
}

/// Whether `path` lies in one of `folders`.
#[must_use]
pub fn within(path: &str, folders: &[&str]) -> bool {
    folders
        .iter()
        .any(|f| path.strip_prefix(f).is_some_and(|r| r.starts_with('/')))
}

/// Whether a file is a test as a whole: in a folder named `tests`, or `tests.rs`.
#[must_use]
pub fn is_test(path: &str) -> bool {
    path.split('/')
        .any(|part| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs"))
}
