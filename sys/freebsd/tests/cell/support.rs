//! What the tests share: a pool, an instance, a slot, an agent.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use warder_freebsd::cell::{
    self, Cell, CellSpec, Controllers, IdRange, Network, Outcome, Status, UserNamespace, Walls,
};
use warder_freebsd::dirs::{Access, detached};
use warder_freebsd::process::Process;
use warder_freebsd::storage::Store;
use warder_freebsd::sys::{Params, jail, mount};
use warder_wire::gateway_priv::VolumeMount;
use warder_wire::priv_net::{Slot, slot_jail};
use warder_wire::{InstanceTag, Limits, SandboxId, TemplateName};

/// Memory for some twenty processes: malloc(3) of 15.x takes 10 MiB in every one, and in one that execs twice.
pub(crate) const LIMITS: Limits = Limits {
    memory_mib: 512,
    cpu_percent: 100,
    pids: 64,
    disk_mib: 64,
};

/// A program of the host, which must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{words}"
    );
    text
}

/// A pool in a file, for all tests of this program.
pub(crate) struct Pool {
    name: String,
    file: PathBuf,
}

/// Where the pool is mounted; tests run in forks of the process that made it.
static MOUNTED: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();

impl Pool {
    pub(crate) fn new() -> Self {
        let name = format!("wardertest{}", std::process::id());
        let file = PathBuf::from(format!("/var/tmp/{name}.pool"));
        let on = PathBuf::from(format!("/var/tmp/{name}"));
        let pool = File::create(&file).and_then(|file| file.set_len(2 << 30));
        pool.expect("a file for the pool");
        let (file_name, on_name) = (file.display().to_string(), on.display().to_string());
        let options = ["create", "-m", &on_name, &name, &file_name];
        run("/sbin/zpool", &options);
        MOUNTED.set(on).expect("once");
        Self { name, file }
    }

    pub(crate) fn destroy(self) {
        run("/sbin/zpool", &["destroy", "-f", &self.name]);
        std::fs::remove_file(&self.file).expect("the pool's file");
        std::fs::remove_dir(MOUNTED.get().expect("a pool")).expect("where it was mounted");
    }
}

/// An instance with everything a cell needs.
pub(crate) struct Instance {
    pub(crate) dir: PathBuf,
    pub(crate) tag: InstanceTag,
    pub(crate) store: Store,
    pub(crate) controllers: Controllers,
    pub(crate) users: UserNamespace,
    pub(crate) network: Network,
    pub(crate) limits: Limits,
}

impl Instance {
    pub(crate) fn new() -> Self {
        let mounted = MOUNTED.get().expect("a pool");
        let dir = mounted.join(random_id().as_str());
        std::fs::create_dir(&dir).expect("a state directory");
        let tag = InstanceTag::of_state_dir(dir.as_os_str().as_encoded_bytes());
        make_slot(tag);
        let mut store = Store::open(&dir, None).expect("store");
        let draft = store.draft(&name("base"), None).expect("draft");
        store.make_base(&draft).expect("template base");
        store.keep(&draft).expect("keep");
        store.settle(draft, true).expect("settle");
        let range = IdRange {
            first: 0x4000_0000,
            count: 65_536,
        };
        Self {
            controllers: Controllers::open(tag, &dir).expect("controllers"),
            users: UserNamespace::new(range).expect("users"),
            network: network(),
            limits: LIMITS,
            store,
            tag,
            dir,
        }
    }

    /// A running cell of template `base`, its agent answering.
    pub(crate) fn cell(&mut self) -> Running {
        let made = self.start(&random_id(), &[]);
        made.unwrap_or_else(|outcome| panic!("{outcome:?}"))
    }

    /// A cell; its tree is made unless there is one.
    pub(crate) fn start(
        &mut self,
        sandbox: &SandboxId,
        volumes: &[VolumeMount],
    ) -> Result<Running, Outcome> {
        if !self.store.list().expect("list").contains(sandbox) {
            let resolvers = [Ipv4Addr::new(192, 0, 2, 53)];
            self.store
                .clone_template(sandbox, &name("base"), self.users.range(), &resolvers)
                .expect("clone");
        }
        let socket = self.socket(sandbox);
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("bind");
        let agent = own_program();
        let (cell, status) = self
            .spawn(sandbox, agent.as_fd(), listener.as_fd(), volumes)
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
        Ok(self.running(sandbox, cell))
    }

    pub(crate) fn running(&self, sandbox: &SandboxId, cell: Cell) -> Running {
        Running {
            sandbox: sandbox.clone(),
            cell,
            link: UnixStream::connect(self.socket(sandbox)).expect("connect"),
        }
    }

