//! One instance: its directories, its privd, the parts it starts, and a netd that gives namespaces.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept, bind, connect, listen,
    socket_with,
};
use warder_ipc::{Channel, IpcError};
use warder_wire::gateway_priv::{self, EndReason, Event};
use warder_wire::start::{Ready, Role, Start};
use warder_wire::{
    Bounds, Fault, FaultCode, InstanceTag, Message, Request, SandboxId, TemplateName, VERSION,
    plugin_priv,
};

use crate::net::{Slots, net};

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Part {
    Net,
    Gateway,
    Plugin,
    Egress,
}

/// A process that privd started, spoken for by the test.
pub(crate) struct Player {
    pub channel: Channel,
    pub pid: u32,
    pub fds: Vec<OwnedFd>,
}

pub(crate) struct Instance {
    dir: tempfile::TempDir,
    tmpfs: bool,
    socket: PathBuf,
    door: OwnedFd,
    privd: Option<Child>,
    players: BTreeMap<Part, Player>,
    slots: Arc<Mutex<Slots>>,
    seq: u64,
    gateway_inbox: BTreeMap<u64, (Result<gateway_priv::Answer, Fault>, Vec<OwnedFd>)>,
    plugin_inbox: BTreeMap<u64, Result<plugin_priv::Answer, Fault>>,
    events: Vec<Event>,
    pub certificates: Vec<(Event, Vec<OwnedFd>)>,
    /// The gateway's ends of egressd's channels, in the order they came in.
    pub egress_ends: Vec<OwnedFd>,
    pub egress_start: Option<Role>,
    plugin_ends: Vec<SandboxId>,
}

fn door_of(tag: &str) -> PathBuf {
    PathBuf::from(format!("/tmp/warder-privd-test-{tag}.sock"))
}

/// A part's process: hands its channel over and stays until it closes.
pub(crate) fn play() {
    let (channel, start, fds) = warder_ipc::take_start().expect("started by privd");
    let kept = channel.into_fd();
    let fd = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("socket");
    connect(
        &fd,
        &SocketAddrUnix::new(door_of(&start.tag.to_string())).expect("short"),
    )
    .expect("the test listens");
    let mut door = Channel::from_fd(fd).expect("a channel");
    let mut all = vec![kept.try_clone().expect("dup")];
    all.extend(fds);
    door.send_timeout(&(start, std::process::id()), all, PATIENCE)
        .expect("the test reads");
    let gone = rustix::event::PollFlags::HUP;
    let mut watch = [rustix::event::PollFd::new(
        &kept,
        rustix::event::PollFlags::empty(),
    )];
    while !watch[0].revents().intersects(gone) {
        let _ = rustix::event::poll(&mut watch, None);
    }
}

/// The agent: answers each link with a word and dies when told.
pub(crate) fn agent() {
    let listener = warder_host::own::inherited(3).expect("its listener");
    loop {
        let Ok(fd) = accept(&listener) else { continue };
        let Ok(mut link) = Channel::from_fd(fd) else {
            continue;
        };
        let _ = link.send(&std::process::id(), Vec::new());
        if let Ok((b'x', _)) = link.recv_timeout::<u8>(Duration::from_millis(500)) {
            std::process::exit(3);
        }
    }
}

impl Instance {
    pub(crate) fn start(config: &str) -> Self {
        let mut stage = Self::prepare(config, None);
        stage.start_privd();
        stage
    }

    /// An instance whose state directory is a small file system.
    pub(crate) fn start_on_tmpfs(config: &str, size: &str) -> Self {
        let mut stage = Self::prepare(config, Some(size));
        stage.start_privd();
        stage
    }

