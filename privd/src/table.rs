//! The security policy: every request, who may send it, in which phase of the sandbox it names, with
//! how many descriptors, how often, and what handles it. Nothing else is answered.
//!
//! What a correct peer cannot send (an unknown request, a frame that is not whole, descriptors that
//! do not belong) ends its channel and its process.
//! What a race can bring about is answered with a fault. A plugin host sees only sandboxes whose lease
//! names its backend; to it the others do not exist.

use std::os::fd::OwnedFd;

use warder_wire::{Fault, FaultCode, OpId, SandboxId, gateway_priv, plugin_priv};

use crate::ledger::Lease;
use crate::privd::Privd;
use crate::supervise::{ReplyTo, Role};
use crate::verbs::pause::Why;

/// Who may send a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sender {
    /// The gateway.
    Gateway,
    /// A plugin host.
    Plugin,
}

/// Phases of a sandbox, as a set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Phases(u8);

/// There is no lease.
pub(crate) const ABSENT: Phases = Phases(1);
/// A lease and nothing else.
pub(crate) const OPEN: Phases = Phases(2);
/// Storage, no cell.
pub(crate) const STORED: Phases = Phases(4);
/// The cell is being made or removed.
pub(crate) const CHANGING: Phases = Phases(8);
/// The cell runs.
pub(crate) const RUNNING: Phases = Phases(16);
/// The cell is frozen.
pub(crate) const FROZEN: Phases = Phases(64);
/// Everything is being removed.
pub(crate) const ENDING: Phases = Phases(32);
/// The request names no sandbox.
pub(crate) const NONE: Phases = Phases(0);

impl Phases {
    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `phase` is one of them.
    #[must_use]
    pub(crate) fn has(self, phase: Self) -> bool {
        self.0 & phase.0 != 0
    }
}

const LIVE: Phases = OPEN.or(STORED).or(CHANGING).or(RUNNING).or(FROZEN);
/// As long as anything of it is there.
const THERE: Phases = LIVE.or(ENDING);
/// No cell, and none on its way.
const BARE: Phases = OPEN.or(STORED);
/// It has a cell.
const MADE: Phases = RUNNING.or(FROZEN);
/// Paused, with its processes or without.
const ASLEEP: Phases = STORED.or(FROZEN);
/// Its tree is one that can be copied.
const WHOLE: Phases = ASLEEP.or(RUNNING);

/// One request.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "named after the messages in warder-wire")]
pub(crate) enum Verb {
    LeaseOpen,
    LeaseSet,
    LeaseEnd,
    LeaseList,
    LinkOpen,
    TemplateList,
    TemplateImport,
    TemplateRemove,
    HostReport,
    Usage,
    Reload,
    StorageClone,
    CellCreate,
    CellRemove,
    StorageDestroy,
    CellStat,
    CellList,
    SnapshotAllow,
    VolumeCreate,
    VolumeRemove,
    VolumeList,
    CellFreeze,
    CellThaw,
    CellStop,
    StorageSnapshot,
    VmCreate,
    VmRemove,
    VmStat,
}

impl Verb {
    /// The verb that does it: a machine is a cell whose first process is the machine.
    pub(crate) const fn of_cells(self) -> Self {
        match self {
            Self::VmCreate => Self::CellCreate,
            Self::VmRemove => Self::CellRemove,
            other => other,
        }
    }
}

/// One line of the policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The request.
    pub verb: Verb,
    /// Who may send it.
    pub from: Sender,
    /// In which phases of the sandbox.
    pub phases: Phases,
    /// With exactly so many descriptors.
    pub fds: usize,
    /// So many at once, and so many a second on average.
    pub rate: (u32, u32),
}

const fn row(verb: Verb, from: Sender, phases: Phases, fds: usize, rate: (u32, u32)) -> Row {
    Row {
        verb,
        from,
        phases,
        fds,
        rate,
    }
}

