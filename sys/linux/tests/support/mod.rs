//! What the tests share: a runner in one thread, a state directory, an agent, a network namespace.

use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use tempfile::TempDir;
use warder_linux::cell::{
    self, Cell, CellSpec, Controllers, IdRange, Network, Outcome, Status, UserNamespace, Walls,
};
use warder_linux::dirs::{Access, detached};
use warder_linux::process::{Process, Signal};
use warder_linux::storage::Store;
use warder_wire::gateway_priv::VolumeMount;
use warder_wire::{InstanceTag, Limits, SandboxId, TemplateName};

/// Runs the tests, as root; who is not is told so, and nothing was tested.
pub(crate) fn run(tests: &[(&str, fn())]) {
    let lists = std::env::args().any(|arg| arg == "--list");
    if !lists && !rustix::process::geteuid().is_root() {
        eprintln!("skipped: these tests need root");
        return;
    }
    warder_harness::alone::run(tests);
}

pub(crate) const LIMITS: Limits = Limits {
    memory_mib: 256,
    cpu_percent: 100,
    pids: 64,
    disk_mib: 1024,
};

/// An instance with everything a cell needs.
pub(crate) struct Instance {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) controllers: Controllers,
    pub(crate) users: UserNamespace,
    pub(crate) network: Network,
}

impl Instance {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = Store::open(dir.path(), None).expect("store");
        let tag = InstanceTag::of_state_dir(dir.path().as_os_str().as_encoded_bytes());
        Self {
            store,
            controllers: Controllers::open(tag, dir.path()).expect("controllers"),
            users: UserNamespace::new(range()).expect("user namespace"),
            network: network(network_namespace()),
            dir,
        }
    }

    pub(crate) fn with_base() -> Self {
        let mut instance = Self::new();
        instance.make_base();
        instance
    }

    pub(crate) fn make_base(&mut self) {
        let draft = self.store.draft(&base(), None).expect("draft");
        self.store.make_base(&draft).expect("template base");
        self.store.keep(&draft).expect("keep");
        self.store.settle(draft, true).expect("settle");
    }

    /// Where the lowest layer of a template lies.
    pub(crate) fn bottom(&self, template: &str) -> std::path::PathBuf {
        let manifest = self.dir.path().join("templates").join(template);
        let manifest = std::fs::read_to_string(manifest).expect("manifest");
        let layers = self.dir.path().join("layers");
        layers.join(manifest.lines().last().expect("a layer"))
    }

    /// Names of templates beside the one that is always there.
    pub(crate) fn templates(&self) -> Vec<TemplateName> {
        let all = self.store.templates(None).map(|(name, _)| name);
        all.filter(|name| name.as_str() != "bare").collect()
    }

    /// A running cell of template `base`, its agent answering.
    pub(crate) fn cell(&mut self, limits: &Limits) -> Running {
        let made = self.start(&random_id(), "base", None, limits, &[]);
        made.unwrap_or_else(|outcome| panic!("{outcome:?}"))
    }

    /// A cell of any template, with ids and volumes of its own; its tree is made unless there is one.
    pub(crate) fn start(
        &mut self,
        sandbox: &SandboxId,
        template: &str,
        users: Option<&UserNamespace>,
        limits: &Limits,
        volumes: &[VolumeMount],
    ) -> Result<Running, Outcome> {
        let template = TemplateName::new(template).expect("a name");
        let users = users.unwrap_or(&self.users);
        if !self.store.list().expect("list").contains(sandbox) {
            let resolvers = [Ipv4Addr::new(192, 0, 2, 53)];
            self.store
                .clone_template(sandbox, &template, users.range(), &resolvers)
                .expect("clone");
        }
        let agent = detached(
            &std::env::current_exe().expect("own path"),
            Access::ReadOnly,
        )
        .expect("agent");
        let socket = self.dir.path().join(format!("{sandbox}.link"));
        let _ = std::fs::remove_file(&socket);
        let listener = listener(&socket);
        let root = self.store.root(sandbox).expect("root");
        let (cell, status) = cell::spawn(&CellSpec {
            walls: Walls {
                controllers: &self.controllers,
                name: sandbox,
                users,
                limits,
                root: &root.with_volumes(volumes),
                agent: agent.as_fd(),
            },
            network: &self.network,
            listener: listener.as_fd(),
            resolvers: &[],
        })
        .expect("spawn");
        match wait(status) {
            Outcome::Running => {}
            failed @ Outcome::Failed { .. } => {
                ended(&cell.process);
                let _ = cell.process.try_wait().expect("wait");
                self.gone(sandbox);
                return Err(failed);
            }
        }
        Ok(Running {
            sandbox: sandbox.clone(),
            cell,
            link: connect(&socket),
        })
    }

    pub(crate) fn spawn(
        &self,
        sandbox: &SandboxId,
        limits: &Limits,
        agent: BorrowedFd<'_>,
        listener: BorrowedFd<'_>,
    ) -> warder_linux::Result<(Cell, Status)> {
        let root = self.store.root(sandbox)?;
        cell::spawn(&CellSpec {
            walls: Walls {
                controllers: &self.controllers,
                name: sandbox,
                users: &self.users,
                limits,
                root: &root,
                agent,
            },
            network: &self.network,
            listener,
            resolvers: &[],
        })
    }

    /// Ends a cell as privd does, and proves that nothing is left.
    pub(crate) fn end(&mut self, running: Running) {
        self.stop(&running);
        self.removed(&running.sandbox);
    }

    /// Ends a cell and keeps its tree.
    pub(crate) fn stop(&self, running: &Running) {
        running.cell.process.signal(Signal::Kill).expect("kill");
        ended(&running.cell.process);
        let _ = running.cell.process.try_wait().expect("wait");
        self.gone(&running.sandbox);
    }

    fn gone(&self, sandbox: &SandboxId) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.controllers.remove_leftovers(sandbox).expect("remove") {
            assert!(Instant::now() < deadline, "groups stay busy");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn removed(&mut self, sandbox: &SandboxId) {
        self.gone(sandbox);
        self.store.discard(sandbox).expect("discard");
        assert_eq!(self.controllers.leftovers().expect("leftovers"), []);
        assert_eq!(self.store.list().expect("list"), []);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let dir = self.dir.path().to_str().expect("plain name");
        assert!(!mounts.contains(dir), "mounts are left:\n{mounts}");
        let groups = Command::new("find")
            .args(["/sys/fs/cgroup", "-name", sandbox.as_str()])
            .output()
            .expect("find");
        assert_eq!(String::from_utf8_lossy(&groups.stdout), "");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // A failed test leaves its cells.
        for sandbox in self.controllers.leftovers().unwrap_or_default() {
            while !self.controllers.remove_leftovers(&sandbox).unwrap_or(true) {}
        }
        let closed = self.controllers.close();
        // The first report is the one that counts.
        if !std::thread::panicking() {
            assert!(closed.expect("close"), "cells are left");
        }
    }
}