    pub(crate) fn socket(&self, sandbox: &SandboxId) -> PathBuf {
        // Short enough for sun_path (unix(4)).
        PathBuf::from(format!("/var/tmp/{sandbox}.link"))
    }

    pub(crate) fn spawn(
        &self,
        sandbox: &SandboxId,
        agent: BorrowedFd<'_>,
        listener: BorrowedFd<'_>,
        volumes: &[VolumeMount],
    ) -> warder_freebsd::Result<(Cell, Status)> {
        let root = self.store.root(sandbox)?.with_volumes(volumes);
        cell::spawn(&CellSpec {
            walls: Walls {
                controllers: &self.controllers,
                name: sandbox,
                users: &self.users,
                limits: &self.limits,
                root: &root,
                agent,
            },
            network: &self.network,
            listener,
            resolvers: &[],
        })
    }

    /// Where a sandbox's tree is.
    pub(crate) fn tree(&self, sandbox: &SandboxId) -> PathBuf {
        self.store.root(sandbox).expect("root").path().to_owned()
    }

    /// Ends a cell as privd does, and keeps its tree.
    pub(crate) fn stop(&self, running: &Running) {
        running.cell.kill().expect("kill");
        ended(&running.cell.process);
        let _ = running.cell.process.try_wait().expect("wait");
        self.gone(&running.sandbox);
    }

    /// The same, and proves that nothing is left.
    pub(crate) fn end(&mut self, running: Running) {
        self.stop(&running);
        self.removed(&running.sandbox);
    }

    pub(crate) fn gone(&self, sandbox: &SandboxId) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.controllers.remove_leftovers(sandbox).expect("remove") {
            assert!(Instant::now() < deadline, "it stays busy");
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = std::fs::remove_file(self.socket(sandbox));
    }

    pub(crate) fn removed(&mut self, sandbox: &SandboxId) {
        assert_eq!(self.controllers.leftovers().expect("leftovers"), []);
        let jails = jail::list().expect("jails");
        let left = |jail: &&jail::Jail| !jail.dying && jail.name.contains(sandbox.as_str());
        assert_eq!(jails.iter().find(left), None);
        let tree = self.tree(sandbox);
        for mounted in mount::mounted().expect("mounts") {
            let below = mounted.on.starts_with(&tree) && mounted.on != tree;
            assert!(!below, "{mounted:?}");
        }
        self.store.discard(sandbox).expect("discard");
        self.store.empty_trash().expect("trash");
        assert_eq!(self.store.list().expect("list"), []);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // A failed test leaves its cells.
        for sandbox in self.controllers.leftovers().unwrap_or_default() {
            while !self.controllers.remove_leftovers(&sandbox).unwrap_or(true) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let closed = self.controllers.close();
        if let Ok(Some(jid)) = jail::find(&slot_jail(self.tag, 1)) {
            let _ = jail::remove(jid);
        }
        // The first report is the one that counts.
        if !std::thread::panicking() {
            assert!(closed.expect("close"), "cells are left");
        }
    }
}

/// What netd makes: a jail with a network and no process, its loopback up.
fn make_slot(tag: InstanceTag) {
    let slot = slot_jail(tag, 1);
    let params = Params::new()
        .text("name", &slot)
        .text("path", "/var/empty")
        .flag("persist")
        .int("vnet", libc::JAIL_SYS_NEW)
        .int("children.max", 1)
        .int("enforce_statfs", 2)
        .int("securelevel", 3)
        .int("sysvmsg", libc::JAIL_SYS_NEW)
        .int("sysvsem", libc::JAIL_SYS_NEW)
        .int("sysvshm", libc::JAIL_SYS_NEW);
    jail::create(&params).unwrap_or_else(|said| panic!("a slot's jail: {said}"));
    let up = ["-j", &slot, "lo0", "inet", "127.0.0.1/8", "up"];
    run("/sbin/ifconfig", &up);
}

fn network() -> Network {
    let slot = Slot {
        counter: 1,
        address: Ipv4Addr::LOCALHOST,
        gateway: Ipv4Addr::LOCALHOST,
    };
    Network::received(slot, Vec::new()).expect("a network")
}

/// A cell whose agent is this program.
pub(crate) struct Running {
    pub(crate) sandbox: SandboxId,
    pub(crate) cell: Cell,
    link: UnixStream,
}

impl Running {
    /// Runs shell text as root of the sandbox: exit code and output.
    pub(crate) fn sh(&self, text: &str) -> (u8, String) {
        say(&self.link, text.as_bytes()).expect("send");
        let limit = Some(Duration::from_secs(100));
        self.link.set_read_timeout(limit).expect("a timeout");
        let answer = hear(&self.link).expect("the agent answers");
        let output = String::from_utf8_lossy(&answer[1..]);
        (answer[0], output.trim_end().to_owned())
    }

