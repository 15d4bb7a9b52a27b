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

    /// curl for a name below the domain, to this machine and trusting the server's own authority: its output.
    fn curl(&self, name: &str, args: &[&str]) -> String {
        let domain = self.exported("E2B_DOMAIN");
        let port = domain.split(':').nth(1).expect("a port").to_owned();
        let output = Command::new("curl")
            .args(["-sS", "--cacert", &self.exported("NODE_EXTRA_CA_CERTS")])
            .args(["--resolve", &format!("*:{port}:127.0.0.1")])
            .args(args)
            .arg(format!("https://{name}.{domain}/health"))
            .output()
            .expect("curl runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
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
fn an_authority_of_its_own_is_trusted_and_kept() {
    const STATUS: [&str; 2] = ["-w", "%{http_version} %{http_code}"];
    let mut up = Up::start(&["--tls", "self"]);
    assert!(up.exported("E2B_DOMAIN").starts_with("warder.localhost:"));
    assert_eq!(up.curl("api", &STATUS), "2 204");
    assert_eq!(
        up.curl("api", &["--http1.1", STATUS[0], STATUS[1]]),
        "1.1 204"
    );
    let (_, id) = up.warder(&["create"]);
    let agent = format!("49983-{id}");
    assert_eq!(up.curl(&agent, &STATUS), "2 204");
    let wrong = up.curl("too.deep", &STATUS);
    assert!(wrong.contains("SSL"), "{wrong}");
    let before = std::fs::read(up.dir.path().join("state/tls/ca.pem")).expect("kept");
    let mode = std::fs::metadata(up.dir.path().join("state/tls/ca.pem")).expect("kept");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);

    // By the operator, and by SIGHUP; and one that is broken changes nothing.
    let (code, shown) = up.warder(&["reload"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains("*.warder.localhost") && shown.contains("in use"),
        "{shown}"
    );
    send(
        up.privd().expect("privd runs"),
        rustix::process::Signal::HUP,
    );
    up.wait_for(|up| up.said().matches("opened anew").count() == 2);
    let leaf = up.dir.path().join("state/tls/leaf.pem");
    let good = std::fs::read(&leaf).expect("kept");
    std::fs::write(&leaf, "rubbish").expect("writes");
    assert_eq!(up.warder(&["reload"]).0, Some(1));
    assert_eq!(up.curl("api", &STATUS), "2 204");
    std::fs::write(&leaf, good).expect("writes");

    let Up { dir, child } = up;
    let first = Up {
        dir: tempfile::tempdir().expect("a directory"),
        child,
    };
    assert!(first.end(rustix::process::Signal::TERM).success());
    std::fs::remove_file(dir.path().join("env")).expect("is there");
    let child = Up::spawn(dir.path(), &["--tls", "self"]);
    let mut again = Up { dir, child };
    again.wait_for(|up| up.env_file().exists());
    let after = std::fs::read(again.dir.path().join("state/tls/ca.pem")).expect("kept");
    assert_eq!(before, after);
    assert_eq!(again.curl("api", &STATUS), "2 204");
    assert!(again.end(rustix::process::Signal::TERM).success());
}

#[test]
fn files_that_are_no_certificate_stop_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let (chain, key) = (dir.path().join("chain"), dir.path().join("key"));
    for file in [&chain, &key] {
        std::fs::write(file, "rubbish").expect("writes");
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("own");
    }
    let pair = format!("{},{}", chain.display(), key.display());
    let said = |args: &[&str]| {
        let output = Command::new(Stage::find().program("warder"))
            .args(["up", "--listen", "127.0.0.1:0", "--state-dir"])
            .arg(dir.path().join("state"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("warder starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = said(&["--domain", "box.example", "--tls", &pair]);
    assert!(
        code == Some(1) && text.contains("its chain holds no certificate"),
        "{text}"
    );
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("own");
    let (code, text) = said(&["--domain", "box.example", "--tls", &pair]);
    assert!(code == Some(1) && text.contains("its key may be"), "{text}");
    assert_eq!(said(&["--tls", &pair]).0, Some(2));
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
    let paused: [String; 2] = [&["pause"][..], &["pause", "--disk-only"]].map(|pause| {
        let (_, id) = up.warder(&["create", "--timeout", "120"]);
        up.warder(&[
            "exec",
            &id,
            "sh",
            "-c",
            "echo kept >~/kept; sleep 1000 >/dev/null 2>&1 &",
        ]);
        let (code, said) = up.warder(&[pause, &[&id]].concat());
        assert_eq!(code, Some(0), "{said}");
        id
    });
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
    // With its processes, and without.
    for (id, sleeping) in paused.iter().zip(["1", "0"]) {
        let (_, said) = again.warder(&["resume", id]);
        let look = ["exec", id, "sh", "-c", "cat ~/kept; pgrep -c sleep || true"];
        let seen = again.warder(&look).1;
        assert_eq!(seen, format!("kept\n{sleeping}"), "{said}");
    }
    assert!(again.end(rustix::process::Signal::TERM).success());
}
