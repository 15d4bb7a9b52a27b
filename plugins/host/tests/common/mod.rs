//! Starts the real pluginhost as privd does, with this test as privd and gateway.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use warder_ipc::{Channel, IpcError};
use warder_wire::gateway_plugin::{Answer, Ask, Event};
use warder_wire::start::{Ready, Role, Start};
use warder_wire::{
    BackendName, Fault, FaultCode, InstanceTag, LimitState, Limits, LimitsInForce, Message, OpId,
    Request, SandboxId, TemplateName, VERSION, plugin_priv,
};

/// A user that nobody else is on a test machine, hopefully.
pub(crate) const IDS: (u32, u32) = (64_331, 64_332);
/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Builds a plugin and names its file. Cargo does nothing when it is there already.
pub(crate) fn build(manifest: &Path, package: &str, library: &str, more: &[&str]) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", package, "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .args(more)
        .status()
        .expect("cargo starts");
    assert!(status.success(), "{} builds", manifest.display());
    target.join("debug").join(library)
}

pub(crate) fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("plugins/host")
        .to_owned()
}

pub(crate) fn namespace() -> PathBuf {
    let manifest = plugins().parent().expect("the root").join("Cargo.toml");
    build(
        &manifest,
        "warder-namespace",
        "libwarder_namespace.so",
        &["--locked"],
    )
}

/// The example, or the one that `WARDER_EXAMPLE` names: built by an older or newer compiler, say.
pub(crate) fn example() -> PathBuf {
    if let Some(library) = std::env::var_os("WARDER_EXAMPLE") {
        return library.into();
    }
    let manifest = plugins().join("example/Cargo.toml");
    build(&manifest, "warder-example", "libexample.so", &["--locked"])
}

/// The hostile one, or the one that `WARDER_HOSTILE_PLUGIN` names: on a host without cargo.
pub(crate) fn hostile() -> PathBuf {
    if let Some(library) = std::env::var_os("WARDER_HOSTILE_PLUGIN") {
        return library.into();
    }
    let manifest = plugins().join("host/tests/hostile/Cargo.toml");
    build(&manifest, "hostile", "libhostile.so", &["--locked"])
}

/// A plugin directory beside a secret.
pub(crate) fn directory(backend: &str, library: &Path, behaviour: &str) -> tempfile::TempDir {
    let scene = tempfile::tempdir().expect("a directory");
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
    };
    open(scene.path(), 0o755);
    std::fs::write(scene.path().join("secret"), "secret").expect("write");
    let plugin = scene.path().join("plugin");
    std::fs::create_dir(&plugin).expect("mkdir");
    open(&plugin, 0o755);
    let file = plugin.join(format!("lib{backend}.so"));
    std::fs::copy(library, &file).expect("copy");
    open(&file, 0o755);
    std::fs::write(plugin.join("behaviour"), behaviour).expect("write");
    open(&plugin.join("behaviour"), 0o644);
    scene
}

