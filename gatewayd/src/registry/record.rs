//! What is kept of a sandbox and of a key, and the changes that are written down.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use warder_wire::gateway_priv::AtDeadline;
use warder_wire::{GuestPath, Limits, SandboxId, TemplateName, VolumeId};

use crate::clock::Micros;
use crate::network::{Network, Standing};

/// Version of the stored forms. A file of another version is not read.
pub(crate) const FORMAT: u32 = 3;

/// A sandbox as stored.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct SandboxRecord {
    /// Its id.
    pub(crate) id: SandboxId,
    /// Its template, as clients are told it; a snapshot may be gone already.
    pub(crate) template: TemplateName,
    /// The template's name for people; `None` when it has no other than `template`.
    pub(crate) alias: Option<String>,
    /// The key that made it; `None` for the operator.
    pub(crate) owner: Option<String>,
    /// What the agent demands as `X-Access-Token`.
    pub(crate) envd_token: String,
    /// What other ports demand, if they do.
    pub(crate) traffic_token: Option<String>,
    /// When it was made, or last resumed.
    pub(crate) started: MicrosRaw,
    /// When its lease runs out; of a paused one, when it was paused.
    pub(crate) end: MicrosRaw,
    /// What happens then.
    pub(crate) at_deadline: AtDeadline,
    /// Whether traffic wakes it.
    pub(crate) auto_resume: bool,
    /// How it is paused, if it is.
    pub(crate) paused: Option<Kept>,
    /// As given.
    pub(crate) metadata: BTreeMap<String, String>,
    /// For every process inside; told to the agent whenever it starts anew.
    pub(crate) variables: BTreeMap<String, String>,
    /// Its network options as given.
    pub(crate) network: Network,
    /// How far they are in force.
    pub(crate) standing: Standing,
    /// What it may use.
    pub(crate) limits: Limits,
    /// `mcp` as given, as JSON text.
    pub(crate) mcp: Option<String>,
    /// The volumes in it.
    pub(crate) volumes: Vec<Mounted>,
}

/// A volume in a sandbox.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Mounted {
    /// Its name when it was mounted.
    pub(crate) name: String,
    /// The volume.
    pub(crate) volume: VolumeId,
    /// Where.
    pub(crate) at: GuestPath,
}

/// A volume as stored.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct VolumeRecord {
    /// Its id.
    pub(crate) id: VolumeId,
    /// Its name, which no other has.
    pub(crate) name: String,
    /// The key that made it; `None` for the operator.
    pub(crate) owner: Option<String>,
    /// Opens its content. Kept as it is: whoever holds a key may ask for it again.
    pub(crate) token: String,
    /// When it was made.
    pub(crate) created: MicrosRaw,
    /// What is being done to it.
    pub(crate) state: VolumeState,
}

/// Where a volume stands. Written down before privd is asked, so that it is known who made and who removes one
/// that is found after a restart.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum VolumeState {
    /// It is being made; nobody has heard of it.
    Making,
    /// It is there.
    Ready,
    /// It is being removed.
    Removing,
}

/// What is kept of a paused sandbox besides its disk.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Kept {
    /// Its processes.
    Memory,
    /// Nothing.
    Disk,
}

impl Kept {
    /// From the `memory` of privd's messages.
    pub(crate) fn of(memory: bool) -> Self {
        if memory { Self::Memory } else { Self::Disk }
    }

    /// Whether processes are.
    pub(crate) fn memory(self) -> bool {
        self == Self::Memory
    }
}

/// A snapshot as stored, from before privd is asked to make it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct SnapshotRecord {
    /// Its template: 20 of `[a-z0-9]`.
    pub(crate) template: TemplateName,
    /// Its name and tag, if it was given one.
    pub(crate) name: Option<(String, String)>,
    /// The sandbox it was taken of.
    pub(crate) sandbox: SandboxId,
    /// Who asked for it, as in [`SandboxRecord`].
    pub(crate) owner: Option<String>,
    /// When.
    pub(crate) created: MicrosRaw,
    /// Whether it can be used. Otherwise it is being made, or serves a fork; after a restart it is removed.
    pub(crate) ready: bool,
}