/// The policy.
pub(crate) const TABLE: [Row; 28] = [
    row(Verb::LeaseOpen, Sender::Gateway, ABSENT, 0, (2000, 1000)),
    row(Verb::LeaseSet, Sender::Gateway, LIVE, 0, (4000, 2000)),
    row(Verb::LeaseEnd, Sender::Gateway, THERE, 0, (2000, 1000)),
    row(Verb::LeaseList, Sender::Gateway, NONE, 0, (100, 50)),
    row(Verb::LinkOpen, Sender::Gateway, RUNNING, 0, (4000, 1000)),
    row(Verb::TemplateList, Sender::Gateway, NONE, 0, (200, 100)),
    row(Verb::TemplateImport, Sender::Gateway, NONE, 1, (4, 1)),
    row(Verb::TemplateRemove, Sender::Gateway, NONE, 0, (200, 50)),
    row(Verb::HostReport, Sender::Gateway, NONE, 0, (50, 20)),
    row(Verb::Usage, Sender::Gateway, RUNNING, 0, (4000, 2000)),
    row(Verb::Reload, Sender::Gateway, NONE, 0, (4, 1)),
    row(Verb::StorageClone, Sender::Plugin, OPEN, 0, (2000, 1000)),
    row(Verb::CellCreate, Sender::Plugin, STORED, 0, (2000, 1000)),
    row(Verb::CellRemove, Sender::Plugin, THERE, 0, (2000, 1000)),
    row(Verb::StorageDestroy, Sender::Plugin, BARE, 0, (2000, 1000)),
    row(Verb::CellStat, Sender::Plugin, RUNNING, 0, (4000, 2000)),
    row(Verb::CellList, Sender::Plugin, NONE, 0, (100, 50)),
    row(Verb::SnapshotAllow, Sender::Gateway, WHOLE, 0, (200, 50)),
    row(Verb::VolumeCreate, Sender::Gateway, NONE, 0, (100, 50)),
    row(Verb::VolumeRemove, Sender::Gateway, NONE, 0, (100, 50)),
    row(Verb::VolumeList, Sender::Gateway, NONE, 0, (100, 50)),
    row(Verb::CellFreeze, Sender::Plugin, RUNNING, 0, (2000, 1000)),
    row(Verb::CellThaw, Sender::Plugin, ASLEEP, 0, (2000, 1000)),
    row(Verb::CellStop, Sender::Plugin, MADE, 0, (2000, 1000)),
    row(Verb::StorageSnapshot, Sender::Plugin, WHOLE, 0, (200, 50)),
    row(Verb::VmCreate, Sender::Plugin, STORED, 0, (200, 100)),
    row(Verb::VmRemove, Sender::Plugin, THERE, 0, (2000, 1000)),
    row(Verb::VmStat, Sender::Plugin, RUNNING, 0, (4000, 2000)),
];

/// What the table needs to know of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// Which it is.
    pub verb: Verb,
    /// The sandbox it names.
    pub sandbox: Option<&'a SandboxId>,
    /// The operation it belongs to.
    pub op: Option<OpId>,
}

/// Which request this message is. No wildcard: a new message does not compile without a row.
#[must_use]
pub(crate) fn of_gateway(ask: &gateway_priv::Ask) -> Request<'_> {
    use gateway_priv::Ask;
    let (verb, sandbox) = match ask {
        Ask::LeaseOpen { sandbox, .. } => (Verb::LeaseOpen, Some(sandbox)),
        Ask::LeaseSet { sandbox, .. } => (Verb::LeaseSet, Some(sandbox)),
        Ask::LeaseEnd { sandbox } => (Verb::LeaseEnd, Some(sandbox)),
        Ask::LeaseList { .. } => (Verb::LeaseList, None),
        Ask::LinkOpen { sandbox } => (Verb::LinkOpen, Some(sandbox)),
        Ask::TemplateList { .. } => (Verb::TemplateList, None),
        Ask::TemplateImport { .. } => (Verb::TemplateImport, None),
        Ask::TemplateRemove { .. } => (Verb::TemplateRemove, None),
        Ask::HostReport => (Verb::HostReport, None),
        Ask::Usage { sandbox } => (Verb::Usage, Some(sandbox)),
        Ask::SnapshotAllow { sandbox, .. } => (Verb::SnapshotAllow, Some(sandbox)),
        Ask::VolumeCreate { .. } => (Verb::VolumeCreate, None),
        Ask::VolumeRemove { .. } => (Verb::VolumeRemove, None),
        Ask::VolumeList { .. } => (Verb::VolumeList, None),
        Ask::Reload => (Verb::Reload, None),
    };
    Request {
        verb,
        sandbox,
        op: None,
    }
}