    pub(crate) fn prepare(config: &str, tmpfs: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("own");
        for sub in ["state", "libexec", "plugins"] {
            std::fs::create_dir(dir.path().join(sub)).expect("own");
        }
        if let Some(size) = tmpfs {
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
            let done = mount
                .arg(dir.path().join("state"))
                .status()
                .expect("starts");
            assert!(done.success());
        }
        let me = std::env::current_exe().expect("known");
        for name in ["netd", "gatewayd", "pluginhost", "egressd", "envd"] {
            std::fs::copy(&me, dir.path().join("libexec").join(name)).expect("room");
        }
        let state = dir.path().join("state").canonicalize().expect("there");
        let tag = InstanceTag::of_state_dir(state.as_os_str().as_encoded_bytes());
        let socket = door_of(&tag.to_string());
        let _ = std::fs::remove_file(&socket);
        let door = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("socket");
        bind(&door, &SocketAddrUnix::new(&socket).expect("short")).expect("free");
        listen(&door, 16).expect("bound");
        let stage = Self {
            dir,
            tmpfs: tmpfs.is_some(),
            socket,
            door,
            privd: None,
            players: BTreeMap::new(),
            slots: Arc::default(),
            seq: 0,
            gateway_inbox: BTreeMap::new(),
            plugin_inbox: BTreeMap::new(),
            events: Vec::new(),
            certificates: Vec::new(),
            egress_ends: Vec::new(),
            egress_start: None,
            plugin_ends: Vec::new(),
        };
        stage.configure(config);
        stage
    }

    pub(crate) fn configure(&self, more: &str) {
        let at = |sub: &str| self.dir.path().join(sub).display().to_string();
        let text = format!(
            "state_dir {}\nlisten 127.0.0.1:0\nlibexec_dir {}\nplugin_dir {}\nbackend namespace\nagent {}\nlog_file {}\nstorage_reserve_mib 1\n{more}\n",
            at("state"),
            at("libexec"),
            at("plugins"),
            at("libexec/envd"),
            at("log"),
        );
        std::fs::write(self.dir.path().join("conf"), text).expect("room");
    }

    pub(crate) fn start_privd(&mut self) {
        let child = Command::new(env!("CARGO_BIN_EXE_privd"))
            .arg("-f")
            .arg(self.dir.path().join("conf"))
            .stdin(Stdio::null())
            .spawn();
        self.privd = Some(child.expect("starts"));
        self.players.clear();
        // The gateway comes when netd serves and the templates are known; the others in any order.
        while self.players.len() < 4 {
            let (part, player) = self.admit();
            self.enter(part, player);
        }
        self.until("the gateway is joined to all", |stage| {
            stage.saw(|e| matches!(e, Event::NetChannel))
                && stage.saw(|e| matches!(e, Event::PluginChannel { .. }))
                && stage.saw(|e| matches!(e, Event::EgressChannel))
        });
    }

    /// Waits for a part's next process.
    pub(crate) fn take(&mut self, part: Part) {
        let (came, player) = self.admit();
        assert_eq!(came, part, "another part was started");
        self.enter(came, player);
    }

    /// Waits for the next netd, and the egressd that comes with it.
    pub(crate) fn take_net(&mut self) {
        self.take(Part::Net);
        self.take(Part::Egress);
    }

    /// netd says of the next egressd that it is of no use.
    pub(crate) fn refuse_egress(&self) {
        self.slots.lock().expect("unpoisoned").refuse_egress = true;
    }

    /// The newest of netd's ends of egressd's channels, if there are so many.
    pub(crate) fn egress_at_net(&self, count: usize) -> Option<Channel> {
        let mut slots = self.slots.lock().expect("unpoisoned");
        (slots.egress.len() == count)
            .then(|| slots.egress.pop())
            .flatten()
            .map(|fd| Channel::from_fd(fd).expect("a channel"))
    }

    fn admit(&mut self) -> (Part, Player) {
        let mut ready = [rustix::event::PollFd::new(
            &self.door,
            rustix::event::PollFlags::IN,
        )];
        let timeout = rustix::event::Timespec::try_from(PATIENCE).expect("short");
        let came = rustix::event::poll(&mut ready, Some(&timeout)).expect("polls");
        assert_eq!(came, 1, "privd started nothing; its log:\n{}", self.log());
        let fd = accept(&self.door).expect("waits");
        let mut door = Channel::from_fd(fd).expect("a channel");
        let ((start, pid), mut fds) = door.recv_timeout::<(Start, u32)>(PATIENCE).expect("a part");
        let channel = Channel::from_fd(fds.remove(0)).expect("a channel");
        let part = match &start.role {
            Role::Net(net) => {
                assert!(net.ids > 0 && fds.len() == 1);
                Part::Net
            }
            Role::Gateway {
                tcp_listeners, ids, ..
            } => {
                assert_eq!(fds.len(), usize::from(*tcp_listeners) + 2);
                let state = rustix::fs::fstat(&fds[fds.len() - 1]).expect("open");
                assert_eq!((state.st_uid, state.st_mode & 0o777), (ids.0, 0o700));
                Part::Gateway
            }
            Role::Plugin { .. } => {
                assert_eq!(fds.len(), 2);
                Part::Plugin
            }
            Role::Egress { ids, .. } => {
                assert!(ids.0 > 0 && ids.1 > 0 && fds.len() == 2);
                self.egress_start = Some(start.role.clone());
                Part::Egress
            }
        };
        (part, Player { channel, pid, fds })
    }

