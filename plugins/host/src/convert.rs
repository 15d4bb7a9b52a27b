//! Between the plugin's messages (`warder_abi::message`, stable) and the daemons' (`warder_wire`, which
//! change with every version). Everything that comes from the plugin is checked here.

use warder_abi::message::{self as abi, code, decode, encode};
use warder_wire::gateway_plugin::{self, EndReason, Usage};
use warder_wire::{
    Fault, FaultCode, LimitState, Limits, LimitsInForce, OpId, SandboxId, TemplateName, plugin_priv,
};

/// The plugin sent what is not a message, or named what is no name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the plugin {0}")]
pub(crate) struct Garbled(pub(crate) &'static str);

type Result<T> = std::result::Result<T, Garbled>;

const NO_NAME: Garbled = Garbled("named what is no sandbox or template");
const NO_MESSAGE: Garbled = Garbled("sent what is no message");

/// What a plugin asks, for privd.
pub(crate) fn ask(number: u32, op: OpId, body: &[u8]) -> Result<plugin_priv::Ask> {
    use plugin_priv::Ask;
    Ok(match number {
        code::STORAGE_CLONE => {
            let ask: abi::StorageClone = read(body)?;
            Ask::StorageClone {
                op,
                sandbox: sandbox(&ask.sandbox)?,
                template: TemplateName::new(&ask.template.0).map_err(|_| NO_NAME)?,
            }
        }
        code::CELL_CREATE => {
            let ask: abi::CellCreate = read(body)?;
            Ask::CellCreate {
                op,
                sandbox: sandbox(&ask.sandbox)?,
                limits: limits(ask.limits)?,
            }
        }
        code::CELL_REMOVE => Ask::CellRemove {
            op,
            sandbox: sandbox(&read(body)?)?,
        },
        code::STORAGE_DESTROY => Ask::StorageDestroy {
            op,
            sandbox: sandbox(&read(body)?)?,
        },
        code::CELL_STAT => Ask::CellStat {
            sandbox: sandbox(&read(body)?)?,
        },
        code::CELL_FREEZE => Ask::CellFreeze {
            op,
            sandbox: sandbox(&read(body)?)?,
        },
        code::CELL_THAW => Ask::CellThaw {
            op,
            sandbox: sandbox(&read(body)?)?,
        },
        code::CELL_STOP => Ask::CellStop {
            op,
            sandbox: sandbox(&read(body)?)?,
        },
        code::STORAGE_SNAPSHOT => {
            let ask: abi::Snapshot = read(body)?;
            Ask::StorageSnapshot {
                op,
                sandbox: sandbox(&ask.sandbox)?,
                template: TemplateName::new(&ask.template.0).map_err(|_| NO_NAME)?,
            }
        }
        code::VM_CREATE => {
            let ask: abi::CellCreate = read(body)?;
            Ask::VmCreate {
                op,
                sandbox: sandbox(&ask.sandbox)?,
                limits: limits(ask.limits)?,
            }
        }
        code::VM_REMOVE => Ask::VmRemove {
            op,
            sandbox: sandbox(&read(body)?)?,
        },
        code::VM_STAT => Ask::VmStat {
            sandbox: sandbox(&read(body)?)?,
        },
        code::CELL_LIST => {
            let after: Option<abi::SandboxId> = read(body)?;
            Ask::CellList {
                after: after.as_ref().map(sandbox).transpose()?,
            }
        }
        _ => return Err(Garbled("asked for an operation that there is not")),
    })
}

/// privd's answer, for the plugin.
pub(crate) fn answer_to_plugin(answer: &plugin_priv::Answer) -> Vec<u8> {
    use plugin_priv::Answer;
    match answer {
        Answer::Done => Vec::new(),
        Answer::Cell { limits } => encode(&abi::LimitsInForce {
            memory: state_to_plugin(limits.memory),
            cpu: state_to_plugin(limits.cpu),
            pids: state_to_plugin(limits.pids),
            disk: state_to_plugin(limits.disk),
        }),
        Answer::Usage(usage) => encode(&abi::Usage {
            cpu_us: usage.cpu_us,
            memory: usage.memory,
            pids: usage.pids,
        }),
        Answer::Cells(cells) => {
            let cells: Vec<_> = cells.iter().map(name).collect();
            encode(&cells)
        }
    }
}

/// A request of the gateway's, for the plugin: its number and body.
pub(crate) fn request(ask: &gateway_plugin::Ask) -> (u32, Vec<u8>) {
    use gateway_plugin::Ask;
    match ask {
        Ask::Describe => (code::DESCRIBE, Vec::new()),
        Ask::Create {
            sandbox,
            template,
            limits,
            ..
        } => {
            let wanted = abi::Create {
                sandbox: name(sandbox),
                template: abi::TemplateName(template.to_string()),
                limits: limits_to_plugin(*limits),
            };
            (code::CREATE, encode(&wanted))
        }
        Ask::Destroy { sandbox, .. } => (code::DESTROY, encode(&name(sandbox))),
        Ask::Stats { sandbox } => (code::STATS, encode(&name(sandbox))),
        Ask::Pause {
            sandbox, memory, ..
        } => {
            let wanted = abi::Pause {
                sandbox: name(sandbox),
                memory: *memory,
            };
            (code::PAUSE, encode(&wanted))
        }
        Ask::Resume {
            sandbox,
            memory,
            limits,
            ..
        } => {
            let wanted = abi::Resume {
                sandbox: name(sandbox),
                memory: *memory,
                limits: limits_to_plugin(*limits),
            };
            (code::RESUME, encode(&wanted))
        }
        Ask::Snapshot {
            sandbox, template, ..
        } => {
            let wanted = abi::Snapshot {
                sandbox: name(sandbox),
                template: abi::TemplateName(template.to_string()),
            };
            (code::SNAPSHOT, encode(&wanted))
        }
    }
}

/// The plugin's answer to request `number`, for the gateway.
pub(crate) fn answer(number: u32, body: &[u8]) -> Result<gateway_plugin::Answer> {
    use gateway_plugin::Answer;
    Ok(match number {
        code::DESCRIBE => {
            let said: abi::Description = read(body)?;
            Answer::Described(gateway_plugin::Description {
                // Of a fault's detail: printable and short.
                title: Fault::new(FaultCode::System, said.title).detail,
                pause_memory: said.pause_memory,
                fork: said.fork,
            })
        }
        code::CREATE => Answer::Created {
            limits: in_force(read(body)?),
        },
        code::STATS => {
            let usage: abi::Usage = read(body)?;
            Answer::Usage(Usage {
                cpu_us: usage.cpu_us,
                memory: usage.memory,
                // Not in the interface of version 0: privd counts them.
                memory_cache: None,
                disk: None,
                pids: usage.pids,
            })
        }
        code::RESUME => {
            let resumed: abi::Resumed = read(body)?;
            Answer::Resumed {
                memory: resumed.memory,
            }
        }
        _ if body.is_empty() => Answer::Done,
        _ => return Err(NO_MESSAGE),
    })
}

/// The sandboxes a plugin says it has.
pub(crate) fn adopted(body: &[u8]) -> Result<Vec<SandboxId>> {
    let said: Vec<abi::SandboxId> = read(body)?;
    said.iter().map(sandbox).collect()
}

/// An event of the plugin's, for the gateway.
pub(crate) fn event(number: u32, body: &[u8]) -> Result<gateway_plugin::Event> {
    if number != code::EVENT_ENDED {
        return Err(Garbled("sent an event that there is not"));
    }
    let ended: abi::Ended = read(body)?;
    Ok(gateway_plugin::Event::Ended {
        sandbox: sandbox(&ended.sandbox)?,
        reason: match ended.reason {
            abi::EndReason::Expired => EndReason::Expired,
            abi::EndReason::Removed => EndReason::Removed,
            abi::EndReason::GuestEnded => EndReason::GuestEnded,
            abi::EndReason::Lost => EndReason::Lost,
        },
    })
}

/// An event of privd's, for the plugin.
pub(crate) fn ended(sandbox: &SandboxId, reason: EndReason) -> Vec<u8> {
    encode(&abi::Ended {
        sandbox: name(sandbox),
        reason: match reason {
            EndReason::Expired => abi::EndReason::Expired,
            EndReason::Removed => abi::EndReason::Removed,
            EndReason::GuestEnded => abi::EndReason::GuestEnded,
            EndReason::Lost => abi::EndReason::Lost,
        },
    })
}

/// A fault of the plugin's, for the gateway.
pub(crate) fn fault(bytes: &[u8]) -> Fault {
    let fault = abi::Fault::decode(bytes);
    let code = match fault.code {
        abi::FaultCode::NotFound => FaultCode::NotFound,
        abi::FaultCode::Conflict => FaultCode::Conflict,
        abi::FaultCode::Refused => FaultCode::Refused,
        abi::FaultCode::Exhausted => FaultCode::Exhausted,
        abi::FaultCode::NoSpace => FaultCode::NoSpace,
        abi::FaultCode::Unsupported => FaultCode::Unsupported,
        abi::FaultCode::Unavailable => FaultCode::Unavailable,
        abi::FaultCode::TimedOut => FaultCode::TimedOut,
        abi::FaultCode::System => FaultCode::System,
    };
    Fault::new(code, fault.detail)
}

/// A fault of privd's or ours, for the plugin.
pub(crate) fn fault_to_plugin(fault: &Fault) -> Vec<u8> {
    let code = match fault.code {
        FaultCode::NotFound => abi::FaultCode::NotFound,
        FaultCode::Conflict => abi::FaultCode::Conflict,
        FaultCode::Refused => abi::FaultCode::Refused,
        FaultCode::Exhausted => abi::FaultCode::Exhausted,
        FaultCode::NoSpace => abi::FaultCode::NoSpace,
        FaultCode::Unsupported => abi::FaultCode::Unsupported,
        FaultCode::Unavailable => abi::FaultCode::Unavailable,
        FaultCode::TimedOut => abi::FaultCode::TimedOut,
        FaultCode::GuestUnresponsive | FaultCode::System => abi::FaultCode::System,
    };
    encode(&abi::Fault::new(code, &fault.detail))
}

fn read<T: abi::Message>(body: &[u8]) -> Result<T> {
    decode(body).map_err(|_| NO_MESSAGE)
}

fn name(sandbox: &SandboxId) -> abi::SandboxId {
    abi::SandboxId(sandbox.to_string())
}

fn sandbox(name: &abi::SandboxId) -> Result<SandboxId> {
    SandboxId::new(&name.0).map_err(|_| NO_NAME)
}

fn limits(limits: abi::Limits) -> Result<Limits> {
    let limits = Limits {
        memory_mib: limits.memory_mib,
        cpu_percent: limits.cpu_percent,
        pids: limits.pids,
        disk_mib: limits.disk_mib,
    };
    if !limits.in_bounds() {
        return Err(Garbled("asked for limits out of bounds"));
    }
    Ok(limits)
}

fn limits_to_plugin(limits: Limits) -> abi::Limits {
    abi::Limits {
        memory_mib: limits.memory_mib,
        cpu_percent: limits.cpu_percent,
        pids: limits.pids,
        disk_mib: limits.disk_mib,
    }
}

fn in_force(limits: abi::LimitsInForce) -> LimitsInForce {
    let state = |state| match state {
        abi::LimitState::Enforced => LimitState::Enforced,
        abi::LimitState::StandIn => LimitState::StandIn,
        abi::LimitState::Absent => LimitState::Absent,
    };
    LimitsInForce {
        memory: state(limits.memory),
        cpu: state(limits.cpu),
        pids: state(limits.pids),
        disk: state(limits.disk),
    }
}

fn state_to_plugin(state: LimitState) -> abi::LimitState {
    match state {
        LimitState::Enforced => abi::LimitState::Enforced,
        LimitState::StandIn => abi::LimitState::StandIn,
        LimitState::Absent => abi::LimitState::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OP: OpId = OpId([1; 16]);

    #[test]
    fn names_from_the_plugin_are_checked() {
        for bad in ["", "../../etc", "i", "iABCDEFGHIJ0123456789"] {
            let body = encode(&abi::SandboxId(bad.into()));
            for number in [
                code::CELL_REMOVE,
                code::STORAGE_DESTROY,
                code::CELL_STAT,
                code::VM_REMOVE,
                code::VM_STAT,
            ] {
                assert_eq!(ask(number, OP, &body), Err(NO_NAME), "{bad}");
            }
            assert!(adopted(&encode(&vec![abi::SandboxId(bad.into())])).is_err());
        }
    }

    #[test]
    fn limits_out_of_bounds_are_not_passed_on() {
        let body = encode(&abi::CellCreate {
            sandbox: abi::SandboxId("iabcdefghij0123456789".into()),
            limits: abi::Limits {
                memory_mib: 0,
                cpu_percent: 100,
                pids: 64,
                disk_mib: 64,
            },
        });
        for number in [code::CELL_CREATE, code::VM_CREATE] {
            assert!(ask(number, OP, &body).is_err(), "{number}");
        }
    }

    #[test]
    fn garbage_is_never_an_answer() {
        for number in [code::DESCRIBE, code::CREATE, code::DESTROY, code::STATS] {
            assert!(answer(number, &[0xff; 30]).is_err(), "{number}");
        }
        assert!(ask(9999, OP, &[]).is_err());
        assert!(event(code::EVENT_ENDED, &[0xff; 9]).is_err());
        assert!(event(1, &[]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_of_a_plugin_make_a_panic(
            number in 0_u32..300,
            body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        ) {
            let _ = ask(number, OP, &body);
            let _ = answer(number, &body);
            let _ = event(number, &body);
            let _ = adopted(&body);
            proptest::prop_assert!(fault(&body).detail.len() <= Fault::MAX_DETAIL);
        }
    }

    #[test]
    fn titles_are_short_and_printable() {
        let said = abi::Description {
            title: "\u{1b}[2J".repeat(1000),
            ..abi::Description::default()
        };
        let Ok(gateway_plugin::Answer::Described(said)) = answer(code::DESCRIBE, &encode(&said))
        else {
            panic!("a description");
        };
        assert!(said.title.len() <= Fault::MAX_DETAIL);
        assert!(!said.title.contains('\u{1b}'));
    }
}
