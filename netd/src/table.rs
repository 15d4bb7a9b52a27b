//! The dispatch table: message, who may send it, in which phase, how often, with how many descriptors. This is
//! netd's security policy; there is no other way in.
//!
//! A message that the table does not allow ends its channel with an audit line. One that comes too often
//! is refused with a fault.

use std::os::fd::OwnedFd;
use std::time::Instant;

use warder_links::Space;
use warder_wire::{Fault, FaultCode, Request, gateway_net, net_egress, priv_net};

use crate::daemon::Daemon;

/// What netd is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// privd names the cells that run; nothing new is given out.
    Reconciling,
    /// The ordinary state.
    Serving,
    /// Everything is gone; only the answer is still on its way.
    Purged,
}

const ANY: &[Phase] = &[Phase::Reconciling, Phase::Serving];
const EARLY: &[Phase] = &[Phase::Reconciling];
const SERVING: &[Phase] = &[Phase::Serving];

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The message's name, for the audit line.
    pub verb: &'static str,
    /// Phases in which it is allowed.
    pub phases: &'static [Phase],
    /// Descriptors that ride along, exactly.
    pub descriptors: usize,
}

const fn line(verb: &'static str, phases: &'static [Phase], descriptors: usize) -> Line {
    Line {
        verb,
        phases,
        descriptors,
    }
}

/// What privd may send. It is trusted with everything netd does, so nothing is counted.
#[must_use]
pub fn from_privd(ask: &priv_net::Ask) -> Line {
    match ask {
        priv_net::Ask::LeaseLive { .. } => line("LeaseLive", ANY, 0),
        priv_net::Ask::LeaseGone { .. } => line("LeaseGone", ANY, 0),
        priv_net::Ask::SlotTake { .. } => line("SlotTake", SERVING, 0),
        priv_net::Ask::SlotAdopt { .. } => line("SlotAdopt", EARLY, Space::DESCRIPTORS),
        priv_net::Ask::ReconcileEnd => line("ReconcileEnd", EARLY, 0),
        priv_net::Ask::GatewayChannel => line("GatewayChannel", ANY, 1),
        priv_net::Ask::EgressChannel => line("EgressChannel", ANY, 1),
        priv_net::Ask::Purge => line("Purge", ANY, 0),
        priv_net::Ask::SlotReport => line("SlotReport", ANY, 0),
        priv_net::Ask::SlotTap { .. } => line("SlotTap", SERVING, 0),
    }
}

/// What the gateway may send; all of it is counted together.
#[must_use]
pub fn from_gateway(ask: &gateway_net::Ask) -> Line {
    match ask {
        gateway_net::Ask::PolicySet { .. } => line("PolicySet", ANY, 0),
        gateway_net::Ask::PolicyGet { .. } => line("PolicyGet", ANY, 0),
    }
}

/// What egressd may send; sockets are counted, for each sandbox and in all.
#[must_use]
pub fn from_egress(ask: &net_egress::Ask) -> Line {
    match ask {
        net_egress::Ask::Dial { .. } => line("Dial", ANY, 0),
        net_egress::Ask::Query { .. } => line("Query", ANY, 0),
        net_egress::Ask::Settled { .. } => line("Settled", ANY, 0),
        net_egress::Ask::Reply { .. } => line("Reply", ANY, 0),
    }
}

/// Why a channel ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Violation {
    /// Not in this phase.
    #[error("{verb} while {phase:?}")]
    Phase {
        /// The message.
        verb: &'static str,
        /// The phase.
        phase: Phase,
    },
    /// More or fewer descriptors than the message has.
    #[error("{verb} with {count} descriptors")]
    Descriptors {
        /// The message.
        verb: &'static str,
        /// How many came.
        count: usize,
    },
    /// What nobody asked about.
    #[error("{verb} of something unknown")]
    Unasked {
        /// The message.
        verb: &'static str,
    },
    /// A descriptor that is not what the message carries.
    #[error("{verb} with a descriptor of the wrong kind")]
    Kind {
        /// The message.
        verb: &'static str,
    },
}

fn check(line: Line, phase: Phase, fds: &[OwnedFd]) -> Result<(), Violation> {
    let Line {
        verb,
        phases,
        descriptors,
    } = line;
    if !phases.contains(&phase) {
        return Err(Violation::Phase { verb, phase });
    }
    if fds.len() != descriptors {
        return Err(Violation::Descriptors {
            verb,
            count: fds.len(),
        });
    }
    Ok(())
}