/// The same for a plugin host's message.
#[must_use]
pub(crate) fn of_plugin(ask: &plugin_priv::Ask) -> Request<'_> {
    use plugin_priv::Ask;
    let (verb, sandbox, op) = match ask {
        Ask::StorageClone { op, sandbox, .. } => (Verb::StorageClone, Some(sandbox), Some(*op)),
        Ask::CellCreate { op, sandbox, .. } => (Verb::CellCreate, Some(sandbox), Some(*op)),
        Ask::CellRemove { op, sandbox } => (Verb::CellRemove, Some(sandbox), Some(*op)),
        Ask::StorageDestroy { op, sandbox } => (Verb::StorageDestroy, Some(sandbox), Some(*op)),
        Ask::CellStat { sandbox } => (Verb::CellStat, Some(sandbox), None),
        Ask::CellList { .. } => (Verb::CellList, None, None),
        Ask::CellFreeze { op, sandbox } => (Verb::CellFreeze, Some(sandbox), Some(*op)),
        Ask::CellThaw { op, sandbox } => (Verb::CellThaw, Some(sandbox), Some(*op)),
        Ask::CellStop { op, sandbox } => (Verb::CellStop, Some(sandbox), Some(*op)),
        Ask::StorageSnapshot { op, sandbox, .. } => {
            (Verb::StorageSnapshot, Some(sandbox), Some(*op))
        }
        Ask::VmCreate { op, sandbox, .. } => (Verb::VmCreate, Some(sandbox), Some(*op)),
        Ask::VmRemove { op, sandbox } => (Verb::VmRemove, Some(sandbox), Some(*op)),
        Ask::VmStat { sandbox } => (Verb::VmStat, Some(sandbox), None),
    };
    Request { verb, sandbox, op }
}

/// Why a request is not handled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// No correct peer sends it: the channel dies.
    Violation(&'static str),
    /// Answered.
    Fault(Fault),
}

fn refuse<T>(code: FaultCode, detail: &str) -> Result<T, Refusal> {
    Err(Refusal::Fault(Fault::new(code, detail)))
}

/// The part of the policy that needs no sandbox: who, and with what.
///
/// # Errors
/// [`Refusal::Violation`].
pub(crate) fn admit_sender(
    verb: Verb,
    sender: Sender,
    fds: usize,
) -> Result<&'static Row, Refusal> {
    let row = TABLE
        .iter()
        .find(|row| row.verb == verb)
        .ok_or(Refusal::Violation("not in the table"))?;
    if row.from != sender {
        return Err(Refusal::Violation("not for this sender"));
    }
    if row.fds != fds {
        return Err(Refusal::Violation("wrong number of descriptors"));
    }
    Ok(row)
}

/// Whether a request makes processes run, stand still or end, or needs them to stand still, so that it cannot come
/// into the middle of a snapshot.
const fn changes(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::CellCreate
            | Verb::CellFreeze
            | Verb::CellThaw
            | Verb::CellStop
            | Verb::StorageSnapshot
            | Verb::VmCreate
    )
}

/// The part that does: in which phase. `now` is [`ABSENT`] for what the sender may not see.
///
/// # Errors
/// [`Refusal::Fault`].
pub(crate) fn admit_phase(row: &Row, now: Phases) -> Result<(), Refusal> {
    if row.phases == NONE || row.phases.has(now) {
        return Ok(());
    }
    match now {
        ABSENT => refuse(FaultCode::NotFound, "no such sandbox"),
        ENDING => refuse(FaultCode::Conflict, "the sandbox is being removed"),
        _ if row.phases == ABSENT => refuse(FaultCode::Conflict, "the sandbox exists"),
        STORED => refuse(FaultCode::Conflict, "the sandbox has storage and no cell"),
        RUNNING => refuse(FaultCode::Conflict, "the sandbox has a cell"),
        FROZEN => refuse(FaultCode::Conflict, "the sandbox is paused"),
        CHANGING => refuse(
            FaultCode::Conflict,
            "the sandbox is being changed, paused or copied",
        ),
        _ => refuse(
            FaultCode::Conflict,
            "the sandbox has neither storage nor cell",
        ),
    }
}

