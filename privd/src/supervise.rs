//! The processes privd starts: their channels, their first frames, their ends and restarts.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde::Serialize;
use warder_host::dirs::{Access, detached, make_private_dir};
use warder_host::process::{Process, Program, Signal, Urgency};
use warder_ipc::{Channel, IpcError};
use warder_wire::start::{self, CHANNEL_FD, NetStart, Ready, Start};
use warder_wire::{Message, Request, VERSION, gateway_priv, plugin_priv, priv_egress, priv_net};

use crate::leases::{Now, Timer};
use crate::logs::LogPipe;
use crate::privd::{Privd, StartError};
use crate::setup::dns_servers;
use crate::table;

/// How long a process may take to confine itself and answer.
const READY_MS: u64 = 20_000;
/// A process that lived this long starts again without delay.
const STABLE_MS: u64 = 60_000;
/// Longest delay before a start.
const MAX_DELAY_MS: u64 = 10_000;
/// So many failures before a process has ever served end privd: something is wrong with the installation.
const HOPELESS: u32 = 3;

/// A process that privd starts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Role {
    /// netd.
    Net,
    /// gatewayd.
    Gateway,
    /// The plugin host of backend number `n` of the configuration.
    Plugin(u8),
    /// egressd. It lives no longer than the netd whose sockets it serves.
    Egress,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net => f.write_str("netd"),
            Self::Gateway => f.write_str("gatewayd"),
            Self::Plugin(n) => write!(f, "pluginhost-{n}"),
            Self::Egress => f.write_str("egressd"),
        }
    }
}

/// Where an answer goes: not to a successor of who asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ReplyTo {
    /// Who asked.
    pub role: Role,
    /// Which one of those that had the role.
    pub generation: u64,
    /// The request's number.
    pub seq: u64,
}

/// How far a process is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Its first answer has not come.
    Confining,
    /// netd only: reads its ledger, then takes back the slots of running cells.
    Loading,
    /// Asks and answers.
    Serving,
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Running {
    /// The process.
    pub process: Process,
    /// None when it broke the protocol or closed it, and is being ended.
    pub channel: Option<Channel>,
    /// Its standard error.
    pub log: LogPipe,
    /// How far it is.
    pub phase: Phase,
    /// The other ends of what it started with, until those get them.
    ends: Ends,
    started: u64,
}

/// Ends of channels of a process to others than privd.
#[derive(Debug, Default)]
struct Ends {
    /// The gateway's.
    gateway: Option<OwnedFd>,
    /// netd's.
    net: Option<OwnedFd>,
}

/// A message of any process.
enum Got {
    Ready(Ready),
    Net(Message<priv_net::Answer, priv_net::Event>),
    Gateway(Request<gateway_priv::Ask>),
    Plugin(Request<plugin_priv::Ask>),
    Egress(Request<priv_egress::Ask>),
}

/// A role and who has it.
#[derive(Debug)]
pub(crate) struct Post {
    /// The program.
    file: OwnedFd,
    /// Counts those that had the role.
    pub generation: u64,
    /// Who has it.
    pub running: Option<Running>,
    failures: u32,
    served: bool,
}

impl Post {
    /// A post whose program is `file`.
    #[must_use]
    pub(crate) fn new(file: OwnedFd) -> Self {
        Self {
            file,
            generation: 0,
            running: None,
            failures: 0,
            served: false,
        }
    }

    /// Whether someone serves.
    #[must_use]
    pub(crate) fn serving(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|r| r.phase == Phase::Serving && r.channel.is_some())
    }
}

impl Privd {
    /// Starts the process of a role, or plans another try.
    pub(crate) fn start(&mut self, role: Role) {
        if self.stopping()
            || (role == Role::Egress && !self.serving(Role::Net))
            || self
                .posts
                .get(&role)
                .is_none_or(|post| post.running.is_some())
        {
            return;
        }
        // What came before, in this turn or before the first, may have taken its time.
        self.now = Now::read();
        match self.try_start(role) {
            Ok(()) => self
                .timers
                .set(self.now.mono + READY_MS, Timer::Ready(role)),
            Err(e) => {
                self.log
                    .own(format_args!("cannot start {role}: {}", chain(&e)));
                self.plan_start(role, 0);
            }
        }
    }

