//! A Warder of one's own, in a temporary directory, on a free port; no answer of it panics.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use warder_harness::http::{self, Answer};
use warder_harness::processes::{self, Process};
use warder_harness::wait::until;
use warder_harness::{Ran, exec, leftovers};
use warder_probe::Said;
use warder_wire::{InstanceTag, RUN_DIR};

use crate::backend::Backend;
use crate::check::{Bad, is, that};
use crate::remains::RunDir;

/// Most that a command may take. It ends one that hangs, and judges none.
const COMMAND_MS: u32 = 180_000;
/// Where the probe lies in a sandbox.
pub(crate) const PROBE: &str = "/tmp/probe";
/// The port of E2B's agent API.
const AGENT: u16 = 49983;

/// A sandbox, as its create was answered.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox(pub(crate) Value);

impl Sandbox {
    pub(crate) fn id(&self) -> &str {
        self.0["sandboxID"].as_str().unwrap_or_default()
    }
}

/// A running stack.
pub(crate) struct Stack {
    dir: Option<RunDir>,
    programs: PathBuf,
    config: PathBuf,
    run_dir: PathBuf,
    state_dir: PathBuf,
    log: PathBuf,
    pub(crate) tag: InstanceTag,
    pub(crate) address: SocketAddr,
    key: String,
    privd: Option<Child>,
    /// Whether it has ended by itself, with nothing left to do.
    ended_well: bool,
    /// Sandboxes that nobody has ended yet, and whether they stay when a check is over.
    made: Vec<(String, bool)>,
}

/// Where programs are: the directory given, or those around this program.
pub(crate) fn find_stage(given: Option<&Path>) -> Result<PathBuf, String> {
    let mut places = Vec::new();
    if let Some(dir) = given {
        places.push(dir.to_owned());
    } else {
        let own = std::env::current_exe().map_err(|e| format!("this program's own path: {e}"))?;
        places.extend(own.ancestors().skip(1).take(3).map(Path::to_owned));
    }
    let found = places.iter().find(|dir| program(dir, "privd").exists());
    found.cloned().ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
        format!(
            "no privd in libexec/ of {}: name the place with --stage",
            places.join(", ")
        )
    })
}

/// Where a stage has its plugins.
pub(crate) fn find_plugins(stage: &Path) -> PathBuf {
    let mut places = ["plugins", "lib/warder/plugins"]
        .map(|folder| stage.join(folder))
        .into_iter();
    places
        .find(|place| place.is_dir())
        .unwrap_or_else(|| stage.join("plugins"))
}

fn program(stage: &Path, name: &str) -> PathBuf {
    let folders = ["libexec", "libexec/warder", "bin", "sbin", "."];
    let mut paths = folders.iter().map(|folder| stage.join(folder).join(name));
    paths
        .find(|p| p.is_file())
        .unwrap_or_else(|| stage.join("libexec").join(name))
}