/// Handles a request of the gateway.
///
/// # Errors
/// Why its channel must die.
pub(crate) fn gateway(
    d: &mut Privd,
    to: ReplyTo,
    ask: gateway_priv::Ask,
    fds: Vec<OwnedFd>,
) -> Result<(), &'static str> {
    use gateway_priv::Ask;
    let request = of_gateway(&ask);
    match d.admit(Sender::Gateway, &to, &request, fds.len()) {
        Ok(()) => {}
        Err(Refusal::Violation(why)) => return Err(why),
        Err(Refusal::Fault(fault)) => {
            d.answer_gateway(&to, Err(fault), Vec::new());
            return Ok(());
        }
    }
    match ask {
        Ask::LeaseOpen {
            sandbox,
            backend,
            template,
            limits,
            ttl_ms,
            at_deadline,
            volumes,
        } => {
            let lease = Lease {
                backend,
                template,
                limits,
                at_deadline,
                volumes,
            };
            d.lease_open(&to, sandbox, lease, ttl_ms);
        }
        Ask::LeaseSet {
            sandbox,
            ttl_ms,
            at_deadline,
        } => d.lease_set(to, sandbox, ttl_ms, at_deadline),
        Ask::LeaseEnd { sandbox } => d.lease_end(to, &sandbox),
        Ask::LeaseList { after } => d.lease_list(&to, after.as_ref()),
        Ask::LinkOpen { sandbox } => d.link_open(&to, &sandbox),
        Ask::TemplateList { after } => d.template_list(&to, after.as_ref()),
        Ask::TemplateImport { template } => return d.template_import(to, template, fds),
        Ask::TemplateRemove { template } => d.template_remove(&to, &template),
        Ask::HostReport => d.host_report(&to),
        Ask::Usage { sandbox } => d.usage(&to, &sandbox),
        Ask::SnapshotAllow {
            sandbox,
            template,
            passing,
        } => d.snapshot_allow(&to, &sandbox, template, passing),
        Ask::VolumeCreate { volume } => d.volume_create(to, &volume),
        Ask::VolumeRemove { volume } => d.volume_remove(to, &volume),
        Ask::VolumeList { after } => d.volume_list(&to, after.as_ref()),
        Ask::Reload => d.reload_asked(&to),
    }
    Ok(())
}

/// Handles a request of a plugin host.
///
/// # Errors
/// Why its channel must die.
pub(crate) fn plugin(
    d: &mut Privd,
    to: ReplyTo,
    ask: plugin_priv::Ask,
    fds: &[OwnedFd],
) -> Result<(), &'static str> {
    use plugin_priv::Ask;
    let request = of_plugin(&ask);
    if let (Some(sandbox), Some(op)) = (request.sandbox, request.op)
        && fds.is_empty()
        && d.known_op(&to, sandbox, request.verb, op)
    {
        return Ok(());
    }
    match d.admit(Sender::Plugin, &to, &request, fds.len()) {
        Ok(()) => {}
        Err(Refusal::Violation(why)) => return Err(why),
        Err(Refusal::Fault(fault)) => {
            d.answer_plugin(&to, Err(fault));
            return Ok(());
        }
    }
    match ask {
        Ask::StorageClone {
            op,
            sandbox,
            template,
        } => d.storage_clone(to, op, &sandbox, &template),
        Ask::CellCreate {
            op,
            sandbox,
            limits,
        } => d.cell_create(to, op, &sandbox, limits, false),
        Ask::VmCreate {
            op,
            sandbox,
            limits,
        } => d.cell_create(to, op, &sandbox, limits, true),
        Ask::CellRemove { op, sandbox } | Ask::VmRemove { op, sandbox } => {
            d.cell_remove(to, op, &sandbox);
        }
        Ask::StorageDestroy { op, sandbox } => d.storage_destroy(to, op, &sandbox),
        Ask::CellStat { sandbox } | Ask::VmStat { sandbox } => d.cell_stat(&to, &sandbox),
        Ask::CellList { after } => d.cell_list(&to, after.as_ref()),
        Ask::CellFreeze { op, sandbox } => {
            d.begin_op(to, &sandbox, Verb::CellFreeze, op);
            d.pause(&sandbox, Why::Asked(Verb::CellFreeze, op), true);
        }
        Ask::CellThaw { op, sandbox } => d.cell_thaw(to, op, &sandbox),
        Ask::CellStop { op, sandbox } => {
            d.begin_op(to, &sandbox, Verb::CellStop, op);
            d.pause(&sandbox, Why::Asked(Verb::CellStop, op), false);
        }
        Ask::StorageSnapshot {
            op,
            sandbox,
            template,
        } => d.storage_snapshot(to, op, &sandbox, &template),
    }
    Ok(())
}