    fn try_start(&mut self, role: Role) -> Result<(), StartError> {
        let (message, fds, ends) = self.first_frame(role)?;
        let (mut ours, theirs) = Channel::pair()?;
        let (log, log_end) = LogPipe::new(&role.to_string())
            .map_err(|e| StartError::File("making a log pipe", e))?;
        let now = self.now.mono;
        let post = self
            .posts
            .get_mut(&role)
            .ok_or(StartError::Invalid("no such role"))?;
        // netd ends flows: sandboxes that keep the processors busy must not put that off.
        let (name, urgency) = match role {
            Role::Plugin(_) => ("pluginhost", Urgency::Ordinary),
            Role::Net => ("netd", Urgency::Realtime),
            Role::Gateway => ("gatewayd", Urgency::Brief),
            Role::Egress => ("egressd", Urgency::Brief),
        };
        let process = Process::spawn(&Program {
            file: post.file.as_fd(),
            name,
            args: &[],
            fds: &[(theirs.as_fd(), CHANNEL_FD)],
            log: log_end.as_fd(),
            urgency,
        })?;
        post.generation += 1;
        ours.send(&message, fds)?;
        let pid = process.pid();
        post.running = Some(Running {
            process,
            channel: Some(ours),
            log,
            phase: Phase::Confining,
            ends,
            started: now,
        });
        self.log.own(format_args!("{role} started, pid {pid}"));
        Ok(())
    }

    /// The first frame of a role, its descriptors, and the ends to keep for others.
    fn first_frame(&self, role: Role) -> Result<(Start, Vec<OwnedFd>, Ends), StartError> {
        let state = |name: &str| self.state_dir.join(name);
        let (role, fds, ends) = match role {
            Role::Net => {
                let range = self.claim.range(0);
                let start = NetStart {
                    instance: self.claim.instance,
                    block: self.claim.addresses(),
                    slots: self.capacity,
                    ready: self.config.ready_slots.min(self.capacity),
                    first_id: range.first,
                    ids: self.capacity * range.count,
                    never: self.config.network_never.clone(),
                    resolvers: dns_servers(&self.config, &self.resolvers),
                };
                make_private_dir(&state("netd"), 0, 0, 0o700)?;
                (
                    start::Role::Net(start),
                    vec![detached(&state("netd"), Access::ReadWrite)?],
                    Ends::default(),
                )
            }
            Role::Gateway => {
                let ids = self.daemon_ids("_warder", 1);
                make_private_dir(&state("gateway"), ids.0, ids.1, 0o700)?;
                own_content(&state("gateway"), ids)
                    .map_err(|e| StartError::File("owning the gateway's files", e))?;
                let clone = |fd: &OwnedFd| {
                    fd.try_clone()
                        .map_err(|e| StartError::File("duplicating a listener", e))
                };
                let mut fds = self
                    .listeners
                    .iter()
                    .map(clone)
                    .collect::<Result<Vec<_>, _>>()?;
                fds.push(clone(&self.admin)?);
                fds.push(detached(&state("gateway"), Access::ReadWrite)?);
                let role = start::Role::Gateway {
                    ids,
                    tcp_listeners: u8::try_from(self.listeners.len())
                        .map_err(|_| StartError::Invalid("too many listeners"))?,
                    tls_listeners: u8::try_from(self.config.tls_listeners())
                        .map_err(|_| StartError::Invalid("too many listeners"))?,
                    operator_group: self.operator_group,
                    domain: self.config.domains[0].clone(),
                    more_domains: self.config.domains[1..].to_vec(),
                    backend: self.config.backends[0].clone(),
                    trusted_hops: self.config.trusted_hops,
                    create_timeout_s: self.config.create_timeout_s,
                };
                (role, fds, Ends::default())
            }
            Role::Plugin(n) => {
                let backend = self.config.backends[usize::from(n)].clone();
                let user = format!("_warder_{}", backend.as_str().replace('-', "_"));
                let ids = self.daemon_ids(&user, 16 + u32::from(n));
                crate::setup::trusted(&self.config.plugin_dir)?;
                let (theirs, gateways) = Channel::pair()?;
                let fds = vec![
                    detached(&self.config.plugin_dir, Access::ReadOnly)?,
                    theirs.into_fd(),
                ];
                let ends = Ends {
                    gateway: Some(gateways.into_fd()),
                    net: None,
                };
                (start::Role::Plugin { ids, backend }, fds, ends)
            }
            Role::Egress => {
                let (to_net, nets) = Channel::pair()?;
                let (to_gateway, gateways) = Channel::pair()?;
                let role = start::Role::Egress {
                    ids: self.daemon_ids("_warder_egress", 2),
                    never: self.config.network_never.clone(),
                    resolvers: dns_servers(&self.config, &self.resolvers),
                };
                let ends = Ends {
                    gateway: Some(gateways.into_fd()),
                    net: Some(nets.into_fd()),
                };
                (role, vec![to_net.into_fd(), to_gateway.into_fd()], ends)
            }
        };
        Ok((
            Start {
                version: VERSION,
                tag: self.tag,
                role,
            },
            fds,
            ends,
        ))
    }

