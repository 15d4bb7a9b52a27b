//! `warder up` as an operator uses it: two side by side, a dead privd, a clean end.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use warder_harness::Stage;
use warder_harness::http;

const PATIENCE: Duration = Duration::from_secs(60);

/// One `warder up`.
struct Up {
    dir: TempDir,
    child: Child,
}

impl Up {
    fn start(more: &[&str]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("warder-up-")
            .tempdir()
            .expect("a directory");
        let child = Self::spawn(dir.path(), more);
        let mut up = Self { dir, child };
        up.wait_for(|up| up.env_file().exists());
        up
    }

    fn spawn(dir: &Path, more: &[&str]) -> Child {
        Command::new(Stage::find().program("warder"))
            .args(["up", "--listen", "127.0.0.1:0", "--state-dir"])
            .arg(dir.join("state"))
            .arg("--env-file")
            .arg(dir.join("env"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("stderr")).expect("a file"))
            .spawn()
            .expect("warder starts")
    }

    fn env_file(&self) -> PathBuf {
        self.dir.path().join("env")
    }

    fn said(&self) -> String {
        let read = |name| std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        read("stderr") + &read("state/log")
    }

    fn wait_for(&mut self, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                self.child.try_wait().expect("our child").is_none(),
                "ended early:\n{}",
                self.said()
            );
            assert!(Instant::now() < end, "too late:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn exported(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.env_file()).expect("the file is there");
        let start = format!("export {name}=");
        text.lines()
            .find_map(|l| l.strip_prefix(&start))
            .expect("the line is there")
            .to_owned()
    }

    fn status(&self, path: &str) -> Option<u16> {
        let address = self
            .exported("E2B_API_URL")
            .strip_prefix("http://")?
            .parse()
            .ok()?;
        let key = self.exported("E2B_API_KEY");
        let mut stream = http::tcp(address).ok()?;
        let answer = http::request(&mut stream, "GET", path, &[("X-API-KEY", &key)], b"");
        Some(answer.ok()?.status)
    }

    fn warder(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(Stage::find().program("warder"))
            .arg("--state-dir")
            .arg(self.dir.path().join("state"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("warder starts");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    }

    fn privd(&self) -> Option<i32> {
        let pid = self.child.id();
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    }

    fn end(mut self, signal: rustix::process::Signal) -> ExitStatus {
        send(i32::try_from(self.child.id()).expect("a pid"), signal);
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < end, "does not end:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn send(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, signal).expect("it runs");
}

#[test]
fn two_instances_do_not_touch_each_other() {
    let key = "e2b_0123456789abcdef0123456789abcdef01234567";
    let (one, two) = (Up::start(&[]), Up::start(&["--api-key", key]));
    let mode = std::fs::metadata(one.env_file())
        .expect("is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(two.exported("E2B_API_KEY"), key);
    let (_, first) = one.warder(&["create"]);
    let (_, second) = two.warder(&["create"]);
    assert_eq!(one.warder(&["list", "-q"]).1, first);
    assert_eq!(two.warder(&["list", "-q"]).1, second);
    assert!(one.end(rustix::process::Signal::INT).success());
    assert_eq!(two.warder(&["exec", &second, "echo", "alive"]).1, "alive");
    assert!(two.end(rustix::process::Signal::TERM).success());
}

#[test]
fn a_second_up_on_the_same_directory_is_refused() {
    let one = Up::start(&[]);
    let (code, _) = one.warder(&["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(1));
    assert_eq!(one.status("/v2/sandboxes"), Some(200));
    assert!(one.end(rustix::process::Signal::TERM).success());
}

#[test]
fn a_killed_privd_is_started_again_and_the_sandbox_lives_on() {
    let mut up = Up::start(&[]);
    let (_, id) = up.warder(&["create"]);
    let before = up.warder(&["exec", &id, "cat", "/proc/sys/kernel/random/boot_id"]);
    assert_eq!(before.0, Some(0));
    let privd = up.privd().expect("privd runs");
    send(privd, rustix::process::Signal::KILL);
    up.wait_for(|up| up.privd().is_some_and(|p| p != privd) && up.warder(&["list"]).0 == Some(0));
    assert_eq!(
        up.warder(&["exec", &id, "echo", "alive"]).1,
        "alive",
        "{}",
        up.said()
    );
    assert_eq!(up.status("/v2/sandboxes"), Some(200), "the key still holds");
    assert!(up.end(rustix::process::Signal::TERM).success());
}

#[test]
fn kept_sandboxes_are_there_the_next_time() {
    let up = Up::start(&["--keep"]);
    let (_, id) = up.warder(&["create", "--timeout", "120"]);
    let dir = up.dir.path().to_owned();
    let Up { dir: kept, child } = up;
    let first = Up {
        dir: tempfile::tempdir().expect("a directory"),
        child,
    };
    assert!(first.end(rustix::process::Signal::TERM).success());
    std::fs::remove_file(dir.join("env")).expect("is there");
    let child = Up::spawn(&dir, &[]);
    let mut again = Up { dir: kept, child };
    again.wait_for(|up| up.env_file().exists());
    assert_eq!(
        again.warder(&["exec", &id, "echo", "alive"]).1,
        "alive",
        "{}",
        again.said()
    );
    assert!(again.end(rustix::process::Signal::TERM).success());
}
