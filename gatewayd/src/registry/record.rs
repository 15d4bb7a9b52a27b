//! What is kept of a sandbox and of a key, and the changes that are written down.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use warder_wire::{GuestPath, Limits, SandboxId, TemplateName, VolumeId};

use crate::clock::Micros;

/// Version of the stored forms. A file of another version is not read.
pub(crate) const FORMAT: u32 = 2;

/// A sandbox as stored. Variables are not kept: they are the agent's.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct SandboxRecord {
    /// Its id.
    pub(crate) id: SandboxId,
    /// Its template.
    pub(crate) template: TemplateName,
    /// The key that made it; `None` for the operator.
    pub(crate) owner: Option<String>,
    /// What the agent demands as `X-Access-Token`.
    pub(crate) envd_token: String,
    /// What other ports demand, if they do.
    pub(crate) traffic_token: Option<String>,
    /// When it was made.
    pub(crate) started: MicrosRaw,
    /// When its lease runs out.
    pub(crate) end: MicrosRaw,
    /// As given.
    pub(crate) metadata: BTreeMap<String, String>,
    /// `allow_internet_access` as given.
    pub(crate) internet: Option<bool>,
    /// `network.allowPublicTraffic` as given.
    pub(crate) public_traffic: Option<bool>,
    /// What it may use.
    pub(crate) limits: Limits,
    /// `mcp` as given, as JSON text.
    pub(crate) mcp: Option<String>,
    /// Generation of its network policy.
    pub(crate) generation: u64,
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
    Sandbox(SandboxRecord),
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
}