/// A running pluginhost, and both its peers.
pub(crate) struct Host {
    pub(crate) child: Child,
    pub(crate) privd: Channel,
    pub(crate) gateway: Channel,
    lines: Arc<Mutex<Vec<String>>>,
    seq: u64,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Host {
    /// Starts it on the plugin directory of `scene`.
    pub(crate) fn start(scene: &Path, backend: &str) -> Self {
        let (privd, theirs) = Channel::pair().expect("socketpair");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pluginhost"));
        command
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let theirs = theirs.into_fd();
        let number = theirs.as_raw_fd();
        assert_ne!(number, 3, "dup2 onto itself would leave it close-on-exec");
        // SAFETY: dup2 is async-signal-safe, and the descriptor is open until after the spawn.
        let put = move || match unsafe { libc::dup2(number, 3) } {
            3 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        };
        // SAFETY: `put` makes one system call and allocates nothing.
        unsafe { command.pre_exec(put) };
        let mut child = command.spawn().expect("pluginhost starts");
        drop(theirs);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stderr, kept) = (child.stderr.take().expect("piped"), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().expect("no panic").push(line);
            }
        });
        let (gateway, gateways) = Channel::pair().expect("socketpair");
        let mut host = Self {
            child,
            privd,
            gateway,
            lines,
            seq: 0,
        };
        let directory = std::fs::File::open(scene.join("plugin")).expect("there");
        let role = Role::Plugin {
            ids: IDS,
            backend: BackendName::new(backend).expect("a name"),
        };
        let start = Start {
            version: VERSION,
            tag: InstanceTag::of_state_dir(b"test"),
            role,
        };
        host.privd
            .send(&start, vec![OwnedFd::from(directory), gateways.into_fd()])
            .expect("sends");
        host
    }

    /// Waits until it serves.
    pub(crate) fn ready(mut self) -> Self {
        let (ready, _) = self
            .privd
            .recv_timeout::<Ready>(PATIENCE)
            .unwrap_or_else(|error| {
                panic!("{error}: {:?}", self.logged());
            });
        assert_eq!(ready.version, VERSION);
        let words = ready.confinement;
        assert!(words.starts_with("uid 64331, no capabilities"), "{words}");
        let last = ["seccomp", "no new processes"];
        assert!(last.iter().any(|last| words.ends_with(last)), "{words}");
        self
    }

    /// What it logged so far.
    pub(crate) fn logged(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }

    /// Waits for a line that holds `text`.
    #[track_caller]
    pub(crate) fn logs(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.logged().into_iter().find(|line| line.contains(text)) {
                return line;
            }
            assert!(Instant::now() < end, "no {text:?} in {:#?}", self.logged());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a request; its number. Waits until it is in the kernel's queue, since nothing here sends
    /// what stays in the channel's own.
    pub(crate) fn ask(&mut self, body: Ask) -> u64 {
        self.seq += 1;
        let seq = self.seq;
        self.gateway
            .send_timeout(&Request { seq, body }, Vec::new(), PATIENCE)
            .expect("sends");
        seq
    }

    /// The next answer, whoever it is for.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> (u64, Result<Answer, Fault>) {
        match self
            .gateway
            .recv_timeout::<Message<Answer, Event>>(PATIENCE)
        {
            Ok((Message::Reply { seq, result }, _)) => (seq, result),
            other => panic!("{other:?}: {:#?}", self.logged()),
        }
    }

    /// One request, answered without privd.
    #[track_caller]
    pub(crate) fn call(&mut self, body: Ask) -> Result<Answer, Fault> {
        let asked = self.ask(body);
        let (seq, result) = self.answer();
        assert_eq!(seq, asked);
        result
    }

    /// What it asks of privd next, apart from finding its cells.
    #[track_caller]
    pub(crate) fn asked(&mut self) -> (u64, plugin_priv::Ask) {
        loop {
            let got = self
                .privd
                .recv_timeout::<Request<plugin_priv::Ask>>(PATIENCE);
            let (request, _) = got.unwrap_or_else(|e| panic!("{e}: {:#?}", self.logged()));
            if !matches!(request.body, plugin_priv::Ask::CellList { .. }) {
                return (request.seq, request.body);
            }
            self.reply(request.seq, Ok(plugin_priv::Answer::Cells(Vec::new())));
        }
    }

    /// Answers as privd.
    pub(crate) fn reply(&mut self, seq: u64, result: Result<plugin_priv::Answer, Fault>) {
        let message: Message<_, plugin_priv::Event> = Message::Reply { seq, result };
        self.privd.send(&message, Vec::new()).expect("sends");
    }

    /// What privd tells it.
    pub(crate) fn event(&mut self, event: plugin_priv::Event, fds: Vec<OwnedFd>) {
        let message: Message<plugin_priv::Answer, _> = Message::Event(event);
        self.privd.send(&message, fds).expect("sends");
    }

    /// One sandbox made, privd agreeing to everything.
    #[track_caller]
    pub(crate) fn create(&mut self, op: u8, number: u8) -> Result<Answer, Fault> {
        let asked = self.ask(create(op, number, 10_000));
        let (seq, clone) = self.asked();
        assert!(
            matches!(clone, plugin_priv::Ask::StorageClone { .. }),
            "{clone:?}"
        );
        self.reply(seq, Ok(plugin_priv::Answer::Done));
        let (seq, cell) = self.asked();
        assert!(
            matches!(cell, plugin_priv::Ask::CellCreate { .. }),
            "{cell:?}"
        );
        self.reply(seq, Ok(plugin_priv::Answer::Cell { limits: in_force() }));
        let (seq, result) = self.answer();
        assert_eq!(seq, asked);
        result
    }

    /// Waits for its end, privd saying no to everything meanwhile.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(Instant::now() < end, "it lives: {:#?}", self.logged());
            self.refuse();
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// As privd, refuses what is asked now; what it was.
    pub(crate) fn refuse(&mut self) -> Vec<plugin_priv::Ask> {
        let mut asked = Vec::new();
        while let Ok(Some((request, _))) = self.privd.recv::<Request<plugin_priv::Ask>>() {
            if matches!(request.body, plugin_priv::Ask::CellList { .. }) {
                self.reply(request.seq, Ok(plugin_priv::Answer::Cells(Vec::new())));
            } else {
                self.reply(
                    request.seq,
                    Err(Fault::new(FaultCode::NotFound, "not yours")),
                );
                asked.push(request.body);
            }
        }
        asked
    }

    /// Whether the gateway's channel is at its end.
    pub(crate) fn hung_up(&mut self) -> bool {
        let got = self
            .gateway
            .recv_timeout::<Message<Answer, Event>>(PATIENCE);
        matches!(got, Err(IpcError::Closed))
    }
}

pub(crate) fn id(number: u8) -> SandboxId {
    SandboxId::from_random(&[number; 20])
}

pub(crate) fn limits() -> Limits {
    Limits {
        memory_mib: 512,
        cpu_percent: 100,
        pids: 256,
        disk_mib: 1024,
    }
}

pub(crate) fn in_force() -> LimitsInForce {
    let held = LimitState::Enforced;
    LimitsInForce {
        memory: held,
        cpu: held,
        pids: LimitState::StandIn,
        disk: LimitState::Absent,
    }
}

pub(crate) fn create(op: u8, number: u8, deadline_ms: u32) -> Ask {
    Ask::Create {
        op: OpId([op; 16]),
        deadline_ms,
        sandbox: id(number),
        template: TemplateName::new("base").expect("a name"),
        limits: limits(),
    }
}

pub(crate) fn destroy(op: u8, number: u8) -> Ask {
    Ask::Destroy {
        op: OpId([op; 16]),
        deadline_ms: 10_000,
        sandbox: id(number),
    }
}