    /// The user of that name, or number `n` of the instance's own ids. Only one instance of a host
    /// may use the names: two under one user could send each other signals.
    fn daemon_ids(&self, name: &str, n: u32) -> (u32, u32) {
        let named = if self.claim.instance == 0 {
            crate::users::user(name)
        } else {
            None
        };
        named.unwrap_or((self.claim.daemon(n), self.claim.daemon(n)))
    }

    /// Its time to become ready is over.
    pub(crate) fn ready_overdue(&mut self, role: Role) {
        let late =
            |r: &Running| r.phase == Phase::Confining && r.started + READY_MS <= self.now.mono;
        if self
            .posts
            .get(&role)
            .and_then(|p| p.running.as_ref())
            .is_some_and(late)
        {
            self.end_channel(role, "was not ready in time");
        }
    }

    /// Takes what a process has sent. Bounded, so that nobody holds the loop.
    pub(crate) fn take_messages(&mut self, role: Role) {
        for _ in 0..64 {
            let Some(post) = self.posts.get_mut(&role) else {
                return;
            };
            let generation = post.generation;
            let Some(running) = &mut post.running else {
                return;
            };
            let Some(channel) = &mut running.channel else {
                return;
            };
            let got = match (role, running.phase) {
                (_, Phase::Confining) => channel
                    .recv()
                    .map(|got| got.map(|(m, fds)| (Got::Ready(m), fds))),
                (Role::Net, _) => channel
                    .recv()
                    .map(|got| got.map(|(m, fds)| (Got::Net(m), fds))),
                (Role::Gateway, _) => channel
                    .recv()
                    .map(|got| got.map(|(m, fds)| (Got::Gateway(m), fds))),
                (Role::Plugin(_), _) => channel
                    .recv()
                    .map(|got| got.map(|(m, fds)| (Got::Plugin(m), fds))),
                (Role::Egress, _) => channel
                    .recv()
                    .map(|got| got.map(|(m, fds)| (Got::Egress(m), fds))),
            };
            let to = |seq| ReplyTo {
                role,
                generation,
                seq,
            };
            let result = got.map(|got| {
                got.map(|(message, fds)| match message {
                    Got::Ready(ready) => self.take_ready(role, &ready, &fds),
                    Got::Net(message) => self.take_net(message, fds),
                    Got::Gateway(request) => {
                        table::gateway(self, to(request.seq), request.body, fds)
                    }
                    Got::Plugin(request) => {
                        table::plugin(self, to(request.seq), request.body, &fds)
                    }
                    Got::Egress(request) => match request.body {},
                })
            });
            match result {
                Ok(Some(Ok(()))) => {}
                Ok(None) => return,
                Ok(Some(Err(why))) => return self.end_channel(role, why),
                Err(IpcError::Closed) => return self.end_channel(role, "closed its channel"),
                Err(e) => return self.end_channel(role, &chain(&e)),
            }
        }
        self.more = true;
    }