/// A create with an idempotency key as stored.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct IdempotencyRecord {
    /// Whose key.
    pub(crate) caller: String,
    /// The key.
    pub(crate) key: String,
    /// SHA-256 of the request.
    pub(crate) body: [u8; 32],
    /// When it came.
    pub(crate) since: MicrosRaw,
    /// What came of it, once that is known.
    pub(crate) made: Option<SandboxId>,
}

/// Microseconds since 1970 as a plain number, whatever the encoding.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct MicrosRaw(u64);

impl From<Micros> for MicrosRaw {
    fn from(time: Micros) -> Self {
        Self(time.0)
    }
}

impl From<MicrosRaw> for Micros {
    fn from(time: MicrosRaw) -> Self {
        Self(time.0)
    }
}

/// An API key as stored: never the key itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct KeyRecord {
    /// Names the key in administration.
    pub(crate) id: String,
    /// For people.
    pub(crate) name: String,
    /// SHA-256 of the key. Keys hold 160 random bits, so a slow hash would add nothing.
    pub(crate) hash: [u8; 32],
    /// Its last characters, for people.
    pub(crate) tail: String,
    /// When it was made.
    pub(crate) created: MicrosRaw,
}

/// One line of the audit.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct AuditRecord {
    /// When.
    pub(crate) at: MicrosRaw,
    /// Who: a key's id, `operator`, or a daemon's name.
    pub(crate) who: String,
    /// What: `sandbox.create`, `key.revoke` and the like.
    pub(crate) what: String,
    /// On what: an id or name.
    pub(crate) on: String,
    /// Anything else worth keeping.
    pub(crate) note: String,
}

/// What an event tells. Stored by position: new ones go to the end.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum EventKind {
    /// The sandbox was made.
    Created,
    /// It has ended, whatever the reason.
    Killed,
    /// Its end or its network policy was changed.
    Updated,
    /// It was paused.
    Paused,
    /// It runs again.
    Resumed,
    /// A snapshot was taken of it.
    Checkpointed,
}

/// One event as stored.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct EventRecord {
    /// Its number: 1, 2, 3, and so on, also across restarts.
    pub(crate) number: u64,
    /// The oldest number that was kept when this one was written; smaller ones are dropped.
    pub(crate) oldest: u64,
    /// When.
    pub(crate) at: MicrosRaw,
    /// What.
    pub(crate) kind: EventKind,
    /// The sandbox.
    pub(crate) sandbox: SandboxId,
    /// Its template.
    pub(crate) template: TemplateName,
    /// When the execution it belongs to began: since its make or its last resume.
    pub(crate) since: MicrosRaw,
    /// E2B's `eventData`, a JSON object as text.
    pub(crate) data: String,
}

/// One change. Applying it twice is applying it once, so a journal may be replayed from any earlier state.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Change {
    /// This is the sandbox now.
    Sandbox(Box<SandboxRecord>),
    /// The sandbox is gone.
    SandboxGone(SandboxId),
    /// This is the key now.
    Key(KeyRecord),
    /// The key is gone.
    KeyGone(String),
    /// Something happened.
    Audit(AuditRecord),
    /// Something happened to a sandbox.
    Event(EventRecord),
    /// This is the volume now.
    Volume(VolumeRecord),
    /// The volume is gone.
    VolumeGone(VolumeId),
    /// So many sandboxes of this template are kept ready; none at zero.
    Pool(TemplateName, u32),
    /// This is the snapshot now.
    Snapshot(SnapshotRecord),
    /// The snapshot is gone.
    SnapshotGone(TemplateName),
    /// This is the create with an idempotency key now.
    Idempotency(IdempotencyRecord),
    /// The key of this caller is free again.
    IdempotencyGone(String, String),
}
