//! What the gateway asks: policies.

use std::time::Instant;

use warder_desired::Sandbox;
use warder_nft::render;
use warder_wire::gateway_net;
use warder_wire::{Bounds, Fault, FaultCode, Policy, SandboxId};

use super::{Daemon, Pending, no_lease};
use crate::ledger::{Record, SlotRecord};
use crate::policy::{self, Entry, Standing, Verdict};

impl Daemon {
    pub(crate) fn gateway_budget(&mut self) -> bool {
        self.gateway
            .as_mut()
            .is_some_and(|g| g.budget.take(Instant::now()))
    }

    pub(crate) fn policy_get(&mut self, seq: u64, sandbox: &SandboxId) {
        let result = match self.book.get(sandbox) {
            Some(Entry {
                live: true,
                standing,
                ..
            }) => Ok(gateway_net::Answer::Policy {
                generation: standing.generation,
                policy: standing.policy.clone(),
                airgap: standing.policy.airgap,
                sealed: false,
            }),
            _ => Err(no_lease(sandbox)),
        };
        self.answer_gateway(seq, result);
    }

    pub(crate) fn policy_set(
        &mut self,
        seq: u64,
        sandbox: &SandboxId,
        generation: u64,
        policy: Policy,
    ) {
        if !policy.is_open() && policy != Policy::CLOSED {
            let fault = Fault::new(FaultCode::Unsupported, "lists of addresses and names");
            return self.answer_gateway(seq, Err(fault));
        }
        let airgap = policy.airgap;
        match self.put_policy(sandbox, generation, policy) {
            // Flows may be there that it forbids: the answer waits for their end.
            Ok(Some(slot)) => {
                let sandbox = sandbox.clone();
                let epoch = self.epoch;
                let pending = Pending::Policy {
                    epoch,
                    seq,
                    sandbox,
                    generation,
                    airgap,
                };
                self.end_flows(slot.index, pending);
            }
            Ok(None) => {
                self.note(&Record::InForce {
                    sandbox: sandbox.clone(),
                    generation,
                });
                self.answer_gateway(seq, Ok(gateway_net::Answer::InForce { generation, airgap }));
            }
            Err(fault) => self.answer_gateway(seq, Err(fault)),
        }
    }

    /// Puts a policy in force for every packet from now on. Returns the slot whose flows have to be ended.
    fn put_policy(
        &mut self,
        sandbox: &SandboxId,
        generation: u64,
        policy: Policy,
    ) -> Result<Option<SlotRecord>, Fault> {
        let entry = match self.book.get(sandbox) {
            Some(entry) if entry.live => entry.clone(),
            _ => return Err(no_lease(sandbox)),
        };
        let tightens = match entry.standing.judge(generation, &policy) {
            Verdict::Put { tightens } => tightens,
            // Perhaps the answer to the first try got lost before its flows were gone.
            Verdict::Again => return Ok(entry.slot.filter(|_| !policy.is_open())),
            Verdict::Stale => {
                let detail = format!("generation {} was accepted", entry.standing.generation);
                return Err(Fault::new(FaultCode::Conflict, detail));
            }
        };
        self.record(&Record::Policy {
            sandbox: sandbox.clone(),
            generation,
            open: policy.is_open(),
        })?;
        let standing = Standing { generation, policy };
        let Some(slot) = entry.slot else {
            self.stand(sandbox, standing);
            return Ok(None);
        };
        let port = policy::port(self.config.block, &slot)
            .ok_or_else(|| Fault::new(FaultCode::System, "a slot outside the block"))?;
        let view = |policy| Sandbox::new(port.clone(), policy, Bounds::DEFAULT);
        let (now, was) = (view(&standing.policy), view(&entry.standing.policy));
        let change = render::change(self.tag, &now, &was);
        if let Err(fault) = self.apply(&change) {
            // Rules still say the old policy. Nothing may pass by it if the new one forbids it.
            if tightens {
                self.seal(&slot);
                if let Some(entry) = self.book.get_mut(sandbox) {
                    entry.sealed = true;
                }
            } else {
                self.remember(sandbox);
            }
            return Err(fault);
        }
        self.stand(sandbox, standing);
        Ok(tightens.then_some(slot))
    }

    fn stand(&mut self, sandbox: &SandboxId, standing: Standing) {
        if let Some(entry) = self.book.get_mut(sandbox) {
            entry.standing = standing;
        }
    }
}
