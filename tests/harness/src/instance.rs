//! One running Warder on its own state directory and port.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use warder_wire::InstanceTag;

use crate::disk::Disk;
use crate::http::{self, Answer};
use crate::wait::{PATIENCE, until};
use crate::{Stage, leftovers, processes};

/// What to start.
#[derive(Debug)]
pub struct Builder {
    stage: Stage,
    replaced: Vec<(String, PathBuf)>,
    agent: Option<PathBuf>,
    plugin_dir: Option<PathBuf>,
    lines: Vec<String>,
    serves: bool,
    disk_mib: Option<u32>,
    through: Option<PathBuf>,
}

impl Builder {
    /// Runs `program` where privd expects `name` (`gatewayd`, `netd`, `egressd`, `pluginhost`).
    #[must_use]
    pub fn replace(mut self, name: &str, program: &Path) -> Self {
        self.replaced.push((name.to_owned(), program.to_owned()));
        self
    }

    /// Runs `agent` as the first process of every sandbox.
    #[must_use]
    pub fn agent(mut self, agent: &Path) -> Self {
        self.agent = Some(agent.to_owned());
        self
    }

    /// Loads plugins from `dir`.
    #[must_use]
    pub fn plugin_dir(mut self, dir: &Path) -> Self {
        self.plugin_dir = Some(dir.to_owned());
        self
    }

    /// Adds a line to privd's configuration.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Does not wait for HTTP: the gateway is not ours.
    #[must_use]
    pub fn without_http(mut self) -> Self {
        self.serves = false;
        self
    }

    /// Keeps the state directory on a file system of its own, of `mib` MiB.
    #[must_use]
    pub fn disk(mut self, mib: u32) -> Self {
        self.disk_mib = Some(mib);
        self
    }

    /// Starts privd through `program`, which gets privd's path and arguments as its own.
    #[must_use]
    pub fn through(mut self, program: &Path) -> Self {
        self.through = Some(program.to_owned());
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it does not come up; prints its log.
    #[must_use]
    pub fn start(self) -> Instance {
        let dir = tempfile::Builder::new()
            .prefix("warder-test-")
            .tempdir()
            .expect("a temporary directory");
        let state_dir = dir.path().join("state");
        let libexec = dir.path().join("libexec");
        for made in [&state_dir, &libexec] {
            fs::create_dir(made).expect("a fresh directory");
        }
        let jails = self.stage.jails();
        let disk = self.disk_mib.map(|mib| Disk::make(&state_dir, mib, jails));
        for name in [
            "netd",
            "egressd",
            "gatewayd",
            "pluginhost",
            "template-unpack",
        ] {
            let replaced = self
                .replaced
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, p)| p.clone());
            let program = replaced.unwrap_or_else(|| self.stage.program(name));
            if program.exists() {
                // A copy, not a link: what privd runs as root must be root's own file.
                fs::copy(&program, libexec.join(name)).expect("programs can be copied");
            }
        }
        let address = free_address();
        let log = dir.path().join("log");
        let agent = match &self.agent {
            Some(agent) => {
                let copy = dir.path().join("agent");
                fs::copy(agent, &copy).expect("programs can be copied");
                copy
            }
            None => self.stage.program("envd"),
        };
        let plugins = self
            .plugin_dir
            .clone()
            .unwrap_or_else(|| self.stage.dir().join("plugins"));
        let mut config = String::new();
        for (keyword, value) in [
            ("state_dir", state_dir.display().to_string()),
            ("listen", address.to_string()),
            ("libexec_dir", libexec.display().to_string()),
            ("plugin_dir", plugins.display().to_string()),
            ("agent", agent.display().to_string()),
            ("log_file", log.display().to_string()),
        ] {
            writeln!(config, "{keyword} {value}").expect("strings take everything");
        }
        let own_backend = if jails { "jail" } else { "namespace" };
        for (keyword, default) in [
            ("backend", own_backend),
            ("on_stop", "remove"),
            ("storage_reserve_mib", "64"),
            ("ready_slots", "2"),
        ] {
            if !self
                .lines
                .iter()
                .any(|l| l.starts_with(&format!("{keyword} ")))
            {
                writeln!(config, "{keyword} {default}").expect("strings take everything");
            }
        }
        for line in &self.lines {
            writeln!(config, "{line}").expect("strings take everything");
        }
        let config_file = dir.path().join("privd.conf");
        fs::write(&config_file, config).expect("a fresh file");
        let tag = InstanceTag::of_state_dir(
            state_dir
                .canonicalize()
                .expect("made above")
                .as_os_str()
                .as_encoded_bytes(),
        );
        let mut instance = Instance {
            dir: Some(dir),
            disk,
            through: self.through,
            stage: self.stage,
            config_file,
            state_dir,
            log,
            tag,
            address,
            key: String::new(),
            privd: None,
        };
        instance.launch();
        if self.serves {
            instance.await_http();
            instance.key = instance.make_key();
        }
        instance
    }
}