pub(crate) struct Running {
    pub(crate) sandbox: SandboxId,
    pub(crate) cell: Cell,
    link: OwnedFd,
}

impl Running {
    pub(crate) fn new(sandbox: SandboxId, cell: Cell, link: OwnedFd) -> Self {
        Self {
            sandbox,
            cell,
            link,
        }
    }

    /// Runs shell text as root of the sandbox: exit code and output.
    pub(crate) fn sh(&self, text: &str) -> (i32, String) {
        self.ask(&format!("0{text}"))
    }

    /// As user 1000.
    pub(crate) fn sh_user(&self, text: &str) -> (i32, String) {
        self.ask(&format!("1{text}"))
    }

    /// Runs shell text that must succeed.
    pub(crate) fn ok(&self, text: &str) -> String {
        let (code, output) = self.sh(text);
        assert_eq!(code, 0, "{text}: {output}");
        output
    }

    fn ask(&self, text: &str) -> (i32, String) {
        rustix::net::send(&self.link, text.as_bytes(), SendFlags::NOSIGNAL).expect("send");
        readable(&self.link, Duration::from_secs(300));
        let mut buffer = vec![0; 128 * 1024];
        let (length, _) =
            rustix::net::recv(&self.link, &mut buffer, RecvFlags::empty()).expect("recv");
        assert!(length > 0, "the agent has ended");
        let code = buffer[0];
        (
            code.into(),
            String::from_utf8_lossy(&buffer[1..length])
                .trim_end()
                .to_owned(),
        )
    }
}

/// What the test program does when it is the agent of a cell: answers each message with code and output.
pub(crate) fn agent_if_asked() {
    if std::env::args().next().as_deref() != Some("envd") {
        return;
    }
    let listener = rustix::io::dup(borrow_three()).expect("descriptor 3");
    loop {
        let link = rustix::net::accept(&listener).expect("accept");
        let mut buffer = [0; 4096];
        while let Ok((length @ 1.., _)) = rustix::net::recv(&link, &mut buffer, RecvFlags::empty())
        {
            let text = String::from_utf8_lossy(&buffer[1..length]).into_owned();
            rustix::net::send(&link, &obey(buffer[0] == b'1', &text), SendFlags::NOSIGNAL)
                .expect("send");
        }
    }
}

