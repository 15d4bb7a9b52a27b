//! Between the gateway (zone 1) and privd (zone 3): leases, links, templates.

use serde::{Deserialize, Serialize};

use crate::{
    BackendName, Fault, GuestPath, InstanceTag, Limits, LimitsInForce, SandboxId, TemplateName,
    VolumeId,
};

/// What the gateway may ask of privd.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ask {
    /// Opens a lease: permission for `backend` to make this sandbox, and a deadline that privd enforces.
    /// Without a cell by the deadline the lease just ends. Answer: [`Answer::Leased`].
    LeaseOpen {
        /// The sandbox to be.
        sandbox: SandboxId,
        /// The backend that may make it.
        backend: BackendName,
        /// The template it may use.
        template: TemplateName,
        /// Upper bounds for what the backend asks, where its template has no lower ones.
        limits: Limits,
        /// Milliseconds from now until the deadline.
        ttl_ms: u64,
        /// What happens then.
        at_deadline: AtDeadline,
        /// Volumes the cell mounts, at most [`MOST_VOLUMES`], no two at one place or one below the other.
        volumes: Vec<VolumeMount>,
    },
    /// Moves a deadline to `ttl_ms` from now; zero ends the sandbox at once. That of a paused sandbox does
    /// not count yet: it is armed when the sandbox wakes. Answer: [`Answer::Done`].
    LeaseSet {
        /// The sandbox.
        sandbox: SandboxId,
        /// Milliseconds from now.
        ttl_ms: u64,
        /// What happens then from now on; as before if absent.
        at_deadline: Option<AtDeadline>,
    },
    /// Ends a lease and, if its backend has not removed the sandbox yet, the sandbox. Answer: [`Answer::Done`].
    LeaseEnd {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// Leases in order of id, at most [`LEASES_A_PAGE`]. Answer: [`Answer::Leases`].
    LeaseList {
        /// Only ids greater than this one.
        after: Option<SandboxId>,
    },
    /// A new link to the sandbox's agent. Answer: [`Answer::Link`] with one connected SEQPACKET descriptor.
    LinkOpen {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// Templates in order of name, at most [`TEMPLATES_A_PAGE`]. Answer: [`Answer::Templates`].
    TemplateList {
        /// Only names greater than this one.
        after: Option<TemplateName>,
    },
    /// Makes a template from a tar stream; the reading end of a pipe rides along. Unpacking is done by a
    /// worker without privilege; the answer comes when it has ended. Answer: [`Answer::Done`].
    TemplateImport {
        /// The new template's name, not taken yet.
        template: TemplateName,
    },
    /// Removes a template. Sandboxes and snapshots made from it keep their layers. Answer: [`Answer::Done`].
    TemplateRemove {
        /// The template.
        template: TemplateName,
    },
    /// What this host offers and lacks. Answer: [`Answer::Host`].
    HostReport,
    /// What a cell uses now. Answer: [`Answer::Usage`].
    Usage {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// Makes an empty volume. Answer: [`Answer::Done`].
    VolumeCreate {
        /// Not taken yet.
        volume: VolumeId,
    },
    /// Removes a volume that no lease names. Answer: [`Answer::Done`].
    VolumeRemove {
        /// The volume.
        volume: VolumeId,
    },
    /// Volumes in order of id, at most [`VOLUMES_A_PAGE`]. Answer: [`Answer::Volumes`].
    VolumeList {
        /// Only ids greater than this one.
        after: Option<VolumeId>,
    },
    /// Lets the sandbox's backend make one template of its storage, of this name and no other. Answer:
    /// [`Answer::Done`].
    SnapshotAllow {
        /// The sandbox.
        sandbox: SandboxId,
        /// The template to be.
        template: TemplateName,
        /// Whether it goes with this privd: no disk is waited for then. What is made of it meanwhile stays.
        passing: bool,
    },
    /// Opens the log file, certificates and keys that the configuration names anew, and reads what it says of templates
    /// (their networks and sizes), as SIGHUP to privd does. Certificates come as events before the answer. Answer:
    /// [`Answer::Reloaded`].
    Reload,
}

/// What happens to a sandbox at its deadline.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum AtDeadline {
    /// It ends.
    Destroy,
    /// It is paused.
    Pause {
        /// Whether its processes are kept, frozen; without it only its disk is.
        memory: bool,
    },
}

/// A volume in a cell.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VolumeMount {
    /// The volume.
    pub volume: VolumeId,
    /// Where.
    pub at: GuestPath,
}

/// Most volumes in one cell.
pub const MOST_VOLUMES: usize = 16;
/// Most volumes in one answer.
pub const VOLUMES_A_PAGE: usize = 500;
/// Most leases in one answer; keeps it well within a frame.
pub const LEASES_A_PAGE: usize = 100;
/// Most templates in one answer.
pub const TEMPLATES_A_PAGE: usize = 100;