    fn take_ready(
        &mut self,
        role: Role,
        ready: &Ready,
        fds: &[OwnedFd],
    ) -> Result<(), &'static str> {
        if ready.version != VERSION || !fds.is_empty() {
            return Err("is of another version");
        }
        let words = if ready.confinement.is_empty() {
            "no word of its confinement"
        } else {
            &ready.confinement
        };
        self.log.own(format_args!("{role} is ready: {words}"));
        if let Some(running) = self.posts.get_mut(&role).and_then(|p| p.running.as_mut()) {
            self.timers
                .clear(running.started + READY_MS, Timer::Ready(role));
            running.phase = if role == Role::Net {
                Phase::Loading
            } else {
                Phase::Serving
            };
        }
        if role != Role::Net {
            self.now_serving(role);
        }
        Ok(())
    }

    /// A process serves from now on: connects it with those that do already.
    pub(crate) fn now_serving(&mut self, role: Role) {
        if let Some(post) = self.posts.get_mut(&role) {
            post.served = true;
            if let Some(running) = &mut post.running {
                running.phase = Phase::Serving;
            }
        }
        match role {
            Role::Net if self.config.purge => self.begin_stop(),
            Role::Net => {
                self.join_net();
                self.start_gateway();
                self.start(Role::Egress);
            }
            Role::Plugin(n) => self.join_plugin(n),
            Role::Egress => {
                if let Some(end) = self.ends_of(role).and_then(|ends| ends.net.take()) {
                    self.post_net(priv_net::Ask::EgressChannel, vec![end]);
                }
                self.join_egress();
            }
            Role::Gateway => {
                self.join_net();
                self.join_egress();
                for n in 0..self.config.backends.len() {
                    self.join_plugin(u8::try_from(n).unwrap_or(u8::MAX));
                }
                self.tell_what_was_lost();
                self.hand_over_certificates();
            }
        }
    }

    /// Starts the gateway once there is something to serve.
    pub(crate) fn start_gateway(&mut self) {
        if self.posts.get(&Role::Net).is_some_and(Post::serving) && self.base_known() {
            self.start(Role::Gateway);
        }
    }

    /// A fresh channel between netd and the gateway, if both serve.
    fn join_net(&mut self) {
        if !self.serving(Role::Net) || !self.serving(Role::Gateway) {
            return;
        }
        match Channel::pair() {
            Ok((net, gateway)) => {
                self.post_net(priv_net::Ask::GatewayChannel, vec![net.into_fd()]);
                self.event_gateway(gateway_priv::Event::NetChannel, vec![gateway.into_fd()]);
            }
            Err(e) => self
                .log
                .own(format_args!("cannot join netd and gatewayd: {}", chain(&e))),
        }
    }

    /// A channel between a plugin host and the gateway, if both serve.
    fn join_plugin(&mut self, n: u8) {
        let role = Role::Plugin(n);
        if !self.serving(role) || !self.serving(Role::Gateway) {
            return;
        }
        let event = Message::<plugin_priv::Answer, _>::Event(plugin_priv::Event::GatewayChannel);
        let Some(end) = self.end_for_gateway(role, &event) else {
            return;
        };
        let backend = self.config.backends[usize::from(n)].clone();
        self.event_gateway(gateway_priv::Event::PluginChannel { backend }, vec![end]);
    }

    /// A channel from egressd to the gateway, if both serve.
    fn join_egress(&mut self) {
        let role = Role::Egress;
        if !self.serving(role) || !self.serving(Role::Gateway) {
            return;
        }
        if let Some(end) = self.end_for_gateway(role, &priv_egress::Event::GatewayChannel) {
            self.event_gateway(gateway_priv::Event::EgressChannel, vec![end]);
        }
    }

    /// The gateway's end of a channel to the process of a role: what that one started with, or another gateway had it
    /// and both get a new one, that one with `event`.
    fn end_for_gateway<T: Serialize>(&mut self, role: Role, event: &T) -> Option<OwnedFd> {
        let kept = self.ends_of(role).and_then(|ends| ends.gateway.take());
        if kept.is_some() {
            return kept;
        }
        match Channel::pair() {
            Ok((theirs, gateways)) => {
                self.send(role, event, vec![theirs.into_fd()]);
                Some(gateways.into_fd())
            }
            Err(e) => {
                self.log.own(format_args!(
                    "cannot join {role} and gatewayd: {}",
                    chain(&e)
                ));
                None
            }
        }
    }

    fn ends_of(&mut self, role: Role) -> Option<&mut Ends> {
        let running = self.posts.get_mut(&role)?.running.as_mut()?;
        Some(&mut running.ends)
    }

    /// Whether a role is served.
    pub(crate) fn serving(&self, role: Role) -> bool {
        self.posts.get(&role).is_some_and(Post::serving)
    }

    /// Sends a message to whoever has a role. One that does not read its messages is ended.
    pub(crate) fn send<T: Serialize>(&mut self, role: Role, message: &T, fds: Vec<OwnedFd>) {
        let Some(channel) = self
            .posts
            .get_mut(&role)
            .and_then(|p| p.running.as_mut())
            .and_then(|r| r.channel.as_mut())
        else {
            return;
        };
        if let Err(e) = channel.send(message, fds) {
            self.end_channel(role, &chain(&e));
        }
    }

    /// Sends what waits to be sent.
    pub(crate) fn flush(&mut self, role: Role) {
        if let Some(channel) = self
            .posts
            .get_mut(&role)
            .and_then(|p| p.running.as_mut())
            .and_then(|r| r.channel.as_mut())
            && let Err(e) = channel.flush()
        {
            self.end_channel(role, &chain(&e));
        }
    }

    /// Drops a channel and ends its process. A process that is only slow to go after its channel
    /// closed is ended too: whoever has no channel has no purpose.
    pub(crate) fn end_channel(&mut self, role: Role, why: &str) {
        let Some(running) = self.posts.get_mut(&role).and_then(|p| p.running.as_mut()) else {
            return;
        };
        if running.channel.take().is_none() {
            return;
        }
        let result = running.process.signal(Signal::Kill);
        // Not among the audit lines that are counted and left out: a flood of those must not hide it.
        self.log.own(format_args!("audit: {role} {why}: ended"));
        if let Err(e) = result {
            self.log
                .own(format_args!("cannot end {role}: {}", chain(&e)));
        }
        if role == Role::Net {
            self.net_lost();
            // What it serves arrives on sockets of that netd; the next one makes others.
            self.end_channel(Role::Egress, "has no netd any more");
        }
    }

    /// A process has ended, by itself or not.
    pub(crate) fn process_ended(&mut self, role: Role) {
        let now = self.now;
        self.end_channel(role, "ended by itself");
        let Some(post) = self.posts.get_mut(&role) else {
            return;
        };
        let Some(mut running) = post.running.take() else {
            return;
        };
        while running.log.drain(&mut self.log, now) && crate::privd::readable(running.log.as_fd()) {
        }
        let exit = match running.process.try_wait() {
            Ok(Some(exit)) => format!("{exit:?}"),
            Ok(None) => {
                post.running = Some(running);
                return;
            }
            Err(e) => chain(&e),
        };
        self.timers
            .clear(running.started + READY_MS, Timer::Ready(role));
        self.log.own(format_args!("{role} ended: {exit}"));
        let lived = now.mono.saturating_sub(running.started);
        self.plan_start(role, lived);
    }

    fn plan_start(&mut self, role: Role, lived: u64) {
        if self.stopping() {
            return self.stop_step();
        }
        if role == Role::Egress && !self.serving(Role::Net) {
            // It comes with the next netd.
            return;
        }
        let Some(post) = self.posts.get_mut(&role) else {
            return;
        };
        if lived >= STABLE_MS {
            post.failures = 0;
        }
        let delay = match post.failures {
            0 => 0,
            n => (100_u64 << (n - 1).min(10)).min(MAX_DELAY_MS),
        };
        post.failures = post.failures.saturating_add(1);
        if !post.served && post.failures >= HOPELESS {
            self.fatal = Some(format!("{role} never became ready"));
        }
        self.timers.set(self.now.mono + delay, Timer::Start(role));
    }
}

/// Gives the files in a directory of the gateway to its present ids: they change when the instance's
/// number does. Links are not followed, and a hard link cannot lead out of the mount it was handed.
fn own_content(dir: &Path, ids: (u32, u32)) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.metadata()?.uid() != ids.0 {
            std::os::unix::fs::lchown(entry.path(), Some(ids.0), Some(ids.1))?;
        }
    }
    Ok(())
}

/// An error with its sources, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
