//! netd and the plugin host, as far as the gateway can tell.

use warder_wire::gateway_priv::LeaseState;
use warder_wire::{FaultCode, Policy, gateway_net, gateway_plugin};

use super::super::guest::Guest;
use super::super::http::SOON;
use super::{Answered, Shared, fault, report};

/// netd.
pub(super) fn net(world: &Shared, ask: gateway_net::Ask) -> Answered<gateway_net::Answer> {
    let mut world = world.lock().expect("lock");
    Some(match ask {
        gateway_net::Ask::PolicySet {
            sandbox,
            generation,
            policy,
        } => {
            world.log.push(format!("PolicySet {}", policy.is_open()));
            let kills = world.policy_kills.take();
            if kills == Some(false) {
                return None;
            }
            if let Some(code) = world.policy_fault {
                return Some(fault(code));
            }
            let before = world.policies.get(&sandbox);
            if before.is_some_and(|(held, same)| {
                *held > generation || (*held == generation && *same != policy)
            }) {
                return Some(fault(FaultCode::Conflict));
            }
            let airgap = policy.airgap || world.airgapped;
            world.policies.insert(sandbox, (generation, policy));
            if kills.is_some() {
                return None;
            }
            Ok(gateway_net::Answer::InForce { generation, airgap })
        }
        gateway_net::Ask::PolicyGet { sandbox } => {
            world.log.push("PolicyGet".to_owned());
            let held = world.held.contains_key(&sandbox);
            let (generation, policy) = match world.policies.get(&sandbox) {
                Some(known) => known.clone(),
                None if held => (0, Policy::CLOSED),
                None => return Some(fault(FaultCode::NotFound)),
            };
            let airgap = policy.airgap || world.airgapped;
            Ok(gateway_net::Answer::Policy {
                generation,
                policy,
                airgap,
                sealed: false,
            })
        }
    })
}

/// The plugin host.
pub(super) fn plugin(
    shared: &Shared,
    ask: gateway_plugin::Ask,
) -> Answered<gateway_plugin::Answer> {
    let mut world = shared.lock().expect("lock");
    match ask {
        gateway_plugin::Ask::Create { sandbox, .. } => {
            world.log.push("Create".into());
            if std::mem::take(&mut world.create_kills) {
                return None;
            }
            if let Some(code) = world.create_fault {
                match world.creates_left.checked_sub(1) {
                    Some(left) => world.creates_left = left,
                    None => return Some(fault(code)),
                }
            }
            let held = world.held.get_mut(&sandbox).expect("its lease is open");
            held.made = true;
            held.lease.state = LeaseState::Running;
            let limits = report().limits;
            Some(Ok(gateway_plugin::Answer::Created { limits }))
        }
        gateway_plugin::Ask::Destroy { .. } => {
            world.log.push("Destroy".into());
            Some(match world.destroy_fault {
                Some(code) => fault(code),
                None => Ok(gateway_plugin::Answer::Done),
            })
        }
        gateway_plugin::Ask::Pause {
            sandbox, memory, ..
        } => {
            world.log.push(format!("Pause {memory}"));
            Some(match (world.state_fault, world.held.get_mut(&sandbox)) {
                (Some(code), _) => fault(code),
                (_, None) => fault(FaultCode::NotFound),
                (_, Some(held)) if matches!(held.lease.state, LeaseState::Paused { .. }) => {
                    fault(FaultCode::Conflict)
                }
                (_, Some(held)) => {
                    held.lease.state = LeaseState::Paused { memory };
                    Ok(gateway_plugin::Answer::Done)
                }
            })
        }
        gateway_plugin::Ask::Resume {
            sandbox, memory, ..
        } => {
            world.log.push(format!("Resume {memory}"));
            let takes = world.resume_takes;
            drop(world);
            std::thread::sleep(takes);
            let mut world = shared.lock().expect("lock");
            if let Some(code) = world.state_fault {
                return Some(fault(code));
            }
            let manner = world.manner;
            Some(match world.held.get_mut(&sandbox) {
                None => fault(FaultCode::NotFound),
                Some(held) => match held.lease.state {
                    LeaseState::Paused { memory: kept } => {
                        let memory = memory && kept;
                        if !memory {
                            held.guest = Guest::default();
                            *held.guest.manner.lock().expect("lock") = manner;
                        }
                        held.lease.state = LeaseState::Running;
                        Ok(gateway_plugin::Answer::Resumed { memory })
                    }
                    _ => fault(FaultCode::Conflict),
                },
            })
        }
        gateway_plugin::Ask::Snapshot {
            sandbox, template, ..
        } => {
            world.log.push("Snapshot".into());
            if let Some(code) = world.state_fault {
                return Some(fault(code));
            }
            if world.allowed.take() != Some((sandbox.clone(), template.clone())) {
                return Some(fault(FaultCode::Refused));
            }
            world.snapshots.insert(template.to_string(), sandbox);
            if std::mem::take(&mut world.snapshot_hangs) {
                drop(world);
                std::thread::sleep(SOON);
            }
            Some(Ok(gateway_plugin::Answer::Done))
        }
        gateway_plugin::Ask::Describe | gateway_plugin::Ask::Stats { .. } => {
            Some(fault(FaultCode::Unsupported))
        }
    }
}
