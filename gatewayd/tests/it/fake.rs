//! Fake privd, netd and plugin host around the real gatewayd.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warder_ipc::{Channel, IpcError};
use warder_wire::gateway_priv::{
    Answer, Ask, AtDeadline, EndReason, Event, HostReport, Lease, LeaseState, PauseReason,
    Template, Usage, VolumeMount,
};
use warder_wire::start::{Ready, Role, Start};
use warder_wire::{
    BackendName, Fault, FaultCode, InstanceTag, LimitState, Limits, LimitsInForce, Message, Policy,
    Request, SandboxId, TemplateName, VERSION, VolumeId,
};

mod others;

use super::guest::Guest;
use super::http::{Answer as HttpAnswer, Client, SOON};

/// Ids nobody else on the machine has.
const IDS: (u32, u32) = (1_900_001, 1_900_001);

/// A sandbox as the fakes hold it.
#[derive(Clone)]
pub(crate) struct Held {
    /// Its lease.
    pub(crate) lease: Lease,
    /// Whether the plugin host made it.
    pub(crate) made: bool,
    /// Its agent.
    pub(crate) guest: Guest,
    /// Its volumes.
    pub(crate) volumes: Vec<VolumeMount>,
    /// What happens at its deadline.
    pub(crate) at_deadline: AtDeadline,
}

/// What the fakes know and do.
#[derive(Default)]
pub(crate) struct World {
    /// Leases and cells.
    pub(crate) held: BTreeMap<SandboxId, Held>,
    /// Everything asked, in words.
    pub(crate) log: Vec<String>,
    /// What LeaseOpen answers instead.
    pub(crate) lease_fault: Option<FaultCode>,
    /// What Create answers instead.
    pub(crate) create_fault: Option<FaultCode>,
    /// What Destroy answers instead.
    pub(crate) destroy_fault: Option<FaultCode>,
    /// Policies set, with their generations.
    pub(crate) policies: BTreeMap<SandboxId, (u64, Policy)>,
    /// What PolicySet answers instead.
    pub(crate) policy_fault: Option<FaultCode>,
    /// Whether netd dies of the next PolicySet, having done it or not.
    pub(crate) policy_kills: Option<bool>,
    /// Whether the operator's configuration says that nothing leaves.
    pub(crate) airgapped: bool,
    /// How the next agent behaves.
    pub(crate) manner: super::guest::Manner,
    /// Whether the plugin host dies of the next Create.
    pub(crate) create_kills: bool,
    /// How many leases there may be.
    pub(crate) room: Option<usize>,
    /// Volumes there are.
    pub(crate) volumes: BTreeSet<VolumeId>,
    /// What VolumeCreate answers instead, after making it; `None` inside is no answer at all.
    pub(crate) volume_fault: Option<FaultCode>,
    /// Whether privd dies of the next VolumeCreate, after making it.
    pub(crate) volume_ends_privd: bool,
    /// What Pause, Resume and Snapshot answer instead.
    pub(crate) state_fault: Option<FaultCode>,
    /// Creates that succeed before `create_fault` begins, if it is set.
    pub(crate) creates_left: u32,
    /// Resumes take so long.
    pub(crate) resume_takes: Duration,
    /// Whether the next Snapshot is done and its answer lost, as when the gateway dies.
    pub(crate) snapshot_hangs: bool,
    /// Snapshots, in order of name.
    pub(crate) snapshots: BTreeMap<String, SandboxId>,
    /// The snapshot that may be taken.
    pub(crate) allowed: Option<(SandboxId, TemplateName)>,
    /// Bytes of templates imported, by name.
    pub(crate) imported: BTreeMap<String, usize>,
    /// Chains and keys of the TLS listener in PEM; where one is empty, privd cannot open it.
    pub(crate) certificates: Vec<(String, String)>,
    /// How often they were handed over.
    pub(crate) round: u32,
    /// Whether sandboxes are machines: each with a real agent behind a console.
    pub(crate) machines: bool,
    /// They.
    pub(crate) consoles: BTreeMap<SandboxId, super::machine::Machine>,
}