/// A running Warder. Dropped, it is stopped and its directory removed.
#[derive(Debug)]
pub struct Instance {
    // None only while being dropped.
    dir: Option<TempDir>,
    disk: Option<Disk>,
    through: Option<PathBuf>,
    stage: Stage,
    config_file: PathBuf,
    state_dir: PathBuf,
    log: PathBuf,
    tag: InstanceTag,
    address: SocketAddr,
    key: String,
    privd: Option<Child>,
}

impl Instance {
    /// Begins with every part as built.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            stage: Stage::find(),
            replaced: Vec::new(),
            agent: None,
            plugin_dir: None,
            lines: Vec::new(),
            serves: true,
            disk_mib: None,
            through: None,
        }
    }

    /// Starts privd (again).
    pub fn launch(&mut self) {
        let privd = self.stage.program("privd");
        let mut command = match &self.through {
            Some(program) => Command::new(program),
            None => Command::new(&privd),
        };
        if self.through.is_some() {
            command.arg(&privd);
        }
        command
            .arg("-f")
            .arg(&self.config_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let errors = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log.with_extension("stderr"));
        command.stderr(errors.expect("the log can be opened"));
        self.privd = Some(command.spawn().expect("privd can be started"));
    }

    /// Where HTTP is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The instance's tag.
    #[must_use]
    pub fn tag(&self) -> InstanceTag {
        self.tag
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The key made at the start.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The administrator's socket.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        Path::new(warder_wire::RUN_DIR)
            .join(self.tag.to_string())
            .join("admin.sock")
    }

    /// privd's process id.
    ///
    /// # Panics
    /// When it was ended.
    #[must_use]
    pub fn privd_pid(&self) -> u32 {
        self.privd.as_ref().expect("privd runs").id()
    }

    /// The process id of the child of privd whose program is `name`, when there is one.
    #[must_use]
    pub fn daemon_pid(&self, name: &str) -> Option<u32> {
        let daemon = processes::child(self.privd_pid(), name)?;
        u32::try_from(daemon.pid).ok()
    }

    /// Whether sandboxes are jails: they count their processes and users as the host does, and root in one may end its agent.
    #[must_use]
    pub fn jails(&self) -> bool {
        self.stage.jails()
    }

    /// What the host reports of a limit (`memory`, `cpu`, `pids`, `disk`): `enforced`, `stand-in` or `absent`.
    ///
    /// # Panics
    /// When it reports nothing.
    #[must_use]
    pub fn limit(&self, name: &str) -> String {
        let report = self.admin("GET", "/admin/host", &Value::Null);
        assert_eq!(report.status, 200, "{}", report.text());
        let word = &report.json()["limits"][name];
        let word = word.as_str().map(str::to_owned);
        word.unwrap_or_else(|| panic!("nothing of {name}: {}", report.text()))
    }

    /// Everything the daemons have logged so far.
    #[must_use]
    pub fn log_text(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log + &fs::read_to_string(self.log.with_extension("stderr")).unwrap_or_default()
    }

    /// Waits until the log holds `words`.
    ///
    /// # Panics
    /// When it never does; prints the log.
    pub fn await_log(&self, words: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = self.log_text();
            if let Some(line) = text.lines().find(|l| l.contains(words)) {
                return line.to_owned();
            }
            assert!(Instant::now() < end, "{words:?} was never logged:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until privd has at most `most` descriptors open; while it takes an attack in, it has more.
    ///
    /// # Panics
    /// When it never has so few.
    pub fn await_few_descriptors(&self, most: usize) {
        let end = Instant::now() + PATIENCE;
        loop {
            let open = processes::descriptors(self.privd_pid()).expect("privd runs");
            if open <= most {
                return;
            }
            assert!(
                Instant::now() < end,
                "privd keeps {open} descriptors open:\n{}",
                self.log_text()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until `/health` answers.
    ///
    /// # Panics
    /// When it never does; prints the log.
    pub fn await_http(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let healthy = http::tcp(self.address)
                .and_then(|mut s| http::request(&mut s, "GET", "/health", &[], b""))
                .is_ok_and(|a| a.status < 300);
            if healthy && self.admin_socket().exists() {
                return;
            }
            assert!(
                Instant::now() < end,
                "no HTTP on {}:\n{}",
                self.address,
                self.log_text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A request to the API with the key.
    ///
    /// # Panics
    /// When there is no answer at all.
    #[must_use]
    pub fn api(&self, method: &str, target: &str, body: &Value) -> Answer {
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let headers = [
            ("X-API-KEY", self.key.as_str()),
            ("Content-Type", "application/json"),
        ];
        self.send(method, target, &headers, &bytes)
    }

    /// Any request.
    ///
    /// # Panics
    /// When there is no answer at all.
    #[must_use]
    pub fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = http::tcp(self.address).expect("the gateway accepts");
        http::request(&mut stream, method, target, headers, body)
            .unwrap_or_else(|e| panic!("{method} {target}: {e}\n{}", self.log_text()))
    }

    /// A request to the administrator's socket.
    ///
    /// # Panics
    /// When there is no answer at all.
    #[must_use]
    pub fn admin(&self, method: &str, target: &str, body: &Value) -> Answer {
        let mut stream =
            http::unix(&self.admin_socket()).expect("the administrator's socket accepts");
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        http::request(
            &mut stream,
            method,
            target,
            &[("Content-Type", "application/json")],
            &bytes,
        )
        .unwrap_or_else(|e| panic!("{method} {target}: {e}\n{}", self.log_text()))
    }

    fn make_key(&self) -> String {
        let answer = self.admin("POST", "/admin/keys", &json!({ "name": "test" }));
        let key = answer.json()["key"].as_str().map(str::to_owned);
        key.unwrap_or_else(|| panic!("no key: {} {}", answer.status, answer.text()))
    }

    /// Creates a sandbox; the answer's JSON.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn create(&self, body: &Value) -> Value {
        let mut whole = json!({ "templateID": "base", "timeout": 300 });
        if let (Some(whole), Some(body)) = (whole.as_object_mut(), body.as_object()) {
            whole.extend(body.clone());
        }
        let answer = self.api("POST", "/v2/sandboxes", &whole);
        assert_eq!(
            answer.status,
            201,
            "create: {}\n{}",
            answer.text(),
            self.log_text()
        );
        answer.json()
    }

    /// A request to a port of a sandbox made by [`Self::create`].
    #[must_use]
    pub fn sandbox(
        &self,
        sandbox: &Value,
        port: u16,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> Answer {
        let id = sandbox["sandboxID"].as_str().unwrap_or_default();
        let token = sandbox["envdAccessToken"].as_str().unwrap_or_default();
        let port = port.to_string();
        let headers = [
            ("E2b-Sandbox-Id", id),
            ("E2b-Sandbox-Port", &port),
            ("X-Access-Token", token),
            ("Content-Type", "application/json"),
        ];
        self.send(method, target, &headers, body)
    }

    /// Ends privd as an operator would and checks that it ends well.
    ///
    /// # Panics
    /// When it does not end, or not with 0.
    pub fn stop(&mut self) {
        let Some(mut privd) = self.privd.take() else {
            return;
        };
        terminate(&privd);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = privd.try_wait().expect("our child") {
                assert!(
                    status.success(),
                    "privd ended with {status}:\n{}",
                    self.log_text()
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = privd.kill();
        panic!("privd did not end:\n{}", self.log_text());
    }

    /// Removes a sandbox made by [`Self::create`].
    ///
    /// # Panics
    /// When that is refused.
    pub fn remove(&self, sandbox: &Value) {
        let id = sandbox["sandboxID"].as_str().expect("an id");
        let answer = self.api("DELETE", &format!("/sandboxes/{id}"), &Value::Null);
        assert_eq!(answer.status, 204, "{}\n{}", answer.text(), self.log_text());
    }

    /// Ends privd and checks that nothing of the instance is left on the host.
    ///
    /// # Panics
    /// When something is.
    pub fn finish(mut self) {
        self.stop();
        drop(self.disk.take());
        let left = self.leftovers();
        assert!(left.is_empty(), "{left:?}\n{}", self.log_text());
    }

    /// What the host still holds of this instance, whose privd has ended. pf(4) lists an anchor until it has freed the last
    /// rules that called it, which it looks for every ten seconds; where sandboxes are jails that is waited for.
    #[must_use]
    pub fn leftovers(&self) -> BTreeSet<String> {
        let dir = self.state_dir.parent().unwrap_or(&self.state_dir);
        let left = || leftovers::of(&self.tag.to_string(), dir);
        if self.jails() {
            let _ = until("that nothing is left", || left().is_empty().then_some(()));
        }
        left()
    }

    /// Kills privd with SIGKILL and waits for its end.
    pub fn kill_privd(&mut self) {
        if let Some(mut privd) = self.privd.take() {
            let _ = privd.kill();
            let _ = privd.wait();
        }
    }

    /// The same with the next privd, until its gateway serves: the one before goes when it has noticed, and may answer
    /// until then.
    ///
    /// # Panics
    /// When none does.
    pub fn replace_privd(&mut self) {
        let before = self.daemon_pid("gatewayd");
        self.kill_privd();
        self.launch();
        let end = Instant::now() + PATIENCE;
        while before.is_some_and(processes::runs) {
            assert!(
                Instant::now() < end,
                "its gateway stays:\n{}",
                self.log_text()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        self.await_http();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(mut privd) = self.privd.take() {
            terminate(&privd);
            let end = Instant::now() + PATIENCE;
            while privd.try_wait().is_ok_and(|s| s.is_none()) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = privd.kill();
            let _ = privd.wait();
        }
        if std::thread::panicking() {
            eprintln!("log of {}:\n{}", self.tag, self.log_text());
        }
        leftovers::destroy_datasets(&self.tag);
        drop(self.disk.take());
        drop(self.dir.take());
    }
}

/// Ends a process as an operator would.
fn terminate(process: &Child) {
    // One that has ended is still there by its number, until it is waited for.
    let _ = processes::terminate(i32::try_from(process.id()).expect("a process id"));
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}