/// Does what privd asks.
///
/// # Errors
/// [`Violation`]: the channel must end, and netd with it.
pub fn privd(
    daemon: &mut Daemon,
    request: Request<priv_net::Ask>,
    fds: Vec<OwnedFd>,
) -> Result<(), Violation> {
    use priv_net::Ask;
    let Request { seq, body } = request;
    check(from_privd(&body), daemon.phase(), &fds)?;
    if let Ask::SlotAdopt { sandbox } = body {
        if let Some(space) = Space::received(fds) {
            daemon.slot_adopt(seq, sandbox, space);
        }
        return Ok(());
    }
    let mut fds = fds.into_iter();
    match (body, fds.next()) {
        (Ask::LeaseLive { sandbox, bounds }, _) => daemon.lease_live(&sandbox, bounds),
        (Ask::LeaseGone { sandbox }, _) => daemon.lease_gone(&sandbox),
        (Ask::SlotTake { sandbox }, _) => daemon.slot_take(seq, sandbox),
        (Ask::GatewayChannel, Some(fd)) => {
            if !daemon.gateway_channel(fd) {
                return Err(Violation::Kind {
                    verb: "GatewayChannel",
                });
            }
        }
        (Ask::ReconcileEnd, _) => daemon.reconcile_end(seq),
        (Ask::Purge, _) => daemon.purge(seq),
        (Ask::SlotReport, _) => daemon.slot_report(seq),
        (Ask::SlotTap { sandbox }, _) => daemon.slot_tap(seq, &sandbox),
        (Ask::EgressChannel, Some(fd)) => {
            if !daemon.egress_channel(fd) {
                return Err(Violation::Kind {
                    verb: "EgressChannel",
                });
            }
        }
        // Not reached: their one descriptor was counted, and the other done, above.
        (Ask::SlotAdopt { .. }, _) | (Ask::GatewayChannel | Ask::EgressChannel, None) => {}
    }
    Ok(())
}

/// Does what the gateway asks.
///
/// # Errors
/// [`Violation`]: the channel must end.
pub fn gateway(
    daemon: &mut Daemon,
    request: Request<gateway_net::Ask>,
    fds: &[OwnedFd],
) -> Result<(), Violation> {
    use gateway_net::Ask;
    let Request { seq, body } = request;
    check(from_gateway(&body), daemon.phase(), fds)?;
    if !daemon.gateway_budget() {
        let fault = Fault::new(FaultCode::Exhausted, "too many policy requests at once");
        daemon.answer_gateway(seq, Err(fault));
        return Ok(());
    }
    match body {
        Ask::PolicySet {
            sandbox,
            generation,
            policy,
        } => {
            daemon.policy_set(seq, sandbox, generation, policy);
        }
        Ask::PolicyGet { sandbox } => daemon.policy_get(seq, &sandbox),
    }
    Ok(())
}

/// Does what egressd asks.
///
/// # Errors
/// [`Violation`]: the channel must end.
pub fn egress(
    daemon: &mut Daemon,
    request: Request<net_egress::Ask>,
    fds: &[OwnedFd],
) -> Result<(), Violation> {
    use net_egress::Ask;
    let Request { seq, body } = request;
    check(from_egress(&body), daemon.phase(), fds)?;
    if let Ask::Dial { sandbox, .. } | Ask::Query { sandbox, .. } = &body
        && !daemon.egress_budget(sandbox)
    {
        let fault = Fault::new(FaultCode::Exhausted, "too many sockets at once");
        daemon.answer_egress(seq, Err(fault));
        return Ok(());
    }
    match body {
        Ask::Dial {
            sandbox,
            generation,
            to,
        } => daemon.egress_dial(seq, &sandbox, generation, to),
        Ask::Query {
            sandbox,
            generation,
            server,
            stream,
        } => daemon.egress_query(seq, &sandbox, generation, server, stream),
        Ask::Settled { serial } => {
            if !daemon.egress_says_settled(serial) {
                return Err(Violation::Unasked { verb: "Settled" });
            }
        }
        Ask::Reply {
            sandbox,
            port,
            bytes,
        } => {
            if !daemon.egress_reply(&sandbox, port, &bytes) {
                return Err(Violation::Unasked { verb: "Reply" });
            }
        }
    }
    Ok(())
}

/// How many requests are let through.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// At once.
    pub burst: f64,
    /// In the long run.
    pub per_second: f64,
}

impl Rate {
    /// Enough for a gateway that sets every policy anew after a restart.
    pub const GATEWAY: Self = Self {
        burst: 8192.0,
        per_second: 2048.0,
    };
}

/// A bucket of requests that fills again with time.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    rate: Rate,
    left: f64,
    last: Instant,
}

impl Budget {
    /// A full one.
    #[must_use]
    pub fn full(now: Instant, rate: Rate) -> Self {
        Self {
            rate,
            left: rate.burst,
            last: now,
        }
    }

    /// Takes one request out; false when there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        let Rate { burst, per_second } = self.rate;
        let gained = now.saturating_duration_since(self.last).as_secs_f64() * per_second;
        self.left = (self.left + gained).min(burst);
        self.last = now;
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_budget_is_used_up_and_fills_again() {
        let now = Instant::now();
        let mut budget = Budget::full(now, Rate::GATEWAY);
        let taken = (0..10_000).filter(|_| budget.take(now)).count();
        assert_eq!(taken, 8192);
        assert!(budget.take(now + Duration::from_millis(10)));
        let refilled = (0..1000)
            .filter(|_| budget.take(now + Duration::from_millis(10)))
            .count();
        assert_eq!(refilled, 19);
    }

    #[test]
    fn nothing_is_allowed_once_purged() {
        for ask in [
            priv_net::Ask::Purge,
            priv_net::Ask::SlotReport,
            priv_net::Ask::ReconcileEnd,
        ] {
            assert!(
                check(from_privd(&ask), Phase::Purged, &[]).is_err(),
                "{ask:?}"
            );
        }
    }

    #[test]
    fn descriptors_are_counted() {
        let ask = priv_net::Ask::GatewayChannel;
        let refused = Violation::Descriptors {
            verb: "GatewayChannel",
            count: 0,
        };
        assert_eq!(check(from_privd(&ask), Phase::Serving, &[]), Err(refused));
    }
}
