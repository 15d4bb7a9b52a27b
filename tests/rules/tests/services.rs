//! Service scripts and manual pages, as far as this system can read them.

use std::path::PathBuf;
use std::process::Command;

use warder_rules::tree::root;

/// Runs a program that must be satisfied with what it reads.
fn satisfied(program: &str, arguments: &[&str], files: &[PathBuf]) {
    assert!(!files.is_empty());
    let output = Command::new(program).args(arguments).args(files).output();
    let output =
        output.unwrap_or_else(|e| panic!("{program}: {e}; scripts/prepare test installs it"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
}

/// Files of a folder that are not folders.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("there");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.filter(|path| path.is_file()).collect()
}

#[test]
fn manual_pages_are_sound() {
    satisfied(
        "mandoc",
        &["-T", "lint", "-W", "warning"],
        &files("docs/man"),
    );
}

#[test]
fn service_scripts_are_shell() {
    for script in ["warder", "guest/warder-guest", "guest/warder_guest"] {
        satisfied("/bin/sh", &["-n"], &[root().join("rc.d").join(script)]);
    }
    satisfied("bash", &["-n"], &[root().join("scripts/guest-image")]);
}

/// What the unit names exists only where Warder is installed: something that is there stands for it.
#[test]
fn units_are_sound() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("no systemd-analyze here: not checked");
        return;
    }
    let guests = root().join("rc.d/guest/warder-guest.service");
    for unit in files("rc.d/linux").into_iter().chain([guests]) {
        let text = std::fs::read_to_string(&unit).expect("readable");
        let there: String = text
            .lines()
            .filter(|line| !line.starts_with("Documentation="))
            .map(|line| {
                let there = line.replace("/usr/local/libexec/warder/privd", "/bin/true");
                there.replace("/usr/local/libexec/warder/warder-guest", "/bin/true") + "\n"
            })
            .collect();
        assert_ne!(there, text);
        let folder = tempfile::tempdir().expect("room");
        let copy = folder.path().join(unit.file_name().expect("a file"));
        std::fs::write(&copy, there).expect("room");
        satisfied("systemd-analyze", &["verify", "--man=no"], &[copy]);
    }
}

/// rc.subr(8) reads these names; a misspelt one would be ignored.
#[test]
fn the_service_script_defines_what_it_offers() {
    let script = std::fs::read_to_string(root().join("rc.d/warder")).expect("there");
    let offered = script
        .lines()
        .find_map(|line| line.strip_prefix("extra_commands=\""));
    let offered = offered.expect("extra commands").trim_end_matches('"');
    for command in offered.split(' ').chain(["status"]) {
        let function = format!("{command}_cmd=\"warder_{command}\"");
        assert!(script.contains(&function), "{function}");
        assert!(
            script.contains(&format!("\nwarder_{command}()\n{{")),
            "{command}"
        );
    }
    let page = std::fs::read_to_string(root().join("docs/man/warder.8")).expect("there");
    for command in offered.split(' ') {
        assert!(
            page.contains(&format!(".It Ic service warder {command}")),
            "{command}"
        );
    }
}