/// What privd answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Answer {
    /// Done.
    Done,
    /// A lease is open.
    Leased {
        /// What the backend may ask for at most.
        limits: Limits,
    },
    /// A page of leases; shorter than [`LEASES_A_PAGE`] means the last.
    Leases(Vec<Lease>),
    /// The link's descriptor rides along.
    Link,
    /// A page of templates.
    Templates(Vec<Template>),
    /// See [`HostReport`].
    Host(Box<HostReport>),
    /// See [`Usage`].
    Usage(Usage),
    /// A page of volumes.
    Volumes(Vec<VolumeId>),
    /// Opened anew.
    Reloaded {
        /// The round of [`Event::Certificate`] that went before.
        round: u32,
        /// Why the log file stays the old one, if it does.
        log: Option<Fault>,
        /// Why what is said of templates stays what it was, if it does.
        networks: Option<Fault>,
    },
}

/// A lease as privd holds it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lease {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// Its backend.
    pub backend: BackendName,
    /// Its template.
    pub template: TemplateName,
    /// Milliseconds left; zero while it is being ended. Of a paused one: none of it counts.
    pub ttl_ms: u64,
    /// What there is of it.
    pub state: LeaseState,
}

/// What there is behind a lease.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum LeaseState {
    /// Nothing yet, or a backend of its own makes it.
    Open,
    /// A cell runs.
    Running,
    /// It is being removed.
    Ending,
    /// It is paused; its deadline does not count.
    Paused {
        /// Whether its processes are kept.
        memory: bool,
    },
}

/// A template privd can clone from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Template {
    /// Its name.
    pub name: TemplateName,
    /// When it was made, in seconds since 1970.
    pub created_unix: u64,
    /// What sandboxes made of it get.
    pub limits: Limits,
}

/// What a cell uses.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Usage {
    /// Processor time so far in microseconds, if the host counts it.
    pub cpu_us: Option<u64>,
    /// Memory now in bytes, if the host counts it.
    pub memory: Option<u64>,
    /// How much of that is page cache.
    pub memory_cache: Option<u64>,
    /// What its writable layer holds in bytes, if the host counts it.
    pub disk: Option<u64>,
    /// Processes now, if the host counts them.
    pub pids: Option<u64>,
}

/// What this host offers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HostReport {
    /// The instance.
    pub tag: InstanceTag,
    /// Which limits a new sandbox would get.
    pub limits: LimitsInForce,
    /// Sandboxes at most, and now.
    pub sandboxes: (u32, u32),
    /// Bytes free and in all where sandboxes are stored.
    pub storage: (u64, u64),
    /// Each feature looked at.
    pub features: Vec<Feature>,
    /// Each daemon's name, bytes of memory, and microseconds of processor time.
    pub daemons: Vec<(String, u64, u64)>,
}

/// One feature of the host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Feature {
    /// Its name, such as `cgroup memory`.
    pub name: String,
    /// Whether it is there.
    pub present: bool,
    /// What follows from it, or how to get it.
    pub note: String,
}

/// What privd tells the gateway unasked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Event {
    /// A sandbox is gone.
    Ended {
        /// Which.
        sandbox: SandboxId,
        /// Why.
        reason: EndReason,
    },
    /// A sandbox was paused, or has lost what it kept in memory.
    Paused {
        /// Which.
        sandbox: SandboxId,
        /// Whether its processes are kept.
        memory: bool,
        /// Why.
        why: PauseReason,
    },
    /// A new channel to netd rides along (netd was started or restarted).
    NetChannel,
    /// A new channel to a plugin host rides along.
    PluginChannel {
        /// The backend it serves.
        backend: BackendName,
    },
    /// A certificate of the TLS listeners. Two descriptors ride along, files in PEM: the chain, and its key.
    /// None do where privd could not open them: what the gateway has stays in use.
    Certificate {
        /// Counts how often they were opened; a round ends when all have come.
        round: u32,
        /// Which one, in the order of the configuration.
        index: u8,
        /// How many there are.
        of: u8,
        /// Why it was not opened.
        fault: Option<Fault>,
    },
    /// A new channel from egressd rides along (egressd was started or restarted); what comes on it is
    /// [`crate::egress_gateway::Event`].
    EgressChannel,
}

/// Why a sandbox is paused, or its memory gone.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum PauseReason {
    /// Its lease ran out.
    Expired,
    /// It was asked for.
    Asked,
    /// Its processes, which had been kept, are gone: the host was restarted, or they were killed.
    MemoryLost,
}

/// Why a sandbox ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum EndReason {
    /// Its lease ran out.
    Expired,
    /// It was asked for.
    Removed,
    /// Its first process ended by itself or was killed.
    GuestEnded,
    /// It was not whole when privd started.
    Lost,
}