    fn enter(&mut self, part: Part, mut player: Player) {
        let ready = Ready {
            version: VERSION,
            confinement: "none, a test".to_owned(),
        };
        player
            .channel
            .send(&ready, Vec::new())
            .expect("privd reads");
        if part == Part::Gateway {
            self.gateway_inbox.clear();
            self.events.clear();
        }
        if part == Part::Net {
            let pid = player.pid;
            let slots = Arc::clone(&self.slots);
            std::thread::spawn(move || net(player.channel, &slots));
            let (channel, _) = Channel::pair().expect("socketpair");
            self.players.insert(
                part,
                Player {
                    channel,
                    pid,
                    fds: Vec::new(),
                },
            );
        } else {
            self.players.insert(part, player);
        }
    }

    pub(crate) fn player(&mut self, part: Part) -> &mut Player {
        self.players.get_mut(&part).expect("on stage")
    }

    pub(crate) fn kill(&mut self, part: Part) {
        crate::pids::kill_pid(self.player(part).pid);
    }

    pub(crate) fn expect_channel_end(&mut self, part: Part) {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self
                .player(part)
                .channel
                .recv_timeout::<Message<u8, u8>>(left)
            {
                Err(IpcError::Closed) => return,
                Err(IpcError::TimedOut) => panic!("the channel lives on"),
                _ => {}
            }
        }
    }

    pub(crate) fn post_gateway(&mut self, ask: gateway_priv::Ask) -> u64 {
        self.seq += 1;
        let request = Request {
            seq: self.seq,
            body: ask,
        };
        self.player(Part::Gateway)
            .channel
            .send(&request, Vec::new())
            .expect("privd reads");
        self.seq
    }

    pub(crate) fn post_plugin(&mut self, ask: plugin_priv::Ask) -> u64 {
        self.seq += 1;
        let request = Request {
            seq: self.seq,
            body: ask,
        };
        self.player(Part::Plugin)
            .channel
            .send(&request, Vec::new())
            .expect("privd reads");
        self.seq
    }

    pub(crate) fn gateway_answer(
        &mut self,
        seq: u64,
    ) -> Result<(gateway_priv::Answer, Vec<OwnedFd>), Fault> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some((result, fds)) = self.gateway_inbox.remove(&seq) {
                return result.map(|answer| (answer, fds));
            }
            assert!(
                Instant::now() < end,
                "no answer; privd's log:\n{}",
                self.log()
            );
            self.pump();
        }
    }

    pub(crate) fn plugin_answer(&mut self, seq: u64) -> Result<plugin_priv::Answer, Fault> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(result) = self.plugin_inbox.remove(&seq) {
                return result;
            }
            assert!(
                Instant::now() < end,
                "no answer; privd's log:\n{}",
                self.log()
            );
            self.pump();
        }
    }

    pub(crate) fn settle_gateway(&mut self, answers: usize) {
        self.until("all is answered", |stage| {
            stage.gateway_inbox.len() == answers
        });
        for (_, (result, _)) in std::mem::take(&mut self.gateway_inbox) {
            result.expect("granted");
        }
    }

    /// Takes what came, waiting a little.
    fn pump(&mut self) {
        let short = Duration::from_millis(2);
        if let Some(player) = self.players.get_mut(&Part::Gateway) {
            match player
                .channel
                .recv_timeout::<Message<gateway_priv::Answer, Event>>(short)
            {
                Ok((Message::Reply { seq, result }, fds)) => {
                    self.gateway_inbox.insert(seq, (result, fds));
                }
                Ok((Message::Event(event), fds)) => {
                    let expected = match &event {
                        Event::NetChannel | Event::PluginChannel { .. } | Event::EgressChannel => 1,
                        Event::Certificate { fault, .. } => 2 * usize::from(fault.is_none()),
                        _ => 0,
                    };
                    assert_eq!(fds.len(), expected, "{event:?}");
                    if matches!(event, Event::Certificate { .. }) {
                        self.certificates.push((event, fds));
                    } else {
                        if matches!(event, Event::EgressChannel) {
                            self.egress_ends.extend(fds);
                        }
                        self.events.push(event);
                    }
                }
                Err(_) => {}
            }
        }
        if let Some(player) = self.players.get_mut(&Part::Plugin) {
            match player
                .channel
                .recv_timeout::<Message<plugin_priv::Answer, plugin_priv::Event>>(short)
            {
                Ok((Message::Reply { seq, result }, _)) => {
                    self.plugin_inbox.insert(seq, result);
                }
                Ok((Message::Event(plugin_priv::Event::Ended { sandbox, .. }), _)) => {
                    self.plugin_ends.push(sandbox);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn saw(&self, which: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(which)
    }

    pub(crate) fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| which(event)).count()
    }

    pub(crate) fn forget_events(&mut self) {
        self.events.clear();
    }

    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < end,
                "never: {what}; privd's log:\n{}",
                self.log()
            );
            self.pump();
        }
    }

    pub(crate) fn expect_end(&mut self, sandbox: &SandboxId, expected: EndReason) {
        self.until("the gateway is told of the end", |stage| {
            stage.saw(|e| matches!(e, Event::Ended { sandbox: s, reason } if s == sandbox && *reason == expected))
        });
        self.until("nothing of it is left", |stage| {
            !stage.links().contains(sandbox) && !stage.stored().contains(sandbox)
        });
    }

    pub(crate) fn create(&mut self, sandbox: &SandboxId) {
        let end = Instant::now() + PATIENCE;
        loop {
            match crate::gateway(self, crate::lease(sandbox, "namespace", "base", 60_000)) {
                Ok(_) => break,
                Err(fault) => assert!(
                    fault.code == FaultCode::Conflict && Instant::now() < end,
                    "{fault}"
                ),
            }
        }
        self.create_leased(sandbox);
    }

    pub(crate) fn clone_storage(
        &mut self,
        sandbox: &SandboxId,
        template: &str,
    ) -> Result<plugin_priv::Answer, Fault> {
        let clone = plugin_priv::Ask::StorageClone {
            op: crate::op(1),
            sandbox: sandbox.clone(),
            template: TemplateName::new(template).expect("a name"),
        };
        crate::plugin(self, clone)
    }

    /// What follows the lease.
    pub(crate) fn create_leased(&mut self, sandbox: &SandboxId) {
        self.clone_storage(sandbox, "base").expect("clones");
        self.create_cell(sandbox);
    }

    /// What follows the storage.
    pub(crate) fn create_cell(&mut self, sandbox: &SandboxId) {
        let cell = plugin_priv::Ask::CellCreate {
            op: crate::op(2),
            sandbox: sandbox.clone(),
            limits: crate::cast::limits(),
        };
        if let Err(fault) = crate::plugin(self, cell) {
            panic!("{fault}; privd's log:\n{}", self.log());
        }
    }

    pub(crate) fn destroy(&mut self, sandbox: &SandboxId) {
        let remove = plugin_priv::Ask::CellRemove {
            op: crate::op(3),
            sandbox: sandbox.clone(),
        };
        assert_eq!(crate::plugin(self, remove), Ok(plugin_priv::Answer::Done));
        let destroy = plugin_priv::Ask::StorageDestroy {
            op: crate::op(4),
            sandbox: sandbox.clone(),
        };
        assert_eq!(crate::plugin(self, destroy), Ok(plugin_priv::Answer::Done));
    }

    fn link(&mut self, sandbox: &SandboxId) -> Channel {
        let (_, mut fds) = crate::gateway(
            self,
            gateway_priv::Ask::LinkOpen {
                sandbox: sandbox.clone(),
            },
        )
        .expect("a link");
        let mut link = Channel::from_fd(fds.pop().expect("rides along")).expect("a channel");
        let (pid, _) = link
            .recv_timeout::<u32>(PATIENCE)
            .expect("the agent greets");
        assert_eq!(pid, 1, "the agent is the first process of its sandbox");
        link
    }

    pub(crate) fn greet(&mut self, sandbox: &SandboxId) {
        self.link(sandbox).send(&0_u8, Vec::new()).expect("reads");
    }

    pub(crate) fn tell_agent_to_die(&mut self, sandbox: &SandboxId) {
        self.link(sandbox).send(&b'x', Vec::new()).expect("reads");
    }

    /// The host's number of the agent: the process whose root sees the sandbox's host name.
    pub(crate) fn agent_pid(&mut self, sandbox: &SandboxId) -> u32 {
        self.greet(sandbox);
        let name = sandbox.as_str().as_bytes();
        let agents = self.agents().into_iter();
        let mut own = agents.filter(|pid| {
            let shown = Command::new("nsenter")
                .args(["-u", "-t", &pid.to_string(), "hostname"])
                .output();
            shown.is_ok_and(|out| out.stdout.trim_ascii() == name)
        });
        own.next().expect("runs")
    }

    /// Cells of this instance: agents that run this instance's copy of the program.
    pub(crate) fn cells(&self) -> usize {
        self.agents().len()
    }

    fn agents(&self) -> Vec<u32> {
        let agent = std::fs::metadata(self.dir.path().join("libexec/envd")).expect("there");
        let runs = |pid: &u32| {
            std::fs::metadata(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ino() == agent.ino())
        };
        processes().filter(runs).collect()
    }

    fn links(&self) -> Vec<SandboxId> {
        names(&self.run_dir().join("links"))
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn stored(&self) -> Vec<SandboxId> {
        names(&self.dir.path().join("state/cells"))
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        let tag = self.socket.display().to_string();
        let tag = tag
            .trim_start_matches("/tmp/warder-privd-test-")
            .trim_end_matches(".sock")
            .to_owned();
        Path::new(warder_wire::RUN_DIR).join(tag)
    }

    pub(crate) fn replace_part(&self, name: &str, program: &str) {
        std::fs::copy(program, self.dir.path().join("libexec").join(name)).expect("room");
    }

    /// Runs privd until it ends by itself; its exit status.
    pub(crate) fn run_to_end(&self) -> i32 {
        let mut privd = Command::new(env!("CARGO_BIN_EXE_privd"));
        let privd = privd
            .arg("-f")
            .arg(self.dir.path().join("conf"))
            .stdin(Stdio::null());
        let status = privd.status().expect("starts");
        // What it claimed stays for its next start; this one has none.
        let _ = std::fs::remove_dir_all(self.run_dir());
        status.code().unwrap_or(-1)
    }

    pub(crate) fn fill_disk(&self) {
        let mut file = std::fs::File::create(self.dir.path().join("state/filler")).expect("a name");
        let block = [0_u8; 65536];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        while std::io::Write::write_all(&mut file, &block[..1]).is_ok() {}
    }

    /// Asks the kernel to freeze a cell, without anybody's knowing.
    pub(crate) fn write_freezer(&self, agent: u32) {
        let groups = std::fs::read_to_string(format!("/proc/{agent}/cgroup")).expect("runs");
        let paths = groups.lines().filter(|line| line.contains("/warder_"));
        // One that was made ahead has another name than its sandbox.
        let name = paths.filter_map(|line| line.rsplit('/').next()).next();
        let name = name.expect("has groups");
        let found = self.in_cgroups(&format!("{name}/cgroup.freeze"));
        let [file] = found.as_slice() else {
            panic!("cgroups version 2 can freeze: {found:?}");
        };
        std::fs::write(file, "1").expect("cgroups version 2 can freeze");
    }

    /// Paths in the mounted control groups that end so.
    pub(crate) fn in_cgroups(&self, end: &str) -> Vec<PathBuf> {
        let found = Command::new("find")
            .args(["/sys/fs/cgroup", "-path"])
            .arg(format!("*/{end}"))
            .output()
            .expect("runs");
        let found = String::from_utf8(found.stdout).expect("plain");
        found.lines().map(PathBuf::from).collect()
    }

    /// Has netd not answer when slots are to be taken back, or answer what it was asked.
    pub(crate) fn hold_slots(&self, hold: bool) {
        self.slots.lock().expect("unpoisoned").hold = hold;
    }

    /// What netd was told last that a sandbox may use.
    pub(crate) fn bounds(&self, sandbox: &SandboxId) -> Bounds {
        let slots = self.slots.lock().expect("unpoisoned");
        slots.leases.get(sandbox).copied().expect("its lease lives")
    }

    /// How often netd was told what a sandbox may use.
    pub(crate) fn times_told(&self, sandbox: &SandboxId) -> usize {
        let slots = self.slots.lock().expect("unpoisoned");
        slots.told.get(sandbox).map_or(0, Vec::len)
    }

    /// How many slots netd was asked to take back.
    pub(crate) fn adopting(&self) -> u32 {
        self.slots.lock().expect("unpoisoned").adopting
    }

    pub(crate) fn forget_slot(&self, sandbox: &SandboxId) {
        if let Some(mut holder) = self
            .slots
            .lock()
            .expect("unpoisoned")
            .holders
            .remove(sandbox)
        {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }

    pub(crate) fn kill_privd(&mut self) {
        let mut privd = self.privd.take().expect("runs");
        privd.kill().expect("own");
        privd.wait().expect("own");
        self.players.clear();
    }

    pub(crate) fn hang_up(&mut self) {
        let id = self.privd.as_ref().expect("runs").id();
        let pid = rustix::process::Pid::from_raw(id.cast_signed()).expect("not zero");
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("own");
    }

    pub(crate) fn terminate(&mut self) -> i32 {
        let mut privd = self.privd.take().expect("runs");
        let pid = rustix::process::Pid::from_raw(privd.id().cast_signed()).expect("not zero");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("own");
        let status = privd.wait().expect("own");
        self.players.clear();
        status.code().unwrap_or(-1)
    }

    /// Has a privd of its own remove what one that was stopped has kept. Only netd is needed for that.
    pub(crate) fn purge(mut self) {
        let child = Command::new(env!("CARGO_BIN_EXE_privd"))
            .arg("-p")
            .arg("-f")
            .arg(self.dir.path().join("conf"))
            .stdin(Stdio::null())
            .spawn();
        self.privd = Some(child.expect("starts"));
        self.take(Part::Net);
        let mut privd = self.privd.take().expect("runs");
        assert!(privd.wait().expect("own").success());
        self.nothing_left();
    }

    /// Ends the instance and checks that nothing is left of it.
    pub(crate) fn stop_clean(mut self) {
        assert_eq!(self.terminate(), 0, "privd's log:\n{}", self.log());
        self.nothing_left();
    }

    fn nothing_left(&self) {
        assert_eq!(self.cells(), 0);
        assert!(!self.run_dir().exists());
        for sub in ["cells", "trash"] {
            let left: Vec<_> = std::fs::read_dir(self.dir.path().join("state").join(sub))
                .expect("there")
                .collect();
            assert!(left.is_empty(), "{sub}: {left:?}");
        }
        let claims =
            std::fs::read_to_string(format!("{}/claims", warder_wire::RUN_DIR)).unwrap_or_default();
        assert!(
            !claims.contains(&*self.dir.path().to_string_lossy()),
            "{claims}"
        );
        assert!(
            self.slots.lock().expect("unpoisoned").leases.is_empty(),
            "netd was not told of every end"
        );
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(mut privd) = self.privd.take() {
            let pid = rustix::process::Pid::from_raw(privd.id().cast_signed()).expect("not zero");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = privd.wait();
        }
        let _ = std::fs::remove_file(&self.socket);
        if self.tmpfs {
            let _ = Command::new("umount")
                .arg("-l")
                .arg(self.dir.path().join("state"))
                .status();
        }
    }
}

fn names(dir: &Path) -> Vec<SandboxId> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| SandboxId::new(entry.file_name().to_str()?).ok())
        .collect()
}

fn processes() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .expect("mounted")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}