type Shared = Arc<Mutex<World>>;

enum Order {
    Event(Event, Vec<OwnedFd>),
    Close,
}

/// The gateway and everything around it.
pub(crate) struct Fake {
    /// What the fakes know.
    pub(crate) world: Shared,
    /// Where it serves.
    pub(crate) address: SocketAddr,
    /// Where it serves TLS, if it does.
    pub(crate) tls: Option<SocketAddr>,
    /// A key.
    pub(crate) key: String,
    dir: tempfile::TempDir,
    listeners: Vec<TcpListener>,
    admin: UnixListener,
    process: Option<Child>,
    orders: Option<Sender<Order>>,
    /// How it said it is confined.
    pub(crate) confinement: String,
    /// How many descriptors it may have, if fewer than usual.
    pub(crate) files: Option<u32>,
    /// How many proxies before it are the operator's.
    pub(crate) trusted_hops: u8,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.kill();
        // Not by the last thread that has them, which may never come to it.
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let consoles = std::mem::take(&mut world.consoles);
        drop(world);
        drop(consoles);
    }
}

impl Fake {
    /// Starts everything.
    pub(crate) fn start() -> Self {
        Self::with(Vec::new())
    }

    /// Starts everything; with certificates, a listener speaks TLS.
    pub(crate) fn with(certificates: Vec<(String, String)>) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests need root"
        );
        let dir = tempfile::tempdir().expect("tmp");
        let state = dir.path().join("state");
        std::fs::create_dir(&state).expect("made");
        std::os::unix::fs::chown(&state, Some(IDS.0), Some(IDS.1)).expect("root");
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).expect("root");
        let bind = || TcpListener::bind("127.0.0.1:0").expect("loopback");
        let listeners: Vec<_> = (0..=usize::from(!certificates.is_empty()))
            .map(|_| bind())
            .collect();
        let at = |n: usize| listeners.get(n).and_then(|l| l.local_addr().ok());
        let admin = UnixListener::bind(dir.path().join("admin.sock")).expect("bound");
        let mut fake = Self {
            world: Shared::default(),
            address: at(0).expect("bound"),
            tls: at(1),
            key: String::new(),
            dir,
            listeners,
            admin,
            process: None,
            orders: None,
            confinement: String::new(),
            files: None,
            trusted_hops: 0,
        };
        fake.world().certificates = certificates;
        fake.spawn();
        let made = fake.operator("POST", "/admin/keys", br#"{"name":"test"}"#);
        assert_eq!(made.status, 201, "{}", made.text());
        fake.key = made.json()["key"].as_str().expect("a key").to_owned();
        fake
    }

    /// The same behind so many of the operator's proxies.
    pub(crate) fn behind(mut self, proxies: u8) -> Self {
        self.kill();
        self.trusted_hops = proxies;
        self.spawn();
        self
    }

    /// Starts gatewayd with descriptor 3, and the fakes on the other ends.
    pub(crate) fn spawn(&mut self) {
        let (mut ours, theirs) = Channel::pair().expect("socketpair");
        // The shell moves the channel from standard input to descriptor 3; no unsafe code is needed for it.
        let process = Command::new("/bin/sh")
            .args([
                "-c",
                "${FILES:+ulimit -n $FILES} && exec \"$0\" 3<&0 0</dev/null",
                env!("CARGO_BIN_EXE_gatewayd"),
            ])
            .env(
                "FILES",
                self.files.map(|n| n.to_string()).unwrap_or_default(),
            )
            .stdin(Stdio::from(theirs.into_fd()))
            .spawn()
            .expect("starts");
        self.process = Some(process);
        let role = Role::Gateway {
            trusted_hops: self.trusted_hops,
            create_timeout_s: 55,
            ids: IDS,
            tcp_listeners: u8::try_from(self.listeners.len()).expect("few"),
            tls_listeners: u8::from(self.tls.is_some()),
            operator_group: None,
            domain: "box.example".into(),
            // As many domains as certificates.
            more_domains: (1..self.world().certificates.len())
                .map(|_| "other.example".into())
                .collect(),
            backend: BackendName::new("fake").expect("name"),
        };
        let start = Start {
            version: VERSION,
            tag: InstanceTag::of_state_dir(b"test"),
            role,
        };
        let state = std::fs::File::open(self.dir.path().join("state")).expect("there");
        let mut fds: Vec<OwnedFd> = Vec::new();
        for listener in &self.listeners {
            fds.push(listener.try_clone().expect("dup").into());
        }
        fds.push(self.admin.try_clone().expect("dup").into());
        fds.push(state.into());
        ours.send_timeout(&start, fds, SOON).expect("reads");
        let (ready, _) = ours.recv_timeout::<Ready>(SOON).expect("gatewayd is ready");
        self.confinement = ready.confinement;
        let (orders, receiver) = channel();
        self.orders = Some(orders);
        let world = Arc::clone(&self.world);
        std::thread::spawn(move || privd(ours, world, &receiver));
        self.net();
        self.plugin();
        let events = certificates(&mut self.world());
        for (event, fds) in events {
            self.order(event, fds);
        }
    }

    /// Gives the gateway a netd, the first or the next.
    pub(crate) fn net(&self) {
        let (ours, theirs) = Channel::pair().expect("socketpair");
        self.order(Event::NetChannel, vec![theirs.into_fd()]);
        let world = Arc::clone(&self.world);
        std::thread::spawn(move || answer(ours, |ask| others::net(&world, ask)));
    }

    /// Gives the gateway a netd that the test plays; this is its end of the channel.
    pub(crate) fn net_by_hand(&self) -> Channel {
        let (ours, theirs) = Channel::pair().expect("socketpair");
        self.order(Event::NetChannel, vec![theirs.into_fd()]);
        ours
    }

    /// Gives the gateway a plugin host, the first or the next.
    pub(crate) fn plugin(&self) {
        let (ours, theirs) = Channel::pair().expect("socketpair");
        let backend = BackendName::new("fake").expect("name");
        self.order(Event::PluginChannel { backend }, vec![theirs.into_fd()]);
        let world = Arc::clone(&self.world);
        std::thread::spawn(move || answer(ours, |ask| others::plugin(&world, ask)));
    }

    /// Gives the gateway an egressd, the first or the next; this is its end of the channel.
    pub(crate) fn egress(&self) -> Channel {
        let (ours, theirs) = Channel::pair().expect("socketpair");
        self.order(Event::EgressChannel, vec![theirs.into_fd()]);
        ours
    }

    fn order(&self, event: Event, fds: Vec<OwnedFd>) {
        let orders = self.orders.as_ref().expect("started");
        orders.send(Order::Event(event, fds)).expect("runs");
    }

    /// privd says that a sandbox has ended.
    pub(crate) fn ended(&self, id: &str, reason: EndReason) {
        let sandbox = SandboxId::new(id).expect("id");
        self.world().held.remove(&sandbox);
        self.order(Event::Ended { sandbox, reason }, Vec::new());
    }

    /// privd has paused a sandbox, or lost its memory, and says so.
    pub(crate) fn paused(&self, id: &str, memory: bool, why: PauseReason) {
        let sandbox = SandboxId::new(id).expect("id");
        let state = LeaseState::Paused { memory };
        self.world()
            .held
            .get_mut(&sandbox)
            .expect("held")
            .lease
            .state = state;
        let event = Event::Paused {
            sandbox,
            memory,
            why,
        };
        self.order(event, Vec::new());
    }

    /// How often the fakes were asked this.
    pub(crate) fn asked(&self, what: &str) -> usize {
        let world = self.world();
        world.log.iter().filter(|line| *line == what).count()
    }

    /// privd closes the gateway's channel. The gateway's exit status.
    pub(crate) fn close_channel(&mut self) -> Option<i32> {
        let _ = self.orders.take().expect("started").send(Order::Close);
        let begun = Instant::now();
        let process = self.process.as_mut().expect("started");
        while begun.elapsed() < SOON {
            if let Some(status) = process.try_wait().expect("ours") {
                self.process = None;
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("gatewayd outlives its channel");
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        self.orders = None;
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|p| matches!(p.try_wait(), Ok(None)))
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("started").id()
    }

    /// What the fakes know.
    pub(crate) fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().expect("no panic in the fakes")
    }

    /// A client's connection.
    pub(crate) fn client(&self) -> Client {
        Client::tcp(self.address)
    }

    /// The operator's connection.
    pub(crate) fn operator_client(&self) -> Client {
        Client::unix(&self.socket())
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    /// A call with the key.
    pub(crate) fn api(&self, method: &str, path: &str, body: Value) -> HttpAnswer {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.client()
            .ask(method, path, &[("X-API-KEY", &self.key)], text.as_bytes())
    }

    /// A call as operator.
    pub(crate) fn operator(&self, method: &str, path: &str, body: &[u8]) -> HttpAnswer {
        self.operator_client().ask(method, path, &[], body)
    }

    /// Creates a sandbox. Its answer.
    pub(crate) fn create(&self, more: Value) -> Value {
        let mut body = json!({"templateID": "base"});
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        let answer = self.api("POST", "/v2/sandboxes", body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    /// The agent of a sandbox.
    pub(crate) fn guest(&self, sandbox: &Value) -> Guest {
        let id = SandboxId::new(sandbox["sandboxID"].as_str().expect("id")).expect("id");
        self.world().held[&id].guest.clone()
    }

    /// A request to a port of a sandbox by headers.
    pub(crate) fn inside(
        &self,
        sandbox: &Value,
        port: u16,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> HttpAnswer {
        let id = sandbox["sandboxID"].as_str().expect("id");
        let routed = port.to_string();
        let mut headers = vec![("E2b-Sandbox-Id", id), ("E2b-Sandbox-Port", &*routed)];
        // As the SDKs do.
        let token = sandbox["envdAccessToken"].as_str();
        if let Some(token) = token.filter(|_| port == 49983) {
            headers.push(("X-Access-Token", token));
        }
        self.client().ask(method, path, &headers, body)
    }
}

type Answered<R> = Option<Result<R, Fault>>;

/// Answers questions until the channel ends.
fn answer<A: serde::de::DeserializeOwned, R: serde::Serialize>(
    mut channel: Channel,
    mut act: impl FnMut(A) -> Answered<R>,
) {
    while let Ok((ask, _)) = channel.recv_timeout::<Request<A>>(Duration::from_secs(600)) {
        let Some(result) = act(ask.body) else {
            return;
        };
        if channel
            .send_timeout(
                &Message::<R, ()>::Reply {
                    seq: ask.seq,
                    result,
                },
                Vec::new(),
                SOON,
            )
            .is_err()
        {
            return;
        }
    }
}

fn privd(mut channel: Channel, world: Shared, orders: &Receiver<Order>) {
    loop {
        loop {
            match orders.try_recv() {
                Ok(Order::Event(event, fds)) => {
                    if channel
                        .send_timeout(&Message::<Answer, Event>::Event(event), fds, SOON)
                        .is_err()
                    {
                        return;
                    }
                }
                Ok(Order::Close) => return,
                Err(_) => break,
            }
        }
        let (ask, fds) = match channel.recv_timeout::<Request<Ask>>(Duration::from_millis(2)) {
            Ok(got) => got,
            Err(IpcError::TimedOut) => continue,
            Err(_) => return,
        };
        if let Ask::VolumeCreate { volume } = &ask.body {
            let mut world = world.lock().expect("lock");
            if std::mem::take(&mut world.volume_ends_privd) {
                world.volumes.insert(volume.clone());
                return;
            }
        }
        if ask.body == Ask::Reload {
            let events = certificates(&mut world.lock().expect("lock"));
            for (event, fds) in events {
                let event = Message::<Answer, Event>::Event(event);
                channel.send_timeout(&event, fds, SOON).expect("reads");
            }
        }
        let (result, fds) = lease(&world, ask.body, fds);
        if channel
            .send_timeout(
                &Message::<Answer, Event>::Reply {
                    seq: ask.seq,
                    result,
                },
                fds,
                SOON,
            )
            .is_err()
        {
            return;
        }
    }
}

/// What privd sends when it has opened the certificates.
fn certificates(world: &mut World) -> Vec<(Event, Vec<OwnedFd>)> {
    world.round += 1;
    let of = u8::try_from(world.certificates.len()).expect("few");
    let file = |text: &str| {
        let mut file = tempfile::tempfile().expect("a file");
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("writes");
        OwnedFd::from(file)
    };
    (0..of)
        .zip(&world.certificates)
        .map(|(index, (chain, key))| {
            let there = !chain.is_empty();
            let event = Event::Certificate {
                round: world.round,
                index,
                of,
                fault: (!there).then(|| Fault::new(FaultCode::Refused, "its chain is a pipe")),
            };
            let fds = if there {
                vec![file(chain), file(key)]
            } else {
                Vec::new()
            };
            (event, fds)
        })
        .collect()
}

fn fault<T>(code: FaultCode) -> Result<T, Fault> {
    Err(Fault::new(code, "as told"))
}

fn lease(world: &Shared, ask: Ask, fds: Vec<OwnedFd>) -> (Result<Answer, Fault>, Vec<OwnedFd>) {
    let mut world = world.lock().expect("lock");
    let none = Vec::new();
    match ask {
        Ask::LeaseOpen {
            sandbox,
            backend,
            template,
            ttl_ms,
            limits,
            volumes,
            at_deadline,
        } => {
            world.log.push(format!("LeaseOpen {template} {ttl_ms}"));
            if let Some(code) = world.lease_fault {
                return (fault(code), none);
            }
            if world.room.is_some_and(|room| world.held.len() >= room) {
                return (fault(FaultCode::Exhausted), none);
            }
            if !["base", "bare"].contains(&template.as_str())
                && !world.snapshots.contains_key(template.as_str())
            {
                return (fault(FaultCode::NotFound), none);
            }
            if volumes.iter().any(|m| !world.volumes.contains(&m.volume)) {
                return (fault(FaultCode::NotFound), none);
            }
            let guest = Guest::default();
            *guest.manner.lock().expect("lock") = world.manner;
            let lease = Lease {
                sandbox: sandbox.clone(),
                backend,
                template,
                ttl_ms,
                state: LeaseState::Open,
            };
            world.held.insert(
                sandbox,
                Held {
                    lease,
                    made: false,
                    guest,
                    volumes,
                    at_deadline,
                },
            );
            let limits = limits.at_most(Limits::DEFAULT);
            (Ok(Answer::Leased { limits }), none)
        }
        Ask::SnapshotAllow {
            sandbox, template, ..
        } => {
            world.allowed = Some((sandbox, template));
            (Ok(Answer::Done), none)
        }
        Ask::VolumeCreate { volume } => {
            world.log.push("VolumeCreate".into());
            world.volumes.insert(volume);
            let answer = match world.volume_fault {
                Some(code) => fault(code),
                None => Ok(Answer::Done),
            };
            (answer, none)
        }
        Ask::VolumeRemove { volume } => {
            world.log.push("VolumeRemove".into());
            let held = |held: &Held| held.volumes.iter().any(|m| m.volume == volume);
            let answer = if world.held.values().any(held) {
                fault(FaultCode::Conflict)
            } else if world.volumes.remove(&volume) {
                Ok(Answer::Done)
            } else {
                fault(FaultCode::NotFound)
            };
            (answer, none)
        }
        Ask::VolumeList { after } => {
            let page = world
                .volumes
                .iter()
                .filter(|id| after.as_ref().is_none_or(|after| *id > after));
            (Ok(Answer::Volumes(page.take(500).cloned().collect())), none)
        }
        Ask::LeaseSet {
            sandbox,
            ttl_ms,
            at_deadline,
        } => {
            let turned = at_deadline.map_or_else(String::new, |at| format!(" {at:?}"));
            world.log.push(format!("LeaseSet {ttl_ms}{turned}"));
            match world.held.get_mut(&sandbox) {
                Some(held) => {
                    held.lease.ttl_ms = ttl_ms;
                    (Ok(Answer::Done), none)
                }
                None => (fault(FaultCode::NotFound), none),
            }
        }
        Ask::LeaseEnd { sandbox } => {
            world.log.push("LeaseEnd".into());
            match world.held.remove(&sandbox) {
                Some(_) => (Ok(Answer::Done), none),
                None => (fault(FaultCode::NotFound), none),
            }
        }
        Ask::LeaseList { after } => {
            let all = world.held.values().map(|held| held.lease.clone());
            let page = all
                .filter(|lease| after.as_ref().is_none_or(|a| lease.sandbox > *a))
                .take(100)
                .collect();
            (Ok(Answer::Leases(page)), none)
        }
        Ask::LinkOpen { sandbox } if world.machines => {
            let machine = world.consoles.entry(sandbox);
            let machine = machine.or_insert_with(super::machine::Machine::start);
            (Ok(Answer::Link), vec![machine.connect().into()])
        }
        Ask::LinkOpen { sandbox } => match world.held.get(&sandbox) {
            Some(held) if held.made => {
                let (ours, theirs) = Channel::pair().expect("socketpair");
                held.guest.link(ours);
                world.log.push("LinkOpen".into());
                (Ok(Answer::Link), vec![theirs.into_fd()])
            }
            _ => (fault(FaultCode::NotFound), none),
        },
        Ask::TemplateList { after } => {
            let base = Template {
                name: TemplateName::new("base").expect("name"),
                created_unix: 1_700_000_000,
                limits: Limits::DEFAULT,
            };
            let snapshots = world.snapshots.keys().map(|name| Template {
                name: TemplateName::new(name).expect("name"),
                created_unix: 1_700_000_001,
                limits: Limits::DEFAULT,
            });
            let all = std::iter::once(base).chain(snapshots);
            let page = all.filter(|one| after.as_ref().is_none_or(|a| one.name > *a));
            (Ok(Answer::Templates(page.collect())), none)
        }
        Ask::TemplateImport { template } => {
            let mut bytes = Vec::new();
            let mut pipe = std::fs::File::from(fds.into_iter().next().expect("a pipe"));
            std::io::Read::read_to_end(&mut pipe, &mut bytes).expect("reads");
            world.imported.insert(template.to_string(), bytes.len());
            (Ok(Answer::Done), none)
        }
        Ask::TemplateRemove { template } => (
            if world.imported.remove(template.as_str()).is_some()
                || world.snapshots.remove(template.as_str()).is_some()
            {
                Ok(Answer::Done)
            } else {
                fault(FaultCode::NotFound)
            },
            none,
        ),
        Ask::Reload => {
            let round = world.round;
            let answer = Answer::Reloaded {
                round,
                log: None,
                networks: None,
            };
            (Ok(answer), none)
        }
        Ask::HostReport => (Ok(Answer::Host(Box::new(report()))), none),
        Ask::Usage { .. } => (
            Ok(Answer::Usage(Usage {
                cpu_us: Some(1000),
                memory: Some(4096),
                memory_cache: Some(1024),
                disk: None,
                pids: Some(2),
            })),
            none,
        ),
    }
}

fn report() -> HostReport {
    let (memory, cpu, pids, disk) = (
        LimitState::Enforced,
        LimitState::Enforced,
        LimitState::StandIn,
        LimitState::Absent,
    );
    HostReport {
        tag: InstanceTag::of_state_dir(b"test"),
        limits: LimitsInForce {
            memory,
            cpu,
            pids,
            disk,
        },
        sandboxes: (100, 1),
        storage: (1, 2),
        features: Vec::new(),
        daemons: vec![("netd".to_owned(), 4096, 1_500_000)],
    }
}