impl Stack {
    /// Starts one and waits until it serves.
    pub(crate) fn start(stage: &Path, backend: Backend, lines: &[String]) -> Result<Self, String> {
        let io = |what: &'static str| move |e: std::io::Error| format!("{what}: {e}");
        let dir = RunDir::new()?;
        let at = |name: &str| dir.path().join(name);
        for made in ["state", "libexec", "plugins"] {
            fs::create_dir(at(made)).map_err(io("temporary directory"))?;
        }
        // Copies: what privd runs as root must be root's own files in root's own directories.
        for name in [
            "privd",
            "netd",
            "egressd",
            "gatewayd",
            "pluginhost",
            "template-unpack",
            "envd",
        ] {
            let from = program(stage, name);
            if from.is_file() {
                fs::copy(&from, at("libexec").join(name))
                    .map_err(|e| format!("copying {}: {e}", from.display()))?;
            }
        }
        for entry in fs::read_dir(find_plugins(stage))
            .into_iter()
            .flatten()
            .flatten()
        {
            fs::copy(entry.path(), at("plugins").join(entry.file_name()))
                .map_err(io("copying a plugin"))?;
        }
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .map_err(io("a free port"))?;
        let state_dir = at("state")
            .canonicalize()
            .map_err(io("temporary directory"))?;
        let mut config = String::new();
        let own = [
            ("state_dir", state_dir.display().to_string()),
            ("listen", address.to_string()),
            ("libexec_dir", at("libexec").display().to_string()),
            ("plugin_dir", at("plugins").display().to_string()),
            ("agent", at("libexec/envd").display().to_string()),
            ("log_file", at("log").display().to_string()),
            ("backend", backend.name().to_owned()),
            ("on_stop", "remove".to_owned()),
            ("storage_reserve_mib", "64".to_owned()),
            ("ready_slots", "2".to_owned()),
        ];
        for (keyword, value) in own {
            if !lines
                .iter()
                .any(|line| line.starts_with(&format!("{keyword} ")))
            {
                let _ = writeln!(config, "{keyword} {value}");
            }
        }
        for line in lines {
            let _ = writeln!(config, "{line}");
        }
        fs::write(at("privd.conf"), config).map_err(io("privd.conf"))?;
        let tag = InstanceTag::of_state_dir(state_dir.as_os_str().as_encoded_bytes());
        let mut stack = Self {
            programs: at("libexec"),
            config: at("privd.conf"),
            run_dir: Path::new(RUN_DIR).join(tag.to_string()),
            log: at("log"),
            tag,
            state_dir,
            address,
            key: String::new(),
            privd: None,
            ended_well: false,
            made: Vec::new(),
            dir: Some(dir),
        };
        stack.launch()?;
        stack.await_http()?;
        let made = stack.admin("POST", "/admin/keys", &json!({ "name": "conformance" }));
        let made = made.map_err(|bad| format!("no key: {bad:?}"))?;
        stack.key = made.json()["key"].as_str().unwrap_or_default().to_owned();
        if stack.key.is_empty() {
            return Err(format!("no key: {} {}", made.status, made.text()));
        }
        Ok(stack)
    }

    /// Does something while the operator's configuration has a line more, of those that a reload reads.
    pub(crate) fn with_line<T>(
        &mut self,
        line: &str,
        act: impl FnOnce(&mut Self) -> Result<T, Bad>,
    ) -> Result<T, Bad> {
        let before = fs::read_to_string(&self.config)?;
        self.reread(&format!("{before}{line}\n"))?;
        let done = act(self);
        self.reread(&before)?;
        done
    }

    fn reread(&self, config: &str) -> Result<(), Bad> {
        fs::write(&self.config, config)?;
        let told = self.admin("POST", "/admin/reload", &Value::Null)?;
        that(
            told.status == 200 && told.json()["networks"].is_null(),
            || told.text(),
        )
    }

    /// What the API says of a sandbox.
    pub(crate) fn described(&self, sandbox: &Sandbox) -> Result<Value, Bad> {
        let path = format!("/sandboxes/{}", sandbox.id());
        self.ask("GET", &path, &Value::Null, 200)
    }