impl Privd {
    /// Applies the table to one request.
    fn admit(
        &mut self,
        sender: Sender,
        to: &ReplyTo,
        request: &Request<'_>,
        fds: usize,
    ) -> Result<(), Refusal> {
        let row = admit_sender(request.verb, sender, fds)?;
        if self.stopping() {
            return refuse(FaultCode::Unavailable, "the instance is being stopped");
        }
        let bucket = self
            .rates
            .entry((to.role, row.verb))
            .or_insert_with(|| crate::rate::Bucket::new(row.rate.0, row.rate.1));
        if !bucket.take(self.now.mono) {
            self.log
                .audit(format_args!("{} asks {:?} too often", to.role, row.verb));
            return refuse(FaultCode::Exhausted, "asked too often");
        }
        let Some(sandbox) = request.sandbox else {
            return Ok(());
        };
        let now = match self.owner_of(sandbox) {
            Some(owner) if sender == Sender::Plugin && to.role != Role::Plugin(owner) => {
                self.log.audit(format_args!(
                    "{} asks {:?} of {sandbox}, which is not its own",
                    to.role, row.verb
                ));
                ABSENT
            }
            // It can be used meanwhile, and ended; nothing may make it another one.
            _ if changes(row.verb) && self.is_copied(sandbox) => CHANGING,
            _ => self.phase(sandbox),
        };
        admit_phase(row, now)
    }
}

#[cfg(test)]
mod tests {
    use warder_wire::{BackendName, Limits, TemplateName, VolumeId};

    use super::*;

    const PHASES: [Phases; 7] = [ABSENT, OPEN, STORED, CHANGING, RUNNING, FROZEN, ENDING];

    fn id() -> SandboxId {
        SandboxId::from_random(&[3; 20])
    }

    fn volume() -> VolumeId {
        VolumeId::from_random(&[4; 20])
    }

    fn gateway_asks() -> Vec<gateway_priv::Ask> {
        use gateway_priv::Ask;
        let template = TemplateName::new("base").expect("a name");
        let limits = Limits {
            memory_mib: 64,
            cpu_percent: 10,
            pids: 16,
            disk_mib: 64,
        };
        let backend = BackendName::new("namespace").expect("a name");
        vec![
            Ask::LeaseOpen {
                sandbox: id(),
                backend,
                template: template.clone(),
                limits,
                ttl_ms: 1,
                at_deadline: gateway_priv::AtDeadline::Destroy,
                volumes: Vec::new(),
            },
            Ask::LeaseSet {
                sandbox: id(),
                ttl_ms: 0,
                at_deadline: None,
            },
            Ask::LeaseEnd { sandbox: id() },
            Ask::LeaseList { after: None },
            Ask::LinkOpen { sandbox: id() },
            Ask::TemplateList { after: None },
            Ask::TemplateImport {
                template: template.clone(),
            },
            Ask::TemplateRemove {
                template: template.clone(),
            },
            Ask::SnapshotAllow {
                sandbox: id(),
                template,
                passing: false,
            },
            Ask::HostReport,
            Ask::Usage { sandbox: id() },
            Ask::VolumeCreate { volume: volume() },
            Ask::VolumeRemove { volume: volume() },
            Ask::VolumeList { after: None },
            Ask::Reload,
        ]
    }