fn borrow_three() -> BorrowedFd<'static> {
    // SAFETY: the cell gave this process its listener as 3, and nothing closes it.
    unsafe { BorrowedFd::borrow_raw(3) }
}

fn obey(as_user: bool, text: &str) -> Vec<u8> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("/bin/bash");
    command.args(["-c", text]).current_dir("/");
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    if as_user {
        command.uid(1000).gid(1000).env("HOME", "/home/user");
    }
    match command.output() {
        Ok(output) => {
            let mut answer = vec![output.status.code().unwrap_or(-1) as u8];
            answer.extend_from_slice(&output.stdout);
            answer.extend_from_slice(&output.stderr);
            answer.truncate(100 * 1024);
            answer
        }
        Err(error) => [&[255], format!("{error}").as_bytes()].concat(),
    }
}

/// Ids for a sandbox of this program; those of the next range are its too. A privd that starts ends whatever runs with
/// ids of its instance and is in no ledger, so these lie beyond the last instance's (`privd/src/claim.rs`). Of them, each
/// program that runs has its own: a cell without control groups is stopped by its ids.
pub(crate) fn range() -> IdRange {
    const FIRST: u32 = 0xfe00_0000;
    const COUNT: u32 = 65_536;
    // A name in the kernel, which goes with the process. The ids of the last range are not all valid.
    static TAKEN: OnceLock<(u32, OwnedFd)> = OnceLock::new();
    let (n, _) = TAKEN.get_or_init(|| {
        let claim = |n| {
            let name = format!("warder-linux-tests-{n}");
            let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("a name");
            let socket = seqpacket();
            rustix::net::bind(&socket, &address).ok()?;
            Some((n, socket))
        };
        (0..255).find_map(claim).expect("free ids")
    });
    IdRange {
        first: FIRST + n * 2 * COUNT,
        count: COUNT,
    }
}

pub(crate) fn base() -> TemplateName {
    TemplateName::new("base").expect("a name")
}

pub(crate) fn random_id() -> SandboxId {
    let mut random = [0; 20];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .expect("random");
    SandboxId::from_random(&random)
}

pub(crate) fn listener(path: &Path) -> OwnedFd {
    let address = SocketAddrUnix::new(path).expect("address");
    let socket = seqpacket();
    rustix::net::bind(&socket, &address).expect("bind");
    rustix::net::listen(&socket, 8).expect("listen");
    socket
}

pub(crate) fn connect(path: &Path) -> OwnedFd {
    let socket = seqpacket();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).expect("address")).expect("connect");
    socket
}

fn seqpacket() -> OwnedFd {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("socket")
}

/// A network namespace of the host's user namespace, with no process in it.
pub(crate) fn network_namespace() -> OwnedFd {
    let mut holder = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-c",
            "ip link set lo up; echo; exec sleep 1000",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut line = [0];
    holder
        .stdout
        .as_mut()
        .expect("piped")
        .read_exact(&mut line)
        .expect("namespace ready");
    let netns = File::open(format!("/proc/{}/ns/net", holder.id())).expect("namespace");
    holder.kill().expect("kill");
    holder.wait().expect("wait");
    netns.into()
}

/// What privd makes of a descriptor that netd sent.
pub(crate) fn network(namespace: OwnedFd) -> Network {
    let slot = warder_wire::priv_net::Slot {
        counter: 0,
        address: Ipv4Addr::LOCALHOST,
        gateway: Ipv4Addr::LOCALHOST,
    };
    Network::received(slot, vec![namespace]).expect("a network")
}

/// What becomes of a cell.
pub(crate) fn wait(mut status: Status) -> Outcome {
    loop {
        readable(&status, Duration::from_secs(120));
        if let Some(outcome) = status.read().expect("status") {
            return outcome;
        }
    }
}

pub(crate) fn ended(process: &Process) {
    readable(process, Duration::from_secs(120));
}

fn readable(fd: &impl AsFd, most: Duration) {
    let most = Timespec::try_from(most).expect("short");
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    assert_eq!(
        poll(&mut fds, Some(&most)).expect("poll"),
        1,
        "nothing came"
    );
}