    /// Has the agent change the mode of one of its descriptors: the number of the error.
    pub(crate) fn fchmod(&self, number: i32) -> Option<i32> {
        let (code, said) = self.sh(&format!("{FCHMOD}{number}"));
        assert_eq!(code, 0, "{said}");
        said.parse().ok()
    }

    /// Runs shell text that must succeed.
    pub(crate) fn ok(&self, text: &str) -> String {
        let (code, output) = self.sh(text);
        assert_eq!(code, 0, "{text}: {output}");
        output
    }

    /// Whether the agent answers within a short time.
    pub(crate) fn answers(&self) -> bool {
        say(&self.link, b"true").expect("send");
        self.hears(Duration::from_millis(700))
    }

    /// Whether an answer that was not waited for comes.
    pub(crate) fn hears(&self, within: Duration) -> bool {
        self.link.set_read_timeout(Some(within)).expect("a timeout");
        hear(&self.link).is_ok()
    }
}

fn say(mut link: &UnixStream, text: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(text.len()).expect("short").to_le_bytes();
    link.write_all(&[&length, text].concat())
}

fn hear(mut link: &UnixStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    link.read_exact(&mut length)?;
    let mut text = vec![0; u32::from_le_bytes(length) as usize];
    link.read_exact(&mut text)?;
    Ok(text)
}

/// What the test program does when it is the agent of a cell: answers each text with code and output.
pub(crate) fn agent_if_asked() {
    if std::env::args().next().as_deref() != Some("envd") {
        return;
    }
    // SAFETY: the cell gave this process its listener as 3, and nothing closes it.
    let three = unsafe { BorrowedFd::borrow_raw(3) };
    let listener = UnixListener::from(three.try_clone_to_owned().expect("descriptor 3"));
    loop {
        let (link, _) = listener.accept().expect("accept");
        while let Ok(text) = hear(&link) {
            let text = String::from_utf8_lossy(&text).into_owned();
            if say(&link, &obey(&text)).is_err() {
                break;
            }
        }
    }
}

/// What tells the agent to do that itself.
const FCHMOD: &str = "#fchmod ";

fn obey(text: &str) -> Vec<u8> {
    if let Some(Ok(number)) = text.strip_prefix(FCHMOD).map(str::parse) {
        // SAFETY: the standard descriptors stay open.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let changed = rustix::fs::fchmod(fd, rustix::fs::Mode::from_raw_mode(0o600));
        let errno = changed.err().map_or(0, rustix::io::Errno::raw_os_error);
        return [&[0], errno.to_string().as_bytes()].concat();
    }
    let mut command = Command::new("/bin/sh");
    command.args(["-c", text]).current_dir("/");
    command.env("PATH", "/sbin:/bin:/usr/sbin:/usr/bin");
    match command.output() {
        Ok(output) => {
            let code = output
                .status
                .code()
                .and_then(|code| u8::try_from(code).ok());
            let mut answer = vec![code.unwrap_or(255)];
            answer.extend_from_slice(&output.stdout);
            answer.extend_from_slice(&output.stderr);
            answer
        }
        Err(error) => [&[254], format!("{error}").as_bytes()].concat(),
    }
}

/// This test program, as an agent.
pub(crate) fn own_program() -> OwnedFd {
    let own = std::env::current_exe().expect("own path");
    detached(&own, Access::ReadOnly).expect("agent")
}

pub(crate) fn name(text: &str) -> TemplateName {
    TemplateName::new(text).expect("a name")
}

pub(crate) fn random_id() -> SandboxId {
    let mut random = [0; 20];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .expect("random");
    SandboxId::from_random(&random)
}

/// What becomes of a cell, within reason.
pub(crate) fn wait(mut status: Status) -> Outcome {
    loop {
        readable(&status);
        if let Some(outcome) = status.read().expect("status") {
            return outcome;
        }
    }
}

pub(crate) fn ended(process: &Process) {
    readable(process);
}

fn readable(fd: &impl AsFd) {
    let most = Timespec::try_from(Duration::from_secs(60)).expect("short");
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    assert_eq!(
        poll(&mut fds, Some(&most)).expect("poll"),
        1,
        "nothing came"
    );
}

/// Whether something is mounted on a path.
pub(crate) fn is_mounted(path: &Path) -> bool {
    let mounted = mount::mounted().expect("mounts");
    mounted.iter().any(|mounted| mounted.on == path)
}