    fn plugin_asks() -> Vec<plugin_priv::Ask> {
        use plugin_priv::Ask;
        let op = OpId([1; 16]);
        let limits = Limits {
            memory_mib: 64,
            cpu_percent: 10,
            pids: 16,
            disk_mib: 64,
        };
        vec![
            Ask::StorageClone {
                op,
                sandbox: id(),
                template: TemplateName::new("base").expect("a name"),
            },
            Ask::CellCreate {
                op,
                sandbox: id(),
                limits,
            },
            Ask::CellRemove { op, sandbox: id() },
            Ask::StorageDestroy { op, sandbox: id() },
            Ask::CellStat { sandbox: id() },
            Ask::CellList { after: None },
            Ask::CellFreeze { op, sandbox: id() },
            Ask::CellThaw { op, sandbox: id() },
            Ask::CellStop { op, sandbox: id() },
            Ask::StorageSnapshot {
                op,
                sandbox: id(),
                template: TemplateName::new("kept").expect("a name"),
            },
            Ask::VmCreate {
                op,
                sandbox: id(),
                limits,
            },
            Ask::VmRemove { op, sandbox: id() },
            Ask::VmStat { sandbox: id() },
        ]
    }

    #[test]
    fn every_message_has_exactly_one_row_and_one_sender() {
        let gateway: Vec<_> = gateway_asks().iter().map(|a| of_gateway(a).verb).collect();
        let plugin: Vec<_> = plugin_asks().iter().map(|a| of_plugin(a).verb).collect();
        for (verbs, sender, other) in [
            (&gateway, Sender::Gateway, Sender::Plugin),
            (&plugin, Sender::Plugin, Sender::Gateway),
        ] {
            for verb in verbs {
                assert_eq!(
                    TABLE.iter().filter(|row| row.verb == *verb).count(),
                    1,
                    "{verb:?}"
                );
                let fds = usize::from(*verb == Verb::TemplateImport);
                assert!(admit_sender(*verb, sender, fds).is_ok(), "{verb:?}");
                assert!(
                    matches!(admit_sender(*verb, other, fds), Err(Refusal::Violation(_))),
                    "{verb:?}"
                );
                assert!(
                    matches!(
                        admit_sender(*verb, sender, fds + 1),
                        Err(Refusal::Violation(_))
                    ),
                    "{verb:?}"
                );
            }
        }
        assert_eq!(gateway.len() + plugin.len(), TABLE.len());
    }

    #[test]
    fn phases_are_as_the_table_says() {
        for row in TABLE {
            for phase in PHASES {
                let admitted = admit_phase(&row, phase).is_ok();
                assert_eq!(
                    admitted,
                    row.phases == NONE || row.phases.has(phase),
                    "{:?} {phase:?}",
                    row.verb
                );
            }
        }
        let row = |verb| TABLE.iter().find(|row| row.verb == verb).expect("a row");
        for (verb, phase, code) in [
            (Verb::LeaseOpen, RUNNING, FaultCode::Conflict),
            (Verb::CellCreate, OPEN, FaultCode::Conflict),
            (Verb::StorageDestroy, RUNNING, FaultCode::Conflict),
            (Verb::LinkOpen, ABSENT, FaultCode::NotFound),
            (Verb::LeaseSet, ENDING, FaultCode::Conflict),
            (Verb::CellFreeze, FROZEN, FaultCode::Conflict),
            (Verb::LinkOpen, FROZEN, FaultCode::Conflict),
        ] {
            assert!(
                matches!(admit_phase(row(verb), phase), Err(Refusal::Fault(f)) if f.code == code),
                "{verb:?}"
            );
        }
    }

    #[test]
    fn operations_of_a_plugin_have_numbers_and_the_gateways_none() {
        assert_eq!(
            plugin_asks()
                .iter()
                .filter(|a| of_plugin(a).op.is_some())
                .count(),
            10
        );
        assert!(gateway_asks().iter().all(|a| of_gateway(a).op.is_none()));
    }
}