    /// Starts privd, or starts it again.
    pub(crate) fn launch(&mut self) -> Result<(), String> {
        let errors = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log.with_extension("stderr"));
        let errors = errors.map_err(|e| format!("privd's log: {e}"))?;
        let started = Command::new(self.programs.join("privd"))
            .arg("-f")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn();
        self.privd = Some(started.map_err(|e| format!("privd: {e}"))?);
        self.ended_well = false;
        Ok(())
    }

    /// Waits until requests are answered.
    pub(crate) fn await_http(&mut self) -> Result<(), String> {
        let (address, admin) = (self.address, self.run_dir.join("admin.sock"));
        let privd = self.privd.as_mut();
        let mut ended = None;
        let served = match privd {
            None => Err("privd was not started".to_owned()),
            Some(privd) => until("an answer to /health", || {
                if let Ok(Some(status)) = privd.try_wait() {
                    ended = Some(status);
                    return Some(());
                }
                let asked = http::tcp(address)
                    .and_then(|mut s| http::request(&mut s, "GET", "/health", &[], b""));
                (asked.is_ok_and(|a| a.status < 300) && admin.exists()).then_some(())
            }),
        };
        let served = match ended {
            Some(status) => Err(format!("privd ended with {status}")),
            None => served,
        };
        served.map_err(|why| format!("{why}; its log ends: {}", self.log_end()))
    }

    /// What the daemons have said last.
    pub(crate) fn log_end(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default()
            + &fs::read_to_string(self.log.with_extension("stderr")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join(" / ")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.state_dir.parent().unwrap_or(&self.state_dir)
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.run_dir.join("admin.sock")
    }

    /// A request with the key.
    pub(crate) fn api(&self, method: &str, target: &str, body: &Value) -> Result<Answer, Bad> {
        let headers = [
            ("X-API-KEY", self.key.as_str()),
            ("Content-Type", "application/json"),
        ];
        self.send(method, target, &headers, &bytes(body))
    }

    /// Any request.
    pub(crate) fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Bad> {
        let asked = http::tcp(self.address)
            .and_then(|mut s| http::request(&mut s, method, target, headers, body));
        asked.map_err(|e| Bad::Fails(format!("{method} {target}: {e}")))
    }

    /// A request of the administrator's.
    pub(crate) fn admin(&self, method: &str, target: &str, body: &Value) -> Result<Answer, Bad> {
        let headers = [("Content-Type", "application/json")];
        let asked = http::unix(&self.run_dir.join("admin.sock"))
            .and_then(|mut s| http::request(&mut s, method, target, &headers, &bytes(body)));
        asked.map_err(|e| Bad::Fails(format!("{method} {target}: {e}")))
    }

    /// A request that has to be answered with `status`; the answer's JSON.
    pub(crate) fn ask(
        &self,
        method: &str,
        target: &str,
        body: &Value,
        status: u16,
    ) -> Result<Value, Bad> {
        let answer = self.api(method, target, body)?;
        if answer.status != status {
            let text = answer.text();
            return Err(Bad::Fails(format!(
                "{method} {target}: {} instead of {status}: {text}",
                answer.status
            )));
        }
        Ok(answer.json())
    }

    /// A sandbox. What is left of it when the check is over is removed.
    pub(crate) fn create(&mut self, body: &Value) -> Result<Sandbox, Bad> {
        let mut whole = json!({ "templateID": "base", "timeout": 600 });
        if let (Some(whole), Some(body)) = (whole.as_object_mut(), body.as_object()) {
            whole.extend(body.clone());
        }
        let made = Sandbox(self.ask("POST", "/v2/sandboxes", &whole, 201)?);
        that(!made.id().is_empty(), || {
            format!("a create without an id: {}", made.0)
        })?;
        self.made.push((made.id().to_owned(), false));
        Ok(made)
    }

    /// One with the probe in it.
    pub(crate) fn create_with_probe(&mut self, body: &Value) -> Result<Sandbox, Bad> {
        let made = self.create(body)?;
        let own = std::env::current_exe().and_then(fs::read)?;
        self.upload(&made, "root", PROBE, &own)?;
        let ran = self.shell(&made, "root", &format!("chmod 755 {PROBE}"))?;
        is("chmod", &ran.exit, &Some(0))?;
        Ok(made)
    }

    /// The sandbox stays when a check is over.
    pub(crate) fn keep(&mut self, sandbox: &Sandbox) {
        for (id, kept) in &mut self.made {
            *kept |= *id == sandbox.id();
        }
    }

    /// Counts a sandbox that came by another way than a create.
    pub(crate) fn adopt(&mut self, sandbox: &Sandbox) {
        self.made.push((sandbox.id().to_owned(), false));
    }

    /// Ends a sandbox.
    pub(crate) fn remove(&mut self, sandbox: &Sandbox) -> Result<(), Bad> {
        self.ask(
            "DELETE",
            &format!("/sandboxes/{}", sandbox.id()),
            &Value::Null,
            204,
        )?;
        self.made.retain(|(id, _)| id != sandbox.id());
        Ok(())
    }

    /// Ends what is not to stay.
    pub(crate) fn sweep(&mut self) {
        let (stay, go): (Vec<_>, Vec<_>) = std::mem::take(&mut self.made)
            .into_iter()
            .partition(|(_, kept)| *kept);
        for (id, _) in go {
            let _ = self.api("DELETE", &format!("/sandboxes/{id}"), &Value::Null);
        }
        self.made = stay;
    }

    /// Runs a line of sh(1) in a sandbox.
    pub(crate) fn shell(&self, sandbox: &Sandbox, user: &str, line: &str) -> Result<Ran, Bad> {
        Ok(exec(
            self.address,
            &sandbox.0,
            user,
            ("/bin/sh", &["-c", line]),
            COMMAND_MS,
        )?)
    }

    /// The same, which has to end with 0; what it wrote, without the white space around it.
    pub(crate) fn said(&self, sandbox: &Sandbox, user: &str, line: &str) -> Result<String, Bad> {
        let ran = self.shell(sandbox, user, line)?;
        if ran.exit == Some(0) {
            Ok(ran.stdout.trim().to_owned())
        } else {
            Err(Bad::Fails(format!("{line}: {ran:?}")))
        }
    }

    /// Has the probe in a sandbox try something.
    pub(crate) fn probe(&self, sandbox: &Sandbox, user: &str, words: &[&str]) -> Result<Said, Bad> {
        let words = [&["probe"], words].concat();
        let ran = exec(self.address, &sandbox.0, user, (PROBE, &words), COMMAND_MS)?;
        let said = ran.stdout.lines().last().and_then(crate::probe::read);
        said.ok_or_else(|| Bad::Fails(format!("the probe said nothing of use: {ran:?}")))
    }

    /// The same, which has to hold.
    pub(crate) fn holds(
        &self,
        sandbox: &Sandbox,
        user: &str,
        words: &[&str],
    ) -> Result<String, Bad> {
        let said = self.probe(sandbox, user, words)?;
        if said.holds {
            Ok(said.seen)
        } else {
            Err(Bad::Fails(format!(
                "{user}: {}: {}",
                words.join(" "),
                said.seen
            )))
        }
    }

    /// A request to the agent of a sandbox, or to one of its ports.
    pub(crate) fn inside(
        &self,
        sandbox: &Sandbox,
        port: u16,
        request: (&str, &str),
        kind: &str,
        body: &[u8],
    ) -> Result<Answer, Bad> {
        let port = port.to_string();
        let headers = [
            ("E2b-Sandbox-Id", sandbox.id()),
            ("E2b-Sandbox-Port", port.as_str()),
            (
                "X-Access-Token",
                sandbox.0["envdAccessToken"].as_str().unwrap_or_default(),
            ),
            ("Content-Type", kind),
        ];
        self.send(request.0, request.1, &headers, body)
    }

    /// One call of E2B's agent API.
    pub(crate) fn agent(
        &self,
        sandbox: &Sandbox,
        method: &str,
        body: &Value,
    ) -> Result<Answer, Bad> {
        self.inside(
            sandbox,
            AGENT,
            ("POST", method),
            "application/json",
            body.to_string().as_bytes(),
        )
    }

    /// Writes a file.
    pub(crate) fn upload(
        &self,
        sandbox: &Sandbox,
        user: &str,
        path: &str,
        content: &[u8],
    ) -> Result<Answer, Bad> {
        let target = format!("/files?path={}&username={user}", path.replace(' ', "%20"));
        let answer = self.inside(
            sandbox,
            AGENT,
            ("POST", &target),
            "application/octet-stream",
            content,
        )?;
        if answer.status != 200 {
            return Err(Bad::Fails(format!(
                "upload of {path}: {} {}",
                answer.status,
                answer.text()
            )));
        }
        Ok(answer)
    }

    /// Reads a file, whatever the answer.
    pub(crate) fn download(
        &self,
        sandbox: &Sandbox,
        user: &str,
        path: &str,
    ) -> Result<Answer, Bad> {
        let target = format!("/files?path={}&username={user}", path.replace(' ', "%20"));
        self.inside(sandbox, AGENT, ("GET", &target), "application/json", b"")
    }

    /// Ids of all sandboxes the API lists.
    pub(crate) fn listed(&self) -> Result<Vec<String>, Bad> {
        let list = self.ask("GET", "/v2/sandboxes?limit=100", &Value::Null, 200)?;
        let all = list.as_array().into_iter().flatten();
        Ok(all
            .filter_map(|one| one["sandboxID"].as_str().map(str::to_owned))
            .collect())
    }

    pub(crate) fn privd_pid(&self) -> Option<i32> {
        self.privd.as_ref().and_then(|p| i32::try_from(p.id()).ok())
    }

    /// The daemon of that name, below privd.
    pub(crate) fn daemon(&self, name: &str) -> Result<Option<Process>, String> {
        let privd = self.privd_pid();
        // FreeBSD cuts the name of a program at 19 characters, Linux at 15; both are longer than ours.
        let all = processes::all()?.into_iter();
        Ok(all
            .into_iter()
            .find(|p| Some(p.parent) == privd && p.name.rsplit('/').next() == Some(name)))
    }

    /// Kills privd as a fault would. Its gateway goes when it has noticed, and answers until then: that is waited for.
    pub(crate) fn kill_privd(&mut self) -> Result<(), String> {
        let gateway = self.daemon("gatewayd")?;
        if let Some(mut privd) = self.privd.take() {
            let _ = privd.kill();
            let _ = privd.wait();
        }
        end_of(gateway.as_ref())
    }

    /// Ends privd as an operator would, and with it everything.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        let gateway = self.daemon("gatewayd").ok().flatten();
        let Some(mut privd) = self.privd.take() else {
            return Ok(());
        };
        let pid = i32::try_from(privd.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let ended = until("the end of privd", || privd.try_wait().ok().flatten());
        match ended {
            Ok(status) if status.success() => {
                end_of(gateway.as_ref())?;
                self.ended_well = true;
                Ok(())
            }
            Ok(status) => Err(format!("privd ended with {status}: {}", self.log_end())),
            Err(why) => {
                let _ = privd.kill();
                let _ = privd.wait();
                Err(format!("{why}: {}", self.log_end()))
            }
        }
    }

    /// Has privd remove what an instance that did not end well has left on the host.
    fn purge(&self) -> Result<(), String> {
        let mut privd = Command::new(self.programs.join("privd"))
            .args(["-p", "-f"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| format!("privd -p: {e}"))?;
        match until("the end of privd -p", || privd.try_wait().ok().flatten()) {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("privd -p ended with {status}")),
            Err(why) => {
                let _ = privd.kill();
                let _ = privd.wait();
                Err(why)
            }
        }
    }

    /// Leaves the directory where it is.
    pub(crate) fn keep_dir(&mut self) -> Option<PathBuf> {
        self.dir.take().map(RunDir::keep)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let ended = self.stop();
        if self.ended_well {
            leftovers::destroy_datasets(&self.tag);
            return;
        }
        let left = self
            .purge()
            .err()
            .or_else(|| ended.err())
            .unwrap_or_default();
        eprintln!("warder-conformance: privd did not end well; purged. {left}");
        leftovers::destroy_datasets(&self.tag);
    }
}

/// Waits for the end of the gateway that a privd had started.
fn end_of(gateway: Option<&Process>) -> Result<(), String> {
    let Some(gateway) = gateway else {
        return Ok(());
    };
    until("the end of its gateway", || {
        let all = processes::all().ok()?;
        let same = |p: &Process| p.pid == gateway.pid && p.name == gateway.name;
        (!all.iter().any(same)).then_some(())
    })
}

fn bytes(body: &Value) -> Vec<u8> {
    if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    }
}
