//! Namespaces: a test's own, and threads in others.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const MARK: &str = "WARDER_TEST_NETWORK";

/// Runs `body` as if on a host of its own: the test binary starts itself again below unshare(1), with no interface but
/// those it makes.
///
/// # Panics
/// When the test fails there.
pub fn on_a_host(test: &str, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().expect("own path"))
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env(MARK, "1")
        .status()
        .expect("unshare(1) is there, and the test runs as root");
    assert!(status.success(), "{test} failed on its host");
}

/// Runs a tool.
///
/// # Panics
/// When it fails.
pub fn run(line: &str) -> String {
    let out = Command::new("sh")
        .args(["-c", line])
        .output()
        .expect("sh(1) runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{line}: {text}{errors}");
    text
}

/// A namespace by its name in /proc or a bind mount.
pub(crate) fn open(path: impl AsRef<Path>) -> OwnedFd {
    OwnedFd::from(File::open(path.as_ref()).expect("a namespace"))
}

/// Runs a closure on a thread inside the network namespace `ns`.
///
/// # Panics
/// When it does.
pub fn inside<T: Send + 'static>(ns: &OwnedFd, body: impl FnOnce() -> T + Send + 'static) -> T {
    let ns = ns.try_clone().expect("a descriptor");
    let thread = std::thread::spawn(move || {
        move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
        body()
    });
    thread.join().expect("the thread ends well")
}
